//! Connecting to Redis. Owns the address, the deadlines, the back-off and the checks of a new connection; keeps no
//! connection. Called by the command connections, the subscribers and the pool.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, Value,
};
use secrecy::ExposeSecret;

use crate::config::Redis;

/// Pause after the first failed attempt. Each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// All settings of a connection.
#[derive(Clone)]
pub(super) struct Connector {
    client: Client,
    timeout: Duration,
    max_pause: Duration,
}

impl Connector {
    /// Parses the URL. The error never contains the URL, which may hold a password.
    pub(super) fn new(settings: &Redis) -> Result<Self, String> {
        let url = settings.url.as_ref().ok_or("`redis.url` is not set")?;
        if url.expose_secret().starts_with("rediss:") {
            return Err("`redis.url` asks for TLS (rediss:), which this build does not support".into());
        }
        let why = |error: RedisError| {
            let form = "redis://[[user]:password@]host[:port][/db]";
            format!("`redis.url` is invalid ({}): use the form {form}", error.category())
        };
        let info = url.expose_secret().into_connection_info().map_err(why)?;
        let settings_of_server = info.redis_settings().clone().set_protocol(redis::ProtocolVersion::RESP3);
        let info = info
            .set_redis_settings(settings_of_server)
            .set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = Client::open(info).map_err(why)?;
        Ok(Self { client, timeout: settings.timeout, max_pause: settings.max_reconnect_delay })
    }

    /// Connection parameters, with the credentials.
    pub(super) fn info(&self) -> ConnectionInfo {
        self.client.get_connection_info().clone()
    }

    /// Host and port, for messages.
    pub(super) fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// Deadline of a command.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Options of a connection. Each call has its own deadline here, so the deadlines of redis-rs are off, except the one
    /// for connecting.
    pub(super) fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new().set_connection_timeout(Some(self.timeout)).set_response_timeout(None)
    }

    /// Connects and authenticates, within the deadline.
    pub(super) async fn connect(
        &self,
        config: &AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, RedisError> {
        self.within(self.client.get_multiplexed_async_connection_with_config(config)).await
    }

    /// Checks that the server is a master. After a failover the address may lead to a replica, which refuses or loses
    /// writes.
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

    /// Applies the deadline to a call while connecting.
    pub(super) async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, RedisError> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(result) => result,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }

    /// Creates the back-off between attempts.
    pub(super) fn backoff(&self) -> Backoff {
        Backoff { next: FIRST_PAUSE, max: self.max_pause }
    }
}

/// Growing pauses between attempts, without end. Each pause is random, so that not all nodes connect to a restarted Redis
/// in the same millisecond.
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// Starts again with the shortest pause, after a success.
    pub(super) fn reset(&mut self) {
        self.next = FIRST_PAUSE;
    }

    /// True if no attempt has failed since the last success.
    pub(super) fn is_fresh(&self) -> bool {
        self.next == FIRST_PAUSE
    }

    /// Waits for the next pause, by a random factor of 0.5 to 1.
    pub(super) async fn pause(&mut self) {
        let pause = self.next.min(self.max);
        self.next = (pause * 2).min(self.max);
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..=1.0))).await;
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn error_of_an_invalid_url_does_not_show_it() {
        for url in ["http://x:s3cret@h", "s3cret", "rediss://:s3cret@h", "redis://:s3cret@h:99999", ""] {
            let settings = Redis { url: Some(SecretString::from(url)), ..Redis::default() };
            let Err(error) = Connector::new(&settings) else { panic!("{url} was accepted") };
            assert!(!error.contains("s3cret") && error.contains("redis.url"), "{error}");
        }
    }

    #[test]
    fn address_contains_no_password() {
        let settings =
            Redis { url: Some(SecretString::from("redis://me:s3cret@127.0.0.1:7/2")), ..Redis::default() };
        let connector = Connector::new(&settings).unwrap();
        assert_eq!(connector.address(), "127.0.0.1:7");
    }
}
