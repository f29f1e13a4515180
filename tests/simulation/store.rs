//! A model of the store: one log and its channel, with answers that come when the test says so. The logs of all other rooms and
//! users exist and are empty.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use chatnode::backend::{
    BackendError, Broker, Entry, Fold, MessagePage, Notice, Page, PageLimit, Publication, Publish, Range,
    RoomClaim, RoomUsers, Stored, Unread, UserRights,
};
use chatnode::protocol::{ConnectionId, Epoch, MessageId, Position, RoomName, Topic, UserName};
use tokio::sync::oneshot;

type Answer = oneshot::Sender<Result<(), BackendError>>;

pub struct Log {
    pub epoch: Epoch,
    pub entries: Vec<Entry>,
    pub first_held: usize,
    /// Messages on their way to the node.
    pub channel: VecDeque<(Epoch, Entry)>,
    pub is_subscribed: bool,
    /// The message before each message that was ever stored.
    pub prev: HashMap<MessageId, MessageId>,
    /// The reactions that were ever stored.
    changes: HashSet<MessageId>,
    /// Reads that are not answered yet; `None`: reads are answered at once.
    waiting: Option<VecDeque<Answer>>,
    /// The epoch of the logs that stay empty.
    empty: Epoch,
}

#[derive(Clone)]
pub struct Store {
    topic: Topic,
    log: Arc<Mutex<Log>>,
}

impl Store {
    /// A store whose messages are all in the log of this topic.
    pub fn new(topic: Topic) -> Self {
        let log = Log {
            epoch: Epoch::generate(),
            entries: Vec::new(),
            first_held: 0,
            channel: VecDeque::new(),
            is_subscribed: false,
            prev: HashMap::new(),
            changes: HashSet::new(),
            waiting: Some(VecDeque::new()),
            empty: Epoch::generate(),
        };
        Self { topic, log: Arc::new(Mutex::new(log)) }
    }

    pub fn with<R>(&self, change: impl FnOnce(&mut Log) -> R) -> R {
        change(&mut self.log.lock().unwrap())
    }

    /// Answers the oldest unanswered read, or fails it.
    pub fn answer(&self, answer: Result<(), BackendError>) {
        let next = self.with(|log| log.waiting.as_mut().and_then(VecDeque::pop_front));
        if let Some(next) = next {
            // The caller may have gone.
            let _ = next.send(answer);
        }
    }

    /// Answers all reads at once from now on.
    pub fn answer_at_once(&self) {
        for answer in self.with(|log| log.waiting.take()).into_iter().flatten() {
            let _ = answer.send(Ok(()));
        }
    }

    async fn answered(&self) -> Result<(), BackendError> {
        let answered = self.with(|log| {
            let (answer, answered) = oneshot::channel();
            log.waiting.as_mut().map(|waiting| {
                waiting.push_back(answer);
                answered
            })
        });
        match answered {
            None => Ok(()),
            Some(answered) => answered.await.unwrap_or(Ok(())),
        }
    }
}

impl Log {
    pub fn top(&self) -> Position {
        let message_id = self.entries.last().map_or(MessageId::NONE, |entry| entry.message_id);
        Position { epoch: self.epoch, seq: self.entries.len() as u64, message_id }
    }

    /// Whether this is a position in the log.
    pub fn holds(&self, at: &Position) -> bool {
        at.seq <= self.entries.len() as u64 && self.position(at.seq as usize) == *at
    }

    /// A position between the start of the log and its top.
    pub fn position(&self, seq: usize) -> Position {
        let seq = seq % (self.entries.len() + 1);
        let message_id = seq.checked_sub(1).map_or(MessageId::NONE, |at| self.entries[at].message_id);
        Position { epoch: self.epoch, seq: seq as u64, message_id }
    }

