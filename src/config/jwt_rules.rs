//! The rules between the settings of JWTs, with their reasons. Owns the rules only. Called by the validation.

use std::net::IpAddr;

use hyper::Uri;
use secrecy::ExposeSecret;

use super::findings::Findings;
use super::{Auth, Jwt};

/// The algorithms that can be named. Those with SHA-512 are left out: hardly anybody signs tokens with them.
const ALGORITHMS: [&str; 9] =
    ["HS256", "HS384", "RS256", "RS384", "PS256", "PS384", "ES256", "ES384", "EdDSA"];

/// Checks the settings of JWTs as a whole.
pub(super) fn check(auth: &Auth, found: &mut Findings) {
    let jwt = &auth.jwt;
    if !jwt.is_set() {
        return;
    }
    let what = "is set, but auth.enabled is false, so no token is checked: set auth.enabled to true, or remove auth.jwt";
    found.require(first_set(jwt), auth.enabled, what);
    algorithms(jwt, found);
    secrets(jwt, found);
    let what = "must not be empty: name the claim with the user's name, such as sub";
    found.require("auth.jwt.user_claim", !jwt.user_claim.trim().is_empty(), what);
    let what = "must not be empty: leave it unset to accept every issuer";
    found.require("auth.jwt.issuer", jwt.issuer.as_deref() != Some(""), what);
    if let Some(url) = &jwt.jwks_url
        && let Err(what) = check_url(url)
    {
        found.require("auth.jwt.jwks_url", false, what);
    }
}

/// The key of a setting that is set, for an error about all of them.
fn first_set(jwt: &Jwt) -> &'static str {
    [
        ("auth.jwt.algorithms", jwt.is_on()),
        ("auth.jwt.hmac_secret", jwt.hmac_secret.is_some()),
        ("auth.jwt.hmac_secret_file", jwt.hmac_secret_file.is_some()),
        ("auth.jwt.public_keys", !jwt.public_keys.is_empty()),
        ("auth.jwt.jwks_url", jwt.jwks_url.is_some()),
    ]
    .into_iter()
    .find(|(_, is_set)| *is_set)
    .map_or("auth.jwt.algorithms", |(key, _)| key)
}

fn algorithms(jwt: &Jwt, found: &mut Findings) {
    let key = "auth.jwt.algorithms";
    for name in &jwt.algorithms {
        let is_known = ALGORITHMS.contains(&name.as_str());
        found.require(key, is_known, format!("{name:?} is none of {}", ALGORITHMS.join(", ")));
    }
    let what = "must name the algorithms that your identity provider signs with, such as RS256: there is no default, and \
                other settings of auth.jwt are set";
    found.require(key, jwt.is_on(), what);
    let has_hmac = jwt.algorithms.iter().any(|name| name.starts_with("HS"));
    let has_public = jwt.algorithms.iter().any(|name| !name.starts_with("HS"));
    let what = "has HS256 or HS384, which need auth.jwt.hmac_secret or auth.jwt.hmac_secret_file";
    found.require(key, !has_hmac || jwt.has_secret(), what);
    let has_keys = !jwt.public_keys.is_empty() || jwt.jwks_url.is_some();
    let what = "has an algorithm with public keys, which needs auth.jwt.public_keys or auth.jwt.jwks_url";
    found.require(key, !has_public || has_keys, what);
    if jwt.is_on() {
        let what = "has no use: auth.jwt.algorithms has neither HS256 nor HS384";
        found.require("auth.jwt.hmac_secret", has_hmac || !jwt.has_secret(), what);
        let what = "has no use: auth.jwt.algorithms has no algorithm with public keys";
        found.require("auth.jwt.public_keys", has_public || jwt.public_keys.is_empty(), what);
        found.require("auth.jwt.jwks_url", has_public || jwt.jwks_url.is_none(), what);
    }
}

fn secrets(jwt: &Jwt, found: &mut Findings) {
    let both = "must not be set together with the file: which of the two counts?";
    let is_one = jwt.hmac_secret.is_none() || jwt.hmac_secret_file.is_none();
    found.require("auth.jwt.hmac_secret", is_one, both);
    let is_one = jwt.hmac_previous_secret.is_none() || jwt.hmac_previous_secret_file.is_none();
    found.require("auth.jwt.hmac_previous_secret", is_one, both);
    let what = "needs auth.jwt.hmac_secret or auth.jwt.hmac_secret_file, the present secret";
    found.require("auth.jwt.hmac_previous_secret", !jwt.has_previous_secret() || jwt.has_secret(), what);
    let least = jwt.min_secret_bytes();
    for (key, secret) in [
        ("auth.jwt.hmac_secret", &jwt.hmac_secret),
        ("auth.jwt.hmac_previous_secret", &jwt.hmac_previous_secret),
    ] {
        let is_long = secret.as_ref().is_none_or(|secret| secret.expose_secret().len() >= least);
        let what = format!(
            "must have at least {least} bytes, as long as the hash; create it with `openssl rand -hex 32`"
        );
        found.require(key, is_long, what);
    }
    if let (Some(one), Some(other)) = (&jwt.hmac_secret, &jwt.hmac_previous_secret) {
        let differs = one.expose_secret() != other.expose_secret();
        found.require("auth.jwt.hmac_previous_secret", differs, "must differ from auth.jwt.hmac_secret");
    }
}

