//! A chat client that comes back: nothing lost, nothing twice, no gap hidden.
//!
//! ```sh
//! cargo run --example client -- ws://127.0.0.1:8080/ alice lobby
//! ```
//!
//! The work is done by the crate's own client, which `chatnode chat` runs on too.

use chatnode_client::{Client, Event};
use tokio::{select, sync::mpsc};

/// Says in the room what comes from `said`, and shows what is heard, until the node says that it is over.
pub async fn chat(mut client: Client, room: &str, mut said: mpsc::Receiver<String>, show: impl Fn(String)) {
    loop {
        select! {
            event = client.next() => match event {
                Some(Event::Message(message)) => show(format!("{}: {}", message.sender, message.plain())),
                Some(Event::Gap(..)) => show("-- messages may be missing here".into()),
                Some(Event::NotSent { why, content, .. }) => show(format!("-- not sent: {why}: {content}")),
                Some(Event::Notice(_, text)) => show(format!("-- {text}")),
                Some(Event::Closed(why)) => return show(format!("-- closed: {why}")),
                _ => {} // The connection was lost, or stands again: the client sees to it.
            },
            Some(line) = said.recv(), if client.unsent() < 100 => drop(client.say(room, line).expect("an entered room")),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [url, name, room] =
        std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "URL NAME ROOM")?;
    let mut client = Client::new(&url, &name)?;
    client.enter(&room)?;
    let (say, said) = mpsc::channel(100);
    std::thread::spawn(move || {
        std::io::stdin().lines().try_for_each(|line| say.blocking_send(line.ok()?).ok())
    });
    chat(client, &room, said, |line| println!("{line}")).await;
    Ok(())
}
