//! One batch of changes of subscriptions in flight. Owns how it is sent, and when it is over; which changes it has is decided by
//! `subscriptions`. Used by the subscriber.

use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use redis::RedisResult;
use tokio::time::Instant;

use super::connection::Connection;
use super::subscription_state::SubscriptionState;
use super::subscriptions::Batch;

/// Maximum of channels per SUBSCRIBE: one round trip for all of them, and no long reply that delays messages.
const BATCH: usize = 500;

/// Sends a command with one channel for each: channels of several slots are refused in one.
pub(super) async fn ask_for_each(
    verb: &str,
    connection: &Connection,
    channels: &[String],
) -> RedisResult<()> {
    let asked = channels.iter().map(|channel| {
        let mut connection = connection.clone();
        let mut command = redis::cmd(verb);
        command.arg(channel);
        async move { connection.send_packed_command(&command).await?.extract_error() }
    });
    // All replies: what follows an error may have succeeded. Only the push messages tell which ones did.
    join_all(asked).await.into_iter().try_for_each(|reply| reply.map(drop))
}

/// Why a batch was not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchFailure {
    /// A reply is missing, or the connection is lost.
    Late,
    /// The server has refused a change, since the slot is elsewhere or moving, or may have refused one.
    Refused,
}

/// Pause after a refused batch.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// One batch of changes in flight. The next batch waits until all confirmations of this one came through the queue.
#[derive(Default)]
pub(super) struct BatchCall {
    batch: Batch,
    call: Option<BoxFuture<'static, BatchFailure>>,
}

impl BatchCall {
    /// Takes the next changes, and sends them.
    pub(super) fn start(
        state: &SubscriptionState,
        connection: &Connection,
        (timeout, prefix, is_sharded): (Duration, &str, bool),
    ) -> Self {
        let batch = state.subscriptions().next_batch(state.owner, BATCH);
        if batch.subscribe.is_empty() && batch.unsubscribe.is_empty() {
            return Self { batch, call: None };
        }
        let on_server = |channels: &[String]| -> Vec<String> {
            channels.iter().map(|channel| format!("{prefix}{channel}")).collect()
        };
        let (subscribe, unsubscribe) = (on_server(&batch.subscribe), on_server(&batch.unsubscribe));
        let mut connection = connection.clone();
        let call = async move {
            let send = async {
                if is_sharded {
                    // An error means that the server does not have the channel, or not any longer.
                    let _ = ask_for_each("SUNSUBSCRIBE", &connection, &unsubscribe).await;
                    return ask_for_each("SSUBSCRIBE", &connection, &subscribe).await;
                }
                if !unsubscribe.is_empty() {
                    connection.unsubscribe(&unsubscribe).await?;
                }
                if !subscribe.is_empty() {
                    connection.subscribe(&subscribe).await?;
                }
                RedisResult::Ok(())
            };
            let sent_at = Instant::now();
            match tokio::time::timeout(timeout, send).await {
                // redis-rs takes every push about a subscription for the reply to what was asked first. If the server ended another one
                // by itself meanwhile, that push was taken for it, and the true reply, an error, is lost.
                Ok(Ok(())) if is_sharded => {
                    tokio::time::sleep_until(sent_at + timeout).await;
                    return BatchFailure::Refused;
                }
                // The server has confirmed, and the confirmations are in the queue. The dispatcher handles them long
                // before this time.
                Ok(Ok(())) => tokio::time::sleep_until(sent_at + 10 * timeout).await,
                Ok(Err(error)) if is_sharded && error.code().is_some() => {
                    tokio::time::sleep(REFUSED_PAUSE).await;
                    return BatchFailure::Refused;
                }
                Ok(Err(_)) | Err(_) => {}
            }
            BatchFailure::Late
        };
        Self { batch, call: Some(Box::pin(call)) }
    }

    /// Whether the server has confirmed all that this connection still has to have.
    pub(super) fn is_complete(&self, state: &SubscriptionState) -> bool {
        self.call.is_none() || state.subscriptions().is_settled(state.owner, &self.batch)
    }

    /// Resolves if the batch failed. Cancel-safe: the call stays in `self`.
    pub(super) async fn failed(&mut self) -> BatchFailure {
        match &mut self.call {
            Some(call) => call.await,
            None => std::future::pending().await,
        }
    }

    /// Ends the batch: what was not confirmed is asked for again.
    pub(super) fn give_back(&mut self, state: &SubscriptionState) {
        let Self { batch, .. } = std::mem::take(self);
        state.subscriptions().give_back(state.owner, &batch);
    }
}
