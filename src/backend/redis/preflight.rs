//! Check of the Redis server. Owns the decision whether its mode and settings can keep the guarantees; changes no setting.
//! Called once by `connect`, or later if Redis did not answer at the start.

use std::collections::HashMap;
use std::time::Duration;

use redis::{Cmd, FromRedisValue, RedisError, Value, from_redis_value};

use super::connection::Connection;
use super::connector::{Connector, NOT_A_MASTER};
use super::failover_time;
use super::master::Master;
use super::sentinel_link::master_names;

/// The setting of a Redis Cluster that says the same.
const NODE_TIMEOUT: &str = "cluster-node-timeout";

/// The setting of Sentinels that says how long a master must be silent before it is replaced.
const DOWN_AFTER: &str = "down-after-milliseconds of the Sentinels";

/// Reasons why a server can't be used at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unsuitable {
    /// The server is a Sentinel, which stores nothing, and watches the masters of these names.
    Sentinel(Vec<String>),
    /// A call may take longer than a failover.
    SlowCalls(String),
    /// The server is this one. Scripts need flags, which came with version 7.
    Old(String),
}

/// Result of the check.
#[derive(Debug)]
pub(super) struct Preflight {
    /// Name and version of the server.
    pub(super) server: String,
    /// Whether the server is one of a cluster.
    pub(super) is_cluster: bool,
    /// How long a master of a cluster must be silent before it is replaced, if the server tells it.
    pub(super) window: Option<Duration>,
    /// Why the server can't be used, if it can't.
    pub(super) unsuitable: Option<Unsuitable>,
    /// Warnings for the operator, one line each.
    pub(super) warnings: Vec<String>,
}

impl Preflight {
    /// Queries the server over a separate connection.
    pub(super) async fn run(connector: &Connector) -> Result<Self, RedisError> {
        let mut connection = connector.without_database().connect(&connector.config()).await?;
        let hello: HashMap<String, Value> =
            connector.within(redis::cmd("HELLO").query_async(&mut *connection)).await?;
        let hello = hello.into_iter().filter_map(|(name, value)| Some((name, from_redis_value(value).ok()?)));
        let mut info = redis::cmd("INFO");
        info.arg("server");
        let info: Option<String> = allowed(connector, &mut connection, &info).await?;
        let mut get = redis::cmd("CONFIG");
        get.arg("GET").arg(&["appendonly", "appendfsync", "maxmemory-policy", NODE_TIMEOUT]);
        let settings: Option<HashMap<String, String>> = allowed(connector, &mut connection, &get).await?;
        let mut preflight = Self::judge(&hello.collect(), info.as_deref(), settings.as_ref());
        if let Some(Unsuitable::Sentinel(names)) = &mut preflight.unsuitable {
            // An error means that it does not say.
            *names = connector.within(master_names(&mut connection)).await.unwrap_or_default();
        }
        if preflight.is_cluster {
            let window = settings.as_ref().and_then(|settings| settings.get(NODE_TIMEOUT)?.parse().ok());
            preflight.window = window.map(Duration::from_millis);
        }
        let of_sentinels = connector.master().and_then(Master::window).map(|window| (window, DOWN_AFTER));
        let of_cluster = preflight.window.map(|window| (window, NODE_TIMEOUT));
        if let Some((window, setting)) = of_cluster.or(of_sentinels) {
            let checked = failover_time::check(connector.timeout(), window, setting);
            preflight.unsuitable = preflight.unsuitable.or(checked.err().map(Unsuitable::SlowCalls));
        }
        Ok(preflight)
    }

    /// Checks the first server that answers. Returns it with the result, or the last server with its error.
    pub(super) async fn run_any(seeds: &[Connector]) -> (Connector, Result<Self, RedisError>) {
        let mut last = None;
        for seed in seeds {
            let result = Self::run(seed).await;
            let is_ok = result.is_ok();
            last = Some((seed.clone(), result));
            if is_ok {
                break;
            }
        }
        last.expect("a URL has an address")
    }

    /// Logs what the server is, and returns the warnings.
    pub(super) fn announced(self, connector: &Connector) -> Vec<String> {
        tracing::info!(server = self.server, address = connector.address(), "found the store");
        self.warnings
    }

