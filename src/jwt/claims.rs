//! The claims of a JWT. Owns which claims a token needs, and what the node keeps of them; the signature was verified before.
//! Called by the verifier.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::grants::RoomGrants;
use super::refusal::{Reason, Refusal};
use crate::config::Jwt;
use crate::protocol::UserName;

/// The most bytes of a `jti`.
pub const MAX_JTI_BYTES: usize = 256;

/// The end of the year 9999, ms: whatever ends later does not end.
const LATEST_MS: u64 = 253_402_300_799_000;

/// What a node keeps of a token that is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    /// The user.
    pub user: UserName,
    /// When the node stops to accept it: its `exp` and the leeway, Unix ms.
    pub expires_at: u64,
    /// When it was issued, Unix ms. A token that does not tell is older than every other.
    pub issued_at: Option<u64>,
    /// A hash by which it can be revoked: of its `jti`; without one, of what is signed.
    pub id: [u8; 32],
    /// What it grants in rooms.
    pub rooms: RoomGrants,
}

/// The identity of a token for revocations. Not of its whole text: whoever has a token could change the signature of some algorithms
/// to another valid one.
pub(super) fn token_id(jti: Option<&str>, signed: &str) -> [u8; 32] {
    match jti {
        Some(jti) => jti_id(jti),
        None => Sha256::digest(format!("jwt\n{signed}").as_bytes()).into(),
    }
}

/// The identity of the token with this `jti`.
pub fn jti_id(jti: &str) -> [u8; 32] {
    Sha256::digest(format!("jti\n{jti}").as_bytes()).into()
}

/// Reads the claims. The crate has checked `exp`, `nbf`, `iss` and `aud`; here are the checks that it does not have.
///
/// # Errors
/// The token is not valid.
pub(super) fn read(
    claims: &Map<String, Value>,
    signed: &str,
    settings: &Jwt,
    now_ms: u64,
) -> Result<VerifiedToken, Refusal> {
    let leeway_ms = millis(settings.leeway);
    let end = time(claims, "exp")?.ok_or_else(|| Refusal::claims("`exp` is missing"))?;
    let issued_at = time(claims, "iat")?;
    if issued_at.is_some_and(|issued| issued > now_ms.saturating_add(leeway_ms)) {
        return Err(Reason::NotYetValid.into());
    }
    if let Some(longest) = settings.max_ttl {
        let issued = issued_at.ok_or_else(|| {
            Refusal::claims("`iat` is missing: this node bounds for how long a token is valid")
        })?;
        if end.saturating_sub(issued) > millis(longest) {
            let longest = humantime::format_duration(longest);
            return Err(Refusal::claims(format!(
                "it is valid for longer than {longest}, from `iat` to `exp`"
            )));
        }
    }
    let expires_at = end.saturating_add(leeway_ms);
    // To the millisecond: the crate rounds to seconds.
    if expires_at <= now_ms {
        return Err(Reason::Expired.into());
    }
    let jti = match claims.get("jti") {
        None | Some(Value::Null) => None,
        Some(Value::String(jti)) if (1..=MAX_JTI_BYTES).contains(&jti.len()) => Some(jti.as_str()),
        Some(_) => {
            return Err(Refusal::claims(format!("`jti` must be a string of 1 to {MAX_JTI_BYTES} bytes")));
        }
    };
    let user = user(claims, &settings.user_claim)?;
    let rooms = RoomGrants::read(claims, &settings.rooms_claim)?;
    Ok(VerifiedToken { user, expires_at, issued_at, id: token_id(jti, signed), rooms })
}

fn user(claims: &Map<String, Value>, claim: &str) -> Result<UserName, Refusal> {
    let text = |why: Cow<'static, str>| Refusal::claims(format!("the user name in `{claim}` {why}"));
    match claims.get(claim) {
        None | Some(Value::Null) => Err(text("is missing".into())),
        Some(Value::String(name)) => UserName::parse(name).map_err(|error| text(error.to_string().into())),
        Some(_) => Err(text("must be a string".into())),
    }
}

