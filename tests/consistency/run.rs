//! One run: a cluster, a workload, a fault, and the history of it, whole or up to where the run failed. Owns the order of
//! its phases; the checks judge it afterwards. Called by the commands.

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
/// Longer than it takes a node to close who reads nothing.
const NON_READER_CUT: Duration = Duration::from_secs(25);
/// By when everybody is back in a storm.
const RETURN: Duration = Duration::from_secs(5);

/// After each fault, so that recovery is seen to be in time.
const CALM: Duration = Duration::from_secs(11);
/// How much longer than twice its time a run may take until it is given up.
const SLACK: Duration = Duration::from_secs(180);

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    pub fault: Fault,
    pub lasts: Duration,
    pub seed: u64,
    pub sizes: Sizes,
    pub binary: PathBuf,
    /// The flaw that a node built for it is to have.
    pub planted: Option<String>,
    /// How long nothing is injected after a fault.
    pub calm: Duration,
    /// The same after the last, where that is longer.
    pub calm_at_end: Duration,
}

/// How a run went.
pub struct Outcome {
    pub history: History,
    /// Why it came to no end.
    pub failed: Option<std::io::Error>,
}

impl Plan {
    /// A run with what its fault asks for.
    pub fn new(fault: Fault, lasts: Duration, seed: u64, sizes: Sizes, binary: PathBuf) -> Self {
        let sizes = Sizes { fickle_permille: fault.fickle_permille(sizes.fickle_permille), ..sizes };
        Self {
            fault,
            lasts,
            seed,
            sizes,
            binary,
            planted: None,
            calm: CALM,
            calm_at_end: fault.calm_at_end(),
        }
    }
}

fn settings(plan: &Plan) -> NodeSettings {
    let fixed = [
        ("CHAT_REDIS__PREFIX", PREFIX),
        ("CHAT_AUTH__ENABLED", "true"),
        ("CHAT_AUTH__ADMIN_KEY", ADMIN_KEY),
        // The final log is to hold the whole run, so that each message can be looked up in it.
        ("CHAT_HISTORY__MAX_MESSAGES", "1000000"),
        ("CHAT_HISTORY__MAX_BYTES", "1000000000"),
        // A dead connection is noticed within the bound for ghosts.
        ("CHAT_SERVER__PING_INTERVAL", "8s"),
        ("CHAT_SERVER__PONG_TIMEOUT", "6s"),
        ("CHAT_DRAIN__DELAY", "300ms"),
        ("CHAT_DRAIN__SPREAD", "1s"),
        ("CHAT_NODE__THREADS", "1"),
    ];
    let mut environment: Vec<(String, String)> =
        fixed.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    environment.extend(plan.fault.environment());
    if let Some(flaw) = &plan.planted {
        environment.push(("CHATNODE_FAILPOINT".into(), flaw.clone()));
    }
    NodeSettings { binary: plan.binary.clone(), environment }
}

/// Runs it in a directory of its own.
pub async fn run(plan: &Plan, dir: &Path) -> Outcome {
    let mut rng = SmallRng::seed_from_u64(plan.seed);
    let roles = roles::draw(&plan.fault.sizes(plan.sizes), NODES, rng.random());
    let recorder = Arc::new(Recorder::new());
    recorder.record(Event::Run { fault: plan.fault.name() });
    let most = 2 * plan.lasts + plan.calm_at_end + SLACK;
    let ended = timeout(most, course(plan, dir, rng, &roles, recorder.clone())).await;
    let failed = ended.unwrap_or_else(|_| Err(std::io::Error::other("it came to no end"))).err();
    let mut setup = roles::setup(&roles);
    setup.bounds.keeps = plan.fault.keeps();
    Outcome { history: recorder.finish(setup), failed }
}

