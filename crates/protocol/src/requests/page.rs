//! How large the page in an answer may be. Owns the field `max_bytes` of the requests for pages; cutting a page is the
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
