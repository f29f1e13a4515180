//! A client that comes back: one user's rooms and private messages, over as many connections as it takes. Nothing is lost,
//! nothing comes twice, and what can't be proved whole is told.
//!
//! [`Client`] is for programs; `chatnode chat` drives the same model with a screen. Neither keeps anything on disk: what
//! was not stored when the program ends is gone, and [`Client::unsent`] says how much that would be.
//!
//! ```no_run
//! use chatnode_client::{Client, Event};
//!
//! # async fn example() -> Result<(), chatnode_client::ClientError> {
//! let mut client = Client::new("ws://127.0.0.1:8080/", "greeter")?;
//! client.enter("lobby")?;
//! while let Some(event) = client.next().await {
//!     match event {
//!         Event::Message(message) if message.content == "hello" => {
//!             client.say("lobby", format!("hello, {}", message.sender))?;
//!         }
//!         other => println!("{other:?}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod address;
mod attention;
mod conversation;
mod event;
mod inbound;
mod link;
pub mod model;
mod outbox;
mod receipts;
mod schedule;
mod session;
pub mod text;
pub mod tls;
mod whoami;
mod wire;

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

pub use address::{Address, AddressError};
pub use chatnode_protocol as protocol;
pub use event::{Event, Message};
pub use session::{News, Session};
pub use whoami::whoami;
pub use wire::Target;

use model::Model;
use protocol::{NameError, RoomName, UserName};

/// The most old messages that a node gives at a time.
const MOST_HISTORY: u32 = 200;

/// What a caller got wrong. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address or the token.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The name of a user or a room, and what is wrong with it.
    #[error("the name {0:?} {1}")]
    Name(String, NameError),
    /// The node has ended it: [`Event::Closed`] says why. A new client is needed.
    #[error("the chat is over")]
    Over,
    /// Something was to be said in a room that was never entered, or has been left.
    #[error("the room {0} was not entered: enter it first")]
    NotEntered(RoomName),
}

/// One user's chat with a cluster.
///
/// All of it happens in [`Client::next`], which has to be awaited again and again, in a task of a tokio runtime with its
/// network and clock on: between two calls nothing is read, sent or answered. To each room or person messages go out one at a
/// time, so that none overtakes another, and each keeps its id over every repeat.
pub struct Client {
    session: Session,
    /// After the end: what is still to be told.
    last: Option<VecDeque<Event>>,
}

// What is under way may hold what people said, and the connection a token.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_over = self.last.is_some();
        f.debug_struct("Client")
            .field("unsent", &self.unsent())
            .field("is_over", &is_over)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the node, or the balancer, at this URL (`ws://`, `wss://`, or the chat page's own). It connects once
    /// [`Client::next`] is awaited. For `wss://`, reads the authorities that this machine trusts.
    ///
    /// # Errors
    /// The URL is none, the name is none, or there is no authority to trust.
    pub fn new(url: &str, user: &str) -> Result<Self, ClientError> {
        Self::with(Address::parse(url)?, user)
    }

    /// The same, for nodes that ask for a token.
    ///
    /// # Errors
    /// As for [`Client::new`]; and the token holds characters that no token has.
    pub fn with_token(url: &str, user: &str, token: &str) -> Result<Self, ClientError> {
        Self::with(Address::parse(url)?.with_token(token)?, user)
    }

    fn with(address: Address, user: &str) -> Result<Self, ClientError> {
        let mut chat = Model::new(user_name(user)?, 0);
        chat.keep_history = false;
        Ok(Self { session: Session::new(chat, address), last: None })
    }

    /// Rooms that are entered from now on begin with this many old messages, at most 200; with none if this is not called.
    pub fn ask_for_history(&mut self, messages: u32) {
        self.session.model.history = messages.min(MOST_HISTORY);
    }

    /// Enters a room, and enters it again after each loss of the connection, where it stopped.
    ///
    /// # Errors
    /// The name is none.
    pub fn enter(&mut self, room: &str) -> Result<(), ClientError> {
        let room = room_name(room)?;
        self.session.model.join(room, Instant::now());
        Ok(())
    }

    /// Leaves a room. What was on its way to it comes back as [`Event::NotSent`]. Nothing where it was not entered.
    ///
    /// # Errors
    /// The name is none.
    pub fn leave(&mut self, room: &str) -> Result<(), ClientError> {
        let (room, chat) = (Target::Room(room_name(room)?), &mut self.session.model);
        if let Some(index) = chat.index_of(&room) {
            chat.close(index);
        }
        Ok(())
    }

    /// Says something in a room. It becomes an [`Event::Message`] with this id once it is in the room's log, or an
    /// [`Event::NotSent`]. Takes any number, at a cost that grows with it: who says much waits while [`Client::unsent`] is
    /// above some hundreds.
    ///
    /// # Errors
    /// The name is none, or of a room that was not entered; or it is over.
    pub fn say(&mut self, room: &str, content: impl Into<String>) -> Result<String, ClientError> {
        let (room, chat) = (room_name(room)?, &mut self.session.model);
        let target = Target::Room(room.clone());
        if chat.index_of(&target).is_none() {
            return Err(ClientError::NotEntered(room));
        }
        self.say_to(target, content.into())
    }

    /// Says something to one user, on all of their connections, now or when they come. What becomes of it is told as for
    /// [`Client::say`].
    ///
    /// # Errors
    /// The name is none; or it is over.
    pub fn whisper(&mut self, user: &str, content: impl Into<String>) -> Result<String, ClientError> {
        let target = Target::User(user_name(user)?);
        self.say_to(target, content.into())
    }

    fn say_to(&mut self, target: Target, content: String) -> Result<String, ClientError> {
        if self.last.is_some() {
            return Err(ClientError::Over);
        }
        Ok(self.session.model.say_to(target, content, Instant::now()))
    }

    /// How many messages are on their way: not yet known to be stored.
    pub fn unsent(&self) -> usize {
        self.session.model.outbox.len()
    }

    /// Waits for what happens next. `None` once it is over: after [`Event::Closed`]. Cancel safe: it may stand in a
    /// `select!`.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(last) = &mut self.last {
                return last.pop_front();
            }
            let news = match self.session.settle() {
                Some(news) => Some(news),
                None => self.session.next().await,
            };
            if let Some(news) = news {
                let event = Event::of(news);
                if !matches!(event, Event::Closed(_)) {
                    return Some(event);
                }
                // Whoever said it hears what became of it.
                let unsent = self.session.model.outbox.close_all().into_iter().map(Event::given_up);
                self.last = Some(unsent.chain([event]).collect());
            }
        }
    }

    /// Says goodbye, so that others see at once that the user is gone.
    pub async fn close(self) {
        self.session.close().await;
    }
}

fn room_name(name: &str) -> Result<RoomName, ClientError> {
    RoomName::parse(name).map_err(|why| ClientError::Name(name.to_owned(), why))
}

fn user_name(name: &str) -> Result<UserName, ClientError> {
    UserName::parse(name).map_err(|why| ClientError::Name(name.to_owned(), why))
}
