//! Desired and actual subscriptions of one connection, or of one to each master of a cluster. Owns their reconciliation; has no
//! connection, no task and no clock. Called under a lock by the subscriber, for its callers (`subscribe`, `unsubscribe`) and for
//! its connection (`next_batch`, `confirm_…`, `connection_lost`).
//!
//! The desired state is authoritative, the connection is disposable. A change of the desired state only marks its channel
//! as changed; the connection's side brings the actual state into line with it, one batch at a time. So any sequence of
//! subscribe and unsubscribe, in any timing, ends in the state of the last call.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::protocol::Topic;
use crate::work_queue::WorkQueue;

/// The connection that a channel belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Owner(pub(super) u64);

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
    owner: Owner,
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

/// All subscriptions.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    by_channel: HashMap<String, DesiredSubscription>,
    /// Channels of each connection whose desired state has changed. A channel is in hand while the server is asked about it.
    /// Without a connection, nothing takes from its queue.
    changed: HashMap<Owner, WorkQueue<String>>,
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) subscribe: Vec<String>,
    pub(super) unsubscribe: Vec<String>,
}

/// Consequence of a confirmation for the listener.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// The topic was interrupted and is now restored.
    Restored(Topic),
    /// The server ended the subscription by itself, as it does when a slot moves: the topic is interrupted.
    Interrupted(Topic),
    /// There is nothing to report.
    Unreported,
}

impl DesiredSubscription {
    /// The topic, if callers have it and were not told yet that it is interrupted.
    fn interrupt(&mut self) -> Option<Topic> {
        let has_it = self.acknowledged || !self.notified.is_empty();
        let is_told = self.interrupted || !has_it;
        self.interrupted |= !is_told;
        (!is_told).then(|| self.topic.clone())
    }
}

