//! One node with its store and its members, and the events that change them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chatnode::backend::{
    Backend, BackendError, Deliver, Embedded, Entry, Interruption, Markers, Publication,
};
use chatnode::chat::{Inlet, Node, RoomRules};
use chatnode::config::Config;
use chatnode::jwt::Verifier;
use chatnode::protocol::{Epoch, MessageId, Position, Topic};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::member::{Member, Request};
use crate::store::Store;
use crate::strangers::Strangers;
use crate::{Event, MEMBERS};

pub struct World {
    store: Store,
    node: Arc<Node>,
    deliver: Arc<dyn Deliver>,
    markers: Arc<dyn Markers>,
    topic: Topic,
    pub members: Vec<Member>,
    strangers: Strangers,
    arrived: Vec<(Epoch, Entry)>,
    is_interrupted: bool,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Queues and rings of a few messages, so that members often lag and logs are often read.
fn settings() -> Config {
    let mut config = Config::default();
    config.limits.max_queue_bytes = 2_000;
    config.limits.messages_per_second = 0;
    config.node.ring_bytes = 1;
    config.node.idle_check = Duration::from_secs(1);
    config.rooms.quiet_above = 0;
    // Enough for the members, with the connections that they have just lost.
    config.max_connections = 4 * MEMBERS;
    config
}

impl World {
    /// Members of a room, or the devices of one user.
    pub async fn new(topic: Topic) -> Self {
        let config = settings();
        let (store, inlet) = (Store::new(topic.clone()), Inlet::new(&config));
        let deliver: Arc<dyn Deliver> = inlet.registry();
        let others = Embedded::new(&config).join(&config, deliver.clone());
        let markers = others.markers.clone();
        let backend = Backend { broker: Arc::new(store.clone()), ..others };
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let rooms = RoomRules::new(&config.rooms).unwrap();
        let jwt = Verifier::new(&config.auth.jwt).unwrap();
        let node = Node::start(config, (rooms, jwt), backend, inlet, &tracker, &stop);
        let members = (0..MEMBERS).map(|at| Member::new(format!("member {at}"), topic.clone())).collect();
        let mut world = Self {
            store,
            node,
            deliver,
            markers,
            topic,
            members,
            strangers: Strangers::default(),
            arrived: Vec::new(),
            is_interrupted: false,
            stop,
        };
        for member in &mut world.members {
            member.connect(&world.node, &[Request::Resume], &world.store);
        }
        world.settle().await;
        world
    }

    /// Lets every task run until it waits.
    async fn settle(&self) {
        for _ in 0..40 {
            tokio::task::yield_now().await;
        }
    }

    fn hand_over(&mut self, publications: Vec<Publication>) {
        for publication in &publications {
            if let Publication::Message { epoch, entry } = publication {
                self.arrived.push((*epoch, entry.clone()));
            }
        }
        if !publications.is_empty() {
            self.deliver.deliver(&self.topic, &mut publications.into_iter());
        }
    }

    /// How far the user's devices have the private log, as the store says.
    async fn cursor(&self) -> Option<Position> {
        match &self.topic {
            Topic::Room(_) => None,
            Topic::User(user) => self.markers.cursor(user).await.unwrap(),
        }
    }

    async fn drain(&mut self, member: usize) {
        let cursor = self.cursor().await;
        let member = &mut self.members[member];
        member.drain(&self.store, cursor).await;
        if member.is_refused {
            member.disconnect();
            member.connect(&self.node, &[Request::Resume], &self.store);
        }
    }

    pub async fn apply(&mut self, event: Event) {
        let topics = [self.topic.clone()];
        match event {
            Event::Append(copies) => self.store.with(|log| log.append(copies)),
            Event::React(back, copies) => self.store.with(|log| log.react(back, copies)),
            Event::Arrive(count) => {
                let together = self.store.with(|log| log.take(count));
                self.hand_over(together);
            }
            Event::Again(which) => {
                if self.store.with(|log| log.is_subscribed) && !self.arrived.is_empty() {
                    let (epoch, entry) = self.arrived[which % self.arrived.len()].clone();
                    self.hand_over(vec![Publication::Message { epoch, entry }]);
                }
            }
            Event::Interrupt => {
                if self.store.with(|log| std::mem::take(&mut log.is_subscribed)) {
                    self.store.with(|log| log.channel = VecDeque::new());
                    self.is_interrupted = true;
                    self.deliver.interrupted(&topics, Interruption::Lost);
                }
            }
            Event::Restore => self.restore(),
            Event::Answer(count) => (0..count).for_each(|_| self.store.answer(Ok(()))),
            Event::FailToRead => self.store.answer(Err(BackendError::Refused("not now".into()))),
            Event::Drain(member) => self.drain(member).await,
            Event::Reconnect(member, firsts) => {
                self.members[member].disconnect();
                self.settle().await;
                self.members[member].connect(&self.node, &firsts, &self.store);
            }
            Event::Ask(member, request) => self.members[member].ask(request, &self.store),
            Event::MoveCursor(member) => {
                let epoch = self.store.with(|log| log.epoch);
                let at = self.members[member].at().filter(|at| at.epoch == epoch);
                if let (Topic::User(user), Some(at)) = (&self.topic, at) {
                    self.markers.advance_cursor(user, at).await.unwrap();
                }
            }
            Event::Pass(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Event::Strangers(address, count) => self.strangers.come(&self.node, address, count),
            Event::StrangersLeave => self.strangers.leave(),
            Event::Trim(at) => self.store.with(|log| {
                log.first_held = log.first_held.max(at % (log.entries.len() + 1));
            }),
            Event::RollBack(to) => self.store.with(|log| {
                log.entries.truncate(to % (log.entries.len() + 1));
                log.first_held = log.first_held.min(log.entries.len());
            }),
            Event::StartAfresh => self.store.with(|log| {
                (log.epoch, log.first_held) = (Epoch::generate(), 0);
                log.entries.clear();
            }),
        }
        self.settle().await;
        // The first member always reads.
        self.drain(0).await;
        self.settle().await;
    }

    fn restore(&mut self) {
        if std::mem::take(&mut self.is_interrupted) {
            self.store.with(|log| log.is_subscribed = true);
            self.deliver.restored(std::slice::from_ref(&self.topic));
        }
    }

    /// The store works, the channel is empty, and every member reads: within ten seconds all are at the top.
    pub async fn settle_all(&mut self) {
        self.store.answer_at_once();
        self.restore();
        let left = self.store.with(|log| log.take(usize::MAX));
        for together in left.chunks(64) {
            self.hand_over(together.to_vec());
        }
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            for member in 0..self.members.len() {
                self.drain(member).await;
            }
        }
        let top = self.store.with(|log| log.top());
        for member in &self.members {
            let is_at_top = self.store.with(|log| member.is_at_top(log));
            assert!(is_at_top, "{} is at {:?}, not at the top, {top:?}", member.name, member.next());
        }
    }

    /// The messages to which a member counts other reactions than the log has.
    pub fn miscounted(&self, member: &Member) -> Vec<MessageId> {
        self.store.with(|log| member.reactions.miscounted(|id| log.reactions(id)))
    }

    /// The messages that were promised to a member, did not come, and can still be read. Ids of one process grow.
    pub fn missing(&self, member: &Member) -> Vec<MessageId> {
        let promised = member.promised.unwrap();
        self.store.with(|log| {
            let held = log.entries[log.first_held..].iter().map(|entry| entry.message_id);
            held.filter(|id| *id > promised && !member.received.contains(id)).collect()
        })
    }
}
