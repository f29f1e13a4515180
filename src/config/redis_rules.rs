//! The rules between the settings of Redis, with their reasons. Owns the rules only. Called by the validation.

use super::findings::Findings;
use super::host::{LISTEN_HOST, is_listen_host};
use super::{AddressMap, Limits, Redis, RedisAddress, RedisUrl};

/// Checks the settings of Redis as a whole.
pub(super) fn check(redis: &Redis, limits: &Limits, found: &mut Findings) {
    match redis.parse_url() {
        None => {
            let what = "needs redis.url with the addresses of the Sentinels, such as redis://a:26379,b:26379,c:26379";
            found.require("redis.sentinel_master", redis.sentinel_master.is_none(), what);
        }
        Some(Err(what)) => found.require("redis.url", false, what),
        Some(Ok(url)) => {
            access(redis, &url, found);
            tls(redis, &url, found);
            several(redis, &url, found);
        }
    }
    sentinels(redis, found);
    if let Err(what) = AddressMap::parse(&redis.address_map) {
        found.require("redis.address_map", false, what);
    }
    let what = "is used only with Sentinels: set redis.sentinel_master, or let redis.url have the address that this node \
                reaches";
    found.require("redis.address_map", redis.sentinel_master.is_some() || redis.address_map.is_empty(), what);
    // Braces would change the hash tag that keeps a topic's keys on one shard; other characters make lists of keys
    // unreadable.
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '{' | '}');
    let good = (1..=64).contains(&redis.prefix.len()) && redis.prefix.chars().all(plain);
    found.require("redis.prefix", good, "must consist of 1 to 64 visible ASCII characters without braces");
    // Otherwise the request would time out first whenever Redis is slow: its outcome would be `unknown`, even where
    // Redis refused it.
    let in_time = redis.url.is_none() || redis.timeout < limits.request_timeout;
    found.require("redis.timeout", in_time, "must be shorter than limits.request_timeout");
}

/// Whether the user has one password.
fn access(redis: &Redis, url: &RedisUrl, found: &mut Findings) {
    let (is_set, in_file) = (redis.password.is_some(), redis.password_file.is_some());
    let what = "must be unset if redis.password is set: only one of them can be right";
    found.require("redis.password_file", !(is_set && in_file), what);
    let has_user = redis.username.is_some() || url.username.is_some();
    let has_password = is_set || in_file || url.password.is_some();
    let key = if redis.username.is_some() { "redis.username" } else { "redis.url" };
    let what = "names a user, so a password is needed: set redis.password or redis.password_file";
    found.require(key, has_password || !has_user, what);
}

/// Whether the settings of TLS fit the URL and each other.
fn tls(redis: &Redis, url: &RedisUrl, found: &mut Findings) {
    let tls = &redis.tls;
    let what = "is used only with TLS: redis.url must begin with rediss://";
    for (key, is_set) in [
        ("redis.tls.ca_file", tls.ca_file.is_some()),
        ("redis.tls.cert_file", tls.cert_file.is_some()),
        ("redis.tls.key_file", tls.key_file.is_some()),
        ("redis.tls.server_name", tls.server_name.is_some()),
    ] {
        found.require(key, url.is_tls() || !is_set, what);
    }
    let what = "needs redis.tls.key_file, the private key of this certificate";
    found.require("redis.tls.cert_file", tls.cert_file.is_none() || tls.key_file.is_some(), what);
    let what = "needs redis.tls.cert_file, the certificate of this key";
    found.require("redis.tls.key_file", tls.key_file.is_none() || tls.cert_file.is_some(), what);
    let is_name = tls.server_name.as_deref().is_none_or(is_listen_host);
    found.require("redis.tls.server_name", is_name, LISTEN_HOST);
}

/// Whether the number of addresses and their kind fit what listens there.
fn several(redis: &Redis, url: &RedisUrl, found: &mut Findings) {
    let what = "has several addresses, so it leads to a Redis Cluster, which has only database 0: remove the number of the database. If \
                the addresses are those of Sentinels, set redis.sentinel_master to the name of the master";
    let is_cluster = redis.sentinel_master.is_none() && url.addresses.len() > 1;
    found.require("redis.url", !is_cluster || url.database == 0, what);
    let is_socket = matches!(url.addresses[..], [RedisAddress::Unix(_)]);
    let what = "must be redis:// or rediss:// with the addresses of the Sentinels, since redis.sentinel_master is set";
    found.require("redis.url", redis.sentinel_master.is_none() || !is_socket, what);
}

