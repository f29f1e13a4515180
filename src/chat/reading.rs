//! Who may read a room with rights: enter it, read its history, see its members. Owns this rule; who may write there is decided by the
//! store. Asked by requests.

use super::counters::count_rights_refusal;
use super::error::RequestError;
use crate::backend::{Asker, RightsRefusal, UserRights, unix_ms};
use crate::protocol::RoomKind;

/// Whether a user may enter a room and read there.
pub(super) fn check_reading(asker: &Asker, rights: &UserRights) -> Result<(), RequestError> {
    let user = rights.user;
    // A grant never takes away, and a ban wins over it.
    let may_enter = matches!(asker, Asker::User(_, grant) if user.rank() > 0 || grant.read);
    let refusal = match rights.kind {
        _ if user.is_banned(unix_ms()) => RightsRefusal::Banned(user.banned_until),
        RoomKind::Private if !may_enter => RightsRefusal::NoRole,
        _ => return Ok(()),
    };
    count_rights_refusal(refusal);
    Err(RequestError::rights_refused(refusal))
}
