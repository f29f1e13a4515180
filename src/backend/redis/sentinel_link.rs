//! The node's connections to one Sentinel. Owns one for questions and one for events, and the words for a Sentinel that gives no
//! answer; compares no answers. Called by the resolver, which asks all Sentinels side by side.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join;
use redis::{AsyncConnectionConfig, FromRedisValue, PushInfo, PushKind, RedisError, Value, from_redis_value};
use tokio_util::task::AbortOnDropHandle;

use super::connection::Connection;
use super::connector::Connector;
use super::master::Master;
use super::sentinel_report::Report;

/// Why writes wait while a Sentinel replaces the master. The old one may still answer, and what it stores then is lost.
pub(super) const FAILOVER: &str = "the Sentinels are replacing the master";

/// How long a round may wait for this Sentinel. All are asked side by side, and their answer is needed soon.
const ROUND: Duration = Duration::from_millis(500);

/// So many questions without an answer end a connection.
const MISSES: u32 = 4;

/// The event of a Sentinel that has another master. A question comes at once.
const SWITCHED: &str = "+switch-master";

/// The events of a Sentinel that begins to replace the master, before it promotes a replica.
const BEGINS: [&str; 3] = ["+try-failover", "+elected-leader", "+selected-slave"];

/// Events after which the state of the master has to be asked for.
const ENDS: [&str; 4] =
    ["+promoted-slave", "-failover-abort-not-elected", "-failover-abort-no-good-slave", "-odown"];

/// Why a Sentinel gave no report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoReport {
    /// It knows no master of this name, but these.
    Unknown(Vec<String>),
    /// It is no Sentinel.
    NoSentinel,
    /// It can't be asked, for this reason.
    Failed(String),
}

/// One Sentinel.
pub(super) struct SentinelLink {
    connector: Connector,
    /// The name of the master.
    name: Arc<str>,
    master: Master,
    live: Option<Live>,
    connecting: Option<AbortOnDropHandle<Result<Live, RedisError>>>,
    /// Questions in a row without an answer in time.
    misses: u32,
}

struct Live {
    questions: Connection,
    /// Ends the subscription when it is dropped.
    _events: Connection,
    /// One of the two was lost.
    is_lost: Arc<AtomicBool>,
}

impl SentinelLink {
    /// Connects with the first question.
    pub(super) fn new(connector: Connector, name: Arc<str>, master: Master) -> Self {
        Self { connector, name, master, live: None, connecting: None, misses: 0 }
    }

    /// Host and port.
    pub(super) fn address(&self) -> String {
        self.connector.address()
    }

    /// Whether a connection is being made.
    pub(super) fn is_connecting(&self) -> bool {
        self.connecting.is_some()
    }

    /// Asks for the master, within [`ROUND`].
    pub(super) async fn ask(&mut self) -> Result<Report, NoReport> {
        let Ok(asked) = tokio::time::timeout(ROUND, self.try_ask()).await else {
            // A connection that is only slow stays: it brings the events, and is up again sooner than a new one.
            self.misses += 1;
            if self.misses.is_multiple_of(MISSES) {
                self.live = None;
            }
            return Err(NoReport::Failed("no answer in time".into()));
        };
        self.misses = 0;
        if matches!(asked, Err(NoReport::Failed(_))) {
            self.live = None;
        }
        asked
    }

    async fn try_ask(&mut self) -> Result<Report, NoReport> {
        let mut connection = self.live().await.map_err(|error| NoReport::Failed(error.to_string()))?;
        let mut other = connection.clone();
        let (master, address) = (self.command("MASTER"), self.command("GET-MASTER-ADDR-BY-NAME"));
        let (master, address) = join(
            master.query_async::<HashMap<String, String>>(&mut *connection),
            address.query_async::<Option<(String, u16)>>(&mut *other),
        )
        .await;
        match (master, address) {
            (Ok(master), Ok(address)) => Report::parse(&master, address)
                .ok_or_else(|| NoReport::Failed("the answer to SENTINEL MASTER is incomplete".into())),
            (Err(error), _) | (_, Err(error)) => Err(self.explain(&error, connection).await),
        }
    }

    /// What an error reply means.
    async fn explain(&self, error: &RedisError, mut connection: Connection) -> NoReport {
        let text = error.to_string();
        if text.contains("unknown command") {
            return NoReport::NoSentinel;
        }
        if !text.contains("No such master") {
            return NoReport::Failed(text);
        }
        NoReport::Unknown(master_names(&mut connection).await.unwrap_or_default())
    }

