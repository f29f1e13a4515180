//! What a failed call to Redis means. Owns the one judgement that callers act on: refused, or unknown; counts each
//! failure. Called wherever a reply is awaited.

use metrics::counter;
use redis::RedisError;

use crate::backend::BackendError;
use crate::metrics::REDIS_ERRORS;

/// What the connection that failed was for: the label `role` of [`REDIS_ERRORS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The hot path.
    Command,
    /// Subscriptions.
    Subscriber,
    /// History, presence, tokens, markers.
    Pool,
}

impl Role {
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
    pub(super) fn garbled(self) -> BackendError {
        self.count("io");
        BackendError::Unknown("Redis answered something else than was asked".into())
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
    fn what_redis_turns_away_is_refused_and_all_else_is_unknown() {
        for text in [
            "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
            "-READONLY You can't write against a read only replica.\r\n",
            "-LOADING Redis is loading the dataset in memory\r\n",
            "-MISCONF Errors writing to the AOF file: No space left on device\r\n",
            "-BUSY Redis is busy running a script.\r\n",
            "-NOAUTH Authentication required.\r\n",
        ] {
            assert!(matches!(Role::Command.judge(&reply(text)), BackendError::Refused(_)), "{text}");
        }
        for text in ["-ERR user_script:12: boom\r\n", "-WRONGTYPE Operation against a key\r\n", "-NOPERM\r\n"]
        {
            assert!(matches!(Role::Command.judge(&reply(text)), BackendError::Unknown(_)), "{text}");
        }
        let lost = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(matches!(Role::Command.judge(&lost), BackendError::Unknown(_)));
        let late = RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        assert!(matches!(Role::Command.judge(&late), BackendError::Unknown(_)));
    }
}
