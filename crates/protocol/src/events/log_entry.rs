//! Entries of a log that are no messages, as clients see them. Owns the fields that all of them have: the place in the log, and what tells
//! repeats apart. Used by the files of the entries.

/// Defines events. First come the fields that say who did it and where, then each event with its own fields.
macro_rules! log_entries {
    (@one { $($(#[$head_doc:meta])* $head:ident: $head_type:ty,)* } $(#[$doc:meta])* $name:ident as $rename:literal {
        $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = $rename))]
        pub struct $name {
            $($(#[$head_doc])* pub $head: $head_type,)*
            $($(#[$field_doc])* pub $field: $type,)*
            /// Its own id.
            pub message_id: $crate::MessageId,
            /// The `id` of the request.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub client_id: Option<$crate::RequestId>,
            /// When the node accepted it, in Unix milliseconds.
            pub sent_at: u64,
            /// The epoch of the log.
            pub epoch: $crate::Epoch,
            /// Its own place in the log.
            pub seq: u64,
        }

        impl $name {
            /// The position just after it.
            pub fn position(&self) -> $crate::Position {
                $crate::Position { epoch: self.epoch, seq: self.seq, message_id: self.message_id }
            }
        }

        impl super::Event for $name {
            const KIND: &'static str = stringify!($name);
        }
    };
    ($head:tt $($(#[$doc:meta])* $name:ident as $rename:literal $fields:tt)+) => {$(
        $crate::events::log_entry::log_entries!(@one $head $(#[$doc])* $name as $rename $fields);
    )+};
}
pub(super) use log_entries;
