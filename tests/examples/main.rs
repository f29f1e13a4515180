//! The clients in `examples/` against real nodes: connections break, answers are lost, and each message comes once. And the web site
//! with a chat in `examples/embedding/`.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

#[path = "../page/browser.rs"]
#[allow(dead_code, reason = "the page's own stories use the rest")]
mod browser;

#[path = "../page/engine.rs"]
#[allow(dead_code, reason = "the page's own stories use the rest")]
mod engine;

#[path = "../../examples/client.rs"]
#[allow(dead_code, reason = "its `main` is not called")]
mod client;

#[path = "../../examples/embedding/main.rs"]
#[allow(dead_code, reason = "its `main` is not called")]
mod rust_site;

mod embedding;
mod ends;
mod example;
mod guide;
mod silence;
mod site;
mod stories;
