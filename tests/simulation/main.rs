//! A whole node in simulated time over a store that is a model: losses, late answers and rollbacks at every moment between
//! the steps of joining, healing and catching up, which no real store can be made to meet. Each member's stream is held to
//! what a member is promised. The events come from proptest; the same ones give the same run.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

mod member;
mod store;
mod world;

use proptest::prelude::*;

use world::World;

/// Members of the room: one that reads whatever comes, and two that are often behind.
const MEMBERS: usize = 3;

#[derive(Debug, Clone)]
enum Event {
    /// A message is stored; on the channel it comes so many times, if the room is subscribed.
    Append(u8),
    /// So many come out of the channel.
    Arrive(usize),
    /// One that came before comes once more.
    Again(usize),
    /// The way of messages is lost, and there again.
    Interrupt,
    Restore,
    /// So many answers to reads arrive, of what was read when it was asked for.
    Answer(usize),
    /// The oldest read that is under way fails.
    FailToRead,
    /// A member takes what is queued for it.
    Drain(usize),
    /// A member's connection is lost; it comes back and resumes.
    Reconnect(usize),
    /// Time passes, in ms.
    Pass(u64),
    /// The store drops its oldest.
    Trim(usize),
    /// The store loses its newest.
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

/// Plays the events to their end, and until all that is on its way has come.
fn play(events: Vec<Event>) -> World {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new().await;
        for event in events {
            world.live(event).await;
        }
        world.come_to_rest().await;
        world
    })
}

proptest! {
    #![proptest_config(cases())]

    /// Whatever is lost or late on the way: every member gets every message once, in order, and is told of no gap.
    #[test]
    fn members_of_a_whole_log_miss_nothing(events in prop::collection::vec(harmless(), 1..100)) {
        let world = play(events);
        for member in &world.members {
            let since = world.held_since(member);
            prop_assert_eq!(member.gaps, 0, "{} was told of a gap", member.name);
            prop_assert_eq!(&member.had, &since, "{}", member.name);
        }
    }

    /// Where the store itself forgets, nothing is missing or different without a gap before it, and what is still held comes.
    #[test]
    fn members_are_told_of_what_the_log_lost(events in prop::collection::vec(harmful(), 1..100)) {
        let world = play(events);
        for member in &world.members {
            let missing = world.held_since(member).into_iter().find(|id| !member.had.contains(id));
            prop_assert_eq!(missing, None, "{} was not sent what is held", member.name);
        }
    }
}
