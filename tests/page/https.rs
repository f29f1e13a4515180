//! The page over TLS, from a node with its own certificate and without a balancer. Chromium trusts the authority of the
//! certificate as it would another one, and checks the name: no flag of it turns a check off.

use serde_json::json;
use tempfile::TempDir;

use super::browser::Browser;
use super::person::{PATIENCE, Person};
use crate::support::authority::Authority;
use crate::support::cluster::{Cluster, Kind};

/// Notes what the policy of the page refuses.
const WATCH: &str = "(window.refused = [],
    document.addEventListener('securitypolicyviolation', (event) => refused.push(event.violatedDirective)), 0)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_chat_over_tls_in_the_node() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::create(folder.path(), "authority");
    authority.sign(folder.path(), "node", "localhost", 2099);
    let certificate = folder.path().join("node.pem");
    let trusted = folder.path().join("authority.pem");
    let settings = |config: &mut chatnode::config::Config| {
        config.tls.cert_file = Some(certificate.clone());
        config.tls.key_file = Some(certificate.clone());
        config.internal.port = Some(0);
        config.server.pong_timeout = PATIENCE;
    };
    let (cluster, browser) =
        tokio::join!(Cluster::start_with(Kind::Embedded, 1, settings), Browser::start_trusting(&trusted));
    let port = cluster.address(0).port();

    // The certificate is not for this name, so the browser does check it.
    let stranger = Person::visits(&browser, &format!("https://127.0.0.1:{port}/")).await;
    stranger
        .sees(
            "the name in the certificate is another one",
            "document.body?.textContent.includes('ERR_CERT_COMMON_NAME_INVALID')",
        )
        .await;

    let link = format!("https://localhost:{port}/#room=ops");
    let alice = Person::signs_in(&browser, &link, "alice").await;
    let bob = Person::signs_in(&browser, &link, "bob").await;
    alice.js(WATCH).await;
    // The port speaks nothing but TLS, so what arrives came over wss.
    alice.says("hello").await;
    bob.sees_messages(&["hello"]).await;
    bob.says("over TLS").await;
    alice.sees_messages(&["hello", "over TLS"]).await;
    assert_eq!(alice.js("isSecureContext").await, true);
    // The policy of the page let this pass, and is in force: the page can't connect to another host.
    assert_eq!(alice.js("window.refused").await, json!([]));
    alice.js("(fetch('https://elsewhere.invalid/').catch(() => {}), 0)").await;
    alice.sees("the policy is in force", "window.refused.includes('connect-src')").await;
}
