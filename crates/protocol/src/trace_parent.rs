//! The trace that a request belongs to: `traceparent` of W3C Trace Context. Owns reading its text; whether and how a node traces is the
//! node's to decide. Read from the envelope of a request and from the header of an upgrade.

/// The length of the text in version 00, and of the part that a later version must begin with.
const CHARS: usize = 55;

/// A span of the caller, as the parent of what the node does for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; not all zeros.
    pub trace_id: [u8; 16],
    /// The span of the caller; not all zeros.
    pub span_id: [u8; 8],
    /// The caller records its span.
    pub is_sampled: bool,
}

impl TraceParent {
    /// Reads `00-<trace id>-<span id>-<flags>`, in lower-case hexadecimal digits. A later version may have more fields. `None` if the
    /// text is invalid: W3C asks for it to be ignored then.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.split_at_checked(CHARS)?;
        let mut fields = head.split('-');
        let mut field = |digits: usize| -> Option<u128> {
            let field = fields.next().filter(|field| field.len() == digits)?;
            let is_hex = field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            is_hex.then(|| u128::from_str_radix(field, 16).ok())?
        };
        let (version, trace_id, span_id, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
        let is_known = if version == 0 { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
        if !is_known || version == 0xff || trace_id == 0 || span_id == 0 {
            return None;
        }
        let span_id = u64::try_from(span_id).ok()?.to_be_bytes();
        Some(Self { trace_id: trace_id.to_be_bytes(), span_id, is_sampled: flags & 1 == 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_w3c_is_read_and_an_invalid_one_is_none() {
        let sampled = TraceParent {
            trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes(),
            span_id: 0x00f0_67aa_0b19_02b7_u64.to_be_bytes(),
            is_sampled: true,
        };
        for (text, read) in [
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b1902b7-01", Some(sampled)),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b1902b7-00",
                Some(TraceParent { is_sampled: false, ..sampled }),
            ),
            // Other flags say nothing of the sampling.
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b1902b7-03", Some(sampled)),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b1902b7-01-what-the-future-holds", Some(sampled)),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b1902b7-01.what", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b1902b7-01-more", None),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b1902b7-01", None),
            ("00-00000000000000000000000000000000-00f067aa0b1902b7-01", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", None),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0B1902B7-01", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0b1902b7-01", None),
            ("00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b1902b7-01", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b1902b7-0é", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b1902b7-é", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b1902b7-1", None),
            ("", None),
        ] {
            assert_eq!(TraceParent::parse(text), read, "{text}");
        }
    }
}
