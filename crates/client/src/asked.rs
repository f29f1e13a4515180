//! Requests that wait for an answer. Owns what each was about, and how a new id is made; what an answer means is not decided
//! here. Kept by the model, and used wherever a request is made.

use chatnode_protocol::{RequestId, RoomName, Topic};

/// A request that waits for its answer. Answers to messages belong to the outbox.
#[derive(Debug)]
pub(crate) enum Asked {
    Auth {
        resumed: bool,
    },
    Enter {
        room: RoomName,
        resumed: bool,
    },
    /// For the last of the old messages that the node sends by itself after `Enter`.
    Newest(Topic),
    Leave,
    History(Topic),
    Members(Topic),
    /// Of the program, which reads the answer.
    Program,
}

/// A new id for a request.
pub(crate) fn new_id() -> RequestId {
    RequestId::parse(&uuid::Uuid::now_v7().to_string()).expect("a UUID has 36 characters")
}
