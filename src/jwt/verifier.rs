//! The check of one JWT. Owns the order: size, header, algorithm, key, signature, claims; keys that the token itself brings or names
//! by a URL are never looked at. Made by `server`, called by `chat::auth`.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, AlgorithmFamily, Validation, decode, decode_header};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::claims::{self, VerifiedToken, millis};
use super::fetch::Source;
use super::key::Key;
use super::key_files;
use super::refusal::{Reason, Refusal};
use super::remote_keys::RemoteKeys;
use super::{MAX_TOKEN_BYTES, crypto};
use crate::config::Jwt;

/// The keys and rules of the settings, replaced as a whole.
struct Rules {
    settings: Jwt,
    algorithms: Vec<Algorithm>,
    /// Of the settings; those of the identity provider are in [`RemoteKeys`].
    keys: Vec<Key>,
    /// All but the algorithm.
    validation: Validation,
}

/// Checks JWTs.
pub struct Verifier {
    rules: RwLock<Arc<Rules>>,
    remote: Option<RemoteKeys>,
}

/// What came of trying some keys.
enum Tried {
    Verified(VerifiedToken),
    /// A key has verified the signature, and the token is not valid all the same; or no key was right.
    Refused(Refusal),
    /// No key fits the header.
    NoKey,
}

impl Rules {
    fn new(settings: &Jwt) -> Result<Self, String> {
        let unknown = |name: &String| format!("auth.jwt.algorithms: {name} is unknown");
        let algorithms = settings.algorithms.iter().map(|name| name.parse().map_err(|_| unknown(name)));
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = settings.leeway.as_secs();
        validation.validate_nbf = true;
        // An `aud` is checked even if none is set: then the token must have none.
        if !settings.audience.is_empty() {
            validation.set_audience(&settings.audience);
            validation.required_spec_claims.insert("aud".into());
        }
        if let Some(issuer) = &settings.issuer {
            validation.iss = Some(HashSet::from([issuer.clone()]));
            validation.required_spec_claims.insert("iss".into());
        }
        let algorithms: Vec<Algorithm> = algorithms.collect::<Result<_, _>>()?;
        Ok(Self { algorithms, keys: key_files::read(settings)?, validation, settings: settings.clone() })
    }
}

impl Verifier {
    /// Reads the keys in the settings. Those of the identity provider are read once [`Verifier::run`] runs.
    ///
    /// # Errors
    /// A file can't be used. The text names the setting and the file.
    pub fn new(settings: &Jwt) -> Result<Self, String> {
        crypto::install();
        let rules = Rules::new(settings)?;
        let source = settings.jwks_url.as_deref().map(Source::new).transpose()?;
        Ok(Self { rules: RwLock::new(Arc::new(rules)), remote: source.map(RemoteKeys::new) })
    }

    /// Takes over other settings, and reads the files again. `jwks_url` stays as it was. Waits for the disk.
    ///
    /// # Errors
    /// A file can't be used: then everything stays. The text names the setting and the file.
    pub fn reload(&self, settings: &Jwt) -> Result<(), String> {
        let rules = Arc::new(Rules::new(settings)?);
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        Ok(())
    }

    fn rules(&self) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether any JWT is accepted.
    pub fn is_on(&self) -> bool {
        !self.rules().algorithms.is_empty()
    }

    /// When a token that ends at this time (Unix ms) is no longer accepted.
    pub fn with_leeway(&self, expires_at_ms: u64) -> u64 {
        expires_at_ms.saturating_add(millis(self.rules().settings.leeway))
    }

    /// When every token that was issued until now (Unix ms) has ended. None if a token may be valid for any time.
    pub fn last_end(&self, now_ms: u64) -> Option<u64> {
        let settings = &self.rules().settings;
        // `iat` may be ahead of this clock by the leeway, and `exp` behind it.
        Some(now_ms.saturating_add(millis(settings.max_ttl?)).saturating_add(2 * millis(settings.leeway)))
    }

