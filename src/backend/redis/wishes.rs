//! Which topics are wanted, and how far one connection has got with it. Owns the reconciliation of the two; has no
//! connection, no task and no clock. Called under a lock by the subscriber: from the callers' side (want, unwant) and
//! from the connection's (next batch, confirmed, lost).
//!
//! The wish is the truth, the connection is disposable: each change of a wish only marks its channel as to be looked
//! at, and the connection's side brings what is into line with what is wanted, one batch at a time. So subscribe,
//! unsubscribe, subscribe in any timing end where the last call said.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::turns::Turns;
use crate::backend::Topic;

/// What the present connection has of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Actual {
    Absent,
    Subscribing,
    Present,
    Unsubscribing,
}

#[derive(Debug)]
struct Wish {
    topic: Topic,
    wanted: bool,
    /// Some caller went away with a yes: a later one that gives up leaves the wish standing.
    fulfilled: bool,
    /// The topic was lost with its connection, and whoever listens was told.
    interrupted: bool,
    actual: Actual,
    waiters: Vec<(u64, oneshot::Sender<()>)>,
    /// Callers who were told yes and have not taken it yet: one may have been dropped just then.
    told: Vec<u64>,
}

/// The wishes of one connection.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    by_channel: HashMap<String, Wish>,
    /// Channels to be looked at. Nothing takes from it while there is no connection.
    changed: Turns,
    last_ticket: u64,
}

/// The answer to [`Wishes::want`].
pub(super) enum Wanted {
    /// It is there.
    Present,
    /// It will be; the receiver fails if the wish ends before. The ticket is for [`Wishes::take`] or
    /// [`Wishes::give_up`].
    Soon(u64, oneshot::Receiver<()>),
}

/// What is to be sent next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) subscribe: Vec<String>,
    pub(super) unsubscribe: Vec<String>,
}

/// What a confirmation means for those who listen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Confirmed {
    /// A topic that was interrupted is back.
    Restored(Topic),
    /// Nobody needs to be told.
    Quietly,
}

impl Wishes {
    /// The topic is wanted from now on.
    pub(super) fn want(&mut self, channel: &str, topic: &Topic) -> Wanted {
        let wish = self.by_channel.entry(channel.to_owned()).or_insert_with(|| Wish {
            topic: topic.clone(),
            wanted: false,
            fulfilled: false,
            interrupted: false,
            actual: Actual::Absent,
            waiters: Vec::new(),
            told: Vec::new(),
        });
        if !wish.wanted {
            wish.wanted = true;
            self.changed.add(channel);
        }
        if wish.actual == Actual::Present {
            wish.fulfilled = true;
            return Wanted::Present;
        }
        self.last_ticket += 1;
        let (sender, receiver) = oneshot::channel();
        wish.waiters.push((self.last_ticket, sender));
        Wanted::Soon(self.last_ticket, receiver)
    }

    /// The topic is wanted no longer; who still waits for it learns so.
    pub(super) fn unwant(&mut self, channel: &str) {
        let Some(wish) = self.by_channel.get_mut(channel) else { return };
        wish.wanted = false;
        wish.fulfilled = false;
        wish.interrupted = false;
        wish.waiters.clear();
        wish.told.clear();
        if wish.actual == Actual::Absent {
            self.changed.remove(channel);
            self.by_channel.remove(channel);
        } else {
            self.changed.add(channel);
        }
    }

    /// Who was told yes takes it. False if the wish was ended in this moment.
    pub(super) fn take(&mut self, channel: &str, ticket: u64) -> bool {
        let Some(wish) = self.by_channel.get_mut(channel) else { return false };
        let told = remove(&mut wish.told, |other| *other == ticket);
        wish.fulfilled |= told;
        told
    }

    /// Who waited, or was told, goes away. The wish ends with the last one, unless it had been fulfilled.
    pub(super) fn give_up(&mut self, channel: &str, ticket: u64) {
        let Some(wish) = self.by_channel.get_mut(channel) else { return };
        let waited = remove(&mut wish.waiters, |(other, _)| *other == ticket);
        let told = remove(&mut wish.told, |other| *other == ticket);
        if (waited || told) && wish.waiters.is_empty() && wish.told.is_empty() && !wish.fulfilled {
            self.unwant(channel);
        }
    }

