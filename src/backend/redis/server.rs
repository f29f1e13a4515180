//! One master, which accepts writes. Owns all connections for calls to it, and the publishes that wait for them; knows no other
//! server. Made once for a single Redis, and by the topology for each master of a cluster.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::call::Call;
use super::clock::{LastTime, MonotonicClock};
use super::command_connection::CommandConnection;
use super::connector::Connector;
use super::memory::MemoryGauge;
use super::pool::Pool;
use super::publish_item::{PublishHeader, PublishItem};
use super::publish_queue::{NotPublished, PublishQueue};
use super::redirect::Failure;
use super::slot::Slot;
use crate::config::Redis;
use crate::supervise::until_stopped;

/// Which connections a call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// A shared connection, for calls with a short reply: what waits there goes with one system call.
    Short,
    /// A connection of the pool, for calls that read much or are rare.
    Long,
}

/// What all masters have in common.
#[derive(Clone)]
pub(super) struct ServerTerms {
    pub(super) settings: Redis,
    pub(super) header: PublishHeader,
    pub(super) clock: MonotonicClock,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// The connections to a server. They end with the last handle.
pub(super) struct Server {
    /// Id of the server in its cluster. Empty for a single Redis.
    pub(super) id: String,
    /// Dials the server.
    pub(super) connector: Connector,
    /// Cancelled once the server is no longer used for new calls.
    retired: CancellationToken,
    commands: Arc<[CommandConnection]>,
    /// One for each of `commands`.
    publishes: Vec<PublishQueue>,
    pool: Pool,
    /// Whether the server has memory for messages.
    pub(super) memory: Arc<MemoryGauge>,
    /// When the server last accepted a write.
    pub(super) written: LastTime,
    _stop: DropGuard,
}

impl Server {
    /// Connects in the background.
    ///
    /// # Errors
    /// The settings of the pool are invalid.
    pub(super) fn spawn(id: String, connector: Connector, terms: &ServerTerms) -> Result<Arc<Self>, String> {
        let ServerTerms { settings, header, clock, tracker, stop } = terms;
        let stop = stop.child_token();
        let connections = || -> Arc<[CommandConnection]> {
            let spawn = |_| CommandConnection::spawn(connector.clone(), *clock, tracker, stop.clone());
            (0..settings.command_connections.max(1)).map(spawn).collect()
        };
        let commands = connections();
        // What waits for replicas would delay everything else on its connection.
        let publishing = if header.replicas.is_some() { connections() } else { commands.clone() };
        let pool = Pool::new(&connector, settings.pool_size)?;
        tracker.spawn(until_stopped("pool", &stop, pool.clone().close_demoted()));
        let memory = Arc::<MemoryGauge>::default();
        let header = PublishHeader { memory: memory.clone(), ..header.clone() };
        let retired = CancellationToken::new();
        let publishes = (0..publishing.len())
            .map(|index| {
                let queue = (publishing.clone(), index, header.clone());
                PublishQueue::spawn(queue, retired.clone(), tracker, stop.clone())
            })
            .collect();
        let written = LastTime::never(*clock);
        Ok(Arc::new(Self {
            id,
            connector,
            retired,
            commands,
            publishes,
            pool,
            memory,
            written,
            _stop: stop.drop_guard(),
        }))
    }

    /// Makes a call, until the deadline. For `asking`, see [`Call::send`].
    pub(super) async fn call(
        &self,
        (lane, slot): (Lane, Slot),
        call: &Call<'_>,
        asking: bool,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        match lane {
            Lane::Short => of_slot(&self.commands, slot).call(call, asking, deadline).await,
            Lane::Long => self.pool.call(call, asking, deadline).await,
        }
    }

    /// Publishes, until the deadline. Returns the reply of the script for this publish.
    pub(super) async fn publish(
        &self,
        slot: Slot,
        item: PublishItem,
        asking: bool,
        deadline: Instant,
    ) -> Result<Value, NotPublished> {
        of_slot(&self.publishes, slot).publish(item, asking, deadline).await
    }

    /// The server is no longer a master: what waits for it goes elsewhere, and no reply of it counts.
    pub(super) fn retire(&self) {
        if let Some(master) = self.connector.master() {
            master.retire();
        }
        self.connector.raise_demotion();
        self.retired.cancel();
    }

    /// How many connections for short calls there are: a topic always uses the same one.
    pub(super) fn width(&self) -> usize {
        self.commands.len()
    }

    /// The longest time without a reply on a connection for short calls; `None` before the first reply on each.
    pub(super) fn silence(&self) -> Option<Duration> {
        self.commands
            .iter()
            .map(CommandConnection::silence)
            .try_fold(Duration::ZERO, |longest, silence| Some(longest.max(silence?)))
    }
}

/// The connection for a slot. It is always the same one, so that the connection keeps the order of a topic.
fn of_slot<T>(connections: &[T], slot: Slot) -> &T {
    &connections[slot.index() % connections.len()]
}
