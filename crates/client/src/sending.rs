//! The fate of one message. Owns the receipt, the error and the future that resolves with one of the two; sends nothing
//! itself. Made by the client's handle, resolved by the connection task.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use chatnode_protocol::requests::PublishAck;
use chatnode_protocol::{Epoch, ErrorCode, MessageId, NameError, RequestId, RoomName, Word};
use tokio::sync::oneshot;

/// The proof that a message is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The id of the message.
    pub message_id: MessageId,
    /// The log that `seq` belongs to: that of the room, or the private log of this user.
    pub epoch: Epoch,
    /// The number of the message in the log.
    pub seq: u64,
    /// The time at which the message was stored, in milliseconds since 1970.
    pub sent_at: u64,
    /// Whether the node had stored the message before, by an earlier attempt of this client.
    pub duplicate: bool,
}

impl From<PublishAck> for Receipt {
    fn from(ack: PublishAck) -> Self {
        let PublishAck { message_id, epoch, seq, sent_at, duplicate } = ack;
        Self { message_id, epoch, seq, sent_at, duplicate }
    }
}

/// Why a message was not sent, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The node refused the message, and would refuse it again. It was not stored.
    #[error("{message}")]
    Refused {
        /// What went wrong, for programs.
        code: Word<ErrorCode>,
        /// What went wrong, for people.
        message: String,
    },
    /// The client stopped trying. The message was not stored.
    #[error("it was not stored ({0})")]
    NotStored(StopReason),
    /// The client stopped trying while no answer had come: the message may have been stored or not.
    #[error("no answer came, so it may have been stored or not ({0})")]
    Unknown(StopReason),
    /// The client is not in this room: it was never entered, or you have left it. Nothing was sent.
    #[error("you are not in the room {0}: join it first")]
    NotJoined(RoomName),
    /// The name of the room or the user is invalid. Nothing was sent.
    #[error("the name {name:?} {error}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// Too many messages are on their way. Nothing was sent; see [`Client::ready`](crate::Client::ready).
    #[error("too many messages are on their way")]
    QueueFull,
    /// The client has ended. Nothing was sent.
    #[error("the client has ended")]
    Closed,
}

impl SendError {
    /// Whether the message may have been stored in spite of this error.
    pub fn may_be_stored(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }
}

/// Why the client stopped trying to send a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StopReason {
    /// It tried for as long as it may. The text is the last error that it met, if there was one.
    #[error("{}", if .0.is_empty() { "the time is over" } else { .0 })]
    TimedOut(String),
    /// The room was left, or the conversation was closed.
    #[error("the conversation was closed")]
    Left,
    /// The node does not let the client into the room.
    #[error("the node does not let you into the room")]
    RoomRefused,
    /// The client ended.
    #[error("the client ended")]
    Closed,
}

/// A message on its way: a future that resolves when its fate is known.
///
/// The message is on its way from the call of [`Client::send`](crate::Client::send) on. Dropping this future changes
/// nothing: the client goes on sending, and [`Event::NotSent`](crate::Event::NotSent) reports a failure.
#[derive(Debug)]
pub struct Sending {
    id: RequestId,
    fate: Fate,
}

#[derive(Debug)]
enum Fate {
    Pending(oneshot::Receiver<Result<Receipt, SendError>>),
    Known(SendError),
}

impl Sending {
    pub(crate) fn pending(id: RequestId, fate: oneshot::Receiver<Result<Receipt, SendError>>) -> Self {
        Self { id, fate: Fate::Pending(fate) }
    }

    pub(crate) fn failed(id: RequestId, error: SendError) -> Self {
        Self { id, fate: Fate::Known(error) }
    }

    /// The id of the message, the same over every attempt. The copy that comes back as
    /// [`Event::Message`](crate::Event::Message) bears it as [`Message::own_id`](crate::Message::own_id).
    pub fn id(&self) -> &RequestId {
        &self.id
    }
}

impl Future for Sending {
    type Output = Result<Receipt, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.fate {
            Fate::Known(error) => Poll::Ready(Err(error.clone())),
            // The task ends without an answer only if its runtime is shut down: the message may have gone out.
            Fate::Pending(fate) => {
                let fate = ready!(Pin::new(fate).poll(cx));
                Poll::Ready(fate.unwrap_or(Err(SendError::Unknown(StopReason::Closed))))
            }
        }
    }
}