/// Keys that anybody on the way could replace would let anybody sign.
fn check_url(url: &str) -> Result<(), &'static str> {
    let uri: Uri =
        url.parse().map_err(|_| "must be a URL such as https://login.example.com/.well-known/jwks.json")?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("must be a whole URL such as https://login.example.com/.well-known/jwks.json");
    };
    if authority.as_str().contains('@') {
        return Err("must not contain a user or a password: the keys of an identity provider are public");
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback());
    match scheme {
        "https" => Ok(()),
        "http" if is_loopback => Ok(()),
        "http" => Err("must be an https URL: with http, anybody on the way could replace the keys"),
        _ => Err("must be an https URL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a-secret-of-thirty-two-bytes-000";

    fn problems(adjust: impl FnOnce(&mut Auth)) -> Vec<(&'static str, String)> {
        let mut auth = Auth { enabled: true, ..Auth::default() };
        adjust(&mut auth);
        let mut found = Findings::default();
        check(&auth, &mut found);
        found.0
    }

    fn hmac(jwt: &mut Jwt) {
        jwt.algorithms = vec!["HS256".into()];
        jwt.hmac_secret = Some(SECRET.into());
    }

    fn remote(jwt: &mut Jwt, url: &str) {
        jwt.algorithms = vec!["RS256".into(), "EdDSA".into()];
        jwt.jwks_url = Some(url.into());
    }

    #[test]
    fn complete_settings_are_valid() {
        assert_eq!(problems(|_| {}), []);
        assert_eq!(problems(|auth| hmac(&mut auth.jwt)), []);
        for url in [
            "https://id.example.com/keys",
            "http://127.0.0.1:9/keys",
            "http://[::1]/",
            "http://localhost/k?a=1",
        ] {
            assert_eq!(problems(|auth| remote(&mut auth.jwt, url)), [], "{url}");
        }
        let files = |auth: &mut Auth| {
            auth.jwt.algorithms = vec!["HS384".into(), "ES256".into()];
            auth.jwt.hmac_secret_file = Some("secret".into());
            auth.jwt.public_keys = vec!["key.pem".into()];
        };
        assert_eq!(problems(files), []);
    }

    #[test]
    fn contradictions_are_named_with_what_to_do() {
        type Adjust = fn(&mut Auth);
        let cases: [(Adjust, &str, &str); 17] = [
            (
                |a| {
                    hmac(&mut a.jwt);
                    a.enabled = false
                },
                "auth.jwt.algorithms",
                "auth.enabled is false",
            ),
            (
                |a| {
                    hmac(&mut a.jwt);
                    a.jwt.algorithms = vec![]
                },
                "auth.jwt.algorithms",
                "must name the algorithms",
            ),
            (|a| a.jwt.issuer = Some("x".into()), "auth.jwt.algorithms", "must name the algorithms"),
            (|a| a.jwt.algorithms = vec!["HS256".into()], "auth.jwt.algorithms", "need auth.jwt.hmac_secret"),
            (
                |a| a.jwt.algorithms = vec!["ES256".into()],
                "auth.jwt.algorithms",
                "needs auth.jwt.public_keys",
            ),
            (
                |a| {
                    hmac(&mut a.jwt);
                    a.jwt.algorithms.push("none".into())
                },
                "auth.jwt.algorithms",
                "\"none\" is none of",
            ),
            (
                |a| {
                    hmac(&mut a.jwt);
                    a.jwt.jwks_url = Some("https://h/".into())
                },
                "auth.jwt.jwks_url",
                "has no use",
            ),
            (
                |a| {
                    hmac(&mut a.jwt);
                    a.jwt.public_keys = vec!["k".into()]
                },
                "auth.jwt.public_keys",
                "has no use",
            ),
            (
                |a| {
                    remote(&mut a.jwt, "https://h/");
                    a.jwt.hmac_secret = Some(SECRET.into())
                },
                "auth.jwt.hmac_secret",
                "has no use",
            ),
            (
                |a| {
                    hmac(&mut a.jwt);
                    a.jwt.hmac_secret = Some("short".into())
                },
                "auth.jwt.hmac_secret",
                "at least 32 bytes",
            ),
            (
                |a| {
                    hmac(&mut a.jwt);
                    a.jwt.algorithms.push("HS384".into())
                },
                "auth.jwt.hmac_secret",
                "at least 48 bytes",
            ),
            (
                |a| {
                    hmac(&mut a.jwt);
                    a.jwt.hmac_secret_file = Some("f".into())
                },
                "auth.jwt.hmac_secret",
                "together with the file",
            ),
            (
                |a| {
                    hmac(&mut a.jwt);
                    a.jwt.hmac_previous_secret = Some(SECRET.into())
                },
                "auth.jwt.hmac_previous_secret",
                "must differ",
            ),
            (
                |a| {
                    remote(&mut a.jwt, "https://h/");
                    a.jwt.hmac_previous_secret = Some(SECRET.into())
                },
                "auth.jwt.hmac_previous_secret",
                "the present secret",
            ),
            (
                |a| {
                    hmac(&mut a.jwt);
                    a.jwt.user_claim = " ".into()
                },
                "auth.jwt.user_claim",
                "must not be empty",
            ),
            (
                |a| {
                    hmac(&mut a.jwt);
                    a.jwt.issuer = Some(String::new())
                },
                "auth.jwt.issuer",
                "must not be empty",
            ),
            (|a| remote(&mut a.jwt, "https://user:pw@h/"), "auth.jwt.jwks_url", "must not contain a user"),
        ];
        for (number, (adjust, key, what)) in cases.into_iter().enumerate() {
            let problems = problems(adjust);
            let found = problems.iter().any(|(found, said)| *found == key && said.contains(what));
            assert!(found, "case {number}: {problems:?}");
        }
        for url in [
            "http://id.example.com/",
            "http://10.0.0.1/",
            "ftp://h/",
            "/keys",
            "id.example.com",
            "",
            "file:///k",
        ] {
            let problems = problems(|auth| remote(&mut auth.jwt, url));
            assert!(problems.iter().any(|(key, _)| *key == "auth.jwt.jwks_url"), "{url}: {problems:?}");
        }
    }
}