    /// What brings the connection into line, at most `max` channels. Nothing more may be asked until all of them are
    /// confirmed.
    pub(super) fn next_batch(&mut self, max: usize) -> Batch {
        let mut batch = Batch::default();
        while batch.subscribe.len() + batch.unsubscribe.len() < max {
            let Some(channel) = self.changed.next() else { break };
            let Some(wish) = self.by_channel.get_mut(&channel) else { continue };
            match (wish.wanted, wish.actual) {
                (true, Actual::Absent) => {
                    wish.actual = Actual::Subscribing;
                    batch.subscribe.push(channel);
                }
                (false, Actual::Present) => {
                    wish.actual = Actual::Unsubscribing;
                    batch.unsubscribe.push(channel);
                }
                _ => {}
            }
        }
        batch
    }

    /// The server confirmed a subscription.
    pub(super) fn subscribed(&mut self, channel: &str) -> Confirmed {
        let Some(wish) = self.by_channel.get_mut(channel) else { return Confirmed::Quietly };
        wish.actual = Actual::Present;
        if !wish.wanted {
            self.changed.add(channel);
            return Confirmed::Quietly;
        }
        let restored = std::mem::take(&mut wish.interrupted);
        for (ticket, waiter) in wish.waiters.drain(..) {
            wish.told.push(ticket);
            // One that was dropped in this moment does not hear it, and gives up.
            let _ = waiter.send(());
        }
        if restored { Confirmed::Restored(wish.topic.clone()) } else { Confirmed::Quietly }
    }

    /// The server confirmed the end of a subscription.
    pub(super) fn unsubscribed(&mut self, channel: &str) {
        let Some(wish) = self.by_channel.get_mut(channel) else { return };
        if wish.wanted {
            wish.actual = Actual::Absent;
            self.changed.add(channel);
        } else {
            self.changed.remove(channel);
            self.by_channel.remove(channel);
        }
    }

    /// Whose the channel is, while it is wanted.
    pub(super) fn topic(&self, channel: &str) -> Option<&Topic> {
        self.by_channel.get(channel).filter(|wish| wish.wanted).map(|wish| &wish.topic)
    }

