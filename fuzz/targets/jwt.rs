//! JWTs: any text, and any header and claims that are signed with the secret of the node.
//!
//! Checks: no text without a valid signature is accepted; what is accepted names an allowed algorithm, has a numeric end in the
//! future, and is of the user that its claim names; a changed signature is refused.
#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use chatnode::config::Jwt;
use chatnode::jwt::{MAX_TOKEN_BYTES, Verifier};
use chatnode::protocol::UserName;
use futures_util::FutureExt;
use libfuzzer_sys::fuzz_target;
use ring::hmac;
use serde_json::Value;

const SECRET: &str = "a-secret-of-thirty-two-bytes-000";
const NOW_MS: u64 = 1_700_000_000_000;

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let settings = Jwt {
        algorithms: vec!["HS256".into(), "RS256".into(), "EdDSA".into()],
        hmac_secret: Some(SECRET.into()),
        ..Jwt::default()
    };
    Verifier::new(&settings).unwrap()
});

#[derive(Debug, Arbitrary)]
enum Input<'a> {
    Text(&'a str),
    Signed { header: &'a str, claims: &'a str, flip: u8 },
}

fn verify(token: &str) -> Option<chatnode::jwt::VerifiedToken> {
    VERIFIER.verify(token, NOW_MS).now_or_never().expect("there is no server of keys to wait for").ok()
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
    if flip > 0 {
        let mut forged = signature.as_ref().to_vec();
        forged[usize::from(flip) % 32] ^= flip;
        assert!(verify(&format!("{signed}.{}", BASE64.encode(forged))).is_none());
    }
});
