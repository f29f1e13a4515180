//! Which web sites may connect, and what a refused one and its operator are told.

use serde_json::Value;

use crate::support::cluster::{Cluster, Kind};
use crate::support::program::Program;
use crate::support::raw::{Head, RawSocket};

async fn upgrade_at(address: std::net::SocketAddr, headers: &str) -> (Head, String) {
    let mut socket = RawSocket::connect(address).await;
    socket.send(RawSocket::upgrade_request(headers).as_bytes()).await;
    let head = socket.head().await;
    let length = if head.status == 101 { 0 } else { head.header("content-length").parse().unwrap() };
    let body = socket.read_bytes(length).await;
    (head, String::from_utf8(body).unwrap())
}

/// Requests an upgrade with more headers, and returns the head and the body of the answer.
async fn upgrade(cluster: &Cluster, headers: &str) -> (Head, String) {
    upgrade_at(cluster.address(0), headers).await
}

async fn status_for(cluster: &Cluster, origin: &str) -> u16 {
    upgrade(cluster, &format!("Origin: {origin}\r\n")).await.0.status
}

#[tokio::test]
async fn only_pages_of_the_same_host_and_port_may_connect() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    for (origin, status) in [
        ("http://chat.example.com", 101),
        ("https://chat.example.com", 101),
        ("https://CHAT.example.com", 101),
        ("https://chat.example.com:443", 101),
        ("http://chat.example.com:80", 101),
        // Some programs send the address of the site.
        ("https://chat.example.com/", 101),
        ("https://chat.example.com:443/", 101),
        ("https://chat.example.com//", 403),
        ("https://example.com/", 403),
        ("http://chat.example.com:443", 403),
        ("https://chat.example.com:8443", 403),
        ("https://example.com", 403),
        ("https://chat.example.com.evil.example", 403),
        ("https://evilchat.example.com", 403),
        ("https://evil.example/chat.example.com", 403),
        ("null", 403),
        ("", 403),
        ("chat.example.com", 403),
    ] {
        assert_eq!(status_for(&cluster, origin).await, status, "{origin}");
    }
    // Programs send none.
    assert_eq!(upgrade(&cluster, "").await.0.status, 101);
}

#[tokio::test]
async fn allowed_origins_add_to_the_own_page() {
    let allowed = |c: &mut chatnode::config::Config| {
        c.server.allowed_origins = vec!["https://app.example.org".into(), "http://localhost:3000".into()];
    };
    let cluster = Cluster::start_with(Kind::Embedded, 1, allowed).await;
    for (origin, status) in [
        ("https://app.example.org", 101),
        ("https://app.example.org:443", 101),
        ("https://app.example.org/", 101),
        ("http://localhost:3000", 101),
        ("http://localhost", 403),
        ("http://app.example.org", 403),
        ("https://app.example.org:8443", 403),
        // The node's own page, and another port of its host.
        ("https://chat.example.com", 101),
        ("https://chat.example.com:8443", 403),
        ("null", 403),
    ] {
        assert_eq!(status_for(&cluster, origin).await, status, "{origin}");
    }
    let cluster =
        Cluster::start_with(Kind::Embedded, 1, |c| c.server.allowed_origins = vec!["*".into()]).await;
    for origin in ["https://anywhere.example", "null"] {
        assert_eq!(status_for(&cluster, origin).await, 101, "{origin}");
    }
}

#[tokio::test]
async fn refused_origin_is_named_with_the_setting_that_allows_it() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let long = format!("https://{}.example", "x".repeat(400));
    let cases = [
        (
            "https://evil.example",
            r#"the Origin "https://evil.example" is not allowed: add it to server.allowed_origins"#,
        ),
        (
            "https://evil.example/",
            r#""https://evil.example/" is not allowed: add it to server.allowed_origins"#,
        ),
        ("null", r#"the Origin "null" is not allowed: it is not the origin of a web site: only "*" in"#),
        (
            "<img src=x onerror=\"alert(1)\">",
            r#"the Origin "<img src=x onerror=\"alert(1)\">" is not allowed"#,
        ),
        (
            "https://\u{e9}\u{202e}.example",
            r#"the Origin "https://\xc3\xa9\xe2\x80\xae.example" is not allowed"#,
        ),
        (&long, &format!("the Origin \"{}...\" is not allowed", &long[..197])),
    ];
    for (origin, told) in cases {
        let (head, body) = upgrade(&cluster, &format!("Origin: {origin}\r\n")).await;
        assert_eq!(head.status, 403, "{origin}");
        assert!(body.contains(told), "{origin}: {body}");
        assert!(
            body.len() < 400 && body.bytes().all(|byte| byte.is_ascii_graphic() || b" \n".contains(&byte)),
            "{body}"
        );
        assert_eq!(head.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(head.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn refused_host_is_named_with_the_setting_that_allows_it() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut socket = RawSocket::connect(cluster.address(0)).await;
    socket.send(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    let head = socket.head().await;
    assert_eq!((head.status, head.header("x-content-type-options")), (421, "nosniff"));
    assert_eq!(head.header("content-type"), "text/plain; charset=utf-8");
    let body = socket.read_bytes(head.header("content-length").parse().unwrap()).await;
    let told = "this node does not serve the host name \"evil.example\": add it to server.allowed_hosts\n";
    assert_eq!(String::from_utf8(body).unwrap(), told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_names_twenty_refused_origins_and_sums_up_the_rest() {
    let mut node = Program::start(&[("CHAT_LOG__FORMAT", "json"), ("CHAT_SERVER__ALLOWED_HOSTS", "*")]);
    for round in 0..2 {
        for number in 0..30 {
            let (head, _) =
                upgrade_at(node.address, &format!("Origin: https://site-{number}.example\r\n")).await;
            assert_eq!(head.status, 403, "{round}");
        }
    }
    let log = node.stop();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |words: &'static str| {
        lines.iter().filter(move |line| line["message"].as_str().unwrap().starts_with(words))
    };
    let origins: Vec<&str> = of("refused an Origin: add it to server.allowed_origins")
        .map(|line| line["origin"].as_str().unwrap())
        .collect();
    let named: Vec<String> = (0..20).map(|number| format!("https://site-{number}.example")).collect();
    assert_eq!(origins, named);
    let left_out: Vec<u64> = of("requests with further Origins were left out of the log")
        .map(|line| line["left_out"].as_u64().unwrap())
        .collect();
    assert_eq!(left_out, [20], "ten others, twice");
}
