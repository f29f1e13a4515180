//! One connection to Redis. Owns the task that reads and writes it, which ends with the last clone. Made by the connector.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use tokio::task::JoinHandle;

/// A connection; its clones share it.
#[derive(Clone)]
pub(super) struct Connection {
    connection: MultiplexedConnection,
    /// Number of the master that it leads to; 0 where masters have no numbers.
    pub(super) term: u64,
    _driver: Arc<Driver>,
}

/// The task behind a connection. Without an end it would wait for replies that nobody waits for any more.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// A connection to the master of this number, and the future that moves its bytes.
    pub(super) fn spawn(
        connection: MultiplexedConnection,
        driver: impl Future<Output = ()> + Send + 'static,
        term: u64,
    ) -> Self {
        Self { connection, term, _driver: Arc::new(Driver(tokio::spawn(driver))) }
    }
}

impl Deref for Connection {
    type Target = MultiplexedConnection;

    fn deref(&self) -> &MultiplexedConnection {
        &self.connection
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut MultiplexedConnection {
        &mut self.connection
    }
}
