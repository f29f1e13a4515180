//! `chatnode token`: issues and revokes tokens through the server API of a running node. Owns the requests and the
//! output; the node manages the tokens. Called by the command.

use std::fmt::Write;
use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::json;

use super::api::{Api, ApiError};
use super::output::{MISUSE, block_on, load, print, print_error, unwritten};
use crate::config::Flags;

/// How long the node may take: longer than the node's own deadline for a request.
const DEADLINE: Duration = Duration::from_secs(10);

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

/// The node to use.
#[derive(Debug, clap::Args)]
pub(super) struct NodeOptions {
    /// The URL of the server API of any node of the cluster [default: the node with these settings on this machine]
    #[arg(long)]
    url: Option<String>,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error("auth.admin_key is unset: set CHAT_AUTH__ADMIN_KEY in the environment to the key of the node")]
    NoKey,
    #[error("--ttl must be at least 1s")]
    ShortLife,
    #[error("can't read the token: {0}")]
    Input(#[from] std::io::Error),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("the node answered {0}: {1}")]
    Refused(StatusCode, String),
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
            if config.auth.admin_key.is_none() {
                return Err(TokenError::NoKey);
            }
            let api = Api::new(node.url.as_deref(), &config, DEADLINE)?;
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
                    TokenError::NoKey
                    | TokenError::ShortLife
                    | TokenError::Api(ApiError::Url(_) | ApiError::Trust(_)) => ExitCode::from(MISUSE),
                    _ => ExitCode::FAILURE,
                }
            }
        }
    })
}

/// Performs the action. Returns the token that it issued.
async fn perform(api: &Api, action: &Action) -> Result<Option<String>, TokenError> {
    match action {
        Action::Issue { user, ttl, .. } => {
            let mut body = json!({ "username": user });
            if let Some(ttl) = ttl {
                if ttl.as_secs() == 0 {
                    return Err(TokenError::ShortLife);
                }
                body["ttl_seconds"] = ttl.as_secs().into();
            }
            let answer = accepted(api.send(Method::POST, "/api/v1/tokens", Some(&body)).await?)?;
            let answer: serde_json::Value =
                serde_json::from_slice(&answer).map_err(|_| TokenError::NoToken)?;
            let token = answer["token"].as_str().ok_or(TokenError::NoToken)?;
            Ok(Some(token.to_owned()))
        }
        Action::Revoke { user: Some(user), .. } => {
            let path = format!("/api/v1/users/{}/tokens", path_segment(user));
            accepted(api.send(Method::DELETE, &path, None).await?)?;
            Ok(None)
        }
        Action::Revoke { token, .. } => {
            let mut token = token.clone().unwrap_or_default();
            if token == "-" {
                token.clear();
                std::io::stdin().take(1024).read_to_string(&mut token)?;
            }
            revoke(api, token.trim()).await?;
            Ok(None)
        }
    }
}

/// Prints the token, alone on its line. A token that nobody receives is revoked again.
async fn deliver(api: &Api, token: &str) -> Result<(), TokenError> {
    let Err(error) = print(&format!("{token}\n")) else { return Ok(()) };
    match revoke(api, token).await {
        Ok(()) => Err(TokenError::Undelivered(unwritten(&error))),
        Err(why) => Err(TokenError::Unrevoked(unwritten(&error), Box::new(why))),
    }
}

async fn revoke(api: &Api, token: &str) -> Result<(), TokenError> {
    let body = json!({ "token": token });
    accepted(api.send(Method::POST, "/api/v1/tokens/revoke", Some(&body)).await?)?;
    Ok(())
}

/// The body of a successful answer, or the `message` of an error.
fn accepted((status, body): (StatusCode, Bytes)) -> Result<Bytes, TokenError> {
    if status.is_success() {
        return Ok(body);
    }
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let message =
        answer["message"].as_str().map_or_else(|| String::from_utf8_lossy(&body).into_owned(), str::to_owned);
    Err(TokenError::Refused(status, message))
}

/// A name as one segment of a path: every character is percent-encoded, except the unreserved ones of RFC 3986.
fn path_segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            segment.push(char::from(byte));
        } else {
            let _never_fails = write!(segment, "%{byte:02X}");
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_becomes_one_segment_of_a_path() {
        assert_eq!(path_segment("a/b c?é"), "a%2Fb%20c%3F%C3%A9");
    }
}
