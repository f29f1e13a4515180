//! The commands for a running cluster: `chatnode rooms`, `who`, `say`, `kick` and `nodes`. Owns their requests and their output; the
//! node does the work. Called by the command.

use std::fmt::Write;
use std::io::Read;
use std::process::ExitCode;

use hyper::Method;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::api::ApiError;
use super::output::{MISUSE, block_on, load, print, print_error, unwritten};
use super::server_api::{CallError, NodeOptions, ServerApi, path_segment};
use crate::config::Flags;

/// The longest text that `say -` reads from standard input; the node's own limit is in its settings.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// What to ask of the cluster.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// List the rooms that have members in the cluster, each with their number
    Rooms {
        #[command(flatten)]
        node: NodeOptions,
    },
    /// List the users in a room, in the whole cluster
    Who {
        /// The room
        room: String,
        #[command(flatten)]
        node: NodeOptions,
    },
    /// Send a message to a room, also to one that users can only read; prints the id of the stored message
    Say {
        /// The room
        room: String,
        /// The message; `-` reads it from standard input
        text: String,
        /// The name of the sender, which needs no token [default: your login name]
        #[arg(long)]
        name: Option<String>,
        /// Send it also if the room has neither members nor messages
        #[arg(long)]
        new: bool,
        #[command(flatten)]
        node: NodeOptions,
    },
    /// Close all connections of a user, on every node; `chatnode token revoke --user` also keeps the user out
    Kick {
        /// The user
        user: String,
        #[command(flatten)]
        node: NodeOptions,
    },
    /// List the nodes of the cluster, each with the rest of its lease and its incarnation
    Nodes {
        #[command(flatten)]
        node: NodeOptions,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("{0}; the message may be stored: look before you send it again")]
    Unknown(ApiError),
    #[error("no user name: use --name")]
    NoName,
    #[error("can't read the message: {0}")]
    Input(std::io::Error),
    #[error("nobody is in the room {0:?}: `chatnode rooms` lists the rooms that have members")]
    NobodyIn(String),
    #[error(
        "the room {0:?} has neither members nor messages: `chatnode rooms` lists the rooms that have members, and --new \
         sends to a new room"
    )]
    NoRoom(String),
    #[error("{}", unwritten(.0))]
    Output(std::io::Error),
}

#[derive(Deserialize)]
struct Rooms {
    rooms: Vec<Room>,
    more: bool,
}

#[derive(Deserialize)]
struct Room {
    room: String,
    count: u64,
}

#[derive(Deserialize)]
struct Members {
    members: Vec<String>,
    count: u64,
    more: bool,
}

#[derive(Deserialize)]
struct Messages {
    messages: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Stored {
    message_id: String,
}

#[derive(Deserialize)]
struct Nodes {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    name: String,
    incarnation: String,
    lease_remaining_ms: u64,
}

pub(super) fn run(flags: &Flags, action: &Action) -> ExitCode {
    let config = match load(flags) {
        Ok(loaded) => loaded.config,
        Err(code) => return code,
    };
    block_on(async {
        let done = async {
            let api = ServerApi::new(action.node(), &config)?;
            match action {
                Action::Rooms { .. } => rooms(&api).await,
                Action::Who { room, .. } => who(&api, room).await,
                Action::Say { room, text, name, new, .. } => say(&api, room, text, name.clone(), *new).await,
                Action::Kick { user, .. } => {
                    let path = format!("/users/{}/disconnect", path_segment(user));
                    api.call(Method::POST, &path, None).await?;
                    Ok(())
                }
                Action::Nodes { .. } => nodes(&api).await,
            }
        };
        match done.await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                print_error(&error);
                match error {
                    Failure::Call(error) => error.exit_code(),
                    Failure::NoName => ExitCode::from(MISUSE),
                    _ => ExitCode::FAILURE,
                }
            }
        }
    })
}

impl Action {
    fn node(&self) -> &NodeOptions {
        let (Self::Rooms { node }
        | Self::Who { node, .. }
        | Self::Say { node, .. }
        | Self::Kick { node, .. }
        | Self::Nodes { node }) = self;
        node
    }
}

