//! Proxies in front of a node: what the node tells its operator about them.

use crate::support::program::Program;
use crate::support::raw::RawSocket;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxy_that_hides_its_clients_is_logged_once() {
    let mut node = Program::start(&[
        ("CHAT_SERVER__TRUSTED_PROXIES", "127.2.0.0/16"),
        ("CHAT_SERVER__ALLOWED_HOSTS", "*"),
        ("CHAT_LIMITS__MAX_CONNECTIONS_PER_ADDRESS", "1"),
    ]);
    let by_x_forwarded_for = "X-Forwarded-For: 198.51.100.1\r\n";
    let by_forwarded = "Forwarded: for=198.51.100.1\r\n";
    let proxies = [
        ([127, 1, 0, 1], by_x_forwarded_for, "add it to server.trusted_proxies"),
        ([127, 1, 0, 2], by_forwarded, "add it to server.trusted_proxies"),
        ([127, 2, 0, 1], "X-Forwarded-For: nobody\r\n", "let it set X-Forwarded-For"),
        ([127, 2, 0, 2], by_forwarded, "let it set X-Forwarded-For"),
    ];
    // A client, and a trusted proxy that connects for itself or names its client: nothing is wrong with them.
    let others = [([127, 1, 0, 3], ""), ([127, 2, 0, 3], ""), ([127, 2, 0, 4], by_x_forwarded_for)];
    let mut open = Vec::new();
    for _ in 0..3 {
        for (from, header, _) in proxies {
            let mut socket = RawSocket::connect_from(from, node.address).await;
            socket.send(RawSocket::upgrade_request(header).as_bytes()).await;
            assert_eq!(socket.head().await.status, 101, "{from:?} is not one client");
            open.push(socket);
        }
    }
    for (from, header) in others {
        let mut socket = RawSocket::connect_from(from, node.address).await;
        socket.send(RawSocket::upgrade_request(header).as_bytes()).await;
        assert_eq!(socket.head().await.status, 101, "{from:?}");
        open.push(socket);
    }
    drop(open);
    let log = node.stop();
    for (from, _, advice) in proxies {
        let address = std::net::Ipv4Addr::from(from).to_string();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(&address)).collect();
        assert!(matches!(lines.as_slice(), [line] if line.contains(advice)), "{address}: {log}");
    }
    assert_eq!(log.matches("limits per address").count(), proxies.len(), "{log}");
}
