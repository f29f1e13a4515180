//! Which topics are wanted, and how far one connection has got with it. Owns the reconciliation of the two; has no
//! connection, no task and no clock. Called under a lock by the subscriber: from the callers' side (want, unwant) and
//! from the connection's (next batch, confirmed, lost).
//!
//! The wish is the truth, the connection is disposable: each change of a wish only marks its channel as to be looked
//! at, and the connection's side brings what is into line with what is wanted, one batch at a time. So subscribe,
//! unsubscribe, subscribe in any timing end where the last call said.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::protocol::Topic;
use crate::work_queue::WorkQueue;

/// What the present connection has of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Actual {
    Absent,
    Subscribing,
    Present,
    Unsubscribing,
}

#[derive(Debug)]
struct DesiredSubscription {
    topic: Topic,
    desired: bool,
    /// Some caller went away with a yes: a later one that gives up leaves the wish standing.
    acknowledged: bool,
    /// The topic was lost with its connection, and whoever listens was told.
    interrupted: bool,
    actual: Actual,
    waiters: Vec<(u64, oneshot::Sender<()>)>,
    /// Callers who were told yes and have not taken it yet: one may have been dropped just then.
    notified: Vec<u64>,
}

/// The wishes of one connection.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    by_channel: HashMap<String, DesiredSubscription>,
    /// Channels to be looked at; in hand are those that a batch asks the server about. Nothing takes from it while there
    /// is no connection.
    changed: WorkQueue<String>,
    last_ticket: u64,
}

/// The answer to [`Subscriptions::subscribe`].
pub(super) enum SubscribeOutcome {
    /// It is there.
    Active,
    /// It will be; the receiver fails if the wish ends before. The ticket is for [`Subscriptions::acknowledge`] or
    /// [`Subscriptions::cancel`].
    Pending(u64, oneshot::Receiver<()>),
}

/// What is to be sent next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) subscribe: Vec<String>,
    pub(super) unsubscribe: Vec<String>,
}

/// What a confirmation means for those who listen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// A topic that was interrupted is back.
    Restored(Topic),
    /// Nobody needs to be told.
    Unreported,
}

impl Subscriptions {
    /// The topic is wanted from now on.
    pub(super) fn subscribe(&mut self, channel: &str, topic: &Topic) -> SubscribeOutcome {
        let entry = self.by_channel.entry(channel.to_owned()).or_insert_with(|| DesiredSubscription {
            topic: topic.clone(),
            desired: false,
            acknowledged: false,
            interrupted: false,
            actual: Actual::Absent,
            waiters: Vec::new(),
            notified: Vec::new(),
        });
        if !entry.desired {
            entry.desired = true;
            self.changed.add(channel.to_owned());
        }
        if entry.actual == Actual::Present {
            entry.acknowledged = true;
            return SubscribeOutcome::Active;
        }
        self.last_ticket += 1;
        let (sender, receiver) = oneshot::channel();
        entry.waiters.push((self.last_ticket, sender));
        SubscribeOutcome::Pending(self.last_ticket, receiver)
    }

    /// The topic is wanted no longer; who still waits for it learns so.
    pub(super) fn unsubscribe(&mut self, channel: &str) {
        let Some(entry) = self.by_channel.get_mut(channel) else { return };
        entry.desired = false;
        entry.acknowledged = false;
        entry.interrupted = false;
        entry.waiters.clear();
        entry.notified.clear();
        if entry.actual == Actual::Absent {
            self.changed.remove(channel);
            self.by_channel.remove(channel);
        } else {
            self.changed.add(channel.to_owned());
        }
    }

    /// Who was told yes takes it. False if the wish was ended in this moment.
    pub(super) fn acknowledge(&mut self, channel: &str, ticket: u64) -> bool {
        let Some(entry) = self.by_channel.get_mut(channel) else { return false };
        let told = remove(&mut entry.notified, |other| *other == ticket);
        entry.acknowledged |= told;
        told
    }

    /// Who waited, or was told, goes away. The wish ends with the last one, unless it had been fulfilled.
    pub(super) fn cancel(&mut self, channel: &str, ticket: u64) {
        let Some(entry) = self.by_channel.get_mut(channel) else { return };
        let waited = remove(&mut entry.waiters, |(other, _)| *other == ticket);
        let told = remove(&mut entry.notified, |other| *other == ticket);
        if (waited || told) && entry.waiters.is_empty() && entry.notified.is_empty() && !entry.acknowledged {
            self.unsubscribe(channel);
        }
    }

