//! Pages of a room's members. Owns the loop over `members.lua`, which looks at a bounded number of names per call, so that
//! a large room blocks Redis for no long time. Called by the presence store.

use redis::Cmd;

use super::keys::Keys;
use super::lease_list::{LeaseList, Leases};
use super::router::Router;
use super::script::MEMBERS;
use super::server::Lane;
use crate::backend::{BackendError, Incarnation, MembersPage};
use crate::protocol::{RoomName, UserName};

/// Maximum of names that one call of the script looks at.
const NAMES_PER_CALL: usize = 1_000;

/// Reads the members of a room in the order of their names.
pub(super) struct MembersPager<'a> {
    pub(super) router: &'a Router,
    pub(super) keys: &'a Keys,
    /// Incarnation of the reader.
    pub(super) own: &'a Incarnation,
    /// Leases that have ended for the reader: incarnation and beat.
    pub(super) ended: &'a [(String, String)],
    /// All leases, if they are on another server than the room.
    pub(super) leases: Option<&'a LeaseList>,
    pub(super) room: &'a RoomName,
    /// Filled with holders that have no lease, and their users.
    pub(super) strays: Vec<(UserName, Incarnation)>,
}

/// Reply of the script: (the reader's lease runs, every holder is live, size of the room, last name, number of names, live
/// members, pairs of a name and a holder without a lease).
type Reply = (bool, bool, u64, String, usize, Vec<String>, Vec<(String, String)>);

/// A place between two names, as ZRANGEBYLEX takes it.
struct Cursor {
    bound: String,
    is_at_end: bool,
}

impl Cursor {
    fn after(name: Option<&UserName>) -> Self {
        Self { bound: name.map_or_else(|| "-".to_owned(), |name| format!("({name}")), is_at_end: false }
    }
}

/// A step of the cursor.
struct Step {
    /// The lease of the reader runs.
    own_live: bool,
    /// Every holder of a member of the room is live, so that `room_size` is the number of its members.
    all_live: bool,
    room_size: u64,
    last: String,
    members: Vec<String>,
}

impl MembersPager<'_> {
    /// Reads one page after a name, with the number of all members.
    pub(super) async fn page(
        &mut self,
        after: Option<&UserName>,
        limit: usize,
    ) -> Result<MembersPage, BackendError> {
        let mut page = MembersPage { members: Vec::new(), count: 0, more: false, is_complete: true };
        let mut cursor = Cursor::after(after);
        let mut counted = 0;
        loop {
            let step = self.step(&mut cursor, NAMES_PER_CALL.min(limit + 1)).await?;
            page.is_complete &= step.own_live;
            counted += step.members.len() as u64;
            page.members.extend(step.members.iter().filter_map(|name| UserName::parse(name).ok()));
            page.more = page.members.len() > limit;
            if !page.more && !cursor.is_at_end {
                continue;
            }
            page.members.truncate(limit);
            page.count = if step.all_live {
                step.room_size
            } else {
                // A holder has expired: the members must be counted, name by name.
                let before = if after.is_some() { self.count(Cursor::after(None), after).await? } else { 0 };
                before + counted + self.count(cursor, None).await?
            };
            return Ok(page);
        }
    }

    /// Counts the members from a place on, up to and including a name.
    async fn count(&mut self, mut cursor: Cursor, to: Option<&UserName>) -> Result<u64, BackendError> {
        let mut count = 0;
        while !cursor.is_at_end {
            let step = self.step(&mut cursor, NAMES_PER_CALL).await?;
            let is_within = |name: &&String| to.is_none_or(|to| name.as_str() <= to.as_str());
            count += step.members.iter().filter(is_within).count() as u64;
            if to.is_some_and(|to| step.last.as_str() >= to.as_str()) {
                break;
            }
        }
        Ok(count)
    }

    /// Reads the members among the next names, and moves the cursor past them.
    async fn step(&mut self, cursor: &mut Cursor, names: usize) -> Result<Step, BackendError> {
        let mut leases = match self.leases {
            Some(list) => Some(list.recent().await?),
            None => None,
        };
        let mut reply = self.ask(leases.as_ref(), cursor, names).await?;
        // A lease may be younger than the list.
        if let Some(list) = self.leases
            && (!reply.0 || !reply.6.is_empty())
        {
            leases = Some(list.now().await?);
            reply = self.ask(leases.as_ref(), cursor, names).await?;
        }
        let (own_live, all_live, room_size, last, names_read, members, strays) = reply;
        let stray =
            |(user, holder): (String, String)| Some((UserName::parse(&user).ok()?, Incarnation(holder)));
        self.strays.extend(strays.into_iter().filter_map(stray));
        *cursor = Cursor { bound: format!("({last}"), is_at_end: names_read < names };
        Ok(Step { own_live, all_live, room_size, last, members })
    }

    async fn ask(
        &self,
        leases: Option<&Leases>,
        cursor: &Cursor,
        names: usize,
    ) -> Result<Reply, BackendError> {
        let mut keys = vec![self.keys.members(self.room), self.keys.holders(self.room)];
        if leases.is_none() {
            keys.extend([self.keys.leases(), self.keys.nodes()]);
        }
        let fill = |cmd: &mut Cmd| {
            cmd.arg(&keys).arg(&self.own.0).arg(&cursor.bound).arg(names);
            match leases {
                None => {
                    cmd.arg(self.ended);
                }
                Some(leases) => {
                    for lease @ (incarnation, beat) in leases.iter() {
                        cmd.arg(incarnation).arg(u8::from(beat != "0" && !self.ended.contains(lease)));
                    }
                }
            }
        };
        self.router.script((Lane::Long, &keys[0]), &MEMBERS, keys.len(), fill).await
    }
}
