//! How to connect. Owns the settings of a client, their defaults and bounds; opens nothing before
//! [`ConnectOptions::connect`]. Called by programs.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chatnode_protocol::{MAX_HISTORY, NameError, UserName};
use tokio_rustls::rustls::ClientConfig;

use crate::address::{Address, AddressError};
use crate::client::Client;
use crate::connection::{self, StartError};
use crate::events::Events;
use crate::model::Model;
use crate::outbox::SEND_TIMEOUT;
use crate::reason::{ClosedReason, LostReason};
use crate::session::Session;
use crate::tls;
use crate::whoami::{WhoamiError, whoami};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL, the token or a header is invalid, or there are no root certificates.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The user name is invalid.
    #[error("the user name {name:?} {error}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// There is neither a user name nor a token.
    #[error("give a user name, or a token")]
    NoUser,
    /// The user of the token is not known.
    #[error("can't find out the user of the token: {0}")]
    Whoami(#[from] WhoamiError),
    /// There is no connection. See [`ConnectOptions::retry_on_initial_connect`].
    #[error(transparent)]
    Lost(#[from] LostReason),
    /// The node refused the user, or it is no node.
    #[error(transparent)]
    Closed(#[from] ClosedReason),
}

/// How to connect: a builder.
///
/// ```no_run
/// use std::time::Duration;
///
/// use chatnode_client::ConnectOptions;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let (client, events) = ConnectOptions::new("wss://chat.example.com/")
///     .user("greeter")
///     .token(std::env::var("CHATNODE_TOKEN")?)
///     .history_on_join(50)
///     .send_timeout(Duration::from_secs(20))
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ConnectOptions {
    url: String,
    user: Option<String>,
    token: Option<String>,
    headers: Vec<(String, String)>,
    tls: Option<Arc<ClientConfig>>,
    root_certificates: Option<PathBuf>,
    connect_timeout: Option<Duration>,
    send_timeout: Duration,
    history_on_join: u32,
    event_capacity: usize,
    send_capacity: usize,
    retry_on_initial_connect: bool,
}

// The token and the headers are secrets.
impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("url", &self.url)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl ConnectOptions {
    /// Connects to the node, or the load balancer, at this URL: `ws://`, `wss://`, or the URL of the chat page.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            user: None,
            token: None,
            headers: Vec::new(),
            tls: None,
            root_certificates: None,
            connect_timeout: None,
            send_timeout: SEND_TIMEOUT,
            history_on_join: 0,
            event_capacity: 1_024,
            send_capacity: 1_024,
            retry_on_initial_connect: false,
        }
    }

    /// The user name. Without one, the node is asked for the user of the token.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>) -> Self {
        self.user = Some(name.into());
        self
    }

    /// The token, for nodes with authentication.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Adds a header to the WebSocket handshake, such as one that a load balancer asks for.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Trusts the root certificates in this file (PEM) instead of those of the machine.
    #[must_use]
    pub fn root_certificates(mut self, file: impl Into<PathBuf>) -> Self {
        self.root_certificates = Some(file.into());
        self
    }

    /// Uses this TLS configuration. It takes precedence over [`ConnectOptions::root_certificates`].
    #[must_use]
    pub fn tls_config(mut self, config: Arc<ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// The time in which a connection must be open. 10 s by default.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// How long the client tries to send a message, over any number of connections. 60 s by default. It gives up earlier
    /// where a repeat could be stored twice: after the dedupe window of the node, five minutes by default.
    #[must_use]
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.send_timeout = timeout;
        self
    }

    /// The number of old messages with which each room begins, at most 200. None by default.
    #[must_use]
    pub fn history_on_join(mut self, messages: u32) -> Self {
        self.history_on_join = messages.min(MAX_HISTORY);
        self
    }

    /// The number of events that wait for the program. 1,024 by default. If there are more, the client reads no more from
    /// the node; see [`Events`].
    #[must_use]
    pub fn event_capacity(mut self, events: usize) -> Self {
        self.event_capacity = events.max(1);
        self
    }

    /// The number of messages that can be on their way. 1,024 by default. If there are more, [`Client::send`] fails with
    /// [`SendError::QueueFull`](crate::SendError::QueueFull); see [`Client::ready`].
    #[must_use]
    pub fn send_capacity(mut self, messages: usize) -> Self {
        self.send_capacity = messages.max(1);
        self
    }

    /// Returns a client even if the node can't be reached yet: it goes on trying, and [`Event::Connected`] reports the
    /// success. A node that refuses the user ends the client with [`Event::Closed`].
    ///
    /// [`Event::Connected`]: crate::Event::Connected
    /// [`Event::Closed`]: crate::Event::Closed
    #[must_use]
    pub fn retry_on_initial_connect(mut self) -> Self {
        self.retry_on_initial_connect = true;
        self
    }

    /// Connects and signs in. Returns a handle, which can be cloned, and the events. The connection belongs to a task of
    /// its own, so this must be called in a tokio runtime with its network and clock enabled.
    ///
    /// # Errors
    /// A setting is invalid, the node can't be reached, or it refuses the user.
    pub async fn connect(self) -> Result<(Client, Events), ConnectError> {
        let mut address = match (&self.tls, &self.root_certificates) {
            (Some(config), _) => Address::parse_with(&self.url, || Ok(config.clone()))?,
            (None, Some(file)) => Address::parse_with(&self.url, || tls::config_from_file(file))?,
            (None, None) => Address::parse(&self.url)?,
        };
        if let Some(token) = &self.token {
            address = address.with_token(token)?;
        }
        for (name, value) in &self.headers {
            address = address.with_header(name, value)?;
        }
        if let Some(timeout) = self.connect_timeout {
            address.connect_timeout = timeout;
        }
        let user = match self.user {
            Some(name) => UserName::parse(&name).map_err(|error| ConnectError::Name { name, error })?,
            None if self.token.is_some() => whoami(&address).await?,
            None => return Err(ConnectError::NoUser),
        };
        let model = Model::for_program(user, self.history_on_join, self.send_timeout);
        let session = Session::new(model, address);
        let (client, events, started) = connection::spawn(
            session,
            self.event_capacity,
            self.send_capacity,
            !self.retry_on_initial_connect,
        );
        if !self.retry_on_initial_connect {
            match started.await.unwrap_or(Err(StartError::Closed(ClosedReason::ByClient))) {
                Ok(()) => {}
                Err(StartError::Lost(reason)) => return Err(reason.into()),
                Err(StartError::Closed(reason)) => return Err(reason.into()),
            }
        }
        Ok((client, events))
    }
}
