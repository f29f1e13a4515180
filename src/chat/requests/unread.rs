//! `Unread`. Owns which rooms are counted, and what fits into the answer; `chat::unread` counts. Called by `dispatch`.

use super::{Handle, Id, Reply, Result, Session};
use crate::chat::answer_size::{fitting, name_bytes};
use crate::protocol::encode;
use crate::protocol::requests::{Unread, UnreadAck, UnreadOfPeer};

/// The JSON of the counts of a room, and of a peer, besides the name, at most.
const ROOM_BYTES: usize = 120;
const PEER_BYTES: usize = 36;

/// What counting a room costs, as bytes that are read.
const ROOM_READ: usize = 2_048;

impl Handle for Unread {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        let user = self.sender_username;
        session.bind_quietly(&user).await?;
        session.outbox().has_page_room().await;
        let mut rooms = self.rooms.unwrap_or_else(|| session.rooms.keys().cloned().collect());
        let sizes =
            rooms.iter().map(|room| encode::string_bytes(room.as_str()) + ROOM_BYTES).collect::<Vec<_>>();
        let mut bytes = session.list_bytes(None);
        let fit = fitting(sizes.iter().copied(), bytes);
        let mut more = fit < rooms.len();
        rooms.truncate(fit);
        bytes = bytes.saturating_sub(sizes[..fit].iter().sum());
        let asked: Vec<_> = rooms.iter().map(|room| (room, session.asker(&user, Some(room)))).collect();
        let counts = session.node.unread.of_rooms(&user, &asked).await?;
        let owner = session.owner(&user);
        let (mut peers, read) = session.node.unread.of_peers(&user, owner).await?;
        session.owe(read + rooms.len() * ROOM_READ);
        let fit = fitting(peers.iter().map(|(peer, _)| name_bytes(peer) + PEER_BYTES), bytes);
        more |= fit < peers.len();
        peers.truncate(fit);
        let users = peers.into_iter().map(|(peer, unread)| (peer, UnreadOfPeer { unread })).collect();
        let answer = UnreadAck { rooms: rooms.into_iter().zip(counts).collect(), users, more };
        Ok(session.page(id.map(|id| encode::ack::<Self>(id, &answer))))
    }
}
