//! Meaning of a failed call to Redis. Owns the decision between refused, unknown and corrupt, and counts each failure; does
//! not retry. Called by the connections and by the code that reads replies.

use std::sync::Arc;

use metrics::counter;
use redis::{ErrorKind, RedisError, ServerError};

use super::rights;
use crate::backend::BackendError;
use crate::metrics::REDIS_ERRORS;

/// Purpose of a connection: the label `role` of [`REDIS_ERRORS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionRole {
    /// Publishing, members who come and go, markers, and reads of at most one message.
    Command,
    /// Subscriptions.
    Subscriber,
    /// Pages of history and members, leases, tokens.
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

    /// Redis refused the call, or there was no connection.
    pub(super) fn refused(self, why: impl Into<String>) -> BackendError {
        self.count("refused");
        BackendError::Refused(why.into())
    }

    /// No server is known that has the slot.
    pub(super) fn nobody(self) -> BackendError {
        self.refused("no master of the Redis Cluster has the slot")
    }

    /// No reply arrived in time.
    pub(super) fn timed_out(self) -> BackendError {
        self.count("timeout");
        BackendError::Unknown("no reply from Redis in time".into())
    }

    /// The server was replaced as the master while it was asked. The new master may not have what this one did.
    pub(super) fn replaced(self) -> BackendError {
        self.count("io");
        BackendError::Unknown("the master was replaced meanwhile".into())
    }

    /// The reply has an unexpected format. The call may have changed data.
    pub(super) fn malformed_reply(self) -> BackendError {
        self.corrupt("unexpected reply format from Redis")
    }

    fn corrupt(self, why: impl Into<String>) -> BackendError {
        self.count("corrupt");
        BackendError::Corrupt(why.into())
    }

    /// A connection was lost without a call.
    pub(super) fn lost(self) {
        self.count("io");
    }

    /// Classifies the error of a command that was sent.
    pub(super) fn classify(self, error: &RedisError) -> BackendError {
        rights::report(error);
        if error.is_timeout() {
            return self.timed_out();
        }
        if error.code() == Some("OOM") {
            self.count("refused");
            return BackendError::Full(error.to_string());
        }
        // Of `publish.lua`: the limits of a sender, and no failure of a call.
        match error.code() {
            Some("INBOXFULL") => return BackendError::InboxFull,
            Some("NOREPEAT") => return BackendError::NotARepeat,
            _ => {}
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

/// True for error replies that Redis sends before it has written anything; in a script, before its first write. Other
/// error replies of a script (`ERR`, `WRONGTYPE`, `NOPERM`) may come after a write.
fn refuses(error: &RedisError) -> bool {
    const BEFORE_WRITING: [&str; 14] = [
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

/// True if a key has another type or holds an invalid value, or if a reply is malformed: another program writes under the
/// prefix.
fn is_corrupt(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedReturnType | ErrorKind::Parse) || has_code(error, &FOREIGN)
}

/// Error codes of a key with another type, and of a script that read an invalid value (`log.lua`).
const FOREIGN: [&str; 2] = ["WRONGTYPE", "BADLOG"];

/// True if the server is no longer a master: the connection must be replaced.
pub(super) fn is_demoted(error: &RedisError) -> bool {
    has_code(error, &["READONLY"])
}

/// True if this error, or one inside a pipeline, which `RedisError::code` does not see, has one of these codes.
fn has_code(error: &RedisError, codes: &[&str]) -> bool {
    let has_one =
        |errors: Arc<[(usize, ServerError)]>| errors.iter().any(|(_, error)| codes.contains(&error.code()));
    error.clone().into_server_errors().is_some_and(has_one)
}

/// True if the server does not know the script.
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
    fn errors_are_refused_corrupt_or_unknown() {
        let full = reply("-OOM command not allowed when used memory > 'maxmemory'.\r\n");
        assert!(matches!(ConnectionRole::Command.classify(&full), BackendError::Full(_)));
        let inbox = reply("-INBOXFULL the user has never connected\r\n");
        assert_eq!(ConnectionRole::Command.classify(&inbox), BackendError::InboxFull);
        let fresh = reply("-NOREPEAT no log holds the message\r\n");
        assert_eq!(ConnectionRole::Command.classify(&fresh), BackendError::NotARepeat);
        for text in [
            "-READONLY You can't write against a read only replica.\r\n",
            "-LOADING Redis is loading the dataset in memory\r\n",
            "-MISCONF Errors writing to the AOF file: No space left on device\r\n",
            "-BUSY Redis is busy running a script.\r\n",
            "-NOAUTH Authentication required.\r\n",
        ] {
            assert!(
                matches!(ConnectionRole::Command.classify(&reply(text)), BackendError::Refused(_)),
                "{text}"
            );
        }
        for text in ["-ERR user_script:12: boom\r\n", "-NOPERM\r\n"] {
            assert!(
                matches!(ConnectionRole::Command.classify(&reply(text)), BackendError::Unknown(_)),
                "{text}"
            );
        }
        for text in [
            "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
            "-BADLOG chat:{r:lobby}:meta has an invalid s script: 0a, on @user_script:21.\r\n",
        ] {
            let error = ConnectionRole::Command.classify(&reply(text));
            assert!(matches!(error, BackendError::Corrupt(_)), "{text}");
        }
        let lost = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(matches!(ConnectionRole::Command.classify(&lost), BackendError::Unknown(_)));
        let late = RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        assert!(matches!(ConnectionRole::Command.classify(&late), BackendError::Unknown(_)));
    }
}