    /// What brings the connection into line, at most `max` channels. Nothing more may be asked until all of them are
    /// confirmed.
    pub(super) fn next_batch(&mut self, max: usize) -> Batch {
        let mut batch = Batch::default();
        while batch.subscribe.len() + batch.unsubscribe.len() < max {
            let Some(channel) = self.changed.try_next() else { break };
            let entry = self.by_channel.get_mut(&channel);
            match entry.map(|entry| (entry.desired, &mut entry.actual)) {
                Some((true, actual @ Actual::Absent)) => {
                    *actual = Actual::Subscribing;
                    batch.subscribe.push(channel);
                }
                Some((false, actual @ Actual::Present)) => {
                    *actual = Actual::Unsubscribing;
                    batch.unsubscribe.push(channel);
                }
                _ => self.changed.done(&channel),
            }
        }
        batch
    }

    /// The server confirmed a subscription.
    pub(super) fn confirm_subscribed(&mut self, channel: &str) -> Confirmation {
        self.changed.done(channel);
        let Some(entry) = self.by_channel.get_mut(channel) else { return Confirmation::Unreported };
        entry.actual = Actual::Present;
        if !entry.desired {
            self.changed.add(channel.to_owned());
            return Confirmation::Unreported;
        }
        let restored = std::mem::take(&mut entry.interrupted);
        for (ticket, waiter) in entry.waiters.drain(..) {
            entry.notified.push(ticket);
            // One that was dropped in this moment does not hear it, and gives up.
            let _ = waiter.send(());
        }
        if restored { Confirmation::Restored(entry.topic.clone()) } else { Confirmation::Unreported }
    }

    /// The server confirmed the end of a subscription.
    pub(super) fn confirm_unsubscribed(&mut self, channel: &str) {
        self.changed.done(channel);
        let Some(entry) = self.by_channel.get_mut(channel) else { return };
        if entry.desired {
            entry.actual = Actual::Absent;
            self.changed.add(channel.to_owned());
        } else {
            self.changed.remove(channel);
            self.by_channel.remove(channel);
        }
    }

    /// Whose the channel is, while it is wanted.
    pub(super) fn topic(&self, channel: &str) -> Option<&Topic> {
        self.by_channel.get(channel).filter(|entry| entry.desired).map(|entry| &entry.topic)
    }

    /// The connection is gone. Returns the topics that it had, which nobody hears of until they are restored.
    pub(super) fn connection_lost(&mut self) -> Vec<Topic> {
        let mut interrupted = Vec::new();
        self.changed.clear();
        self.by_channel.retain(|_, entry| entry.desired);
        for (channel, entry) in &mut self.by_channel {
            entry.actual = Actual::Absent;
            if (entry.acknowledged || !entry.notified.is_empty()) && !entry.interrupted {
                entry.interrupted = true;
                interrupted.push(entry.topic.clone());
            }
            self.changed.add(channel.to_owned());
        }
        interrupted
    }
}

/// True if there was one.
fn remove<T>(list: &mut Vec<T>, is_it: impl Fn(&T) -> bool) -> bool {
    let before = list.len();
    list.retain(|item| !is_it(item));
    list.len() < before
}

#[cfg(test)]
mod tests {
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

    fn soon(wanted: SubscribeOutcome) -> (u64, oneshot::Receiver<()>) {
        match wanted {
            SubscribeOutcome::Pending(ticket, receiver) => (ticket, receiver),
            SubscribeOutcome::Active => panic!("it can't be there yet"),
        }
    }

    fn present(subscriptions: &mut Subscriptions, channel: &str) {
        let (ticket, mut receiver) = soon(subscriptions.subscribe(channel, &topic(channel)));
        assert_eq!(subscriptions.next_batch(9), subscribes(channel));
        subscriptions.confirm_subscribed(channel);
        assert_eq!(receiver.try_recv(), Ok(()));
        assert!(subscriptions.acknowledge(channel, ticket));
    }

    #[test]
    fn who_wants_is_answered_once_the_server_confirms() {
        let mut subscriptions = Subscriptions::default();
        let (_, mut first) = soon(subscriptions.subscribe("a", &topic("a")));
        let (_, mut second) = soon(subscriptions.subscribe("a", &topic("a")));
        assert_eq!(subscriptions.next_batch(9), subscribes("a"));
        assert_eq!(subscriptions.next_batch(9), Batch::default());
        assert!(first.try_recv().is_err());
        assert_eq!(subscriptions.confirm_subscribed("a"), Confirmation::Unreported);
        assert_eq!((first.try_recv(), second.try_recv()), (Ok(()), Ok(())));
        assert!(matches!(subscriptions.subscribe("a", &topic("a")), SubscribeOutcome::Active));
    }

    #[test]
    fn a_wish_that_comes_back_while_its_end_is_on_the_way_is_subscribed_anew() {
        let mut subscriptions = Subscriptions::default();
        present(&mut subscriptions, "a");
        subscriptions.unsubscribe("a");
        assert_eq!(subscriptions.next_batch(9), unsubscribes("a"));
        let (_, mut receiver) = soon(subscriptions.subscribe("a", &topic("a")));
        assert_eq!(subscriptions.next_batch(9), Batch::default());
        subscriptions.confirm_unsubscribed("a");
        assert_eq!(subscriptions.next_batch(9), subscribes("a"));
        subscriptions.confirm_subscribed("a");
        assert_eq!(receiver.try_recv(), Ok(()));
    }

