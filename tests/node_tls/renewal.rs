//! Certificates that change while the node runs.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::certificates::{Certificates, localhost};
use super::tunnel::Tunnel;
use crate::support::client::Client;
use crate::support::cluster::until;
use crate::support::program::Program;

/// The certificate that the node shows.
async fn shown(node: &Program, certificates: &Certificates) -> CertificateDer<'static> {
    let socket = TcpStream::connect(node.address).await.unwrap();
    let mut tls = certificates.connector().connect(localhost(), socket).await.unwrap();
    let shown = tls.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
    tls.shutdown().await.unwrap();
    shown
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewed_certificate_needs_no_restart() {
    let certificates = Certificates::new();
    let file = certificates.text("node");
    let settings = [("CHAT_TLS__CERT_FILE", file.as_str()), ("CHAT_TLS__KEY_FILE", &file)];
    let mut node = Program::start(&settings);
    let first = certificates.certificate("node");
    assert_eq!(shown(&node, &certificates).await, first);
    let tunnel = Tunnel::to(node.address, &certificates).await;
    let mut alice = Client::enter(tunnel.address, "alice", "ops").await;

    certificates.sign("second");
    let second = certificates.certificate("second");
    certificates.replace_node("second");
    until("the new certificate is shown", async || shown(&node, &certificates).await == second).await;
    alice.say("ops", "still here").await;
    let mut bob = Client::enter(tunnel.address, "bob", "ops").await;
    bob.say("ops", "new here").await;
    assert_eq!((alice.hears().await, alice.hears().await), ("still here".into(), "new here".into()));

    std::fs::write(certificates.path("broken"), "").unwrap();
    certificates.replace_node("broken");
    until("the broken file is in the log", async || node.log().contains("can't use the changed TLS")).await;
    assert_eq!(shown(&node, &certificates).await, second);
    certificates.sign("third");
    let third = certificates.certificate("third");
    certificates.replace_node("third");
    until("the third certificate is shown", async || shown(&node, &certificates).await == third).await;
    alice.say("ops", "all the time").await;
    let log = node.stop();
    assert_eq!(log.matches("can't use the changed TLS certificate").count(), 1, "{log}");
    assert_eq!(log.matches("read the changed TLS certificate").count(), 2, "{log}");
    assert!(log.contains("it contains no certificate"), "{log}");
}
