//! `Block`: an entry of the private log, by which all devices of a user learn whom it blocks. Owns its body.

use super::log_entry::log_entries;
use crate::name::UserName;

log_entries! {
    {
        /// The user of this connection.
        sender_username: UserName,
    }

    /// The user has blocked another one, or has ended that.
    Block as "BlockEvent" {
        /// The other user.
        target_username: UserName,
        /// True if it is blocked now.
        on: bool,
    }
}
