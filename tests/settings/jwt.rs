//! The settings of JWTs, as `chatnode config check` judges them before a node starts.

use crate::work_dir::WorkDir;

/// What the check says of these settings, besides authentication; empty if they are valid.
fn check(settings: &[(&str, &str)]) -> String {
    let dir = WorkDir::new();
    let mut environment = vec![("CHAT_AUTH__ENABLED", "true")];
    environment.extend_from_slice(settings);
    let output = dir.run(&environment, &["config", "check"]);
    let said = String::from_utf8(output.stderr).unwrap();
    if output.status.success() { String::new() } else { said }
}

#[test]
fn contradictions_and_missing_files_are_errors() {
    const SECRET: &str = "kQ3v-9tLw-8XzR-2mNb-5pYc-7sHd-4f";
    let hmac = ("CHAT_AUTH__JWT__ALGORITHMS", "HS256");
    let public = ("CHAT_AUTH__JWT__ALGORITHMS", "ES256");
    assert_eq!(check(&[hmac, ("CHAT_AUTH__JWT__HMAC_SECRET", SECRET)]), "");
    for (settings, said) in [
        (vec![hmac], "need auth.jwt.hmac_secret"),
        (vec![("CHAT_AUTH__JWT__HMAC_SECRET", SECRET)], "must name the algorithms"),
        (vec![public, ("CHAT_AUTH__JWT__JWKS_URL", "http://id.example.com/")], "must be an https URL"),
        (
            vec![public, ("CHAT_AUTH__JWT__PUBLIC_KEYS", "/none.pem")],
            "auth.jwt.public_keys: can't use /none.pem",
        ),
        (
            vec![hmac, ("CHAT_AUTH__JWT__HMAC_SECRET_FILE", "/none")],
            "auth.jwt.hmac_secret_file: can't use /none",
        ),
        (vec![hmac, ("CHAT_AUTH__JWT__HMAC_SECRET", SECRET), ("CHAT_AUTH__JWT__MAX_TTL", "0s")], "from 1s"),
        (vec![hmac, ("CHAT_AUTH__JWT__HMAC_SECRET", "kQ3v")], "must have at least 32 bytes"),
        (
            vec![hmac, ("CHAT_AUTH__JWT__HMAC_SECRET", SECRET), ("CHAT_AUTH__ENABLED", "false")],
            "auth.enabled is false",
        ),
    ] {
        let found = check(&settings);
        assert!(found.contains(said), "{said}: {found}");
        assert!(!found.contains(SECRET) && !found.contains("kQ3v"), "a secret is shown: {found}");
    }
}
