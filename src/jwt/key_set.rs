//! The set of keys that an identity provider publishes (JWKS, RFC 7517). Owns its form, and that a key which this node can't use
//! costs only itself; reading it from the network is the matter of `remote_keys`.

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::key::Key;

/// The most keys of a set. Each may be tried for a token that names none.
const MAX_KEYS: usize = 32;

const NO_SET: &str = "the answer is no key set: no JSON object with `keys`";

/// The keys of an identity provider.
pub struct KeySet {
    keys: Vec<Key>,
    skipped: Vec<&'static str>,
}

impl KeySet {
    /// Reads a set.
    ///
    /// # Errors
    /// It is no set, or it has no key that this node can use. The text says which.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let document: Map<String, Value> = serde_json::from_slice(json).map_err(|_| NO_SET)?;
        let keys = document.get("keys").and_then(Value::as_array).ok_or(NO_SET)?;
        let mut set = Self { keys: Vec::new(), skipped: Vec::new() };
        for value in keys {
            match Key::from_jwk(value) {
                Ok(_) if set.keys.len() >= MAX_KEYS => set.skipped.push("there are too many keys"),
                Ok(key) => set.keys.push(key),
                Err(why) => set.skipped.push(why),
            }
        }
        match (set.keys.is_empty(), set.skipped.first()) {
            (false, _) => Ok(set),
            (true, Some(why)) => Err(format!("the key set has no key that can be used; the first: {why}")),
            (true, None) => Err("the key set is empty".into()),
        }
    }

    /// The keys that may have signed a token with this algorithm and this name of a key. A key without a name may be any.
    pub(super) fn candidates(&self, algorithm: Algorithm, kid: Option<&str>) -> impl Iterator<Item = &Key> {
        let fits = move |key: &&Key| {
            key.serves(algorithm) && (kid.is_none() || key.kid.is_none() || key.kid.as_deref() == kid)
        };
        self.keys.iter().filter(fits)
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key can be used. A set that was read has at least one.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Why other keys can't be used, one reason for each.
    pub fn skipped(&self) -> &[&'static str] {
        &self.skipped
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RFC 8037, appendix A.2.
    const ED_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn ed(more: Value) -> Value {
        let mut key = json!({ "kty": "OKP", "crv": "Ed25519", "x": ED_X });
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key
    }

    fn parse(keys: Value) -> Result<KeySet, String> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn count(set: &KeySet, algorithm: Algorithm, kid: Option<&str>) -> usize {
        set.candidates(algorithm, kid).count()
    }

    #[test]
    fn keys_that_can_not_be_used_cost_only_themselves() {
        let n = format!("{}w", "u".repeat(341));
        let set = parse(json!([
            { "kty": "OKP", "crv": "X25519", "x": ED_X, "kid": "x" },
            { "kty": "OKP", "crv": "Ed448", "x": ED_X },
            { "kty": "EC", "crv": "secp256k1", "x": ED_X, "y": ED_X },
            { "kty": "EC", "crv": "P-521", "x": ED_X, "y": ED_X },
            { "kty": "EC", "crv": "P-384", "x": ED_X, "y": ED_X },
            { "kty": "EC", "crv": "P-256", "x": ED_X },
            { "kty": "oct", "k": "c2VjcmV0", "alg": "HS256" },
            { "kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA" },
            { "kty": "RSA", "n": "AQAB", "e": "AQAB" },
            { "kty": "RSA", "n": n, "e": "AQAB", "use": "enc" },
            { "kty": "RSA", "n": n, "e": "AQAB", "alg": "RSA-OAEP" },
            { "kty": "RSA", "n": n, "e": "AQAB", "alg": 5 },
            { "kty": "RSA", "n": n, "e": "AQAB", "key_ops": ["encrypt"] },
            7,
            {},
            ed(json!({ "kid": "good" })),
            { "kty": "EC", "crv": "P-256", "x": ED_X, "y": ED_X, "kid": "ec", "use": "sig" },
            { "kty": "RSA", "n": n, "e": "AQAB", "kid": "rsa", "alg": "PS384", "key_ops": ["verify"] },
        ]));
        let set = set.unwrap();
        assert_eq!((set.len(), set.skipped().len()), (3, 15), "{:?}", set.skipped());
        assert_eq!(count(&set, Algorithm::EdDSA, Some("good")), 1);
        assert_eq!(count(&set, Algorithm::ES256, Some("ec")), 1);
        assert_eq!(count(&set, Algorithm::PS384, Some("rsa")), 1);
        for algorithm in [Algorithm::PS256, Algorithm::RS256, Algorithm::HS256, Algorithm::ES384] {
            assert_eq!(count(&set, algorithm, None), 0, "{algorithm:?}");
        }
    }

    #[test]
    fn name_of_the_key_selects_it() {
        let set =
            parse(json!([ed(json!({ "kid": "1" })), ed(json!({ "kid": "2" })), ed(json!({}))])).unwrap();
        assert_eq!(count(&set, Algorithm::EdDSA, Some("1")), 2, "its own, and the one without a name");
        assert_eq!(count(&set, Algorithm::EdDSA, Some("3")), 1);
        assert_eq!(count(&set, Algorithm::EdDSA, None), 3);
    }

    #[test]
    fn both_names_of_ed25519_are_known() {
        for (alg, usable) in [("EdDSA", true), ("Ed25519", true), ("Ed448", false), ("ES256", false)] {
            assert_eq!(parse(json!([ed(json!({ "alg": alg }))])).is_ok(), usable, "{alg}");
        }
    }

    #[test]
    fn rubbish_is_no_key_set() {
        for text in
            ["", "<html>", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[1]}"#, "\u{feff}{}"]
        {
            assert!(KeySet::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(
            KeySet::parse(json!([[ed(json!({}))]]).to_string().as_bytes()).is_err(),
            "a list is no object"
        );
        let many: Vec<Value> = (0..MAX_KEYS + 3).map(|_| ed(json!({}))).collect();
        let set = parse(many.into()).unwrap();
        assert_eq!((set.len(), set.skipped().len()), (MAX_KEYS, 3));
    }
}
