//! The user of a token. Owns one question to the node and its deadline; keeps no connection. Called where a program or a
//! person gives a token and no name.

use std::time::Duration;

use chatnode_protocol::requests::Ping;
use chatnode_protocol::{ClientMessage, ServerMessage, UserName};
use tokio::time::timeout;

use crate::address::Address;
use crate::link::{Happened, Link};
use crate::pending::new_id;
use crate::reason::{ClosedReason, LostReason};
use crate::text::harmless;

/// The time for the connection and the answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why the user of a token is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WhoamiError {
    /// The node does not ask for tokens, so a token has no user.
    #[error("the node does not ask for tokens: give a user name")]
    NoAuthentication,
    /// The node does not answer in time.
    #[error("the node does not answer")]
    TimedOut,
    /// The node answers with an error.
    #[error("{0}")]
    Refused(String),
    /// There is no connection.
    #[error(transparent)]
    Lost(#[from] LostReason),
    /// The node does not accept the token, or it is no node.
    #[error(transparent)]
    Closed(#[from] ClosedReason),
}

/// Asks the node at this address for the user of the token, over a connection of its own.
///
/// # Errors
/// There is no connection, the node does not accept the token, or it does not ask for tokens.
pub async fn whoami(address: &Address) -> Result<UserName, WhoamiError> {
    let mut link = Link::new(address.clone());
    let answer = timeout(TIMEOUT, ask(&mut link)).await;
    link.close().await;
    answer.unwrap_or(Err(WhoamiError::TimedOut))
}

async fn ask(link: &mut Link) -> Result<UserName, WhoamiError> {
    loop {
        match link.next().await {
            Happened::Opened => {
                link.send(ClientMessage::encode(&Ping::default(), Some(&new_id()), None, None))
            }
            Happened::Frame(text) => match ServerMessage::decode(&text) {
                Ok(ServerMessage::Ack(ack)) => {
                    let answer = ack.read::<Ping>().map_err(|_| ClosedReason::Unreadable)?;
                    return answer.sender_username.ok_or(WhoamiError::NoAuthentication);
                }
                Ok(ServerMessage::Error { body, .. }) => {
                    return Err(WhoamiError::Refused(harmless(&body.message)));
                }
                _ => {}
            },
            Happened::Lost { reason, .. } => return Err(reason.into()),
            Happened::Refused(reason) => return Err(reason.into()),
        }
    }
}
