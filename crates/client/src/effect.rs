//! What the model wants done. Owns the list of these effects; carries none out. Made by the model, carried out by
//! [`Session`](crate::Session).

use chatnode_protocol::{Ack, ErrorBody, Position, RequestId, RoomName, Topic};

use crate::change::ChangeReceipt;
use crate::conversation::Line;
use crate::event::Event;
use crate::reason::ClosedReason;
use crate::sending::Receipt;

/// What the model wants done, in this order.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Effect {
    /// Send a frame.
    Send(String),
    /// Show a line, in a conversation if it belongs to one.
    Show(Option<Topic>, Line),
    /// The private message at this position was shown, now or earlier: call [`Model::handed_on`](crate::model::Model::handed_on)
    /// once whoever shows it has it.
    HandedOn(Position),
    /// Report an event that is no line of a conversation.
    Report(Event),
    /// Report that a message of this client is stored.
    Stored(RequestId, Receipt),
    /// Report that a change of this client is stored.
    Changed(RequestId, ChangeReceipt),
    /// Report that the client is in a room.
    Joined(RoomName),
    /// Report the answer to a request of the program.
    Answer(RequestId, Result<Ack, ErrorBody>),
    /// The node can't sign the user in now: close this connection and open another one later.
    Restart(ErrorBody),
    /// End: the client can't go on.
    Stop(ClosedReason),
}
