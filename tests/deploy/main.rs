//! What an operator gets, run for real: Redis, nodes, balancers and Prometheus, each with the file of `deploy/` as it is but
//! for the ports, and a few hundred people. HAProxy and nginx come from Debian; with the feature `all-balancers` Traefik and Envoy tell
//! the same stories, and have to be on the PATH.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod balancer;
mod cluster;
mod crowd;
mod files;
mod http;
mod names;
mod person;
mod process;
mod prometheus;
mod stories;
