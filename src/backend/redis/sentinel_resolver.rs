//! Following the Sentinels. Owns the rounds of questions to all of them, what they mean for the master, and what people are told;
//! speaks to a Sentinel only through its link. Started by `connect`; its result is the [`Master`].

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use metrics::{counter, gauge};
use tokio::time::Instant;

use super::connector::{Connector, SENTINEL_TIMEOUT};
use super::master::Master;
use super::sentinel_link::{FAILOVER, NoReport, SentinelLink};
use super::sentinel_report::{Report, Verdict, confirms, judge};
use crate::config::{AddressMap, Redis};
use crate::metrics::{REDIS_FAILOVERS, SENTINELS_ANSWERING};

/// Interval between two rounds.
const INTERVAL: Duration = Duration::from_secs(1);

/// Pause between two rounds, however often somebody asks.
const MIN_PAUSE: Duration = Duration::from_millis(50);

/// Sentinels that were set up anew begin with a lower number of the configuration. They are believed after this time, in which
/// an old answer of Sentinels that were cut off has been corrected.
const OLD_ANSWERS: Duration = Duration::from_secs(10);

/// Why writes wait while the node may be on the smaller side of a cut network.
const ISOLATED: &str = "fewer than half of the Sentinels answer, and those see neither the others nor a replica: the \
                        master may have been replaced on the other side of a cut network";

/// What the first round tells about the settings.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FirstRound {
    /// Nothing is wrong with them, as far as is known.
    Fine,
    /// The node can't work with them.
    Wrong(String),
}

/// Asks all Sentinels, without end.
pub(super) struct SentinelResolver {
    links: Vec<SentinelLink>,
    name: Arc<str>,
    /// To the master, for the signal that it is another one.
    connector: Connector,
    master: Master,
    map: AddressMap,
    is_tls: bool,
    /// The number of the newest configuration, and since when all answers have been older.
    epoch: u64,
    older_since: Option<Instant>,
    /// The last trouble that was logged.
    trouble: Option<String>,
}

impl SentinelResolver {
    /// For the Sentinels of the URL. `None` if there are none.
    ///
    /// # Errors
    /// The settings are invalid.
    pub(super) fn new(settings: &Redis, connector: &Connector) -> Result<Option<Self>, String> {
        let (Some(name), Some(master)) = (&settings.sentinel_master, connector.master()) else {
            return Ok(None);
        };
        let name: Arc<str> = name.as_str().into();
        let sentinels = connector.sentinels(settings)?;
        let map = AddressMap::parse(&settings.address_map);
        let link = |connector| SentinelLink::new(connector, name.clone(), master.clone());
        Ok(Some(Self {
            links: sentinels.into_iter().map(link).collect(),
            is_tls: connector.is_tls(),
            connector: connector.clone(),
            master: master.clone(),
            map: map.map_err(|what| format!("`redis.address_map` {what}"))?,
            epoch: 0,
            older_since: None,
            trouble: None,
            name,
        }))
    }

    /// The round with which a node starts.
    pub(super) async fn first_round(&mut self) -> FirstRound {
        let mut silent = self.round().await;
        // A connection that fails late says why: a Sentinel without TLS on this port waits for the end of a line.
        let deadline = Instant::now() + SENTINEL_TIMEOUT;
        while self.master.term().is_err()
            && self.links.iter().any(SentinelLink::is_connecting)
            && Instant::now() < deadline
        {
            silent = self.round().await;
        }
        let known = silent.iter().filter_map(|silent| match silent {
            NoReport::Unknown(names) => Some(names),
            NoReport::NoSentinel | NoReport::Failed(_) => None,
        });
        let known: Vec<&Vec<String>> = known.collect();
        let strangers = silent.iter().filter(|silent| **silent == NoReport::NoSentinel).count();
        match self.master.term() {
            Err(why) if 2 * (known.len() + strangers) > self.links.len() => FirstRound::Wrong(why),
            _ => FirstRound::Fine,
        }
    }

    /// Asks until the node stops.
    pub(super) async fn run(mut self) {
        loop {
            tokio::time::sleep(MIN_PAUSE).await;
            // What is asked meanwhile begins another round.
            let _ = tokio::time::timeout(INTERVAL, self.master.asked()).await;
            self.round().await;
        }
    }

