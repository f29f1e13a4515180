//! One key that verifies JWTs. Owns which algorithms a key serves, by its type, and which keys are refused; where keys come from is
//! the matter of `key_files` and `key_set`. Called by both.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde_json::Value;
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

/// What RSA keys serve.
const RSA: [Algorithm; 4] = [Algorithm::RS256, Algorithm::RS384, Algorithm::PS256, Algorithm::PS384];

/// The bytes of an RSA modulus of 2,048 to 8,192 bits: `ring` verifies with no other.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1_024;

/// An uncompressed point: a byte, and two coordinates.
const P256_POINT: usize = 1 + 2 * 32;
const P384_POINT: usize = 1 + 2 * 48;
const ED25519_POINT: usize = 32;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const CURVE_P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const CURVE_P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A key.
pub(super) struct Key {
    /// Its name, if it has one.
    pub(super) kid: Option<String>,
    /// What it serves.
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) decoding: DecodingKey,
}

impl Key {
    /// A secret. It serves nothing but HMAC.
    pub(super) fn secret(secret: &[u8]) -> Result<Self, &'static str> {
        let decoding = DecodingKey::from_secret(secret).map_err(|_| "the secret is empty")?;
        Ok(Self { kid: None, algorithms: vec![Algorithm::HS256, Algorithm::HS384], decoding })
    }

    /// A public key, in the form of a `PUBLIC KEY` in PEM (SubjectPublicKeyInfo).
    ///
    /// # Errors
    /// It is none, or of a type that this node does not know.
    pub(super) fn from_spki(der: &[u8]) -> Result<Self, &'static str> {
        let info = SubjectPublicKeyInfoRef::try_from(der).map_err(|_| "it is no valid public key")?;
        let key = info.subject_public_key.as_bytes().ok_or("it is no valid public key")?;
        let curve = || info.algorithm.parameters_oid().map_err(|_| "it names no curve");
        let (algorithms, decoding) = match info.algorithm.oid {
            RSA_ENCRYPTION => (RSA.to_vec(), DecodingKey::from_rsa_der(key)),
            EC_PUBLIC_KEY if curve()? == CURVE_P256 => {
                (vec![Algorithm::ES256], DecodingKey::from_ec_der(key))
            }
            EC_PUBLIC_KEY if curve()? == CURVE_P384 => {
                (vec![Algorithm::ES384], DecodingKey::from_ec_der(key))
            }
            ED25519 => (vec![Algorithm::EdDSA], DecodingKey::from_ed_der(key)),
            _ => return Err("its type is none of RSA, P-256, P-384 and Ed25519"),
        };
        Self { kid: None, algorithms, decoding }.checked()
    }

    /// A key of a set.
    ///
    /// # Errors
    /// The node can't use it: it is a secret, not for signatures, of another type, or not valid.
    pub(super) fn from_jwk(value: &Value) -> Result<Self, &'static str> {
        let jwk: Jwk = serde_json::from_value(value.clone()).map_err(|_| "it is no valid key")?;
        let mut algorithms = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => RSA.to_vec(),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                vec![Algorithm::ES256]
            }
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => {
                vec![Algorithm::ES384]
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                vec![Algorithm::EdDSA]
            }
            AlgorithmParameters::OctetKey(_) => {
                return Err("it is a secret, which is never taken from a set");
            }
            _ => return Err("its type is none of RSA, P-256, P-384 and Ed25519"),
        };
        if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
            return Err("its `use` is not `sig`");
        }
        let verifies = |operations: &Vec<KeyOperations>| operations.contains(&KeyOperations::Verify);
        if !jwk.common.key_operations.as_ref().is_none_or(verifies) {
            return Err("its `key_ops` has no `verify`");
        }
        match value.get("alg") {
            None | Some(Value::Null) => {}
            Some(Value::String(name)) => algorithms.retain(|algorithm| names(name, *algorithm)),
            Some(_) => algorithms.clear(),
        }
        let decoding = DecodingKey::from_jwk(&jwk).map_err(|_| "it is no valid key")?;
        Self { kid: jwk.common.key_id, algorithms, decoding }.checked()
    }

    /// Whether it serves this algorithm.
    pub(super) fn serves(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Refuses a key that can verify nothing, so that it is seen where it is read.
    fn checked(self) -> Result<Self, &'static str> {
        let first = *self.algorithms.first().ok_or("its `alg` does not fit its type")?;
        let is_whole = match (first, self.decoding.kind()) {
            (Algorithm::ES256, DecodingKeyKind::SecretOrDer(key)) => key.len() == P256_POINT,
            (Algorithm::ES384, DecodingKeyKind::SecretOrDer(key)) => key.len() == P384_POINT,
            (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(key)) => key.len() == ED25519_POINT,
            (_, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                let zeros = n.iter().take_while(|byte| **byte == 0).count();
                MODULUS_BYTES.contains(&(n.len() - zeros)) && (1..=5).contains(&e.len())
            }
            // The modulus, and a few bytes around it.
            (_, DecodingKeyKind::SecretOrDer(der)) => {
                (*MODULUS_BYTES.start()..=MODULUS_BYTES.end() + 32).contains(&der.len())
            }
        };
        if is_whole {
            Ok(self)
        } else {
            Err("it has not the length of its type; RSA needs 2048 to 8192 bits")
        }
    }
}

/// RFC 9864 gives EdDSA with this curve a name of its own.
fn names(name: &str, algorithm: Algorithm) -> bool {
    (name == "Ed25519" && algorithm == Algorithm::EdDSA) || name.parse() == Ok(algorithm)
}
