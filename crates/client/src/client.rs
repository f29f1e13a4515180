//! The handle of a client. Owns the checks that need no connection, and the requests that programs can make; does nothing by
//! itself. Held by programs, in any number of copies; the connection task does the work.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chatnode_protocol::requests::{Features, Ping, Unread, UnreadAck};
use chatnode_protocol::{
    Ack, ClientMessage, MAX_HISTORY, MessageId, Request, RequestId, RoomName, Token, Topic, UserName,
};
use tokio::sync::{OwnedSemaphorePermit, TryAcquireError, mpsc, oneshot};

use crate::address::BearerToken;
use crate::change::Change;
use crate::command::{Command, HandleState, Queued, Reply};
use crate::error::{CloseError, RequestError};
use crate::event::Message;
use crate::model::Model;
use crate::new_message::NewMessage;
use crate::pending::new_id;
use crate::requests;
use crate::sending::{Changing, FateSender, SendError, Sending};

// Another part of the `impl`, which is too long for one file.
mod blocks;
mod rights;

/// Old messages.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Whether there are older ones: ask again, with the first message of this page as `before`.
    pub more: bool,
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
    shared: Arc<HandleState>,
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
    pub(crate) fn new(shared: Arc<HandleState>, commands: mpsc::UnboundedSender<Queued>) -> Self {
        Self { shared, commands }
    }

    /// The user.
    pub fn user(&self) -> &UserName {
        &self.shared.user
    }

    /// What the node knows beyond the requests that every node knows. Empty before the first connection.
    pub fn features(&self) -> Features {
        self.shared.features()
    }

    /// Enters a room, and enters it again after each loss of the connection, at the position where it stopped. Resolves when
    /// the client is in the room, which can take until the node can be reached again.
    ///
    /// # Errors
    /// The name is invalid, the node does not let the client in, or the client has ended.
    pub async fn join(&self, room: &str) -> Result<(), RequestError> {
        let room = room_name(room)?;
        self.queue(|reply| Command::Join(room, reply)).await
    }

    /// Leaves a room. Messages on their way to it fail with an error that says whether they may be stored. Does nothing if
    /// the client is not in the room.
    ///
    /// # Errors
    /// The name is invalid, or the client has ended.
    pub async fn leave(&self, room: &str) -> Result<(), RequestError> {
        let room = room_name(room)?;
        self.queue(|reply| Command::Leave(room, reply)).await
    }

    /// Sends a message to a room that was joined: a text, or a [`NewMessage`] that says more. It is on its way from this call on, with or without an `await`: the
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
    pub fn send(&self, room: &str, message: impl Into<NewMessage>) -> Sending {
        let room = RoomName::parse(room).map_err(|error| SendError::Name { name: room.to_owned(), error });
        self.send_to(room.map(Topic::Room), message.into())
    }

    /// Sends a private message to a user: to all of their connections, now or when they come. As [`Client::send`] otherwise.
    pub fn send_private(&self, user: &str, message: impl Into<NewMessage>) -> Sending {
        let user = UserName::parse(user).map_err(|error| SendError::Name { name: user.to_owned(), error });
        self.send_to(user.map(Topic::User), message.into())
    }

    /// Changes a message of a room that was joined, or of the conversation with a user. As [`Client::send`] otherwise: the change is on
    /// its way from this call on, after what was sent there before, and keeps its id over every attempt. A change that was not stored is
    /// an error of its own kind: [`SendError::Conflict`] with the present text, [`SendError::Gone`], [`SendError::NotFound`],
    /// [`SendError::TooLate`] or [`SendError::TooManyChanges`]. If the node does not have the change in its [`features`](Client::features),
    /// the error is [`StopReason::Unsupported`](crate::StopReason::Unsupported).
    ///
    /// ```no_run
    /// # use chatnode_client::{Change, Client, Message, SendError};
    /// # async fn example(client: Client, message: Message) -> Result<(), SendError> {
    /// // Only if nobody has edited it meanwhile.
    /// let if_version = Some(message.version.unwrap_or(message.id()));
    /// let edit = Change::Edit { content: "at noon".into(), if_version };
    /// match client.change(&message.topic, message.id(), edit).await {
    ///     Err(SendError::Conflict(current)) => println!("by now it says: {:?}", current.content),
    ///     edited => drop(edited?),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn change(&self, topic: &Topic, message_id: MessageId, change: Change) -> Changing {
        let topic = topic.clone();
        self.publish(Ok(topic), |id, topic, reply, permit| Command::Change {
            id,
            topic,
            message_id,
            change,
            reply,
            permit,
        })
    }

    /// Replaces the text of a message of this user, whatever it is by now. See [`Client::change`].
    pub fn edit(&self, topic: &Topic, message_id: MessageId, content: impl Into<String>) -> Changing {
        self.change(topic, message_id, Change::Edit { content: content.into(), if_version: None })
    }

    /// Takes a message of this user back: its text is erased. See [`Client::change`].
    pub fn retract(&self, topic: &Topic, message_id: MessageId) -> Changing {
        self.change(topic, message_id, Change::Retract { reason: None })
    }

    /// Adds a reaction to a message, or takes it away. See [`Client::change`].
    ///
    /// ```no_run
    /// # use chatnode_client::{Client, Message, SendError};
    /// # async fn example(client: Client, message: Message) -> Result<(), SendError> {
    /// let receipt = client.react(&message.topic, message.id(), "👍", true).await?;
    /// if receipt.unchanged {
    ///     println!("this user had reacted so before");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn react(
        &self,
        topic: &Topic,
        message_id: MessageId,
        reaction: impl Into<String>,
        on: bool,
    ) -> Changing {
        self.change(topic, message_id, Change::React { reaction: reaction.into(), on })
    }

    fn send_to(&self, topic: Result<Topic, SendError>, message: NewMessage) -> Sending {
        self.publish(topic, |id, topic, reply, permit| Command::Send { id, topic, message, reply, permit })
    }

    /// Queues what is to be stored.
    fn publish<R>(
        &self,
        topic: Result<Topic, SendError>,
        command: impl FnOnce(RequestId, Topic, FateSender<R>, OwnedSemaphorePermit) -> Command,
    ) -> Sending<R> {
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
        match self.commands.send(Queued(command(id.clone(), topic, reply, permit), None)) {
            Ok(()) => Sending::pending(id, fate),
            Err(_) => Sending::failed(id, SendError::Closed),
        }
    }

    /// How many messages and changes are on their way: not yet known to be stored.
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
        let mut members: Vec<UserName> = Vec::new();
        loop {
            let request = requests::members(self.user(), room.clone(), members.last().cloned());
            let page = self.ask(&request, |page, _| page).await?;
            let is_last = !page.more || page.members.is_empty();
            members.extend(page.members);
            if is_last {
                return Ok(members);
            }
        }
    }

    /// Up to `limit` old messages (1 to 200) of a room that was joined, or of the conversation with a user: those before a
    /// message, or the newest. A page has a limit in bytes: it can have fewer messages although there are more.
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
        let (before, limit) = (before.map(|message| message.position), limit.clamp(1, MAX_HISTORY));
        let request = requests::history(self.user(), topic.clone(), before, limit);
        self.ask(&request, |page, model| Page {
            messages: page.messages.into_iter().map(|message| model.as_seen(message)).collect(),
            more: page.more,
        })
        .await
    }

    /// How many messages the user has not read: in these rooms, at most 100, joined or not, and of each user who wrote privately.
    ///
    /// # Errors
    /// A name is invalid, there is no connection, the node is too old to count, or the client has ended.
    pub async fn unread(&self, rooms: &[&str]) -> Result<UnreadAck, RequestError> {
        let rooms = rooms.iter().map(|room| room_name(room)).collect::<Result<_, _>>()?;
        let request = Unread { sender_username: self.user().clone(), rooms: Some(rooms) };
        self.ask(&request, |counts, _| counts).await
    }

    /// Shows a room or a user that this user is typing. Others show it for five seconds: call this at most every three.
    /// Resolves when the notice is queued for the connection; it is not sent again.
    ///
    /// # Errors
    /// There is no connection, or the client has ended.
    pub async fn typing(&self, topic: &Topic) -> Result<(), RequestError> {
        self.tell(&requests::typing(self.user(), topic.clone())).await
    }

    /// Marks a message and all older ones of its room or conversation as read. The other devices of this user learn of it,
    /// and of a private message its sender. Resolves when the marker is queued for the connection; it is not sent again.
    ///
    /// # Errors
    /// There is no connection, or the client has ended.
    pub async fn mark_read(&self, message: &Message) -> Result<(), RequestError> {
        self.tell(&requests::read(self.user(), message.topic.clone(), &message.position)).await
    }

    /// Uses this token from now on: for the present connection, which goes on, and for those to come. For a token that is about to
    /// expire; see [`Event::TokenExpiring`](crate::Event::TokenExpiring). It must be of the same user.
    ///
    /// ```no_run
    /// # async fn new_token() -> String { String::new() }
    /// # async fn example(client: chatnode_client::Client, mut events: chatnode_client::Events) {
    /// while let Some(event) = events.next().await {
    ///     if let chatnode_client::Event::TokenExpiring { .. } = event {
    ///         let client = client.clone();
    ///         tokio::spawn(async move { client.set_token(&new_token().await).await });
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// The node refuses the token, and the client keeps the one that it has; or the client has ended.
    pub async fn set_token(&self, token: &str) -> Result<(), RequestError> {
        let bearer = BearerToken::new(token).map_err(|_| RequestError::Token)?;
        let (id, ping) = (new_id(), Ping { sender_username: Some(self.user().clone()) });
        let frame = ClientMessage::encode(&ping, Some(&id), Some(&Token::new(token)), None);
        self.queue(|reply| Command::SetToken { id, frame, token: bearer, reply }).await
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

    /// Sends a request. `convert` makes what the program gets of its answer.
    async fn ask<R: Request + 'static, T: Send + 'static>(
        &self,
        request: &R,
        convert: impl FnOnce(R::Ack, &Model) -> T + Send + 'static,
    ) -> Result<T, RequestError> {
        self.supports::<R>()?;
        let id = new_id();
        let frame = ClientMessage::encode(request, Some(&id), None, None);
        self.queue(|reply| {
            let answered = Box::new(move |answer: Result<Ack, RequestError>, model: &Model| {
                let answer = answer.and_then(|ack| ack.read::<R>().map_err(|_| RequestError::Unreadable));
                let _dropped = reply.send(answer.map(|answer| convert(answer, model)));
            });
            Command::Ask { id, frame, answered }
        })
        .await
    }

    /// Sends a request without an id, which the node does not answer.
    async fn tell<R: Request>(&self, request: &R) -> Result<(), RequestError> {
        self.supports::<R>()?;
        let frame = ClientMessage::encode(request, None, None, None);
        self.queue(|reply| Command::Tell(frame, reply)).await
    }

    /// Queues a command for the connection task, and waits for its result.
    async fn queue<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, RequestError> {
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
