//! The end of a client's token, and a new one in its place.

use std::time::Duration;

use chatnode_client::{ClosedReason, ErrorCode, Event, RequestError};
use serde_json::json;

use crate::program::{content, options, soon, until};
use crate::support::cluster::{Cluster, Kind};
use crate::support::jwt::{SECRET, now, signed_with, token, with_secret};

async fn start() -> Cluster {
    Cluster::start_with(Kind::Embedded, 1, |config| {
        with_secret(config);
        config.auth.jwt.leeway = Duration::ZERO;
    })
    .await
}

fn ending_in(seconds: u64) -> String {
    signed_with(SECRET, &json!({ "sub": "alice", "exp": now() + seconds }))
}

#[tokio::test]
async fn client_is_warned_and_goes_on_with_a_new_token() {
    let mut cluster = start().await;
    let old = ending_in(30);
    let (alice, mut events) =
        options(cluster.address(0), "alice").token(old.clone()).connect().await.unwrap();
    soon(alice.join("ops")).await.unwrap();
    let warned = until(&mut events, "the warning", |event| match event {
        Event::TokenExpiring { expires_at, .. } => Some(*expires_at),
        _ => None,
    });
    assert!(warned.await > now() * 1_000);
    // The node refuses the token of another user, and the client keeps its own.
    let refused = soon(alice.set_token(&token("bob"))).await.unwrap_err();
    let code = match &refused {
        RequestError::Refused { code, .. } => code.known(),
        _ => None,
    };
    assert_eq!(code, Some(ErrorCode::IdentityMismatch), "{refused:?}");
    assert!(matches!(alice.set_token("a\nb").await, Err(RequestError::Token)));
    let newer = token("alice");
    soon(alice.set_token(&newer)).await.unwrap();
    soon(alice.send("ops", "renewed")).await.unwrap();
    // The next handshake shows the new one: the old one opens nothing any more.
    assert_eq!(cluster.call(0, "POST", "/tokens/revoke", json!({ "token": old })).await.0, 204);
    let port = cluster.address(0).port();
    cluster.nodes[0].stop().await;
    cluster.adjust(|config| config.port = port);
    cluster.add_node().await;
    soon(alice.send("ops", "still here")).await.unwrap();
    assert_eq!(content(&mut events).await, "renewed");
    assert_eq!(content(&mut events).await, "still here");
    assert_eq!(cluster.call(1, "POST", "/tokens/revoke", json!({ "token": newer })).await.0, 204);
    let closed = until(&mut events, "the end", |event| match event {
        Event::Closed { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(matches!(closed.await, ClosedReason::TokenRevoked));
}
