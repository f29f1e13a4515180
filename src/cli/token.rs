//! `chatnode token`: issues and revokes tokens through the server API of a running node. Owns the requests and the
//! output; the node manages the tokens. Called by the command.

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use hyper::Method;
use serde_json::json;

use super::output::{MISUSE, block_on, load, print, print_error, unwritten};
use super::server_api::{CallError, NodeOptions, ServerApi, path_segment};
use crate::config::Flags;

/// What to do with tokens.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// Issue a token and print only the token
    Issue {
        /// The user that the token belongs to
        user: String,
        /// The lifetime of the token, such as 12h [default: auth.token_ttl of the node]
        #[arg(long, value_parser = humantime::parse_duration)]
        ttl: Option<Duration>,
        #[command(flatten)]
        node: NodeOptions,
    },
    /// Revoke one token, or all tokens of a user; every node closes the connections that use them
    #[command(group(clap::ArgGroup::new("which").required(true)))]
    Revoke {
        /// The token; `-` reads it from standard input, so that it is not visible in the process list
        #[arg(group = "which")]
        token: Option<String>,
        /// Revoke all tokens of this user
        #[arg(long, group = "which")]
        user: Option<String>,
        #[command(flatten)]
        node: NodeOptions,
    },
}

/// More than a token may have: a JWT has 8 KiB at most.
const MAX_TOKEN_BYTES: u64 = 16 << 10;

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error("--ttl must be at least 1s")]
    ShortLife,
    #[error("can't read the token: {0}")]
    Input(#[from] std::io::Error),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the answer of the node contains no token")]
    NoToken,
    #[error("{0}; the token was revoked again")]
    Undelivered(String),
    #[error("{0}; the token is lost but valid until it expires, because it can't be revoked: {1}")]
    Unrevoked(String, Box<TokenError>),
}

pub(super) fn run(flags: &Flags, action: &Action) -> ExitCode {
    let config = match load(flags) {
        Ok(loaded) => loaded.config,
        Err(code) => return code,
    };
    let (Action::Issue { node, .. } | Action::Revoke { node, .. }) = action;
    block_on(async {
        let done = async {
            let api = ServerApi::new(node, &config)?;
            match perform(&api, action).await? {
                Some(token) => deliver(&api, &token).await,
                None => Ok(()),
            }
        };
        match done.await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                print_error(&error);
                match error {
                    TokenError::Call(error) => error.exit_code(),
                    TokenError::ShortLife => ExitCode::from(MISUSE),
                    _ => ExitCode::FAILURE,
                }
            }
        }
    })
}

/// Performs the action. Returns the token that it issued.
async fn perform(api: &ServerApi, action: &Action) -> Result<Option<String>, TokenError> {
    match action {
        Action::Issue { user, ttl, .. } => {
            let mut body = json!({ "username": user });
            if let Some(ttl) = ttl {
                if ttl.as_secs() == 0 {
                    return Err(TokenError::ShortLife);
                }
                body["ttl_seconds"] = ttl.as_secs().into();
            }
            let answer = api.call(Method::POST, "/tokens", Some(&body)).await?;
            let token = answer["token"].as_str().ok_or(TokenError::NoToken)?;
            Ok(Some(token.to_owned()))
        }
        Action::Revoke { user: Some(user), .. } => {
            let path = format!("/users/{}/tokens", path_segment(user));
            api.call(Method::DELETE, &path, None).await?;
            Ok(None)
        }
        Action::Revoke { token, .. } => {
            let mut token = token.clone().unwrap_or_default();
            if token == "-" {
                token.clear();
                std::io::stdin().take(MAX_TOKEN_BYTES).read_to_string(&mut token)?;
            }
            revoke(api, token.trim()).await?;
            Ok(None)
        }
    }
}

/// Prints the token, alone on its line. A token that nobody receives is revoked again.
async fn deliver(api: &ServerApi, token: &str) -> Result<(), TokenError> {
    let Err(error) = print(&format!("{token}\n")) else { return Ok(()) };
    match revoke(api, token).await {
        Ok(()) => Err(TokenError::Undelivered(unwritten(&error))),
        Err(why) => Err(TokenError::Unrevoked(unwritten(&error), Box::new(why))),
    }
}

async fn revoke(api: &ServerApi, token: &str) -> Result<(), TokenError> {
    let body = json!({ "token": token });
    api.call(Method::POST, "/tokens/revoke", Some(&body)).await?;
    Ok(())
}
