//! Publishes that wait for their turn on one command connection. Owns the queue, and how publishes become calls of
//! `publish.lua`: while one call is under way, the next ones gather, and then go as one call. Used by the broker.
//!
//! No timer delays a publish: if no call is under way, it goes at once. A call is atomic and costs Redis less than one call for
//! each publish. All keys of a call are on one server; in a Redis Cluster, they would have to be in one slot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use metrics::counter;
use redis::{Cmd, RedisError, Value};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::command_connection::CommandConnection;
use super::error::ConnectionRole;
use super::format_level::FormatLevel;
use super::memory::MemoryGauge;
use super::script::PUBLISH;
use super::steady_clock::SteadyClock;
use crate::backend::{BackendError, UNOPENED_INBOX};
use crate::config::History;
use crate::metrics::PUBLISH_REPLICAS_SHORT;
use crate::supervise::until_stopped;

/// Maximum of publishes in one call. Redis works on nothing else during a call.
const ITEMS_PER_CALL: usize = 64;

/// Maximum of the bodies in one call. A larger body goes alone.
const BYTES_PER_CALL: usize = 64 << 10;

/// Publishes that wait in the queue before a caller waits. The number of callers is bounded: one per client connection.
const QUEUE: usize = 512;

/// How long Redis waits for its replicas behind a call. Everything on the connection waits with it.
const MAX_WAIT: Duration = Duration::from_millis(500);

/// Length of the hash of a dedupe key.
const DEDUPE_HASH_BYTES: usize = 16;

/// Returns the hash of a dedupe key: a record has one length, however long the key is.
pub(super) fn dedupe_hash(key: &str) -> [u8; DEDUPE_HASH_BYTES] {
    let hash = Sha256::digest(key.as_bytes());
    std::array::from_fn(|index| hash[index])
}

/// When a publish is stored.
#[derive(Debug, Clone, Copy)]
pub(super) enum PublishTerms {
    /// Without a limit of its sender.
    Free = 0,
    /// With the limit of a private log whose user has never connected.
    Charged = 1,
    /// Not if it is new: only a message that a log holds is answered, and completed.
    OnlyRepeat = 2,
}

/// One publish, as `append.lua` takes it.
pub(super) struct PublishItem {
    /// The keys of each log: meta and stream, with a dedupe key also the two dedupe hashes.
    pub(super) keys: Vec<String>,
    /// The hash of the dedupe key, and the key. Empty if nothing repeats the message.
    pub(super) dedupe: Option<([u8; DEDUPE_HASH_BYTES], String)>,
    pub(super) message_id: String,
    pub(super) sent_at: u64,
    pub(super) terms: PublishTerms,
    pub(super) body: Bytes,
    /// The channel of each log, and its epoch if it is new.
    pub(super) logs: Vec<(String, String)>,
}

impl PublishItem {
    fn write_to(&self, cmd: &mut Cmd) {
        let (hash, key) = match &self.dedupe {
            Some((hash, key)) => (&hash[..], key.as_str()),
            None => (&[][..], ""),
        };
        cmd.arg(self.logs.len()).arg(hash).arg(key).arg(&self.message_id).arg(self.sent_at);
        cmd.arg(self.terms as u8).arg(&self.body[..]);
        for (channel, epoch) in &self.logs {
            cmd.arg(channel).arg(epoch);
        }
    }
}

/// What all publishes of a call have in common.
#[derive(Clone)]
pub(super) struct PublishHeader {
    pub(super) retention: History,
    /// The time of the dedupe windows.
    pub(super) steady: Arc<SteadyClock>,
    /// Whether Redis has memory for messages.
    pub(super) memory: Arc<MemoryGauge>,
    /// Whether nodes of an earlier version run.
    pub(super) format: Arc<FormatLevel>,
}