/// What the API answers at a path.
async fn get<T: serde::de::DeserializeOwned>(api: &ServerApi, path: &str) -> Result<T, CallError> {
    Ok(serde_json::from_value(api.call(Method::GET, path, None).await?)?)
}

async fn rooms(api: &ServerApi) -> Result<(), Failure> {
    let mut query = String::new();
    loop {
        let page: Rooms = get(api, &format!("/rooms{query}")).await?;
        let mut lines = String::new();
        for Room { room, count } in &page.rooms {
            let _never_fails = writeln!(lines, "{count:>7} {room}");
        }
        print(&lines).map_err(Failure::Output)?;
        match page.rooms.last() {
            Some(last) if page.more => query = format!("?after={}", path_segment(&last.room)),
            _ => return Ok(()),
        }
    }
}

async fn who(api: &ServerApi, room: &str) -> Result<(), Failure> {
    let path = format!("/rooms/{}/members", path_segment(room));
    let mut query = String::new();
    loop {
        let page: Members = get(api, &format!("{path}{query}")).await?;
        if query.is_empty() && page.count == 0 {
            return Err(Failure::NobodyIn(room.to_owned()));
        }
        let lines: String = page.members.iter().flat_map(|name| [name.as_str(), "\n"]).collect();
        print(&lines).map_err(Failure::Output)?;
        match page.members.last() {
            Some(last) if page.more => query = format!("?after={}", path_segment(last)),
            _ => return Ok(()),
        }
    }
}

async fn say(
    api: &ServerApi,
    room: &str,
    text: &str,
    name: Option<String>,
    is_new: bool,
) -> Result<(), Failure> {
    let name = name.or_else(|| std::env::var("USER").ok()).ok_or(Failure::NoName)?;
    let mut content = text.to_owned();
    if text == "-" {
        content.clear();
        let read = std::io::stdin().take(MAX_TEXT_BYTES).read_to_string(&mut content);
        read.map_err(Failure::Input)?;
        content.truncate(content.trim_end_matches('\n').len());
    }
    let path = format!("/rooms/{}", path_segment(room));
    // A node stores messages for any room: a misspelt one would take the message, and nobody would read it.
    if !is_new && !exists(api, &path).await? {
        return Err(Failure::NoRoom(room.to_owned()));
    }
    let body = json!({ "sender_username": name, "content": content, "id": Uuid::new_v4() });
    let stored = api.call(Method::POST, &format!("{path}/messages"), Some(&body)).await;
    let stored = stored.map_err(|error| match error {
        CallError::Api(error @ (ApiError::Broken(..) | ApiError::TimedOut(..))) => Failure::Unknown(error),
        error => error.into(),
    })?;
    let Stored { message_id } = serde_json::from_value(stored).map_err(CallError::from)?;
    print(&format!("{message_id}\n")).map_err(Failure::Output)
}

async fn exists(api: &ServerApi, path: &str) -> Result<bool, CallError> {
    let members: Members = get(api, &format!("{path}/members?limit=1")).await?;
    if members.count > 0 {
        return Ok(true);
    }
    let messages: Messages = get(api, &format!("{path}/messages?limit=1")).await?;
    Ok(!messages.messages.is_empty())
}

async fn nodes(api: &ServerApi) -> Result<(), Failure> {
    let Nodes { mut nodes } = get(api, "/nodes").await?;
    nodes.sort_by(|one, other| (&one.name, &one.incarnation).cmp(&(&other.name, &other.incarnation)));
    let width = nodes.iter().map(|node| node.name.chars().count()).max().unwrap_or(0);
    let mut lines = String::new();
    for Node { name, incarnation, lease_remaining_ms } in nodes {
        let lease = match lease_remaining_ms {
            0 => "expired".to_owned(),
            ms => format!("{:.1}s", ms as f64 / 1_000.0),
        };
        let _never_fails = writeln!(lines, "{name:<width$} {lease:>7} {incarnation}");
    }
    print(&lines).map_err(Failure::Output)
}
