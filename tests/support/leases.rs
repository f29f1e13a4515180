//! Runs random steps on presence and compares each result with the model of leases. Owns the nodes of a run and the passing
//! of time: the time of the observed leases is simulated, and on Redis the claims are moved back. Called by the tests of both
//! stores.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use chatnode::backend::{Embedded, Incarnation, Lease};
use chatnode::protocol::UserName;
use tokio::time::Instant;

use super::backend::{Harness, room};
use super::lease_model::{Entry, LEASE, LeaseState, Model, NODES, ROOMS, Step, UNIT, USERS, name, user};
use super::redis_server::RedisServer;

/// The store of the nodes.
pub enum TestStore<'a> {
    /// With a paused clock.
    Embedded(OnceLock<Embedded>),
    /// With its own key prefix.
    Redis(&'a RedisServer, String),
}

impl TestStore<'_> {
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

    async fn wait(&self, time: Duration) {
        match self {
            Self::Embedded(_) => tokio::time::advance(time).await,
            Self::Redis(server, prefix) => {
                let script = "
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

/// One node and its state.
struct Node {
    harness: Harness,
    incarnation: String,
    /// When the node observed the leases first.
    observing: Duration,
    wanted: BTreeSet<Entry>,
    lost: Option<Lease>,
    claims: Vec<String>,
}

struct Run<'a> {
    store: &'a TestStore<'a>,
    observer: Harness,
    nodes: Vec<Node>,
    model: Model,
    /// The start of the simulated time.
    origin: Instant,
    started: usize,
}

/// Runs the steps and compares each result with the model. Then all nodes recover and clean up, and the members must be
/// those that the nodes want.
pub async fn run(store: &TestStore<'_>, steps: Vec<Step>) {
    let observer = store.node("observer").await;
    for of in 0..ROOMS {
        observer.subscribe(&room(name(of).as_str())).await;
    }
    let mut run = Run {
        store,
        observer,
        nodes: Vec::new(),
        model: Model::default(),
        origin: Instant::now(),
        started: 0,
    };
    for _ in 0..NODES {
        let node = run.new_node().await;
        run.nodes.push(node);
    }
    for (turn, step) in steps.iter().enumerate() {
        run.step(step).await;
        run.check_members(turn % NODES).await;
    }
    run.settle().await;
    run.compare_events().await;
}

impl Run<'_> {
    async fn new_node(&mut self) -> Node {
        self.started += 1;
        let harness = self.store.node(&format!("node {}", self.started).replace(' ', "-")).await;
        assert_eq!(harness.backend.presence.renew().await.unwrap(), Lease::Kept);
        let mut node = Node {
            harness,
            incarnation: String::new(),
            observing: self.model.now,
            wanted: BTreeSet::new(),
            lost: None,
            claims: Vec::new(),
        };
        self.find_incarnation(&mut node).await;
        node
    }

    /// Finds the new incarnation of the node.
    async fn find_incarnation(&mut self, node: &mut Node) {
        let nodes = node.harness.backend.presence.nodes().await.unwrap();
        let fresh: Vec<_> =
            nodes.into_iter().filter(|node| !self.model.leases.contains_key(&node.incarnation)).collect();
        assert_eq!(fresh.len(), 1, "one new incarnation: {fresh:?}");
        node.incarnation = fresh[0].incarnation.clone();
        let lease = LeaseState { renewed: Some(self.model.now), claimed: None };
        self.model.leases.insert(node.incarnation.clone(), lease);
    }

    async fn step(&mut self, step: &Step) {
        let Self { nodes, model, .. } = self;
        match *step {
            Step::Enter(node, of, number) => {
                let node = &mut nodes[node];
                node.wanted.insert((of, number));
                let event = Bytes::from(format!("+{number}"));
                let first = node.harness.backend.presence.add(&name(of), &user(number), event).await.unwrap();
                assert_eq!(first, model.add(&node.incarnation, (of, number), true), "{step:?}");
            }
            Step::Leave(node, of, number) => {
                let node = &mut nodes[node];
                node.wanted.remove(&(of, number));
                let event = Bytes::from(format!("-{number}"));
                let last =
                    node.harness.backend.presence.remove(&name(of), &user(number), event).await.unwrap();
                assert_eq!(last, model.remove(&node.incarnation, (of, number)), "{step:?}");
            }
            Step::Renew(node) => self.renew(node).await,
            Step::Recover(node) => self.recover(node).await,
            Step::Claim(node) => drop(self.claim(node).await),
            Step::RemoveMembers(node, count) => self.remove_members(node, count).await,
            Step::Forget(node) => self.forget(node).await,
            Step::Wait(units) => self.wait(units).await,
            Step::Stall(node) => {
                for units in [5, 5] {
                    for other in (0..NODES).filter(|other| *other != node) {
                        self.renew(other).await;
                    }
                    self.wait(units).await;
                }
            }
            Step::CleanUp(node) => while self.clean_up(node).await {},
            Step::Crash(node) => self.nodes[node] = self.new_node().await,
            Step::Release(node) => {
                nodes[node].harness.backend.presence.release().await.unwrap();
                model.forget(&nodes[node].incarnation);
                self.nodes[node] = self.new_node().await;
            }
        }
    }

    async fn wait(&mut self, units: u32) {
        self.observe().await;
        for _ in 0..units {
            self.model.now += UNIT;
            self.store.wait(UNIT).await;
            self.observe().await;
        }
    }

    /// All nodes look at the leases.
    async fn observe(&self) {
        for node in &self.nodes {
            node.harness.backend.presence.observe_leases(self.origin + self.model.now).await.unwrap();
        }
    }

    async fn forget(&mut self, node: usize) {
        for expired in std::mem::take(&mut self.nodes[node].claims) {
            self.model.forget(&expired);
            self.nodes[node].harness.backend.presence.forget(&Incarnation(expired)).await.unwrap();
        }
    }

    /// Claims one incarnation, removes its members and forgets it. True if there was one to claim.
    async fn clean_up(&mut self, node: usize) -> bool {
        if !self.claim(node).await {
            return false;
        }
        while self.nodes[node].claims.iter().any(|expired| self.model.holds(expired)) {
            self.remove_members(node, USERS).await;
        }
        self.forget(node).await;
        true
    }

    async fn renew(&mut self, node: usize) {
        let (node, model) = (&mut self.nodes[node], &mut self.model);
        let lease = node.harness.backend.presence.renew().await.unwrap();
        let was_claimed = model.claimed.contains(&node.incarnation);
        let running = model.leases.get_mut(&node.incarnation).filter(|lease| lease.renewed.is_some());
        let expected = match (running.is_some(), was_claimed) {
            (true, _) => Lease::Kept,
            (false, true) => Lease::Claimed,
            (false, false) => Lease::Lost,
        };
        assert_eq!(lease, expected);
        if let Some(lease) = running {
            lease.renewed = Some(model.now);
        }
        node.lost = (lease != Lease::Kept).then_some(lease);
    }

    async fn recover(&mut self, number: usize) {
        let Some(lost) = self.nodes[number].lost else { return };
        let is_announced = lost == Lease::Claimed;
        let mut node = self.nodes.remove(number);
        node.harness.backend.presence.reincarnate().await.unwrap();
        node.lost = None;
        let old = std::mem::take(&mut node.incarnation);
        // A forgotten incarnation gets a lease again, so that other nodes find its members.
        let renewed = Some(self.model.now);
        let old = self.model.leases.entry(old).or_insert(LeaseState { renewed, claimed: None });
        old.renewed = old.renewed.and(renewed);
        self.find_incarnation(&mut node).await;
        let event = |number| is_announced.then(|| Bytes::from(format!("+{number}")));
        let wanted: Vec<_> =
            node.wanted.iter().map(|(of, number)| (name(*of), user(*number), event(*number))).collect();
        node.harness.backend.presence.restore_members(&wanted).await.unwrap();
        for entry in &node.wanted {
            self.model.add(&node.incarnation, *entry, is_announced);
        }
        self.nodes.insert(number, node);
    }

    /// Claims one incarnation. True if there was one to claim.
    async fn claim(&mut self, node: usize) -> bool {
        let (node, model) = (&mut self.nodes[node], &mut self.model);
        let claimed = node.harness.backend.presence.claim_expired().await.unwrap();
        let claimable = model.claimable(&node.incarnation, node.observing);
        let Some(Incarnation(claimed)) = claimed else {
            assert!(claimable.is_empty(), "not claimed: {claimable:?}");
            return false;
        };
        assert!(claimable.contains(&&claimed), "claimed {claimed} of {claimable:?}");
        let claim = Some((model.now, node.incarnation.clone()));
        *model.leases.get_mut(&claimed).unwrap() = LeaseState { renewed: None, claimed: claim };
        model.claimed.insert(claimed.clone());
        node.claims.push(claimed);
        true
    }

    async fn remove_members(&mut self, node: usize, count: usize) {
        let (node, model) = (&self.nodes[node], &mut self.model);
        let presence = &node.harness.backend.presence;
        for expired in &node.claims {
            let incarnation = Incarnation(expired.clone());
            let stale = presence.stale_members(&incarnation).await.unwrap();
            let Some((in_room, users)) = stale else {
                assert!(!model.holds(expired), "members of {expired} were not found");
                continue;
            };
            let of = (0..ROOMS).find(|of| name(*of) == in_room).unwrap();
            let left: Vec<usize> =
                (0..USERS).filter(|number| model.held.contains(&((of, *number), expired.clone()))).collect();
            assert_eq!(users, left.iter().map(|number| user(*number)).collect::<Vec<_>>());
            for number in left.into_iter().take(count) {
                let event = Bytes::from(format!("-{number}"));
                let last =
                    presence.remove_stale_member(&incarnation, &in_room, &user(number), event).await.unwrap();
                assert_eq!(last, model.remove(expired, (of, number)));
            }
        }
    }

    /// Compares the members that a node reads with the model, in one page and in several.
    async fn check_members(&self, node: usize) {
        for of in 0..ROOMS {
            let presence = &self.nodes[node].harness.backend.presence;
            let wanted = self.model.members(of, self.nodes[node].observing);
            let page = presence.members(&name(of), None, 10).await.unwrap();
            assert_eq!((page.members, page.count, page.more), (wanted.clone(), wanted.len() as u64, false));
            let page = presence.members(&name(of), Some(&user(0)), 1).await.unwrap();
            let rest: Vec<_> = wanted.iter().filter(|name| **name > user(0)).cloned().collect();
            assert_eq!(page.count, wanted.len() as u64);
            assert_eq!(page.more, rest.len() > 1);
            assert_eq!(page.members, rest.into_iter().take(1).collect::<Vec<_>>());
        }
    }

    /// Lets all nodes renew, recover and clean up: expired incarnations are forgotten, and live nodes have all their members.
    async fn settle(&mut self) {
        // Wait until claims and last leases expire.
        for _ in 0..2 {
            for node in 0..NODES {
                self.renew(node).await;
                self.recover(node).await;
            }
            for _ in 0..6 {
                self.wait(1).await;
                for node in 0..NODES {
                    self.renew(node).await;
                    assert!(self.nodes[node].lost.is_none(), "a renewed lease was lost");
                }
            }
        }
        while self.clean_up(0).await {}
        for node in 0..NODES {
            self.check_members(node).await;
        }
        for of in 0..ROOMS {
            let wanted: BTreeSet<UserName> = self
                .nodes
                .iter()
                .flat_map(|node| &node.wanted)
                .filter(|(wanted, _)| *wanted == of)
                .map(|(_, number)| user(*number))
                .collect();
            assert_eq!(
                self.model.members(of, self.nodes[0].observing),
                wanted.into_iter().collect::<Vec<_>>()
            );
        }
        let nodes = self.nodes[0].harness.backend.presence.nodes().await.unwrap();
        assert_eq!(nodes.len(), NODES, "expired nodes are still listed: {nodes:?}");
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
