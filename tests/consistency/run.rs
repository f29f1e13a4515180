//! One run: a cluster, a workload, a fault, and its history, which ends early if the run fails. Owns the order of the phases;
//! the checks judge the history afterwards. Called by the commands.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::api::Api;
use crate::client::Client;
use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::guarded;
use crate::guarded_log;
use crate::history::{Event, History, Recorder, Topic};
use crate::injector::Injector;
use crate::process::NodeSettings;
use crate::raw_log;
use crate::reads::Reads;
use crate::revoked_token_probe::probe;
use crate::role::Role;
use crate::roles;
use crate::run_context::{Phase, RunContext, Sizes};

const NODES: usize = 3;
const ADMIN_KEY: &str = "the-harness-s-own-admin-key-0123456789";
const PREFIX: &str = "chat";
/// Longer than a node takes to close a client that reads nothing.
const NON_READER_CUT: Duration = Duration::from_secs(25);
/// The time that all clients get to return in a storm.
const RETURN: Duration = Duration::from_secs(5);

/// The quiet time after each fault, longer than the bound for recovery.
const CALM: Duration = Duration::from_secs(11);
/// A run is cancelled after twice its time and this.
const SLACK: Duration = Duration::from_secs(180);

/// The parameters of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub fault: Fault,
    pub lasts: Duration,
    pub seed: u64,
    pub sizes: Sizes,
    pub binary: PathBuf,
    /// The environment variable that activates a failpoint in a node.
    pub flaw: Option<(String, String)>,
    /// The quiet time after each fault.
    pub calm: Duration,
    /// The quiet time after the last fault, if it is longer.
    pub calm_at_end: Duration,
}

/// The result of a run.
pub struct Outcome {
    pub history: History,
    /// Why the run did not end normally.
    pub failed: Option<std::io::Error>,
}

impl Plan {
    /// A run with the settings that its fault needs.
    pub fn new(fault: Fault, lasts: Duration, seed: u64, sizes: Sizes, binary: PathBuf) -> Self {
        let sizes = Sizes { stay_away_permille: fault.stay_away_permille(sizes.stay_away_permille), ..sizes };
        Self { fault, lasts, seed, sizes, binary, flaw: None, calm: CALM, calm_at_end: fault.calm_at_end() }
    }
}

fn settings(plan: &Plan) -> NodeSettings {
    let fixed = [
        ("CHAT_REDIS__PREFIX", PREFIX),
        ("CHAT_AUTH__ENABLED", "true"),
        ("CHAT_AUTH__ADMIN_KEY", ADMIN_KEY),
        // The final log must contain the whole run, so that the checks find each message in it.
        ("CHAT_HISTORY__MAX_MESSAGES", "1000000"),
        ("CHAT_HISTORY__MAX_BYTES", "1000000000"),
        // The node notices a dead connection within the bound for ghosts.
        ("CHAT_SERVER__PING_INTERVAL", "8s"),
        ("CHAT_SERVER__PONG_TIMEOUT", "6s"),
        ("CHAT_DRAIN__DELAY", "300ms"),
        ("CHAT_DRAIN__SPREAD", "1s"),
        ("CHAT_NODE__THREADS", "1"),
    ];
    let mut environment: Vec<(String, String)> =
        fixed.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    environment.extend(plan.fault.environment());
    environment.extend(plan.flaw.clone());
    NodeSettings { binary: plan.binary.clone(), environment }
}

/// Runs a plan, with its files in this directory.
pub async fn run(plan: &Plan, dir: &Path) -> Outcome {
    let mut rng = SmallRng::seed_from_u64(plan.seed);
    let roles = roles::draw(&plan.fault.sizes(plan.sizes), NODES, rng.random());
    let recorder = Arc::new(Recorder::new());
    recorder.record(Event::Run { fault: plan.fault.name() });
    let most = 2 * plan.lasts + plan.calm_at_end + SLACK;
    let ended = timeout(most, phases(plan, dir, rng, &roles, recorder.clone())).await;
    let failed = ended.unwrap_or_else(|_| Err(std::io::Error::other("the run did not end in time"))).err();
    let mut setup = roles::setup(&roles);
    setup.bounds.keeps = plan.fault.keeps();
    Outcome { history: recorder.finish(setup), failed }
}

