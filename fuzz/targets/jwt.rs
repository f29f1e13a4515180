//! JWTs: any text, and any header and claims that are signed with the secret of the node.
//!
//! Checks: no text without a valid signature is accepted; what is accepted names an allowed algorithm, has a numeric end in the
//! future, and is of the user that its claim names; a changed signature is refused. What a node with an issuer, an audience and a
//! longest life accepts has that issuer and that audience, and a life that is not longer.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use arbitrary::Arbitrary;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use chatnode::config::Jwt;
use chatnode::jwt::{MAX_TOKEN_BYTES, VerifiedToken, Verifier};
use chatnode::protocol::UserName;
use futures_util::FutureExt;
use libfuzzer_sys::fuzz_target;
use ring::hmac;
use serde_json::Value;

const SECRET: &str = "a-secret-of-thirty-two-bytes-000";
const NOW_MS: u64 = 1_700_000_000_000;

/// Long enough for an `iat` before [`NOW_MS`] and an `exp` after the clock of this machine, which counts too.
const LONGEST: Duration = Duration::from_secs(3_600 * 24 * 3_650);

fn settings() -> Jwt {
    Jwt {
        algorithms: vec!["HS256".into(), "RS256".into(), "EdDSA".into()],
        hmac_secret: Some(SECRET.into()),
        ..Jwt::default()
    }
}

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| Verifier::new(&settings()).unwrap());

static STRICT: LazyLock<Verifier> = LazyLock::new(|| {
    let strict =
        Jwt { issuer: Some("i".into()), audience: vec!["a".into()], max_ttl: Some(LONGEST), ..settings() };
    Verifier::new(&strict).unwrap()
});

#[derive(Debug, Arbitrary)]
enum Input<'a> {
    Text(&'a str),
    Signed { header: &'a str, claims: &'a str, flip: u8 },
}

fn verify_by(verifier: &Verifier, token: &str) -> Option<VerifiedToken> {
    verifier.verify(token, NOW_MS).now_or_never().expect("there is no server of keys to wait for").ok()
}

fn verify(token: &str) -> Option<VerifiedToken> {
    verify_by(&VERIFIER, token)
}

fn check_strict(claims: &str, valid: &VerifiedToken) {
    let claims: Value = serde_json::from_str(claims).unwrap();
    assert_eq!(claims["iss"], "i");
    assert!(claims["aud"] == "a" || claims["aud"].as_array().unwrap().iter().any(|audience| audience == "a"));
    let (issued, end) = (claims["iat"].as_f64().unwrap(), claims["exp"].as_f64().unwrap());
    assert!(end - issued < LONGEST.as_secs_f64() + 0.01, "{issued} to {end}");
    assert!(valid.issued_at.is_some() && valid.expires_at > NOW_MS);
}

fuzz_target!(|input: Input<'_>| {
    let (header, claims, flip) = match input {
        Input::Text(text) => return assert!(verify(text).is_none()),
        Input::Signed { header, claims, flip } => (header, claims, flip),
    };
    let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), signed.as_bytes());
    let token = format!("{signed}.{}", BASE64.encode(signature));
    if let Some(valid) = verify(&token) {
        assert!(token.len() <= MAX_TOKEN_BYTES);
        let header: Value = serde_json::from_str(header).unwrap();
        let claims: Value = serde_json::from_str(claims).unwrap();
        assert_eq!(header["alg"], "HS256");
        assert!(claims["exp"].is_number() && valid.expires_at > NOW_MS);
        assert_eq!(valid.user, UserName::parse(claims["sub"].as_str().unwrap()).unwrap());
    }
    if let Some(valid) = verify_by(&STRICT, &token) {
        check_strict(claims, &valid);
    }
    if flip > 0 {
        let mut forged = signature.as_ref().to_vec();
        forged[usize::from(flip) % 32] ^= flip;
        assert!(verify(&format!("{signed}.{}", BASE64.encode(forged))).is_none());
    }
});