impl PublishHeader {
    /// Appends the arguments that a call has once, before those of its items.
    fn write_to(&self, cmd: &mut Cmd) {
        let History { max_messages, max_age, max_bytes, dedupe_window, .. } = &self.retention;
        let window = (dedupe_window.as_millis() as i64).max(1);
        // Before the first reading, the script uses the clock of Redis.
        let number = self.steady.now().map(|now| (now / window).to_string()).unwrap_or_default();
        cmd.arg(max_messages).arg(max_age.as_millis() as u64).arg(max_bytes).arg(window).arg(number);
        cmd.arg(u8::from(self.memory.is_full())).arg(UNOPENED_INBOX.messages).arg(UNOPENED_INBOX.bytes);
        cmd.arg(u8::from(self.format.has_older_nodes()));
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
    reply: oneshot::Sender<Result<Value, BackendError>>,
}

/// How many replicas must have a publish before it is acknowledged.
#[derive(Clone)]
pub(super) struct Replicas {
    count: usize,
    wait: Cmd,
}

impl Replicas {
    /// `None` where the master's own answer is enough.
    pub(super) fn new(count: usize, timeout: Duration) -> Option<Self> {
        let mut wait = redis::cmd("WAIT");
        wait.arg(count).arg(MAX_WAIT.min(timeout / 4).as_millis() as u64);
        (count > 0).then_some(Self { count, wait })
    }
}

/// The publishes of one command connection.
pub(super) struct PublishQueue {
    queue: mpsc::Sender<Waiting>,
    timeout: Duration,
}

impl PublishQueue {
    /// Starts the task that sends the publishes of the connection with this index.
    pub(super) fn spawn(
        (commands, index, header): (Arc<[CommandConnection]>, usize, PublishHeader),
        replicas: Option<Replicas>,
        timeout: Duration,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let task = async move {
            let mut gatherer = Gatherer { queue: receiver, next: None };
            // What waits for a connection is not sent, and so its caller can give it up.
            while commands[index].usable().await.is_some() {
                let Some(batch) = gatherer.batch().await else { break };
                send(&commands[index], &header, replicas.as_ref(), batch).await;
            }
            // The broker is gone, and so the node stops.
            std::future::pending::<()>().await;
        };
        tracker.spawn(until_stopped("publishes", &stop, task));
        Self { queue, timeout }
    }

    /// Publishes, within the deadline. Returns the reply of the script for this publish.
    pub(super) async fn publish(&self, item: PublishItem) -> Result<Value, BackendError> {
        let deadline = Instant::now() + self.timeout;
        let (reply, replied) = oneshot::channel();
        let progress = Arc::new(Progress::default());
        let waiting = Waiting { item, progress: progress.clone(), reply };
        let not_sent = || ConnectionRole::Command.refused("the publish was not sent to Redis in time");
        // Also if the caller is dropped while it waits: then nothing is sent for it.
        let _guard = GiveUp(&progress);
        match timeout_at(deadline, self.queue.send(waiting)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(ConnectionRole::Command.refused("the node stops")),
            Err(_) => return Err(not_sent()),
        }
        match timeout_at(deadline, replied).await {
            Ok(Ok(reply)) => reply,
            _ if progress.leave(Progress::GIVEN_UP) => Err(not_sent()),
            _ => Err(ConnectionRole::Command.timed_out()),
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

/// Sends one call, and gives each caller its reply.
async fn send(
    connection: &CommandConnection,
    header: &PublishHeader,
    replicas: Option<&Replicas>,
    batch: Vec<Waiting>,
) {
    let (items, replies): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|waiting| (waiting.item, waiting.reply)).unzip();
    let keys = items.iter().map(|item| item.keys.len()).sum();
    let fill = |cmd: &mut Cmd| {
        for item in &items {
            cmd.arg(&item.keys);
        }
        header.write_to(cmd);
        items.iter().for_each(|item| item.write_to(cmd));
    };
    let wait = replicas.map(|replicas| &replicas.wait);
    let results = match connection.script_then(&PUBLISH, keys, fill, wait).await {
        Ok((Value::Array(results), had)) if results.len() == replies.len() => {
            let wanted = replicas.map_or(0, |replicas| replicas.count);
            results.into_iter().map(result).map(|result| replicated(result, had, wanted)).collect()
        }
        Ok(_) => vec![Err(ConnectionRole::Command.malformed_reply()); replies.len()],
        Err(error) => vec![Err(error); replies.len()],
    };
    for (reply, result) in replies.into_iter().zip(results) {
        // An error means that the caller has given up.
        let _ = reply.send(result);
    }
}

/// The result of one publish that so many replicas have. The master has stored it in any case.
fn replicated(result: Result<Value, BackendError>, had: usize, wanted: usize) -> Result<Value, BackendError> {
    if result.is_err() || had >= wanted {
        return result;
    }
    counter!(PUBLISH_REPLICAS_SHORT).increment(1);
    Err(BackendError::Unknown(format!("{had} of {wanted} replicas have the message")))
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
    use super::*;

    /// A publish that waits, with a body of this size.
    fn waiting(size: usize) -> Waiting {
        let item = PublishItem {
            keys: Vec::new(),
            dedupe: None,
            message_id: String::new(),
            sent_at: 0,
            terms: PublishTerms::Free,
            body: vec![b'x'; size].into(),
            logs: Vec::new(),
        };
        Waiting { item, progress: Arc::default(), reply: oneshot::channel().0 }
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
