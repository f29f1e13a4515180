//! Presence by node lease, played against a model: nodes enter and leave users, renew, stand still, die, reap and wake up,
//! in any order. The same steps on an embedded store, whose clock is simulated, and on a real Redis, where time passes by
//! moving the leases back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use chatnode::backend::{Embedded, Incarnation, Lease};
use chatnode::protocol::{RoomName, UserName};
use proptest::prelude::*;

use super::backend::{Harness, room, room_name, user_name};
use super::redis_server::RedisServer;

const NODES: usize = 3;
const ROOMS: usize = 2;
const USERS: usize = 3;

/// No sum of units comes within 2 s of a lease or of a claim: what a real Redis takes for a case does not count.
const UNIT: Duration = Duration::from_secs(7);
const LEASE: Duration = Duration::from_secs(61);
/// As long as the backends' own.
const CLAIM: Duration = Duration::from_secs(30);

/// One thing that happens. Nodes, rooms and users go by number.
#[derive(Debug, Clone)]
pub enum Step {
    Enter(usize, usize, usize),
    Leave(usize, usize, usize),
    /// Renews the lease, and hears if it is lost.
    Beat(usize),
    /// Takes a new incarnation and enters all again, if the lease is lost.
    Recover(usize),
    Claim(usize),
    /// Removes so many of the orphans that the node has claimed.
    Reap(usize, usize),
    /// Forgets what the node has claimed, whether all is removed or not.
    Bury(usize),
    /// So many units of time.
    Pass(u32),
    /// Stands still until its lease has ended, while the others renew theirs.
    Sleep(usize),
    /// Claims, reaps and buries to the end, as a node does that nothing disturbs.
    Undertake(usize),
    /// Ends without a word; another node comes in its place.
    Die(usize),
    /// Gives the lease up, with whoever it still holds; another node comes in its place.
    Release(usize),
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..NODES, 0..ROOMS, 0..USERS).prop_map(|(node, room, user)| Step::Enter(node, room, user)),
        6 => (0..NODES, 0..ROOMS, 0..USERS).prop_map(|(node, room, user)| Step::Leave(node, room, user)),
        6 => (0..NODES).prop_map(Step::Beat),
        3 => (0..NODES).prop_map(Step::Recover),
        4 => (0..NODES).prop_map(Step::Claim),
        4 => (0..NODES, 1_usize..4).prop_map(|(node, count)| Step::Reap(node, count)),
        2 => (0..NODES).prop_map(Step::Bury),
        4 => (1_u32..10).prop_map(Step::Pass),
        2 => (0..NODES).prop_map(Step::Sleep),
        2 => (0..NODES).prop_map(Step::Undertake),
        1 => (0..NODES).prop_map(Step::Die),
        1 => (0..NODES).prop_map(Step::Release),
    ];
    prop::collection::vec(step, 1..60)
}

/// Where the nodes live.
pub enum Stage<'a> {
    /// On a paused clock.
    Embedded(OnceLock<Embedded>),
    /// Under a prefix of its own.
    Redis(&'a RedisServer, String),
}

impl Stage<'_> {
    async fn node(&self, name: &str) -> Harness {
        let tune = |config: &mut chatnode::config::Config| {
            config.node.lease = LEASE;
            config.node.name = Some(name.into());
            if let Self::Redis(_, prefix) = self {
                config.redis.prefix = prefix.clone();
            }
        };
        match self {
            Self::Embedded(store) => Harness::embedded(store, tune),
            Self::Redis(server, _) => Harness::redis(server, tune).await,
        }
    }

    async fn pass(&self, time: Duration) {
        match self {
            Self::Embedded(_) => tokio::time::advance(time).await,
            Self::Redis(server, prefix) => {
                let script = "local all = redis.call('ZRANGE', ARGV[1] .. ':leases', 0, -1, 'WITHSCORES')
                    for i = 1, #all, 2 do
                      local ends = tonumber(all[i + 1])
                      if ends > 0 then redis.call('ZADD', ARGV[1] .. ':leases', math.max(1, ends - ARGV[2]), all[i]) end
                    end
                    for _, claim in ipairs(redis.call('KEYS', ARGV[1] .. ':claim:*')) do
                      local rest = redis.call('PTTL', claim) - ARGV[2]
                      if rest > 0 then redis.call('PEXPIRE', claim, rest) else redis.call('DEL', claim) end
                    end";
                let ms = time.as_millis().to_string();
                server.command(&["EVAL", script, "0", prefix, &ms]).unwrap();
            }
        }
    }
}

