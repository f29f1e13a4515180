//! Publishes that wait for their turn on one command connection. Owns the queue, and how publishes become calls of
//! `publish.lua`: while one call is under way, the next ones gather, and then go as one call. Used by the broker.
//!
//! No timer delays a publish: if no call is under way, it goes at once. A call is atomic and costs Redis less than one call for
//! each publish. All keys of a call are in one slot. For a single Redis, all are in the same one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use futures_util::future::join_all;
use redis::{Cmd, RedisError, Value, from_redis_value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::call::Call;
use super::command_connection::CommandConnection;
use super::error::ConnectionRole;
use super::publish_item::{PublishHeader, PublishItem};
use super::redirect::Failure;
use super::replicas;
use super::script::PUBLISH;
use crate::backend::BackendError;
use crate::supervise::until_stopped;
use crate::traces::PublishSpan;

/// Maximum of publishes in one call. Redis works on nothing else during a call.
const ITEMS_PER_CALL: usize = 64;

/// Maximum of the bodies in one call. A larger body goes alone.
const BYTES_PER_CALL: usize = 64 << 10;

/// Publishes that wait in the queue before a caller waits. The number of callers is bounded: one per client connection.
const QUEUE: usize = 512;

/// A publish that failed.
pub(super) struct NotPublished {
    pub(super) failure: Failure,
    /// The publish, if another server may take it.
    pub(super) item: Option<Box<PublishItem>>,
}

impl From<BackendError> for NotPublished {
    fn from(error: BackendError) -> Self {
        Self { failure: error.into(), item: None }
    }
}

/// Where a publish is.
#[derive(Default)]
struct Progress(AtomicU8);

impl Progress {
    const WAITING: u8 = 0;
    const SENT: u8 = 1;
    const GIVEN_UP: u8 = 2;

    /// Leaves the queue for `next`. False if it has left already.
    fn leave(&self, next: u8) -> bool {
        self.0.compare_exchange(Self::WAITING, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

struct Waiting {
    item: PublishItem,
    progress: Arc<Progress>,
    reply: oneshot::Sender<Result<Value, NotPublished>>,
    deadline: Instant,
}

/// The publishes of one command connection.
pub(super) struct PublishQueue {
    queue: mpsc::Sender<Waiting>,
    commands: Arc<[CommandConnection]>,
    index: usize,
    header: PublishHeader,
}

impl PublishQueue {
    /// Starts the task that sends the publishes of the connection with this index.
    pub(super) fn spawn(
        (commands, index, header): (Arc<[CommandConnection]>, usize, PublishHeader),
        retired: CancellationToken,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let own = Self { queue, commands: commands.clone(), index, header: header.clone() };
        let task = async move {
            let mut gatherer = Gatherer { queue: receiver, next: None };
            // What waits for a connection is not sent, and so its caller can give it up.
            while retired.run_until_cancelled(commands[index].usable()).await.flatten().is_some() {
                let Some(batch) = retired.run_until_cancelled(gatherer.batch()).await.flatten() else {
                    break;
                };
                let calls =
                    by_slot(batch).into_iter().map(|batch| send(&commands[index], &header, batch, false));
                join_all(calls).await;
            }
            gatherer.return_all().await;
        };
        tracker.spawn(until_stopped("publishes", &stop, task));
        own
    }

    /// Publishes, until the deadline. Returns the reply of the script for this publish. For `asking`, see `Call::send`.
    pub(super) async fn publish(
        &self,
        item: PublishItem,
        asking: bool,
        deadline: Instant,
    ) -> Result<Value, NotPublished> {
        let (reply, replied) = oneshot::channel();
        let progress = Arc::new(Progress::default());
        let waiting = Waiting { item, progress: progress.clone(), reply, deadline };
        let not_sent = || ConnectionRole::Command.refused("the publish was not sent to Redis in time");
        if asking {
            progress.leave(Progress::SENT);
            send(&self.commands[self.index], &self.header, vec![waiting], true).await;
            return replied.await.unwrap_or_else(|_| Err(ConnectionRole::Command.timed_out().into()));
        }
        // Also if the caller is dropped while it waits: then nothing is sent for it.
        let _guard = GiveUp(&progress);
        match timeout_at(deadline, self.queue.send(waiting)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(ConnectionRole::Command.refused("the node stops").into()),
            Err(_) => return Err(not_sent().into()),
        }
        match timeout_at(deadline, replied).await {
            Ok(Ok(reply)) => reply,
            _ if progress.leave(Progress::GIVEN_UP) => Err(not_sent().into()),
            _ => Err(ConnectionRole::Command.timed_out().into()),
        }
    }
}

struct GiveUp<'a>(&'a Progress);

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        self.0.leave(Progress::GIVEN_UP);
    }
}

/// Takes what waits, as much as fits into one call.
struct Gatherer {
    queue: mpsc::Receiver<Waiting>,
    /// Taken from the queue, but too large for the call before.
    next: Option<Waiting>,
}

impl Gatherer {
    /// Waits for a publish, and takes those that have gathered behind it. `None` once the node stops.
    async fn batch(&mut self) -> Option<Vec<Waiting>> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        loop {
            let waiting = match self.next.take() {
                Some(waiting) => waiting,
                None if batch.is_empty() => self.queue.recv().await?,
                None => match self.queue.try_recv() {
                    Ok(waiting) => waiting,
                    Err(_) => return Some(batch),
                },
            };
            let size = waiting.item.body.len();
            if !batch.is_empty() && bytes + size > BYTES_PER_CALL {
                self.next = Some(waiting);
                return Some(batch);
            }
            if waiting.progress.leave(Progress::SENT) {
                bytes += size;
                batch.push(waiting);
            }
            if batch.len() == ITEMS_PER_CALL {
                return Some(batch);
            }
        }
    }
}

