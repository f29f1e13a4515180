//! The server API of a running node, for the commands of operators. Owns the key, the deadline, and what a refusal means for the
//! person at the terminal; the commands own their requests and their output. Called by them.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::Value;

use super::api::{Api, ApiError};
use super::output::MISUSE;
use crate::config::Config;

/// How long the node may take: longer than the node's own deadline for a request.
const DEADLINE: Duration = Duration::from_secs(10);

/// The node to use.
#[derive(Debug, clap::Args)]
pub(super) struct NodeOptions {
    /// The URL of the server API of any node of the cluster [default: the node with these settings on this machine]
    #[arg(long)]
    url: Option<String>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("auth.admin_key is unset: set CHAT_AUTH__ADMIN_KEY in the environment to the key of the node")]
    NoKey,
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("the node answered {0}: {1}{hint}", hint = hint(*.0, .2))]
    Refused(StatusCode, String, Option<String>),
    #[error("the answer of the node can't be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

impl CallError {
    /// The exit code of a command that ends with it.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoKey | Self::Api(ApiError::Url(_) | ApiError::Trust(_) | ApiError::Own(_)) => {
                ExitCode::from(MISUSE)
            }
            _ => ExitCode::FAILURE,
        }
    }
}

/// What to do about a refusal with this status and code, where the node can't know.
fn hint(status: StatusCode, code: &Option<String>) -> &'static str {
    match (status, code.as_deref()) {
        (StatusCode::UNAUTHORIZED, _) => "; CHAT_AUTH__ADMIN_KEY is not the key of this node",
        (StatusCode::NOT_FOUND, Some("not_found")) => "; the node runs an older version: upgrade it",
        (StatusCode::NOT_FOUND, None) => {
            "; the server API is on another port (internal.port) or another host: name it with --url"
        }
        _ => "",
    }
}

/// The API of one node.
pub(super) struct ServerApi(Api);

impl ServerApi {
    /// The API of the node that the options name, with the key in the settings.
    pub(super) fn new(node: &NodeOptions, config: &Config) -> Result<Self, CallError> {
        if config.auth.admin_key.is_none() {
            return Err(CallError::NoKey);
        }
        Ok(Self(Api::new(node.url.as_deref(), config, DEADLINE)?))
    }

    /// Makes a call. Returns the JSON of the answer, null if it is empty.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, CallError> {
        let (status, answer) = self.0.send(method, &format!("/api/v1{path}"), body).await?;
        if status.is_success() {
            return Ok(if answer.is_empty() { Value::Null } else { serde_json::from_slice(&answer)? });
        }
        let refusal: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let field = |name: &str| refusal[name].as_str().map(str::to_owned);
        let message = field("message").unwrap_or_else(|| String::from_utf8_lossy(&answer).trim().to_owned());
        Err(CallError::Refused(status, message, field("code")))
    }
}

/// A name as one segment of a path: every character is percent-encoded, except the unreserved ones of RFC 3986.
pub(super) fn path_segment(name: &str) -> String {
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