/// One life of a node, as the model knows it.
#[derive(Debug)]
struct Life {
    /// None: given up for lost.
    ends: Option<Duration>,
    claimed: Option<Duration>,
}

type Entry = (usize, usize);

/// What the store should hold and have told.
#[derive(Default)]
struct Model {
    now: Duration,
    lives: BTreeMap<String, Life>,
    held: BTreeSet<(Entry, String)>,
    events: [Vec<String>; ROOMS],
}

impl Model {
    fn is_live(&self, life: &str) -> bool {
        self.lives.get(life).is_some_and(|life| life.ends.is_some_and(|ends| ends > self.now))
    }

    fn holders(&self, entry: Entry) -> impl Iterator<Item = &str> {
        self.held.iter().filter(move |(held, _)| *held == entry).map(|(_, life)| life.as_str())
    }

    fn holds(&self, life: &str) -> bool {
        self.held.iter().any(|(_, holder)| holder == life)
    }

    /// True if nobody held it: then that is told.
    fn add(&mut self, life: &str, entry: Entry, is_told: bool) -> bool {
        let first = self.holders(entry).next().is_none();
        self.lives.entry(life.to_owned()).or_insert(Life { ends: None, claimed: None });
        self.held.insert((entry, life.to_owned()));
        if first && is_told {
            self.events[entry.0].push(format!("+{}", entry.1));
        }
        first
    }

    /// True if nobody holds it any more: then that is told.
    fn remove(&mut self, life: &str, entry: Entry) -> bool {
        let last = self.held.remove(&(entry, life.to_owned())) && self.holders(entry).next().is_none();
        if last {
            self.events[entry.0].push(format!("-{}", entry.1));
        }
        last
    }

    /// Who may be claimed by this one.
    fn dead(&self, own: &str) -> Vec<&String> {
        let is_ended = |life: &Life| life.ends.is_none_or(|ends| ends <= self.now);
        let is_free = |life: &Life| life.claimed.is_none_or(|since| since + CLAIM <= self.now);
        let dead = self.lives.iter().filter(|(name, life)| *name != own && is_ended(life) && is_free(life));
        dead.map(|(name, _)| name).collect()
    }

    fn forget(&mut self, life: &str) {
        if self.holds(life) {
            self.lives.insert(life.to_owned(), Life { ends: None, claimed: None });
        } else {
            self.lives.remove(life);
        }
    }

    fn members(&self, of: usize) -> Vec<UserName> {
        let is_member = |user: &usize| self.holders((of, *user)).any(|life| self.is_live(life));
        (0..USERS).filter(is_member).map(user).collect()
    }
}

/// One node, and what it knows of itself.
struct Node {
    harness: Harness,
    life: String,
    wanted: BTreeSet<Entry>,
    is_lost: bool,
    claims: Vec<String>,
}

struct Play<'a> {
    stage: &'a Stage<'a>,
    observer: Harness,
    nodes: Vec<Node>,
    model: Model,
    born: usize,
}

fn name(of: usize) -> RoomName {
    room_name(&format!("room {of}"))
}

fn user(number: usize) -> UserName {
    user_name(&number.to_string())
}

/// Plays the steps, each with the model's answer; then everybody alive recovers and reaps, and all must be as the nodes want it.
pub async fn play(stage: &Stage<'_>, steps: Vec<Step>) {
    let observer = stage.node("observer").await;
    for of in 0..ROOMS {
        observer.subscribe(&room(name(of).as_str())).await;
    }
    let mut play = Play { stage, observer, nodes: Vec::new(), model: Model::default(), born: 0 };
    for _ in 0..NODES {
        let node = play.new_node().await;
        play.nodes.push(node);
    }
    for (turn, step) in steps.iter().enumerate() {
        play.step(step).await;
        play.look(turn % NODES).await;
    }
    play.settle().await;
    play.compare_events().await;
}

