//! The keys of the identity provider as they are now. Owns when they are read: at the start, every few minutes, and when a token
//! names a key that is not among them, once for all that wait. Used by the verifier; one background task does the reading.

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::fetch::Source;
use super::key_set::KeySet;
use crate::metrics as names;

/// How often the keys are read when nothing asks for it, so that a key that was withdrawn ends.
const REFRESH_EVERY: Duration = Duration::from_secs(300);

/// The shortest time between two reads. Tokens come from clients, so anybody can name an unknown key.
const PAUSE: Duration = Duration::from_secs(10);

/// How long a token waits for the keys: longer than a read takes.
const PATIENCE: Duration = Duration::from_secs(4);

/// What is known of the keys.
#[derive(Clone, Default)]
struct State {
    /// The last good set. It is swapped as a whole.
    keys: Option<Arc<KeySet>>,
    /// The reads that have ended.
    reads: u64,
    /// When the last one began.
    began: Option<Instant>,
    /// Whether it was good.
    is_fresh: bool,
}

/// The keys that an identity provider publishes.
pub(super) struct RemoteKeys {
    source: Source,
    state: watch::Sender<State>,
    wanted: Notify,
}

impl RemoteKeys {
    /// Reads nothing yet: see [`RemoteKeys::run`].
    pub(super) fn new(source: Source) -> Self {
        Self { source, state: watch::Sender::default(), wanted: Notify::new() }
    }

    /// The last good set. None if there never was one.
    pub(super) fn current(&self) -> Option<Arc<KeySet>> {
        self.state.borrow().keys.clone()
    }

    /// Waits for keys that are at most [`PAUSE`] old, and asks for them if nobody has. False if they can't be read.
    pub(super) async fn refresh(&self) -> bool {
        let mut state = self.state.subscribe();
        let seen = {
            let now = state.borrow_and_update();
            if now.reads > 0 && now.began.is_some_and(|began| began.elapsed() < PAUSE) {
                return now.is_fresh;
            }
            now.reads
        };
        self.wanted.notify_one();
        match timeout(PATIENCE, state.wait_for(|state| state.reads > seen)).await {
            Ok(Ok(state)) => state.is_fresh,
            // The node stops, or is too busy to read them.
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Reads the keys when they are due, until the node stops.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let mut last_good = Instant::now();
        while !stop.is_cancelled() {
            let began = Instant::now();
            let Some(read) = stop.run_until_cancelled(self.read()).await else { return };
            if read {
                last_good = Instant::now();
            }
            self.state.send_modify(|state| {
                state.reads += 1;
                state.began = Some(began);
                state.is_fresh = read;
            });
            let due = began + if read { REFRESH_EVERY } else { PAUSE };
            let wait = async {
                tokio::select! {
                    () = sleep_until(due) => {}
                    () = self.wanted.notified() => sleep_until(began + PAUSE).await,
                    () = report_age(last_good) => {}
                }
            };
            if stop.run_until_cancelled(wait).await.is_none() {
                return;
            }
        }
    }

    /// Reads the keys once. The last good set stays if that fails.
    async fn read(&self) -> bool {
        let read = self.source.fetch().await.and_then(|json| KeySet::parse(&json));
        let had_keys = self.state.borrow().keys.is_some();
        let result = if read.is_ok() { "ok" } else { "failed" };
        counter!(names::JWKS_FETCHES, "result" => result).increment(1);
        match read {
            Ok(set) => {
                if !had_keys || !self.state.borrow().is_fresh {
                    tracing::info!(keys = set.len(), skipped = ?set.skipped(), "read the keys of the identity provider");
                }
                self.state.send_modify(|state| state.keys = Some(Arc::new(set)));
                true
            }
            Err(error) if had_keys => {
                tracing::warn!(
                    error,
                    "can't read auth.jwt.jwks_url: the keys that were read last stay in use"
                );
                false
            }
            Err(error) => {
                tracing::warn!(
                    error,
                    "can't read auth.jwt.jwks_url: no token that it has the key of can be checked"
                );
                false
            }
        }
    }
}

/// Shows how old the keys are. Never ends.
async fn report_age(since: Instant) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        gauge!(names::JWKS_AGE).set(since.elapsed().as_secs_f64());
    }
}
