//! TLS to a node behind a load balancer, with the commands and with the Rust client: HAProxy with certificates made here.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod support;

use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chatnode_client::tls::TrustError;
use chatnode_client::{AddressError, ConnectError, ConnectOptions};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

use support::api::{KEY, with_api};
use support::authority::Authority;
use support::client::{Client, PATIENCE};
use support::cluster::{Cluster, Kind};
use support::jwt::{Answer, KeyServer, SigningKey};
use support::program::Program;

/// The keys of an identity provider come over TLS, from a server that an authority vouches for; from another, none is taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_jwts_come_from_a_trusted_server() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::create(folder.path(), "authority");
    authority.sign(folder.path(), "keys", "localhost", 2099);
    Authority::create(folder.path(), "stranger");
    let path = |name: &str| folder.path().join(format!("{name}.pem"));
    let chain = vec![CertificateDer::from_pem_file(path("keys")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(path("keys")).unwrap();
    let tls = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
    let tls = tls.with_safe_default_protocol_versions().unwrap();
    let tls = Arc::new(tls.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let key = SigningKey::new("1");
    let server = KeyServer::start_with_tls(tls, Answer::Keys(vec![key.jwk()])).await;
    let url = format!("https://localhost:{}/keys?v=1", server.port());
    for (trusted, expected) in [("authority", "ok"), ("stranger", "unavailable")] {
        let mut node = Program::start(&[
            ("CHAT_AUTH__ENABLED", "true"),
            ("CHAT_AUTH__JWT__ALGORITHMS", "ES256"),
            ("CHAT_AUTH__JWT__JWKS_URL", &url),
            ("SSL_CERT_FILE", &path(trusted).display().to_string()),
        ]);
        let mut alice = Client::connect(node.address, "alice").await;
        alice.token = Some(key.token("alice"));
        let answer = alice.ask("Ping", json!({})).await;
        assert_eq!(answer["message_body"]["code"].as_str().unwrap_or("ok"), expected);
        let log = node.stop();
        assert_eq!(log.contains("is not signed by an authority"), expected == "unavailable", "{log}");
    }
}

/// A load balancer in front of one node. Killed when dropped.
struct Balancer {
    child: Child,
    folder: TempDir,
    port: u16,
    /// The port with an expired certificate.
    expired: u16,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Balancer {
    async fn start(cluster: &Cluster) -> Self {
        let folder = TempDir::new().unwrap();
        let here = folder.path();
        let authority = Authority::create(here, "authority");
        authority.sign(here, "good", "localhost", 2099);
        authority.sign(here, "expired", "localhost", 2020);
        Authority::create(here, "stranger");
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [port, expired] = free.map(|listener| listener.local_addr().unwrap().port());
        let (good, old, node) = (here.join("good.pem"), here.join("expired.pem"), cluster.address(0));
        let config = format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n timeout tunnel 1h\n\
             frontend tls\n bind 127.0.0.1:{port} ssl crt {}\n bind 127.0.0.1:{expired} ssl crt {}\n\
             \u{20}default_backend nodes\nbackend nodes\n server node {node}\n",
            good.display(),
            old.display()
        );
        std::fs::write(here.join("haproxy.cfg"), config).unwrap();
        let mut haproxy = Command::new("haproxy");
        haproxy.arg("-db").arg("-f").arg(here.join("haproxy.cfg"));
        // Debian has it in /usr/sbin, which is not on the PATH of every user.
        haproxy.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap()));
        let child = haproxy.stdin(Stdio::null()).spawn().expect("haproxy is missing; tests/run installs it");
        let balancer = Self { child, folder, port, expired };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(Instant::now() < deadline, "HAProxy does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        balancer
    }

    /// Runs a command to its end. It trusts the root certificates in a file, and gets one line of input.
    async fn run(&self, trusting: &str, args: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_chatnode"));
        command
            .args(args)
            .env_clear()
            .env("SSL_CERT_FILE", self.folder.path().join(trusting))
            .env("CHAT_AUTH__ADMIN_KEY", KEY)
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        // The command may end before it reads.
        let _ = child.stdin.take().unwrap().write_all(b"over TLS\n").await;
        timeout(PATIENCE, child.wait_with_output()).await.expect("the command does not end").unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_reach_a_node_behind_tls() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, with_api).await;
    let balancer = Balancer::start(&cluster).await;
    let mut reader = cluster.enter(0, "reader", "ops").await;
    for scheme in ["wss", "https"] {
        let url = format!("{scheme}://localhost:{}/", balancer.port);
        let output = balancer.run("authority.pem", &["chat", &url, "--room", "ops", "--name", "bot"]).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(reader.next("GroupChat").await["content"], json!("over TLS"));
    }
    let url = format!("https://localhost:{}", balancer.port);
    let output = balancer.run("authority.pem", &["health", "--url", &url]).await;
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"ok\n"[..]), "{output:?}");
    let output = balancer.run("authority.pem", &["token", "issue", "ann", "--url", &url]).await;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 37), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_certificate_is_refused_with_the_reason() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, with_api).await;
    let balancer = Balancer::start(&cluster).await;
    std::fs::write(balancer.folder.path().join("empty.pem"), "").unwrap();
    let good = format!("localhost:{}", balancer.port);
    for (trusting, authority, code, said) in [
        ("stranger.pem", &good, 1, "not signed by an authority that this machine trusts"),
        ("authority.pem", &format!("127.0.0.1:{}", balancer.port), 1, "is for another host"),
        ("authority.pem", &format!("localhost:{}", balancer.expired), 1, "has expired"),
        ("authority.pem", &format!("localhost:{}", cluster.address(0).port()), 1, "does not speak TLS"),
        ("empty.pem", &good, 2, "SSL_CERT_FILE"),
    ] {
        let (chat, api) = (format!("wss://{authority}/"), format!("https://{authority}/"));
        for args in [
            &["chat", &chat, "--name", "bot"][..],
            &["health", "--url", &api],
            &["token", "issue", "ann", "--url", &api],
        ] {
            let output = balancer.run(trusting, args).await;
            let errors = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
            assert!(errors.contains(said), "{args:?}: {errors}");
            assert!(output.stdout.is_empty() && !errors.contains(KEY));
        }
    }
}

/// A program can name the root certificates that its client trusts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_client_trusts_the_roots_of_its_options() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, with_api).await;
    let balancer = Balancer::start(&cluster).await;
    let mut reader = cluster.enter(0, "reader", "ops").await;
    let options = |roots: &str| {
        ConnectOptions::new(format!("wss://localhost:{}/", balancer.port))
            .user("bot")
            .header("X-Region", "eu")
            .root_certificates(balancer.folder.path().join(roots))
    };
    let (client, _events) = options("authority.pem").connect().await.unwrap();
    client.join("ops").await.unwrap();
    client.send("ops", "over TLS").await.unwrap();
    assert_eq!(reader.next("GroupChat").await["content"], json!("over TLS"));

    let refused = options("stranger.pem").connect().await.unwrap_err();
    assert!(refused.to_string().contains("not signed by an authority"), "{refused}");
    let missing = options("missing.pem").connect().await.unwrap_err();
    assert!(
        matches!(&missing, ConnectError::Address(AddressError::Tls(TrustError::NoRootsIn(..)))),
        "{missing}"
    );
}