impl Play<'_> {
    async fn new_node(&mut self) -> Node {
        self.born += 1;
        let harness = self.stage.node(&format!("node {}", self.born).replace(' ', "-")).await;
        assert_eq!(harness.backend.presence.renew().await.unwrap(), Lease::Kept);
        let mut node = Node {
            harness,
            life: String::new(),
            wanted: BTreeSet::new(),
            is_lost: false,
            claims: Vec::new(),
        };
        self.take_life(&mut node).await;
        node
    }

    /// Finds out under which incarnation the node goes on.
    async fn take_life(&mut self, node: &mut Node) {
        let lives = node.harness.backend.presence.nodes().await.unwrap();
        let fresh: Vec<_> =
            lives.into_iter().filter(|life| !self.model.lives.contains_key(&life.incarnation)).collect();
        assert_eq!(fresh.len(), 1, "one new life: {fresh:?}");
        node.life = fresh[0].incarnation.clone();
        let life = Life { ends: Some(self.model.now + LEASE), claimed: None };
        self.model.lives.insert(node.life.clone(), life);
    }

    async fn step(&mut self, step: &Step) {
        let Self { nodes, model, .. } = self;
        match *step {
            Step::Enter(node, of, who) => {
                let node = &mut nodes[node];
                node.wanted.insert((of, who));
                let event = Bytes::from(format!("+{who}"));
                let first = node.harness.backend.presence.add(&name(of), &user(who), event).await.unwrap();
                assert_eq!(first, model.add(&node.life, (of, who), true), "{step:?}");
            }
            Step::Leave(node, of, who) => {
                let node = &mut nodes[node];
                node.wanted.remove(&(of, who));
                let event = Bytes::from(format!("-{who}"));
                let last = node.harness.backend.presence.remove(&name(of), &user(who), event).await.unwrap();
                assert_eq!(last, model.remove(&node.life, (of, who)), "{step:?}");
            }
            Step::Beat(node) => self.beat(node).await,
            Step::Recover(node) => self.recover(node).await,
            Step::Claim(node) => drop(self.claim(node).await),
            Step::Reap(node, count) => self.reap(node, count).await,
            Step::Bury(node) => self.forget(node).await,
            Step::Pass(units) => self.pass(units).await,
            Step::Sleep(node) => {
                for units in [5, 5] {
                    for other in (0..NODES).filter(|other| *other != node) {
                        self.beat(other).await;
                    }
                    self.pass(units).await;
                }
            }
            Step::Undertake(node) => while self.undertake(node).await {},
            Step::Die(node) => self.nodes[node] = self.new_node().await,
            Step::Release(node) => {
                nodes[node].harness.backend.presence.release().await.unwrap();
                model.forget(&nodes[node].life);
                self.nodes[node] = self.new_node().await;
            }
        }
    }

    async fn pass(&mut self, units: u32) {
        self.model.now += UNIT * units;
        self.stage.pass(UNIT * units).await;
    }

    async fn forget(&mut self, node: usize) {
        for dead in std::mem::take(&mut self.nodes[node].claims) {
            self.model.forget(&dead);
            self.nodes[node].harness.backend.presence.forget(&Incarnation(dead)).await.unwrap();
        }
    }

    /// True if there was somebody to claim: all that he held is removed, and he is forgotten.
    async fn undertake(&mut self, node: usize) -> bool {
        if !self.claim(node).await {
            return false;
        }
        while self.nodes[node].claims.iter().any(|dead| self.model.holds(dead)) {
            self.reap(node, USERS).await;
        }
        self.forget(node).await;
        true
    }

    async fn beat(&mut self, node: usize) {
        let (node, model) = (&mut self.nodes[node], &mut self.model);
        let lease = node.harness.backend.presence.renew().await.unwrap();
        let stands = model.lives.get_mut(&node.life).filter(|life| life.ends.is_some());
        assert_eq!(lease == Lease::Kept, stands.is_some());
        if let Some(life) = stands {
            life.ends = Some(model.now + LEASE);
        }
        node.is_lost = lease == Lease::Lost;
    }

    async fn recover(&mut self, number: usize) {
        if !self.nodes[number].is_lost {
            return;
        }
        let mut node = self.nodes.remove(number);
        node.harness.backend.presence.reincarnate().await.unwrap();
        node.is_lost = false;
        let old = std::mem::take(&mut node.life);
        // One that is quite forgotten is known again, to be found by reapers.
        let ends = Some(self.model.now + LEASE);
        self.model.lives.entry(old).or_insert(Life { ends, claimed: None });
        self.take_life(&mut node).await;
        let wanted: Vec<_> = node.wanted.iter().map(|(of, who)| (name(*of), user(*who))).collect();
        node.harness.backend.presence.restore_members(&wanted).await.unwrap();
        for entry in &node.wanted {
            self.model.add(&node.life, *entry, false);
        }
        self.nodes.insert(number, node);
    }

    /// True if there was somebody to claim.
    async fn claim(&mut self, node: usize) -> bool {
        let (node, model) = (&mut self.nodes[node], &mut self.model);
        let claimed = node.harness.backend.presence.claim_expired().await.unwrap();
        let dead = model.dead(&node.life);
        let Some(Incarnation(claimed)) = claimed else {
            assert!(dead.is_empty(), "not claimed: {dead:?}");
            return false;
        };
        assert!(dead.contains(&&claimed), "claimed {claimed} of {dead:?}");
        let now = model.now;
        *model.lives.get_mut(&claimed).unwrap() = Life { ends: None, claimed: Some(now) };
        node.claims.push(claimed);
        true
    }

    async fn reap(&mut self, node: usize, count: usize) {
        let (node, model) = (&self.nodes[node], &mut self.model);
        let presence = &node.harness.backend.presence;
        for dead in &node.claims {
            let incarnation = Incarnation(dead.clone());
            let orphans = presence.stale_members(&incarnation).await.unwrap();
            let Some((in_room, users)) = orphans else {
                assert!(!model.holds(dead), "orphans of {dead} were not found");
                continue;
            };
            let of = (0..ROOMS).find(|of| name(*of) == in_room).unwrap();
            let left: Vec<usize> =
                (0..USERS).filter(|who| model.held.contains(&((of, *who), dead.clone()))).collect();
            assert_eq!(users, left.iter().map(|who| user(*who)).collect::<Vec<_>>());
            for who in left.into_iter().take(count) {
                let event = Bytes::from(format!("-{who}"));
                let last =
                    presence.remove_stale_member(&incarnation, &in_room, &user(who), event).await.unwrap();
                assert_eq!(last, model.remove(dead, (of, who)));
            }
        }
    }

    /// What a node is told of the members, in whole and in pages.
    async fn look(&self, node: usize) {
        for of in 0..ROOMS {
            let presence = &self.nodes[node].harness.backend.presence;
            let wanted = self.model.members(of);
            let page = presence.members(&name(of), None, 10).await.unwrap();
            assert_eq!((page.members, page.count, page.more), (wanted.clone(), wanted.len() as u64, false));
            let page = presence.members(&name(of), Some(&user(0)), 1).await.unwrap();
            let rest: Vec<_> = wanted.iter().filter(|who| **who > user(0)).cloned().collect();
            assert_eq!(page.count, wanted.len() as u64);
            assert_eq!(page.more, rest.len() > 1);
            assert_eq!(page.members, rest.into_iter().take(1).collect::<Vec<_>>());
        }
    }

    /// As the nodes' heartbeats do: whoever is dead is gone, and whoever was thought dead is back.
    async fn settle(&mut self) {
        // Claims and last leases of others end.
        for _ in 0..2 {
            for node in 0..NODES {
                self.beat(node).await;
                self.recover(node).await;
            }
            for _ in 0..6 {
                self.pass(1).await;
                for node in 0..NODES {
                    self.beat(node).await;
                    assert!(!self.nodes[node].is_lost, "lost with a lease just renewed");
                }
            }
        }
        while self.undertake(0).await {}
        for node in 0..NODES {
            self.look(node).await;
        }
        for of in 0..ROOMS {
            let wanted: BTreeSet<UserName> = self
                .nodes
                .iter()
                .flat_map(|node| &node.wanted)
                .filter(|(wanted, _)| *wanted == of)
                .map(|(_, who)| user(*who))
                .collect();
            assert_eq!(self.model.members(of), wanted.into_iter().collect::<Vec<_>>());
        }
        let nodes = self.nodes[0].harness.backend.presence.nodes().await.unwrap();
        assert_eq!(nodes.len(), NODES, "of the dead nothing is left: {nodes:?}");
    }

    async fn compare_events(&self) {
        for of in 0..ROOMS {
            let topic = room(name(of).as_str());
            self.observer.say(&topic, "end").await;
            self.observer.listener.messages(&topic, 1).await;
            assert_eq!(self.observer.listener.events(&topic), self.model.events[of]);
        }
    }
}
