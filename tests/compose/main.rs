//! docker-compose.yml as it is, run by Docker with Docker Compose, and the commands of the handbook: clients that resume lose nothing
//! while nodes, Redis, HAProxy or the whole cluster stop and come back. Images and networks are made from this machine alone. Where
//! Docker can't run, the tests print the reason and are skipped.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod engine;
mod faults;
mod group;
#[path = "../deploy/http.rs"]
#[allow(dead_code, reason = "the tests of balancers use the rest")]
mod http;
mod images;
mod member;
mod nodes;
mod project;
mod root_folder;
mod services;
mod stories;
mod until;
