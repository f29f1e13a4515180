//! Drives tokio-tungstenite.

use chatnode_drivers::{Command, closed, commands, failed, opened, text, work};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn read(mut socket: SplitStream<Socket>) {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(message))) => {
                text(&message);
                work().await;
            }
            Some(Ok(Message::Close(frame))) => {
                closed(frame.as_ref().map(|frame| frame.code.into()), frame.as_ref().map_or("", |frame| &frame.reason));
                // To the end: this sends the answer.
                while let Some(Ok(_)) = socket.next().await {}
                return;
            }
            None => return closed(None, ""),
            Some(Ok(_)) => {}
            Some(Err(error)) => return failed(error),
        }
    }
}

#[tokio::main]
async fn main() {
    let mut commands = commands();
    let mut sink: Option<SplitSink<Socket, Message>> = None;
    while let Some(command) = commands.recv().await {
        match (command, &mut sink) {
            (Command::Open(url), _) => match connect_async(url).await {
                Ok((socket, _)) => {
                    let (opened_sink, stream) = socket.split();
                    sink = Some(opened_sink);
                    opened();
                    tokio::spawn(read(stream));
                }
                Err(error) => failed(error),
            },
            // A failure is told by the next read.
            (Command::Send(text), Some(sink)) => drop(sink.send(Message::text(text)).await),
            (Command::Close, Some(sink)) => drop(sink.close().await),
            _ => {}
        }
    }
}
