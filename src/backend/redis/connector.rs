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
use super::master::Master;
use super::rights;
use super::tls::Tls;
use crate::config::{AddressMap, Redis, RedisAddress};
use crate::failpoints::{self, Failpoint};

/// What is wrong with a replica.
pub(super) const NOT_A_MASTER: &str =
    "the server is a replica: let `redis.url` lead to the master. The node tries again until it does";

/// What is wrong with a server that neither the Sentinels nor the other servers of its cluster name as a master.
const REPLACED: &str = "another server is the master now";

/// How long connecting to a Sentinel may take. A question has its own deadline.
pub(super) const SENTINEL_TIMEOUT: Duration = Duration::from_secs(2);

/// All settings of a connection. Only the dialer and the master know the address.
#[derive(Clone)]
pub(super) struct Connector {
    dialer: Dialer,
    credentials: Credentials,
    database: u32,
    timeout: Duration,
    max_pause: Duration,
    demotion: DemotionSignal,
    /// The master, if it can move: then the address of the dialer does not count.
    master: Option<Master>,
    /// Where servers are that say of themselves, or of others, where they are.
    address_map: Arc<AddressMap>,
}

impl Connector {
    /// Parses the URL and reads the files of TLS. With Sentinels, there is one connector, to the master. Without them there is one
    /// for each address. The error never contains the URL, which may hold a password.
    pub(super) fn all(settings: &Redis) -> Result<Vec<Self>, String> {
        let url = settings.parse_url().ok_or("`redis.url` is not set")?;
        let url = url.map_err(|what| format!("`redis.url` {what}"))?;
        let master = settings.sentinel_master.as_ref();
        let master =
            master.map(|name| Master::unknown(format!("the Sentinels were not asked yet for {name}")));
        let [first, others @ ..] = &url.addresses[..] else {
            return Err("`redis.url` has no address".into());
        };
        let address_map = AddressMap::parse(&settings.address_map);
        // Shorter than the deadline of connecting, which would not tell the reason.
        let connecting =
            if master.is_some() { SENTINEL_TIMEOUT.min(settings.timeout) } else { settings.timeout };
        let handshake = connecting / 4 * 3;
        let tls = url.is_tls().then(|| Tls::new(&settings.tls, handshake)).transpose()?.map(Arc::new);
        let credentials = Credentials::new(settings, &url);
        credentials.check()?;
        let others = if master.is_some() { &[] } else { others };
        let first = Self {
            credentials,
            database: url.database,
            dialer: Dialer::new(first.clone(), tls),
            timeout: settings.timeout,
            max_pause: settings.max_reconnect_delay,
            demotion: DemotionSignal::new(),
            master,
            address_map: Arc::new(address_map.map_err(|what| format!("`redis.address_map` {what}"))?),
        };
        let others = others.iter().map(|address| first.at(address.clone()));
        Ok([first.clone()].into_iter().chain(others).collect())
    }

    /// Connections to each of the Sentinels.
    ///
    /// # Errors
    /// As of [`Connector::all`].
    pub(super) fn sentinels(&self, settings: &Redis) -> Result<Vec<Self>, String> {
        let url = settings.parse_url().ok_or("`redis.url` is not set")?;
        let credentials = Credentials::of_sentinels(settings);
        credentials.check()?;
        let sentinel = |address| Self {
            credentials: credentials.clone(),
            database: 0,
            timeout: SENTINEL_TIMEOUT,
            ..self.at(address)
        };
        Ok(url.map_err(|what| format!("`redis.url` {what}"))?.addresses.into_iter().map(sentinel).collect())
    }

    /// Connections to another server of the same store, with the same settings. A demotion there concerns only them.
    pub(super) fn at(&self, address: RedisAddress) -> Self {
        let demotion = DemotionSignal::new();
        Self { dialer: self.dialer.at(address), demotion, master: None, ..self.clone() }
    }

    /// Connections to a master of a cluster, until `master` says that it is one no longer.
    pub(super) fn to_master(&self, master: Master) -> Self {
        Self { master: Some(master), ..self.clone() }
    }

    /// The same without the number of a database, which a server of a cluster refuses.
    pub(super) fn without_database(&self) -> Self {
        Self { database: 0, ..self.clone() }
    }

    /// The address of the settings, or that of a server of a cluster.
    pub(super) fn redis_address(&self) -> &RedisAddress {
        self.dialer.redis_address()
    }

    /// The address that this server gave for one of its cluster. An empty host is its own.
    pub(super) fn named_by_server(&self, host: &str, port: u16) -> RedisAddress {
        let is_tls = self.dialer.is_tls();
        match self.redis_address() {
            // This node has reached it there already.
            RedisAddress::Tcp { host: own, .. } if host.is_empty() => {
                RedisAddress::Tcp { host: own.clone(), port, is_tls }
            }
            _ => self.address_map.reachable(host, port, is_tls),
        }
    }

    /// The master, if it can move.
    pub(super) fn master(&self) -> Option<&Master> {
        self.master.as_ref()
    }

