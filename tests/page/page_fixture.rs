//! Two nodes behind one address, and a browser: the start of most tests of the page. Owns these three, not what happens
//! with them.

use chatnode::config::Config;

use super::browser::Browser;
use super::engine::Engine;
use super::person::{PATIENCE, Person};
use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind};
use crate::support::fake_balancer::FakeBalancer;

/// Nodes, their load balancer, and a browser with a window for each person.
pub struct PageFixture {
    pub browser: Browser,
    pub balancer: FakeBalancer,
    pub cluster: Cluster,
}

impl PageFixture {
    pub async fn start() -> Self {
        Self::start_with(Kind::Embedded, |_| {}).await
    }

    /// The same in another browser.
    pub async fn start_in(engine: Engine) -> Self {
        Self::launch(Kind::Embedded, |_| {}, engine).await
    }

    /// The same, with another store and other settings.
    pub async fn start_with(kind: Kind, adjust: impl FnOnce(&mut Config)) -> Self {
        Self::launch(kind, adjust, Engine::Chromium).await
    }

    async fn launch(kind: Kind, adjust: impl FnOnce(&mut Config), engine: Engine) -> Self {
        let settings = |config: &mut Config| {
            // A test client answers pings only while it is read, and a browser may take long on a busy machine.
            config.server.pong_timeout = PATIENCE;
            adjust(config);
        };
        let (cluster, browser) =
            tokio::join!(Cluster::start_with(kind, 2, settings), Browser::start_headless(engine));
        let balancer = FakeBalancer::start(vec![cluster.address(0), cluster.address(1)]).await;
        Self { browser, balancer, cluster }
    }

    /// The address of the page with a conversation to open.
    pub fn link(&self, key: &str) -> String {
        format!("http://{}/#{key}", self.balancer.address)
    }

    /// A user of the page, signed in through this node, with this conversation open.
    pub async fn person(&self, node: usize, name: &str, key: &str) -> Person<'_> {
        self.balancer.prefer(self.cluster.address(node));
        Person::signs_in(&self.browser, &self.link(key), name).await
    }

    /// A user with a test client instead of the page, in a room.
    pub async fn other(&self, node: usize, name: &str, room: &str) -> Client {
        self.cluster.enter(node, name, room).await
    }
}
