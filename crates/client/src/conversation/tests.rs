//! Tests of one conversation. Owns no state beyond a test.

use std::time::{Duration, Instant};

use chatnode_protocol::Extras;

use super::*;
use crate::reactions::{Reaction, Reactions};
use crate::resume_point::examples::{joined, position, unproved};
use crate::retraction::Retraction;

fn user(name: &str) -> UserName {
    UserName::parse(name).unwrap()
}

fn room() -> Conversation {
    Conversation::new(Topic::Room(RoomName::parse("ops").unwrap()))
}

fn message(conversation: &Conversation, sender: &str, seq: u64) -> Message {
    let (topic, sender, content) = (conversation.topic.clone(), user(sender), format!("m{seq}"));
    Message {
        topic,
        sender,
        content,
        sent_at: 1,
        position: position(1, seq),
        own_id: None,
        version: None,
        edited_at: None,
        retraction: None,
        reactions: Reactions::default(),
        extras: Extras::default(),
    }
}

fn receive(conversation: &mut Conversation, sender: &str, seq: u64) -> bool {
    let mut message = message(conversation, sender, seq);
    let is_new = conversation.receive(&mut message);
    if is_new {
        conversation.push(Line::Message(message));
    }
    is_new
}

#[test]
fn room_is_resumed_from_its_last_message() {
    let (mut room, now) = (room(), Instant::now());
    let since = |room: &mut Conversation| room.enter(now).unwrap().1;
    assert!(room.is_awaited(false) && !room.is_open());
    assert_eq!(since(&mut room), None);
    assert!(room.enter(now).is_none(), "it is on its way");
    room.entered(&joined(1, 4), false);
    assert!(room.is_in() && room.is_open() && !room.is_awaited(false));
    room.lost();
    assert_eq!(since(&mut room), Some(position(1, 4)));
    room.entered(&joined(1, 9), true);
    assert!(receive(&mut room, "bob", 5));
    room.lost();
    assert_eq!(since(&mut room), Some(position(1, 5)));
    room.entered(&unproved(2, 0, 1), true);
    room.lost();
    assert_eq!(since(&mut room), Some(position(2, 0)));
}

#[test]
fn room_that_was_entered_before_keeps_its_position() {
    let (mut room, now) = (room(), Instant::now());
    room.enter(now).unwrap();
    room.entered(&Joined { already: true, ..joined(1, 4) }, false);
    room.lost();
    assert_eq!(room.enter(now).unwrap().1, None);
    // With a position, the answer means what it means for a first join.
    receive(&mut room, "bob", 5);
    room.entered(&Joined { already: true, recovered: Some(true), ..joined(1, 9) }, true);
    room.lost();
    assert_eq!(room.enter(now).unwrap().1, Some(position(1, 5)));
    room.entered(&Joined { already: true, ..unproved(2, 0, 1) }, true);
    room.lost();
    assert_eq!(room.enter(now).unwrap().1, Some(position(2, 0)));
}

#[test]
fn delay_is_reported_once_until_the_room_is_entered() {
    let (mut room, now) = (room(), Instant::now());
    let second = Duration::from_secs(1);
    assert!(room.postpone(now, Some(second)) && !room.postpone(now, Some(second)));
    let later = room.membership.waits_until().unwrap();
    // After what the node asked for comes a random time, here of the second attempt.
    assert!(later >= now + second + second / 2 && later < now + 3 * second);
    assert!(room.enter(now + second).is_none() && room.enter(later).is_some());
    assert!(room.is_awaited(false) && !room.is_awaited(true));
    room.entered(&joined(1, 0), false);
    assert!(room.postpone(now, None));
}

#[test]
fn room_is_awaited_until_its_newest_old_message_comes() {
    let mut room = room();
    room.enter(Instant::now()).unwrap();
    room.entered(&joined(1, 2), false);
    room.expects(Some(position(1, 2).message_id));
    assert!(room.is_awaited(true));
    receive(&mut room, "bob", 1);
    assert!(room.is_awaited(true));
    receive(&mut room, "bob", 2);
    assert!(!room.is_awaited(true));
    room.expects(Some(position(1, 2).message_id));
    assert!(!room.is_awaited(true), "it came before");
}

#[test]
fn older_messages_are_added_once_and_first() {
    let mut room = room();
    assert!(receive(&mut room, "bob", 3) && !receive(&mut room, "bob", 3));
    assert_eq!(room.oldest(), Some(position(1, 3)));
    let page = [1, 2, 3].map(|seq| message(&room, "bob", seq)).to_vec();
    assert_eq!(room.receive_page(page, false).len(), 2);
    let texts: Vec<String> = room.lines.iter().map(Line::text).collect();
    assert_eq!(texts, ["m1", "m2", "m3"]);
    assert!(!room.has_more());
    assert_eq!(room.oldest(), Some(position(1, 1)));
}

#[test]
fn read_marker_is_due_once_for_each_newest_message_of_others() {
    let (mut room, me) = (room(), user("ann"));
    receive(&mut room, "bob", 1);
    receive(&mut room, "ann", 2);
    assert_eq!(room.take_marker(&me), None, "the client is not in the room");
    room.enter(Instant::now()).unwrap();
    room.entered(&joined(1, 2), false);
    assert_eq!(room.take_marker(&me), Some(position(1, 1)));
    assert_eq!(room.take_marker(&me), None);
    receive(&mut room, "bob", 3);
    assert_eq!(room.take_marker(&me), Some(position(1, 3)));
}

