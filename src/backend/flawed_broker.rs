//! A broker with a deliberate flaw, for the test of the history checker. Owns the flaws that show between the chat layer
//! and its store; those that the node would repair by itself stand in the chat layer. Only with the feature
//! `failpoints`, put around the real broker by `connect`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Asker, BackendError, Broker, Deliver, MessagePage, Notice, Page, PageLimit, Publish, Range, RoomClaim,
    RoomUsers, Stored, Unread, UserRights,
};
use crate::failpoints::{self, Failpoint};
use crate::protocol::{ConnectionId, Epoch, Position, RoomName, Topic, UserName};

pub(super) struct FlawedBroker {
    broker: Arc<dyn Broker>,
    deliver: Arc<dyn Deliver>,
    /// The last position of each log at which this node stored a message.
    stored: Mutex<HashMap<Topic, Position>>,
    /// The last page of the newest messages of each log.
    pages: Mutex<HashMap<Topic, MessagePage>>,
}

impl FlawedBroker {
    pub(super) fn new(broker: Arc<dyn Broker>, deliver: Arc<dyn Deliver>) -> Self {
        Self { broker, deliver, stored: Mutex::default(), pages: Mutex::default() }
    }

    /// [`Failpoint::AckFirst`]: an answer in any case. It names the place where the message would be: nothing but the log
    /// can tell that it is not there.
    async fn publish_unproven(&self, publish: Publish) -> Result<Stored, BackendError> {
        let Some(topic) = publish.topics.last().cloned() else { return self.broker.publish(publish).await };
        let (message_id, sent_at) = (publish.message_id, publish.sent_at);
        let result = self.broker.publish(publish).await;
        let mut known = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(stored) => {
                known.insert(topic, stored.position);
                Ok(stored)
            }
            Err(error) => {
                let last = known.get(&topic).ok_or(error)?;
                let position = Position { epoch: last.epoch, seq: last.seq + 1, message_id };
                Ok(Stored { position, sent_at, duplicate: false, logs_begun: 0, is_unchanged: false })
            }
        }
    }
}

#[async_trait]
impl Broker for FlawedBroker {
    async fn publish(&self, mut publish: Publish) -> Result<Stored, BackendError> {
        if failpoints::is(Failpoint::AckFirst) {
            return self.publish_unproven(publish).await;
        }
        if failpoints::is(Failpoint::NoDedupe) {
            publish.dedupe_key = None;
        }
        if failpoints::is(Failpoint::IgnoreRights) {
            publish.asker = Asker::Server;
        }
        self.broker.publish(publish).await
    }

    async fn announce(
        &self,
        topic: &Topic,
        origin: Option<ConnectionId>,
        body: Bytes,
    ) -> Result<(), BackendError> {
        self.broker.announce(topic, origin, body).await
    }

    async fn notify(&self, notice: Notice) -> Result<(), BackendError> {
        if matches!(notice, Notice::UserTokensRevoked(_)) && failpoints::is(Failpoint::LocalRevoke) {
            self.deliver.notice(notice);
            return Ok(());
        }
        self.broker.notify(notice).await
    }

    async fn subscribe(&self, topic: &Topic) -> Result<(), BackendError> {
        self.broker.subscribe(topic).await
    }

    fn unsubscribe(&self, topic: &Topic) {
        self.broker.unsubscribe(topic);
    }

    async fn history(&self, topic: &Topic, range: Range, limit: PageLimit) -> Result<Page, BackendError> {
        self.broker.history(topic, range, limit).await
    }

    async fn messages(
        &self,
        topic: &Topic,
        range: Range,
        limit: PageLimit,
        reader: Option<&UserName>,
    ) -> Result<MessagePage, BackendError> {
        let page = self.broker.messages(topic, range, limit, reader).await?;
        if range == Range::Newest && failpoints::is(Failpoint::StalePage) {
            let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
            return Ok(pages.insert(topic.clone(), page.clone()).unwrap_or(page));
        }
        Ok(page)
    }

    async fn unread(
        &self,
        topic: &Topic,
        marker: Option<(Epoch, u64)>,
        user: &UserName,
    ) -> Result<Option<Unread>, BackendError> {
        self.broker.unread(topic, marker, user).await
    }

    async fn rights(&self, room: &RoomName, user: &UserName) -> Result<Option<UserRights>, BackendError> {
        self.broker.rights(room, user).await
    }

    async fn claim_room(
        &self,
        user: &UserName,
        room: &RoomName,
        most: usize,
    ) -> Result<RoomClaim, BackendError> {
        self.broker.claim_room(user, room, most).await
    }

    async fn release_room(&self, user: &UserName, room: &RoomName) -> Result<(), BackendError> {
        self.broker.release_room(user, room).await
    }

    async fn users(&self, log: &Topic) -> Result<Option<RoomUsers>, BackendError> {
        self.broker.users(log).await
    }

    async fn tops(&self, topics: &[Topic]) -> Result<Vec<Option<Position>>, BackendError> {
        self.broker.tops(topics).await
    }

    fn ready(&self) -> bool {
        self.broker.ready()
    }
}
