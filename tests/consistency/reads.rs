//! The number of log reads by the nodes, as MONITOR of Redis shows them. Owns how reads are distinguished from other commands;
//! does not know how many are allowed. Used by the storm.

use std::collections::HashMap;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::history::Event;

/// Counts log reads from `listen` until `done`.
pub struct Reads {
    stop: oneshot::Sender<()>,
    counting: JoinHandle<HashMap<String, u64>>,
}

impl Reads {
    pub async fn listen(redis: SocketAddr) -> std::io::Result<Self> {
        let mut stream = BufReader::new(TcpStream::connect(redis).await?);
        stream.write_all(b"MONITOR\r\n").await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        let (stop, mut stopped) = oneshot::channel();
        let counting = tokio::spawn(async move {
            let (mut lines, mut reads) = (stream.lines(), HashMap::new());
            loop {
                let line = tokio::select! {
                    line = lines.next_line() => line,
                    _ = &mut stopped => return reads,
                };
                let Ok(Some(line)) = line else { return reads };
                if let Some(log) = read_of(&line) {
                    *reads.entry(log.to_owned()).or_default() += 1;
                }
            }
        });
        Ok(Self { stop, counting })
    }

    pub async fn done(self) -> Event {
        drop(self.stop);
        let reads = self.counting.await.unwrap_or_default();
        let of = |kind: &str| {
            let counts = reads.iter().filter(move |(log, _)| log.starts_with(kind)).map(|(_, count)| *count);
            (counts.clone().sum(), counts.max().unwrap_or(0))
        };
        let ((rooms, of_a_room), (private, of_a_user)) = (of("r:"), of("u:"));
        Event::LogsRead { rooms, of_a_room, private, of_a_user }
    }
}

/// The log that a command reads, by the hash tag of its key; none for any other command.
fn read_of(line: &str) -> Option<&str> {
    let mut words = line.split("\" \"");
    if !words.next()?.ends_with("\"EVALSHA") {
        return None;
    }
    // The hash of the script, the number 4, the four keys of the log, an epoch, an age, and the direction.
    let key = words.nth(2)?;
    let direction = words.nth(5)?;
    let log = key.split_once('{')?.1.split_once('}')?.0;
    ["top", "after", "newest", "before"].contains(&direction).then_some(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_read_is_distinguished_from_a_publish() {
        let log = r#""c:{r:room-01}:meta" "c:{r:room-01}:log" "c:{r:room-01}:d0" "c:{r:room-01}:d1""#;
        let line = |rest: &str| format!(r#"1.2 [0 127.0.0.1:3] "EVALSHA" "ab" "4" {log} {rest}"#);
        let read = line(r#""00ff" "86400000" "after" "17" "100" "65536""#);
        assert_eq!(read_of(&read), Some("r:room-01"));
        assert_eq!(read_of(&line(r#""00ff" "86400000" "top" "0" "0" "0""#)), Some("r:room-01"));
        assert_eq!(read_of(&line(r#""k" "id" "1" "after" "17" "100""#)), None);
        assert_eq!(read_of(r#"1.2 [0 lua] "XRANGE" "c:{r:room-01}:log" "-" "+""#), None);
    }
}