    /// What a server is, it says in `hello` and, more exactly, in `info`: its name proves nothing, and servers that are
    /// compatible report the version of Redis that they imitate.
    fn judge(
        hello: &HashMap<String, String>,
        info: Option<&str>,
        settings: Option<&HashMap<String, String>>,
    ) -> Self {
        let told = |name: &str| hello.get(name).cloned();
        let field = |name: &str| {
            let value = |line: &str| line.strip_prefix(name)?.strip_prefix(':').map(|v| v.trim().to_owned());
            info.unwrap_or_default().lines().find_map(value)
        };
        let mode = told("mode").or_else(|| field("redis_mode")).or_else(|| field("server_mode"));
        let (name, version) = match (field("valkey_version"), field("redis_version")) {
            (Some(version), _) => ("Valkey".to_owned(), Some(version)),
            (None, Some(version)) => ("Redis".to_owned(), Some(version)),
            (None, None) => (told("server").unwrap_or_else(|| "Redis".into()), told("version")),
        };
        let mut warnings = Vec::new();
        let major: Option<u32> = version.as_deref().and_then(|v| v.split('.').next()?.parse().ok());
        if major.is_none() {
            warnings.push(format!("{name} does not report its version; version 7.0 or later is needed"));
        }
        let server = format!("{name} {}", version.as_deref().unwrap_or("of unknown version"));
        let unsuitable = match (mode.as_deref(), major) {
            (Some("sentinel"), _) => Some(Unsuitable::Sentinel(Vec::new())),
            (_, Some(..7)) => Some(Unsuitable::Old(server.clone())),
            _ => None,
        };
        let is_cluster = mode.as_deref() == Some("cluster");
        // In a cluster, any server tells where the masters are.
        if !is_cluster && told("role").is_some_and(|role| role != "master") {
            warnings.push(NOT_A_MASTER.into());
        }
        if info.is_none() {
            warnings.push(no_info(&name));
        }
        match settings {
            None => warnings.push(format!(
                "{name} does not allow CONFIG GET, so its durability and eviction settings cannot be checked: see \
                 docs/operations.md#the-redis-user"
            )),
            Some(settings) => judge_settings(settings, &mut warnings),
        }
        Self { server, is_cluster, window: None, unsuitable, warnings }
    }
}

fn no_info(name: &str) -> String {
    format!(
        "{name} does not allow INFO, so its memory cannot be watched: messages are refused only when it is full: see \
         docs/operations.md#the-redis-user"
    )
}

fn judge_settings(settings: &HashMap<String, String>, warnings: &mut Vec<String>) {
    let get = |name: &str| settings.get(name).map_or("", String::as_str);
    if get("appendonly") != "yes" {
        warnings.push("Redis has no append-only file: acknowledged messages are lost when it stops".into());
    } else if get("appendfsync") != "always" {
        warnings.push(format!(
            "Redis has `appendfsync {}`: it can lose the acknowledged messages of about one second when it is killed",
            get("appendfsync")
        ));
    }
    let policy = get("maxmemory-policy");
    if policy != "noeviction" {
        warnings.push(format!(
            "Redis has `maxmemory-policy {policy}`: it may evict logs and tokens in use. Set it to `noeviction`"
        ));
    }
}

