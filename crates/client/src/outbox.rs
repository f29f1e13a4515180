//! What the user said, from the key press to the log. Owns the order (one at a time to each room or person, so that none
//! overtakes another, and none waits for a room that is stuck), the id that a message keeps over every repeat, and when to
//! give up; sends nothing itself. Called by the model.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::wire::{Fault, Seen, Target};

/// How long a message is tried before the user hears that it failed.
const KEEP_TRYING: Duration = Duration::from_secs(60);

/// A repeat must also arrive within the dedupe window.
const MARGIN: Duration = Duration::from_secs(10);

/// Between two tries where the node names no time.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The most messages sent and not answered, over all conversations: well below what a node lets through in the time that
/// a message is tried.
const MOST_IN_FLIGHT: usize = 16;

/// A message on its way.
#[derive(Debug, Clone)]
pub(crate) struct Publish {
    pub(crate) id: String,
    pub(crate) to: Target,
    pub(crate) content: String,
    /// When its turn came.
    began: Option<Instant>,
    /// When it was sent first, if it may have been stored since.
    first_sent: Option<Instant>,
    /// May be stored, for all that is known.
    unknown: bool,
    in_flight: bool,
    /// Was refused, and is tried again.
    is_late: bool,
    not_before: Option<Instant>,
}

impl Publish {
    /// What is known of it where it is given up.
    pub(crate) fn fate(&self) -> &'static str {
        if self.unknown || self.in_flight {
            "no answer came: it may have been stored or not"
        } else {
            "it was not stored"
        }
    }
}

/// What the user should hear of a refusal.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Trying again is no use: the message is no longer on its way.
    Final(Publish),
    /// It will be tried again. Said once of each message, with where it goes.
    FirstOf(Target),
}

