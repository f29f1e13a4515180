//! How large the page in an answer may be. Owns the fields `max_bytes` and `limit` of the requests for pages; cutting a page is the
//! node's business.

use serde::{Deserializer, de};

use crate::number;

/// The smallest `max_bytes` of a request: the `Ack` and an entry of ordinary size fit.
pub const MIN_PAGE_BYTES: u32 = 4_096;

/// The largest `max_bytes` of a request.
pub const MAX_PAGE_BYTES: u32 = 262_144;

/// Reads `max_bytes`.
pub(super) fn max_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let bytes = number::read_optional(deserializer, MIN_PAGE_BYTES.into(), MAX_PAGE_BYTES.into())?;
    bytes.map(u32::try_from).transpose().map_err(de::Error::custom)
}

/// Reads `limit`, from 1 to `MAX`.
pub(super) fn limit<'de, D: Deserializer<'de>, const MAX: u32>(deserializer: D) -> Result<u32, D::Error> {
    let limit = number::read_optional(deserializer, 1, MAX.into())?;
    Ok(limit.map_or(MAX, |limit| limit as u32))
}

/// The `limit` of a request that has none.
pub(super) fn most<const MAX: u32>() -> u32 {
    MAX
}
