//! The fate of one message, or of one change of a message. Owns the receipt, the error and the future that resolves with one of the
//! two; sends nothing itself. Made by the client's handle, resolved by the connection task.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use chatnode_protocol::requests::PublishAck;
use chatnode_protocol::{
    Current, Epoch, ErrorBody, ErrorCode, MessageId, NameError, RequestId, RoomName, Word,
};
use tokio::sync::oneshot;

use crate::change::ChangeReceipt;
use crate::text::quote;

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

/// Why a message, or a change of one, was not stored, or may not have been.
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
    /// The message has a newer edit than the `if_version` of this one. Nothing was stored.
    #[error("it has a newer text: {}", quote(&.0.content))]
    Conflict(Current),
    /// The message was taken back: nothing changes it any more. Nothing was stored.
    #[error("the message was deleted")]
    Gone,
    /// The log does not hold the message (any more), or it is a change and no message. Nothing was stored.
    #[error("the log does not hold the message any more")]
    NotFound,
    /// The message is too old to be edited. Nothing was stored.
    #[error("the message is too old to be edited")]
    TooLate,
    /// The message has as many changes of this kind as it may have. Nothing was stored.
    #[error("the message has as many of these changes as it may have")]
    TooManyChanges,
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

    /// What a final refusal means.
    pub(crate) fn refused(error: ErrorBody) -> Self {
        let ErrorBody { code, message, current, .. } = error;
        match (code.known(), current) {
            (Some(ErrorCode::Conflict), Some(current)) => Self::Conflict(*current),
            (Some(ErrorCode::Gone), _) => Self::Gone,
            (Some(ErrorCode::NotFound), _) => Self::NotFound,
            (Some(ErrorCode::TooLate), _) => Self::TooLate,
            (Some(ErrorCode::TooManyChanges), _) => Self::TooManyChanges,
            _ => Self::Refused { code, message },
        }
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
    /// The node does not have this word in its `features`: it runs an older version.
    #[error("this node runs an older version, without {0:?}")]
    Unsupported(&'static str),
    /// The client ended.
    #[error("the client ended")]
    Closed,
}

/// A change of a message on its way, as [`Sending`].
pub type Changing = Sending<ChangeReceipt>;

/// A message on its way: a future that resolves when its fate is known.
///
/// The message is on its way from the call of [`Client::send`](crate::Client::send) on. Dropping this future changes
/// nothing: the client goes on sending, and [`Event::NotSent`](crate::Event::NotSent) or
/// [`Event::NotChanged`](crate::Event::NotChanged) reports a failure.
#[derive(Debug)]
pub struct Sending<R = Receipt> {
    id: RequestId,
    fate: Fate<R>,
}

/// Resolves with the receipt or the error.
pub(crate) type FateReceiver<R> = oneshot::Receiver<Result<R, SendError>>;

/// The other end of it.
pub(crate) type FateSender<R> = oneshot::Sender<Result<R, SendError>>;

#[derive(Debug)]
enum Fate<R> {
    Pending(FateReceiver<R>),
    Known(SendError),
}

impl<R> Sending<R> {
    pub(crate) fn pending(id: RequestId, fate: FateReceiver<R>) -> Self {
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

impl<R> Future for Sending<R> {
    type Output = Result<R, SendError>;

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
