//! The handle of a client. Owns the bounds of what a program can ask at a time, and the checks that need no connection; does
//! nothing itself. Held by programs, in any number of copies; the connection task does the work.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chatnode_protocol::requests::{Features, History, Members, MembersAck, Read, Typing};
use chatnode_protocol::{
    ErrorCode, MAX_HISTORY, NameError, Position, Request, RequestId, RoomName, Topic, UserName, Word,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot};

use crate::asked::new_id;
use crate::event::Message;
use crate::sending::{Receipt, SendError, Sending};

/// The requests other than messages that wait for the connection task. More wait in their futures.
const MAX_REQUESTS: usize = 256;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The name of the room or the user is invalid. Nothing was sent.
    #[error("the name {name:?} {error}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// The node refused the request.
    #[error("{message}")]
    Refused {
        /// What went wrong, for programs.
        code: Word<ErrorCode>,
        /// What went wrong, for people.
        message: String,
    },
    /// The node does not know this request.
    #[error("the node does not support this")]
    Unsupported,
    /// There is no connection now, or it was lost before the answer came. The client reconnects by itself: ask again.
    #[error("there is no connection to the node now")]
    Disconnected,
    /// The room was left before it was entered.
    #[error("the room was left")]
    Left,
    /// The answer of the node can't be read.
    #[error("the answer of the node can't be read")]
    Unreadable,
    /// The client has ended.
    #[error("the client has ended")]
    Closed,
}

/// Messages were on their way when the client was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{unsent} messages are not known to be stored")]
#[non_exhaustive]
pub struct CloseError {
    /// How many.
    pub unsent: usize,
}

/// Old messages.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Whether there are older ones: ask again, with the first message of this page as `before`.
    pub more: bool,
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, RequestError>>;

/// What a handle asks the connection task to do.
pub(crate) enum Command {
    Send {
        id: RequestId,
        topic: Topic,
        content: String,
        reply: oneshot::Sender<Result<Receipt, SendError>>,
        permit: OwnedSemaphorePermit,
    },
    Join(RoomName, Reply<()>),
    Leave(RoomName, Reply<()>),
    Members(RoomName, Option<UserName>, Reply<MembersAck>),
    History(Topic, Option<Position>, u32, Reply<Page>),
    Typing(Topic, Reply<()>),
    MarkRead(Topic, Position, Reply<()>),
    Close(Duration, oneshot::Sender<usize>),
}

/// A command, and the place that it takes until the task has taken it up.
pub(crate) struct Queued(pub(crate) Command, pub(crate) Option<OwnedSemaphorePermit>);

/// What the handles and the connection task share.
pub(crate) struct Shared {
    user: UserName,
    send_capacity: usize,
    sends: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    features: Mutex<Features>,
}

