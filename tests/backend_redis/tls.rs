//! TLS to Redis, with certificates made here: what works, and what each refused certificate is called.

use std::path::{Path, PathBuf};

use chatnode::backend::redis::connect;
use chatnode::config::{Config, RedisTls};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::authority::Authority;
use crate::support::backend::{Harness, bodies, room};
use crate::support::listener::Listener;
use crate::support::redis_server::RedisServer;

/// A Redis with TLS, and its certificates.
struct TlsServer {
    redis: RedisServer,
    folder: TempDir,
}

impl TlsServer {
    /// Shows the certificate `shown`: `good`, `expired`, `other` or `root`.
    fn start(shown: &str, asks_for_certificates: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let authority = Authority::create(folder.path(), "authority");
        authority.sign(folder.path(), "good", "localhost", 2099);
        authority.sign(folder.path(), "expired", "localhost", 2020);
        authority.sign(folder.path(), "other", "redis.internal", 2099);
        Authority::create_self_signed(folder.path(), "root");
        Authority::create(folder.path(), "stranger").sign(folder.path(), "strange", "node", 2099);
        let file = |name: &str| path(folder.path(), name).display().to_string();
        let redis = RedisServer::start_with(&[
            "--appendonly",
            "no",
            "--tls-cert-file",
            &file(shown),
            "--tls-key-file",
            &file(shown),
            "--tls-ca-cert-file",
            &file("authority"),
            "--tls-auth-clients",
            asks_for_certificates,
        ]);
        Self { redis, folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        path(self.folder.path(), name)
    }

    /// Settings of a node that trusts `authority`.
    fn settings(&self, config: &mut Config, trusted: &str) {
        config.redis.url = Some(format!("rediss://localhost:{}", self.redis.peer_port()).into());
        config.redis.tls.ca_file = Some(self.file(trusted));
    }
}

fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.pem"))
}

/// The first warning at the start of a node.
async fn warning(config: &Config) -> String {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let (_backend, warnings) = connect(config, Listener::new(), &tasks, stop.clone()).await.unwrap();
    stop.cancel();
    warnings[0].clone()
}

async fn works(node: &Harness) {
    node.ready().await;
    let lobby = room("lobby");
    node.subscribe(&lobby).await;
    let known = node.listener.entries(&lobby).len();
    node.say(&lobby, "hi").await;
    assert_eq!(bodies(&node.listener.messages(&lobby, known + 1).await).last(), Some(&"hi"));
    // The pool.
    node.backend.presence.renew().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn node_works_over_tls() {
    let server = TlsServer::start("good", "no");
    let node = Harness::redis_unready("", |config| server.settings(config, "authority")).await;
    works(&node).await;
    node.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_shows_its_certificate_to_a_redis_that_asks() {
    let server = TlsServer::start("other", "yes");
    let node = Harness::redis_unready("", |config| {
        server.settings(config, "authority");
        config.redis.tls.cert_file = Some(server.file("good"));
        config.redis.tls.key_file = Some(server.file("good"));
        config.redis.tls.server_name = Some("redis.internal".into());
    })
    .await;
    works(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refused_certificate_is_named_with_the_way_out() {
    let none: fn(&TlsServer, &mut RedisTls) = |_, _| {};
    let strange: fn(&TlsServer, &mut RedisTls) = |server, tls| {
        tls.cert_file = Some(server.file("strange"));
        tls.key_file = Some(server.file("strange"));
    };
    for (shown, asks, trusted, tune, what) in [
        ("good", "no", "stranger", none, "is not signed by an authority in"),
        ("expired", "no", "authority", none, "has expired, renew it"),
        ("other", "no", "authority", none, "is for another name"),
        ("root", "no", "root", none, "sign a certificate for Redis with it"),
        ("good", "yes", "authority", none, "set redis.tls.cert_file and redis.tls.key_file"),
        ("good", "yes", "authority", strange, "Redis refuses the client certificate"),
    ] {
        let server = TlsServer::start(shown, asks);
        let mut config = Config::default();
        server.settings(&mut config, trusted);
        tune(&server, &mut config.redis.tls);
        let warned = warning(&config).await;
        assert!(warned.contains(what) && warned.lines().count() == 1, "{shown} {asks} {trusted}: {warned}");
    }
    let plain = RedisServer::start();
    let mut config = Config::default();
    TlsServer::start("good", "no").settings(&mut config, "authority");
    let error = connect(&config, Listener::new(), &TaskTracker::new(), CancellationToken::new()).await;
    assert!(error.err().unwrap().to_string().contains("redis.tls.ca_file"), "the file is gone");
    let server = TlsServer::start("good", "no");
    server.settings(&mut config, "authority");
    config.redis.url = Some(format!("rediss://localhost:{}", plain.port()).into());
    let warned = warning(&config).await;
    assert!(warned.contains("does not speak TLS there"), "{warned}");
    config.redis.url = Some(format!("redis://localhost:{}", server.redis.peer_port()).into());
    let warned = warning(&config).await;
    assert!(warned.contains("for a port with TLS, use rediss://"), "{warned}");
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_certificates_need_no_restart() {
    let server = TlsServer::start("expired", "no");
    std::fs::copy(server.file("stranger"), server.file("trusted")).unwrap();
    let node = Harness::redis_unready("", |config| server.settings(config, "trusted")).await;
    assert!(!node.backend.broker.ready());
    let file = server.file("good").display().to_string();
    server.redis.command(&["CONFIG", "SET", "tls-cert-file", &file, "tls-key-file", &file]).unwrap();
    std::fs::copy(server.file("authority"), server.file("trusted")).unwrap();
    works(&node).await;
}
