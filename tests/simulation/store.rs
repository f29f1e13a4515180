//! A model of the store: one log and its channel, with answers that come when the test says so. The logs of all other rooms and
//! users exist and are empty.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use chatnode::backend::{
    BackendError, Broker, Entry, Fold, MessagePage, Notice, Page, PageLimit, Publication, Publish, Range,
    Stored, Unread,
};
use chatnode::protocol::{ConnectionId, Epoch, MessageId, Position, Topic, UserName};
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

    /// A position between the start of the log and its top.
    pub fn position(&self, seq: usize) -> Position {
        let seq = seq % (self.entries.len() + 1);
        let message_id = seq.checked_sub(1).map_or(MessageId::NONE, |at| self.entries[at].message_id);
        Position { epoch: self.epoch, seq: seq as u64, message_id }
    }

    pub fn append(&mut self, copies: u8) {
        let (top, message_id) = (self.top(), MessageId::generate());
        let body = Bytes::from(format!(r#""message_id":"{message_id}""#));
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
        Page { top: self.top(), more: page.end < end, entries: self.entries[page].to_vec() }
    }
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
            return Ok(Page { top, entries: Vec::new(), more: false });
        }
        let page = self.with(|log| log.page(range, limit));
        self.answered().await?;
        Ok(page)
    }

    async fn messages(
        &self,
        topic: &Topic,
        before: Option<u64>,
        limit: PageLimit,
        _: Option<&UserName>,
    ) -> Result<MessagePage, BackendError> {
        let Page { top, entries, more } =
            self.history(topic, before.map_or(Range::Newest, Range::Before), limit).await?;
        let reached = entries.first().map_or(top.seq + 1, |entry| entry.seq);
        let messages = entries.into_iter().map(|entry| (entry, Fold::default())).collect();
        Ok(MessagePage { top, messages, reached, more })
    }

    async fn unread(
        &self,
        _: &Topic,
        _: Option<(Epoch, u64)>,
        _: &UserName,
    ) -> Result<Option<Unread>, BackendError> {
        Err(BackendError::Refused("members count nothing in this model".into()))
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
