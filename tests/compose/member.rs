//! One client that talks in a room, by `chatnode-client`: it resumes by itself. Owns the connection and a record of what happened.
//! Used by `group`, which decides when it talks and asks for the record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use chatnode_client::{Client, ConnectOptions, Event, Events};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The pause between two messages of a client that talks.
const PACE: Duration = Duration::from_millis(300);

/// Longer than the cluster is away in any story.
const SEND_TIMEOUT: Duration = Duration::from_secs(120);

/// What happened to a client.
#[derive(Debug, Default)]
pub struct Record {
    /// How often it received each content.
    pub heard: HashMap<String, usize>,
    /// What it sent and is stored.
    pub stored: Vec<String>,
    /// The times without a connection.
    pub away: Vec<Away>,
    /// When it was signed in last.
    pub connected: Option<Instant>,
    /// What must not happen.
    pub violations: Vec<String>,
}

/// A time without a connection.
#[derive(Debug)]
pub struct Away {
    pub since: Instant,
    /// Why it was lost, and why each attempt failed.
    pub reasons: Vec<String>,
    pub until: Option<Instant>,
}

/// A client; leaves when dropped.
pub struct Member {
    pub room: String,
    record: Arc<Mutex<Record>>,
    client: Client,
    tasks: Vec<JoinHandle<()>>,
}

impl Member {
    /// Connects, joins the room, and sends messages while `talks` is true. One that only listens has no `talks`.
    pub async fn join(url: &str, name: &str, room: &str, talks: Option<watch::Receiver<bool>>) -> Self {
        let options = ConnectOptions::new(url).user(name).send_timeout(SEND_TIMEOUT);
        let (client, events) = options.retry_on_initial_connect().connect().await.unwrap();
        let record = Arc::new(Mutex::new(Record::default()));
        let mut tasks = vec![tokio::spawn(listen(events, record.clone()))];
        client.join(room).await.unwrap();
        if let Some(talks) = talks {
            tasks.push(tokio::spawn(talk(client.clone(), room.to_owned(), talks, record.clone())));
        }
        Self { room: room.to_owned(), record, client, tasks }
    }

    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap()
    }

    /// Whether a message is not known to be stored.
    pub fn waits(&self) -> bool {
        self.client.unsent() > 0
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn listen(mut events: Events, record: Arc<Mutex<Record>>) {
    while let Some(event) = events.next().await {
        let mut record = record.lock().unwrap();
        match event {
            Event::Message(message) => *record.heard.entry(message.content).or_default() += 1,
            Event::Disconnected { reason, .. } => match record.away.last_mut() {
                Some(away) if away.until.is_none() => away.reasons.push(reason.to_string()),
                _ => {
                    let reasons = vec![reason.to_string()];
                    record.away.push(Away { since: Instant::now(), reasons, until: None });
                }
            },
            Event::Connected { .. } => {
                let now = Instant::now();
                record.connected = Some(now);
                if let Some(away) = record.away.last_mut() {
                    away.until.get_or_insert(now);
                }
            }
            bad @ (Event::Gap { .. }
            | Event::NotSent { .. }
            | Event::JoinRefused { .. }
            | Event::NodeError { .. }
            | Event::Closed { .. }) => record.violations.push(bad.to_string()),
            // The client tries again, or others come and go.
            _ => {}
        }
    }
}

async fn talk(client: Client, room: String, mut talks: watch::Receiver<bool>, record: Arc<Mutex<Record>>) {
    for number in 0.. {
        if talks.wait_for(|talks| *talks).await.is_err() {
            return;
        }
        let content = format!("{} {number}", client.user());
        // An error is an event as well.
        if client.send(&room, &content).await.is_ok() {
            record.lock().unwrap().stored.push(content);
        }
        tokio::time::sleep(PACE).await;
    }
}
