//! A chat client that reconnects: it loses nothing, shows nothing twice, and reports every gap.
//!
//! ```sh
//! cargo run --example client -- ws://127.0.0.1:8080/ alice lobby
//! ```
//!
//! The crate `chatnode-client` does the work. `chatnode chat` uses it too.

use chatnode_client::{Client, ConnectOptions, Event, Events};
use tokio::{select, sync::mpsc};

/// Sends each line of the input to the room, and shows what happens, until the client ends.
pub async fn chat(
    (client, mut events): (Client, Events),
    room: &str,
    mut input: mpsc::Receiver<String>,
    show: impl Fn(String),
) {
    loop {
        select! {
            event = events.next() => match event {
                Some(Event::Message(message)) => show(format!("{}: {}", message.sender, message.plain())),
                Some(Event::Gap { .. }) => show("-- messages may be missing here".into()),
                Some(event @ (Event::NotSent { .. } | Event::SendDelayed { .. } | Event::JoinDelayed { .. })) => {
                    show(format!("-- {event}"));
                }
                Some(Event::Closed { reason, .. }) => return show(format!("-- closed: {reason}")),
                _ => {} // The connection was lost, or is there again: the client takes care of it.
            },
            // The message is on its way from here on. `Event::NotSent` reports a failure.
            Some(line) = input.recv(), if client.unsent() < 100 => drop(client.send(room, line)),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [url, name, room] =
        std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "URL NAME ROOM")?;
    let (client, events) = ConnectOptions::new(url).user(name).connect().await?;
    client.join(&room).await?;
    let (lines, input) = mpsc::channel(100);
    std::thread::spawn(move || {
        std::io::stdin().lines().try_for_each(|line| lines.blocking_send(line.ok()?).ok())
    });
    chat((client, events), &room, input, |line| println!("{line}")).await;
    Ok(())
}
