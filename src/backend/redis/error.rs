//! What a failed call to Redis means. Owns the one judgement that callers act on: refused, unknown or corrupt; counts
//! each failure. Called wherever a reply is awaited.

use std::sync::Arc;

use metrics::counter;
use redis::{ErrorKind, RedisError, ServerError};

use crate::backend::BackendError;
use crate::metrics::REDIS_ERRORS;

/// What the connection that failed was for: the label `role` of [`REDIS_ERRORS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionRole {
    /// The hot path.
    Command,
    /// Subscriptions.
    Subscriber,
    /// History, presence, tokens, markers.
    Pool,
}

impl ConnectionRole {
    fn label(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Subscriber => "subscriber",
            Self::Pool => "pool",
        }
    }

    /// Redis said no, or there was no connection to ask it over.
    pub(super) fn refused(self, why: impl Into<String>) -> BackendError {
        self.count("refused");
        BackendError::Refused(why.into())
    }

    /// No answer in time.
    pub(super) fn timed_out(self) -> BackendError {
        self.count("timeout");
        BackendError::Unknown("no answer from Redis in time".into())
    }

    /// A reply of another shape than the script's: whatever it did, it did.
    pub(super) fn malformed_reply(self) -> BackendError {
        self.corrupt("a reply that no node wrote the parts of")
    }

    fn corrupt(self, why: impl Into<String>) -> BackendError {
        self.count("corrupt");
        BackendError::Corrupt(why.into())
    }

    /// A connection that was lost by itself.
    pub(super) fn lost(self) {
        self.count("io");
    }

    /// Judges an error of a command that was sent.
    pub(super) fn judge(self, error: &RedisError) -> BackendError {
        if error.is_timeout() {
            return self.timed_out();
        }
        if refuses(error) {
            return self.refused(error.to_string());
        }
        if is_corrupt(error) {
            return self.corrupt(error.to_string());
        }
        self.count("io");
        BackendError::Unknown(error.to_string())
    }

    fn count(self, kind: &'static str) {
        counter!(REDIS_ERRORS, "role" => self.label(), "kind" => kind).increment(1);
    }
}

/// Replies by which Redis turns a command away before it has written anything; within a script, before the script's
/// first write. Any other error reply of a script (`ERR`, `WRONGTYPE`, `NOPERM`) may come after one.
fn refuses(error: &RedisError) -> bool {
    const BEFORE_WRITING: [&str; 15] = [
        "OOM",
        "READONLY",
        "LOADING",
        "MISCONF",
        "NOAUTH",
        "WRONGPASS",
        "BUSY",
        "MASTERDOWN",
        "NOREPLICAS",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "MOVED",
        "ASK",
        "CROSSSLOT",
        "NOSCRIPT",
    ];
    error.code().is_some_and(|code| BEFORE_WRITING.contains(&code))
}

/// A key of ours is of another type, or a reply can't be read: somebody else writes under our prefix.
fn is_corrupt(error: &RedisError) -> bool {
    // Of a pipeline, `code` knows nothing.
    let is_foreign =
        |errors: Arc<[(usize, ServerError)]>| errors.iter().any(|(_, error)| error.code() == "WRONGTYPE");
    matches!(error.kind(), ErrorKind::UnexpectedReturnType | ErrorKind::Parse)
        || error.clone().into_server_errors().is_some_and(is_foreign)
}

/// The server we talk to is no master any more: the connection must be made anew.
pub(super) fn is_demoted(error: &RedisError) -> bool {
    error.code() == Some("READONLY")
}

/// The server has forgotten the script.
pub(super) fn is_no_script(error: &RedisError) -> bool {
    error.code() == Some("NOSCRIPT")
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    fn reply(text: &str) -> RedisError {
        parse_redis_value(text.as_bytes()).unwrap().extract_error().unwrap_err()
    }

    #[test]
    fn what_redis_turns_away_is_refused_what_is_not_ours_is_corrupt_and_all_else_is_unknown() {
        for text in [
            "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
            "-READONLY You can't write against a read only replica.\r\n",
            "-LOADING Redis is loading the dataset in memory\r\n",
            "-MISCONF Errors writing to the AOF file: No space left on device\r\n",
            "-BUSY Redis is busy running a script.\r\n",
            "-NOAUTH Authentication required.\r\n",
        ] {
            assert!(
                matches!(ConnectionRole::Command.judge(&reply(text)), BackendError::Refused(_)),
                "{text}"
            );
        }
        for text in ["-ERR user_script:12: boom\r\n", "-NOPERM\r\n"] {
            assert!(
                matches!(ConnectionRole::Command.judge(&reply(text)), BackendError::Unknown(_)),
                "{text}"
            );
        }
        let foreign = reply("-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
        assert!(matches!(ConnectionRole::Command.judge(&foreign), BackendError::Corrupt(_)));
        let lost = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(matches!(ConnectionRole::Command.judge(&lost), BackendError::Unknown(_)));
        let late = RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        assert!(matches!(ConnectionRole::Command.judge(&late), BackendError::Unknown(_)));
    }
}
