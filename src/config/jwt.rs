//! The settings of JWTs, the tokens of an identity provider. Owns their structure; the rules between them are in `jwt_rules`. Used
//! by `jwt`, which gives them their effect.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::secret;

/// The tokens of an identity provider. Without algorithms, none is accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Jwt {
    /// The algorithms that a token may be signed with.
    pub algorithms: Vec<String>,
    /// The secret of HS256 and HS384.
    #[serde(serialize_with = "secret::hidden")]
    pub hmac_secret: Option<SecretString>,
    /// The file that contains the secret.
    pub hmac_secret_file: Option<PathBuf>,
    /// The secret before the present one, while tokens signed with it are in use.
    #[serde(serialize_with = "secret::hidden")]
    pub hmac_previous_secret: Option<SecretString>,
    /// The file that contains the secret before the present one.
    pub hmac_previous_secret_file: Option<PathBuf>,
    /// PEM files with a public key each.
    pub public_keys: Vec<PathBuf>,
    /// Where the identity provider publishes its keys.
    pub jwks_url: Option<String>,
    /// The issuer that a token must name; if unset, any.
    pub issuer: Option<String>,
    /// The audiences of which a token must name one. If empty, a token must name none.
    pub audience: Vec<String>,
    /// The claim with the user's name.
    pub user_claim: String,
    /// The claim with what a token grants in rooms; empty: none.
    pub rooms_claim: String,
    /// How far the clocks of the identity provider and of this node may differ.
    #[serde(with = "humantime_serde")]
    pub leeway: Duration,
    /// The longest time for which a token may be valid; if unset, any.
    #[serde(with = "humantime_serde")]
    pub max_ttl: Option<Duration>,
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            algorithms: Vec::new(),
            hmac_secret: None,
            hmac_secret_file: None,
            hmac_previous_secret: None,
            hmac_previous_secret_file: None,
            public_keys: Vec::new(),
            jwks_url: None,
            issuer: None,
            audience: Vec::new(),
            user_claim: "sub".into(),
            rooms_claim: "rooms".into(),
            leeway: Duration::from_secs(30),
            max_ttl: None,
        }
    }
}

impl Jwt {
    /// Whether tokens of an identity provider are accepted.
    pub fn is_on(&self) -> bool {
        !self.algorithms.is_empty()
    }

    /// The least length of a secret: that of the hash, as RFC 7518 asks for.
    pub fn min_secret_bytes(&self) -> usize {
        if self.algorithms.iter().any(|name| name == "HS384") { 48 } else { 32 }
    }

    /// Whether there is a secret, as a text or in a file.
    pub(super) fn has_secret(&self) -> bool {
        self.hmac_secret.is_some() || self.hmac_secret_file.is_some()
    }

    /// Whether there is a secret before the present one.
    pub(super) fn has_previous_secret(&self) -> bool {
        self.hmac_previous_secret.is_some() || self.hmac_previous_secret_file.is_some()
    }

    /// Whether anything says that there should be tokens of an identity provider.
    pub(super) fn is_set(&self) -> bool {
        self.is_on()
            || self.has_secret()
            || self.has_previous_secret()
            || !self.public_keys.is_empty()
            || self.jwks_url.is_some()
            || self.issuer.is_some()
            || !self.audience.is_empty()
            || self.max_ttl.is_some()
    }
}