#[test]
fn marker_of_another_device_lowers_the_unread_count() {
    let (mut room, me) = (room(), user("ann"));
    for (sender, seq) in [("bob", 1), ("bob", 2), ("ann", 3), ("bob", 4)] {
        receive(&mut room, sender, seq);
    }
    room.push(Line::Gap(GapReason::Trimmed.into()));
    room.unread = 4;
    room.read_elsewhere(&me, |message| message.position.seq <= 2, false);
    assert_eq!(room.unread, 2, "a message and a gap");
    room.read_elsewhere(&me, |message| message.position.seq <= 1, false);
    assert_eq!(room.unread, 2, "an older marker changes nothing");
    room.unread = 0;
    room.read_elsewhere(&me, |_| false, false);
    assert_eq!(room.unread, 0);
    room.read_elsewhere(&me, |message| message.position.seq <= 1, true);
    assert_eq!(room.unread, 3, "the user wants two messages to be unread again");
}

#[test]
fn members_are_kept_from_the_first_list_to_the_lost_connection() {
    let mut room = room();
    room.set_present(&user("bob"), true);
    assert_eq!(room.members, None, "they were not asked for");
    room.members = Some(BTreeSet::from([user("ann")]));
    room.set_present(&user("bob"), true);
    room.set_present(&user("ann"), false);
    assert_eq!(room.members, Some(BTreeSet::from([user("bob")])));
    room.lost();
    assert_eq!(room.members, None);
}

#[test]
fn removed_client_enters_again_and_a_refused_one_does_not() {
    let (mut room, now) = (room(), Instant::now());
    room.enter(now).unwrap();
    room.entered(&joined(1, 4), false);
    room.removed();
    assert_eq!(room.enter(now).unwrap().1, Some(position(1, 4)));
    room.refused();
    assert!(room.is_refused() && room.enter(now).is_none());
}

/// The shown messages: their texts, and whether they were taken back.
fn shown(room: &Conversation) -> Vec<(&str, bool)> {
    let messages = room.lines.iter().filter_map(Line::message);
    messages.map(|message| (message.content.as_str(), message.is_retracted())).collect()
}

fn edited(seq: u64, content: &str) -> Revision {
    Revision::Edited { version: position(1, seq).message_id, sent_at: seq, content: content.into() }
}

fn reacted(sender: &str, seq: u64) -> Revision {
    let (user, is_mine) = (user(sender), sender == "ann");
    Revision::Reacted(Reaction { user, is_mine, reaction: "+".into(), on: true, position: position(1, seq) })
}

#[test]
fn change_reaches_a_message_that_comes_before_or_after_it() {
    let mut room = room();
    let id = |seq: u64| position(1, seq).message_id;
    receive(&mut room, "bob", 1);
    room.revise(id(1), edited(11, "second"));
    room.revise(id(1), edited(10, "first"));
    assert_eq!(room.changed, 2);
    // These come before their messages: in whatever order, the newest edit counts, and nothing brings a text back.
    room.revise(id(2), edited(13, "newest"));
    room.revise(id(2), edited(12, "older"));
    room.revise(
        id(3),
        Revision::Retracted(Retraction { reason: Some("typo".into()), ..Retraction::default() }),
    );
    room.revise(id(3), edited(14, "too late"));
    room.revise(id(3), reacted("bob", 15));
    room.revise(id(4), reacted("bob", 16));
    let page = [2, 3].map(|seq| message(&room, "bob", seq)).to_vec();
    room.receive_page(page, false);
    receive(&mut room, "bob", 4);
    assert_eq!(shown(&room), [("newest", false), ("", true), ("second", false), ("m4", false)]);
    let retracted = room.find(id(3)).unwrap();
    assert!(retracted.reactions.is_empty());
    assert_eq!(retracted.retraction.as_ref().unwrap().to_string(), "deleted: typo");
    assert_eq!(room.find(id(4)).unwrap().reactions.shown(), "+1");
    assert_eq!(room.find(id(1)).unwrap().edited_at, Some(11));
    room.passed(position(1, 16));
    room.removed();
    assert_eq!(room.enter(Instant::now()).unwrap().1, Some(position(1, 16)));
}

#[test]
fn changes_that_wait_for_their_message_are_bounded() {
    let mut room = room();
    for seq in 1..=1_001 {
        room.revise(position(1, seq).message_id, edited(2_000 + seq, "new"));
    }
    for seq in [1, 2, 1_001] {
        receive(&mut room, "bob", seq);
    }
    assert_eq!(shown(&room), [("m1", false), ("new", false), ("new", false)], "the oldest was dropped");
}

#[test]
fn an_answer_quotes_the_message_as_it_is_now() {
    let mut room = room();
    let id = |seq: u64| position(1, seq).message_id;
    let mut answer = message(&room, "ann", 9);
    assert_eq!(room.answered_by(&answer), None);
    answer.extras.reply_to = Some(id(1));
    assert_eq!(room.answered_by(&answer).as_deref(), Some("an older message"));
    receive(&mut room, "bob", 1);
    room.revise(id(1), edited(2, &format!("line\n\u{1b}[2J\u{202e}{}", "e\u{301}".repeat(1_000))));
    let quote = room.answered_by(&answer).unwrap();
    assert!(quote.starts_with("bob: line ⏎ e\u{301}e") && quote.ends_with('…'), "{quote}");
    assert_eq!(quote.chars().count(), 5 + 61);
    room.revise(id(1), Revision::Retracted(Retraction::default()));
    assert_eq!(room.answered_by(&answer).as_deref(), Some("bob: (deleted)"));
}
