//! Tests of the messages on their way. Owns no state beyond a test.

use super::*;
use chatnode_protocol::{RoomName, UserName};

fn outbox() -> Outbox {
    Outbox::new(SEND_TIMEOUT)
}

fn id(text: &str) -> RequestId {
    RequestId::parse(text).unwrap()
}

fn room() -> Topic {
    Topic::Room(RoomName::parse("ops").unwrap())
}

fn error(code: ErrorCode, retry_after_ms: Option<u64>) -> ErrorBody {
    ErrorBody { code: code.into(), message: "no".into(), retry_after_ms, outcome: None, current: None }
}

#[test]
fn messages_go_one_at_a_time_and_keep_their_ids() {
    let (mut outbox, now) = (outbox(), Instant::now());
    outbox.add(id("1"), room(), "one".into());
    outbox.add(id("2"), room(), "two".into());
    assert!(outbox.next(now, |_| false).is_none(), "the room is not open");
    let first = outbox.next(now, |_| true).unwrap().id.clone();
    assert!(outbox.next(now, |_| true).is_none(), "one is in flight");
    outbox.lost("gone".into());
    assert_eq!(outbox.next(now, |_| true).unwrap().id, first);
    assert!(outbox.stored(&first) && !outbox.stored(&first));
    assert_eq!(outbox.next(now, |_| true).unwrap().content, "two");
}

#[test]
fn a_stuck_topic_holds_no_other() {
    let (mut outbox, now) = (outbox(), Instant::now());
    let person = Topic::User(UserName::parse("bob").unwrap());
    outbox.add(id("0"), room(), "stuck".into());
    outbox.add(id("1"), person.clone(), "one".into());
    outbox.add(id("2"), person.clone(), "two".into());
    let is_open = |topic: &Topic| *topic == person;
    assert_eq!(outbox.next(now, is_open).unwrap().content, "one");
    assert!(outbox.next(now, is_open).is_none(), "to each one at a time");
    assert_eq!(outbox.next(now, |_| true).unwrap().content, "stuck");
    outbox.lost("gone".into());
    let (given_up, _) = outbox.give_up(now + SEND_TIMEOUT).unwrap();
    assert_eq!(given_up.content, "stuck");
    assert_eq!(outbox.give_up(now + SEND_TIMEOUT).unwrap().0.content, "one");
    assert!(outbox.give_up(now + SEND_TIMEOUT).is_none(), "its turn has not come");
}

#[test]
fn a_passing_error_is_retried_and_a_final_one_returned() {
    let (mut outbox, now) = (outbox(), Instant::now());
    outbox.add(id("1"), room(), "one".into());
    let id = outbox.next(now, |_| true).unwrap().id.clone();
    let refused = outbox.refused(&id, &error(ErrorCode::Unavailable, Some(300)), now);
    assert!(matches!(refused, Some(Refusal::First(topic)) if topic == room()));
    assert!(outbox.next(now, |_| true).is_none());
    let later = outbox.wake(now).unwrap();
    let pause = later - now;
    assert!(pause >= Duration::from_millis(300) && pause < Duration::from_millis(1_300), "{pause:?}");
    assert_eq!(outbox.next(later, |_| true).unwrap().id, id);
    let refused = outbox.refused(&id, &error(ErrorCode::Unavailable, None), later);
    assert!(refused.is_none(), "it was reported");
    let refused = outbox.refused(&id, &error(ErrorCode::MessageTooLarge, None), now);
    assert!(matches!(refused, Some(Refusal::Final(publish)) if publish.content == "one"));
}

#[test]
fn a_message_is_given_up_within_the_dedupe_window() {
    let (mut outbox, now) = (outbox(), Instant::now());
    outbox.set_dedupe(Duration::from_secs(30));
    outbox.add(id("1"), room(), "sent".into());
    outbox.add(id("2"), room(), "never sent".into());
    outbox.next(now, |_| true).unwrap();
    outbox.lost("gone".into());
    let window = now + Duration::from_secs(20);
    assert_eq!(outbox.wake(now), Some(window));
    let (given_up, error) = outbox.give_up(window).unwrap();
    assert_eq!((given_up.content.as_str(), error.may_be_stored()), ("sent", true));
    assert!(outbox.next(window, |_| false).is_none() && outbox.give_up(window).is_none());
    let (_, error) = outbox.give_up(window + SEND_TIMEOUT).unwrap();
    assert_eq!(error, SendError::NotStored(StopReason::TimedOut("gone".into())));
    assert_eq!(error.to_string(), "it was not stored (gone)");
}

#[test]
fn message_that_no_node_would_accept_fails_at_once() {
    let (mut outbox, now, me) = (outbox(), Instant::now(), UserName::parse("ann").unwrap());
    outbox.add(id("1"), room(), "x".repeat(MAX_FRAME_BYTES));
    outbox.add(id("2"), room(), "two".into());
    let refused = SendError::Refused {
        code: ErrorCode::MessageTooLarge.into(),
        message: "the message is too long".into(),
    };
    match outbox.attempt(&me, &Since::NOTHING, now, |_| true) {
        Some(Attempt::Failed(publish, error)) => assert_eq!((publish.id, error), (id("1"), refused)),
        other => panic!("{other:?}"),
    }
    match outbox.attempt(&me, &Since::NOTHING, now, |_| true) {
        Some(Attempt::Send(frame)) => {
            let frame: serde_json::Value = serde_json::from_str(&frame).unwrap();
            assert_eq!(
                (frame["id"].as_str(), frame["message_type"].as_str()),
                (Some("2"), Some("GroupChat"))
            );
            assert_eq!(
                frame["message_body"],
                serde_json::json!({ "sender_username": "ann", "room": "ops", "content": "two" })
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(outbox.len(), 1);
    assert!(outbox.attempt(&me, &Since::NOTHING, now, |_| true).is_none(), "one is in flight");
}
