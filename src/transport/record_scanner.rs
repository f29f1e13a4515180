//! The records of TLS as they arrive. Owns how many bytes of the open record were received: the library keeps them until the record
//! is complete, and does not tell how many they are. Fed with every byte that a connection with TLS receives.

/// Type, version and length.
const HEADER_BYTES: u32 = 5;

/// Follows the headers of the records.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct RecordScanner {
    /// Received bytes of the open record, its header included.
    received: u32,
    /// The length of what follows the header, as far as it was received.
    length: u16,
}

impl RecordScanner {
    /// The next bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes {
            if self.received < HEADER_BYTES {
                if self.received >= HEADER_BYTES - 2 {
                    self.length = self.length << 8 | u16::from(*first);
                }
                self.received += 1;
                bytes = rest;
            } else {
                let missing = HEADER_BYTES + u32::from(self.length) - self.received;
                let taken = bytes.len().min(missing as usize);
                // At most the length of a record, so it fits.
                self.received += taken as u32;
                bytes = &bytes[taken..];
            }
            if self.received >= HEADER_BYTES && self.received == HEADER_BYTES + u32::from(self.length) {
                *self = Self::default();
            }
        }
    }

    /// The bytes of the record that is open.
    pub(super) fn unfinished(self) -> u64 {
        u64::from(self.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_record_counts_until_it_is_complete() {
        let records: Vec<u8> =
            [&[22, 3, 3, 0, 0][..], &[23, 3, 3, 1, 2], &[7; 258], &[23, 3, 3, 0, 1, 9]].concat();
        for step in [1, 2, 3, 5, 7, 100, 300] {
            let mut scanner = RecordScanner::default();
            let mut fed = 0;
            for part in records.chunks(step) {
                scanner.feed(part);
                fed += part.len();
                let begun = [0, 5, 268, 274].into_iter().rfind(|begin| *begin <= fed).unwrap();
                assert_eq!(scanner.unfinished(), (fed - begun) as u64, "{step} {fed}");
            }
        }
    }
}
