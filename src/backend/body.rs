//! Stored bodies, which are opaque to the stores but for one thing: they name their message id. Owns the replacement of that id. Used by
//! both stores.

use bytes::Bytes;

use crate::protocol::MessageId;

/// The body with another message id in the place of the first occurrence of the old one. No client knows the old id yet, or the body
/// has no text of a client.
pub(super) fn with_id(body: Bytes, old: MessageId, new: MessageId) -> Bytes {
    if old == new {
        return body;
    }
    let (old, new) = (old.to_string(), new.to_string());
    let Some(at) = body.windows(old.len()).position(|part| part == old.as_bytes()) else { return body };
    [&body[..at], new.as_bytes(), &body[at + old.len()..]].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_id_is_replaced() {
        let [old, new] = [(); 2].map(|()| MessageId::generate());
        let body = |id: MessageId| {
            Bytes::from([b"\xff", id.to_string().as_bytes(), b" ", old.to_string().as_bytes()].concat())
        };
        assert_eq!(with_id(body(old), old, new), body(new));
        assert_eq!(with_id(body(new), new, new), body(new));
        assert_eq!(with_id(Bytes::from_static(b"x"), old, new), "x");
    }
}