impl Gatherer {
    /// Gives every publish back to its caller, without end: another server may take it.
    async fn return_all(&mut self) {
        loop {
            let waiting = match self.next.take() {
                Some(waiting) => Some(waiting),
                None => self.queue.recv().await,
            };
            // The node stops.
            let Some(Waiting { item, progress, reply, .. }) = waiting else {
                return std::future::pending().await;
            };
            if progress.leave(Progress::SENT) {
                let error = ConnectionRole::Command.refused("the server is no longer a master");
                // An error means that the caller has given up.
                let _ = reply.send(Err(NotPublished {
                    failure: Failure::unconnected(error),
                    item: Some(Box::new(item)),
                }));
            }
        }
    }
}

/// The publishes in calls of one slot each.
fn by_slot(mut batch: Vec<Waiting>) -> Vec<Vec<Waiting>> {
    // Stable: those of one slot keep their order.
    batch.sort_by_key(|waiting| waiting.item.slot);
    let mut calls: Vec<Vec<Waiting>> = Vec::with_capacity(1);
    for waiting in batch {
        match calls.last_mut() {
            Some(call) if call[0].item.slot == waiting.item.slot => call.push(waiting),
            _ => calls.push(vec![waiting]),
        }
    }
    calls
}

/// Sends one call, and gives each caller its reply.
async fn send(connection: &CommandConnection, header: &PublishHeader, batch: Vec<Waiting>, asking: bool) {
    let keys = batch.iter().map(|waiting| waiting.item.keys.len()).sum();
    let fill = |cmd: &mut Cmd| {
        for waiting in &batch {
            cmd.arg(&waiting.item.keys);
        }
        header.write_to(cmd);
        batch.iter().for_each(|waiting| waiting.item.write_to(cmd));
    };
    // Who waits longest decides: the others have given up before.
    let deadline = batch.iter().map(|waiting| waiting.deadline).max().unwrap_or_else(Instant::now);
    let call = match &header.replicas {
        Some(replicas) => Call::ScriptThen(&PUBLISH, keys, &fill, replicas.command()),
        None => Call::Script(&PUBLISH, keys, &fill),
    };
    let span = PublishSpan::begin(batch.iter().map(|waiting| waiting.item.message_id.as_str()));
    let reply = connection.call(&call, asking, deadline).await;
    span.end(reply.as_ref().err().map(|failure| failure.error.outcome().as_str()));
    let (reply, had) = match (reply, &header.replicas) {
        (Ok(Value::Array(mut both)), Some(_)) => {
            let had = both.pop().and_then(|had| from_redis_value(had).ok());
            (Ok(both.pop().unwrap_or(Value::Nil)), had.unwrap_or(0))
        }
        (reply, _) => (reply, 0),
    };
    let wanted = header.replicas.as_ref().map_or(0, |replicas| replicas.count());
    let mut results = match reply {
        Ok(Value::Array(results)) if results.len() == batch.len() => Ok(results.into_iter()),
        Ok(_) => Err(ConnectionRole::Command.malformed_reply().into()),
        Err(failure) => Err(failure),
    };
    for Waiting { item, reply, .. } in batch {
        let result = match &mut results {
            Ok(results) => results.next().map_or_else(
                || Err(ConnectionRole::Command.malformed_reply().into()),
                |reply| replicas::checked(result(reply), had, wanted).map_err(NotPublished::from),
            ),
            Err(failure) => {
                let item = failure.redirect.is_some().then(|| Box::new(item));
                Err(NotPublished { failure: failure.clone(), item })
            }
        };
        // An error means that the caller has given up.
        let _ = reply.send(result);
    }
}

