//! The line protocol of `tests/clients/driver.rs`. Owns what is read and told; knows no library.

use std::fmt::Display;
use std::io::BufRead;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::sync::mpsc;

/// What the test wants.
pub enum Command {
    /// Open a connection to this URL.
    Open(String),
    /// Send this text.
    Send(String),
    /// Close the connection.
    Close,
}

/// Whether to do without what docs/clients.md advises for the library.
pub fn is_unadvised() -> bool {
    std::env::args().nth(1).as_deref() == Some("unadvised")
}

/// Whether the program works on a message.
static IS_BUSY: AtomicBool = AtomicBool::new(false);

/// Works on a message while the test wants that.
pub async fn work() {
    while IS_BUSY.load(Ordering::Acquire) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The commands of the standard input. The channel ends with it.
pub fn commands() -> mpsc::Receiver<Command> {
    let (commands, received) = mpsc::channel(1_000);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let line = line.expect("the input is text");
            let command = match line.split_once(' ') {
                Some(("open", url)) => Command::Open(url.to_owned()),
                None if line == "pause" || line == "resume" => {
                    IS_BUSY.store(line == "pause", Ordering::Release);
                    continue;
                }
                Some((_, text)) => {
                    let text = BASE64_STANDARD.decode(text).expect("the text is encoded");
                    Command::Send(String::from_utf8(text).expect("the text is UTF-8"))
                }
                None => Command::Close,
            };
            if commands.blocking_send(command).is_err() {
                return;
            }
        }
    });
    received
}

/// Tells that a connection is open.
pub fn opened() {
    println!("opened");
}

/// Tells a message.
pub fn text(text: &str) {
    println!("text {}", BASE64_STANDARD.encode(text));
}

/// Tells the end of a connection; no code if the library tells none.
pub fn closed(code: Option<u16>, reason: &str) {
    let code = code.map_or("-".to_owned(), |code| code.to_string());
    println!("closed {code} {}", BASE64_STANDARD.encode(reason));
}

/// Tells that a connection failed.
pub fn failed(error: impl Display) {
    println!("failed {}", BASE64_STANDARD.encode(error.to_string()));
}