/// A time, Unix ms. An invalid one must never count as missing.
fn time(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<u64>, Refusal> {
    let value = match claims.get(claim) {
        None => return Ok(None),
        Some(value) => value,
    };
    let invalid = || Refusal::claims(format!("`{claim}` must be a number of seconds since 1970"));
    let ms = match (value.as_u64(), value.as_f64()) {
        (Some(seconds), _) => seconds.saturating_mul(1_000),
        (None, Some(seconds)) if seconds >= 0.0 => (seconds * 1_000.0) as u64,
        _ => return Err(invalid()),
    };
    Ok(Some(ms.min(LATEST_MS)))
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn read_json(claims: Value, adjust: impl FnOnce(&mut Jwt)) -> Result<VerifiedToken, Refusal> {
        let mut settings = Jwt { leeway: Duration::from_secs(30), ..Jwt::default() };
        adjust(&mut settings);
        let Value::Object(claims) = claims else { panic!("not an object") };
        read(&claims, "signed", &settings, NOW)
    }

    fn reason(claims: Value) -> &'static str {
        read_json(claims, |_| {}).unwrap_err().as_str()
    }

    #[test]
    fn user_end_and_identity_come_from_the_claims() {
        let token =
            read_json(json!({ "sub": " alice ", "exp": 1_800_000_060, "iat": 1_800_000_000.5 }), |_| {});
        let token = token.unwrap();
        assert_eq!((token.user.as_str(), token.expires_at), ("alice", NOW + 90_000));
        assert_eq!(token.issued_at, Some(NOW + 500));
        let with = |jti: &str| {
            read_json(json!({ "sub": "a", "exp": 1_800_000_060, "jti": jti }), |_| {}).unwrap().id
        };
        assert_eq!(with("1"), jti_id("1"));
        assert!(with("1") != with("2") && with("signed") != token.id);
        let name = read_json(json!({ "sub": "x", "https://e/name": "bob", "exp": 1e10 }), |s| {
            s.user_claim = "https://e/name".into();
        });
        assert_eq!(name.unwrap().user.as_str(), "bob");
    }

    #[test]
    fn missing_and_malformed_claims_are_refused() {
        let good = json!({ "sub": "alice", "exp": 1_800_000_060 });
        assert!(read_json(good.clone(), |_| {}).is_ok());
        for (claim, value) in [
            ("exp", json!(null)),
            ("exp", json!("1800000060")),
            ("exp", json!([1_800_000_060])),
            ("exp", json!(-1)),
            ("exp", json!(true)),
            ("iat", json!("now")),
            ("iat", json!(null)),
            ("jti", json!(7)),
            ("jti", json!("")),
            ("jti", json!("x".repeat(257))),
            ("sub", json!(null)),
            ("sub", json!(5)),
            ("sub", json!("")),
            ("sub", json!("a\u{202e}b")),
            ("sub", json!("x".repeat(65))),
        ] {
            let mut claims = good.clone();
            claims[claim] = value.clone();
            assert_eq!(reason(claims), "claims", "{claim} {value}");
        }
        assert_eq!(reason(json!({ "sub": "alice" })), "claims");
        assert_eq!(reason(json!({ "exp": 1_800_000_060 })), "claims");
    }

    #[test]
    fn leeway_and_longest_life_have_sharp_bounds() {
        let at = |exp: f64| read_json(json!({ "sub": "alice", "exp": exp }), |_| {}).map(|t| t.expires_at);
        assert_eq!(at(1_799_999_970.001), Ok(NOW + 1));
        assert_eq!(at(1_799_999_970.0), Err(Reason::Expired.into()));
        let issued = |iat: u64| reason_of(json!({ "sub": "alice", "exp": 1_900_000_000, "iat": iat }));
        assert_eq!((issued(1_800_000_030), issued(1_800_000_031)), (None, Some("not_yet_valid")));
        let bounded = |claims: Value| {
            let read = read_json(claims, |s| s.max_ttl = Some(Duration::from_secs(3_600)));
            read.err().map(|refusal| refusal.as_str())
        };
        let claims = |ttl: u64| json!({ "sub": "alice", "iat": 1_799_999_000, "exp": 1_799_999_000 + ttl });
        assert_eq!((bounded(claims(3_600)), bounded(claims(3_601))), (None, Some("claims")));
        assert_eq!(bounded(json!({ "sub": "alice", "exp": 1_800_000_060 })), Some("claims"), "no iat");
        // Far away, and not over the end of the numbers.
        assert_eq!(at(1e300), Ok(LATEST_MS + 30_000));
    }

    fn reason_of(claims: Value) -> Option<&'static str> {
        read_json(claims, |_| {}).err().map(|refusal| refusal.as_str())
    }
}