async fn course(
    plan: &Plan,
    dir: &Path,
    mut rng: SmallRng,
    roles: &[Role],
    recorder: Arc<Recorder>,
) -> std::io::Result<()> {
    let sizes = plan.fault.sizes(plan.sizes);
    let mut cluster = Cluster::start(dir, NODES, plan.fault.fsync(), &settings(plan)).await?;
    let (phase, phases) = watch::channel(Phase::Gather);
    let (kick, kicks) = watch::channel(0);
    let (start_non_readers, non_readers_start) = watch::channel(false);
    let api = Api::new(cluster.nodes.iter().map(|node| node.internal).collect(), ADMIN_KEY.to_owned());
    let context = Arc::new(RunContext {
        recorder,
        nodes: if plan.fault == Fault::Storm {
            // A proxy would take more of the machine than the nodes do.
            cluster.nodes.iter().map(|node| node.address).collect()
        } else {
            cluster.to_nodes.iter().map(|proxy| proxy.address).collect()
        },
        direct: cluster.nodes.iter().map(|node| node.address).collect(),
        sizes,
        phase: phases,
        kick: kicks,
        non_readers_start,
        api: Some(api),
        tokens: Mutex::default(),
    });
    hold(&cluster, &context, false).await;

    // What is in a set ends with it, however this does.
    let mut clients = tokio::task::JoinSet::new();
    for role in roles {
        clients.spawn(Client::new(context.clone(), role.clone()).run());
    }
    gathered(&context, roles).await?;
    phase.send_replace(Phase::Talk);
    let mut revoker = tokio::task::JoinSet::new();
    revoker.spawn(revoke(context.clone(), sizes, rng.random()));

    let start = Instant::now();
    let mut end = start + plan.lasts;
    sleep(Duration::from_secs(2)).await;
    let mut injector = Injector {
        cluster: &mut cluster,
        recorder: &context.recorder,
        kick: &kick,
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
        // The first half is without them, to compare.
        sleep(plan.lasts / 2).await;
        context.recorder.record(Event::NonReadersStarted);
        start_non_readers.send_replace(true);
        end = end.max(Instant::now() + NON_READER_CUT);
    }
    sleep(end.saturating_duration_since(Instant::now())).await;
    let dead = cluster.dead();
    if !dead.is_empty() {
        return Err(std::io::Error::other(format!("nodes {dead:?} ended by themselves")));
    }

    if sizes.never_readers > 0 {
        cut_off(&cluster, sizes.never_readers).await?;
    }
    revoker.shutdown().await;
    phase.send_replace(Phase::Settle);
    still(&context.recorder, Duration::from_secs(2), Duration::from_secs(20)).await;
    phase.send_replace(Phase::Resume);
    still(&context.recorder, Duration::from_secs(3), Duration::from_secs(20)).await;
    let users: Vec<u16> = roles.iter().map(|role| role.user).collect();
    logs(&cluster, &context, &users).await?;
    phase.send_replace(Phase::Over);
    while let Some(client) = clients.join_next().await {
        client.map_err(std::io::Error::other)?;
    }
    quiet(&cluster, &context).await;
    for node in &cluster.nodes {
        for line in node.panics() {
            context.recorder.record(Event::Panicked { node: node.number as u8, line });
        }
    }
    Ok(())
}

/// Waits until every client that is there from the start is in all of its rooms.
async fn gathered(context: &RunContext, roles: &[Role]) -> std::io::Result<()> {
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

/// Waits until nothing but pings has happened for a while.
async fn still(recorder: &Recorder, quiet: Duration, most: Duration) {
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

/// Revokes somebody's tokens now and then, and tries to come in with one of them.
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

/// Those who read nothing must have been closed for it, each at least once.
async fn cut_off(cluster: &Cluster, never_readers: u32) -> std::io::Result<()> {
    let mut closed = 0;
    for node in &cluster.nodes {
        closed += node.metric("chat_slow_consumer_disconnects_total").await.unwrap_or(0);
    }
    if closed < u64::from(never_readers) {
        let why = format!("{closed} of {never_readers} clients that read nothing were closed");
        return Err(std::io::Error::other(why));
    }
    Ok(())
}

async fn hold(cluster: &Cluster, context: &RunContext, end: bool) {
    for node in &cluster.nodes {
        if let Some(holds) = node.holds(end).await {
            context.recorder.record(holds);
        }
    }
}

/// Waits until the nodes have let go of what nobody uses any more, and writes down what they hold then.
async fn quiet(cluster: &Cluster, context: &RunContext) {
    let start = Instant::now();
    loop {
        let mut busy = false;
        for node in &cluster.nodes {
            busy |= node.resources().await.is_none_or(|r| r.connections > 0 || r.subscriptions > 2);
        }
        if !busy || start.elapsed() > Duration::from_secs(20) {
            return hold(cluster, context, true).await;
        }
        sleep(Duration::from_millis(250)).await;
    }
}

async fn logs(cluster: &Cluster, context: &RunContext, users: &[u16]) -> std::io::Result<()> {
    let rooms = context.sizes.all_rooms().map(Topic::Room);
    let mut inboxes: Vec<Topic> = users.iter().copied().map(Topic::Inbox).collect();
    inboxes.dedup();
    let mut connection = raw_log::connect(cluster.redis.address).await.map_err(std::io::Error::other)?;
    for topic in rooms.chain(inboxes) {
        let read = raw_log::read(&mut connection, PREFIX, topic).await;
        if let Some(log) = read.map_err(std::io::Error::other)? {
            context.recorder.record(log);
        }
    }
    Ok(())
}
