//! The files of `deploy/` with real programs: Redis, nodes, balancers and Prometheus, each with its file unchanged except for
//! the ports, and a few hundred clients. HAProxy and nginx come from Debian. With the feature `all-balancers` the same tests run
//! with Traefik, Envoy and Caddy, which have to be on the PATH.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod balancer;
mod client;
mod clients;
mod cluster;
mod dns;
mod files;
mod full;
mod http;
mod package;
mod process;
mod prometheus;
mod refusals;
#[cfg(feature = "all-balancers")]
mod reload;
mod stories;