    /// Asks all Sentinels once. Returns why those that gave no report did not.
    async fn round(&mut self) -> Vec<NoReport> {
        let round = self.master.begin_round();
        let answers = join_all(self.links.iter_mut().map(SentinelLink::ask)).await;
        let mut silent = Vec::new();
        let mut reports = Vec::new();
        let mut troubles = Vec::new();
        for (link, answer) in self.links.iter().zip(answers) {
            match answer {
                Ok(report) => reports.push(report),
                Err(why) => {
                    troubles.push(format!("{}: {}", link.address(), describe(&why)));
                    silent.push(why);
                }
            }
        }
        gauge!(SENTINELS_ANSWERING).set(reports.len() as f64);
        let total = self.links.len();
        let mut trouble = (!troubles.is_empty())
            .then(|| format!("{} of {total} Sentinels answer ({})", reports.len(), troubles.join("; ")));
        let mut is_confirmed = false;
        let mut hold = reports.iter().any(|report| report.is_failing_over).then_some(FAILOVER);
        match judge(&reports, total) {
            Verdict::Master(report) => {
                if self.believes(report) {
                    self.follow(report);
                    is_confirmed = confirms(&reports, total, report);
                }
            }
            Verdict::Down => {
                trouble = Some(format!("the Sentinels can't reach the master {}", self.name));
            }
            Verdict::TooFew => {
                if self.is_isolated().await {
                    trouble = Some(ISOLATED.into());
                    hold = Some(ISOLATED);
                }
            }
        }
        if let Some(window) = reports.iter().map(|report| report.down_after).min() {
            self.master.set_window(window);
        }
        self.master.end_round(&round, is_confirmed, hold);
        self.master.explain(self.reason(&silent, trouble.as_deref()));
        self.tell(trouble);
        silent
    }

    /// Whether the newest of the answers counts.
    fn believes(&mut self, report: &Report) -> bool {
        if report.epoch >= self.epoch {
            self.older_since = None;
            return true;
        }
        let since = *self.older_since.get_or_insert_with(Instant::now);
        since.elapsed() >= OLD_ANSWERS
    }

    /// Lets all connections lead to this master.
    fn follow(&mut self, report: &Report) {
        self.epoch = report.epoch;
        let address = self.map.reachable(&report.host, report.port, self.is_tls);
        let before = self.master.term().ok().map(|term| term.address.to_string());
        if !self.master.set(address.clone()) {
            return;
        }
        tracing::info!(master = %self.name, %address, before, "the Sentinels name the master");
        if before.is_some() {
            counter!(REDIS_FAILOVERS).increment(1);
        }
        self.connector.raise_demotion();
    }

    async fn is_isolated(&self) -> bool {
        join_all(self.links.iter().map(SentinelLink::is_isolated)).await.contains(&true)
    }

    /// Why the master is not known.
    fn reason(&self, silent: &[NoReport], trouble: Option<&str>) -> String {
        let mut names: Vec<&str> = silent
            .iter()
            .filter_map(|silent| match silent {
                NoReport::Unknown(names) => Some(names.iter().map(String::as_str)),
                NoReport::NoSentinel | NoReport::Failed(_) => None,
            })
            .flatten()
            .collect();
        names.sort_unstable();
        names.dedup();
        let is_unknown = silent.iter().any(|silent| matches!(silent, NoReport::Unknown(_)));
        let name = &self.name;
        match trouble {
            _ if is_unknown && names.is_empty() => {
                format!("the Sentinels know no master: let them `sentinel monitor {name} …`")
            }
            _ if is_unknown => format!(
                "the Sentinels know no master named {name}; they know {}: set redis.sentinel_master to the right name",
                names.join(", ")
            ),
            Some(trouble) => format!(
                "the master {name} is not known, since {trouble}; at least half of the Sentinels in redis.url must answer"
            ),
            None => format!("the master {name} is not known yet"),
        }
    }

    /// Logs a trouble when it begins, changes or ends.
    fn tell(&mut self, trouble: Option<String>) {
        if trouble == self.trouble {
            return;
        }
        match &trouble {
            Some(trouble) => tracing::warn!(master = %self.name, trouble, "the Sentinels"),
            None => tracing::info!(master = %self.name, "all Sentinels answer again"),
        }
        self.trouble = trouble;
    }
}

fn describe(why: &NoReport) -> String {
    match why {
        NoReport::Unknown(_) => "knows no master of this name".into(),
        NoReport::NoSentinel => "is no Sentinel: redis.url must have the addresses of Sentinels, or \
                                 redis.sentinel_master must be unset"
            .into(),
        NoReport::Failed(why) => why.clone(),
    }
}
