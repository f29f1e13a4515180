//! Check of the Redis server. Owns the decision whether its mode and settings can keep the guarantees; changes no setting.
//! Called once by `connect`, or later if Redis did not answer at the start.

use std::collections::HashMap;

use redis::RedisError;
use redis::aio::MultiplexedConnection;

use super::connector::Connector;

/// Reasons why a server can't be used at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unsuitable {
    /// The server is in cluster mode: topics would be on different servers.
    Cluster,
    /// The server has this version. Scripts need flags, which came with version 7.
    Old(String),
}

/// Result of the check.
pub(super) struct Preflight {
    /// Why the server can't be used, if it can't.
    pub(super) unsuitable: Option<Unsuitable>,
    /// Warnings for the operator, one line each.
    pub(super) warnings: Vec<String>,
}

impl Preflight {
    /// Queries the server over a separate connection.
    pub(super) async fn run(connector: &Connector) -> Result<Self, RedisError> {
        let mut connection = connector.connect(&connector.config()).await?;
        let info: String =
            connector.within(redis::cmd("INFO").arg("server").query_async(&mut connection)).await?;
        let settings = config(connector, &mut connection).await?;
        Ok(Self::judge(&info, settings.as_ref()))
    }

    fn judge(info: &str, settings: Option<&HashMap<String, String>>) -> Self {
        let field = |name: &str| {
            let value = |line: &str| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned);
            info.lines().find_map(value).unwrap_or_default()
        };
        let mut warnings = Vec::new();
        let version = field("redis_version");
        let major: Option<u32> = version.split('.').next().and_then(|major| major.parse().ok());
        if major.is_none() {
            warnings.push("Redis does not report its version; version 7.0 or later is needed".into());
        }
        let is_cluster = (field("redis_mode") == "cluster").then_some(Unsuitable::Cluster);
        let is_old = major.is_some_and(|major| major < 7).then_some(Unsuitable::Old(version));
        match settings {
            None => warnings.push(
                "Redis does not allow CONFIG GET, so its durability and eviction settings cannot be checked"
                    .into(),
            ),
            Some(settings) => judge_settings(settings, &mut warnings),
        }
        Self { unsuitable: is_cluster.or(is_old), warnings }
    }
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

/// Reads the relevant settings; `None` if the server forbids it.
async fn config(
    connector: &Connector,
    connection: &mut MultiplexedConnection,
) -> Result<Option<HashMap<String, String>>, RedisError> {
    let mut get = redis::cmd("CONFIG");
    get.arg("GET").arg(&["appendonly", "appendfsync", "maxmemory-policy"]);
    match connector.within(get.query_async(connection)).await {
        Ok(settings) => Ok(Some(settings)),
        Err(error) if error.code().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(info: &str, settings: &[(&str, &str)]) -> Preflight {
        let settings = settings.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Preflight::judge(info, Some(&settings))
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
        assert!(Preflight::judge("redis_version:7.0.0\n", None).warnings[0].contains("CONFIG"));
        assert!(judge("redis_mode:standalone\n", &GOOD).warnings[0].contains("version"));
    }

    #[test]
    fn clusters_and_old_servers_are_unsuitable() {
        let cluster = judge("redis_version:6.2.1\r\nredis_mode:cluster\r\n", &GOOD);
        assert_eq!(cluster.unsuitable, Some(Unsuitable::Cluster));
        let old = judge("redis_version:6.2.1\r\nredis_mode:standalone\r\n", &GOOD);
        assert_eq!(old.unsuitable, Some(Unsuitable::Old("6.2.1".into())));
        assert_eq!(judge("redis_version:10.0.0\r\n", &GOOD).unsuitable, None);
    }
}
