//! Sockets: HTTP, the upgrade, and WebSocket connections. Owns bytes and deadlines, not chat rules: it passes frames to
//! the session, and takes finished blocks from the outbox. Started by the server.

mod address;
mod address_counts;
mod address_limit;
mod api;
mod api_access;
mod api_bans;
mod api_call;
mod api_keys;
mod api_messages;
mod api_rooms;
mod codec_io;
mod connection;
mod early_closes;
mod frame_reader;
mod frame_scanner;
mod handshake;
mod handshake_rate;
mod health;
mod hosts;
mod http_sockets;
mod keepalive;
mod listener;
mod notices;
mod read_half;
mod record_scanner;
mod router;
mod state;
mod switching_socket;
mod tls;
mod tls_session;
mod trace_header;
mod unfinished;
mod web;
mod write_timeout;
mod writer;

pub use api_keys::ApiKeys;
pub use listener::{HTTP_SOCKETS, ListenOptions, OPERATOR_SOCKETS, listen};
pub use router::{internal, public};
pub use state::AppState;
pub use tls::Tls;
