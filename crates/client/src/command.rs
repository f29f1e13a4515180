//! What passes between the handles of a client and its connection task. Owns the commands, and what both sides share: the
//! places of messages and requests, and the features of the node. Sent by the handles, carried out by the task.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chatnode_protocol::requests::Features;
use chatnode_protocol::{Ack, MessageId, RequestId, RoomName, RoomRights, Topic, UserName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::address::BearerToken;
use crate::change::{Change, ChangeReceipt};
use crate::error::RequestError;
use crate::model::Model;
use crate::new_message::NewMessage;
use crate::sending::{FateSender, Receipt};

/// The requests other than messages that wait for the connection task. More wait in their futures.
const MAX_REQUESTS: usize = 256;

pub(crate) type Reply<T> = oneshot::Sender<Result<T, RequestError>>;

/// Takes the answer to a request.
pub(crate) type Answered = Box<dyn FnOnce(Result<Ack, RequestError>, &Model) + Send>;

/// What a handle asks the connection task to do.
pub(crate) enum Command {
    Send {
        id: RequestId,
        topic: Topic,
        message: NewMessage,
        reply: FateSender<Receipt>,
        permit: OwnedSemaphorePermit,
    },
    Change {
        id: RequestId,
        topic: Topic,
        message_id: MessageId,
        change: Change,
        reply: FateSender<ChangeReceipt>,
        permit: OwnedSemaphorePermit,
    },
    Join(RoomName, Reply<()>),
    Leave(RoomName, Reply<()>),
    /// Say what a room is to the user.
    Rights(RoomName, Reply<Option<RoomRights>>),
    /// Send this request, and pass its answer on.
    Ask {
        id: RequestId,
        frame: String,
        answered: Answered,
    },
    /// Send this request, which has no answer.
    Tell(String, Reply<()>),
    /// Use this token from now on: tell the node with this request, if there is a connection.
    SetToken {
        id: RequestId,
        frame: String,
        token: BearerToken,
        reply: Reply<()>,
    },
    Close(Duration, oneshot::Sender<usize>),
}

/// A command, and the place that it takes until the task has taken it up.
pub(crate) struct Queued(pub(crate) Command, pub(crate) Option<OwnedSemaphorePermit>);

/// What the handles and the connection task share.
pub(crate) struct HandleState {
    pub(crate) user: UserName,
    pub(crate) send_capacity: usize,
    pub(crate) sends: Arc<Semaphore>,
    pub(crate) requests: Arc<Semaphore>,
    features: Mutex<Features>,
}

impl HandleState {
    pub(crate) fn new(user: UserName, send_capacity: usize) -> Self {
        Self {
            user,
            send_capacity,
            sends: Arc::new(Semaphore::new(send_capacity)),
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
            features: Mutex::default(),
        }
    }

    pub(crate) fn features(&self) -> Features {
        self.features.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_features(&self, features: &Features) {
        self.features.lock().unwrap_or_else(PoisonError::into_inner).clone_from(features);
    }

    /// The client has ended: nothing is accepted any more.
    pub(crate) fn close(&self) {
        self.sends.close();
        self.requests.close();
    }
}
