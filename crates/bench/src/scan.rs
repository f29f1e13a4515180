//! Reads the few fields of a server's frame that are counted on every delivery. Owns the scan, which allocates nothing and
//! looks at each byte once; it does not check the JSON, which the server's own tests do. Used by the session; rare frames are
//! decoded with the protocol's types instead.

use memchr::memchr2;

/// The fields, as they stand in the JSON.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan<'a> {
    pub(crate) kind: &'a [u8],
    pub(crate) id: &'a [u8],
    pub(crate) room: &'a [u8],
    pub(crate) epoch: &'a [u8],
    pub(crate) message_id: &'a [u8],
    pub(crate) client_id: &'a [u8],
    pub(crate) seq: Option<u64>,
}

/// The depths of the envelope's fields and of the body's.
const ENVELOPE: u32 = 1;
const BODY: u32 = 2;

/// Reads a frame; none if it is no object whose strings end.
pub(crate) fn scan(frame: &[u8]) -> Option<Scan<'_>> {
    let mut scan = Scan::default();
    let (mut at, mut depth) = (0, 0_u32);
    let mut key: &[u8] = b"";
    while let Some(byte) = frame.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                key = b"";
            }
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b'"' => {
                let end = string_end(frame, at)?;
                let text = &frame[at..end];
                at = end + 1;
                let next = at + frame.get(at..)?.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                if frame.get(next) == Some(&b':') {
                    key = text;
                    at = next + 1;
                } else if depth <= BODY {
                    set(&mut scan, depth, key, text);
                    key = b"";
                }
            }
            b'0'..=b'9' if depth == BODY && key == b"seq" => {
                let rest = &frame[at - 1..];
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                scan.seq = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok();
                at += digits - 1;
                key = b"";
            }
            _ => {}
        }
    }
    (depth == 0 && !scan.kind.is_empty()).then_some(scan)
}

fn set<'a>(scan: &mut Scan<'a>, depth: u32, key: &[u8], text: &'a [u8]) {
    match (depth, key) {
        (ENVELOPE, b"message_type") => scan.kind = text,
        (ENVELOPE, b"id") => scan.id = text,
        (BODY, b"room") => scan.room = text,
        (BODY, b"epoch") => scan.epoch = text,
        (BODY, b"message_id") => scan.message_id = text,
        (BODY, b"client_id") => scan.client_id = text,
        _ => {}
    }
}

/// The index of the quote that ends the string.
fn string_end(frame: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr2(b'"', b'\\', frame.get(at..)?)?;
        if frame[at] == b'"' {
            return Some(at);
        }
        // An escape; the letter behind it can be a quote.
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_read_whatever_its_content_says() {
        let frame = br#"{"message_type":"GroupChat","message_body":{"sender_username":"a","content":"\"seq\":7,\\","room":"r1",
            "message_id":"m","client_id":"c","sent_at":1,"epoch":"9f","seq" : 42}}"#;
        let scan = scan(frame).unwrap();
        assert_eq!(
            scan,
            Scan {
                kind: b"GroupChat",
                id: b"",
                room: b"r1",
                epoch: b"9f",
                message_id: b"m",
                client_id: b"c",
                seq: Some(42)
            }
        );
    }

    #[test]
    fn fields_of_deeper_objects_do_not_count() {
        let frame = br#"{"message_type":"Ack","id":"e0","message_body":{"read":{"epoch":"no","seq":1},"features":["room"],"seq":9}}"#;
        let scan = scan(frame).unwrap();
        assert_eq!((scan.kind, scan.id, scan.epoch, scan.seq), (&b"Ack"[..], &b"e0"[..], &b""[..], Some(9)));
    }

    #[test]
    fn broken_frames_are_none() {
        for frame in ["", "{}", "{\"message_type\":\"x", "{\"message_type\":\"x\"", "}", "{\"a\\", "x"] {
            assert_eq!(scan(frame.as_bytes()), None, "{frame}");
        }
    }
}
