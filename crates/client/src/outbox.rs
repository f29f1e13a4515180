//! The messages of this user, and their changes of messages, that are not known to be stored. Owns their order, the id that each keeps
//! over every attempt, and when to give up; sends nothing itself. Called by the model. They go to each room and user one at a time:
//! none overtakes another, and none waits for a room that is stuck.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use chatnode_protocol::requests::Features;
use chatnode_protocol::{ErrorBody, ErrorCode, Outcome, RequestId, Since, Topic, UserName};

use crate::publish::{Payload, Publish};
use crate::seen::Seen;
use crate::sending::{SendError, StopReason};

/// How long the client tries to send a message, unless the program says otherwise.
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// A repeat must not only be sent within the dedupe window, but also arrive.
const MARGIN: Duration = Duration::from_secs(10);

/// The pause before the next attempt, if the node does not name one. A random, growing one is added.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The highest ceiling of the random part.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// The most messages sent and not answered, over all conversations: well below what a node lets through in the time that
/// the client tries to send a message.
const MAX_IN_FLIGHT: usize = 16;

/// The largest frame that a node accepts; it closes the connection above.
const MAX_FRAME_BYTES: usize = 131_072;

/// What to do about the next message.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// Send this frame.
    Send(String),
    /// No node would accept its frame, or this one does not know what it asks for: it is no longer on its way.
    Failed(Box<Publish>, SendError),
}

/// What a refusal means.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The node would refuse the message again: it is no longer on its way.
    Final(Publish),
    /// The client tries again. Reported once for each message, with its topic.
    First(Topic),
}

/// Whether the same request can succeed later.
pub(crate) fn can_pass(error: &ErrorBody) -> bool {
    matches!(error.code.known(), Some(ErrorCode::Unavailable | ErrorCode::Internal | ErrorCode::RateLimited))
}

/// Whether the node may have carried the request out all the same.
fn may_be_stored(error: &ErrorBody) -> bool {
    match &error.outcome {
        // Any other word counts as unknown: to repeat a message is always safe.
        Some(outcome) => outcome.known() != Some(Outcome::Refused),
        None => error.code.known() == Some(ErrorCode::Internal),
    }
}

/// Messages on their way, oldest first. Not bounded here: programs have a bound in their handle, and people type slowly.
#[derive(Debug)]
pub(crate) struct Outbox {
    items: VecDeque<Publish>,
    timeout: Duration,
    dedupe: Duration,
    /// The ids of messages that were sent here.
    own: Seen<RequestId>,
    last_error: String,
}

impl Outbox {
    /// Tries to send each message for at most this time.
    pub(crate) fn new(timeout: Duration) -> Self {
        let dedupe = Duration::from_secs(300);
        Self { items: VecDeque::new(), timeout, dedupe, own: Seen::default(), last_error: String::new() }
    }

    /// A message on its way, or a change.
    pub(crate) fn find(&self, id: &RequestId) -> Option<&Publish> {
        self.items.iter().find(|item| item.id == *id)
    }

    /// What is on its way to a topic.
    pub(crate) fn payloads(&self, topic: &Topic) -> impl Iterator<Item = &Payload> {
        self.items.iter().filter(move |item| item.topic == *topic).map(|item| &item.payload)
    }