    /// Keeps the keys of the identity provider up to date, until the node stops.
    pub async fn run(&self, stop: CancellationToken) {
        match &self.remote {
            Some(remote) => remote.run(stop).await,
            None => stop.cancelled().await,
        }
    }

    /// Checks a token. May wait some seconds for the keys of the identity provider, if the token names an unknown one.
    ///
    /// # Errors
    /// The token is not valid, or that can't be found out.
    pub async fn verify(&self, token: &str, now_ms: u64) -> Result<VerifiedToken, Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Reason::Malformed.into());
        }
        let header = decode_header(token).map_err(|_| Reason::Malformed)?;
        let rules = self.rules();
        if !rules.algorithms.contains(&header.alg) {
            return Err(Reason::Algorithm.into());
        }
        let local = rules.keys.iter().filter(|key| key.serves(header.alg));
        let local = rules.try_keys(local, token, header.alg, now_ms);
        if !local.is_unsigned() {
            return local.into();
        }
        let (Some(remote), true) = (&self.remote, header.alg.family() != AlgorithmFamily::Hmac) else {
            return local.into();
        };
        let try_remote = || {
            let keys = remote.current();
            let keys = keys.iter().flat_map(|keys| keys.candidates(header.alg, header.kid.as_deref()));
            rules.try_keys(keys, token, header.alg, now_ms)
        };
        let mut tried = try_remote();
        // A token without the name of a key may be signed with a new one.
        let is_unknown = matches!(tried, Tried::NoKey) || (header.kid.is_none() && tried.is_unsigned());
        if is_unknown {
            if !remote.refresh().await {
                return Err(Refusal::Unavailable);
            }
            tried = try_remote();
        }
        if matches!(tried, Tried::NoKey) { local.into() } else { tried.into() }
    }
}

impl From<Tried> for Result<VerifiedToken, Refusal> {
    fn from(tried: Tried) -> Self {
        match tried {
            Tried::Verified(token) => Ok(token),
            Tried::Refused(refusal) => Err(refusal),
            Tried::NoKey => Err(Reason::UnknownKey.into()),
        }
    }
}

impl Tried {
    /// Whether no key has verified the signature.
    fn is_unsigned(&self) -> bool {
        matches!(self, Self::NoKey | Self::Refused(Refusal::Invalid { reason: Reason::Signature, .. }))
    }
}

impl Rules {
    /// Tries keys until one has verified the signature.
    fn try_keys<'a>(
        &self,
        keys: impl Iterator<Item = &'a Key>,
        token: &str,
        algorithm: Algorithm,
        now_ms: u64,
    ) -> Tried {
        let mut validation = self.validation.clone();
        validation.algorithms = vec![algorithm];
        let mut tried = Tried::NoKey;
        for key in keys {
            match decode::<Map<String, Value>>(token, &key.decoding, &validation) {
                Ok(data) => {
                    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
                    let read = claims::read(&data.claims, signed, &self.settings, now_ms);
                    return read.map_or_else(Tried::Refused, Tried::Verified);
                }
                Err(error) => match error.kind() {
                    ErrorKind::InvalidSignature => tried = Tried::Refused(Reason::Signature.into()),
                    kind => return Tried::Refused(refusal(kind)),
                },
            }
        }
        tried
    }
}

/// What an error means, once the signature is verified. The header was read before.
fn refusal(kind: &ErrorKind) -> Refusal {
    match kind {
        ErrorKind::ExpiredSignature => Reason::Expired.into(),
        ErrorKind::ImmatureSignature => Reason::NotYetValid.into(),
        ErrorKind::InvalidIssuer => Reason::Issuer.into(),
        ErrorKind::InvalidAudience => Reason::Audience.into(),
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "iss" => Reason::Issuer.into(),
            "aud" => Reason::Audience.into(),
            claim => Refusal::claims(format!("`{claim}` is missing or invalid")),
        },
        ErrorKind::InvalidClaimFormat(claim) => Refusal::claims(format!("`{claim}` is invalid")),
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => Reason::Algorithm.into(),
        _ => Reason::Malformed.into(),
    }
}

#[cfg(test)]
mod tests;
