//! Desired and actual subscriptions of one connection. Owns their reconciliation; has no connection, no task and no clock.
//! Called under a lock by the subscriber, for its callers (`subscribe`, `unsubscribe`) and for its connection
//! (`next_batch`, `confirm_…`, `connection_lost`).
//!
//! The desired state is authoritative, the connection is disposable. A change of the desired state only marks its channel
//! as changed; the connection's side brings the actual state into line with it, one batch at a time. So any sequence of
//! subscribe and unsubscribe, in any timing, ends in the state of the last call.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::protocol::Topic;
use crate::work_queue::WorkQueue;

/// State of one channel on the current connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Actual {
    Absent,
    Subscribing,
    Present,
    Unsubscribing,
}

/// A topic that callers want, or that the connection still has.
#[derive(Debug)]
struct DesiredSubscription {
    topic: Topic,
    desired: bool,
    /// A caller has received the confirmation. From then on, a caller that cancels does not end the subscription.
    acknowledged: bool,
    /// The connection was lost, and the topic was reported as interrupted.
    interrupted: bool,
    actual: Actual,
    waiters: Vec<(u64, oneshot::Sender<()>)>,
    /// Callers that were notified and have not acknowledged yet. A caller may be dropped in between.
    notified: Vec<u64>,
}

/// All subscriptions of one connection.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    by_channel: HashMap<String, DesiredSubscription>,
    /// Channels whose desired state has changed. A channel is in hand while the server is asked about it. Without a
    /// connection, nothing takes from this queue.
    changed: WorkQueue<String>,
    last_ticket: u64,
}

/// Result of [`Subscriptions::subscribe`].
pub(super) enum SubscribeOutcome {
    /// The connection has the subscription.
    Active,
    /// The receiver resolves once the server confirms, and fails if the subscription ends first. The ticket is for
    /// [`Subscriptions::acknowledge`] or [`Subscriptions::cancel`].
    Pending(u64, oneshot::Receiver<()>),
}

/// Changes to send to the server.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) subscribe: Vec<String>,
    pub(super) unsubscribe: Vec<String>,
}

/// Consequence of a confirmation for the listener.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// The topic was interrupted and is now restored.
    Restored(Topic),
    /// There is nothing to report.
    Unreported,
}

impl Subscriptions {
    /// Requests a subscription.
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

    /// Ends the subscription. The receivers of waiting callers fail.
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

    /// A notified caller acknowledges the confirmation. False if the subscription ended in the meantime.
    pub(super) fn acknowledge(&mut self, channel: &str, ticket: u64) -> bool {
        let Some(entry) = self.by_channel.get_mut(channel) else { return false };
        let was_notified = remove(&mut entry.notified, |other| *other == ticket);
        entry.acknowledged |= was_notified;
        was_notified
    }

    /// A waiting or notified caller gives up. The subscription ends with the last such caller, unless one has
    /// acknowledged it.
    pub(super) fn cancel(&mut self, channel: &str, ticket: u64) {
        let Some(entry) = self.by_channel.get_mut(channel) else { return };
        let was_waiting = remove(&mut entry.waiters, |(other, _)| *other == ticket);
        let was_notified = remove(&mut entry.notified, |other| *other == ticket);
        if (was_waiting || was_notified)
            && entry.waiters.is_empty()
            && entry.notified.is_empty()
            && !entry.acknowledged
        {
            self.unsubscribe(channel);
        }
    }

    /// Takes the next changes, at most `max` channels. The caller must not take more before all of them are confirmed.
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

    /// Records that the server confirmed a subscription.
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
            // Fails if the caller was just dropped. Its drop then cancels the ticket.
            let _ = waiter.send(());
        }
        if restored { Confirmation::Restored(entry.topic.clone()) } else { Confirmation::Unreported }
    }

    /// Records that the server confirmed the end of a subscription.
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

    /// Returns the topic of a channel while its subscription is desired.
    pub(super) fn topic(&self, channel: &str) -> Option<&Topic> {
        self.by_channel.get(channel).filter(|entry| entry.desired).map(|entry| &entry.topic)
    }

    /// Records that the connection was lost. Returns the topics that it had: they deliver nothing until they are restored.
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

/// Removes the matching items. True if there was one.
fn remove<T>(list: &mut Vec<T>, matches: impl Fn(&T) -> bool) -> bool {
    let before = list.len();
    list.retain(|item| !matches(item));
    list.len() < before
}

#[cfg(test)]
mod tests;
