//! How many messages a user has not read. Owns the counting of private conversations, which share one log, and what a marker is that has
//! not been written yet; the store counts those of a room. Called by `Unread`.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use indexmap::IndexMap;

use super::error::RequestError;
use super::history::incoming_from;
use super::read_slots::ReadSlots;
use super::reading::check_reading;
use super::sent_markers::SentMarkers;
use crate::backend::{Asker, Backend, Owner, PageLimit, Range};
use crate::protocol::requests::UnreadInRoom;
use crate::protocol::{MessageId, RoomName, Topic, UserName};

/// What is read of a private log at once.
const READ: PageLimit = PageLimit { messages: 200, bytes: 256 << 10 };

/// Rooms that are counted at once.
const AT_ONCE: usize = 16;

/// Unread messages of each peer, who wrote last first, and the bytes of the messages that were read for it.
pub(super) type UnreadOfPeers = (Vec<(UserName, u64)>, usize);

/// Counts unread messages.
pub(super) struct UnreadReader {
    backend: Backend,
    sent: Arc<SentMarkers>,
    slots: Arc<ReadSlots>,
}

impl UnreadReader {
    pub(super) fn new(backend: Backend, sent: Arc<SentMarkers>, slots: Arc<ReadSlots>) -> Self {
        Self { backend, sent, slots }
    }

    /// What a user has not read of these rooms, in their order; with each comes whose rights count there. Two calls of the store for
    /// each.
    pub(super) async fn of_rooms(
        &self,
        user: &UserName,
        rooms: &[(&RoomName, Asker)],
    ) -> Result<Vec<UnreadInRoom>, RequestError> {
        let mut all = Vec::with_capacity(rooms.len());
        for rooms in rooms.chunks(AT_ONCE) {
            all.extend(
                try_join_all(rooms.iter().map(|(room, asker)| self.of_room(user, asker, room))).await?,
            );
        }
        Ok(all)
    }

    async fn of_room(
        &self,
        user: &UserName,
        asker: &Asker,
        room: &RoomName,
    ) -> Result<UnreadInRoom, RequestError> {
        let topic = Topic::Room(room.clone());
        let sent = self.sent.waiting(user, &topic).map(|position| (position.epoch, position.seq));
        let written = self.backend.markers.room_marker(user, room).await?;
        let written = written.map(|marker| (marker.epoch, marker.seq));
        let marker = match (sent, written) {
            (Some(sent), Some(written)) if sent.0 == written.0 => Some((sent.0, sent.1.max(written.1))),
            (sent, written) => sent.or(written),
        };
        let mut found = self.backend.broker.unread(&topic, marker, user).await?;
        if found.as_ref().is_some_and(|found| found.has_rights)
            && let Some(rights) = self.backend.broker.rights(room, user).await?
            && check_reading(asker, &rights).is_err()
        {
            // To who may not enter, the room has nothing to read.
            found = None;
        }
        Ok(found.map_or_else(UnreadInRoom::default, |found| UnreadInRoom {
            unread: found.messages,
            mentions: found.mentions,
            epoch: Some(found.top.epoch),
            seq: Some(found.top.seq),
        }))
    }

    /// What a user has not read of private conversations. Reads the whole private log, page by page: one log holds all of them. An
    /// owner reads one log at a time.
    pub(super) async fn of_peers(
        &self,
        user: &UserName,
        owner: Owner,
    ) -> Result<UnreadOfPeers, RequestError> {
        let _slot = self.slots.take(Some(owner)).await;
        let markers = self.backend.markers.private_markers(user).await?;
        let markers: HashMap<UserName, MessageId> = markers.into_iter().collect();
        let log = Topic::User(user.clone());
        let mut peers: IndexMap<UserName, UnreadOfPeer> = IndexMap::new();
        let (mut range, mut bytes_read) = (Range::Newest, 0);
        loop {
            let page = self.backend.broker.messages(&log, range, READ, None).await?;
            for (entry, fold) in page.messages.iter().rev() {
                bytes_read += entry.body.len();
                let Some(peer) = incoming_from(&entry.body, user).filter(|_| !fold.is_retracted) else {
                    continue;
                };
                let peer = peers.entry(peer).or_insert_with_key(|peer| UnreadOfPeer {
                    marker: self.marker(user, peer).max(markers.get(peer).copied()),
                    unread: 0,
                });
                peer.unread += u64::from(peer.marker.is_none_or(|marker| entry.message_id > marker));
            }
            if !page.more {
                break;
            }
            range = Range::Before(page.looked_at.0);
            // A store that never waits must not keep the worker for a whole log.
            tokio::task::yield_now().await;
        }
        let peers = peers.into_iter().map(|(peer, found)| (peer, found.unread));
        Ok((peers.filter(|(_, unread)| *unread > 0).collect(), bytes_read))
    }

    /// The last message that the user has sent to a peer, if the store does not know yet that what came before has been read.
    fn marker(&self, user: &UserName, peer: &UserName) -> Option<MessageId> {
        self.sent.waiting(user, &Topic::User(peer.clone())).map(|position| position.message_id)
    }
}

struct UnreadOfPeer {
    /// The last message that was read.
    marker: Option<MessageId>,
    unread: u64,
}
