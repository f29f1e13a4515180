//! `PrivateChat`: sends a message to a user. Owns the request; its `Ack` is that of every publish.

use super::publish::publish_request;
use crate::name::UserName;

publish_request! {
    /// Sends a message to all connections of a user, and to the sender's own.
    PrivateChat as "PrivateChatRequest",
    {
        /// The user that gets it.
        target_username: UserName,
    },
    {}
}
