//! JWTs: tokens that an identity provider signed. Owns which keys verify them, where the keys come from, and which claims make a
//! token valid for whom; revocations and connections are the business of `chat`. Used by `chat::auth` once for each connection and
//! token, never for each message.
//!
//! The form of tokens and keys, and the checks of standard claims, are those of the crate `jsonwebtoken`; the signatures are
//! verified by `ring`.

mod claims;
mod crypto;
mod fetch;
mod grants;
mod key;
mod key_files;
mod key_set;
mod refusal;
mod remote_keys;
mod verifier;

pub use claims::{MAX_JTI_BYTES, VerifiedToken, jti_id};
pub use grants::RoomGrants;
pub use key_set::KeySet;
pub use refusal::{Reason, Refusal};
pub use verifier::Verifier;

/// The largest token: above it nothing is decoded.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;
