//! Failed calls, and what they say about the server that was asked. Owns the recognition of the replies with which a Redis Cluster
//! sends a caller elsewhere; does not ask again. Made by the connections, read by the router.

use redis::{RedisError, ServerError};

use super::error::ConnectionRole;
use crate::backend::BackendError;

/// Why another server, or the same one a little later, may answer a call. Nothing was executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Redirect {
    /// The slot of the keys belongs to this server. Without a host, it is that of the server that was asked.
    Moved(String, u16),
    /// The slot is moving to this server, and the keys are there already.
    Ask(String, u16),
    /// The slot is moving, and the keys are on both servers.
    TryAgain,
    /// The server can't serve the slot at the moment.
    Down,
    /// There is no connection to the server.
    Unconnected,
}

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// What the caller is told.
    pub(super) error: BackendError,
    /// What a Redis Cluster says.
    pub(super) redirect: Option<Redirect>,
}

impl From<Failure> for BackendError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        Self { error, redirect: None }
    }
}

impl Failure {
    /// There is no connection.
    pub(super) fn unconnected(error: BackendError) -> Self {
        Self { error, redirect: Some(Redirect::Unconnected) }
    }

    /// From an error that came over a connection.
    pub(super) fn classify(role: ConnectionRole, error: &RedisError) -> Self {
        Self { redirect: Redirect::of(error), error: role.classify(error) }
    }
}

impl Redirect {
    /// What the error says, or the errors inside a pipeline.
    fn of(error: &RedisError) -> Option<Self> {
        let errors = error.clone().into_server_errors()?;
        errors.iter().find_map(|(_, error)| Self::of_reply(error))
    }

    fn of_reply(error: &ServerError) -> Option<Self> {
        match error.code() {
            "MOVED" => Self::address(error).map(|(host, port)| Self::Moved(host, port)),
            "ASK" => Self::address(error).map(|(host, port)| Self::Ask(host, port)),
            "TRYAGAIN" => Some(Self::TryAgain),
            "CLUSTERDOWN" | "LOADING" | "MASTERDOWN" => Some(Self::Down),
            _ => None,
        }
    }

    /// The address in the details, `<slot> <host>:<port>`.
    fn address(error: &ServerError) -> Option<(String, u16)> {
        let (host, port) = error.details()?.split_once(' ')?.1.rsplit_once(':')?;
        Some((host.trim_matches(['[', ']']).to_owned(), port.trim().parse().ok()?))
    }

    /// Label `kind` of the metric.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Moved(..) => "moved",
            Self::Ask(..) => "ask",
            Self::TryAgain => "tryagain",
            Self::Down => "clusterdown",
            Self::Unconnected => "unconnected",
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    fn redirect(reply: &str) -> Option<Redirect> {
        Redirect::of(&parse_redis_value(reply.as_bytes()).unwrap().extract_error().unwrap_err())
    }

    #[test]
    fn replies_of_a_cluster_are_recognised() {
        let moved = |host: &str, port| Some(Redirect::Moved(host.into(), port));
        for (reply, expected) in [
            ("-MOVED 3999 127.0.0.1:6381\r\n", moved("127.0.0.1", 6381)),
            ("-MOVED 3999 :6381\r\n", moved("", 6381)),
            ("-MOVED 3999 ::1:6381\r\n", moved("::1", 6381)),
            ("-MOVED 3999 [::1]:6381\r\n", moved("::1", 6381)),
            ("-ASK 3999 a.example:6381\r\n", Some(Redirect::Ask("a.example".into(), 6381))),
            ("-TRYAGAIN Multiple keys request during rehashing of slot\r\n", Some(Redirect::TryAgain)),
            ("-CLUSTERDOWN The cluster is down\r\n", Some(Redirect::Down)),
            ("-LOADING Redis is loading the dataset in memory\r\n", Some(Redirect::Down)),
            ("-ERR Script attempted to access a non local key in a cluster node\r\n", None),
            ("-OOM x\r\n", None),
        ] {
            assert_eq!(redirect(reply), expected, "{reply}");
        }
        let lost = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!(Redirect::of(&lost), None);
    }
}