impl Subscriptions {
    /// Requests a subscription. A new one is for the connection `owner`.
    pub(super) fn subscribe(&mut self, owner: Owner, channel: &str, topic: &Topic) -> SubscribeOutcome {
        let entry = self.by_channel.entry(channel.to_owned()).or_insert_with(|| DesiredSubscription {
            topic: topic.clone(),
            owner,
            desired: false,
            acknowledged: false,
            interrupted: false,
            actual: Actual::Absent,
            waiters: Vec::new(),
            notified: Vec::new(),
        });
        if !entry.desired {
            entry.desired = true;
            self.changed.entry(entry.owner).or_default().add(channel.to_owned());
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

    /// The connection that a channel belongs to, if anybody wants it or has it.
    pub(super) fn owner(&self, channel: &str) -> Option<Owner> {
        self.by_channel.get(channel).map(|entry| entry.owner)
    }

    /// Ends the subscription. The receivers of waiting callers fail.
    pub(super) fn unsubscribe(&mut self, channel: &str) {
        let Some(entry) = self.by_channel.get_mut(channel) else { return };
        let changed = self.changed.entry(entry.owner).or_default();
        entry.desired = false;
        entry.acknowledged = false;
        entry.interrupted = false;
        entry.waiters.clear();
        entry.notified.clear();
        if entry.actual == Actual::Absent {
            changed.remove(channel);
            self.by_channel.remove(channel);
        } else {
            changed.add(channel.to_owned());
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

    /// Takes the next changes for a connection, at most `max` channels. The caller must not take more before all of them are
    /// confirmed.
    pub(super) fn next_batch(&mut self, owner: Owner, max: usize) -> Batch {
        let mut batch = Batch::default();
        let Some(changed) = self.changed.get(&owner) else { return batch };
        while batch.subscribe.len() + batch.unsubscribe.len() < max {
            let Some(channel) = changed.try_next() else { break };
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
                _ => changed.done(&channel),
            }
        }
        batch
    }

    /// Whether the server has answered every change of a batch, or nobody waits for it any longer.
    pub(super) fn is_settled(&self, owner: Owner, batch: &Batch) -> bool {
        let is_in = |channel: &String, state| {
            self.by_channel.get(channel).is_some_and(|entry| entry.owner == owner && entry.actual == state)
        };
        !batch.subscribe.iter().any(|channel| is_in(channel, Actual::Subscribing))
            && !batch.unsubscribe.iter().any(|channel| is_in(channel, Actual::Unsubscribing))
    }

    /// Makes every change of a batch a change to come again, except those that were confirmed: the server has refused one.
    pub(super) fn give_back(&mut self, owner: Owner, batch: &Batch) {
        for channel in batch.subscribe.iter().chain(&batch.unsubscribe) {
            let Some(entry) = self.by_channel.get_mut(channel).filter(|entry| entry.owner == owner) else {
                continue;
            };
            let changed = self.changed.entry(owner).or_default();
            match entry.actual {
                Actual::Subscribing => entry.actual = Actual::Absent,
                // What the server does not know it has ended.
                Actual::Unsubscribing if !entry.desired => {
                    changed.done(channel);
                    changed.remove(channel);
                    self.by_channel.remove(channel);
                    continue;
                }
                Actual::Unsubscribing => entry.actual = Actual::Absent,
                Actual::Absent | Actual::Present => continue,
            }
            changed.done(channel);
            changed.add(channel.clone());
        }
    }

    /// Records that the server confirmed a subscription on a connection.
    pub(super) fn confirm_subscribed(&mut self, owner: Owner, channel: &str) -> Confirmation {
        let changed = self.changed.entry(owner).or_default();
        changed.done(channel);
        let entry = self.by_channel.get_mut(channel).filter(|entry| entry.owner == owner);
        let Some(entry) = entry else { return Confirmation::Unreported };
        entry.actual = Actual::Present;
        if !entry.desired {
            changed.add(channel.to_owned());
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

    /// Records that the server confirmed the end of a subscription on a connection, or ended it by itself.
    pub(super) fn confirm_unsubscribed(&mut self, owner: Owner, channel: &str) -> Confirmation {
        let entry = self.by_channel.get_mut(channel).filter(|entry| entry.owner == owner);
        let Some(entry) = entry else { return Confirmation::Unreported };
        let changed = self.changed.entry(owner).or_default();
        let mut confirmation = Confirmation::Unreported;
        match entry.actual {
            Actual::Unsubscribing => {}
            Actual::Present => {
                confirmation = entry.interrupt().map_or(confirmation, Confirmation::Interrupted)
            }
            // Of an earlier subscription on this connection. The one that is asked for is confirmed after it.
            Actual::Absent | Actual::Subscribing => return confirmation,
        }
        changed.done(channel);
        if entry.desired {
            entry.actual = Actual::Absent;
            changed.add(channel.to_owned());
        } else {
            changed.remove(channel);
            self.by_channel.remove(channel);
        }
        confirmation
    }

    /// Returns the topic of a channel while its subscription on a connection is desired.
    pub(super) fn topic(&self, owner: Owner, channel: &str) -> Option<&Topic> {
        let entry = self.by_channel.get(channel).filter(|entry| entry.desired && entry.owner == owner);
        entry.map(|entry| &entry.topic)
    }

    /// Records that a connection was lost. Returns the topics that it had: they deliver nothing until they are restored.
    pub(super) fn connection_lost(&mut self, owner: Owner) -> Vec<Topic> {
        let mut interrupted = Vec::new();
        let changed = self.changed.entry(owner).or_default();
        changed.clear();
        self.by_channel.retain(|_, entry| entry.desired || entry.owner != owner);
        for (channel, entry) in self.by_channel.iter_mut().filter(|(_, entry)| entry.owner == owner) {
            entry.actual = Actual::Absent;
            interrupted.extend(entry.interrupt());
            changed.add(channel.to_owned());
        }
        interrupted
    }

    /// Gives each channel to the connection that `owner_of` names for it. Returns the topics of those that another connection had:
    /// they deliver nothing until they are restored.
    pub(super) fn reassign(&mut self, owner_of: impl Fn(&str) -> Owner) -> Vec<Topic> {
        let mut interrupted = Vec::new();
        let moved: Vec<(String, Owner)> = (self.by_channel.iter())
            .map(|(channel, entry)| (channel, entry.owner, owner_of(channel)))
            .filter(|(_, old, new)| old != new)
            .map(|(channel, _, new)| (channel.clone(), new))
            .collect();
        for (channel, new) in moved {
            let Some(entry) = self.by_channel.get_mut(&channel) else { continue };
            if let Some(changed) = self.changed.get(&entry.owner) {
                changed.done(channel.as_str());
                changed.remove(channel.as_str());
            }
            entry.owner = new;
            entry.actual = Actual::Absent;
            if entry.desired {
                interrupted.extend(entry.interrupt());
                self.changed.entry(new).or_default().add(channel);
            } else {
                self.by_channel.remove(&channel);
            }
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
