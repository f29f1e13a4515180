//! A web site with a chat, in each of the languages of `examples/embedding/`. Owns its process, and the settings of nodes that trust it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use chatnode::config::Config;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::rust_site;
use super::support::api::with_tokens;
use super::support::cluster::raw;

/// The key of the site, which may only issue tokens.
pub const SITE_KEY: &str = "Tn5r-3wXc8-Gk1z-Vb6y";

/// The secret with which the site signs tokens itself.
pub const SECRET: &str = "kQ3v-9tLw-8XzR-2mNb-5pYc-7sHd-4f";

/// The session of a user who is signed in: the value of the cookie, and the name.
pub const SESSION: (&str, &str) = ("s-4711", "alice");

/// Nodes that trust the site, as docs/embedding.md sets them up.
pub fn trusts_the_site(config: &mut Config) {
    with_tokens(config);
    config.internal.port = Some(0);
    config.auth.api_keys = vec![format!("site:tokens:{SITE_KEY}").into()];
    config.auth.jwt.algorithms = vec!["HS256".into()];
    config.auth.jwt.hmac_secret = Some(SECRET.into());
    config.auth.jwt.issuer = Some("https://app.example.com".into());
    config.auth.jwt.audience = vec!["chat".into()];
}

/// What the site is written in.
#[derive(Debug, Clone, Copy)]
pub enum Language {
    Node,
    Python,
    Rust,
}

/// A site that runs. Dropping it ends it.
pub struct Site {
    pub address: SocketAddr,
    running: Running,
}

enum Running {
    Process(Child),
    Task(JoinHandle<()>),
}

impl Drop for Site {
    fn drop(&mut self) {
        match &mut self.running {
            Running::Process(child) => {
                // It may have ended already.
                let _ = child.kill();
                let _ = child.wait();
            }
            Running::Task(task) => task.abort(),
        }
    }
}

impl Site {
    /// Starts it on this port (0: any), with these variables.
    pub async fn start(language: Language, port: u16, variables: &[(&str, &str)]) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/embedding");
        let sessions = format!("{{\"{}\":\"{}\"}}", SESSION.0, SESSION.1);
        let mut command = match language {
            Language::Node => Command::new("node"),
            Language::Python => Command::new("python3"),
            Language::Rust => return Self::in_rust(port, variables).await,
        };
        command.arg(format!(
            "{folder}/{}",
            if matches!(language, Language::Node) { "site.mjs" } else { "site.py" }
        ));
        command.env("PORT", port.to_string()).env("SESSIONS", sessions).envs(variables.iter().copied());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().rsplit("http://").next().and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("{language:?} says {line:?}"));
        Self { address, running: Running::Process(child) }
    }

    async fn in_rust(port: u16, variables: &[(&str, &str)]) -> Self {
        let read = |wanted: &str| {
            variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned())
        };
        let site = rust_site::Site {
            chat_url: read("CHAT_URL").unwrap(),
            api: (read("CHAT_API").unwrap(), read("CHAT_API_KEY").unwrap()),
            jwt_secret: read("CHAT_JWT_SECRET"),
            token_seconds: 3_600,
            sessions: [SESSION].map(|(session, user)| (session.into(), user.into())).into(),
        };
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = async move { axum::serve(listener, rust_site::routes(site)).await.unwrap() };
        Self { address, running: Running::Task(tokio::spawn(serving)) }
    }

    /// Asks for a token: the head of the answer in small letters, and its JSON (null if there is none).
    pub async fn token(&self, method: &str, cookie: &str) -> (String, Value) {
        let request = format!(
            "{method} /chat-token HTTP/1.1\r\nHost: {}\r\nCookie: {cookie}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.address
        );
        let answer = raw(self.address, request.as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        // Node sends it as a chunk, with its length before it.
        let json = body.find('{').zip(body.rfind('}')).map_or("null", |(from, to)| &body[from..=to]);
        (head.to_lowercase(), serde_json::from_str(json).unwrap())
    }
}
