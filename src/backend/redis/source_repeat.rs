//! Messages of a slot that is moving to another master. Owns their repetition at the master that the slot is leaving: until the move
//! ends, the subscribers stay there, and do not hear what is published where it moves to. Called by the broker.

use tokio::time::{Instant, timeout_at};

use super::broker::RedisBroker;
use super::call::Call;
use super::codec;
use super::server::{Lane, Server};
use super::slot::Slot;
use crate::backend::{BackendError, Entry, PageLimit};
use crate::protocol::{Position, Topic};

impl RedisBroker {
    /// Publishes a stored message once more, at the server that its slot is leaving, until the deadline. Who hears it twice drops it. A
    /// failure leaves it to the end of the move, when the subscribers read what they have missed, or to the idle check.
    pub(super) async fn repeat_at(
        &self,
        source: &Server,
        topic: &Topic,
        position: &Position,
        deadline: Instant,
    ) {
        // Otherwise every server has carried the message.
        if self.publish_command != "SPUBLISH" {
            return;
        }
        let repeated = timeout_at(deadline, self.try_to_repeat_at(source, topic, position, deadline)).await;
        if let Ok(Err(error)) = repeated {
            tracing::debug!(%error, "a message of a moving slot is not repeated at the server that it leaves");
        }
    }

    async fn try_to_repeat_at(
        &self,
        source: &Server,
        topic: &Topic,
        position: &Position,
        deadline: Instant,
    ) -> Result<(), BackendError> {
        // The reply to the publish does not have all that is told with a message.
        let limit = PageLimit { messages: 1, bytes: 0 };
        let page = self.page(topic, "after", position.seq - 1, limit).await?;
        let is_it = |entry: &&Entry| entry.message_id == position.message_id;
        let Some(entry) = page.entries.iter().find(is_it) else { return Ok(()) };
        let channel = self.keys.channel_on_server(topic);
        let mut publish = redis::cmd(self.publish_command);
        publish.arg(&channel).arg(codec::message(&page.top.epoch, entry));
        let lane = (Lane::Short, Slot::of(&channel));
        source.call(lane, &Call::Command(&publish), false, deadline).await?;
        Ok(())
    }
}