async fn phases(
    plan: &Plan,
    dir: &Path,
    mut rng: SmallRng,
    roles: &[Role],
    recorder: Arc<Recorder>,
) -> std::io::Result<()> {
    let sizes = plan.fault.sizes(plan.sizes);
    let mut cluster = Cluster::start(dir, NODES, plan.fault, &settings(plan)).await?;
    let (phase, phases) = watch::channel(Phase::Join);
    let (reconnect, reconnects) = watch::channel(0);
    let (start_non_readers, non_readers_start) = watch::channel(false);
    let api = Api::new(cluster.nodes.iter().map(|node| node.internal).collect(), ADMIN_KEY.to_owned());
    let context = Arc::new(RunContext {
        recorder,
        nodes: if plan.fault == Fault::Storm {
            // The proxies would use more CPU than the nodes.
            cluster.nodes.iter().map(|node| node.address).collect()
        } else {
            cluster.to_nodes.iter().map(|proxy| proxy.address).collect()
        },
        direct: cluster.nodes.iter().map(|node| node.address).collect(),
        sizes,
        phase: phases,
        reconnect: reconnects,
        non_readers_start,
        api: Some(api),
        tokens: Mutex::default(),
    });
    record_resources(&cluster, &context, false).await;

    // A `JoinSet` ends its tasks when it is dropped, however this function ends.
    let mut clients = tokio::task::JoinSet::new();
    for role in roles {
        clients.spawn(Client::new(context.clone(), role.clone()).run());
    }
    wait_for_joins(&context, roles).await?;
    phase.send_replace(Phase::Publish);
    let mut revoker = tokio::task::JoinSet::new();
    revoker.spawn(revoke(context.clone(), sizes, rng.random()));
    let mut guarded = guarded::spawn(&context, &mut rng);

    let start = Instant::now();
    let mut end = start + plan.lasts;
    // Some traffic before the first fault.
    sleep(Duration::from_secs(2)).await;
    let mut injector = Injector {
        cluster: &mut cluster,
        recorder: &context.recorder,
        reconnect: &reconnect,
        rng: SmallRng::seed_from_u64(rng.random()),
    };
    while plan.fault.injects() && start.elapsed() < plan.lasts {
        if plan.fault == Fault::Storm {
            let reads = Reads::listen(injector.cluster.redis.address).await?;
            injector.inject(plan.fault).await?;
            sleep(RETURN).await;
            injector.recorder.record(reads.done().await);
        } else {
            injector.inject(plan.fault).await?;
        }
        sleep(plan.calm + Duration::from_millis(rng.random_range(0..1_000))).await;
    }
    sleep(plan.calm_at_end.saturating_sub(plan.calm)).await;
    if sizes.never_readers > 0 {
        // The first half runs without them, for comparison.
        sleep(plan.lasts / 2).await;
        context.recorder.record(Event::NonReadersStarted);
        start_non_readers.send_replace(true);
        end = end.max(Instant::now() + NON_READER_CUT);
    }
    sleep(end.saturating_duration_since(Instant::now())).await;
    let dead = cluster.dead();
    if !dead.is_empty() {
        return Err(std::io::Error::other(format!("nodes {dead:?} ended unexpectedly")));
    }

    if sizes.never_readers > 0 {
        expect_slow_disconnects(&cluster, sizes.never_readers).await?;
    }
    revoker.shutdown().await;
    phase.send_replace(Phase::Settle);
    while let Some(guest) = guarded.join_next().await {
        guest.map_err(std::io::Error::other)?;
    }
    wait_for_quiet(&context.recorder, Duration::from_secs(2), Duration::from_secs(20)).await;
    phase.send_replace(Phase::Resume);
    wait_for_quiet(&context.recorder, Duration::from_secs(3), Duration::from_secs(20)).await;
    let users: Vec<u16> = roles.iter().map(|role| role.user).collect();
    record_logs(&cluster, &context, &users).await?;
    phase.send_replace(Phase::Over);
    while let Some(client) = clients.join_next().await {
        client.map_err(std::io::Error::other)?;
    }
    wait_for_release(&cluster, &context).await;
    for node in &cluster.nodes {
        for line in node.panics() {
            context.recorder.record(Event::Panicked { node: node.number as u8, line });
        }
    }
    Ok(())
}

