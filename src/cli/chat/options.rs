//! The flags of `chatnode chat`. Owns their checks, and the plan that follows from them; opens nothing. Called by the
//! subcommand.

use std::fmt;
use std::path::PathBuf;

use chatnode_client::{Address, AddressError, NameError, RoomName, UserName};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};

use crate::cli::api::reachable;
use crate::cli::own_certificate::{self, OwnCertificateError};
use crate::config::Config;

/// The variable with the token. Other users of the machine can read a flag, but not a variable.
const TOKEN_VARIABLE: &str = "CHATNODE_TOKEN";

/// Chat in the terminal: rooms, members, private messages, history. /help lists the commands.
///
/// If the input or the output is not a terminal, every input line is sent to the first --room (or to --to), and every
/// message is printed as a line. The command ends when the input has ended and every line is stored; the exit code is 1 if
/// a line was not stored. After a lost connection it reconnects and resumes. It reads a token from CHATNODE_TOKEN or
/// --token-file.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The node, such as ws://127.0.0.1:8080/ or wss://chat.example.com/ [default: the node on this machine with these settings]
    url: Option<String>,
    /// Enter this room; you can use this option several times [default: the room in the URL, or lobby; none with --to]
    #[arg(long, value_name = "ROOM")]
    room: Vec<String>,
    /// Your user name [default: the user of the token, or your login name]
    #[arg(long)]
    name: Option<String>,
    /// Open the private messages with this user
    #[arg(long, value_name = "USER")]
    to: Option<String>,
    /// Read the token from this file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The number of old messages to show for each room, at most 200 [default: 50 on the full screen, 0 otherwise]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=200))]
    pub(super) history: Option<u32>,
    /// Without a terminal: go on printing messages after the input has ended
    #[arg(long)]
    pub(super) follow: bool,
}

/// What is wrong with the flags.
#[derive(Debug, thiserror::Error)]
pub(super) enum OptionError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Own(#[from] OwnCertificateError),
    #[error("{0} {1:?} {2}")]
    Name(&'static str, String, NameError),
    #[error("no user name: use --name")]
    NoName,
    #[error("can't read the token from {0}: {1}")]
    TokenFile(PathBuf, std::io::Error),
}

/// The node, the user, and the conversations to open.
pub(super) struct Plan {
    pub(super) address: Address,
    /// The user. `None` if the node is asked for the user of the token.
    pub(super) me: Option<UserName>,
    pub(super) rooms: Vec<RoomName>,
    pub(super) to: Option<UserName>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("address", &self.address).field("me", &self.me).finish_non_exhaustive()
    }
}

impl Options {
    /// Whether the flags name the node, so that the settings are not needed.
    pub(super) fn names_a_node(&self) -> bool {
        self.url.is_some()
    }

    /// Checks the flags.
    pub(super) fn plan(&self, config: &Config) -> Result<Plan, OptionError> {
        let (url, mut address) = match &self.url {
            Some(url) => (url.clone(), Address::parse(url)?),
            None => own_address(config)?,
        };
        let (linked_room, linked_user) = link(&url);
        let token = self.token()?;
        let login = || std::env::var("USER").ok().filter(|_| token.is_none());
        let me = match self.name.clone().or_else(login) {
            Some(name) => Some(UserName::parse(&name).map_err(|why| OptionError::Name("--name", name, why))?),
            None if token.is_some() => None,
            None => return Err(OptionError::NoName),
        };
        let to = self.to.clone().or(linked_user);
        let to = to.map(|to| UserName::parse(&to).map_err(|why| OptionError::Name("--to", to, why)));
        let to = to.transpose()?;
        let default = linked_room.or_else(|| to.is_none().then(|| config.rooms.default.clone()));
        let default = default.filter(|_| self.room.is_empty());
        let rooms =
            self.room.iter().chain(&default).map(|room| {
                RoomName::parse(room).map_err(|why| OptionError::Name("--room", room.clone(), why))
            });
        let rooms = rooms.collect::<Result<Vec<_>, _>>()?;
        if let Some(token) = token {
            address = address.with_token(token.expose_secret())?;
        }
        Ok(Plan { address, me, rooms, to })
    }

    fn token(&self) -> Result<Option<SecretString>, OptionError> {
        let text = match &self.token_file {
            Some(path) => {
                Some(std::fs::read_to_string(path).map_err(|why| OptionError::TokenFile(path.clone(), why))?)
            }
            None => std::env::var(TOKEN_VARIABLE).ok(),
        };
        let text = text.map(|text| text.trim().to_owned());
        Ok(text.filter(|text| !text.is_empty()).map(SecretString::from))
    }
}

/// The node with these settings on this machine.
fn own_address(config: &Config) -> Result<(String, Address), OptionError> {
    let tls = own_certificate::config(config)?;
    let scheme = if tls.is_some() { "wss" } else { "ws" };
    let url = format!("{scheme}://{}/", reachable(&config.host, config.port));
    let address = match tls {
        Some(tls) => Address::parse_with_tls(&url, tls)?,
        None => Address::parse(&url)?,
    };
    Ok((url, address))
}

/// The room or the user that a link of the chat page opens, `#room=ops` or `#peer=bob`.
fn link(url: &str) -> (Option<String>, Option<String>) {
    let decoded = |name: &str| percent_decode_str(name).decode_utf8_lossy().into_owned();
    match url.split_once('#').and_then(|(_, link)| link.split_once('=')) {
        Some(("room", name)) => (Some(decoded(name)), None),
        Some(("peer", name)) => (None, Some(decoded(name))),
        _ => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(url: &str, room: &[&str], to: Option<&str>) -> (Vec<String>, Option<String>) {
        let options = Options {
            url: Some(url.into()),
            room: room.iter().map(ToString::to_string).collect(),
            name: Some("ann".into()),
            to: to.map(Into::into),
            token_file: None,
            history: None,
            follow: false,
        };
        let plan = options.plan(&Config::default()).unwrap();
        (plan.rooms.iter().map(ToString::to_string).collect(), plan.to.map(|to| to.to_string()))
    }

    #[test]
    fn a_link_to_the_page_opens_the_same_conversation() {
        let rooms = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(plan("ws://h/", &[], None), (rooms(&["lobby"]), None));
        assert_eq!(plan("http://h/#room=dev%20%26%20ops", &[], None), (rooms(&["dev & ops"]), None));
        assert_eq!(plan("http://h/#peer=bob", &[], None), (rooms(&[]), Some("bob".into())));
        assert_eq!(plan("http://h/#room=dev", &["ops"], None), (rooms(&["ops"]), None));
        assert_eq!(plan("http://h/#elsewhere", &[], Some("bob")), (rooms(&[]), Some("bob".into())));
    }
}
