//! What `GroupChat` and `PrivateChat` have in common: their fields but for the one that says where to, and their `Ack`. Owns the macro that
//! declares such a request.

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, MessageId};

/// Declares a request that publishes a message, with its own fields before and after the text.
macro_rules! publish_request {
    (
        $(#[$doc:meta])* $name:ident as $rename:literal,
        { $($(#[$before_attr:meta])* $before:ident: $before_type:ty,)* },
        { $($(#[$after_attr:meta])* $after:ident: $after_type:ty,)* }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = $rename))]
        pub struct $name {
            /// The user that sends it.
            pub sender_username: $crate::UserName,
            $($(#[$before_attr])* pub $before: $before_type,)*
            /// The text.
            #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
            pub content: String,
            $($(#[$after_attr])* pub $after: $after_type,)*
            /// The message that this one answers.
            #[serde(
                default,
                deserialize_with = "crate::extras::message_id",
                skip_serializing_if = "Option::is_none"
            )]
            pub reply_to: Option<$crate::MessageId>,
            /// The first message of the thread that this one belongs to.
            #[serde(
                default,
                deserialize_with = "crate::extras::message_id",
                skip_serializing_if = "Option::is_none"
            )]
            pub thread: Option<$crate::MessageId>,
            /// The users that are mentioned.
            #[serde(default, deserialize_with = "crate::extras::mentions", skip_serializing_if = "Vec::is_empty")]
            #[cfg_attr(
                feature = "schema",
                schemars(with = "Option<Vec<crate::UserName>>", length(max = $crate::MAX_MENTIONS))
            )]
            pub mentions: Vec<$crate::UserName>,
            /// What is attached; together at most 8,192 bytes as JSON.
            #[serde(default, deserialize_with = "crate::extras::attachments", skip_serializing_if = "Vec::is_empty")]
            #[cfg_attr(
                feature = "schema",
                schemars(with = "Option<Vec<crate::Attachment>>", length(max = $crate::MAX_ATTACHMENTS))
            )]
            pub attachments: Vec<$crate::Attachment>,
            /// An object of the application's own; at most 4,096 bytes.
            #[serde(default, deserialize_with = "crate::extras::data", skip_serializing_if = "Option::is_none")]
            pub data: Option<$crate::Data>,
        }

        impl $name {
            /// A message with nothing but its text.
            pub fn text(
                sender_username: $crate::UserName,
                $($before: $before_type,)*
                $($after: $after_type,)*
                content: String,
            ) -> Self {
                Self {
                    sender_username,
                    $($before,)*
                    content,
                    $($after,)*
                    reply_to: None,
                    thread: None,
                    mentions: Vec::new(),
                    attachments: Vec::new(),
                    data: None,
                }
            }

            /// The same with what it says beside its text.
            #[must_use]
            pub fn with_extras(self, extras: $crate::Extras) -> Self {
                let $crate::Extras { reply_to, thread, mentions, attachments, data } = extras;
                Self { reply_to, thread, mentions, attachments, data, ..self }
            }

            /// Takes out what it says beside its text.
            pub fn take_extras(&mut self) -> $crate::Extras {
                $crate::Extras {
                    reply_to: self.reply_to,
                    thread: self.thread,
                    mentions: std::mem::take(&mut self.mentions),
                    attachments: std::mem::take(&mut self.attachments),
                    data: self.data.take(),
                }
            }
        }

        impl super::Request for $name {
            const KIND: &'static str = stringify!($name);
            const FEATURE: Option<&'static str> = None;
            type Ack = super::PublishAck;

            fn sender(&self) -> Option<&$crate::UserName> {
                Some(&self.sender_username)
            }

            fn content(&self) -> Option<&str> {
                Some(&self.content)
            }
        }
    };
}
pub(super) use publish_request;

/// The `Ack` of `GroupChat` and `PrivateChat`: the message is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PublishAck {
    /// The message's id.
    pub message_id: MessageId,
    /// The log's epoch; of a private message that of the sender's own log.
    pub epoch: Epoch,
    /// The message's place in that log.
    pub seq: u64,
    /// When the node accepted it, in Unix milliseconds.
    pub sent_at: u64,
    /// A publish with this `id` had been stored before; this is the `Ack` of that one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}
