//! The rules of chat: which user may send what to whom, and that every member sees it in the same order. Has no sockets
//! and no store of its own: it asks the layer below through the backend's traits, and answers the layer above by
//! queueing frames.

mod admin;
mod arrival;
mod auth;
mod connections;
mod counters;
mod cursors;
mod error;
mod history;
mod join;
mod lease;
mod lease_health;
mod limits;
mod members;
mod node;
mod outbox;
mod presence;
mod publisher;
mod recovery;
mod registry;
mod replay;
mod requests;
mod ring;
mod room_rules;
mod send_budget;
mod sequencer;
mod session;
mod topic;
mod topic_worker;

pub use admin::{Admin, Issued};
pub use auth::Credential;
pub use connections::ConnectionGuard;
pub use error::RequestError;
pub use history::HistoryReader;
pub use limits::{InvalidFrames, TokenBucket};
pub use members::MembersReader;
pub use node::{Inlet, Node};
pub use outbox::{Close, Outbox, Work};
pub use registry::Registry;
pub use room_rules::RoomRules;
pub use send_budget::SendBudget;
pub use sequencer::{Cursor, CursorId, Verdict, continuity, judge};
pub use session::{Flow, Session};
