//! Attempts to use a revoked token. Owns the attempts, in both ways and at every node; the checks judge whether a node may still
//! accept it. Called by the run after each revocation.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::history::{Event, Micros, TokenUse};
use crate::run_context::RunContext;
use crate::wire::{Frame, NotConnected, Wire, request, user_name};

/// The times of the attempts after the answer to the revocation: after the bound, and after the bound for a lost notice.
const AFTER: [Duration; 3] = [Duration::from_secs(4), Duration::from_secs(34), Duration::from_secs(64)];

/// Presents the token to every node, at each of these times.
pub async fn probe(context: Arc<RunContext>, user: u16, token: String, answered: Micros) {
    for after in AFTER {
        let passed = Duration::from_micros(context.recorder.now().saturating_sub(answered));
        sleep(after.saturating_sub(passed)).await;
        for node in 0..context.nodes.len() {
            for by in [TokenUse::Handshake, TokenUse::Auth] {
                let asked = context.recorder.now();
                if let Some(admitted) = admitted(&context, node, user, &token, by).await {
                    let node = node as u8;
                    context.recorder.record(Event::Probed { user, answered, asked, node, by, admitted });
                }
            }
        }
    }
}

/// Whether a node accepts the token; none if it did not answer or could not know.
async fn admitted(context: &RunContext, node: usize, user: u16, token: &str, by: TokenUse) -> Option<bool> {
    let shown = (by == TokenUse::Handshake).then_some(token);
    let mut wire = match Wire::connect(context.nodes[node], user, shown, false).await {
        Ok(wire) => wire,
        Err(NotConnected::Unauthorized) => return Some(false),
        Err(NotConnected::Failed) => return None,
    };
    if by == TokenUse::Handshake {
        return Some(true);
    }
    let mut auth = request("Auth", "probe", &json!({ "sender_username": user_name(user) }));
    auth["token"] = token.into();
    if !wire.send(&auth).await {
        return None;
    }
    let answer = async {
        loop {
            match wire.next().await {
                Frame::Ack { .. } => return Some(true),
                Frame::Error { code, .. } => return (code == "unauthorized").then_some(false),
                Frame::Closed { .. } => return None,
                _ => {}
            }
        }
    };
    timeout(Duration::from_secs(5), answer).await.ok().flatten()
}
