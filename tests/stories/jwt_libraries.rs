//! Tokens and key sets that other libraries made: PyJWT and jose. The files and the scripts that made them are in `jwt_fixtures`; one
//! token is made while the test runs.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::api::with_tokens;
use crate::support::cluster::{Cluster, Kind};
use crate::support::jwt::{Answer, KeyServer, SECRET, with_secret};

const ALGORITHMS: [&str; 9] =
    ["HS256", "HS384", "RS256", "RS384", "PS256", "PS384", "ES256", "ES384", "EdDSA"];

fn fixtures() -> [Value; 2] {
    [include_str!("jwt_fixtures/pyjwt.json"), include_str!("jwt_fixtures/jose.json")]
        .map(|text| serde_json::from_str(text).unwrap())
}

/// A node with all algorithms, the secret of a fixture, and these public keys: files or a URL.
async fn start(fixture: &Value, files: Vec<std::path::PathBuf>, url: Option<String>) -> Cluster {
    Cluster::start_with(Kind::Embedded, 1, |config| {
        with_tokens(config);
        let jwt = &mut config.auth.jwt;
        jwt.algorithms = ALGORITHMS.map(str::to_owned).into();
        jwt.hmac_secret = fixture["secret"].as_str().map(Into::into);
        jwt.public_keys = files;
        jwt.jwks_url = url;
        jwt.issuer = Some("https://id.example.com/".into());
        jwt.audience = vec!["chat".into()];
    })
    .await
}

async fn code(cluster: &Cluster, token: &Value) -> String {
    let mut client = cluster.connect(0, "alice").await;
    client.token = token.as_str().map(str::to_owned);
    let answer = client.ask("Ping", json!({})).await;
    answer["message_body"]["code"].as_str().unwrap_or("ok").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_others_are_verified_with_their_key_sets() {
    for fixture in fixtures() {
        let keys = fixture["jwks"]["keys"].as_array().unwrap().clone();
        let server = KeyServer::start(Answer::Keys(keys)).await;
        let cluster = start(&fixture, Vec::new(), Some(server.url())).await;
        let made_with = &fixture["made_with"];
        for algorithm in ALGORITHMS {
            assert_eq!(code(&cluster, &fixture["tokens"][algorithm]).await, "ok", "{made_with} {algorithm}");
        }
        for (name, token) in fixture["refused"].as_object().unwrap() {
            // A header parameter that means what is the default anyway.
            let expected = if name == "critical" { "ok" } else { "unauthorized" };
            assert_eq!(code(&cluster, token).await, expected, "{made_with} {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_others_are_verified_with_their_pem_files() {
    let folder = tempfile::TempDir::new().unwrap();
    for fixture in fixtures() {
        let mut files = Vec::new();
        for (name, pem) in fixture["pem"].as_object().unwrap() {
            files.push(folder.path().join(name));
            std::fs::write(files.last().unwrap(), pem.as_str().unwrap()).unwrap();
        }
        let cluster = start(&fixture, files, None).await;
        let made_with = &fixture["made_with"];
        for algorithm in ALGORITHMS {
            assert_eq!(code(&cluster, &fixture["tokens"][algorithm]).await, "ok", "{made_with} {algorithm}");
        }
        for name in ["none", "expired", "key of nobody", "public key as secret", "HS512", "ES512"] {
            if let Some(token) = fixture["refused"].get(name) {
                assert_eq!(code(&cluster, token).await, "unauthorized", "{made_with} {name}");
            }
        }
    }
}

/// PyJWT makes the token now, as the back end of a product would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_of_pyjwt_opens_a_connection() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/clients/python/environment/bin/python");
    assert!(python.exists(), "{} is missing: run tests/clients/install", python.display());
    let script = root.join("tests/stories/jwt_fixtures/make.py");
    let made = Command::new(python).arg(script).args(["token", "ann", SECRET, "600"]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let token = String::from_utf8(made.stdout).unwrap();
    let cluster = Cluster::start_with(Kind::Embedded, 1, with_secret).await;
    let mut ann = cluster.connect(0, "ann").await;
    ann.token = Some(token.trim().to_owned());
    ann.ok("Enter", json!({ "room": "ops" })).await;
    assert_eq!(ann.ok("Ping", json!({})).await["sender_username"], "ann");
}
