//! The token endpoint of a web site with a chat: it gives each user who is signed in a token.
//!
//! ```sh
//! CHAT_API=http://127.0.0.1:8081 CHAT_API_KEY=… cargo run --example embedding
//! ```
//!
//! docs/embedding.md explains it. Takes its settings from the environment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, Uri, client::conn::http1};
use hyper_util::rt::TokioIo;
use ring::hmac;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The settings of the site.
pub struct Site {
    /// The address of the chat for browsers.
    pub chat_url: String,
    /// The address of the server API, with a key of the scope `tokens`.
    pub api: (String, String),
    /// The secret of JWTs; if set, the site signs its tokens itself.
    pub jwt_secret: Option<String>,
    /// How long a token is valid.
    pub token_seconds: u64,
    /// In place of the sign-in of your site: the user of each session.
    pub sessions: HashMap<String, String>,
}

/// The name must come from the session, never from the request.
fn user_of<'a>(site: &'a Site, headers: &HeaderMap) -> Option<&'a str> {
    let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
    let session = cookies.split("; ").find_map(|cookie| cookie.strip_prefix("session="))?;
    site.sessions.get(session).map(String::as_str)
}

/// A token from the server API.
async fn issue_token(site: &Site, username: &str) -> Result<String, Failure> {
    let (api, key) = &site.api;
    let uri: Uri = format!("{api}/api/v1/tokens").parse()?;
    let address = uri.authority().ok_or("CHAT_API must be a URL such as http://127.0.0.1:8081")?.as_str();
    let (mut sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
    tokio::spawn(connection);
    let body = json!({ "username": username, "ttl_seconds": site.token_seconds }).to_string();
    let call = Request::post(uri.path())
        .header(header::HOST, address)
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let answer = sender.send_request(call).await?;
    let status = answer.status();
    let answer: Value = serde_json::from_slice(&answer.into_body().collect().await?.to_bytes())?;
    let token = answer["token"].as_str().ok_or_else(|| format!("the chat answered {status}: {answer}"))?;
    Ok(token.to_owned())
}

/// A JWT that this site signs: the nodes have the same secret in auth.jwt.hmac_secret.
fn sign_token(site: &Site, secret: &str, username: &str) -> Result<String, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = json!({
        "sub": username, "iss": "https://app.example.com", "aud": "chat", "iat": now, "exp": now + site.token_seconds,
    });
    let part = |json: &Value| BASE64.encode(json.to_string());
    let text = format!("{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(&claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), text.as_bytes());
    Ok(format!("{text}.{}", BASE64.encode(signature)))
}

async fn answer_token(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let Some(username) = user_of(&site, &headers) else {
        return (StatusCode::UNAUTHORIZED, "sign in first\n").into_response();
    };
    let token = match &site.jwt_secret {
        Some(secret) => sign_token(&site, secret, username),
        None => timeout(Duration::from_secs(5), issue_token(&site, username))
            .await
            .unwrap_or_else(|_| Err("the chat does not answer".into())),
    };
    match token {
        Ok(token) => {
            let body = json!({ "url": site.chat_url, "username": username, "token": token });
            ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
        Err(error) => {
            eprintln!("no token: {error}");
            (StatusCode::SERVICE_UNAVAILABLE, "no token at the moment\n").into_response()
        }
    }
}

/// The endpoint.
pub fn routes(site: Site) -> Router {
    Router::new().route("/chat-token", post(answer_token)).with_state(Arc::new(site))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let read = |name: &str| std::env::var(name).ok();
    let site = Site {
        chat_url: read("CHAT_URL").unwrap_or_else(|| "wss://chat.example.com/ws".into()),
        api: (read("CHAT_API").unwrap_or_default(), read("CHAT_API_KEY").unwrap_or_default()),
        jwt_secret: read("CHAT_JWT_SECRET"),
        token_seconds: read("TOKEN_SECONDS").map_or(Ok(3_600), |seconds| seconds.parse())?,
        sessions: serde_json::from_str(&read("SESSIONS").unwrap_or_else(|| "{}".into()))?,
    };
    if site.jwt_secret.is_none() && (site.api.0.is_empty() || site.api.1.is_empty()) {
        return Err("set CHAT_API and CHAT_API_KEY, or CHAT_JWT_SECRET".into());
    }
    let listener =
        TcpListener::bind(("127.0.0.1", read("PORT").unwrap_or_else(|| "3000".into()).parse()?)).await?;
    println!("listening at http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, routes(site)).await?)
}
