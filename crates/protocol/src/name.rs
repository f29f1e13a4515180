//! Names of users and rooms. Owns what a valid name is (trimmed, Unicode NFC, 1–64 characters, nothing
//! invisible); knows nothing of how a backend spells a name in a key. Called wherever a name enters the node.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// The most characters (Unicode scalar values) that a name may have, after normalisation.
pub const MAX_NAME_CHARS: usize = 64;

/// Why a name was refused. The text is meant for the person who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was left after trimming.
    #[error("must not be empty")]
    Empty,
    /// Longer than [`MAX_NAME_CHARS`].
    #[error("must be at most {MAX_NAME_CHARS} characters")]
    TooLong,
    /// A control, separator or format character, which would make two names look alike or break a line.
    #[error("must not contain U+{:04X}, which can't be seen", *.0 as u32)]
    Invisible(char),
}

/// Trims, normalises and checks. The text is bounded before it is normalised: NFC work is linear in the input,
/// and the input is a hostile client's.
fn normalise(text: &str) -> Result<Arc<str>, NameError> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(NameError::Empty);
    }
    // NFC never shortens a text to less than a third of its characters, so more than this can't become valid.
    if trimmed.len() > MAX_NAME_CHARS * 4 * 4 {
        return Err(NameError::TooLong);
    }
    // Most names are plain ASCII, which NFC leaves as it is.
    if trimmed.len() <= MAX_NAME_CHARS && trimmed.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(trimmed.into());
    }
    // So are most others. Lists of names come from the store, where each has been brought to NFC.
    let name: Cow<'_, str> = match is_nfc_quick(trimmed.chars()) {
        IsNormalized::Yes => trimmed.into(),
        _ => trimmed.nfc().collect(),
    };
    if let Some(bad) = name.chars().find(|c| is_refused(*c)) {
        return Err(NameError::Invisible(bad));
    }
    if name.chars().count() > MAX_NAME_CHARS {
        return Err(NameError::TooLong);
    }
    Ok(name.as_ref().into())
}

/// The two joiners (U+200C, U+200D) are needed to write Persian, Indic scripts and many emoji.
fn is_refused(c: char) -> bool {
    const ZERO_WIDTH_NON_JOINER: char = '\u{200C}';
    const ZERO_WIDTH_JOINER: char = '\u{200D}';
    // Most characters, and the table of categories is slow.
    if c.is_alphanumeric() {
        return false;
    }
    match c.general_category() {
        GeneralCategory::Control | GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator => {
            true
        }
        GeneralCategory::Format => c != ZERO_WIDTH_NON_JOINER && c != ZERO_WIDTH_JOINER,
        _ => false,
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Trims, normalises to NFC and checks; compared byte for byte from then on.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                normalise(text).map(Self)
            }

            /// The normalised text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::text::read(deserializer, Self::parse)
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "minLength": 1,
                    "description": "Trimmed and brought to Unicode NFC; then 1 to 64 characters, all of them visible.",
                })
            }
        }
    };
}

name_type! {
    /// A user's name. Cheap to clone.
    UserName
}
name_type! {
    /// A room's name. Cheap to clone.
    RoomName
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_composed() {
        assert_eq!(UserName::parse("  ali\u{0301}ce ").unwrap().as_str(), "al\u{00ed}ce");
        assert_eq!(RoomName::parse("日本").unwrap().as_str(), "日本");
        assert_eq!(RoomName::parse("a}{b").unwrap().as_str(), "a}{b");
    }

    #[test]
    fn names_are_composed_whatever_a_quick_look_says() {
        for c in ('\0'..='\u{33ff}').filter(|c| !c.is_whitespace() && !is_refused(*c)) {
            for text in
                [format!("x{c}"), format!("e\u{301}{c}"), format!("{c}\u{301}"), format!("{c}\u{323}{c}")]
            {
                let composed: String = text.nfc().collect();
                assert_eq!(UserName::parse(&text).unwrap().as_str(), composed.trim(), "U+{:04X}", c as u32);
            }
        }
    }

    #[test]
    fn refused_characters_are_those_of_their_categories() {
        for c in '\0'..=char::MAX {
            let refused = match c.general_category() {
                GeneralCategory::Control
                | GeneralCategory::LineSeparator
                | GeneralCategory::ParagraphSeparator => true,
                GeneralCategory::Format => !matches!(c, '\u{200c}' | '\u{200d}'),
                _ => false,
            };
            assert_eq!(is_refused(c), refused, "U+{:04X}", c as u32);
        }
    }

    #[test]
    fn length_is_counted_in_characters_after_normalisation() {
        assert!(UserName::parse(&"日".repeat(64)).is_ok());
        assert_eq!(UserName::parse(&"日".repeat(65)), Err(NameError::TooLong));
        assert!(UserName::parse(&"e\u{0301}".repeat(64)).is_ok());
        assert_eq!(UserName::parse(&"x".repeat(100_000)), Err(NameError::TooLong));
    }

    #[test]
    fn invisible_characters_are_refused_except_joiners() {
        for bad in
            ['\u{0}', '\n', '\u{7f}', '\u{85}', '\u{2028}', '\u{2029}', '\u{200b}', '\u{202e}', '\u{feff}']
        {
            assert_eq!(UserName::parse(&format!("a{bad}b")), Err(NameError::Invisible(bad)), "{bad:?}");
        }
        assert_eq!(UserName::parse(" \t "), Err(NameError::Empty));
        assert!(UserName::parse("👩\u{200d}💻").is_ok());
        assert!(UserName::parse("می\u{200c}خواهم").is_ok());
    }
}
