//! Recovery against a model: a log, its channel, a topic worker whose reads take time, and one member. For events in any
//! order, the member's stream is checked against the promises to a member.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, IoSlice};
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::FutureExt;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use super::*;
use crate::backend::{Entry, Publication};
use crate::chat::outbox::{Outbox, Urgency};
use crate::chat::registry::Registry;
use crate::chat::send_queue::Socket;
use crate::protocol::{ConnectionId, Epoch, RoomName, Topic};

#[derive(Debug, Clone)]
enum Event {
    /// A message is stored, and published so many times on the channel, if the topic is subscribed.
    Append(u8),
    /// So many messages arrive from the channel.
    Arrive(usize),
    /// A message that arrived before arrives again.
    Again(Index),
    Interrupt,
    Restore,
    /// The worker reads, or applies the page that it has read.
    Work,
    /// The read that is under way fails.
    FailToRead,
    CheckTop,
    /// The store drops its oldest messages.
    Trim(Index),
    /// The store loses its newest messages.
    RollBack(Index),
    StartAfresh,
}

fn harmless() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (0_u8..3).prop_map(Event::Append),
        10 => (1_usize..4).prop_map(Event::Arrive),
        2 => any::<Index>().prop_map(Event::Again),
        2 => Just(Event::Interrupt),
        3 => Just(Event::Restore),
        14 => Just(Event::Work),
        1 => Just(Event::FailToRead),
        1 => Just(Event::CheckTop),
    ]
}

fn harmful() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => harmless(),
        1 => any::<Index>().prop_map(Event::Trim),
        1 => any::<Index>().prop_map(Event::RollBack),
        1 => Just(Event::StartAfresh),
    ]
}

/// A socket that takes everything, and keeps it for the member.
#[derive(Default)]
struct Taken(Mutex<Vec<u8>>);

impl Socket for Taken {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut taken = self.0.lock().unwrap();
        let before = taken.len();
        slices.iter().for_each(|slice| taken.extend_from_slice(slice));
        Ok(taken.len() - before)
    }
}

/// A log with its channel, the topic of a node with its worker, and one member.
struct World {
    epoch: Epoch,
    log: Vec<Entry>,
    first_held: usize,
    channel: VecDeque<(Epoch, Entry)>,
    arrived: Vec<(Epoch, Entry)>,
    /// The message before each message, by the id in its body.
    stored: HashMap<MessageId, MessageId>,
    topic: Arc<LocalTopic>,
    outbox: Arc<Outbox>,
    socket: Arc<Taken>,
    /// How often the store lost messages.
    losses: usize,
    /// A message arrived from the channel after the store had lost it.
    has_ghosts: bool,
    is_subscribed: bool,
    has_work: bool,
    read: Option<(Step, Page)>,
    /// The member's position; after a gap, without the message id.
    at: Option<(Epoch, u64, Option<MessageId>)>,
    /// The log's top when it joined.
    joined: Option<Position>,
    received: Vec<MessageId>,
    gaps: usize,
}

impl World {
    fn new() -> Self {
        let (registry, _notices) = Registry::new(1 << 20);
        let name = Topic::Room(RoomName::parse("ops").unwrap());
        let topic = Arc::clone(&Arc::new(registry).hold(&name).topic);
        let outbox = Outbox::new(ConnectionId::generate(), 1 << 20, topic.shared.queued.clone());
        let outbox = Arc::new(outbox);
        let socket = Arc::<Taken>::default();
        outbox.attach(socket.clone());
        topic.begin_join(&outbox, false);
        Self {
            epoch: Epoch::generate(),
            log: Vec::new(),
            first_held: 0,
            channel: VecDeque::new(),
            arrived: Vec::new(),
            stored: HashMap::new(),
            topic,
            outbox,
            socket,
            losses: 0,
            has_ghosts: false,
            is_subscribed: true,
            has_work: true,
            read: None,
            at: None,
            joined: None,
            received: Vec::new(),
            gaps: 0,
        }
    }

    fn top(&self) -> Position {
        let message_id = self.log.last().map_or(MessageId::NONE, |entry| entry.message_id);
        Position { epoch: self.epoch, seq: self.log.len() as u64, message_id }
    }

