//! The frames of WebSocket (RFC 6455) as a client needs them. Owns their bytes: finds whole frames in what was read, without
//! copying them, and masks what is sent. Opens nothing, and knows no messages. Used by the link.

/// The kinds of frames.
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;

/// The largest frame that is taken. A node sends none of more than 32 KiB, except where it is set otherwise.
const MAX_BYTES: u64 = 4 << 20;

/// A whole frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) is_last: bool,
    pub(crate) opcode: u8,
    pub(crate) payload: &'a [u8],
    /// The length of the frame with its header.
    pub(crate) length: usize,
}

/// What a server may not send.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// Only clients mask.
    #[error("the server sent a masked frame")]
    Masked,
    /// More than this program takes.
    #[error("the server sent a frame of {0} bytes; the limit is {MAX_BYTES}")]
    TooLarge(u64),
}

impl<'a> Frame<'a> {
    /// The frame at the start of these bytes; none if it is not whole yet.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Option<Self>, FrameError> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        if second & 0x80 != 0 {
            return Err(FrameError::Masked);
        }
        let (length, header) = match second {
            126 => match rest.first_chunk() {
                Some(length) => (u16::from_be_bytes(*length).into(), 4),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(length) => (u64::from_be_bytes(*length), 10),
                None => return Ok(None),
            },
            short => (short.into(), 2),
        };
        if length > MAX_BYTES {
            return Err(FrameError::TooLarge(length));
        }
        let length = header + length as usize;
        let Some(payload) = bytes.get(header..length) else { return Ok(None) };
        Ok(Some(Self { is_last: first & 0x80 != 0, opcode: first & 0x0f, payload, length }))
    }
}

/// Appends one masked frame.
pub(crate) fn put(into: &mut Vec<u8>, opcode: u8, payload: &[u8], mask: [u8; 4]) {
    const MASKED: u8 = 0x80;
    into.push(0x80 | opcode);
    match payload.len() {
        length @ 0..=125 => into.push(MASKED | length as u8),
        length @ 126..=0xffff => {
            into.push(MASKED | 126);
            into.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            into.push(MASKED | 127);
            into.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    into.extend_from_slice(&mask);
    into.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_found_once_they_are_whole() {
        for length in [0, 5, 125, 126, 65_535, 65_536] {
            let sent = chatnode_protocol::frame::text(&vec![b'x'; length]);
            for cut in [0, 1, sent.len() / 2, sent.len() - 1] {
                assert_eq!(Frame::read(&sent[..cut]), Ok(None), "{length}, cut at {cut}");
            }
            let frame = Frame::read(&sent).unwrap().unwrap();
            assert_eq!((frame.is_last, frame.opcode, frame.payload.len()), (true, TEXT, length));
            assert_eq!(frame.length, sent.len());
        }
    }

    #[test]
    fn forbidden_frames_are_errors() {
        assert_eq!(Frame::read(&[0x81, 0x85]), Err(FrameError::Masked));
        assert_eq!(Frame::read(&[0x81, 127, 1, 0, 0, 0, 0, 0, 0, 0]), Err(FrameError::TooLarge(1 << 56)));
    }

    #[test]
    fn a_sent_frame_is_masked() {
        let mut sent = Vec::new();
        put(&mut sent, TEXT, b"hello", [1, 2, 3, 4]);
        assert_eq!(sent[..6], [0x81, 0x85, 1, 2, 3, 4]);
        let read: Vec<u8> = sent[6..].iter().zip([1, 2, 3, 4, 1]).map(|(byte, key)| byte ^ key).collect();
        assert_eq!(read, b"hello");
    }
}
