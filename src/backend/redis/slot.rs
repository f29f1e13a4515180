//! Hash slots of a Redis Cluster. Owns the slot of a key, and a name for each slot; does not know which server holds a slot. Used
//! by whatever chooses a server or a connection for a key.

/// Number of slots, as the specification of Redis Cluster fixes it.
pub(super) const SLOTS: usize = 16_384;

/// A slot: keys with the same hash tag have the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Slot(u16);

impl Slot {
    /// The slot with this number, from 0.
    pub(super) fn number(number: u16) -> Self {
        Self(number % SLOTS as u16)
    }

    /// The slot of a key or channel: that of its hash tag, between the first `{` and the next `}`, if it has one that is not
    /// empty.
    pub(super) fn of(key: &str) -> Self {
        let tag = key.split_once('{').and_then(|(_, rest)| Some(rest.split_once('}')?.0));
        Self::number(crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(key).as_bytes()))
    }

    /// Index into a list with one place for each slot.
    pub(super) fn index(self) -> usize {
        self.0.into()
    }

    /// A hash tag in this slot. About 16,000 tags are tried.
    pub(super) fn tag(self) -> String {
        let mut tags = (0_u64..).map(|number| number.to_string());
        tags.find(|tag| Self::number(crc16(tag.as_bytes())) == self).expect("the numbers do not end")
    }
}

/// CRC16 of the XMODEM kind, which Redis Cluster uses.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = ((byte as u16) << 8, 0);
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // From CLUSTER KEYSLOT.
        for (key, slot) in [("foo", 12182), ("{foo}x", 12182), ("foo{}{bar}", 8363), ("foo{{bar}}zap", 4015)]
        {
            assert_eq!(Slot::of(key), Slot::number(slot), "{key}");
        }
    }

    #[test]
    fn each_slot_has_a_tag() {
        for slot in [0, 1, 8_000, 16_383].map(Slot::number) {
            assert_eq!(Slot::of(&format!("x:{{{}}}", slot.tag())), slot);
        }
    }
}
