//! A token as it travels. Owns keeping it out of logs; whose it is and whether it is valid are the node's to know.
//! Called wherever a request or a handshake brings one.

use std::fmt;

use uuid::Uuid;

/// A token as a client sent it. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Wraps a text from a header or a body.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the frame that carries it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, if it has the form of a JWT: three parts with dots between them. Whether it is one is not checked.
    pub fn jwt(&self) -> Option<&str> {
        (self.0.bytes().filter(|byte| *byte == b'.').count() == 2).then_some(&self.0)
    }

    /// The UUID, if it is one: every token that a node issues is.
    pub fn uuid(&self) -> Option<Uuid> {
        Uuid::try_parse(&self.0).ok()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}
