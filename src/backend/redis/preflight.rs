//! What kind of Redis this is. Owns the judgement whether its settings can keep the guarantees; changes nothing. Called
//! once by `connect`, or when a Redis that was absent at the start has come.

use std::collections::HashMap;

use redis::RedisError;
use redis::aio::MultiplexedConnection;

use super::connector::Connector;

/// What was found.
pub(super) struct Preflight {
    /// Cluster mode, in which topics lie on different servers.
    pub(super) is_cluster: bool,
    /// One line each, for the operator.
    pub(super) warnings: Vec<String>,
}

impl Preflight {
    /// Asks the server, over a connection of its own.
    pub(super) async fn take(connector: &Connector) -> Result<Self, RedisError> {
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
            warnings.push(format!("Redis {version} is older than 7, which is the oldest that is tested"));
        }
        match settings {
            None => warnings.push(
                "Redis does not let its settings be read (CONFIG GET): durability and eviction are unchecked"
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
        warnings.push("Redis keeps no append-only file: acknowledged messages are lost when it stops".into());
    } else if get("appendfsync") != "always" {
        warnings.push(format!(
            "Redis has `appendfsync {}`: acknowledged messages of about a second can be lost when it is killed",
            get("appendfsync")
        ));
    }
    let policy = get("maxmemory-policy");
    if policy != "noeviction" {
        warnings.push(format!(
            "Redis has `maxmemory-policy {policy}`: it may evict logs and tokens in use; `noeviction` is needed"
        ));
    }
}

/// None where the server forbids it.
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
    fn a_redis_that_can_keep_the_promise_gives_no_warning() {
        let preflight = judge("redis_version:7.0.15\r\nredis_mode:standalone\r\n", &GOOD);
        assert_eq!(preflight.warnings, Vec::<String>::new());
        assert!(!preflight.is_cluster);
    }

    #[test]
    fn each_setting_that_breaks_the_promise_is_named() {
        for (name, value, said) in [
            ("appendonly", "no", "append-only"),
            ("appendfsync", "everysec", "appendfsync everysec"),
            ("maxmemory-policy", "allkeys-lru", "allkeys-lru"),
        ] {
            let mut settings = GOOD;
            settings.iter_mut().filter(|(k, _)| *k == name).for_each(|(_, v)| *v = value);
            let preflight = judge("redis_version:7.2.0\r\n", &settings);
            assert_eq!(preflight.warnings.len(), 1, "{:?}", preflight.warnings);
            assert!(preflight.warnings[0].contains(said), "{:?}", preflight.warnings);
        }
        let old = judge("redis_version:6.2.1\r\nredis_mode:cluster\r\n", &GOOD);
        assert!(old.warnings[0].contains("6.2.1") && old.is_cluster);
        assert!(Preflight::judge("redis_version:7.0.0\n", None).warnings[0].contains("CONFIG"));
    }
}
