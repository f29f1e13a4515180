//! A whole node in simulated time, over a model of a store. Losses, late answers and rollbacks happen between any two steps
//! of a join, a recovery or a replay, which no real store can be made to do. Members send the first requests of a connection in
//! any order, and positions late, while connections that name no user take what they can of the waiting room. Each member's stream is checked against the promises to a member. The events come from
//! proptest; the same events give the same run.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

mod member;
mod next;
mod reactions;
mod store;
mod strangers;
mod world;

use chatnode::protocol::Topic;
use proptest::prelude::*;

use member::Request;
use strangers::ADDRESSES;
use support::backend::{room, user};
use world::World;

/// Members of the room, or devices of the user: one that always reads, and two that often lag.
const MEMBERS: usize = 3;

#[derive(Debug, Clone)]
enum Event {
    /// A message is stored, and published so many times on the channel, if the room is subscribed.
    Append(u8),
    /// Somebody reacts to one of the last messages, in the same way.
    React(usize, u8),
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
    /// A member loses its connection, and connects again with these first requests.
    Reconnect(usize, Vec<Request>),
    /// A member sends a further request.
    Ask(usize, Request),
    /// The store takes a member's position as that of all devices of the user.
    MoveCursor(usize),
    /// Time passes, in ms.
    Pass(u64),
    /// So many connections that name no user come from an address.
    Strangers(u8, usize),
    /// Those that had to leave are gone.
    StrangersLeave,
    /// The store drops its oldest messages.
    Trim(usize),
    /// The store loses its newest messages.
    RollBack(usize),
    StartAfresh,
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        2 => Just(Request::Plain),
        4 => Just(Request::Resume),
        4 => any::<usize>().prop_map(Request::Had),
        3 => (1_u8..20).prop_map(Request::History),
        2 => any::<bool>().prop_map(Request::Other),
    ]
}

fn harmless() -> impl Strategy<Value = Event> {
    prop_oneof![
        14 => (0_u8..3).prop_map(Event::Append),
        4 => (0_usize..6, 0_u8..3).prop_map(|(back, copies)| Event::React(back, copies)),
        10 => (1_usize..6).prop_map(Event::Arrive),
        2 => any::<usize>().prop_map(Event::Again),
        2 => Just(Event::Interrupt),
        3 => Just(Event::Restore),
        10 => (1_usize..4).prop_map(Event::Answer),
        1 => Just(Event::FailToRead),
        8 => (0..MEMBERS).prop_map(Event::Drain),
        1 => (0..MEMBERS, Just(vec![Request::Resume])).prop_map(|(at, firsts)| Event::Reconnect(at, firsts)),
        2 => (0..MEMBERS, prop::collection::vec(request(), 1..4))
            .prop_map(|(at, firsts)| Event::Reconnect(at, firsts)),
        2 => (0..MEMBERS, request()).prop_map(|(at, request)| Event::Ask(at, request)),
        1 => (0..MEMBERS, any::<usize>()).prop_map(|(at, seq)| Event::Ask(at, Request::InLog(seq))),
        1 => (0..MEMBERS).prop_map(Event::MoveCursor),
        3 => (1_u64..600).prop_map(Event::Pass),
        2 => (0..ADDRESSES, 1_usize..40).prop_map(|(address, count)| Event::Strangers(address, count)),
        1 => Just(Event::StrangersLeave),
    ]
}

fn harmful() -> impl Strategy<Value = Event> {
    prop_oneof![
        24 => harmless(),
        1 => (0..MEMBERS).prop_map(|at| Event::Ask(at, Request::Forged)),
        1 => any::<usize>().prop_map(Event::Trim),
        1 => any::<usize>().prop_map(Event::RollBack),
        1 => Just(Event::StartAfresh),
    ]
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(500);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// The log that the members have: of a room, or of a user.
fn log() -> impl Strategy<Value = Topic> {
    prop_oneof![Just(room("ops")), Just(user("alice"))]
}

/// Plays all events, and then until everything that is under way has arrived.
fn play(log: Topic, events: Vec<Event>) -> World {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(log).await;
        for event in events {
            world.apply(event).await;
        }
        world.settle_all().await;
        world
    })
}

proptest! {
    #![proptest_config(cases())]

    /// Messages and answers may be lost or late: every member gets every message once, in order, and no gap, and counts each reaction
    /// to it once.
    #[test]
    fn members_of_a_complete_log_get_every_message(
        log in log(),
        events in prop::collection::vec(harmless(), 1..100),
    ) {
        let world = play(log, events);
        for member in &world.members {
            prop_assert_eq!(member.gaps, 0, "{} got a gap", member.name);
            prop_assert_eq!(world.missing(member), [], "{}", member.name);
            prop_assert_eq!(world.miscounted(member), [], "{}", member.name);
        }
    }

    /// If the store loses messages, none is missing or different without a gap before it, and those that are still held
    /// come.
    #[test]
    fn members_get_a_gap_for_what_the_log_lost(
        log in log(),
        events in prop::collection::vec(harmful(), 1..100),
    ) {
        let world = play(log, events);
        for member in &world.members {
            prop_assert_eq!(world.missing(member), [], "{} did not get messages that are held", member.name);
        }
    }
}

