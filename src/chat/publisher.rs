//! Publishing. Owns how a message becomes a publish: its topics, its dedupe key and its encoded body. The broker stores
//! it. Called by requests and by the server API, once they know that the sender may write there.

use std::sync::Arc;

use super::counters::Publishing;
use crate::backend::{BackendError, Broker, Publish, Stored, unix_ms};
use crate::protocol::encode::ChatBody;
use crate::protocol::{MessageId, Topic, UserName};

/// Publishes to the broker.
pub(super) struct Publisher {
    broker: Arc<dyn Broker>,
}

impl Publisher {
    pub(super) fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker }
    }

    /// Stores and publishes a message. This is the only place in the cluster where its body is encoded. One round trip.
    pub(super) async fn publish(
        &self,
        sender: &UserName,
        to: &Topic,
        content: &str,
        client_id: Option<&str>,
    ) -> Result<Stored, BackendError> {
        let message_id = MessageId::generate();
        let sent_at = unix_ms();
        let (room, target) = match to {
            Topic::Room(room) => (Some(room), None),
            Topic::User(target) => (None, Some(target)),
        };
        let body = ChatBody {
            sender_username: sender,
            target_username: target,
            content,
            room,
            message_id,
            client_id,
            sent_at,
        };
        let topics = match to {
            Topic::Room(room) => vec![Topic::Room(room.clone())],
            Topic::User(target) if target == sender => vec![Topic::User(sender.clone())],
            Topic::User(target) => vec![Topic::User(target.clone()), Topic::User(sender.clone())],
        };
        // No name holds a control character, so the parts can't run into each other; the client's own id comes last.
        // A publish without an id is repeated only if the node sends it to the store again: then its message id is the
        // same.
        let dedupe_key = match client_id {
            Some(id) => format!("{sender}\u{1f}{}\u{1f}{id}", target.map_or("", UserName::as_str)),
            None => format!("\u{1f}{message_id}"),
        };
        let publish = Publish { topics, dedupe_key, message_id, sent_at, body: body.encode() };
        let publishing = Publishing::begin();
        let result = self.broker.publish(publish).await;
        publishing.end(&result);
        result
    }
}
