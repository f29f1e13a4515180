//! Clients in some rooms, of which a few talk. Owns them, and the proof that nothing was lost. Used by the stories.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::member::Member;
use crate::until::{PATIENCE, until};

/// Clients in one room, and how many of them talk.
const ROOM: usize = 12;
const TALKERS: usize = 2;

/// After this time, a client takes a connection for a good one.
const SETTLED: Duration = Duration::from_secs(60);

pub struct Group {
    members: Vec<Member>,
    /// One for each time that clients were added: those talk once all of them are in their rooms.
    talk: Vec<watch::Sender<bool>>,
    url: String,
}

impl Group {
    /// So many clients, which talk from now on.
    pub async fn join(url: &str, size: usize) -> Self {
        let mut group = Self { members: Vec::new(), talk: Vec::new(), url: url.to_owned() };
        group.add(size).await;
        group
    }

    /// Adds so many clients, in new rooms.
    pub async fn add(&mut self, by: usize) {
        let first = self.members.len();
        let talk = watch::Sender::new(false);
        let joining = (first..first + by).map(|number| {
            let (url, room) = (self.url.clone(), format!("room-{}", number / ROOM));
            let talks = (number % ROOM < TALKERS).then(|| talk.subscribe());
            async move { Member::join(&url, &format!("p{number}"), &room, talks).await }
        });
        let joined = futures_util::future::join_all(joining);
        self.members.extend(tokio::time::timeout(PATIENCE, joined).await.expect("all clients have joined"));
        talk.send_replace(true);
        self.talk.push(talk);
    }

    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// Waits until every client is connected, and proves that each message that was stored came to each member of its room, once.
    /// The clients go on talking.
    pub async fn has_lost_nothing(&self) {
        self.talk.iter().for_each(|talk| talk.send_modify(|talks| *talks = false));
        until("every message is stored", 2 * PATIENCE, || async {
            self.members.iter().all(|member| !member.waits()).then_some(())
        })
        .await;
        for room in self.members.chunk_by(|one, other| one.room == other.room) {
            let said: HashSet<String> =
                room.iter().flat_map(|member| member.record().stored.clone()).collect();
            assert!(!said.is_empty(), "nobody talked in {}", room[0].room);
            for member in room {
                until(&format!("a member of {} has every message", member.room), PATIENCE, || async {
                    let record = member.record();
                    said.iter().all(|content| record.heard.contains_key(content)).then_some(())
                })
                .await;
                let record = member.record();
                assert!(record.violations.is_empty(), "{:?}", record.violations);
                assert!(record.heard.values().all(|times| *times == 1), "a message came twice: {record:?}");
                assert_eq!(record.heard.len(), said.len(), "a message that nobody knows to be stored");
            }
        }
        self.talk.iter().for_each(|talk| talk.send_modify(|talks| *talks = true));
    }

    /// Waits until every client that lost its connection since then is back. How long each was away, the shortest time first.
    pub async fn is_back_since(&self, start: Instant) -> Vec<Duration> {
        let times = || -> Option<Vec<Duration>> {
            let mut times = Vec::new();
            for member in &self.members {
                let record = member.record();
                for away in record.away.iter().filter(|away| away.since >= start) {
                    times.push(away.until?.duration_since(away.since));
                }
            }
            times.sort();
            Some(times)
        };
        until("all clients are back", 2 * PATIENCE, || async { times() }).await.0
    }

    /// Waits until no client has lost its connection for a minute. A client that loses it earlier waits longer.
    pub async fn has_settled(&self) {
        let settled = || {
            let connected = |member: &Member| member.record().connected;
            self.members.iter().all(|member| connected(member).is_some_and(|since| since.elapsed() > SETTLED))
        };
        until("every client has settled", 2 * SETTLED, || async { settled().then_some(()) }).await;
    }

    /// How many connections were lost since then.
    pub fn losses_since(&self, start: Instant) -> usize {
        let losses = |member: &Member| member.record().away.iter().filter(|away| away.since >= start).count();
        self.members.iter().map(losses).sum()
    }

    /// Messages that are stored.
    pub fn stored(&self) -> usize {
        self.members.iter().map(|member| member.record().stored.len()).sum()
    }
}
