//! Many people in some rooms. Owns them, and the questions that a story asks of all their diaries.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::person::{Person, Plan};
use crate::process::until;

/// People in one room.
const ROOM: usize = 30;

pub struct Crowd {
    people: Vec<Person>,
    /// One for each time that people came: who came later is silent until told to talk.
    talk: Vec<watch::Sender<bool>>,
    address: SocketAddr,
}

impl Crowd {
    /// So many people connect to this address, 30 to a room, and each has an address of its own.
    pub async fn comes(address: SocketAddr, size: usize) -> Self {
        let mut crowd = Self { people: Vec::new(), talk: Vec::new(), address };
        crowd.grows(size).await;
        crowd
    }

    /// So many more come, to rooms of their own. Three of each room talk, twice a second, once they are told to.
    pub async fn grows(&mut self, by: usize) {
        let talk = watch::Sender::new(false);
        for number in self.people.len()..self.people.len() + by {
            let plan = Plan {
                name: format!("p{number}"),
                room: format!("room-{}", number / ROOM),
                source: source(number),
                address: self.address,
                says_every: (number % ROOM < 3).then_some(Duration::from_millis(500)),
            };
            self.people.push(Person::comes(plan, talk.subscribe()));
        }
        self.talk.push(talk);
        until("everybody is in", Duration::from_secs(30), || async {
            self.people.iter().all(|person| !person.diary().caught_up.is_empty()).then_some(())
        })
        .await;
    }

    pub fn talks(&self) {
        self.talk.iter().for_each(|talk| talk.send_modify(|may| *may = true));
    }

    /// Whether so many messages are stored by now.
    pub fn said_at_least(&self, messages: usize) -> bool {
        self.people.iter().map(|person| person.diary().stored.len()).sum::<usize>() >= messages
    }

    /// Ends the talk; waits until everything said is answered and everything stored is heard by all of its room, once; and
    /// finds no complaint.
    pub async fn ends_with_nothing_lost(&self) {
        self.talk.iter().for_each(|talk| talk.send_modify(|may| *may = false));
        let within = Duration::from_secs(30);
        until("everything said is stored", within, || async {
            self.people.iter().all(|person| !person.diary().waits).then_some(())
        })
        .await;
        let mut stored = 0;
        for room in self.people.chunks(ROOM) {
            let said: HashSet<String> =
                room.iter().flat_map(|person| person.diary().stored.clone()).collect();
            stored += said.len();
            for person in room {
                until(&format!("{} has heard everything", person.plan.name), within, || async {
                    said.iter().all(|content| person.diary().heard.contains_key(content)).then_some(())
                })
                .await;
                let diary = person.diary();
                assert_eq!(diary.complaints, Vec::<String>::new(), "{}", person.plan.name);
                assert!(
                    diary.heard.values().all(|times| *times == 1),
                    "{} heard one twice",
                    person.plan.name
                );
                assert_eq!(diary.heard.len(), said.len(), "{} heard what nobody said", person.plan.name);
            }
        }
        assert!(stored > self.people.len() / 10, "nearly nobody spoke: {stored}");
        println!("{stored} messages to {} people, none lost, none twice", self.people.len());
    }

    /// When connections ended since a moment, and with which codes.
    pub fn ended_since(&self, start: Instant) -> Vec<(Instant, Option<u16>)> {
        let all = self.people.iter().flat_map(|person| person.diary().ended.clone());
        all.filter(|(when, _)| *when >= start).collect()
    }

    /// When those whose connection ended since a moment had caught up; none for who has not yet.
    pub fn back_since(&self, start: Instant) -> Vec<Option<Instant>> {
        let back = |person: &Person| {
            let diary = person.diary();
            let ended = diary.ended.iter().map(|(when, _)| *when).find(|when| *when >= start)?;
            Some(diary.caught_up.iter().copied().find(|when| *when > ended))
        };
        self.people.iter().filter_map(back).collect()
    }
}

/// An address of its own for each client; none that a node trusts.
pub fn source(number: usize) -> Ipv4Addr {
    let low = u8::try_from(number % 250 + 1).unwrap();
    Ipv4Addr::new(127, 1, u8::try_from(number / 250).unwrap(), low)
}
