//! Key sets of an identity provider.
//!
//! Checks: a set that is accepted has 1 to 32 keys; a key that can't be used costs only itself, so a good key added to a set that is
//! refused makes it good.
#![no_main]

use chatnode::jwt::KeySet;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|data: &[u8]| {
    let parsed = KeySet::parse(data);
    if let Ok(set) = &parsed {
        assert!((1..=32).contains(&set.len()));
    }
    let Ok(Value::Object(mut document)) = serde_json::from_slice::<Value>(data) else {
        assert!(parsed.is_err());
        return;
    };
    let Some(Value::Array(keys)) = document.get_mut("keys") else { return };
    // RFC 8037, appendix A.2.
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    keys.insert(0, json!({ "kty": "OKP", "crv": "Ed25519", "x": x }));
    let set = KeySet::parse(Value::Object(document).to_string().as_bytes()).expect("it has a good key");
    // A document that has `keys` twice is refused, and has it once here.
    if let Ok(before) = parsed {
        assert_eq!(set.len(), (before.len() + 1).min(32));
    }
});
