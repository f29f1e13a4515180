//! What the check of a JWT accepts, of all texts that a client may send.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use proptest::prelude::*;
use ring::hmac;
use serde_json::json;

use super::*;

const SECRET: &str = "a-secret-of-thirty-two-bytes-000";
const NOW_MS: u64 = 1_700_000_000_000;
/// Far away from every clock that a test may run by: the crate reads the real one.
const END: u64 = 4_102_444_800;

fn verifier() -> Verifier {
    let settings = Jwt {
        algorithms: vec!["HS256".into(), "ES256".into()],
        hmac_secret: Some(SECRET.into()),
        ..Jwt::default()
    };
    Verifier::new(&settings).unwrap()
}

fn verify(verifier: &Verifier, token: &str) -> Result<VerifiedToken, Refusal> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(verifier.verify(token, NOW_MS))
}

fn sign(header: &str, claims: &str) -> String {
    let text = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), text.as_bytes());
    format!("{text}.{}", BASE64.encode(signature))
}

fn token() -> String {
    sign(r#"{"alg":"HS256"}"#, &json!({ "sub": "alice", "exp": END, "jti": "1" }).to_string())
}

fn label(verifier: &Verifier, token: &str) -> &'static str {
    verify(verifier, token).map_or_else(|refusal| refusal.as_str(), |_| "ok")
}

#[test]
fn header_decides_before_any_key() {
    let verifier = verifier();
    assert_eq!(label(&verifier, &token()), "ok");
    let claims = json!({ "sub": "alice", "exp": END }).to_string();
    for (header, expected) in [
        (r#"{"alg":"HS256","typ":"JWT","kid":"any"}"#, "ok"),
        (r#"{"alg":"HS384"}"#, "algorithm"),
        (r#"{"alg":"RS256"}"#, "algorithm"),
        (r#"{"alg":"ES256"}"#, "unknown_key"),
        (r#"{"alg":"none"}"#, "malformed"),
        (r#"{"alg":"None"}"#, "malformed"),
        (r#"{"alg":""}"#, "malformed"),
        (r#"{"alg":["HS256"]}"#, "malformed"),
        (r#"{"alg":"HS256","alg":"ES256"}"#, "malformed"),
        (r#"{"typ":"JWT"}"#, "malformed"),
        (r#"{"alg":"HS256","crit":["exp"]}"#, "malformed"),
        (r#"{"alg":"HS256","crit":[]}"#, "malformed"),
        (r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#, "malformed"),
        // Keys and addresses in the token itself change nothing.
        (r#"{"alg":"HS256","jku":"http://127.0.0.1/","x5u":"http://127.0.0.1/"}"#, "ok"),
        ("[]", "malformed"),
        ("", "malformed"),
    ] {
        assert_eq!(label(&verifier, &sign(header, &claims)), expected, "{header}");
    }
    for claims in ["", "[]", "null", "\"x\"", "{", r#"{"sub":"alice","exp":4102444800,"exp":1}"#] {
        assert_eq!(label(&verifier, &sign(r#"{"alg":"HS256"}"#, claims)), "malformed", "{claims}");
    }
}

#[test]
fn every_reason_is_a_label_of_the_metric() {
    let labels: Vec<&str> = Reason::ALL.into_iter().map(Reason::as_str).collect();
    let all = ["ok"].into_iter().chain(labels).chain([Refusal::Unavailable.as_str()]);
    assert_eq!(all.collect::<Vec<_>>(), crate::metrics::JWT_RESULTS);
}

#[test]
fn settings_are_replaced_only_if_they_can_be_used() {
    let verifier = verifier();
    let other = Jwt {
        algorithms: vec!["HS256".into()],
        hmac_secret: Some("another-secret-of-thirty-two-bytes".into()),
        ..Jwt::default()
    };
    let broken = Jwt { public_keys: vec!["/none".into()], ..other.clone() };
    assert!(verifier.reload(&broken).unwrap_err().contains("/none"));
    assert_eq!(label(&verifier, &token()), "ok");
    let both = Jwt { hmac_previous_secret: Some(SECRET.into()), ..other.clone() };
    verifier.reload(&both).unwrap();
    assert_eq!(label(&verifier, &token()), "ok");
    verifier.reload(&other).unwrap();
    assert_eq!(label(&verifier, &token()), "signature");
}

proptest! {
    #[test]
    fn no_text_is_accepted_without_the_secret(text in "[A-Za-z0-9_.\\-=+/é ]{0,200}") {
        prop_assert!(verify(&verifier(), &text).is_err());
    }

    #[test]
    fn no_changed_token_is_accepted(at in 0usize..200, to in "[A-Za-z0-9_.\\-=]") {
        let token = token();
        let at = at % token.len();
        let mut changed = token.clone();
        changed.replace_range(at..=at, &to);
        prop_assume!(changed != token);
        prop_assert!(verify(&verifier(), &changed).is_err(), "{changed}");
    }

    #[test]
    fn token_with_any_claims_is_of_their_user_or_refused(
        user in proptest::option::of(".{0,80}"),
        exp in proptest::option::of(any::<u64>()),
        iat in proptest::option::of(any::<f64>()),
    ) {
        let claims = json!({ "sub": user, "exp": exp, "iat": iat });
        if let Ok(token) = verify(&verifier(), &sign(r#"{"alg":"HS256"}"#, &claims.to_string())) {
            prop_assert_eq!(token.user, crate::protocol::UserName::parse(&user.unwrap()).unwrap());
            prop_assert!(token.expires_at > NOW_MS && exp.is_some());
            prop_assert!(token.issued_at.is_none_or(|issued| issued <= NOW_MS + 30_000));
        }
    }
}
