//! Tests of the reconciliation, without a connection.

use super::*;
use crate::protocol::RoomName;

const OWNER: Owner = Owner(0);
const OTHER: Owner = Owner(1);

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
    let (ticket, mut receiver) = pending(subscriptions.subscribe(OWNER, channel, &topic(channel)));
    assert_eq!(subscriptions.next_batch(OWNER, 9), subscribes(channel));
    subscriptions.confirm_subscribed(OWNER, channel);
    assert_eq!(receiver.try_recv(), Ok(()));
    assert!(subscriptions.acknowledge(channel, ticket));
}

#[test]
fn callers_are_notified_once_the_server_confirms() {
    let mut subscriptions = Subscriptions::default();
    let (_, mut first) = pending(subscriptions.subscribe(OWNER, "a", &topic("a")));
    let (_, mut second) = pending(subscriptions.subscribe(OWNER, "a", &topic("a")));
    assert_eq!(subscriptions.next_batch(OWNER, 9), subscribes("a"));
    assert_eq!(subscriptions.next_batch(OWNER, 9), Batch::default());
    assert!(first.try_recv().is_err());
    assert_eq!(subscriptions.confirm_subscribed(OWNER, "a"), Confirmation::Unreported);
    assert_eq!((first.try_recv(), second.try_recv()), (Ok(()), Ok(())));
    assert!(matches!(subscriptions.subscribe(OWNER, "a", &topic("a")), SubscribeOutcome::Active));
}

#[test]
fn renewed_subscription_is_sent_after_its_unsubscribe() {
    let mut subscriptions = Subscriptions::default();
    activate(&mut subscriptions, "a");
    subscriptions.unsubscribe("a");
    assert_eq!(subscriptions.next_batch(OWNER, 9), unsubscribes("a"));
    let (_, mut receiver) = pending(subscriptions.subscribe(OWNER, "a", &topic("a")));
    assert_eq!(subscriptions.next_batch(OWNER, 9), Batch::default());
    subscriptions.confirm_unsubscribed(OWNER, "a");
    assert_eq!(subscriptions.next_batch(OWNER, 9), subscribes("a"));
    subscriptions.confirm_subscribed(OWNER, "a");
    assert_eq!(receiver.try_recv(), Ok(()));
}

#[test]
fn unsubscribe_before_confirmation_is_sent_after_it() {
    let mut subscriptions = Subscriptions::default();
    let (_, mut receiver) = pending(subscriptions.subscribe(OWNER, "a", &topic("a")));
    assert_eq!(subscriptions.next_batch(OWNER, 9), subscribes("a"));
    subscriptions.unsubscribe("a");
    assert!(receiver.try_recv().is_err());
    assert_eq!(subscriptions.topic(OWNER, "a"), None);
    subscriptions.confirm_subscribed(OWNER, "a");
    assert_eq!(subscriptions.next_batch(OWNER, 9), unsubscribes("a"));
    subscriptions.confirm_unsubscribed(OWNER, "a");
    assert!(subscriptions.by_channel.is_empty());
}

#[test]
fn unsubscribe_and_subscribe_at_once_send_nothing() {
    let mut subscriptions = Subscriptions::default();
    activate(&mut subscriptions, "a");
    subscriptions.unsubscribe("a");
    assert!(matches!(subscriptions.subscribe(OWNER, "a", &topic("a")), SubscribeOutcome::Active));
    assert_eq!(subscriptions.next_batch(OWNER, 9), Batch::default());
}

#[test]
fn lost_connection_interrupts_topics_and_resubscribes_all() {
    let mut subscriptions = Subscriptions::default();
    activate(&mut subscriptions, "a");
    let (_, mut pending) = pending(subscriptions.subscribe(OWNER, "b", &topic("b")));
    activate_and_unsubscribe(&mut subscriptions, "c");
    assert_eq!(subscriptions.connection_lost(OWNER), vec![topic("a")]);
    assert_eq!(subscriptions.connection_lost(OWNER), vec![], "reported only once");
    let mut batch = subscriptions.next_batch(OWNER, 9);
    batch.subscribe.sort();
    assert_eq!(batch.subscribe, ["a", "b"]);
    assert_eq!(subscriptions.confirm_subscribed(OWNER, "a"), Confirmation::Restored(topic("a")));
    assert_eq!(subscriptions.confirm_subscribed(OWNER, "b"), Confirmation::Unreported);
    assert_eq!(pending.try_recv(), Ok(()));
}

/// Leaves a subscription whose end the server has not confirmed.
fn activate_and_unsubscribe(subscriptions: &mut Subscriptions, channel: &str) {
    let (ticket, _receiver) = pending(subscriptions.subscribe(OWNER, channel, &topic(channel)));
    subscriptions.next_batch(OWNER, 9);
    subscriptions.confirm_subscribed(OWNER, channel);
    assert!(subscriptions.acknowledge(channel, ticket));
    subscriptions.unsubscribe(channel);
}

