//! The borders of frames in the bytes that a client sends. Owns the position in the current frame and in a message of
//! several frames; copies and checks nothing, since the codec does. Fed by the codec's socket, so that the connection
//! can charge frames that the codec joins without telling.

/// A fragment below this size costs as much as a frame: reading it costs the node about the same.
const SMALL_FRAGMENT: u64 = 1_024;
/// Larger fragments cost one request for so many bytes.
const BYTES_PER_REQUEST: u64 = 16 << 10;

/// Two bytes, the longest form of the length, and the mask.
const LONGEST_HEADER: usize = 14;

const CONTROL: u8 = 0x8;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

/// Follows the frames of one client.
#[derive(Debug, Default)]
pub(super) struct FrameScanner {
    header: [u8; LONGEST_HEADER],
    header_len: usize,
    /// Bytes of the current frame's payload that are still to come.
    payload_left: u64,
    /// The current frame is the last one of a message, or a control frame.
    is_final: bool,
    is_control: bool,
    /// A message began with a frame that was not its last.
    is_fragmented: bool,
    /// Bytes of the message that is open, without headers.
    received: u64,
    unpaid: u32,
    unpaid_bytes: u64,
}

impl FrameScanner {
    /// Follows the next bytes, however they are split.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.payload_left > 0 {
                let passed =
                    usize::try_from(self.payload_left).map_or(bytes.len(), |left| left.min(bytes.len()));
                bytes = &bytes[passed..];
                self.payload_left -= passed as u64;
                if !self.is_control {
                    self.received += passed as u64;
                }
                if self.payload_left == 0 {
                    self.end_frame();
                }
                continue;
            }
            bytes = rest;
            self.header[self.header_len] = *first;
            self.header_len += 1;
            if let Some(payload) = self.payload() {
                self.begin_payload(payload);
            }
        }
    }

    /// The length of the payload, as soon as the whole header has arrived.
    fn payload(&self) -> Option<u64> {
        let header = &self.header[..self.header_len];
        let length = header.get(1)?;
        let mask = if length & MASKED == 0 { 0 } else { 4 };
        let (end, payload) = match length & LENGTH {
            126 => (4, u64::from(u16::from_be_bytes(header.get(2..4)?.try_into().ok()?))),
            127 => (10, u64::from_be_bytes(header.get(2..10)?.try_into().ok()?)),
            short => (2, u64::from(short)),
        };
        (header.len() == end + mask).then_some(payload)
    }

    fn begin_payload(&mut self, payload: u64) {
        let first = self.header[0];
        self.is_control = first & CONTROL != 0;
        self.is_final = first & FINAL != 0;
        // The last frame of a message is paid with the message, and a control frame by itself.
        if !self.is_final && !self.is_control {
            if payload < SMALL_FRAGMENT {
                self.unpaid = self.unpaid.saturating_add(1);
            } else {
                self.unpaid_bytes = self.unpaid_bytes.saturating_add(payload);
            }
        }
        self.payload_left = payload;
        if payload == 0 {
            self.end_frame();
        }
    }

    fn end_frame(&mut self) {
        self.header_len = 0;
        if !self.is_control {
            self.is_fragmented = !self.is_final;
            if self.is_final {
                self.received = 0;
            }
        }
    }

    /// The bytes of the frame, or of the message of several frames, that has begun and not ended.
    pub(super) fn open(&self) -> Option<u64> {
        (self.is_fragmented || self.header_len > 0).then_some(self.received)
    }

    /// What the fragments cost that arrived since the last call, in requests.
    pub(super) fn take_cost(&mut self) -> u32 {
        let by_bytes = self.unpaid_bytes / BYTES_PER_REQUEST;
        self.unpaid_bytes %= BYTES_PER_REQUEST;
        std::mem::take(&mut self.unpaid).saturating_add(u32::try_from(by_bytes).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload {
            0..=125 => bytes.push(MASKED | payload as u8),
            126..=0xffff => {
                bytes.push(MASKED | 126);
                bytes.extend((payload as u16).to_be_bytes());
            }
            _ => {
                bytes.push(MASKED | 127);
                bytes.extend((payload as u64).to_be_bytes());
            }
        }
        // Bytes that would be a header elsewhere.
        bytes.extend([0x01; 4]);
        bytes.extend(vec![0x01; payload]);
        bytes
    }

    fn cost_of(frames: &[Vec<u8>], step: usize) -> (u32, bool) {
        let mut scanner = FrameScanner::default();
        frames.concat().chunks(step).for_each(|part| scanner.feed(part));
        (scanner.take_cost(), scanner.open().is_some())
    }

    #[test]
    fn only_fragments_cost_however_they_are_split() {
        for step in [1, 2, 3, 7, 100, 1 << 20] {
            let whole = [frame(0x81, 0), frame(0x81, 300), frame(0x89, 5), frame(0x81, 70_000)];
            assert_eq!(cost_of(&whole, step), (0, false), "{step}");
            let small = [frame(0x01, 5), frame(0x00, 0), frame(0x89, 0), frame(0x00, 1_023), frame(0x80, 9)];
            assert_eq!(cost_of(&small, step), (3, false), "{step}");
            let large = [frame(0x01, 16 << 10), frame(0x00, 40 << 10), frame(0x00, 8 << 10)];
            assert_eq!(cost_of(&large, step), (4, true), "{step}");
        }
    }

    #[test]
    fn message_is_open_from_its_first_byte_to_its_last() {
        let mut scanner = FrameScanner::default();
        let bytes = [frame(0x01, 200), frame(0x89, 3), frame(0x80, 1)].concat();
        for byte in &bytes {
            scanner.feed(&[*byte]);
            let is_last = std::ptr::eq(byte, &raw const bytes[bytes.len() - 1]);
            assert_eq!(scanner.open().is_some(), !is_last);
        }
        scanner.feed(&bytes[..100]);
        assert_eq!(scanner.open(), Some(92), "the header of this frame has eight bytes");
    }
}