    /// The connection is gone. Returns the topics that it had, which nobody hears of until they are restored.
    pub(super) fn lost(&mut self) -> Vec<Topic> {
        let mut interrupted = Vec::new();
        self.changed.clear();
        self.by_channel.retain(|_, wish| wish.wanted);
        for (channel, wish) in &mut self.by_channel {
            wish.actual = Actual::Absent;
            if (wish.fulfilled || !wish.told.is_empty()) && !wish.interrupted {
                wish.interrupted = true;
                interrupted.push(wish.topic.clone());
            }
            self.changed.add(channel);
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

    fn soon(wanted: Wanted) -> (u64, oneshot::Receiver<()>) {
        match wanted {
            Wanted::Soon(ticket, receiver) => (ticket, receiver),
            Wanted::Present => panic!("it can't be there yet"),
        }
    }

    fn present(wishes: &mut Wishes, channel: &str) {
        let (ticket, mut receiver) = soon(wishes.want(channel, &topic(channel)));
        assert_eq!(wishes.next_batch(9), subscribes(channel));
        wishes.subscribed(channel);
        assert_eq!(receiver.try_recv(), Ok(()));
        assert!(wishes.take(channel, ticket));
    }

    #[test]
    fn who_wants_is_answered_once_the_server_confirms() {
        let mut wishes = Wishes::default();
        let (_, mut first) = soon(wishes.want("a", &topic("a")));
        let (_, mut second) = soon(wishes.want("a", &topic("a")));
        assert_eq!(wishes.next_batch(9), subscribes("a"));
        assert_eq!(wishes.next_batch(9), Batch::default());
        assert!(first.try_recv().is_err());
        assert_eq!(wishes.subscribed("a"), Confirmed::Quietly);
        assert_eq!((first.try_recv(), second.try_recv()), (Ok(()), Ok(())));
        assert!(matches!(wishes.want("a", &topic("a")), Wanted::Present));
    }

    #[test]
    fn a_wish_that_comes_back_while_its_end_is_on_the_way_is_subscribed_anew() {
        let mut wishes = Wishes::default();
        present(&mut wishes, "a");
        wishes.unwant("a");
        assert_eq!(wishes.next_batch(9), unsubscribes("a"));
        let (_, mut receiver) = soon(wishes.want("a", &topic("a")));
        assert_eq!(wishes.next_batch(9), Batch::default());
        wishes.unsubscribed("a");
        assert_eq!(wishes.next_batch(9), subscribes("a"));
        wishes.subscribed("a");
        assert_eq!(receiver.try_recv(), Ok(()));
    }

    #[test]
    fn a_wish_that_ends_before_it_is_confirmed_is_unsubscribed() {
        let mut wishes = Wishes::default();
        let (_, mut receiver) = soon(wishes.want("a", &topic("a")));
        assert_eq!(wishes.next_batch(9), subscribes("a"));
        wishes.unwant("a");
        assert!(receiver.try_recv().is_err());
        assert_eq!(wishes.topic("a"), None);
        wishes.subscribed("a");
        assert_eq!(wishes.next_batch(9), unsubscribes("a"));
        wishes.unsubscribed("a");
        assert!(wishes.by_channel.is_empty());
    }

    #[test]
    fn quick_changes_of_mind_send_nothing() {
        let mut wishes = Wishes::default();
        present(&mut wishes, "a");
        wishes.unwant("a");
        assert!(matches!(wishes.want("a", &topic("a")), Wanted::Present));
        assert_eq!(wishes.next_batch(9), Batch::default());
    }

    #[test]
    fn a_lost_connection_interrupts_what_was_fulfilled_and_all_is_wanted_again() {
        let mut wishes = Wishes::default();
        present(&mut wishes, "a");
        let (_, mut pending) = soon(wishes.want("b", &topic("b")));
        present_end(&mut wishes, "c");
        assert_eq!(wishes.lost(), vec![topic("a")]);
        assert_eq!(wishes.lost(), vec![], "told once");
        let mut batch = wishes.next_batch(9);
        batch.subscribe.sort();
        assert_eq!(batch.subscribe, ["a", "b"]);
        assert_eq!(wishes.subscribed("a"), Confirmed::Restored(topic("a")));
        assert_eq!(wishes.subscribed("b"), Confirmed::Quietly);
        assert_eq!(pending.try_recv(), Ok(()));
    }

    /// Was there, and is not wanted any more when the connection goes.
    fn present_end(wishes: &mut Wishes, channel: &str) {
        let (ticket, _receiver) = soon(wishes.want(channel, &topic(channel)));
        wishes.next_batch(9);
        wishes.subscribed(channel);
        assert!(wishes.take(channel, ticket));
        wishes.unwant(channel);
    }

    #[test]
    fn a_caller_that_is_dropped_just_as_it_is_told_leaves_no_subscription_behind() {
        let mut wishes = Wishes::default();
        let (ticket, _receiver) = soon(wishes.want("a", &topic("a")));
        wishes.next_batch(9);
        wishes.subscribed("a");
        wishes.give_up("a", ticket);
        assert_eq!(wishes.next_batch(9), unsubscribes("a"));
        assert!(!wishes.take("a", ticket));
    }

    #[test]
    fn who_gives_up_takes_the_wish_along_unless_another_has_or_wants_it() {
        let mut wishes = Wishes::default();
        let (one, _first) = soon(wishes.want("a", &topic("a")));
        let (two, _second) = soon(wishes.want("a", &topic("a")));
        wishes.give_up("a", one);
        assert_eq!(wishes.topic("a"), Some(&topic("a")));
        wishes.give_up("a", two);
        assert_eq!(wishes.topic("a"), None);

        present(&mut wishes, "b");
        wishes.lost();
        let (ticket, _receiver) = soon(wishes.want("b", &topic("b")));
        wishes.give_up("b", ticket);
        assert_eq!(wishes.topic("b"), Some(&topic("b")), "it was wanted before");
    }

    #[test]
    fn wishes_that_come_and_go_without_a_connection_leave_nothing_behind() {
        let mut wishes = Wishes::default();
        let _kept = wishes.want("kept", &topic("kept"));
        for i in 0..1_000 {
            for channel in ["same", &i.to_string()] {
                let (ticket, _receiver) = soon(wishes.want(channel, &topic(channel)));
                wishes.give_up(channel, ticket);
            }
        }
        assert_eq!(wishes.by_channel.len(), 1);
        assert_eq!(std::iter::from_fn(|| wishes.changed.next()).collect::<Vec<_>>(), ["kept"]);
    }

    #[test]
    fn a_batch_is_bounded() {
        let mut wishes = Wishes::default();
        for i in 0..7 {
            wishes.want(&i.to_string(), &topic(&i.to_string()));
        }
        assert_eq!(wishes.next_batch(5).subscribe.len(), 5);
        assert_eq!(wishes.next_batch(5).subscribe.len(), 2);
    }
}