/// Waits until every client that takes part from the start has joined all its rooms.
async fn wait_for_joins(context: &RunContext, roles: &[Role]) -> std::io::Result<()> {
    let from_the_start = roles.iter().filter(|role| role.reads_after.is_none());
    let wanted: usize = from_the_start.map(|role| role.rooms.len()).sum();
    let start = Instant::now();
    let (mut seen, mut members) = (0, HashSet::new());
    loop {
        context.recorder.look(seen, |lines| {
            seen += lines.len();
            members.extend(lines.iter().filter_map(|line| match &line.event {
                Event::Joined { client, topic: topic @ Topic::Room(_), .. } => Some((*client, *topic)),
                _ => None,
            }));
        });
        let joined = members.len();
        if joined >= wanted {
            return Ok(());
        }
        if start.elapsed() > Duration::from_secs(30) {
            return Err(std::io::Error::other(format!("only {joined} of {wanted} joins were acknowledged")));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until nothing has been recorded for a while.
async fn wait_for_quiet(recorder: &Recorder, quiet: Duration, most: Duration) {
    let start = Instant::now();
    let (mut seen, mut since) = (recorder.len(), Instant::now());
    while since.elapsed() < quiet && start.elapsed() < most {
        sleep(Duration::from_millis(50)).await;
        let now = recorder.len();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
}

/// Revokes all tokens of a random user from time to time, and then tries to use one of them.
async fn revoke(context: Arc<RunContext>, sizes: Sizes, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let Some(api) = &context.api else { return };
    let mut probes = tokio::task::JoinSet::new();
    loop {
        sleep(sizes.revoke_every.mul_f64(rng.random_range(0.4..1.6))).await;
        while probes.try_join_next().is_some() {}
        let user = rng.random_range(0..sizes.publishers + sizes.members) as u16;
        let token = context.token(user);
        let asked = context.recorder.now();
        if api.revoke(user).await {
            context.recorder.record(Event::Revoked { user, asked });
            let answered = context.recorder.now();
            token.map(|token| probes.spawn(probe(context.clone(), user, token, answered)));
        }
    }
}

/// Fails unless the nodes closed each client that reads nothing at least once.
async fn expect_slow_disconnects(cluster: &Cluster, never_readers: u32) -> std::io::Result<()> {
    let mut closed = 0;
    for node in &cluster.nodes {
        closed += node.metric("chat_slow_consumer_disconnects_total").await.unwrap_or(0);
    }
    if closed < u64::from(never_readers) {
        let why = format!("only {closed} of {never_readers} clients that read nothing were closed");
        return Err(std::io::Error::other(why));
    }
    Ok(())
}

async fn record_resources(cluster: &Cluster, context: &RunContext, end: bool) {
    for node in &cluster.nodes {
        if let Some(holds) = node.holds(end).await {
            context.recorder.record(holds);
        }
    }
}

/// Waits until the nodes have released the resources of all clients, and records what they still hold.
async fn wait_for_release(cluster: &Cluster, context: &RunContext) {
    let start = Instant::now();
    loop {
        let mut busy = false;
        for node in &cluster.nodes {
            busy |= node.resources().await.is_none_or(|r| r.connections > 0 || r.subscriptions > 2);
        }
        if !busy || start.elapsed() > Duration::from_secs(20) {
            return record_resources(cluster, context, true).await;
        }
        sleep(Duration::from_millis(250)).await;
    }
}

async fn record_logs(cluster: &Cluster, context: &RunContext, users: &[u16]) -> std::io::Result<()> {
    let rooms = context.sizes.all_rooms().map(Topic::Room);
    let mut inboxes: Vec<Topic> = users.iter().copied().map(Topic::Inbox).collect();
    inboxes.dedup();
    let mut connections = Vec::new();
    for master in cluster.masters().await? {
        connections.push(raw_log::connect(master).await.map_err(std::io::Error::other)?);
    }
    for topic in rooms.chain(inboxes) {
        let mut read = Ok(None);
        for connection in &mut connections {
            read = raw_log::read(connection, PREFIX, topic).await;
            // The slot is another master's.
            if !read.as_ref().is_err_and(|error| error.code() == Some("MOVED")) {
                break;
            }
        }
        if let Some(log) = read.map_err(std::io::Error::other)? {
            context.recorder.record(log);
        }
    }
    let mut read = Ok(None);
    for connection in &mut connections {
        read = guarded_log::read(connection, PREFIX).await;
        if !read.as_ref().is_err_and(|error| error.code() == Some("MOVED")) {
            break;
        }
    }
    if let Some(log) = read.map_err(std::io::Error::other)? {
        context.recorder.record(log);
    }
    Ok(())
}