    /// Whether connections have TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.dialer.is_tls()
    }

    /// Number of the database.
    pub(super) fn database(&self) -> i64 {
        self.database.into()
    }

    /// Host and port, or the path of a socket, for messages.
    pub(super) fn address(&self) -> String {
        match self.master.as_ref().map(Master::term) {
            Some(Ok(term)) => term.address.to_string(),
            Some(Err(_)) => "an address that is not known yet".into(),
            None => self.dialer.to_string(),
        }
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
            self.ask_for_master();
        }
        match (connected, &self.master) {
            (Err(error), Some(_)) if error.is_timeout() => Err(self.unreachable(&error)),
            (connected, _) => connected,
        }
    }

    /// The error of a master that can't be reached at the address that the Sentinels name.
    fn unreachable(&self, error: &dyn std::fmt::Display) -> RedisError {
        let text = format!(
            "the master is said to be at {}, which can't be reached from here ({error}): if that is an address of another network, \
             map it in redis.address_map",
            self.address()
        );
        std::io::Error::other(text).into()
    }

    /// Lets the Sentinels be asked at once: something has happened to the connection or to the server.
    pub(super) fn ask_for_master(&self) {
        if let Some(master) = &self.master {
            master.ask();
        }
    }

    /// Lets all connections be checked, and those to a replaced master be closed.
    pub(super) fn raise_demotion(&self) {
        self.demotion.raise();
    }

    /// Whether a connection still leads to the master, as far as the Sentinels say. Asks nobody.
    pub(super) fn is_current(&self, connection: &Connection) -> bool {
        let is_current = |master: &Master| master.is_current(connection.term);
        failpoints::is(Failpoint::TrustStall) || self.master.as_ref().is_none_or(is_current)
    }

    /// Whether a server that stood still is the present master, by those who know it. Without Sentinels its own word, which is
    /// asked before, has to do.
    pub(super) async fn confirm_master(&self, connection: &Connection) -> bool {
        match &self.master {
            Some(master) => {
                let confirmed = tokio::time::timeout(self.timeout, master.confirm(connection.term)).await;
                confirmed.unwrap_or(false)
            }
            None => true,
        }
    }

    /// Whether the master is being replaced: then nothing is written to it, and what it says last does not count.
    pub(super) fn is_held(&self) -> bool {
        self.master.as_ref().is_some_and(Master::is_held)
    }

    /// Whether the server stood still, and must be confirmed before anything is believed.
    pub(super) fn is_suspect(&self) -> bool {
        self.master.as_ref().is_some_and(Master::is_suspect)
    }

    /// The server answers, and was confirmed.
    pub(super) fn trust(&self) {
        self.master.iter().for_each(Master::trust);
    }

    /// The error of a server that stood still and that nobody confirms.
    pub(super) fn not_confirmed(&self) -> RedisError {
        (ErrorKind::Client, "the other servers do not confirm that it is still a master").into()
    }

    /// Resolves once the master is not being replaced.
    pub(super) async fn released(&self) {
        if let Some(master) = &self.master {
            master.released().await;
        }
    }

    /// What is wrong with a server for which [`Connector::is_master`] is false.
    pub(super) fn why_no_master(&self) -> &'static str {
        if self.master.is_some() { REPLACED } else { NOT_A_MASTER }
    }

    async fn open(&self, config: &AsyncConnectionConfig) -> Result<Connection, RedisError> {
        let info =
            RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_db(self.database());
        // CLIENT SETINFO is not in every server, and one more right.
        let info = info.set_skip_set_lib_name();
        let info = self.credentials.add_to(info).await.map_err(std::io::Error::other)?;
        let (stream, term) = match self.master.as_ref().map(Master::term) {
            None => (self.dialer.dial().await?, 0),
            Some(Err(why)) => return Err(std::io::Error::other(why).into()),
            Some(Ok(term)) => {
                let stream = self.dialer.at(term.address).dial().await;
                (stream.map_err(|error| self.unreachable(&error))?, term.number)
            }
        };
        let made = MultiplexedConnection::new_with_config(&info, stream, config.clone()).await;
        match made {
            Ok((connection, driver)) => Ok(Connection::spawn(connection, driver, term)),
            Err(error) => Err(match self.explain(&error) {
                Some(text) => std::io::Error::other(text).into(),
                None => error,
            }),
        }
    }

    /// What to do about the error of a new connection, if it is known.
    fn explain(&self, error: &RedisError) -> Option<String> {
        match error.code().map(|code| self.credentials.explain(code)) {
            Some(Some(text)) => Some(format!("{text} ({error})")),
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
            false => Err((ErrorKind::Client, self.why_no_master()).into()),
        }
    }

    /// Whether the server is a master. If it is not, all connections are checked.
    pub(super) async fn is_master(&self, connection: &mut Connection) -> Result<bool, RedisError> {
        if !self.is_current(connection) {
            return Ok(false);
        }
        let role: Vec<Value> = self.within(redis::cmd("ROLE").query_async(&mut **connection)).await?;
        let is_master = matches!(role.first(), Some(Value::BulkString(role)) if role == b"master");
        if !is_master {
            self.demotion.raise();
            self.ask_for_master();
        }
        Ok(is_master)
    }

    /// Lets all connections be checked if this is the error of a server that is not a master. Returns whether it is.
    pub(super) fn notice_demotion(&self, error: &RedisError) -> bool {
        let is_demoted = is_demoted(error);
        if is_demoted {
            self.demotion.raise();
            self.ask_for_master();
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
            let Err(error) = Connector::all(&settings) else { panic!("{url} was accepted") };
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
            let connector = Connector::all(&settings).unwrap().remove(0);
            assert_eq!(connector.address(), address);
            let other = RedisAddress::Tcp { host: "h".into(), port: 9, is_tls: false };
            assert_eq!((connector.at(other).address(), connector.address()), ("h:9".into(), address.into()));
        }
    }
}
