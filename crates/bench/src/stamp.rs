//! The `id` of a generated message: which run and publisher sent it, its number, and the intended time of sending. Owns its
//! text, which the server repeats in the `Ack` (`id`) and in each delivery (`client_id`); so neither needs a table here. Made
//! and read by the session.

use std::fmt::Write as _;

const RUN: usize = 8;
const PUBLISHER: usize = 6;
const NUMBER: usize = 8;
const NANOS: usize = 12;

/// The length of every stamp: the same, so that it is read without a search.
pub(crate) const LENGTH: usize = RUN + PUBLISHER + NUMBER + NANOS;

/// Where a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Random: tells this run from earlier ones against the same nodes.
    pub(crate) run: u32,
    /// The seat of the publisher; fewer than 2^24.
    pub(crate) publisher: u32,
    /// Counts the messages of the publisher.
    pub(crate) number: u32,
    /// When it was to be sent, in nanoseconds of the run's clock; less than 2^48, which is three days.
    pub(crate) intended: u64,
}

impl Stamp {
    /// Appends its text.
    pub(crate) fn write(&self, into: &mut String) {
        let Self { run, publisher, number, intended } = self;
        write!(into, "{run:08x}{publisher:06x}{number:08x}{intended:012x}").expect("a String takes all");
    }

    /// None if this is not the text of a stamp.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        if text.len() != LENGTH {
            return None;
        }
        let (run, text) = text.split_at(RUN);
        let (publisher, text) = text.split_at(PUBLISHER);
        let (number, nanos) = text.split_at(NUMBER);
        Some(Self {
            run: hex(run)? as u32,
            publisher: hex(publisher)? as u32,
            number: hex(number)? as u32,
            intended: hex(nanos)?,
        })
    }

    /// A number for sums over sets of messages: two sets with the same sum have the same messages, except by accident.
    pub(crate) fn digest(&self) -> u64 {
        // The finaliser of SplitMix64.
        let mut bits = u64::from(self.publisher) << 32 | u64::from(self.number);
        bits = (bits ^ bits >> 30).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }
}

fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_its_text_and_other_ids_are_none() {
        let stamp = Stamp { run: 0xbeef_0001, publisher: 77, number: 123_456, intended: 9_876_543_210 };
        let mut text = String::new();
        stamp.write(&mut text);
        assert_eq!((text.len(), Stamp::read(text.as_bytes())), (LENGTH, Some(stamp)));
        for other in ["", "e0", &text[1..], &text.replace('b', "G")] {
            assert_eq!(Stamp::read(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn digests_of_neighbours_differ() {
        let digest = |publisher, number| Stamp { run: 1, publisher, number, intended: 0 }.digest();
        let all: std::collections::HashSet<u64> =
            (0..100).flat_map(|publisher| (0..100).map(move |number| digest(publisher, number))).collect();
        assert_eq!(all.len(), 10_000);
    }
}
