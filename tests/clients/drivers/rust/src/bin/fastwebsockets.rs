//! Drives fastwebsockets.

use std::future::Future;

use bytes::Bytes;
use chatnode_drivers::{Command, closed, commands, failed, is_unadvised, opened, text, work};
use fastwebsockets::{FragmentCollectorRead, Frame, OpCode, Payload, WebSocketWrite, handshake};
use http_body_util::Empty;
use hyper::header::{CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

type Read = FragmentCollectorRead<ReadHalf<TokioIo<Upgraded>>>;
type Write = WebSocketWrite<WriteHalf<TokioIo<Upgraded>>>;
type Error = Box<dyn std::error::Error + Send + Sync>;

struct Spawn;

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}

async fn connect(url: &str) -> Result<(Read, Write), Error> {
    let authority = url.trim_start_matches("ws://").split('/').next().unwrap_or_default();
    let stream = TcpStream::connect(authority).await?;
    let path = &url[url.find(authority).unwrap_or_default() + authority.len()..];
    let request = hyper::Request::get(path)
        .header(HOST, authority)
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "upgrade")
        .header(SEC_WEBSOCKET_KEY, handshake::generate_key())
        .header(SEC_WEBSOCKET_VERSION, "13")
        .body(Empty::<Bytes>::new())?;
    let (socket, _) = handshake::client(&Spawn, request, stream).await?;
    let (read, write) = socket.split(tokio::io::split);
    Ok((FragmentCollectorRead::new(read), write))
}

/// Reads to the end. What the library wants to send, such as pongs, goes through the channel.
async fn read(mut read: Read, send: mpsc::Sender<(OpCode, Vec<u8>)>) {
    loop {
        let mut obliged = |frame: Frame<'_>| {
            let (send, frame) = (send.clone(), (frame.opcode, frame.payload.to_vec()));
            async move { if is_unadvised() { Ok(()) } else { send.send(frame).await } }
        };
        match read.read_frame(&mut obliged).await {
            Ok(frame) if frame.opcode == OpCode::Text => {
                text(&String::from_utf8_lossy(&frame.payload));
                work().await;
            }
            Ok(frame) if frame.opcode == OpCode::Close => {
                let code = frame.payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
                return closed(code, &String::from_utf8_lossy(frame.payload.get(2..).unwrap_or_default()));
            }
            Ok(_) => {}
            Err(error) => return failed(error),
        }
    }
}

#[tokio::main]
async fn main() {
    let mut commands = commands();
    let (send, mut to_send) = mpsc::channel::<(OpCode, Vec<u8>)>(1_000);
    let mut write: Option<Write> = None;
    loop {
        let (opcode, payload) = tokio::select! {
            command = commands.recv() => match command {
                None => return,
                Some(Command::Open(url)) => {
                    match connect(&url).await {
                        Ok((opened_read, opened_write)) => {
                            write = Some(opened_write);
                            opened();
                            tokio::spawn(read(opened_read, send.clone()));
                        }
                        Err(error) => failed(error),
                    }
                    continue;
                }
                Some(Command::Send(text)) => (OpCode::Text, text.into_bytes()),
                Some(Command::Close) => (OpCode::Close, 1000_u16.to_be_bytes().to_vec()),
            },
            Some(frame) = to_send.recv() => frame,
        };
        if let Some(write) = &mut write {
            // A failure is told by the next read.
            let _told = write.write_frame(Frame::new(true, opcode, None, Payload::Owned(payload))).await;
        }
    }
}
