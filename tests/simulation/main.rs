//! A whole node in simulated time, over a model of a store. Losses, late answers and rollbacks happen between any two steps
//! of a join, a recovery or a replay, which no real store can be made to do. Each member's stream is checked against the
//! promises to a member. The events come from proptest; the same events give the same run.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

mod member;
mod store;
mod world;

use proptest::prelude::*;

use world::World;

/// Members of the room: one that always reads, and two that often lag.
const MEMBERS: usize = 3;

#[derive(Debug, Clone)]
enum Event {
    /// A message is stored, and published so many times on the channel, if the room is subscribed.
    Append(u8),
    /// So many messages arrive from the channel.
    Arrive(usize),
    /// A message that arrived before arrives again.
    Again(usize),
    /// The subscription is lost, and restored.
    Interrupt,
    Restore,
    /// So many reads are answered, with the log as it was when they were asked.
    Answer(usize),
    /// The oldest unanswered read fails.
    FailToRead,
    /// A member takes all that is queued for it.
    Drain(usize),
    /// A member loses its connection, connects again and resumes.
    Reconnect(usize),
    /// Time passes, in ms.
    Pass(u64),
    /// The store drops its oldest messages.
    Trim(usize),
    /// The store loses its newest messages.
    RollBack(usize),
    StartAfresh,
}

fn harmless() -> impl Strategy<Value = Event> {
    prop_oneof![
        14 => (0_u8..3).prop_map(Event::Append),
        10 => (1_usize..6).prop_map(Event::Arrive),
        2 => any::<usize>().prop_map(Event::Again),
        2 => Just(Event::Interrupt),
        3 => Just(Event::Restore),
        10 => (1_usize..4).prop_map(Event::Answer),
        1 => Just(Event::FailToRead),
        8 => (0..MEMBERS).prop_map(Event::Drain),
        2 => (0..MEMBERS).prop_map(Event::Reconnect),
        3 => (1_u64..600).prop_map(Event::Pass),
    ]
}

fn harmful() -> impl Strategy<Value = Event> {
    prop_oneof![
        24 => harmless(),
        1 => any::<usize>().prop_map(Event::Trim),
        1 => any::<usize>().prop_map(Event::RollBack),
        1 => Just(Event::StartAfresh),
    ]
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(500);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Plays all events, and then until everything that is under way has arrived.
fn play(events: Vec<Event>) -> World {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new().await;
        for event in events {
            world.apply(event).await;
        }
        world.settle_all().await;
        world
    })
}

proptest! {
    #![proptest_config(cases())]

    /// Messages and answers may be lost or late: every member gets every message once, in order, and no gap.
    #[test]
    fn members_of_a_complete_log_get_every_message(events in prop::collection::vec(harmless(), 1..100)) {
        let world = play(events);
        for member in &world.members {
            let since = world.held_since(member);
            prop_assert_eq!(member.gaps, 0, "{} got a gap", member.name);
            prop_assert_eq!(&member.received, &since, "{}", member.name);
        }
    }

    /// If the store loses messages, none is missing or different without a gap before it, and those that are still held
    /// come.
    #[test]
    fn members_get_a_gap_for_what_the_log_lost(events in prop::collection::vec(harmful(), 1..100)) {
        let world = play(events);
        for member in &world.members {
            let missing = world.held_since(member).into_iter().find(|id| !member.received.contains(id));
            prop_assert_eq!(missing, None, "{} did not get a message that is held", member.name);
        }
    }
}
