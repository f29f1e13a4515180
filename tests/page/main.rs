//! The chat page in a real browser, with two nodes behind one address.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

mod access;
mod attachments;
mod browser;
mod changes;
mod choices;
mod ends;
mod engine;
mod firefox;
mod formatting;
mod hand;
mod hostile;
mod https;
mod lists;
mod looks;
mod mentions;
mod menu;
mod page_fixture;
mod person;
mod presence;
mod replies;
mod resume;
mod rooms;
mod screen;
mod scroll;
mod store;
mod talk;
mod tokens;
mod unsent;
mod words;