    #[test]
    fn a_wish_that_ends_before_it_is_confirmed_is_unsubscribed() {
        let mut subscriptions = Subscriptions::default();
        let (_, mut receiver) = soon(subscriptions.subscribe("a", &topic("a")));
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
    fn quick_changes_of_mind_send_nothing() {
        let mut subscriptions = Subscriptions::default();
        present(&mut subscriptions, "a");
        subscriptions.unsubscribe("a");
        assert!(matches!(subscriptions.subscribe("a", &topic("a")), SubscribeOutcome::Active));
        assert_eq!(subscriptions.next_batch(9), Batch::default());
    }

    #[test]
    fn a_lost_connection_interrupts_what_was_fulfilled_and_all_is_wanted_again() {
        let mut subscriptions = Subscriptions::default();
        present(&mut subscriptions, "a");
        let (_, mut pending) = soon(subscriptions.subscribe("b", &topic("b")));
        present_end(&mut subscriptions, "c");
        assert_eq!(subscriptions.connection_lost(), vec![topic("a")]);
        assert_eq!(subscriptions.connection_lost(), vec![], "told once");
        let mut batch = subscriptions.next_batch(9);
        batch.subscribe.sort();
        assert_eq!(batch.subscribe, ["a", "b"]);
        assert_eq!(subscriptions.confirm_subscribed("a"), Confirmation::Restored(topic("a")));
        assert_eq!(subscriptions.confirm_subscribed("b"), Confirmation::Unreported);
        assert_eq!(pending.try_recv(), Ok(()));
    }

    /// Was there, and is not wanted any more when the connection goes.
    fn present_end(subscriptions: &mut Subscriptions, channel: &str) {
        let (ticket, _receiver) = soon(subscriptions.subscribe(channel, &topic(channel)));
        subscriptions.next_batch(9);
        subscriptions.confirm_subscribed(channel);
        assert!(subscriptions.acknowledge(channel, ticket));
        subscriptions.unsubscribe(channel);
    }

    #[test]
    fn a_caller_that_is_dropped_just_as_it_is_told_leaves_no_subscription_behind() {
        let mut subscriptions = Subscriptions::default();
        let (ticket, _receiver) = soon(subscriptions.subscribe("a", &topic("a")));
        subscriptions.next_batch(9);
        subscriptions.confirm_subscribed("a");
        subscriptions.cancel("a", ticket);
        assert_eq!(subscriptions.next_batch(9), unsubscribes("a"));
        assert!(!subscriptions.acknowledge("a", ticket));
    }

    #[test]
    fn who_gives_up_takes_the_wish_along_unless_another_has_or_wants_it() {
        let mut subscriptions = Subscriptions::default();
        let (one, _first) = soon(subscriptions.subscribe("a", &topic("a")));
        let (two, _second) = soon(subscriptions.subscribe("a", &topic("a")));
        subscriptions.cancel("a", one);
        assert_eq!(subscriptions.topic("a"), Some(&topic("a")));
        subscriptions.cancel("a", two);
        assert_eq!(subscriptions.topic("a"), None);

        present(&mut subscriptions, "b");
        subscriptions.connection_lost();
        let (ticket, _receiver) = soon(subscriptions.subscribe("b", &topic("b")));
        subscriptions.cancel("b", ticket);
        assert_eq!(subscriptions.topic("b"), Some(&topic("b")), "it was wanted before");
    }

    #[test]
    fn wishes_that_come_and_go_without_a_connection_leave_nothing_behind() {
        let mut subscriptions = Subscriptions::default();
        let _kept = subscriptions.subscribe("kept", &topic("kept"));
        for i in 0..1_000 {
            for channel in ["same", &i.to_string()] {
                let (ticket, _receiver) = soon(subscriptions.subscribe(channel, &topic(channel)));
                subscriptions.cancel(channel, ticket);
            }
        }
        assert_eq!(subscriptions.by_channel.len(), 1);
        assert_eq!(std::iter::from_fn(|| subscriptions.changed.try_next()).collect::<Vec<_>>(), ["kept"]);
    }

    #[test]
    fn a_batch_is_bounded() {
        let mut subscriptions = Subscriptions::default();
        for i in 0..7 {
            subscriptions.subscribe(&i.to_string(), &topic(&i.to_string()));
        }
        assert_eq!(subscriptions.next_batch(5).subscribe.len(), 5);
        assert_eq!(subscriptions.next_batch(5).subscribe.len(), 2);
    }
}