#[test]
fn caller_dropped_when_notified_leaves_no_subscription() {
    let mut subscriptions = Subscriptions::default();
    let (ticket, _receiver) = pending(subscriptions.subscribe(OWNER, "a", &topic("a")));
    subscriptions.next_batch(OWNER, 9);
    subscriptions.confirm_subscribed(OWNER, "a");
    subscriptions.cancel("a", ticket);
    assert_eq!(subscriptions.next_batch(OWNER, 9), unsubscribes("a"));
    assert!(!subscriptions.acknowledge("a", ticket));
}

#[test]
fn cancel_ends_the_subscription_of_the_last_caller() {
    let mut subscriptions = Subscriptions::default();
    let (one, _first) = pending(subscriptions.subscribe(OWNER, "a", &topic("a")));
    let (two, _second) = pending(subscriptions.subscribe(OWNER, "a", &topic("a")));
    subscriptions.cancel("a", one);
    assert_eq!(subscriptions.topic(OWNER, "a"), Some(&topic("a")));
    subscriptions.cancel("a", two);
    assert_eq!(subscriptions.topic(OWNER, "a"), None);

    activate(&mut subscriptions, "b");
    subscriptions.connection_lost(OWNER);
    let (ticket, _receiver) = pending(subscriptions.subscribe(OWNER, "b", &topic("b")));
    subscriptions.cancel("b", ticket);
    assert_eq!(subscriptions.topic(OWNER, "b"), Some(&topic("b")), "another caller has acknowledged it");
}

#[test]
fn cancelled_subscriptions_leave_no_entries_behind() {
    let mut subscriptions = Subscriptions::default();
    let _kept = subscriptions.subscribe(OWNER, "kept", &topic("kept"));
    for i in 0..1_000 {
        for channel in ["same", &i.to_string()] {
            let (ticket, _receiver) = pending(subscriptions.subscribe(OWNER, channel, &topic(channel)));
            subscriptions.cancel(channel, ticket);
        }
    }
    assert_eq!(subscriptions.by_channel.len(), 1);
    assert_eq!(std::iter::from_fn(|| subscriptions.changed[&OWNER].try_next()).collect::<Vec<_>>(), ["kept"]);
}

#[test]
fn batch_size_is_bounded() {
    let mut subscriptions = Subscriptions::default();
    for i in 0..7 {
        subscriptions.subscribe(OWNER, &i.to_string(), &topic(&i.to_string()));
    }
    assert_eq!(subscriptions.next_batch(OWNER, 5).subscribe.len(), 5);
    assert_eq!(subscriptions.next_batch(OWNER, 5).subscribe.len(), 2);
}

#[test]
fn subscription_that_the_server_ends_is_asked_for_again() {
    let mut subscriptions = Subscriptions::default();
    activate(&mut subscriptions, "a");
    let ended = subscriptions.confirm_unsubscribed(OWNER, "a");
    assert_eq!(ended, Confirmation::Interrupted(topic("a")));
    assert_eq!(subscriptions.confirm_unsubscribed(OWNER, "a"), Confirmation::Unreported);
    assert_eq!(subscriptions.next_batch(OWNER, 9), subscribes("a"));
    assert_eq!(subscriptions.confirm_subscribed(OWNER, "a"), Confirmation::Restored(topic("a")));
}

#[test]
fn refused_batch_comes_again_without_what_was_confirmed() {
    let mut subscriptions = Subscriptions::default();
    let _kept = ["a", "b"].map(|channel| subscriptions.subscribe(OWNER, channel, &topic(channel)));
    let batch = subscriptions.next_batch(OWNER, 9);
    assert_eq!(batch.subscribe, ["a", "b"]);
    subscriptions.confirm_subscribed(OWNER, "a");
    subscriptions.give_back(OWNER, &batch);
    assert_eq!(subscriptions.next_batch(OWNER, 9), subscribes("b"));
}

#[test]
fn channel_whose_slot_moves_is_asked_for_there() {
    let mut subscriptions = Subscriptions::default();
    activate(&mut subscriptions, "a");
    let (_, mut waiting) = pending(subscriptions.subscribe(OWNER, "b", &topic("b")));
    assert_eq!(subscriptions.reassign(|_| OTHER), [topic("a")]);
    assert_eq!(subscriptions.reassign(|_| OTHER), []);
    // What the connection that had them says now means nothing.
    assert_eq!(subscriptions.confirm_unsubscribed(OWNER, "a"), Confirmation::Unreported);
    assert_eq!(subscriptions.connection_lost(OWNER), []);
    assert_eq!(subscriptions.topic(OWNER, "a"), None);
    assert_eq!(subscriptions.next_batch(OWNER, 9), Batch::default());
    let mut batch = subscriptions.next_batch(OTHER, 9);
    batch.subscribe.sort();
    assert_eq!(batch.subscribe, ["a", "b"]);
    assert_eq!(subscriptions.confirm_subscribed(OTHER, "a"), Confirmation::Restored(topic("a")));
    assert_eq!(subscriptions.confirm_subscribed(OTHER, "b"), Confirmation::Unreported);
    assert_eq!(waiting.try_recv(), Ok(()));
}

