//! Tests of the reconciliation, without a connection.

use super::*;
use crate::protocol::RoomName;

fn topic(name: &str) -> Topic {
    Topic::Room(RoomName::parse(name).unwrap())
}

fn subscribes(channel: &str) -> Batch {
    Batch { subscribe: vec![channel.into()], unsubscribe: vec![] }
}

fn unsubscribes(channel: &str) -> Batch {
    Batch { subscribe: vec![], unsubscribe: vec![channel.into()] }
}

fn pending(outcome: SubscribeOutcome) -> (u64, oneshot::Receiver<()>) {
    match outcome {
        SubscribeOutcome::Pending(ticket, receiver) => (ticket, receiver),
        SubscribeOutcome::Active => panic!("the subscription is already active"),
    }
}

fn activate(subscriptions: &mut Subscriptions, channel: &str) {
    let (ticket, mut receiver) = pending(subscriptions.subscribe(channel, &topic(channel)));
    assert_eq!(subscriptions.next_batch(9), subscribes(channel));
    subscriptions.confirm_subscribed(channel);
    assert_eq!(receiver.try_recv(), Ok(()));
    assert!(subscriptions.acknowledge(channel, ticket));
}

#[test]
fn callers_are_notified_once_the_server_confirms() {
    let mut subscriptions = Subscriptions::default();
    let (_, mut first) = pending(subscriptions.subscribe("a", &topic("a")));
    let (_, mut second) = pending(subscriptions.subscribe("a", &topic("a")));
    assert_eq!(subscriptions.next_batch(9), subscribes("a"));
    assert_eq!(subscriptions.next_batch(9), Batch::default());
    assert!(first.try_recv().is_err());
    assert_eq!(subscriptions.confirm_subscribed("a"), Confirmation::Unreported);
    assert_eq!((first.try_recv(), second.try_recv()), (Ok(()), Ok(())));
    assert!(matches!(subscriptions.subscribe("a", &topic("a")), SubscribeOutcome::Active));
}

#[test]
fn renewed_subscription_is_sent_after_its_unsubscribe() {
    let mut subscriptions = Subscriptions::default();
    activate(&mut subscriptions, "a");
    subscriptions.unsubscribe("a");
    assert_eq!(subscriptions.next_batch(9), unsubscribes("a"));
    let (_, mut receiver) = pending(subscriptions.subscribe("a", &topic("a")));
    assert_eq!(subscriptions.next_batch(9), Batch::default());
    subscriptions.confirm_unsubscribed("a");
    assert_eq!(subscriptions.next_batch(9), subscribes("a"));
    subscriptions.confirm_subscribed("a");
    assert_eq!(receiver.try_recv(), Ok(()));
}

#[test]
fn unsubscribe_before_confirmation_is_sent_after_it() {
    let mut subscriptions = Subscriptions::default();
    let (_, mut receiver) = pending(subscriptions.subscribe("a", &topic("a")));
    assert_eq!(subscriptions.next_batch(9), subscribes("a"));
    subscriptions.unsubscribe("a");
    assert!(receiver.try_recv().is_err());
    assert_eq!(subscriptions.topic("a"), None);
    subscriptions.confirm_subscribed("a");
    assert_eq!(subscriptions.next_batch(9), unsubscribes("a"));
    subscriptions.confirm_unsubscribed("a");
    assert!(subscriptions.by_channel.is_empty());
}

#[test]
fn unsubscribe_and_subscribe_at_once_send_nothing() {
    let mut subscriptions = Subscriptions::default();
    activate(&mut subscriptions, "a");
    subscriptions.unsubscribe("a");
    assert!(matches!(subscriptions.subscribe("a", &topic("a")), SubscribeOutcome::Active));
    assert_eq!(subscriptions.next_batch(9), Batch::default());
}

#[test]
fn lost_connection_interrupts_topics_and_resubscribes_all() {
    let mut subscriptions = Subscriptions::default();
    activate(&mut subscriptions, "a");
    let (_, mut pending) = pending(subscriptions.subscribe("b", &topic("b")));
    activate_and_unsubscribe(&mut subscriptions, "c");
    assert_eq!(subscriptions.connection_lost(), vec![topic("a")]);
    assert_eq!(subscriptions.connection_lost(), vec![], "reported only once");
    let mut batch = subscriptions.next_batch(9);
    batch.subscribe.sort();
    assert_eq!(batch.subscribe, ["a", "b"]);
    assert_eq!(subscriptions.confirm_subscribed("a"), Confirmation::Restored(topic("a")));
    assert_eq!(subscriptions.confirm_subscribed("b"), Confirmation::Unreported);
    assert_eq!(pending.try_recv(), Ok(()));
}

/// Leaves a subscription whose end the server has not confirmed.
fn activate_and_unsubscribe(subscriptions: &mut Subscriptions, channel: &str) {
    let (ticket, _receiver) = pending(subscriptions.subscribe(channel, &topic(channel)));
    subscriptions.next_batch(9);
    subscriptions.confirm_subscribed(channel);
    assert!(subscriptions.acknowledge(channel, ticket));
    subscriptions.unsubscribe(channel);
}

#[test]
fn caller_dropped_when_notified_leaves_no_subscription() {
    let mut subscriptions = Subscriptions::default();
    let (ticket, _receiver) = pending(subscriptions.subscribe("a", &topic("a")));
    subscriptions.next_batch(9);
    subscriptions.confirm_subscribed("a");
    subscriptions.cancel("a", ticket);
    assert_eq!(subscriptions.next_batch(9), unsubscribes("a"));
    assert!(!subscriptions.acknowledge("a", ticket));
}

#[test]
fn cancel_ends_the_subscription_of_the_last_caller() {
    let mut subscriptions = Subscriptions::default();
    let (one, _first) = pending(subscriptions.subscribe("a", &topic("a")));
    let (two, _second) = pending(subscriptions.subscribe("a", &topic("a")));
    subscriptions.cancel("a", one);
    assert_eq!(subscriptions.topic("a"), Some(&topic("a")));
    subscriptions.cancel("a", two);
    assert_eq!(subscriptions.topic("a"), None);

    activate(&mut subscriptions, "b");
    subscriptions.connection_lost();
    let (ticket, _receiver) = pending(subscriptions.subscribe("b", &topic("b")));
    subscriptions.cancel("b", ticket);
    assert_eq!(subscriptions.topic("b"), Some(&topic("b")), "another caller has acknowledged it");
}

#[test]
fn cancelled_subscriptions_leave_no_entries_behind() {
    let mut subscriptions = Subscriptions::default();
    let _kept = subscriptions.subscribe("kept", &topic("kept"));
    for i in 0..1_000 {
        for channel in ["same", &i.to_string()] {
            let (ticket, _receiver) = pending(subscriptions.subscribe(channel, &topic(channel)));
            subscriptions.cancel(channel, ticket);
        }
    }
    assert_eq!(subscriptions.by_channel.len(), 1);
    assert_eq!(std::iter::from_fn(|| subscriptions.changed.try_next()).collect::<Vec<_>>(), ["kept"]);
}

#[test]
fn batch_size_is_bounded() {
    let mut subscriptions = Subscriptions::default();
    for i in 0..7 {
        subscriptions.subscribe(&i.to_string(), &topic(&i.to_string()));
    }
    assert_eq!(subscriptions.next_batch(5).subscribe.len(), 5);
    assert_eq!(subscriptions.next_batch(5).subscribe.len(), 2);
}