    /// Whether this Sentinel sees neither enough others to replace a master nor any replica: it and the node may be on the smaller
    /// side of a cut network.
    pub(super) async fn is_isolated(&self) -> bool {
        let Some(mut connection) = self.connected() else { return false };
        let look = async {
            let mut other = connection.clone();
            let (quorum, replicas) = (self.command("CKQUORUM"), self.command("REPLICAS"));
            let (quorum, replicas) = join(
                quorum.query_async::<Value>(&mut *connection),
                replicas.query_async::<Vec<HashMap<String, String>>>(&mut *other),
            )
            .await;
            let has_quorum = !quorum.is_err_and(|error| error.code() == Some("NOQUORUM"));
            let is_up = |replica: &HashMap<String, String>| {
                replica
                    .get("flags")
                    .is_some_and(|flags| !flags.contains("down") && !flags.contains("disconnected"))
            };
            Some(!has_quorum && !replicas.ok()?.iter().any(is_up))
        };
        tokio::time::timeout(ROUND, look).await.ok().flatten().unwrap_or(false)
    }

    fn command(&self, subcommand: &str) -> redis::Cmd {
        let mut command = redis::cmd("SENTINEL");
        command.arg(subcommand).arg(&*self.name);
        command
    }

    /// The connection for questions, if it is there.
    fn connected(&self) -> Option<Connection> {
        let live = self.live.as_ref().filter(|live| !live.is_lost.load(Ordering::Relaxed));
        live.map(|live| live.questions.clone())
    }

    /// The connection for questions.
    async fn live(&mut self) -> Result<Connection, RedisError> {
        if let Some(connection) = self.connected() {
            return Ok(connection);
        }
        // In a task of its own, since it may take longer than a round.
        let is_lost = Arc::new(AtomicBool::new(false));
        let config = self.connector.config().set_push_sender(self.events(is_lost.clone()));
        let connect = connect(self.connector.clone(), config, is_lost);
        let spawn = || AbortOnDropHandle::new(tokio::spawn(connect));
        let connected = self.connecting.get_or_insert_with(spawn).await;
        self.connecting = None;
        let live = connected.map_err(std::io::Error::other)??;
        let questions = live.questions.clone();
        self.live = Some(live);
        Ok(questions)
    }

    /// What is done with an event. Called by the reader of redis-rs, so it does not wait.
    fn events(
        &self,
        is_lost: Arc<AtomicBool>,
    ) -> impl Fn(PushInfo) -> Result<(), redis::aio::SendError> + Send + Sync + 'static {
        let (master, name) = (self.master.clone(), self.name.clone());
        move |push| {
            match push.kind {
                PushKind::Disconnection => is_lost.store(true, Ordering::Relaxed),
                PushKind::Message => {
                    let mut texts = push.data.into_iter().map(from_redis_value::<String>);
                    let (Some(Ok(event)), Some(Ok(text))) = (texts.next(), texts.next()) else {
                        return Ok(());
                    };
                    if BEGINS.contains(&event.as_str()) && concerns(&text, &name) {
                        master.begin_failover(FAILOVER);
                    }
                }
                _ => return Ok(()),
            }
            master.ask();
            Ok(())
        }
    }
}

/// Makes both connections, within the deadlines of the connector.
async fn connect(
    connector: Connector,
    config: AsyncConnectionConfig,
    is_lost: Arc<AtomicBool>,
) -> Result<Live, RedisError> {
    let (questions, events) = join(connector.connect(&config), connector.connect(&config)).await;
    let (questions, mut events) = (questions?, events?);
    let channels: Vec<&str> = [SWITCHED].into_iter().chain(BEGINS).chain(ENDS).collect();
    connector.within(events.subscribe(channels)).await?;
    Ok(Live { questions, _events: events, is_lost })
}

/// Whether an event names this master: `master NAME ip port`, or `slave … @ NAME ip port`.
fn concerns(text: &str, name: &str) -> bool {
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        ["master", named, ..] => named == name,
        _ => words.iter().skip_while(|word| **word != "@").nth(1) == Some(&name),
    }
}

/// The names of the masters that a Sentinel watches.
///
/// # Errors
/// The server is no Sentinel, or it does not answer.
pub(super) async fn master_names(connection: &mut Connection) -> Result<Vec<String>, RedisError> {
    let mut masters = redis::cmd("SENTINEL");
    let masters: Vec<Value> = masters.arg("MASTERS").query_async(&mut **connection).await?;
    let name = |value: Value| HashMap::<String, String>::from_redis_value(value).ok()?.remove("name");
    let mut names: Vec<String> = masters.into_iter().filter_map(name).collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::concerns;

    #[test]
    fn event_names_its_master() {
        for (text, is_mine) in [
            ("master main 127.0.0.1 6379", true),
            ("master other 127.0.0.1 6379", false),
            ("slave 10.0.0.2:6379 10.0.0.2 6379 @ main 10.0.0.1 6379", true),
            ("slave 10.0.0.2:6379 10.0.0.2 6379 @ other 10.0.0.1 6379", false),
            ("slave main 10.0.0.2 6379", false),
            ("", false),
        ] {
            assert_eq!(concerns(text, "main"), is_mine, "{text}");
        }
    }
}
