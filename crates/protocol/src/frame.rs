//! Finished WebSocket frames. Owns the bytes of a server's frames (RFC 6455: unmasked, hence the same for everybody);
//! does not know what they say. Built once per node and burst, then shared by reference count.

use bytes::{BufMut, BytesMut};

const FIN_TEXT: u8 = 0x81;
const FIN_CLOSE: u8 = 0x88;
const FIN_PING: u8 = 0x89;

/// The most bytes that a frame's header takes.
pub const MAX_HEADER_BYTES: usize = 10;

/// A close frame's reason may have this many bytes (RFC 6455, 5.5: a control frame carries 125, two are the code).
pub const MAX_CLOSE_REASON_BYTES: usize = 123;

/// Appends one text frame whose payload is `parts`, one after the other.
pub fn put_text(buffer: &mut BytesMut, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    buffer.reserve(MAX_HEADER_BYTES + length);
    put_header(buffer, FIN_TEXT, length);
    for part in parts {
        buffer.put_slice(part);
    }
}

/// One text frame.
pub fn text(payload: &[u8]) -> bytes::Bytes {
    let mut buffer = BytesMut::with_capacity(MAX_HEADER_BYTES + payload.len());
    put_text(&mut buffer, &[payload]);
    buffer.freeze()
}

/// A ping with an eight-byte payload, which its pong repeats.
pub fn ping(payload: u64) -> bytes::Bytes {
    let mut buffer = BytesMut::with_capacity(10);
    put_header(&mut buffer, FIN_PING, 8);
    buffer.put_u64(payload);
    buffer.freeze()
}

/// A close frame; a reason over [`MAX_CLOSE_REASON_BYTES`] is cut at a character.
pub fn close(code: u16, reason: &str) -> bytes::Bytes {
    let reason = &reason[..reason.floor_char_boundary(MAX_CLOSE_REASON_BYTES)];
    let mut buffer = BytesMut::with_capacity(4 + reason.len());
    put_header(&mut buffer, FIN_CLOSE, 2 + reason.len());
    buffer.put_u16(code);
    buffer.put_slice(reason.as_bytes());
    buffer.freeze()
}

fn put_header(buffer: &mut BytesMut, first: u8, length: usize) {
    buffer.put_u8(first);
    match length {
        0..=125 => buffer.put_u8(length as u8),
        126..=0xffff => {
            buffer.put_u8(126);
            buffer.put_u16(length as u16);
        }
        _ => {
            buffer.put_u8(127);
            buffer.put_u64(length as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_takes_the_shortest_form() {
        assert_eq!(&text(b"hi")[..], &[0x81, 2, b'h', b'i']);
        assert_eq!(&text(&[b'x'; 126])[..4], &[0x81, 126, 0, 126]);
        assert_eq!(&text(&[b'x'; 65_536])[..10], &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_long_close_reason_is_cut_at_a_character() {
        let frame = close(4002, &"ä".repeat(100));
        assert_eq!(frame[1], 124);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }
}