/// The result of one publish: an error reply concerns this one only.
fn result(reply: Value) -> Result<Value, BackendError> {
    match reply {
        Value::ServerError(error) => Err(ConnectionRole::Command.classify(&RedisError::from(error))),
        reply => Ok(reply),
    }
}

#[cfg(test)]
mod tests {
    use super::super::publish_item::PublishTerms;
    use super::super::slot::Slot;
    use super::*;

    /// A publish that waits, with a body of this size.
    fn waiting(size: usize) -> Waiting {
        let item = PublishItem {
            entry: None,
            asker: None,
            slot: Slot::number(0),
            is_first_of_two: false,
            keys: Vec::new(),
            dedupe: None,
            message_id: String::new(),
            sent_at: 0,
            terms: PublishTerms::Free,
            body: vec![b'x'; size].into(),
            logs: Vec::new(),
        };
        Waiting { item, progress: Arc::default(), reply: oneshot::channel().0, deadline: Instant::now() }
    }

    /// The sizes of the bodies in each call, if all of these wait when the first one begins.
    async fn calls(all: Vec<Waiting>) -> Vec<Vec<usize>> {
        let (queue, receiver) = mpsc::channel(QUEUE);
        for waiting in all {
            assert!(queue.try_send(waiting).is_ok());
        }
        drop(queue);
        let mut gatherer = Gatherer { queue: receiver, next: None };
        let mut calls = Vec::new();
        while let Some(batch) = gatherer.batch().await {
            assert!(batch.iter().all(|waiting| !waiting.progress.leave(Progress::GIVEN_UP)));
            calls.push(batch.iter().map(|waiting| waiting.item.body.len()).collect());
        }
        calls
    }

    #[tokio::test]
    async fn call_has_at_most_64_publishes_and_64_kib() {
        let many = calls((0..150).map(|_| waiting(100)).collect()).await;
        assert_eq!(many.iter().map(Vec::len).collect::<Vec<_>>(), [64, 64, 22]);
        let kib = |sizes: &[usize]| sizes.iter().map(|size| waiting(size << 10)).collect();
        let large = calls(kib(&[40, 24, 1, 100, 30, 40])).await;
        assert_eq!(
            large,
            [vec![40 << 10, 24 << 10], vec![1 << 10], vec![100 << 10], vec![30 << 10], vec![40 << 10]]
        );
    }

    #[tokio::test]
    async fn publish_whose_caller_gave_up_is_not_sent() {
        let all: Vec<Waiting> = (1..=4).map(waiting).collect();
        for gone in [0, 2] {
            drop(GiveUp(&all[gone].progress));
        }
        assert_eq!(calls(all).await, [[2, 4]]);
    }
}
