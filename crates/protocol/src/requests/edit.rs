//! `Edit`: replaces the text of a message. Owns the request; its `Ack` is that of every change.

use super::change::change_request;
use crate::extras;
use crate::id::MessageId;

change_request! {
    /// Replaces the text of a message. Only its author may.
    Edit as "EditRequest", "edit", text content,
    {
        /// The new text.
        #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
        content: String,
        /// The last edit that the client knows (without any: the message itself). If there is a newer one, the request is refused.
        #[serde(default, deserialize_with = "extras::message_id", skip_serializing_if = "Option::is_none")]
        if_version: Option<MessageId>,
    }
}