/// A member is ahead of its node, whose subscription is lost. The log is rolled back to before the member's place, and is
/// longer again when the node reads it.
#[test]
fn member_ahead_of_its_node_gets_a_gap_after_a_rollback() {
    let events = vec![
        Event::StartAfresh,
        Event::Answer(1),
        Event::Reconnect(0, vec![Request::Resume]),
        Event::Answer(1),
        Event::Append(0),
        Event::Answer(2),
        Event::Append(1),
        Event::Answer(3),
        Event::Arrive(5),
        Event::Pass(159),
        Event::Append(1),
        Event::Append(2),
        Event::Pass(250),
        Event::Interrupt,
        Event::Answer(2),
        Event::Pass(280),
        Event::Answer(3),
        Event::Append(0),
        Event::Answer(2),
        Event::Pass(461),
        Event::RollBack(3),
        Event::Append(1),
        Event::Append(2),
        Event::Append(0),
    ];
    let world = play(room("ops"), events);
    let alice = &world.members[0];
    assert_eq!(alice.gaps, 2, "one for the new epoch, one for the rollback");
    assert_eq!(world.missing(alice), []);
}

/// A member is ahead of its node. The log is rolled back to where the node is, and no message comes afterwards: only the
/// comparison of tops can tell.
#[test]
fn member_ahead_gets_a_gap_though_no_message_follows() {
    let events = vec![
        Event::StartAfresh,
        Event::Answer(1),
        Event::Append(1),
        Event::Arrive(1),
        Event::Answer(1),
        Event::Reconnect(1, vec![Request::Other(false)]),
        Event::Append(0),
        Event::Append(0),
        Event::StartAfresh,
        Event::Append(0),
        Event::Answer(1),
        Event::Append(0),
        Event::RollBack(3484875508728058),
        Event::Reconnect(0, vec![Request::Plain]),
        Event::FailToRead,
        Event::Reconnect(0, vec![Request::Resume]),
        Event::Answer(3),
        Event::Answer(3),
        Event::Append(2),
        Event::Interrupt,
        Event::Answer(2),
        Event::Answer(2),
        Event::Append(2),
        Event::Append(1),
        Event::RollBack(1731216311807924376),
    ];
    let world = play(user("alice"), events);
    assert!(world.members[0].gaps > 0);
}

/// A member enters again with `history` while its node does not yet know that the log lost everything. Its place is counted
/// back from a message that is gone, and lies above the only message that the log then gets.
#[test]
fn member_that_enters_anew_after_a_rollback_gets_what_follows() {
    let events = vec![
        Event::Append(0),
        Event::Append(0),
        Event::Append(0),
        Event::Append(1),
        Event::Arrive(1),
        Event::Answer(1),
        Event::Append(0),
        Event::Append(0),
        Event::RollBack(3_150_443_846_474_803_585),
        Event::Answer(1),
        Event::Drain(1),
        Event::Ask(0, Request::Forged),
        Event::Answer(1),
        Event::Reconnect(0, vec![Request::History(1)]),
        Event::Append(0),
    ];
    let world = play(room("ops"), events);
    assert_eq!(world.missing(&world.members[0]), []);
}

/// Enters a room of four messages, none of which the node has in memory, with the newest of them. The read fails. Until the next
/// try, the log is rolled back to its first message, and grows again to this length.
fn enter_before_a_rollback(length: usize) -> Vec<Event> {
    let mut events = vec![Event::Append(0); 4];
    events.extend([
        Event::FailToRead,
        Event::Answer(1),
        Event::Reconnect(0, vec![Request::History(1)]),
        Event::FailToRead,
        Event::RollBack(1),
    ]);
    events.extend(vec![Event::Append(0); length - 1]);
    events
}

/// The place of the member is a number: whether the log is shorter now, as long, or longer, the messages below the place are new.
#[test]
fn member_gets_what_came_below_its_place_after_a_rollback() {
    for length in 2..7 {
        let world = play(room("ops"), enter_before_a_rollback(length));
        let alice = &world.members[0];
        assert_eq!(world.missing(alice), [], "the log has {length} messages");
        assert!(alice.gaps > 0, "the log has {length} messages");
    }
}

/// The member has read one page of the log when its node finds out about the rollback. The node tells no member that reads the
/// log by itself: the page has to tell.
#[test]
fn member_gets_a_gap_for_new_messages_below_its_place() {
    let mut events = enter_before_a_rollback(9);
    events.extend([
        Event::Pass(250),
        Event::Answer(1),
        Event::Append(1),
        Event::Arrive(1),
        Event::FailToRead,
        Event::Answer(1),
        Event::Answer(1),
    ]);
    let world = play(room("ops"), events);
    let alice = &world.members[0];
    assert_eq!(world.missing(alice), []);
    assert!(alice.gaps > 0);
}

/// Messages that came after a member had entered with `history` are dropped before its node reads them: they were promised.
#[test]
fn member_gets_a_gap_for_later_messages_that_were_dropped() {
    let events = vec![
        Event::Append(0),
        Event::FailToRead,
        Event::Append(0),
        Event::Arrive(1),
        Event::Append(0),
        Event::Append(0),
        Event::Trim(2),
        Event::Append(0),
        Event::Reconnect(0, vec![Request::History(1)]),
        Event::Restore,
    ];
    let world = play(room("ops"), events);
    let alice = &world.members[0];
    assert!(alice.gaps > 0);
    assert_eq!(world.missing(alice), []);
}
