//! Sets of words: enums whose variants travel as strings. Owns the macro that defines such a set once, with its text, its
//! JSON in both directions and its schema, and [`Word`], which lets a client survive a newer node. The sets themselves
//! stand where they belong. Used inside this crate only, but for `Word`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text;

/// A set of words of the protocol.
pub trait WordSet: Copy {
    /// The word on the wire.
    fn word(self) -> &'static str;

    /// The variant of a word, if it is in the set.
    fn of(word: &str) -> Option<Self>;
}

/// A word as a client reads it: one of the set that this version knows, or one of a newer node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Word<W> {
    /// A word of the set.
    Known(W),
    /// Another word, as it came.
    Other(Box<str>),
}

impl<W: WordSet> Word<W> {
    /// The word if this version knows it.
    pub fn known(&self) -> Option<W> {
        match self {
            Self::Known(word) => Some(*word),
            Self::Other(_) => None,
        }
    }

    /// The word on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(word) => word.word(),
            Self::Other(word) => word,
        }
    }
}

impl<W> From<W> for Word<W> {
    fn from(word: W) -> Self {
        Self::Known(word)
    }
}

impl<W: WordSet> fmt::Display for Word<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<W: WordSet> Serialize for Word<W> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, W: WordSet> Deserialize<'de> for Word<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parse = |word: &str| W::of(word).map_or_else(|| Self::Other(word.into()), Self::Known);
        text::read(deserializer, |word| Ok::<_, std::convert::Infallible>(parse(word)))
    }
}

#[cfg(feature = "schema")]
impl<W: schemars::JsonSchema> schemars::JsonSchema for Word<W> {
    fn inline_schema() -> bool {
        W::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        W::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        W::schema_id()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        W::json_schema(generator)
    }
}

/// Defines an enum by its words.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($(#[$doc:meta])* $variant:ident = $word:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// The word on the wire, and the value of a metric's label.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl $crate::word::WordSet for $name {
            fn word(self) -> &'static str {
                self.as_str()
            }

            fn of(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": [$($word),*] })
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GapReason;

    #[test]
    fn a_word_of_a_newer_node_is_kept() {
        for (json, known) in [("\"too_many\"", Some(GapReason::TooMany)), ("\"moved\"", None)] {
            let word: Word<GapReason> = serde_json::from_str(json).unwrap();
            assert_eq!(word.known(), known);
            assert_eq!(serde_json::to_string(&word).unwrap(), json);
        }
    }
}