    fn append(&mut self, copies: u8) {
        let (prev, message_id) = (self.top().message_id, MessageId::generate());
        let body = Bytes::from(format!(r#""message_id":"{message_id}""#));
        let entry = Entry { seq: self.top().seq + 1, message_id, prev, stored_at: 0, body };
        self.stored.insert(message_id, prev);
        if self.is_subscribed {
            self.channel.extend((0..copies).map(|_| (self.epoch, entry.clone())));
        }
        self.log.push(entry);
    }

    /// As a node gets them: messages that arrived together are delivered together.
    fn deliver(&mut self, together: Vec<(Epoch, Entry)>) {
        self.arrived.extend(together.iter().cloned());
        let is_lost = |id| self.log.iter().all(|stored| stored.message_id != id);
        self.has_ghosts |= together.iter().any(|(_, entry)| is_lost(entry.message_id));
        let mut publications =
            together.into_iter().map(|(epoch, entry)| Publication::Message { epoch, entry });
        let _ = self.topic.receive(&mut publications);
        self.has_work |= self.topic.deliver_received();
    }

    fn page(&self, range: Range, most: usize) -> Page {
        let end = self.log.len();
        let held = self.first_held.min(end);
        let page = match range {
            Range::After(seq) => {
                let start = usize::try_from(seq).unwrap().clamp(held, end);
                start..end.min(start + most)
            }
            Range::Newest => held.max(end.saturating_sub(most))..end,
            Range::Top | Range::Before(_) => end..end,
        };
        Page {
            top: self.top(),
            more: page.end < end,
            entries: self.log[page].to_vec(),
            has_changes: false,
            has_rights: false,
        }
    }

    /// As the worker does it, in two halves: between them anything may happen.
    fn work(&mut self) {
        let next = match self.read.take() {
            Some((Step::Compare(reason, range, _), page)) => self.topic.roll_back(reason, range, &page),
            Some((_, page)) => self.topic.apply_page(page),
            None if self.has_work => self.topic.next_step(),
            None => return,
        };
        self.take_up(next);
        let mut state = self.topic.lock();
        if let (None, Some(last)) = (self.at, state.last) {
            self.at = Some((last.epoch, last.seq, Some(last.message_id)));
            self.joined = Some(last);
            state.members.values_mut().for_each(|member| member.state = MemberState::Live);
        }
    }

    fn take_up(&mut self, step: Step) {
        match step {
            // Small, so that a recovery often needs more than one.
            Step::Read(range, _) => self.read = Some((step, self.page(range, 3))),
            Step::Compare(_, range, limit) => {
                self.read = Some((step, self.page(range, limit.messages as usize)));
            }
            Step::Done => {
                let state = self.topic.lock();
                self.has_work = state.recovery.as_ref().is_some_and(|recovery| !recovery.is_interrupted);
            }
        }
    }

    fn check_top(&mut self) {
        let mut state = self.topic.lock();
        if state.last.is_some_and(|last| last != self.top()) && state.recovery.is_none() {
            state.begin_recovery(false);
            self.has_work = true;
        }
    }

    fn restore(&mut self) -> bool {
        let was_lost = !std::mem::replace(&mut self.is_subscribed, true);
        if was_lost {
            self.topic.resume();
            self.has_work = true;
        }
        was_lost
    }

    fn live(&mut self, event: Event) {
        match event {
            Event::Append(copies) => self.append(copies),
            Event::Arrive(count) => {
                let count = count.min(self.channel.len());
                let together = self.channel.drain(..count).collect();
                self.deliver(together);
            }
            Event::Again(which) if self.is_subscribed && !self.arrived.is_empty() => {
                self.deliver(vec![which.get(&self.arrived).clone()]);
            }
            // A topic that loses its subscription before its top is known is started again.
            Event::Interrupt if self.at.is_some() => {
                self.is_subscribed = false;
                self.channel.clear();
                self.topic.interrupt();
            }
            Event::Restore => drop(self.restore()),
            Event::Work => self.work(),
            Event::FailToRead if self.read.take().is_some() => {
                let step = self.topic.next_step();
                self.take_up(step);
            }
            Event::CheckTop => self.check_top(),
            Event::Trim(at) => self.first_held = self.first_held.max(at.index(self.log.len() + 1)),
            Event::RollBack(to) => {
                self.losses += 1;
                self.log.truncate(to.index(self.log.len() + 1));
                self.first_held = self.first_held.min(self.log.len());
            }
            Event::StartAfresh => {
                (self.epoch, self.first_held) = (Epoch::generate(), 0);
                self.losses += 1;
                self.log.clear();
            }
            Event::Again(_) | Event::Interrupt | Event::FailToRead => {}
        }
        let is_recovering =
            self.topic.lock().recovery.as_ref().is_some_and(|recovery| !recovery.is_interrupted);
        assert!(self.has_work || !is_recovering, "messages are missing, and no read is due");
        self.receive();
    }

    /// Each message follows the one before, or the place that a gap announced.
    fn receive(&mut self) {
        self.outbox.flush(Urgency::Soon);
        assert!(self.outbox.work().now_or_never().is_none(), "the outbox has no reason to close");
        let block = std::mem::take(&mut *self.socket.0.lock().unwrap());
        for frame in frames(&block) {
            let body = &frame["message_body"];
            let epoch: Epoch = body["epoch"].as_str().unwrap().parse().unwrap();
            let (before, seq, id) = self.at.expect("the member gets nothing before it has joined");
            if frame["message_type"] == "Gap" {
                self.gaps += 1;
                self.at = Some((epoch, body["next_seq"].as_u64().unwrap() - 1, None));
                continue;
            }
            let message_id: MessageId = body["message_id"].as_str().unwrap().parse().unwrap();
            assert_eq!((epoch, body["seq"].as_u64()), (before, Some(seq + 1)), "{frame}");
            assert!(
                id.is_none_or(|id| id == self.stored[&message_id]),
                "it follows another message: {frame}"
            );
            self.at = Some((epoch, seq + 1, Some(message_id)));
            self.received.push(message_id);
        }
    }

    /// Delivers the rest of the channel, and lets the worker finish. After that, the next message reveals what is missing, or
    /// the comparison of tops if no message comes. If the log lost nothing, the return of the subscription alone is enough.
    /// If it did, a message that waited may have been taken for the next one, or for one that was read with the top: then
    /// only the message after it reveals that.
    fn settle(&mut self, is_quiet: bool) {
        let is_back = self.restore();
        let messages = if is_quiet { 0 } else { 1 + usize::from(self.losses > 0) };
        for _ in 0..messages {
            self.append(1);
            self.drain();
        }
        self.drain();
        if is_quiet && !(is_back && self.losses == 0) {
            self.check_top();
            self.drain();
        }
        self.receive();
        let top = self.top();
        assert_eq!(self.topic.top(), Some(top));
        let (epoch, seq, id) = self.at.unwrap();
        assert_eq!((epoch, seq, id.unwrap_or(top.message_id)), (top.epoch, top.seq, top.message_id));
    }

    /// The messages that were stored after the member joined and can still be read. Ids of one process grow.
    fn held_since_join(&self) -> impl Iterator<Item = MessageId> {
        let joined = self.joined.unwrap().message_id;
        let held = self.log[self.first_held..].iter().map(|entry| entry.message_id);
        held.filter(move |id| *id > joined)
    }

    fn drain(&mut self) {
        let left = self.channel.drain(..).collect();
        self.deliver(left);
        let mut steps = 0;
        while self.has_work || self.read.is_some() {
            self.work();
            steps += 1;
            assert!(steps < 1_000, "the recovery does not end");
        }
    }
}

/// The messages in a block of short frames.
fn frames(mut block: &[u8]) -> Vec<Value> {
    let mut frames = Vec::new();
    while let [_, length, rest @ ..] = block {
        let (length, rest) = match (length, rest) {
            (126, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            (length, rest) => (usize::from(*length), rest),
        };
        let (text, rest) = rest.split_at(length);
        frames.push(serde_json::from_slice(text).unwrap());
        block = rest;
    }
    frames
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Messages may be lost, late or repeated on the channel, and the log may be read at any time: the member gets every
    /// message once.
    #[test]
    fn member_of_a_complete_log_gets_every_message_and_no_gap(
        events in prop::collection::vec(harmless(), 1..120), is_quiet: bool,
    ) {
        let mut world = World::new();
        events.into_iter().for_each(|event| world.live(event));
        world.settle(is_quiet);
        let since: Vec<_> = world.held_since_join().collect();
        prop_assert_eq!((world.gaps, &world.received), (0, &since));
    }

    /// If the store loses messages, none is missing or different without a gap before it. The messages that are still held
    /// come, and come once.
    #[test]
    fn member_gets_a_gap_for_what_the_log_lost(
        events in prop::collection::vec(harmful(), 1..120), is_quiet: bool,
    ) {
        let mut world = World::new();
        events.into_iter().for_each(|event| world.live(event));
        world.settle(is_quiet);
        let missing = world.held_since_join().find(|id| !world.received.contains(id));
        prop_assert_eq!(missing, None, "a message is held, and was skipped");
        prop_assert!(world.gaps == 0 || world.losses + world.first_held > 0, "a gap in a log that lost nothing");
        let once: HashSet<_> = world.received.iter().collect();
        // A second loss during the recovery from the first may repeat messages after its gap. So may lost messages that
        // still arrive from the channel and follow the last one.
        let may_repeat = world.losses > 1 || world.has_ghosts;
        prop_assert!(once.len() == world.received.len() || may_repeat, "a message came twice");
    }
}
