//! The topic worker against a broker that notes its calls: a topic is subscribed to and unsubscribed from in turns,
//! whatever a joining member does in between.

use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;

use super::*;
use crate::backend::{MessagePage, Notice, Page, Publish, RoomClaim, RoomUsers, Stored, Unread, UserRights};
use crate::chat::registry::TopicGuard;
use crate::protocol::{ConnectionId, Epoch, RoomName, UserName};

/// Empty logs. Calls `on_unsubscribe` during each unsubscription.
struct NotingBroker {
    epoch: Epoch,
    calls: Mutex<Vec<&'static str>>,
    on_unsubscribe: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl NotingBroker {
    fn note(&self, call: &'static str) {
        self.calls.lock().unwrap().push(call);
    }

    fn calls(&self) -> Vec<&'static str> {
        self.calls.lock().unwrap().clone()
    }
}

#[async_trait]
impl Broker for NotingBroker {
    async fn publish(&self, _: Publish) -> Result<Stored, BackendError> {
        unimplemented!("the worker does not publish")
    }

    async fn announce(&self, _: &Topic, _: Option<ConnectionId>, _: Bytes) -> Result<(), BackendError> {
        unimplemented!("the worker does not announce")
    }

    async fn notify(&self, _: Notice) -> Result<(), BackendError> {
        unimplemented!("the worker does not notify")
    }

    async fn subscribe(&self, _: &Topic) -> Result<(), BackendError> {
        self.note("subscribe");
        Ok(())
    }

    fn unsubscribe(&self, _: &Topic) {
        self.note("unsubscribe");
        if let Some(call) = self.on_unsubscribe.lock().unwrap().take() {
            call();
        }
    }

    async fn history(&self, _: &Topic, _: Range, _: PageLimit) -> Result<Page, BackendError> {
        Ok(Page {
            top: Position::start(self.epoch),
            entries: Vec::new(),
            more: false,
            has_changes: false,
            has_rights: false,
        })
    }

    async fn messages(
        &self,
        _: &Topic,
        _: Range,
        _: PageLimit,
        _: Option<&UserName>,
    ) -> Result<MessagePage, BackendError> {
        unimplemented!("the worker reads no pages for clients")
    }

    async fn unread(
        &self,
        _: &Topic,
        _: Option<(Epoch, u64)>,
        _: &UserName,
    ) -> Result<Option<Unread>, BackendError> {
        unimplemented!("the worker counts nothing for clients")
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
        Ok(vec![Some(Position::start(self.epoch)); topics.len()])
    }

    fn ready(&self) -> bool {
        true
    }
}

struct Fixture {
    registry: Arc<Registry>,
    broker: Arc<NotingBroker>,
    worker: TopicWorker,
    name: Topic,
}

impl Fixture {
    fn new(linger: Duration) -> Self {
        let registry = Arc::new(Registry::new(1 << 20).0);
        let broker = Arc::new(NotingBroker {
            epoch: Epoch::generate(),
            calls: Mutex::default(),
            on_unsubscribe: Mutex::default(),
        });
        let worker = TopicWorker { registry: registry.clone(), broker: broker.clone(), linger };
        Self { registry, broker, worker, name: Topic::Room(RoomName::parse("ops").unwrap()) }
    }

    /// Works until no topic waits.
    async fn work(&self) {
        while let Some(name) = self.registry.work().try_next() {
            self.worker.work_on(name.clone()).await;
            self.registry.work().done(&name);
        }
    }

    async fn join(&self) -> TopicGuard {
        let guard = self.registry.hold(&self.name);
        let (ready, ()) = tokio::join!(self.registry.ready(&guard.topic), self.work());
        ready.unwrap();
        guard
    }

    async fn pass_idle_time(&self) {
        self.registry.enqueue_idle(self.worker.linger);
        self.work().await;
    }
}

#[tokio::test]
async fn topic_without_a_holder_is_unsubscribed_and_removed() {
    let fixture = Fixture::new(Duration::ZERO);
    let guard = fixture.join().await;
    fixture.pass_idle_time().await;
    assert_eq!((fixture.broker.calls(), fixture.registry.len()), (vec!["subscribe"], 1));
    drop(guard);
    fixture.pass_idle_time().await;
    assert_eq!((fixture.broker.calls(), fixture.registry.len()), (vec!["subscribe", "unsubscribe"], 0));
}

#[tokio::test]
async fn topic_lingers_after_its_last_holder() {
    let fixture = Fixture::new(Duration::from_secs(3_600));
    drop(fixture.join().await);
    // Whatever else the worker has to do with it meanwhile.
    fixture.registry.work().add(fixture.name.clone());
    fixture.pass_idle_time().await;
    assert_eq!((fixture.broker.calls(), fixture.registry.len()), (vec!["subscribe"], 1));
    let _guard = fixture.join().await;
    assert_eq!(fixture.broker.calls(), ["subscribe"]);
}

#[tokio::test]
async fn topic_held_again_in_time_stays_subscribed() {
    let fixture = Fixture::new(Duration::ZERO);
    drop(fixture.join().await);
    let _guard = fixture.join().await;
    fixture.pass_idle_time().await;
    assert_eq!((fixture.broker.calls(), fixture.registry.len()), (vec!["subscribe"], 1));
}

#[tokio::test]
async fn join_during_an_unsubscription_subscribes_after_it() {
    let fixture = Fixture::new(Duration::ZERO);
    drop(fixture.join().await);
    let joined = Arc::new(Mutex::new(None));
    let (registry, name, slot) = (fixture.registry.clone(), fixture.name.clone(), joined.clone());
    *fixture.broker.on_unsubscribe.lock().unwrap() = Some(Box::new(move || {
        let guard = registry.hold(&name);
        assert_eq!(registry.ready(&guard.topic).now_or_never(), None, "it waits for a start");
        *slot.lock().unwrap() = Some(guard);
    }));
    fixture.pass_idle_time().await;
    assert_eq!(fixture.broker.calls(), ["subscribe", "unsubscribe", "subscribe"]);
    let guard = joined.lock().unwrap().take().unwrap();
    fixture.registry.ready(&guard.topic).await.unwrap();
    assert_eq!(fixture.registry.len(), 1);
}