    pub fn append(&mut self, copies: u8) {
        let message_id = MessageId::generate();
        self.store(message_id, format!(r#""message_id":"{message_id}""#), copies);
    }

    /// Appends a reaction to one of the last messages, which is so far back.
    pub fn react(&mut self, back: usize, copies: u8) {
        let messages = self.entries.iter().rev().filter(|entry| target(entry).is_none());
        let Some(target) = messages.map(|entry| entry.message_id).take(back + 1).last() else { return };
        let message_id = MessageId::generate();
        self.changes.insert(message_id);
        let target = format!(r#""target":{{"message_id":"{target}"}}"#);
        self.store(message_id, format!(r#""change":"React",{target},"message_id":"{message_id}""#), copies);
    }

    /// Whether this is the id of a reaction that was ever stored.
    pub fn is_change(&self, id: MessageId) -> bool {
        self.changes.contains(&id)
    }

    /// How many reactions a message has.
    pub fn reactions(&self, id: MessageId) -> usize {
        self.entries.iter().filter(|entry| target(entry) == Some(id)).count()
    }

    fn store(&mut self, message_id: MessageId, body: String, copies: u8) {
        let (top, body) = (self.top(), Bytes::from(body));
        let entry = Entry { seq: top.seq + 1, message_id, prev: top.message_id, stored_at: 0, body };
        self.prev.insert(message_id, top.message_id);
        if self.is_subscribed {
            self.channel.extend((0..copies).map(|_| (self.epoch, entry.clone())));
        }
        self.entries.push(entry);
    }

    /// The messages that arrive together from the channel.
    pub fn take(&mut self, count: usize) -> Vec<Publication> {
        let count = count.min(self.channel.len());
        self.channel.drain(..count).map(|(epoch, entry)| Publication::Message { epoch, entry }).collect()
    }

    fn page(&self, range: Range, limit: PageLimit) -> Page {
        // Small, so that a reader often needs more than one. The page that compares two histories is as large as asked for.
        let most = if limit.messages == 300 { 300 } else { 4 };
        let end = self.entries.len();
        let held = self.first_held.min(end);
        let page = match range {
            Range::Top => end..end,
            Range::After(seq) => {
                let start = usize::try_from(seq).unwrap().clamp(held, end);
                start..end.min(start + most)
            }
            Range::Before(_) | Range::Newest => held.max(end.saturating_sub(most.max(100)))..end,
        };
        let has_changes = self.entries.iter().any(|entry| target(entry).is_some());
        Page {
            top: self.top(),
            more: page.end < end,
            entries: self.entries[page].to_vec(),
            has_changes,
            has_rights: false,
        }
    }

    /// Looks at four entries, so that a search often needs more than one page.
    fn messages(&self, range: Range, limit: PageLimit) -> MessagePage {
        let (top, end) = (self.top(), self.entries.len());
        let held = self.first_held.min(end);
        let index = |seq: u64| usize::try_from(seq).unwrap().clamp(held, end);
        let (mut first, mut last) = match range {
            Range::Top => (end, end),
            Range::After(seq) => (index(seq), end),
            Range::Before(seq) => (held, index(seq.saturating_sub(1))),
            Range::Newest => (held, end),
        };
        let is_forward = matches!(range, Range::After(_));
        if is_forward {
            last = last.min(first + 4)
        } else {
            first = first.max(last.saturating_sub(4))
        }
        let is_message = |at: &usize| target(&self.entries[*at]).is_none();
        let mut found: Vec<usize> = (first..last).filter(is_message).collect();
        while found.len() > limit.messages as usize {
            // The page ends before the first message that is too many.
            if is_forward { last = found.pop().unwrap() } else { first = found.remove(0) + 1 }
        }
        let fold = |entry: &Entry| {
            let count = self.reactions(entry.message_id) as u32;
            let reactions = if count > 0 { vec![("+".to_owned(), count, false)] } else { Vec::new() };
            (entry.clone(), Fold { reactions, ..Fold::default() })
        };
        let messages = found.into_iter().map(|at| fold(&self.entries[at])).collect();
        let more = if is_forward { last < end } else { first > held };
        let looked_at = if first == last { (top.seq + 1, top.seq) } else { (first as u64 + 1, last as u64) };
        MessagePage { top, messages, looked_at, more, has_rights: false }
    }
}

/// The message that a reaction is to.
fn target(entry: &Entry) -> Option<MessageId> {
    let body = std::str::from_utf8(&entry.body).unwrap();
    let (_, target) = body.split_once(r#""target":{"message_id":""#)?;
    Some(target[..36].parse().unwrap())
}

#[async_trait]
impl Broker for Store {
    async fn publish(&self, _publish: Publish) -> Result<Stored, BackendError> {
        Err(BackendError::Refused("members publish nothing in this model".into()))
    }

    async fn announce(&self, _: &Topic, _: Option<ConnectionId>, _: Bytes) -> Result<(), BackendError> {
        Ok(())
    }

    async fn notify(&self, _: Notice) -> Result<(), BackendError> {
        Ok(())
    }

    async fn subscribe(&self, topic: &Topic) -> Result<(), BackendError> {
        if *topic == self.topic {
            self.with(|log| log.is_subscribed = true);
        }
        Ok(())
    }

    fn unsubscribe(&self, topic: &Topic) {
        if *topic == self.topic {
            self.with(|log| {
                log.is_subscribed = false;
                log.channel.clear();
            });
        }
    }

    async fn history(&self, topic: &Topic, range: Range, limit: PageLimit) -> Result<Page, BackendError> {
        if *topic != self.topic {
            let epoch = self.with(|log| log.empty);
            let top = Position { epoch, seq: 0, message_id: MessageId::NONE };
            return Ok(Page { top, entries: Vec::new(), more: false, has_changes: false, has_rights: false });
        }
        let page = self.with(|log| log.page(range, limit));
        self.answered().await?;
        Ok(page)
    }

    async fn messages(
        &self,
        topic: &Topic,
        range: Range,
        limit: PageLimit,
        _: Option<&UserName>,
    ) -> Result<MessagePage, BackendError> {
        let page = self.with(|log| log.messages(range, limit));
        assert_eq!(*topic, self.topic, "only members of the log ask for messages");
        self.answered().await?;
        Ok(page)
    }

    async fn unread(
        &self,
        _: &Topic,
        _: Option<(Epoch, u64)>,
        _: &UserName,
    ) -> Result<Option<Unread>, BackendError> {
        Err(BackendError::Refused("members count nothing in this model".into()))
    }

    async fn rights(&self, _: &RoomName, _: &UserName) -> Result<Option<UserRights>, BackendError> {
        Ok(None)
    }

    async fn claim_room(&self, _: &UserName, _: &RoomName, _: usize) -> Result<RoomClaim, BackendError> {
        Ok(RoomClaim::TooMany)
    }

    async fn release_room(&self, _: &UserName, _: &RoomName) -> Result<(), BackendError> {
        Ok(())
    }

    async fn users(&self, _: &Topic) -> Result<Option<RoomUsers>, BackendError> {
        Ok(None)
    }

    async fn tops(&self, topics: &[Topic]) -> Result<Vec<Option<Position>>, BackendError> {
        let top_of = |log: &Log, topic: &Topic| {
            let empty = Position { epoch: log.empty, seq: 0, message_id: MessageId::NONE };
            if *topic == self.topic { log.top() } else { empty }
        };
        let tops = self.with(|log| topics.iter().map(|topic| Some(top_of(log, topic))).collect());
        self.answered().await?;
        Ok(tops)
    }

    fn ready(&self) -> bool {
        true
    }
}
