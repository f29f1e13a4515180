//! Which handshakes succeed: versions, ALPN, and clients that speak no TLS.

use std::process::Stdio;
use std::time::{Duration, Instant};

use chatnode_client::ConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::certificates::{Certificates, localhost};
use crate::support::client::PATIENCE;
use crate::support::cluster::{Cluster, raw};

/// What OpenSSL says of a handshake with these options.
async fn openssl(cluster: &Cluster, certificates: &Certificates, options: &[&str]) -> String {
    let address = cluster.address(0).to_string();
    let authority = certificates.text("authority");
    let mut command = tokio::process::Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-servername", "localhost", "-CAfile", &authority]);
    command.args(["-verify_hostname", "localhost"]).args(options).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.expect("openssl does not end").unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_gets_tls_1_2_and_1_3_with_http_1_1() {
    let certificates = Certificates::new();
    let cluster = certificates.cluster(1, |_| {}).await;
    for (options, expected) in [
        (&["-tls1_2"][..], &["TLSv1.2", "Verify return code: 0"][..]),
        (&["-tls1_3"], &["TLSv1.3", "Verification: OK", "Verified peername: localhost"]),
        (&["-alpn", "h2,http/1.1"], &["ALPN protocol: http/1.1", "Verification: OK"]),
        (&["-alpn", "h2"], &["alert no application protocol"]),
        (&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], &["New, (NONE)", "alert"]),
    ] {
        let said = openssl(&cluster, &certificates, options).await;
        assert!(expected.iter().all(|part| said.contains(part)), "{options:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn library_of_clients_talks_over_tls() {
    let certificates = Certificates::new();
    let cluster = certificates.cluster(1, |_| {}).await;
    let connect = |trusted: &str| {
        ConnectOptions::new(format!("wss://localhost:{}/", cluster.address(0).port()))
            .user("bot")
            .root_certificates(certificates.path(trusted))
    };
    let (client, _events) = connect("authority").connect().await.unwrap();
    client.join("ops").await.unwrap();
    client.send("ops", "over TLS").await.unwrap();
    certificates.sign("stranger");
    let refused = connect("stranger").connect().await.unwrap_err().to_string();
    assert!(refused.contains("not signed by an authority"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_and_probes_are_served_over_tls() {
    let certificates = Certificates::new();
    let mut cluster = certificates.cluster(0, |config| config.internal.port = None).await;
    // Its probes are behind TLS as well.
    cluster.add_unready_node().await;
    for (path, expected) in [("/", "<!doctype html>"), ("/healthz", "ok")] {
        let socket = TcpStream::connect(cluster.address(0)).await.unwrap();
        let mut tls = certificates.connector().connect(localhost(), socket).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        tls.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // The end is announced: nobody cut the answer.
        timeout(PATIENCE, tls.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.to_lowercase().contains(expected), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http_is_told_to_use_tls() {
    let certificates = Certificates::new();
    let cluster = certificates.cluster(1, |_| {}).await;
    let long = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n{}", "x".repeat(50_000));
    for request in ["GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "G", &long] {
        let answer = raw(cluster.address(0), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer:?}");
        assert!(answer.ends_with("use https:// for the page, and wss:// for the WebSocket\n"), "{answer:?}");
    }
    // TLS on the port of operators.
    let socket = TcpStream::connect(cluster.nodes[0].operators).await.unwrap();
    let refused = certificates.connector().connect(localhost(), socket).await.unwrap_err();
    assert!(refused.to_string().contains("InvalidContentType"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_silence_end_the_handshake() {
    let certificates = Certificates::new();
    let deadline = Duration::from_millis(500);
    let cluster = certificates.cluster(1, |config| config.server.handshake_timeout = deadline).await;
    let begun = Instant::now();
    // A greeting of the client without content gets an alert.
    let answer = raw(cluster.address(0), b"\x16\x03\x01\x00\x04\x01\0\0\0").await;
    assert!(answer.as_bytes().starts_with(b"\x15\x03"), "{answer:?}");
    raw(cluster.address(0), b"\0\0\0\0\0\0\0\0").await;
    assert!(begun.elapsed() < deadline, "they end at once");
    for beginning in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"] {
        let begun = Instant::now();
        assert_eq!(raw(cluster.address(0), beginning).await, "");
        assert!(begun.elapsed() >= deadline, "{beginning:?} {:?}", begun.elapsed());
    }
}
