//! An identity provider: it signs tokens, and serves its keys by HTTP, well or badly. Owns the keys and the server; knows nothing of
//! nodes but the settings that let them use both.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use chatnode::config::Config;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::api::with_tokens;

/// The secret of [`with_secret`].
pub const SECRET: &str = "kQ3v-9tLw-8XzR-2mNb-5pYc-7sHd-4f";

/// Unix time, seconds.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Accepts tokens that are signed with [`SECRET`].
pub fn with_secret(config: &mut Config) {
    with_tokens(config);
    config.auth.jwt.algorithms = vec!["HS256".into()];
    config.auth.jwt.hmac_secret = Some(SECRET.into());
}

/// Accepts tokens that are signed with the keys at this URL.
pub fn with_keys_at(config: &mut Config, url: &str) {
    with_tokens(config);
    config.auth.jwt.algorithms = vec!["ES256".into()];
    config.auth.jwt.jwks_url = Some(url.into());
}

fn part(json: &Value) -> String {
    BASE64.encode(json.to_string())
}

/// A token with these claims, signed with a secret.
pub fn signed_with(secret: &str, claims: &Value) -> String {
    let text = format!("{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hmac::sign(&key, text.as_bytes());
    format!("{text}.{}", BASE64.encode(signature))
}

/// A token of a user for an hour, signed with [`SECRET`].
pub fn token(user: &str) -> String {
    signed_with(SECRET, &json!({ "sub": user, "exp": now() + 3_600, "iat": now() }))
}

/// A key of the identity provider.
pub struct SigningKey {
    kid: String,
    pair: EcdsaKeyPair,
}

impl SigningKey {
    pub fn new(kid: &str) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        Self { kid: kid.into(), pair: pair.unwrap() }
    }

    /// The public key, as a set has it.
    pub fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
        json!({ "kty": "EC", "crv": "P-256", "kid": self.kid, "use": "sig", "alg": "ES256", "x": x, "y": y })
    }

    /// A token of a user for an hour.
    pub fn token(&self, user: &str) -> String {
        let header = json!({ "alg": "ES256", "kid": self.kid });
        let claims = json!({ "sub": user, "exp": now() + 3_600, "iat": now() });
        let text = format!("{}.{}", part(&header), part(&claims));
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", BASE64.encode(signature))
    }
}

/// How the server of keys answers.
#[derive(Clone)]
pub enum Answer {
    /// With this set.
    Keys(Vec<Value>),
    /// With this status and this text.
    Text(u16, String),
    /// With a redirect to this URL.
    Redirect(String),
    /// Not at all.
    Silence,
}

/// A server of keys. Dropping it ends it.
pub struct KeyServer {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl KeyServer {
    /// Starts it on any port.
    pub async fn start(answer: Answer) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), answer).await
    }

    /// Starts it with TLS.
    pub async fn start_with_tls(config: Arc<ServerConfig>, answer: Answer) -> Self {
        Self::listen("127.0.0.1:0".parse().unwrap(), answer, Some(config.into())).await
    }

    /// Starts it at this address.
    pub async fn start_at(address: SocketAddr, answer: Answer) -> Self {
        Self::listen(address, answer, None).await
    }

    async fn listen(address: SocketAddr, answer: Answer, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, requests) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicUsize::new(0)));
        let accepting = {
            let (answer, requests) = (answer.clone(), requests.clone());
            tokio::spawn(async move {
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    requests.fetch_add(1, Ordering::SeqCst);
                    let answer = answer.lock().unwrap().clone();
                    let tls = tls.clone();
                    tokio::spawn(async move {
                        let Some(tls) = tls else { return serve(socket, answer).await };
                        // Whoever does not trust the certificate ends here.
                        if let Ok(socket) = tls.accept(socket).await {
                            serve(socket, answer).await;
                        }
                    });
                }
            })
        };
        Self { address, answer, requests, accepting }
    }

    /// An address at which nothing listens.
    pub async fn address_of_none() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    /// Answers otherwise from now on.
    pub fn set(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self) -> String {
        format!("http://{}/keys?v=1", self.address)
    }
}

async fn serve(mut socket: impl AsyncRead + AsyncWrite + Unpin, answer: Answer) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut bytes = [0; 512];
        match socket.read(&mut bytes).await {
            Ok(count) if count > 0 => request.extend_from_slice(&bytes[..count]),
            _ => return,
        }
    }
    assert!(request.starts_with(b"GET /keys?v=1 HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&request));
    let (head, body) = match answer {
        Answer::Keys(keys) => ("200 OK".to_owned(), json!({ "keys": keys }).to_string()),
        Answer::Text(status, text) => (format!("{status} Status"), text),
        Answer::Redirect(url) => (format!("302 Found\r\nLocation: {url}"), String::new()),
        Answer::Silence => std::future::pending().await,
    };
    let length = body.len();
    let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    // An error means that the node has given up.
    let _ = socket.write_all(answer.as_bytes()).await;
}
