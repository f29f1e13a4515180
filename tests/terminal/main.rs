//! `chatnode chat` on the full screen: the real program in a pseudo-terminal, against real nodes.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

mod changes;
mod chat;
mod exits;
mod flood;
mod glyphs;
mod keys;
mod rights;
mod surface;
mod window;