    /// The indices of the messages whose turn it is: the oldest of each topic.
    fn heads(&self) -> Vec<usize> {
        let mut topics = HashSet::new();
        let items = self.items.iter().enumerate();
        items.filter(|(_, item)| topics.insert(&item.topic)).map(|(index, _)| index).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// How long the node recognises a repeat.
    pub(crate) fn set_dedupe(&mut self, window: Duration) {
        self.dedupe = window;
    }

    /// Adds a message or a change at the end.
    pub(crate) fn add(&mut self, id: RequestId, topic: Topic, payload: Payload) {
        self.own.insert(&id);
        self.items.push_back(Publish::new(id, topic, payload));
    }

    /// Whether a message with this id was sent here.
    pub(crate) fn is_own(&self, id: &RequestId) -> bool {
        self.own.contains(id)
    }

    /// Takes up the next message that is due and whose topic is open. It is in flight from then on, unless it is too long, or has
    /// what the node lacks in its `features`.
    pub(crate) fn attempt(
        &mut self,
        me: &UserName,
        received: &Since,
        features: &Features,
        now: Instant,
        is_open: impl Fn(&Topic) -> bool,
    ) -> Option<Attempt> {
        let publish = self.next(now, is_open)?;
        if let Some(word) = publish.payload.lacks(features) {
            let id = publish.id.clone();
            let mut publish = self.take(&id)?;
            publish.is_in_flight = false;
            let error = publish.stopped(StopReason::Unsupported(word));
            return Some(Attempt::Failed(Box::new(publish), error));
        }
        let frame = publish.frame(me, received);
        if frame.len() <= MAX_FRAME_BYTES {
            return Some(Attempt::Send(frame));
        }
        let id = publish.id.clone();
        let publish = self.take(&id)?;
        // What a node would answer, if it read such a frame.
        let (code, message) = (ErrorCode::MessageTooLarge.into(), "the message is too long".into());
        Some(Attempt::Failed(Box::new(publish), SendError::Refused { code, message }))
    }

    fn take(&mut self, id: &RequestId) -> Option<Publish> {
        let index = self.items.iter().position(|item| item.id == *id)?;
        self.items.remove(index)
    }

    fn next(&mut self, now: Instant, is_open: impl Fn(&Topic) -> bool) -> Option<&Publish> {
        let is_full = self.items.iter().filter(|item| item.is_in_flight).count() >= MAX_IN_FLIGHT;
        let mut due = None;
        for index in self.heads() {
            let head = &mut self.items[index];
            let is_held = head.not_before.is_some_and(|at| at > now) || !is_open(&head.topic);
            if head.is_in_flight || (!is_held && is_full) {
                continue;
            }
            // The time of a message runs while it is sent, or while its own topic holds it; not while it waits for others.
            head.began.get_or_insert(now);
            if !is_held {
                due = Some(index);
                break;
            }
        }
        let head = &mut self.items[due?];
        head.is_in_flight = true;
        head.first_sent.get_or_insert(now);
        Some(head)
    }

    /// The message is stored: the node acknowledged it, or it came back with its log. False if it was not on its way.
    pub(crate) fn stored(&mut self, id: &RequestId) -> bool {
        let before = self.items.len();
        self.items.retain(|item| item.id != *id);
        let was_here = self.items.len() < before;
        if was_here {
            // Its copy in the log may come after thousands of other messages were sent: keep its id for longer.
            self.own.insert(id);
        }
        was_here
    }

    /// The node refused the message. `None` if there is nothing new to report.
    pub(crate) fn refused(&mut self, id: &RequestId, error: &ErrorBody, now: Instant) -> Option<Refusal> {
        let index = self.items.iter().position(|item| item.id == *id)?;
        let item = &mut self.items[index];
        item.is_in_flight = false;
        item.is_unknown |= may_be_stored(error);
        if !can_pass(error) && error.code.known() != Some(ErrorCode::NotInRoom) {
            return self.items.remove(index).map(Refusal::Final);
        }
        if !item.is_unknown {
            item.first_sent = None;
        }
        self.last_error.clone_from(&error.message);
        let ordered = error.retry_after_ms.map_or(RETRY_AFTER, Duration::from_millis);
        item.not_before = Some(now + item.back_off.next(Some(ordered), MAX_PAUSE));
        let is_first = can_pass(error) && !std::mem::replace(&mut item.is_late, true);
        is_first.then(|| Refusal::First(item.topic.clone()))
    }

    /// The connection is lost: what was in flight may be stored or not.
    pub(crate) fn lost(&mut self, reason: String) {
        self.last_error = reason;
        for item in self.items.iter_mut().filter(|item| item.is_in_flight) {
            item.is_in_flight = false;
            item.is_unknown = true;
        }
    }

    /// Takes a message whose time is over.
    pub(crate) fn give_up(&mut self, now: Instant) -> Option<(Publish, SendError)> {
        let is_over = |item: &Publish| self.deadline(item).is_some_and(|deadline| deadline <= now);
        let index = self.heads().into_iter().find(|index| is_over(&self.items[*index]))?;
        let item = self.items.remove(index)?;
        let error = item.stopped(StopReason::TimedOut(self.last_error.clone()));
        Some((item, error))
    }

    /// Takes all messages to a topic that was closed.
    pub(crate) fn close(&mut self, topic: &Topic) -> Vec<Publish> {
        let (closed, open) = self.items.drain(..).partition(|item| item.topic == *topic);
        self.items = open;
        Vec::from_iter::<VecDeque<_>>(closed)
    }

    /// Takes all messages, since the client ends.
    pub(crate) fn close_all(&mut self) -> Vec<Publish> {
        self.items.drain(..).collect()
    }

    /// When there is something to do again.
    pub(crate) fn wake(&self, now: Instant) -> Option<Instant> {
        let moments = self.heads().into_iter().flat_map(|index| {
            let head = &self.items[index];
            [self.deadline(head), head.not_before.filter(|at| *at > now && !head.is_in_flight)]
        });
        moments.flatten().min()
    }

    /// When to give a message up. `None` before its turn.
    fn deadline(&self, item: &Publish) -> Option<Instant> {
        let tried = item.began? + self.timeout;
        let window = item.first_sent.filter(|_| item.is_unknown);
        let window = window.map(|sent| sent + self.dedupe.saturating_sub(MARGIN));
        Some(window.map_or(tried, |window| window.min(tried)))
    }
}

#[cfg(test)]
mod tests;