/// Messages on their way, oldest first. Not bounded here: who adds to it waits until it is short, or is a person.
#[derive(Debug)]
pub(crate) struct Outbox {
    items: VecDeque<Publish>,
    dedupe: Duration,
    /// Ids that were ever used here.
    own: Seen,
    last_error: String,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        let dedupe = Duration::from_secs(300);
        Self { items: VecDeque::new(), dedupe, own: Seen::default(), last_error: String::new() }
    }

    /// Where a message on its way goes.
    pub(crate) fn target(&self, id: &str) -> Option<&Target> {
        self.items.iter().find(|item| item.id == id).map(|item| &item.to)
    }

    /// The places of the messages whose turn it is: of each room and person the oldest.
    fn heads(&self) -> Vec<usize> {
        let mut before = HashSet::new();
        let places = self.items.iter().enumerate();
        places.filter(|(_, item)| before.insert(&item.to)).map(|(place, _)| place).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// How long the node recognises a repeat.
    pub(crate) fn set_dedupe(&mut self, window: Duration) {
        self.dedupe = window;
    }

    /// Puts it last. Returns its id.
    pub(crate) fn add(&mut self, to: Target, content: String) -> String {
        let id = uuid::Uuid::now_v7().to_string();
        self.own.insert(&id);
        self.items.push_back(Publish {
            id: id.clone(),
            to,
            content,
            began: None,
            first_sent: None,
            unknown: false,
            in_flight: false,
            is_late: false,
            not_before: None,
        });
        id
    }

    /// Whether a message with this id was said here.
    pub(crate) fn is_own(&self, id: &str) -> bool {
        self.own.contains(id)
    }

    /// A message to send now, if it is time and its conversation is open; it is in flight from then on.
    pub(crate) fn next(&mut self, now: Instant, is_open: impl Fn(&Target) -> bool) -> Option<&Publish> {
        let is_full = self.items.iter().filter(|item| item.in_flight).count() >= MOST_IN_FLIGHT;
        let mut due = None;
        for place in self.heads() {
            let head = &mut self.items[place];
            let is_held = head.not_before.is_some_and(|at| at > now) || !is_open(&head.to);
            if head.in_flight || (!is_held && is_full) {
                continue;
            }
            // Held by its own conversation, or on its way: its time runs. Waiting for others is no fault of its own.
            head.began.get_or_insert(now);
            if !is_held {
                due = Some(place);
                break;
            }
        }
        let head = &mut self.items[due?];
        head.in_flight = true;
        head.first_sent.get_or_insert(now);
        Some(head)
    }

    /// It is stored: acknowledged, or seen in its log. False if it was not on its way.
    pub(crate) fn stored(&mut self, id: &str) -> bool {
        let before = self.items.len();
        self.items.retain(|item| item.id != id);
        let was_here = self.items.len() < before;
        if was_here {
            // Its copy in the log may come later than thousands of others were said.
            self.own.insert(id);
        }
        was_here
    }

    /// It was refused. None where there is nothing new to say of it.
    pub(crate) fn refused(&mut self, id: &str, fault: &Fault, now: Instant) -> Option<Refusal> {
        let at = self.items.iter().position(|item| item.id == id)?;
        let item = &mut self.items[at];
        item.in_flight = false;
        item.unknown |= fault.is_unknown();
        if !fault.passes() && fault.code != "not_in_room" {
            return self.items.remove(at).map(Refusal::Final);
        }
        if !item.unknown {
            item.first_sent = None;
        }
        self.last_error.clone_from(&fault.message);
        item.not_before = Some(now + fault.retry_after_ms.map_or(TRY_AGAIN, Duration::from_millis));
        let is_first = fault.passes() && !std::mem::replace(&mut item.is_late, true);
        is_first.then(|| Refusal::FirstOf(item.to.clone()))
    }

    /// The connection is gone: what was in flight may be stored or not.
    pub(crate) fn lost(&mut self, why: &str) {
        why.clone_into(&mut self.last_error);
        for item in self.items.iter_mut().filter(|item| item.in_flight) {
            item.in_flight = false;
            item.unknown = true;
        }
    }

    /// Takes the message that was tried for long enough, and says what is known of it.
    pub(crate) fn give_up(&mut self, now: Instant) -> Option<(Publish, String)> {
        let is_over = |item: &Publish| deadline(item, self.dedupe).is_some_and(|deadline| deadline <= now);
        let place = self.heads().into_iter().find(|place| is_over(&self.items[*place]))?;
        let item = self.items.remove(place)?;
        let fate = item.fate();
        let why =
            if self.last_error.is_empty() { fate.into() } else { format!("{fate} ({})", self.last_error) };
        Some((item, why))
    }

    /// Takes all that can't be said any more because its conversation is closed.
    pub(crate) fn close(&mut self, target: &Target) -> Vec<Publish> {
        let (closed, open) = self.items.drain(..).partition(|item| item.to == *target);
        self.items = open;
        Vec::from_iter::<VecDeque<_>>(closed)
    }

    /// Takes all, since it makes no sense to go on.
    pub(crate) fn close_all(&mut self) -> Vec<Publish> {
        self.items.drain(..).collect()
    }

    /// When something is to be done again.
    pub(crate) fn wake(&self, now: Instant) -> Option<Instant> {
        let moments = self.heads().into_iter().flat_map(|place| {
            let head = &self.items[place];
            [deadline(head, self.dedupe), head.not_before.filter(|at| *at > now && !head.in_flight)]
        });
        moments.flatten().min()
    }
}

