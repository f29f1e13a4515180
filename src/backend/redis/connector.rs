//! Connecting to Redis. Owns the deadlines and the checks of a new connection; keeps no connection. Called by the command
//! connections, the subscribers and the pool.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, ProtocolVersion, RedisConnectionInfo, RedisError, Value};

use super::backoff::Backoff;
use super::connection::Connection;
use super::credentials::Credentials;
use super::demotion::{DemotionSignal, DemotionWatch};
use super::dialer::Dialer;
use super::error::is_demoted;
use super::rights;
use super::tls::Tls;
use crate::config::{Redis, RedisAddress};

/// What is wrong with a replica.
pub(super) const NOT_A_MASTER: &str =
    "the server is a replica: let `redis.url` lead to the master. The node tries again until it does";

/// All settings of a connection. Only the dialer knows the address.
#[derive(Clone)]
pub(super) struct Connector {
    dialer: Dialer,
    credentials: Credentials,
    database: u32,
    timeout: Duration,
    max_pause: Duration,
    demotion: DemotionSignal,
}

impl Connector {
    /// Parses the URL and reads the files of TLS. The error never contains the URL, which may hold a password.
    pub(super) fn new(settings: &Redis) -> Result<Self, String> {
        let url = settings.parse_url().ok_or("`redis.url` is not set")?;
        let url = url.map_err(|what| format!("`redis.url` {what}"))?;
        if settings.sentinel_master.is_some() {
            return Err("`redis.sentinel_master` is not supported yet".into());
        }
        let [address] = &url.addresses[..] else {
            return Err("`redis.url` has several addresses: Redis Cluster is not supported".into());
        };
        // Shorter than the deadline of connecting, which would not tell the reason.
        let handshake = settings.timeout / 4 * 3;
        let tls = url.is_tls().then(|| Tls::new(&settings.tls, handshake)).transpose()?.map(Arc::new);
        let credentials = Credentials::new(settings, &url);
        credentials.check()?;
        Ok(Self {
            credentials,
            database: url.database,
            dialer: Dialer::new(address.clone(), tls),
            timeout: settings.timeout,
            max_pause: settings.max_reconnect_delay,
            demotion: DemotionSignal::new(),
        })
    }

    /// Connections to another server of the same store, with the same settings. A demotion there concerns only them.
    #[cfg_attr(not(test), allow(dead_code, reason = "used with Sentinels and clusters, which come next"))]
    pub(super) fn at(&self, address: RedisAddress) -> Self {
        Self { dialer: self.dialer.at(address), demotion: DemotionSignal::new(), ..self.clone() }
    }

    /// Number of the database.
    pub(super) fn database(&self) -> i64 {
        self.database.into()
    }

    /// Host and port, or the path of a socket, for messages.
    pub(super) fn address(&self) -> String {
        self.dialer.to_string()
    }

    /// Deadline of a command.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Options of a connection. Each call has its own deadline here, so the deadlines of redis-rs are off.
    pub(super) fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None)
    }

    /// Connects and authenticates, within the deadline.
    pub(super) async fn connect(&self, config: &AsyncConnectionConfig) -> Result<Connection, RedisError> {
        let connected = self.within(self.open(config)).await;
        if connected.is_err() {
            self.dialer.refresh().await;
        }
        connected
    }

    async fn open(&self, config: &AsyncConnectionConfig) -> Result<Connection, RedisError> {
        let info =
            RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_db(self.database());
        // CLIENT SETINFO is not in every server, and one more right.
        let info = info.set_skip_set_lib_name();
        let info = self.credentials.add_to(info).await.map_err(std::io::Error::other)?;
        let stream = self.dialer.dial().await?;
        let made = MultiplexedConnection::new_with_config(&info, stream, config.clone()).await;
        match made {
            Ok((connection, driver)) => Ok(Connection::spawn(connection, driver)),
            Err(error) => Err(match self.explain(&error) {
                Some(text) => std::io::Error::other(text).into(),
                None => error,
            }),
        }
    }

    /// What to do about the error of a new connection, if it is known.
    fn explain(&self, error: &RedisError) -> Option<String> {
        match error.code() {
            Some("WRONGPASS") => Some(format!(
                "Redis refuses the user or the password: check redis.username and redis.password, redis.password_file or \
                 redis.url ({error})"
            )),
            Some("NOAUTH") => {
                Some("Redis asks for a password: set redis.password or redis.password_file".into())
            }
            // A server that asks for a certificate says so only now.
            _ if self.dialer.is_tls() => self.dialer.explain(error),
            // A server with TLS does not understand the first bytes.
            _ if error.is_connection_dropped() => Some(format!(
                "Redis ended the connection at once ({error}): for a port with TLS, use rediss://"
            )),
            _ => None,
        }
    }

    /// Checks that the server is a master. After a failover the address or an open connection may lead to a replica, which
    /// refuses or loses writes.
    pub(super) async fn check_master(&self, connection: &mut Connection) -> Result<(), RedisError> {
        match self.is_master(connection).await? {
            true => Ok(()),
            false => Err((ErrorKind::Client, NOT_A_MASTER).into()),
        }
    }

    /// Whether the server is a master. If it is not, all connections are checked.
    pub(super) async fn is_master(&self, connection: &mut Connection) -> Result<bool, RedisError> {
        let role: Vec<Value> = self.within(redis::cmd("ROLE").query_async(&mut **connection)).await?;
        let is_master = matches!(role.first(), Some(Value::BulkString(role)) if role == b"master");
        if !is_master {
            self.demotion.raise();
        }
        Ok(is_master)
    }

    /// Lets all connections be checked if this is the error of a server that is not a master. Returns whether it is.
    pub(super) fn notice_demotion(&self, error: &RedisError) -> bool {
        let is_demoted = is_demoted(error);
        if is_demoted {
            self.demotion.raise();
        }
        is_demoted
    }

    /// Watches for a server that is not a master.
    pub(super) fn watch_demotion(&self) -> DemotionWatch {
        self.demotion.watch()
    }

    /// Applies the deadline to a call while connecting.
    pub(super) async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, RedisError> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(result) => result.inspect_err(rights::report),
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }

    /// Creates the back-off between attempts.
    pub(super) fn backoff(&self) -> Backoff {
        Backoff::up_to(self.max_pause)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn error_of_an_invalid_url_does_not_show_it() {
        for url in ["http://x:s3cret@h", "s3cret", "redis://:s3cret@h:99999", ""] {
            let settings = Redis { url: Some(SecretString::from(url)), ..Redis::default() };
            let Err(error) = Connector::new(&settings) else { panic!("{url} was accepted") };
            assert!(!error.contains("s3cret") && error.contains("redis.url"), "{error}");
        }
    }

    #[test]
    fn address_contains_no_password() {
        for (url, address) in [
            ("redis://me:s3cret@127.0.0.1:7/2", "127.0.0.1:7"),
            ("redis://:s3cret@[::1]", "[::1]:6379"),
            ("redis+unix:///run/r.sock?pass=s3cret", "/run/r.sock"),
        ] {
            let settings = Redis { url: Some(SecretString::from(url)), ..Redis::default() };
            let connector = Connector::new(&settings).unwrap();
            assert_eq!(connector.address(), address);
            let other = RedisAddress::Tcp { host: "h".into(), port: 9, is_tls: false };
            assert_eq!((connector.at(other).address(), connector.address()), ("h:9".into(), address.into()));
        }
    }
}
