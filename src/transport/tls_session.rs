//! The TLS of one WebSocket connection. Owns its keys and its buffers, which the reading and the writing half share: plain bytes are
//! encrypted into a buffer of bounded size, and sent with one system call. Knows nothing of frames. Used by both halves of a
//! connection.

use std::io::{self, BufRead, ErrorKind, IoSlice, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_rustls::rustls::ServerConnection;

use super::record_scanner::RecordScanner;

/// The bytes that a connection encrypts before the socket has taken the earlier ones. The queue of the connection does not count
/// them.
const MAX_UNSENT_BYTES: usize = 32 << 10;

/// TLS after its handshake.
pub(super) struct TlsSession(Mutex<State>);

struct State {
    tls: ServerConnection,
    scanner: RecordScanner,
}

impl TlsSession {
    /// `scanner` has seen all that was received so far.
    pub(super) fn new(mut tls: ServerConnection, scanner: RecordScanner) -> Self {
        tls.set_buffer_limit(Some(MAX_UNSENT_BYTES));
        Self(Mutex::new(State { tls, scanner }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Encrypts bytes from the start of the slices, as many as there is room for.
    pub(super) fn encrypt(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.lock().tls.writer().write_vectored(slices)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    /// Sends what is encrypted to a socket that does not wait.
    ///
    /// # Errors
    /// `WouldBlock` if the socket had no room for the rest.
    pub(super) fn send(
        &self,
        socket: impl Fn(&[IoSlice<'_>]) -> io::Result<usize>,
        has_progress: &mut bool,
    ) -> io::Result<()> {
        let tls = &mut self.lock().tls;
        while tls.wants_write() {
            match tls.write_tls(&mut Sink(&socket)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => *has_progress = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells the peer that nothing follows, if the socket has room for it.
    pub(super) fn end(&self, socket: impl Fn(&[IoSlice<'_>]) -> io::Result<usize>) {
        self.lock().tls.send_close_notify();
        // A peer that takes nothing gets the end of the connection in any case.
        let _ = self.send(socket, &mut false);
    }

    /// Reads plain bytes, and takes encrypted ones from a socket that does not wait until there are some. 0 is the end.
    ///
    /// # Errors
    /// `WouldBlock` if the socket has no whole record. Any other error means that the connection is gone.
    pub(super) fn read(&self, buffer: &mut [u8], mut socket: impl Read) -> io::Result<usize> {
        let State { tls, scanner } = &mut *self.lock();
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Without the notice that nothing follows, as most peers end: frames have an end of their own.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            tls.read_tls(&mut Watched { socket: &mut socket, scanner })?;
            if let Err(error) = tls.process_new_packets() {
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
        }
    }

    /// Whether plain bytes can be read without the socket.
    pub(super) fn has_plain_bytes(&self) -> bool {
        !matches!(self.lock().tls.reader().fill_buf(), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// The bytes of a record that is not complete: they take memory, although nothing of it can be read.
    pub(super) fn unfinished(&self) -> u64 {
        self.lock().scanner.unfinished()
    }
}

/// The socket as TLS writes to it: all records with one call.
struct Sink<'a, F>(&'a F);

impl<F: Fn(&[IoSlice<'_>]) -> io::Result<usize>> Write for Sink<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        (self.0)(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The socket as TLS reads from it.
struct Watched<'a, R> {
    socket: &'a mut R,
    scanner: &'a mut RecordScanner,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.read(buffer)?;
        self.scanner.feed(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::{Cell, RefCell};
    use std::sync::Arc;

    use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

    use super::*;
    use crate::tls_files::provider;

    /// A session after its handshake, and its client.
    pub(in crate::transport) fn pair() -> (TlsSession, ClientConnection) {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(own.cert.der().clone()).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let server =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let server =
            server.with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key).unwrap();
        let client =
            ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(roots).with_no_client_auth();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            while client.write_tls(&mut wire).unwrap() > 0 {}
            let mut rest = wire.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                server.process_new_packets().unwrap();
            }
            wire.clear();
            while server.write_tls(&mut wire).unwrap() > 0 {}
            let mut rest = wire.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        (TlsSession::new(server, RecordScanner::default()), client)
    }

    #[test]
    fn batch_is_sent_with_one_call() {
        let (session, mut client) = pair();
        let blocks: Vec<Vec<u8>> = (0..20_u8).map(|n| vec![n; 1_500]).collect();
        let slices: Vec<IoSlice<'_>> = blocks.iter().map(|block| IoSlice::new(block)).collect();
        assert_eq!(session.encrypt(&slices).unwrap(), 30_000);
        let (calls, wire) = (Cell::new(0), RefCell::new(Vec::new()));
        let socket = |slices: &[IoSlice<'_>]| {
            calls.set(calls.get() + 1);
            slices.iter().for_each(|slice| wire.borrow_mut().extend_from_slice(slice));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        };
        let mut has_progress = false;
        session.send(socket, &mut has_progress).unwrap();
        assert_eq!((calls.get(), has_progress), (1, true));
        let wire = wire.into_inner();
        let mut rest = wire.as_slice();
        let mut read = Vec::new();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
            // An error means that nothing is there now.
            let _ = client.reader().read_to_end(&mut read);
        }
        assert_eq!(read, blocks.concat());
    }

    #[test]
    fn full_socket_bounds_what_is_encrypted() {
        let (session, _client) = pair();
        let block = vec![7; 3 * MAX_UNSENT_BYTES];
        assert_eq!(session.encrypt(&[IoSlice::new(&block)]).unwrap(), MAX_UNSENT_BYTES);
        let room = Cell::new(1_000);
        let socket = |slices: &[IoSlice<'_>]| {
            let count = slices.iter().map(|slice| slice.len()).sum::<usize>().min(room.get());
            room.set(room.get() - count);
            if count == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) }
        };
        let mut has_progress = false;
        let full = session.send(socket, &mut has_progress).unwrap_err();
        assert_eq!((full.kind(), has_progress), (ErrorKind::WouldBlock, true));
        has_progress = false;
        session.send(socket, &mut has_progress).unwrap_err();
        assert!(!has_progress);
        let most = session.encrypt(&[IoSlice::new(&block)]).unwrap();
        assert!(most <= 1_000, "{most} more were taken");
        room.set(usize::MAX);
        session.send(socket, &mut has_progress).unwrap();
        assert_eq!(session.encrypt(&[IoSlice::new(&block)]).unwrap(), MAX_UNSENT_BYTES);
    }
}
