//! How a connection to Redis is made. Owns address, deadlines and back-off, and the checks that a fresh connection must
//! pass; keeps no connection. Called by the command connection, the subscribers and the pool.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, Value,
};
use secrecy::ExposeSecret;
use tokio::time::Instant;

use crate::config::Redis;

/// The first pause after a failed attempt; doubled from there.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Everything that is needed to connect.
#[derive(Clone)]
pub(super) struct Connector {
    client: Client,
    timeout: Duration,
    max_pause: Duration,
}

impl Connector {
    /// Reads the URL. The error never contains it: it may hold a password.
    pub(super) fn new(settings: &Redis) -> Result<Self, String> {
        let url = settings.url.as_ref().ok_or("`redis.url` is not set")?;
        if url.expose_secret().starts_with("rediss:") {
            return Err("`redis.url` asks for TLS (rediss:), which this build does not have".into());
        }
        let why = |error: RedisError| {
            let form = "redis://[[user]:password@]host[:port][/db]";
            format!("`redis.url` can't be used ({}): {form} is expected", error.category())
        };
        let info = url.expose_secret().into_connection_info().map_err(why)?;
        let settings_of_server = info.redis_settings().clone().set_protocol(redis::ProtocolVersion::RESP3);
        let info = info
            .set_redis_settings(settings_of_server)
            .set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = Client::open(info).map_err(why)?;
        Ok(Self { client, timeout: settings.timeout, max_pause: settings.max_reconnect_delay })
    }

    /// Where and how, with the credentials.
    pub(super) fn info(&self) -> ConnectionInfo {
        self.client.get_connection_info().clone()
    }

    /// Host and port, for people.
    pub(super) fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// How long a command may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Deadlines are ours, per call: those of redis-rs are switched off but for connecting.
    pub(super) fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new().set_connection_timeout(Some(self.timeout)).set_response_timeout(None)
    }

    /// Connects and says hello, within the deadline.
    pub(super) async fn connect(
        &self,
        config: &AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, RedisError> {
        self.within(self.client.get_multiplexed_async_connection_with_config(config)).await
    }

    /// An address may have come to mean a replica: what is written there would be refused, or lost.
    pub(super) async fn check_master(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), RedisError> {
        let role: Vec<Value> = self.within(redis::cmd("ROLE").query_async(connection)).await?;
        match role.first() {
            Some(Value::BulkString(role)) if role == b"master" => Ok(()),
            _ => Err((ErrorKind::Client, "the server is not a master").into()),
        }
    }

    /// Puts the deadline on anything that waits for Redis while connecting.
    pub(super) async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, RedisError> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(result) => result,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }

    /// Pauses between attempts.
    pub(super) fn backoff(&self) -> Backoff {
        Backoff { next: FIRST_PAUSE, max: self.max_pause }
    }
}

/// Endless attempts, further and further apart, each pause jittered: a Redis that comes back must not be met by all
/// nodes in the same millisecond.
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// The connection stood: start over.
    pub(super) fn reset(&mut self) {
        self.next = FIRST_PAUSE;
    }

    /// No attempt has failed since the last success.
    pub(super) fn is_fresh(&self) -> bool {
        self.next == FIRST_PAUSE
    }

    /// Waits half to all of the pause that is due.
    pub(super) async fn pause(&mut self) {
        let pause = self.next.min(self.max);
        self.next = (pause * 2).min(self.max);
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..=1.0))).await;
    }
}

/// Milliseconds since the backend was started, never 0: they fit into an atomic where an `Instant` does not.
#[derive(Debug, Clone, Copy)]
pub(super) struct MonotonicClock(Instant);

impl MonotonicClock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(&self) -> u64 {
        self.0.elapsed().as_millis() as u64 + 1
    }

    /// How long ago `then` was.
    pub(super) fn since(&self, then: u64) -> Duration {
        Duration::from_millis(self.now().saturating_sub(then))
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn a_bad_url_is_an_error_that_does_not_show_it() {
        for url in ["http://x:s3cret@h", "s3cret", "rediss://:s3cret@h", "redis://:s3cret@h:99999", ""] {
            let settings = Redis { url: Some(SecretString::from(url)), ..Redis::default() };
            let Err(error) = Connector::new(&settings) else { panic!("{url} was taken") };
            assert!(!error.contains("s3cret") && error.contains("redis.url"), "{error}");
        }
    }

    #[test]
    fn the_address_is_shown_without_the_password() {
        let settings =
            Redis { url: Some(SecretString::from("redis://me:s3cret@127.0.0.1:7/2")), ..Redis::default() };
        let connector = Connector::new(&settings).unwrap();
        assert_eq!(connector.address(), "127.0.0.1:7");
    }
}
