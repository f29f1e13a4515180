//! The limit of open files and who may use it. Owns the arithmetic: the sockets of clients never take the files that
//! Redis, the log and the operators need. Called when a node starts.

use tracing::warn;

use crate::chat::Seats;
use crate::config::Config;
use crate::transport::{HTTP_SOCKETS, OPERATOR_SOCKETS};

/// Files that are neither a client nor Redis: listeners, standard streams, the log, the runtime, DNS lookups, `/proc`.
const RESERVED: usize = 64;

/// With a low limit, the listeners still get this many sockets for HTTP: enough for upgrades, and for probes and
/// metrics.
const LEAST_HTTP_SOCKETS: usize = 64;
const LEAST_OPERATOR_SOCKETS: usize = 16;

/// How many sockets the node may have open at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileBudget {
    /// Seats: WebSocket connections that are bound to a user. Those that are not bound yet need files of their own.
    pub(super) connections: usize,
    /// HTTP connections to the public port that are not WebSockets yet.
    pub(super) http: usize,
    /// HTTP connections to the port for operators.
    pub(super) operators: usize,
    /// For everything else.
    reserved: usize,
}

impl FileBudget {
    /// Raises the soft limit of open files as far as allowed, and divides it. Warns if the limit is too low for the
    /// settings.
    pub(super) fn raise(config: &Config) -> Self {
        let wanted = Self::wanted(config);
        let limit = match rlimit::increase_nofile_limit(u64::MAX) {
            Ok(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
            Err(error) => {
                warn!(%error, "can't raise the limit of open files");
                rlimit::Resource::NOFILE
                    .get_soft()
                    .map_or(usize::MAX, |limit| limit.try_into().unwrap_or(usize::MAX))
            }
        };
        let budget = wanted.within(limit);
        if budget != wanted {
            warn!(
                limit,
                needed = wanted.sum(),
                connections = budget.connections,
                http = budget.http,
                "the limit of open files is too low for max_connections = {}: this node takes fewer; raise \
                 `ulimit -n` (LimitNOFILE in systemd, ulimits.nofile in Compose) or lower max_connections",
                wanted.connections
            );
        }
        budget
    }

    /// What the node uses at most with these settings.
    fn wanted(config: &Config) -> Self {
        Self {
            connections: config.max_connections,
            http: HTTP_SOCKETS,
            operators: if config.internal.port.is_some() { OPERATOR_SOCKETS } else { 0 },
            // A connection that is being replaced can be open twice.
            reserved: RESERVED + 2 * config.store_connections(),
        }
    }

    fn sum(self) -> usize {
        Seats::sockets(self.connections) + self.http + self.operators + self.reserved
    }

    /// The same within a limit: HTTP gets less first, then the connections. The reserve stays.
    fn within(self, limit: usize) -> Self {
        if self.sum() <= limit {
            return self;
        }
        let least_operators = LEAST_OPERATOR_SOCKETS.min(self.operators);
        let sockets = limit.saturating_sub(self.reserved);
        let most = Seats::within(sockets.saturating_sub(LEAST_HTTP_SOCKETS + least_operators)).max(1);
        let connections = self.connections.min(most);
        let rest = sockets.saturating_sub(Seats::sockets(connections));
        let operators = (rest / 5).clamp(least_operators, self.operators);
        let http = rest.saturating_sub(operators).clamp(LEAST_HTTP_SOCKETS, self.http);
        Self { connections, http, operators, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_settings_need_little_more_than_their_connections() {
        let mut config = Config::default();
        assert_eq!(FileBudget::wanted(&config).sum(), 11_875 + 1_024 + 64);
        config.redis.url = Some("redis://127.0.0.1".into());
        config.internal.port = Some(9_090);
        assert_eq!(FileBudget::wanted(&config).sum(), 11_875 + 1_024 + 256 + 64 + 20);
    }

    #[test]
    fn every_limit_keeps_the_reserve() {
        for (connections, operators) in [(1, 0), (300, 256), (10_000, 256), (10_000_000, 0)] {
            let wanted = FileBudget { connections, http: 1_024, operators, reserved: 84 };
            let least = 84 + LEAST_HTTP_SOCKETS + LEAST_OPERATOR_SOCKETS + Seats::sockets(1);
            for limit in (least..wanted.sum().min(100_000)).step_by(7) {
                let budget = wanted.within(limit);
                assert!(budget.sum() <= limit, "{limit}: {budget:?}");
                assert_eq!(budget.reserved, 84);
                assert!(budget.http >= LEAST_HTTP_SOCKETS && budget.connections >= 1, "{limit}: {budget:?}");
                assert!(operators == 0 || budget.operators >= LEAST_OPERATOR_SOCKETS, "{limit}: {budget:?}");
            }
            assert_eq!(wanted.within(wanted.sum()), wanted);
        }
    }

    #[test]
    fn http_gets_less_before_the_connections_do() {
        let wanted = FileBudget { connections: 300, http: 1_024, operators: 256, reserved: 84 };
        let budget = wanted.within(1_000);
        assert_eq!(budget, FileBudget { connections: 300, http: 416, operators: 104, reserved: 84 });
        assert_eq!(wanted.within(400).connections, 400 - 84 - 64 - 16 - 96);
    }

    #[test]
    fn absurd_limit_leaves_one_connection() {
        let wanted = FileBudget { connections: 300, http: 1_024, operators: 256, reserved: 84 };
        assert_eq!(wanted.within(10).connections, 1);
    }
}
