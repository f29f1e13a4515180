//! Calls of the server API, as the back end of a product makes them. Owns the admin key of the tests.

use std::net::SocketAddr;

use chatnode::config::Config;
use serde_json::{Value, json};

use super::cluster::{Cluster, http};

/// The administrator's key of nodes with [`with_api`].
pub const KEY: &str = "Zq8-vnTt4-Lw2x-Rk7p";

/// Switches the server API on.
pub fn with_api(config: &mut Config) {
    config.auth.admin_key = Some(KEY.into());
}

/// Switches the server API and authentication on.
pub fn with_tokens(config: &mut Config) {
    with_api(config);
    config.auth.enabled = true;
}

/// One call of the API of a node: status, and the JSON of the answer (null if there is none).
pub async fn call(address: SocketAddr, method: &str, path: &str, body: Value) -> (u16, Value) {
    let key = format!("Bearer {KEY}");
    let headers = [("Authorization", key.as_str()), ("Content-Type", "application/json")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let path = format!("/api/v1{path}");
    let (status, answer) = http(address, method, &path, &headers, &body).await;
    if answer.is_empty() {
        return (status, Value::Null);
    }
    let answer = serde_json::from_str(&answer);
    (
        status,
        answer.unwrap_or_else(|error| panic!("{method} {path} answered {status} with invalid JSON: {error}")),
    )
}

/// Gets a token for a user.
pub async fn token(address: SocketAddr, user: &str) -> String {
    let (status, answer) = call(address, "POST", "/tokens", json!({ "username": user })).await;
    assert_eq!(status, 201, "{answer}");
    answer["token"].as_str().unwrap().to_owned()
}

impl Cluster {
    /// One call of the API of a node.
    pub async fn call(&self, node: usize, method: &str, path: &str, body: Value) -> (u16, Value) {
        call(self.address(node), method, path, body).await
    }

    /// Gets a token for a user.
    pub async fn token(&self, node: usize, user: &str) -> String {
        token(self.address(node), user).await
    }

    /// Revokes a token.
    pub async fn revoke(&self, node: usize, token: &str) {
        let body = json!({ "token": token });
        assert_eq!(self.call(node, "POST", "/tokens/revoke", body).await, (204, Value::Null));
    }
}