impl Shared {
    pub(crate) fn new(user: UserName, send_capacity: usize) -> Self {
        Self {
            user,
            send_capacity,
            sends: Arc::new(Semaphore::new(send_capacity)),
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
            features: Mutex::default(),
        }
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

/// A handle to a client: one user with their rooms and private messages. Cheap to clone; all clones use one connection, and
/// other tasks can hold them.
///
/// The client reconnects and resumes by itself. It lives as long as there is a handle, or its [`Events`](crate::Events). When
/// the last of them is dropped, it sends what is on its way for up to ten seconds, and ends; [`Client::close`] does the same
/// under your control.
///
/// All futures are cancel safe: dropping one undoes nothing and harms nothing. What it asked for happens all the same, if its
/// request had been queued.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Queued>,
}

// Messages on their way are private.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("user", &self.shared.user)
            .field("unsent", &self.unsent())
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>, commands: mpsc::UnboundedSender<Queued>) -> Self {
        Self { shared, commands }
    }

    /// The user.
    pub fn user(&self) -> &UserName {
        &self.shared.user
    }

    /// What the node knows beyond the requests that every node knows. Empty before the first connection.
    pub fn features(&self) -> Features {
        self.shared.features.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Enters a room, and enters it again after each loss of the connection, at the position where it stopped. Resolves when
    /// the client is in the room, which can take until the node can be reached again.
    ///
    /// # Errors
    /// The name is invalid, the node does not let the client in, or the client has ended.
    pub async fn join(&self, room: &str) -> Result<(), RequestError> {
        let room = room_name(room)?;
        self.ask(|reply| Command::Join(room, reply)).await
    }

    /// Leaves a room. Messages on their way to it fail with an error that says whether they may be stored. Does nothing if
    /// the client is not in the room.
    ///
    /// # Errors
    /// The name is invalid, or the client has ended.
    pub async fn leave(&self, room: &str) -> Result<(), RequestError> {
        let room = room_name(room)?;
        self.ask(|reply| Command::Leave(room, reply)).await
    }

    /// Sends a message to a room that was joined. It is on its way from this call on, with or without an `await`: the
    /// future resolves with the receipt once the message is stored, or with an error once the client stops trying.
    /// To each room messages go one at a time, so that none overtakes another. Each keeps its id over every attempt, so
    /// that none is stored twice.
    ///
    /// ```no_run
    /// # async fn example(client: chatnode_client::Client) -> Result<(), chatnode_client::SendError> {
    /// let receipt = client.send("ops", "the deployment is done").await?;
    /// println!("stored as number {} of the log", receipt.seq);
    /// // This one is sent too. An `Event::NotSent` reports a failure.
    /// drop(client.send("ops", "for what it is worth"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn send(&self, room: &str, content: impl Into<String>) -> Sending {
        let room = RoomName::parse(room).map_err(|error| SendError::Name { name: room.to_owned(), error });
        self.send_to(room.map(Topic::Room), content.into())
    }

    /// Sends a private message to a user: to all of their connections, now or when they come. As [`Client::send`] otherwise.
    pub fn send_private(&self, user: &str, content: impl Into<String>) -> Sending {
        let user = UserName::parse(user).map_err(|error| SendError::Name { name: user.to_owned(), error });
        self.send_to(user.map(Topic::User), content.into())
    }

    fn send_to(&self, topic: Result<Topic, SendError>, content: String) -> Sending {
        let id = new_id();
        let topic = match topic {
            Ok(topic) => topic,
            Err(error) => return Sending::failed(id, error),
        };
        let permit = match self.shared.sends.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(TryAcquireError::NoPermits) => return Sending::failed(id, SendError::QueueFull),
            Err(TryAcquireError::Closed) => return Sending::failed(id, SendError::Closed),
        };
        let (reply, fate) = oneshot::channel();
        let send = Command::Send { id: id.clone(), topic, content, reply, permit };
        match self.commands.send(Queued(send, None)) {
            Ok(()) => Sending::pending(id, fate),
            Err(_) => Sending::failed(id, SendError::Closed),
        }
    }

    /// How many messages are on their way: not yet known to be stored.
    pub fn unsent(&self) -> usize {
        self.shared.send_capacity - self.shared.sends.available_permits()
    }

    /// Waits until another message can be sent, if [`send_capacity`](crate::ConnectOptions::send_capacity) messages are on
    /// their way. If several tasks wait, a place can be taken by another task before you use it.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn ready(&self) -> Result<(), SendError> {
        self.shared.sends.acquire().await.map(drop).map_err(|_| SendError::Closed)
    }

    /// The users in a room, on all nodes, sorted by the bytes of their names. Asks for as many pages as there are.
    ///
    /// # Errors
    /// The name is invalid, there is no connection, the client is not in the room, or it has ended.
    pub async fn members(&self, room: &str) -> Result<Vec<UserName>, RequestError> {
        let room = room_name(room)?;
        self.supports::<Members>()?;
        let mut members: Vec<UserName> = Vec::new();
        loop {
            let (room, after) = (room.clone(), members.last().cloned());
            let page = self.ask(|reply| Command::Members(room, after, reply)).await?;
            let is_last = !page.more || page.members.is_empty();
            members.extend(page.members);
            if is_last {
                return Ok(members);
            }
        }
    }

    /// Up to `limit` old messages (1 to 200) of a room that was joined, or of the conversation with a user: those before a
    /// message, or the newest.
    ///
    /// ```no_run
    /// # use chatnode_client::{Client, RequestError, Topic};
    /// # async fn example(client: Client, topic: Topic) -> Result<(), RequestError> {
    /// let mut page = client.history(&topic, None, 100).await?;
    /// while page.more {
    ///     page = client.history(&topic, page.messages.first(), 100).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// There is no connection, the client is not in the room, or it has ended.
    pub async fn history(
        &self,
        topic: &Topic,
        before: Option<&Message>,
        limit: u32,
    ) -> Result<Page, RequestError> {
        self.supports::<History>()?;
        let (topic, before) = (topic.clone(), before.map(|message| message.position));
        self.ask(|reply| Command::History(topic, before, limit.clamp(1, MAX_HISTORY), reply)).await
    }

    /// Shows a room or a user that this user is typing. Others show it for five seconds: call this at most every three.
    /// Resolves when the notice is queued for the connection; it is not sent again.
    ///
    /// # Errors
    /// There is no connection, or the client has ended.
    pub async fn typing(&self, topic: &Topic) -> Result<(), RequestError> {
        self.supports::<Typing>()?;
        let topic = topic.clone();
        self.ask(|reply| Command::Typing(topic, reply)).await
    }

    /// Marks a message and all older ones of its room or conversation as read. The other devices of this user learn of it,
    /// and of a private message its sender. Resolves when the marker is queued for the connection; it is not sent again.
    ///
    /// # Errors
    /// There is no connection, or the client has ended.
    pub async fn mark_read(&self, message: &Message) -> Result<(), RequestError> {
        self.supports::<Read>()?;
        let (topic, position) = (message.topic.clone(), message.position);
        self.ask(|reply| Command::MarkRead(topic, position, reply)).await
    }

    /// Ends the client: accepts no more messages, waits up to this time until those on their way are stored, then closes the
    /// connection, so that others see at once that the user is gone. [`Event::Closed`](crate::Event::Closed) is the last
    /// event. Does nothing if the client has ended.
    ///
    /// # Errors
    /// Some messages are not known to be stored; their futures say more.
    pub async fn close(&self, timeout: Duration) -> Result<(), CloseError> {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Queued(Command::Close(timeout, reply), None)).is_err() {
            return Ok(());
        }
        match done.await {
            Ok(unsent @ 1..) => Err(CloseError { unsent }),
            Ok(0) | Err(_) => Ok(()),
        }
    }

    /// Before the first connection nothing is known of the node: it may support everything.
    fn supports<R: Request>(&self) -> Result<(), RequestError> {
        let features = self.features();
        let is_known = features.iter().next().is_some();
        if is_known && !features.has_request::<R>() { Err(RequestError::Unsupported) } else { Ok(()) }
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, RequestError> {
        let permit = self.shared.requests.clone().acquire_owned().await.map_err(|_| RequestError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let queued = Queued(command(reply), Some(permit));
        self.commands.send(queued).map_err(|_| RequestError::Closed)?;
        answer.await.unwrap_or(Err(RequestError::Closed))
    }
}

fn room_name(name: &str) -> Result<RoomName, RequestError> {
    RoomName::parse(name).map_err(|error| RequestError::Name { name: name.to_owned(), error })
}
