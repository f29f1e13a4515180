//! The project as an operator has it: docker-compose.yml and deploy/ as they are, in a folder of the test's own. Owns that folder and
//! the commands that an operator gives in it; the containers belong to the engine. Used by the stories.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::engine::{Engine, printed};
use crate::http;
use crate::images;

/// Where the chat page is.
pub const PAGE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Where HAProxy's statistics are.
pub const STATISTICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8405);

/// The port of a node for operators.
const OPERATORS: u16 = 8081;

pub struct Project {
    pub engine: Engine,
    folder: PathBuf,
    compose: &'static [&'static str],
}

/// A container of the service `chat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub id: String,
    pub address: Ipv4Addr,
}

impl Project {
    /// The project with its images, and nothing started. `compose` is how the operator calls Docker Compose.
    pub fn new(engine: Engine, compose: &'static [&'static str]) -> Self {
        images::make(&engine);
        let folder = engine.path("chatnode");
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["docker-compose.yml", "deploy"] {
            let copied =
                std::process::Command::new("cp").arg("-r").arg(root().join(name)).arg(&folder).status();
            assert!(copied.unwrap().success());
        }
        Self { engine, folder, compose }
    }

    /// Runs Docker Compose; it has to succeed. Returns what it prints.
    pub async fn compose(&self, arguments: &str) -> String {
        let output = self.try_compose(arguments).await;
        printed(&format!("{} {arguments}", self.compose.join(" ")), &output)
    }

    /// Runs Docker Compose.
    pub async fn try_compose(&self, arguments: &str) -> Output {
        let mut command = self.engine.command(self.compose[0]);
        command.args(&self.compose[1..]).args(arguments.split_whitespace()).current_dir(&self.folder);
        tokio::process::Command::from(command).output().await.unwrap()
    }

    /// Runs lines of the handbook in a shell; they have to succeed. Returns what they print.
    pub async fn shell(&self, lines: &str) -> String {
        printed(lines, &self.try_shell(lines).await)
    }

    /// Runs lines of the handbook in a shell.
    pub async fn try_shell(&self, lines: &str) -> Output {
        let mut command = self.engine.command("sh");
        command.args(["-euxc", lines]).current_dir(&self.folder);
        tokio::process::Command::from(command).output().await.unwrap()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The lines of a block in docs/operations.md, from the one that begins so.
    pub fn handbook(&self, first: &str) -> String {
        let handbook = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
        let start = handbook.find(&format!("\n{first}")).unwrap_or_else(|| panic!("no line {first:?}")) + 1;
        let lines = handbook[start..].split_once("\n```").unwrap().0;
        lines.replace("docker compose", &self.compose.join(" "))
    }

    /// The image of the nodes.
    pub fn image_of_nodes(&self) -> String {
        images::named("chatnode")
    }

    /// The ends of the cables of a container that are in the network of the engine: one for each of its networks.
    pub fn cables(&self, node: &Node) -> Vec<String> {
        let state: Value = serde_json::from_str(&self.engine.docker(&["inspect", &node.id])).unwrap();
        let networks = state[0]["NetworkSettings"]["Networks"].as_object().unwrap();
        let macs: Vec<&str> =
            networks.values().map(|network| network["MacAddress"].as_str().unwrap()).collect();
        let known = std::process::Command::new("bridge").args(["fdb", "show"]).output().unwrap();
        let known = printed("bridge fdb show", &known);
        let of_node = known.lines().filter(|line| macs.iter().any(|mac| line.starts_with(mac)));
        of_node.filter_map(|line| Some(line.split_once(" dev ")?.1.split(' ').next()?.to_owned())).collect()
    }

    /// Whether the chat page answers.
    pub async fn shows_the_page(&self) -> Option<()> {
        http::get(PAGE, "/").await.filter(|(status, _)| *status == 200).map(drop)
    }

    /// How many nodes HAProxy sends clients to.
    pub async fn nodes_of_haproxy(&self) -> Option<usize> {
        let (_, table) = http::get(STATISTICS, "/;csv").await?;
        let servers = table.lines().filter(|line| line.starts_with("nodes,chat"));
        Some(servers.filter(|line| line.split(',').nth(17) == Some("UP")).count())
    }

    /// The running containers of the nodes.
    pub async fn nodes(&self) -> Vec<Node> {
        let ids = self.compose("ps -q chat").await;
        let mut nodes = Vec::new();
        for id in ids.split_whitespace() {
            let state: Value = serde_json::from_str(&self.engine.docker(&["inspect", id])).unwrap();
            let networks = state[0]["NetworkSettings"]["Networks"].as_object().unwrap();
            let (_, front) = networks.iter().find(|(name, _)| name.ends_with("front")).unwrap();
            if let Ok(address) = front["IPAddress"].as_str().unwrap().parse() {
                nodes.push(Node { id: id.to_owned(), address });
            }
        }
        nodes
    }
}

/// The folder of the project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Node {
    pub fn operators(&self) -> SocketAddr {
        (self.address, OPERATORS).into()
    }

    /// Whether it accepts clients.
    pub async fn is_ready(&self) -> bool {
        http::get(self.operators(), "/readyz").await.is_some_and(|(status, _)| status == 200)
    }

    /// Its open connections, if it answers.
    pub async fn connections(&self) -> Option<usize> {
        let (_, metrics) = http::get(self.operators(), "/metrics").await?;
        let line = metrics.lines().find_map(|line| line.strip_prefix("chat_connections "))?;
        line.parse().ok()
    }
}
