//! What `Edit`, `Retract` and `React` have in common: the fields that say which message, and their `Ack`. Owns the macro that declares
//! such a request.

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, MessageId};

/// Declares a request that changes a message, with its word in `features` and its own fields.
macro_rules! change_request {
    (
        $(#[$doc:meta])* $name:ident as $rename:literal, $feature:literal, $(text $content:ident,)?
        { $($(#[$attr:meta])* $field:ident: $type:ty,)+ }
    ) => {
        $(#[$doc])*
        /// `room` and `target_username` exclude each other; without either, the connection's current room is meant.
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = $rename))]
        pub struct $name {
            /// The user that asks for it.
            pub sender_username: $crate::UserName,
            /// The room that the message is in.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub room: Option<$crate::RoomName>,
            /// Or the user that the conversation is with.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub target_username: Option<$crate::UserName>,
            /// The message. Never that of an edit.
            #[serde(deserialize_with = "crate::extras::required_message_id")]
            pub message_id: $crate::MessageId,
            $($(#[$attr])* pub $field: $type,)+
        }

        impl $name {
            /// The room or the user that it names.
            ///
            /// # Errors
            /// It names both.
            pub fn topic(&self) -> Result<Option<$crate::Topic>, &'static str> {
                super::topic(self.room.clone(), self.target_username.clone())
            }
        }

        impl super::Request for $name {
            const KIND: &'static str = stringify!($name);
            const COST: u32 = 2;
            const FEATURE: Option<&'static str> = Some($feature);
            type Ack = super::ChangeAck;

            fn sender(&self) -> Option<&$crate::UserName> {
                Some(&self.sender_username)
            }

            $(fn content(&self) -> Option<&str> {
                Some(&self.$content)
            })?
        }
    };
}
pub(super) use change_request;

/// The `Ack` of `Edit`, `Retract` and `React`: the change is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChangeAck {
    /// The id of the change; of one that changed nothing, the id of the message.
    pub message_id: MessageId,
    /// The log's epoch; in a private conversation that of the sender's own log.
    pub epoch: Epoch,
    /// The place of the change in that log. Not if nothing was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// When the node accepted it, in Unix milliseconds.
    pub sent_at: u64,
    /// A request with this `id` had been stored before; this is the `Ack` of that one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// The message was as wanted already: nothing was stored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unchanged: bool,
}