/// What can happen to the subscriptions of two connections.
#[derive(Debug, Clone, Copy)]
enum Step {
    Subscribe(u8),
    Unsubscribe(u8),
    Batch(bool),
    Confirm(bool),
    Refuse(bool),
    EndedByServer(bool, u8),
    Lose(bool),
    Move(u8),
}

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    use proptest::prelude::*;
    let step = prop_oneof![
        (0..3_u8).prop_map(Step::Subscribe),
        (0..3_u8).prop_map(Step::Unsubscribe),
        any::<bool>().prop_map(Step::Batch),
        any::<bool>().prop_map(Step::Confirm),
        any::<bool>().prop_map(Step::Refuse),
        (any::<bool>(), 0..3_u8).prop_map(|(server, channel)| Step::EndedByServer(server, channel)),
        any::<bool>().prop_map(Step::Lose),
        (0..8_u8).prop_map(Step::Move),
    ];
    proptest::collection::vec(step, 0..60)
}

/// A server: the channels that it has, and the batch that it was sent.
#[derive(Default)]
struct Server {
    has: std::collections::BTreeSet<String>,
    sent: Batch,
}

impl Server {
    /// Takes the whole batch, and confirms it.
    fn confirm(&mut self, subscriptions: &mut Subscriptions, owner: Owner) {
        let batch = std::mem::take(&mut self.sent);
        for channel in batch.unsubscribe {
            self.has.remove(&channel);
            subscriptions.confirm_unsubscribed(owner, &channel);
        }
        for channel in batch.subscribe {
            self.has.insert(channel.clone());
            subscriptions.confirm_subscribed(owner, &channel);
        }
    }
}

proptest::proptest! {
    /// Whatever happens in between, each channel ends where its slot is, if it is desired.
    #[test]
    fn any_order_ends_with_what_was_asked_for_last(steps in steps()) {
        let mut subscriptions = Subscriptions::default();
        let (mut servers, mut placed, mut desired) = ([Server::default(), Server::default()], 0_u8, [false; 3]);
        let owner_of = |placed: u8, channel: &str| if placed >> channel.parse::<u8>().unwrap() & 1 == 0 { OWNER } else { OTHER };
        let owner = |second: bool| if second { OTHER } else { OWNER };
        let mut callers = Vec::new();
        for step in steps {
            match step {
                Step::Subscribe(channel) => {
                    let name = channel.to_string();
                    desired[usize::from(channel)] = true;
                    let outcome = subscriptions.subscribe(owner_of(placed, &name), &name, &topic(&name));
                    if let SubscribeOutcome::Pending(ticket, confirmed) = outcome {
                        callers.push((name, ticket, confirmed));
                    }
                }
                Step::Unsubscribe(channel) => {
                    desired[usize::from(channel)] = false;
                    subscriptions.unsubscribe(&channel.to_string());
                }
                Step::Batch(second) => {
                    let server = &mut servers[usize::from(second)];
                    if server.sent == Batch::default() {
                        server.sent = subscriptions.next_batch(owner(second), 2);
                    }
                }
                Step::Confirm(second) => servers[usize::from(second)].confirm(&mut subscriptions, owner(second)),
                Step::Refuse(second) => {
                    let server = &mut servers[usize::from(second)];
                    let batch = std::mem::take(&mut server.sent);
                    // A subscription can be refused, the end of one can't.
                    server.has.retain(|name| !batch.unsubscribe.contains(name));
                    subscriptions.give_back(owner(second), &batch);
                }
                Step::EndedByServer(second, channel) => {
                    let name = channel.to_string();
                    if servers[usize::from(second)].has.remove(&name) {
                        subscriptions.confirm_unsubscribed(owner(second), &name);
                    }
                }
                Step::Lose(second) => {
                    servers[usize::from(second)] = Server::default();
                    subscriptions.connection_lost(owner(second));
                }
                Step::Move(to) => {
                    placed = to;
                    // A server ends the subscriptions of slots that it has no longer, and refuses those that are on their way.
                    for (second, server) in servers.iter_mut().enumerate() {
                        server.has.retain(|name| owner_of(to, name) == owner(second == 1));
                        let batch = std::mem::take(&mut server.sent);
                        server.has.retain(|name| !batch.unsubscribe.contains(name));
                        subscriptions.give_back(owner(second == 1), &batch);
                    }
                    subscriptions.reassign(|name| owner_of(to, name));
                }
            }
        }
        for _ in 0..10 {
            for (second, server) in servers.iter_mut().enumerate() {
                server.confirm(&mut subscriptions, owner(second == 1));
                server.sent = subscriptions.next_batch(owner(second == 1), 9);
            }
        }
        for (channel, is_desired) in desired.into_iter().enumerate() {
            let name = channel.to_string();
            let place = usize::from(owner_of(placed, &name) == OTHER);
            proptest::prop_assert_eq!(servers[place].has.contains(&name), is_desired, "{}", name);
        }
    }
}
