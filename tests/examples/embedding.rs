//! A web site with a chat (docs/embedding.md): its token endpoint in three languages, and its page in Chromium over TLS, under the
//! site's own policy and from its own origin.

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpSocket;

use super::browser::Browser;
use super::site::{Language, SECRET, SESSION, SITE_KEY, Site, trusts_the_site};
use super::support::api::call;
use super::support::authority::Authority;
use super::support::client::{Client, PATIENCE};
use super::support::cluster::{Cluster, Kind, metric, until};

async fn gives_tokens_to_users_who_are_signed_in(language: Language) {
    let cluster = Cluster::start_with(Kind::Embedded, 1, trusts_the_site).await;
    let api = format!("http://{}", cluster.nodes[0].operators);
    let with_key =
        [("CHAT_URL", "wss://chat.example.com/ws"), ("CHAT_API", &api), ("CHAT_API_KEY", SITE_KEY)];
    let cookie = format!("theme=dark; session={}", SESSION.0);
    for more in [&[][..], &[("CHAT_JWT_SECRET", SECRET)]] {
        let site = Site::start(language, 0, &[&with_key, more].concat()).await;
        for (method, cookie, statuses) in [
            ("POST", "theme=dark", &["401"][..]),
            ("POST", "session=s-1234", &["401"]),
            // Python's server does not know methods that it has no function for.
            ("GET", &cookie, &["405", "501"]),
        ] {
            let (head, answer) = site.token(method, cookie).await;
            assert!(
                statuses.contains(&head.split(' ').nth(1).unwrap()),
                "{language:?} {method} {cookie}: {head}"
            );
            assert!(answer["token"].is_null(), "{answer}");
        }
        let (head, answer) = site.token("POST", &cookie).await;
        assert!(head.contains(" 200 ") && head.contains("cache-control: no-store"), "{language:?}: {head}");
        assert_eq!(
            (&answer["username"], &answer["url"]),
            (&json!("alice"), &json!("wss://chat.example.com/ws"))
        );
        let token = answer["token"].as_str().unwrap();
        assert_eq!(token.contains('.'), !more.is_empty(), "{token}");
        let header = [("authorization", format!("Bearer {token}"))];
        let mut alice = Client::connect_with(cluster.address(0), "alice", &header).await.unwrap();
        alice.ok("Enter", json!({ "room": "lobby" })).await;
        alice
            .refused("Enter", json!({ "sender_username": "bob", "room": "lobby" }), "identity_mismatch")
            .await;
    }
    let wrong = [with_key[0], with_key[1], ("CHAT_API_KEY", "another-key-of-16-letters")];
    let site = Site::start(language, 0, &wrong).await;
    let (head, answer) = site.token("POST", &cookie).await;
    assert!(head.contains(" 503 ") && answer["token"].is_null(), "{language:?}: {head} {answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn site_in_node_gives_tokens_to_its_users() {
    gives_tokens_to_users_who_are_signed_in(Language::Node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn site_in_python_gives_tokens_to_its_users() {
    gives_tokens_to_users_who_are_signed_in(Language::Python).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn site_in_rust_gives_tokens_to_its_users() {
    gives_tokens_to_users_who_are_signed_in(Language::Rust).await;
}

/// A page in the browser.
struct Page(Browser);

impl Page {
    async fn open(&self, url: &str) {
        self.0.post("/url", json!({ "url": url })).await;
    }

    async fn js(&self, expression: &str) -> Value {
        let script = json!({ "script": format!("return {expression}"), "args": [] });
        self.0.post("/execute/sync", script).await
    }

    async fn sees(&self, what: &str, expression: &str, wanted: Value) {
        until(what, async || self.js(expression).await == wanted).await;
    }

    /// As the site's sign-in does, with a cookie that scripts can't read.
    async fn sign_in(&self) {
        let cookie = json!({ "name": "session", "value": SESSION.0, "httpOnly": true, "sameSite": "Lax" });
        self.0.post("/cookie", json!({ "cookie": cookie })).await;
    }
}

/// Notes what the policy of the page refuses.
const WATCH: &str = "(window.refused = [],
    document.addEventListener('securitypolicyviolation', (event) => refused.push(event.violatedDirective)), 0)";

/// The lines of the page.
const LINES: &str = "Array.from(document.querySelectorAll('li'), (line) => line.textContent)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_of_the_site_chats_under_its_policy() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::create(folder.path(), "authority");
    authority.sign(folder.path(), "node", "localhost", 2099);
    let (certificate, trusted) = (folder.path().join("node.pem"), folder.path().join("authority.pem"));
    // The node has to know the site's origin, and the site the node's address. Until the site listens, and as long as this socket is
    // there, nobody else gets the port: both allow to use an address that no socket listens on.
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.set_reuseaddr(true).unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = reserved.local_addr().unwrap().port();
    let origin = format!("http://localhost:{port}");
    let settings = |config: &mut chatnode::config::Config| {
        trusts_the_site(config);
        config.tls.cert_file = Some(certificate.clone());
        config.tls.key_file = Some(certificate.clone());
        config.server.allowed_origins = vec![origin.clone()];
        config.server.pong_timeout = PATIENCE;
    };
    let (cluster, browser) =
        tokio::join!(Cluster::start_with(Kind::Embedded, 1, settings), Browser::start_trusting(&trusted));
    let (page, operators) = (Page(browser), cluster.nodes[0].operators);
    let (url, api) =
        (format!("wss://localhost:{}/ws", cluster.address(0).port()), format!("http://{operators}"));
    let variables =
        [("CHAT_URL", url.as_str()), ("CHAT_API", &api), ("CHAT_API_KEY", SITE_KEY), ("TOKEN_SECONDS", "62")];
    let _site = Site::start(Language::Node, port, &variables).await;

    page.open(&format!("{origin}/")).await;
    page.sees("that nobody is signed in", LINES, json!(["-- sign in first"])).await;
    page.sign_in().await;
    page.open(&format!("{origin}/")).await;
    page.sees("that alice is signed in", "document.getElementById('form').hidden", json!(false)).await;
    page.js(WATCH).await;
    page.js("(document.getElementById('text').value = 'hello', form.requestSubmit(), 0)").await;
    page.sees("the message", LINES, json!(["alice: hello"])).await;
    // Others can write anything.
    let body = json!({ "sender_username": "bot", "content": "<b>hi</b>" });
    assert_eq!(call(operators, "POST", "/rooms/lobby/messages", body).await.0, 201);
    page.sees("text, not HTML", LINES, json!(["alice: hello", "bot: <b>hi</b>"])).await;
    let asked =
        "performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('/chat-token')).length";
    page.sees("that the token is renewed", &format!("{asked} >= 2"), json!(true)).await;
    assert_eq!(page.js("refused").await, json!([]));
    page.js("(fetch('https://elsewhere.invalid/').catch(() => {}), 0)").await;
    page.sees("that the policy is in force", "refused.includes('connect-src')", json!(true)).await;

    // The same site under a name that the node does not know as an origin.
    let refused = async || metric(operators, "chat_handshakes_total{result=\"bad_origin\"}").await;
    let before = refused().await;
    page.open(&format!("http://127.0.0.1:{port}/")).await;
    page.sign_in().await;
    page.open(&format!("http://127.0.0.1:{port}/")).await;
    until("the origin is refused", async || refused().await > before).await;
    assert_eq!(page.js(LINES).await, json!([]));
}
