//! Pool of connections for slow calls: pages of history and members, leases and tokens. Owns the connections and deadlines, so
//! that a large reply never delays a publish; does not know the commands. Called by the stores and by the broker's reads.

use deadpool::managed::{Manager, Metrics, Object, Pool as Deadpool, RecycleResult};
use deadpool_redis::{PoolError, Runtime};
use redis::{RedisError, Value};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use super::call::Call;
use super::connection::Connection;
use super::connector::Connector;
use super::error::ConnectionRole;
use super::redirect::Failure;

/// Connections that are checked before each use. Waiting, connecting and each command have a deadline.
#[derive(Clone)]
pub(super) struct Pool {
    pool: Deadpool<PoolManager>,
    connector: Connector,
}

/// Makes connections for the pool, and checks each before it is used again.
struct PoolManager(Connector);

impl Manager for PoolManager {
    type Type = Connection;
    type Error = RedisError;

    async fn create(&self) -> Result<Connection, RedisError> {
        let mut connection = self.0.connect(&self.0.config()).await?;
        self.0.check_master(&mut connection).await?;
        Ok(connection)
    }

    /// A replica would answer reads, with old data. The commands of the pool leave no state behind in a connection.
    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<RedisError> {
        Ok(self.0.check_master(connection).await?)
    }
}

impl Pool {
    /// Creates the pool without connections.
    pub(super) fn new(connector: &Connector, size: usize) -> Result<Self, String> {
        let timeout = connector.timeout();
        // An idle connection may be half-open. The check must leave enough time to make another connection.
        let check = timeout / 4;
        let pool = Deadpool::builder(PoolManager(connector.clone()))
            .max_size(size.max(1))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(timeout))
            .create_timeout(Some(timeout))
            .recycle_timeout(Some(check))
            .build()
            .map_err(|e| e.to_string())?;
        Ok(Self { pool, connector: connector.clone() })
    }

    /// Closes the idle connections whenever a server is no longer a master; the others are checked before their next use.
    pub(super) async fn close_demoted(self) {
        let mut demotion = self.connector.watch_demotion();
        loop {
            demotion.raised().await;
            self.pool.retain(|_, _| false);
        }
    }

    /// Makes a call, until the deadline. For `asking`, see [`Call::send`].
    pub(super) async fn call(
        &self,
        call: &Call<'_>,
        asking: bool,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let mut connection = self.take(deadline).await?;
        let outcome = timeout_at(deadline, call.send(&mut connection, asking)).await;
        self.finish(connection, outcome)
    }

    /// Takes a connection.
    async fn take(&self, deadline: Instant) -> Result<Object<PoolManager>, Failure> {
        let get = async {
            self.connector.released().await;
            self.pool.get().await
        };
        let why = match timeout_at(deadline, get).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(PoolError::Backend(error))) => error.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no connection to Redis was free in time".into(),
        };
        Err(Failure::unconnected(ConnectionRole::Pool.refused(why)))
    }

    /// Classifies the outcome of a call.
    fn finish(
        &self,
        connection: Object<PoolManager>,
        outcome: Result<Result<Value, RedisError>, Elapsed>,
    ) -> Result<Value, Failure> {
        // Also a reply that came: a replaced master may still answer, for a moment.
        if !self.connector.is_current(&connection) {
            drop(Object::take(connection));
            return Err(ConnectionRole::Pool.replaced().into());
        }
        match outcome {
            Ok(result) => result.map_err(|error| {
                self.connector.notice_demotion(&error);
                Failure::classify(ConnectionRole::Pool, &error)
            }),
            Err(_) => {
                // The connection may be half-open. Back in the pool, its check would cost the next caller time.
                drop(Object::take(connection));
                Err(ConnectionRole::Pool.timed_out().into())
            }
        }
    }
}
