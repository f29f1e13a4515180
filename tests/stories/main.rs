//! Behaviour of nodes as clients see it through sockets, tested in the same way on each store. Each file owns one topic; the
//! fixtures are in `tests/support`.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

mod api_keys;
mod away;
mod bans;
mod blocks;
mod changes;
mod clocks;
mod close_codes;
mod cluster_move;
mod deduplication;
mod drain;
mod enter_history;
mod errors;
mod failover;
mod faults;
mod files;
mod foreign_data;
mod frame_sizes;
mod handshake;
mod http_sockets;
mod jwt;
mod jwt_keys;
mod jwt_libraries;
mod jwt_revocation;
mod lagging;
mod logs;
mod markers;
mod names;
mod observability;
mod origins;
mod paging;
mod pongs;
mod presence;
mod private;
mod proxies;
mod rate_limits;
mod reads;
mod received;
mod recovery;
mod redis_user;
mod resume;
mod resume_late;
mod resume_top;
mod room_grants;
mod room_lists;
mod room_removals;
mod room_rights;
mod rooms;
mod schema;
mod seats;
mod server_api;
mod server_api_changes;
mod storage;
mod talk;
mod token_expiry;
mod tokens;
mod unread;
mod upgrade;
mod user_rate;