/// Whether what is said about Sentinels is complete.
fn sentinels(redis: &Redis, found: &mut Findings) {
    let is_name = |name: &str| !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control());
    let good = redis.sentinel_master.as_deref().is_none_or(is_name);
    let what = "must be the name after `sentinel monitor` in the settings of the Sentinels, without spaces";
    found.require("redis.sentinel_master", good, what);
    let (is_set, in_file) = (redis.sentinel_password.is_some(), redis.sentinel_password_file.is_some());
    let what = "must be unset if redis.sentinel_password is set: only one of them can be right";
    found.require("redis.sentinel_password_file", !(is_set && in_file), what);
    let what = "needs redis.sentinel_password or redis.sentinel_password_file";
    found.require("redis.sentinel_username", redis.sentinel_username.is_none() || is_set || in_file, what);
    let what = "is used only with Sentinels: set redis.sentinel_master to the name of the master";
    for (key, is_set) in [
        ("redis.sentinel_username", redis.sentinel_username.is_some()),
        ("redis.sentinel_password", is_set),
        ("redis.sentinel_password_file", in_file),
    ] {
        found.require(key, redis.sentinel_master.is_some() || !is_set, what);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;

    fn problems(config: &Config) -> Vec<(&'static str, String)> {
        let mut found = Findings::default();
        check(&config.redis, &config.limits, &mut found);
        found.0
    }

    #[test]
    fn redis_timeout_must_be_below_the_request_timeout() {
        let mut config = Config::default();
        config.redis.timeout = config.limits.request_timeout;
        assert_eq!(problems(&config), [], "without Redis the timeout is unused");
        config.redis.url = Some("redis://127.0.0.1".into());
        assert_eq!(problems(&config)[0].0, "redis.timeout");
        config.redis.timeout -= Duration::from_millis(1);
        assert_eq!(problems(&config), []);
    }

    #[test]
    fn sentinels_need_a_url_a_name_and_one_password() {
        let redis = |url: &str, master: Option<&str>| Redis {
            url: Some(url.to_owned()).filter(|url| !url.is_empty()).map(Into::into),
            sentinel_master: master.map(Into::into),
            ..Redis::default()
        };
        let several = "redis://a,b:26380,c/2";
        let secret = |text: &str| Some(text.into());
        let good = redis(several, Some("main"));
        let with_user = Redis { sentinel_username: Some("u".into()), ..good.clone() };
        for (redis, key, hint) in [
            (good.clone(), "", ""),
            (redis("", Some("main")), "redis.sentinel_master", "redis://a:26379,b:26379"),
            (redis(several, None), "redis.url", "set redis.sentinel_master"),
            (
                Redis { address_map: vec!["a".into()], ..good.clone() },
                "redis.address_map",
                "announced address",
            ),
            (
                Redis { address_map: vec!["a=b".into()], ..redis("redis://a", None) },
                "redis.address_map",
                "only with Sentinels",
            ),
            (redis("redis+unix:///r", Some("main")), "redis.url", "addresses of the Sentinels"),
            (redis(several, Some("my main")), "redis.sentinel_master", "sentinel monitor"),
            (with_user, "redis.sentinel_username", "redis.sentinel_password"),
            (
                Redis {
                    sentinel_password: secret("p"),
                    sentinel_password_file: Some("/p".into()),
                    ..good.clone()
                },
                "redis.sentinel_password_file",
                "unset",
            ),
            (
                Redis { sentinel_password: secret("p"), ..redis("redis://a", None) },
                "redis.sentinel_password",
                "only with Sentinels",
            ),
        ] {
            let config = Config { redis, ..Config::default() };
            match &problems(&config)[..] {
                [] => assert_eq!(key, ""),
                [(found, what)] => assert!(*found == key && what.contains(hint), "{key}: {found} {what}"),
                more => panic!("{more:?}"),
            }
        }
    }
}
