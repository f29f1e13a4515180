//! The frames that wait for one socket. Owns their order and the socket: it writes as much as the socket takes at once, and
//! never waits. Used by the outbox under its lock, so that frames of two writers never mix.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;

use bytes::{Buf, Bytes};

/// Blocks that an empty queue keeps memory for.
const KEPT_BLOCKS: usize = 8;

/// Blocks passed to the kernel in one call.
const MAX_SLICES: usize = 32;

/// A socket that is written to without waiting.
pub trait Socket: Send + Sync {
    /// Takes bytes from the start of the slices, as many as there is room for at this moment.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room. Any other error means that the connection is gone.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Sends what it has taken and still holds: a socket with TLS takes plain bytes, and sends them encrypted. Says whether any
    /// bytes were sent.
    ///
    /// # Errors
    /// As for [`Socket::try_write`].
    fn try_send(&self, _has_progress: &mut bool) -> io::Result<()> {
        Ok(())
    }
}

/// What the socket did with the last bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum SocketState {
    /// It took them all.
    #[default]
    Open,
    /// It had no room: nothing is written before the connection's task knows that there is room again.
    Full,
    Lost,
}

/// Blocks of finished frames, and their socket.
#[derive(Default)]
pub(super) struct SendQueue {
    blocks: VecDeque<Bytes>,
    bytes: usize,
    /// `None` before the upgrade and after the end.
    socket: Option<Arc<dyn Socket>>,
    state: SocketState,
    /// Some bytes of the first block are written.
    is_inside_block: bool,
    /// The socket may hold bytes that it has taken and not sent.
    is_unsent: bool,
    has_progress: bool,
}

impl SendQueue {
    /// Queued and not yet written.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(super) fn state(&self) -> SocketState {
        self.state
    }

    pub(super) fn attach(&mut self, socket: Arc<dyn Socket>) {
        self.socket = Some(socket);
        // Of the handshake.
        self.is_unsent = true;
    }

    /// The socket, which was full, has room again.
    pub(super) fn has_room_again(&mut self) {
        if self.state == SocketState::Full {
            self.state = SocketState::Open;
        }
    }

    /// Whether bytes were written since the last call.
    pub(super) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.has_progress)
    }

    pub(super) fn push(&mut self, block: Bytes) {
        self.bytes += block.len();
        self.blocks.push_back(block);
    }

    /// Writes what the socket takes at once, in one system call unless that is very much. Returns the number of bytes.
    pub(super) fn write(&mut self) -> usize {
        let before = self.bytes;
        while let (Some(socket), SocketState::Open) = (&self.socket, self.state) {
            let written = match (self.is_unsent, self.is_empty()) {
                (true, _) => socket.try_send(&mut self.has_progress).map(|()| None),
                (false, false) => try_write(socket.as_ref(), &self.blocks).map(Some),
                (false, true) => break,
            };
            match written {
                Ok(None) => self.is_unsent = false,
                Ok(Some(0)) => self.state = SocketState::Lost,
                Ok(Some(count)) => {
                    self.is_unsent = true;
                    self.advance(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.state = SocketState::Full,
                Err(_) => self.state = SocketState::Lost,
            }
        }
        // A replay has a block for each message: the connection would keep that much memory until its end.
        if self.is_empty() && self.blocks.capacity() > KEPT_BLOCKS {
            self.blocks = VecDeque::new();
        }
        self.has_progress |= self.bytes < before;
        before - self.bytes
    }

    /// Takes written bytes out of the queue.
    fn advance(&mut self, mut count: usize) {
        self.bytes -= count;
        while let Some(block) = self.blocks.front_mut() {
            if count < block.len() {
                block.advance(count);
                self.is_inside_block |= count > 0;
                return;
            }
            count -= block.len();
            self.blocks.pop_front();
            self.is_inside_block = false;
        }
    }

    /// Drops what is queued, except the rest of a block that is partly written. Returns the number of bytes.
    pub(super) fn drop_unwritten(&mut self) -> usize {
        self.blocks.truncate(usize::from(self.is_inside_block));
        let left = self.blocks.front().map_or(0, Bytes::len);
        std::mem::replace(&mut self.bytes, left) - left
    }

    /// Drops everything, and the socket. Returns the number of bytes.
    pub(super) fn end(&mut self) -> usize {
        self.socket = None;
        self.blocks = VecDeque::new();
        std::mem::take(&mut self.bytes)
    }
}

/// One call for the first blocks. The usual queue is one block, and needs no array.
fn try_write(socket: &dyn Socket, blocks: &VecDeque<Bytes>) -> io::Result<usize> {
    if let (Some(block), 1) = (blocks.front(), blocks.len()) {
        return socket.try_write(&[IoSlice::new(block)]);
    }
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    for (slice, block) in slices.iter_mut().zip(blocks) {
        *slice = IoSlice::new(block);
    }
    socket.try_write(&slices[..blocks.len().min(MAX_SLICES)])
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Takes so many bytes before it is full, and keeps what it took.
    struct Window {
        room: Mutex<usize>,
        taken: Mutex<Vec<u8>>,
    }

    impl Socket for Window {
        fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let mut room = self.room.lock().unwrap();
            let wanted: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            let count = wanted.len().min(*room);
            if count == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            *room -= count;
            self.taken.lock().unwrap().extend(&wanted[..count]);
            Ok(count)
        }
    }

    fn queue(room: usize) -> (SendQueue, Arc<Window>) {
        let window = Arc::new(Window { room: Mutex::new(room), taken: Mutex::default() });
        let mut queue = SendQueue::default();
        queue.attach(window.clone());
        (queue, window)
    }

    #[test]
    fn full_socket_gets_the_rest_once_it_has_room() {
        let (mut queue, window) = queue(7);
        ["hello", "world"].iter().for_each(|text| queue.push(Bytes::from_static(text.as_bytes())));
        assert_eq!((queue.write(), queue.state()), (7, SocketState::Full));
        assert!(queue.take_progress() && !queue.take_progress());
        *window.room.lock().unwrap() = 100;
        assert_eq!(queue.write(), 0, "only the connection's task may go on");
        queue.has_room_again();
        assert_eq!((queue.write(), queue.bytes(), queue.is_empty()), (3, 0, true));
        assert_eq!(*window.taken.lock().unwrap(), b"helloworld");
    }

    #[test]
    fn partly_written_block_is_completed_when_cut() {
        for (room, left) in [(0, ""), (3, "lo"), (5, ""), (6, "orld")] {
            let (mut queue, window) = queue(room);
            ["hello", "world", "again"]
                .iter()
                .for_each(|text| queue.push(Bytes::from_static(text.as_bytes())));
            queue.write();
            let dropped = queue.drop_unwritten();
            assert_eq!((dropped, queue.bytes()), (15 - room - left.len(), left.len()), "{room}");
            *window.room.lock().unwrap() = 100;
            queue.has_room_again();
            queue.write();
            assert_eq!(window.taken.lock().unwrap()[room..], *left.as_bytes(), "{room}");
        }
    }

    #[test]
    fn more_blocks_than_one_call_takes_are_written_in_order() {
        let (mut queue, window) = queue(usize::MAX);
        (0..200_u8).for_each(|n| queue.push(Bytes::copy_from_slice(&[n])));
        assert_eq!(queue.write(), 200);
        assert!(window.taken.lock().unwrap().iter().copied().eq(0..200));
        assert!(queue.blocks.capacity() <= KEPT_BLOCKS, "it releases its memory");
    }
}