/// When to give it up. None before its turn.
fn deadline(item: &Publish, dedupe: Duration) -> Option<Instant> {
    let tried = item.began? + KEEP_TRYING;
    let window = item.first_sent.filter(|_| item.unknown).map(|sent| sent + dedupe.saturating_sub(MARGIN));
    Some(window.map_or(tried, |window| window.min(tried)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chatnode_protocol::RoomName;

    fn room() -> Target {
        Target::Room(RoomName::parse("ops").unwrap())
    }

    fn fault(code: &str, retry_after_ms: Option<u64>) -> Fault {
        let body = serde_json::json!({ "code": code, "message": "no", "retry_after_ms": retry_after_ms });
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn one_at_a_time_in_order_and_the_same_id_after_a_loss() {
        let (mut outbox, now) = (Outbox::new(), Instant::now());
        outbox.add(room(), "one".into());
        outbox.add(room(), "two".into());
        assert!(outbox.next(now, |_| false).is_none(), "the room is not open");
        let first = outbox.next(now, |_| true).unwrap().id.clone();
        assert!(outbox.next(now, |_| true).is_none(), "one is in flight");
        outbox.lost("gone");
        assert_eq!(outbox.next(now, |_| true).unwrap().id, first);
        assert!(outbox.stored(&first) && !outbox.stored(&first));
        assert_eq!(outbox.next(now, |_| true).unwrap().content, "two");
    }

    #[test]
    fn a_conversation_that_is_stuck_holds_no_other() {
        let (mut outbox, now) = (Outbox::new(), Instant::now());
        let person = Target::User(chatnode_protocol::UserName::parse("bob").unwrap());
        outbox.add(room(), "stuck".into());
        outbox.add(person.clone(), "one".into());
        outbox.add(person.clone(), "two".into());
        let is_open = |target: &Target| *target == person;
        assert_eq!(outbox.next(now, is_open).unwrap().content, "one");
        assert!(outbox.next(now, is_open).is_none(), "to each one at a time");
        assert_eq!(outbox.next(now, |_| true).unwrap().content, "stuck");
        outbox.lost("gone");
        let (given_up, _) = outbox.give_up(now + KEEP_TRYING).unwrap();
        assert_eq!(given_up.content, "stuck");
        assert_eq!(outbox.give_up(now + KEEP_TRYING).unwrap().0.content, "one");
        assert!(outbox.give_up(now + KEEP_TRYING).is_none(), "its turn has not come");
    }

    #[test]
    fn what_passes_is_tried_again_when_told_and_what_does_not_is_given_back() {
        let (mut outbox, now) = (Outbox::new(), Instant::now());
        outbox.add(room(), "one".into());
        let id = outbox.next(now, |_| true).unwrap().id.clone();
        let refused = outbox.refused(&id, &fault("unavailable", Some(300)), now);
        assert!(matches!(refused, Some(Refusal::FirstOf(to)) if to == room()));
        assert!(outbox.next(now, |_| true).is_none());
        let later = now + Duration::from_millis(300);
        assert_eq!(outbox.wake(now), Some(later));
        assert_eq!(outbox.next(later, |_| true).unwrap().id, id);
        assert!(outbox.refused(&id, &fault("unavailable", None), later).is_none(), "it was told");
        let refused = outbox.refused(&id, &fault("message_too_large", None), now);
        assert!(matches!(refused, Some(Refusal::Final(publish)) if publish.content == "one"));
    }

    #[test]
    fn it_gives_up_in_time_for_the_dedupe_window_and_says_what_it_knows() {
        let (mut outbox, now) = (Outbox::new(), Instant::now());
        outbox.set_dedupe(Duration::from_secs(30));
        outbox.add(room(), "sent".into());
        outbox.add(room(), "never sent".into());
        outbox.next(now, |_| true).unwrap();
        outbox.lost("gone");
        let window = now + Duration::from_secs(20);
        assert_eq!(outbox.wake(now), Some(window));
        let (given_up, why) = outbox.give_up(window).unwrap();
        assert_eq!((given_up.content.as_str(), why.contains("may have been stored")), ("sent", true));
        assert!(outbox.next(window, |_| false).is_none() && outbox.give_up(window).is_none());
        let (_, why) = outbox.give_up(window + KEEP_TRYING).unwrap();
        assert_eq!(why, "it was not stored (gone)");
    }
}
