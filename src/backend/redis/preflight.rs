//! Check of the Redis server. Owns the decision whether its mode and settings can keep the guarantees; changes no setting.
//! Called once by `connect`, or later if Redis did not answer at the start.

use std::collections::HashMap;

use redis::RedisError;
use redis::aio::MultiplexedConnection;

use super::connector::Connector;

/// Result of the check.
pub(super) struct Preflight {
    /// The server is in cluster mode: topics would be on different servers.
    pub(super) is_cluster: bool,
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
        let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        if major < 7 {
            warnings
                .push(format!("Redis {version} is older than version 7, the oldest version that is tested"));
        }
        match settings {
            None => warnings.push(
                "Redis does not allow CONFIG GET, so its durability and eviction settings cannot be checked"
                    .into(),
            ),
            Some(settings) => judge_settings(settings, &mut warnings),
        }
        Self { is_cluster: field("redis_mode") == "cluster", warnings }
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
        assert!(!preflight.is_cluster);
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
        let old = judge("redis_version:6.2.1\r\nredis_mode:cluster\r\n", &GOOD);
        assert!(old.warnings[0].contains("6.2.1") && old.is_cluster);
        assert!(Preflight::judge("redis_version:7.0.0\n", None).warnings[0].contains("CONFIG"));
    }
}