/// The reply to a command; `None` if the server refuses the command.
async fn allowed<T: FromRedisValue>(
    connector: &Connector,
    connection: &mut Connection,
    command: &Cmd,
) -> Result<Option<T>, RedisError> {
    match connector.within(command.query_async(&mut **connection)).await {
        Ok(reply) => Ok(Some(reply)),
        // One that is loading or busy answers later.
        Err(error) if error.code().is_some_and(|code| matches!(code, "NOPERM" | "ERR")) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge_as(hello: &[(&str, &str)], info: Option<&str>, settings: &[(&str, &str)]) -> Preflight {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Preflight::judge(&map(hello), info, Some(&map(settings)))
    }

    fn judge(info: &str, settings: &[(&str, &str)]) -> Preflight {
        judge_as(&[("server", "redis"), ("role", "master")], Some(info), settings)
    }

    const GOOD: [(&str, &str); 3] =
        [("appendonly", "yes"), ("appendfsync", "always"), ("maxmemory-policy", "noeviction")];

    #[test]
    fn suitable_server_gives_no_warning() {
        let preflight = judge("redis_version:7.0.15\r\nredis_mode:standalone\r\n", &GOOD);
        assert_eq!(preflight.warnings, Vec::<String>::new());
        assert_eq!(preflight.unsuitable, None);
    }

    #[test]
    fn warning_names_each_unsuitable_setting() {
        for (name, value, expected) in [
            ("appendonly", "no", "append-only"),
            ("appendfsync", "everysec", "appendfsync everysec"),
            ("maxmemory-policy", "allkeys-lru", "allkeys-lru"),
        ] {
            let mut settings = GOOD;
            settings.iter_mut().filter(|(k, _)| *k == name).for_each(|(_, v)| *v = value);
            let preflight = judge("redis_version:7.2.0\r\n", &settings);
            assert_eq!(preflight.warnings.len(), 1, "{:?}", preflight.warnings);
            assert!(preflight.warnings[0].contains(expected), "{:?}", preflight.warnings);
        }
        let without_config = Preflight::judge(&HashMap::new(), Some("redis_version:7.0.0\n"), None);
        assert!(without_config.warnings[0].contains("CONFIG"));
        assert!(judge("redis_mode:standalone\n", &GOOD).warnings[0].contains("version"));
    }

    #[test]
    fn server_is_known_by_what_it_says() {
        let valkey = "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\nserver_mode:";
        let hello = |mode, role| [("server", "valkey"), ("version", "9.1.2"), ("mode", mode), ("role", role)];
        let no_hello: [(&str, &str); 0] = [];
        let old = |server: &str| Some(Unsuitable::Old(server.into()));
        // Only INFO tells the version under Valkey's own name.
        let warnings = |server: &str| match server.starts_with("Valkey") {
            true => Vec::new(),
            false => vec![no_info(server.split(' ').next().unwrap_or_default())],
        };
        for (hello, info, server, is_cluster, unsuitable) in [
            (&hello("standalone", "master")[..], Some("standalone"), "Valkey 9.1.2", false, None),
            (&hello("cluster", "master")[..], Some("cluster"), "Valkey 9.1.2", true, None),
            (&hello("sentinel", "")[..3], None, "valkey 9.1.2", false, Some(Unsuitable::Sentinel(vec![]))),
            (&hello("cluster", "replica")[..], None, "valkey 9.1.2", true, None),
            (&no_hello[..], Some("cluster"), "Valkey 9.1.2", true, None),
            (
                &[("server", "redis"), ("version", "6.2.1")][..],
                None,
                "redis 6.2.1",
                false,
                old("redis 6.2.1"),
            ),
        ] {
            let info = info.map(|mode| format!("{valkey}{mode}\r\n"));
            let preflight = judge_as(hello, info.as_deref(), &GOOD);
            assert_eq!((preflight.server.as_str(), &preflight.unsuitable), (server, &unsuitable));
            assert_eq!(
                (preflight.is_cluster, &preflight.warnings[..]),
                (is_cluster, &warnings(server)[..]),
                "{server}"
            );
        }
        let replica = judge_as(&hello("standalone", "replica"), Some("redis_version:8.2.3\n"), &GOOD);
        assert_eq!(
            (replica.server.as_str(), &replica.warnings[..]),
            ("Redis 8.2.3", &[NOT_A_MASTER.into()][..])
        );
        let silent = judge_as(&hello("standalone", "master"), None, &GOOD);
        assert!(silent.warnings.len() == 1 && silent.warnings[0].contains("INFO"), "{silent:?}");
    }

    #[test]
    fn old_servers_are_unsuitable() {
        let cluster = judge("redis_version:6.2.1\r\nredis_mode:cluster\r\n", &GOOD);
        assert_eq!(cluster.unsuitable, Some(Unsuitable::Old("Redis 6.2.1".into())));
        let old = judge("redis_version:6.2.1\r\nredis_mode:standalone\r\n", &GOOD);
        assert_eq!(old.unsuitable, Some(Unsuitable::Old("Redis 6.2.1".into())));
        assert_eq!(judge("redis_version:10.0.0\r\n", &GOOD).unsuitable, None);
    }
}
