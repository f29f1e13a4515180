//! Tests of the messages on their way. Owns no state beyond a test.

use chatnode_protocol::{MessageId, RoomName};

use super::*;
use crate::change::Change;
use crate::new_message::NewMessage;

fn outbox() -> Outbox {
    Outbox::new(SEND_TIMEOUT)
}

fn id(text: &str) -> RequestId {
    RequestId::parse(text).unwrap()
}

fn room() -> Topic {
    Topic::Room(RoomName::parse("ops").unwrap())
}

fn text(content: &str) -> Payload {
    Payload::Message(content.into())
}

fn error(code: ErrorCode, retry_after_ms: Option<u64>) -> ErrorBody {
    ErrorBody { code: code.into(), message: "no".into(), retry_after_ms, outcome: None, current: None }
}

#[test]
fn messages_go_one_at_a_time_and_keep_their_ids() {
    let (mut outbox, now) = (outbox(), Instant::now());
    outbox.add(id("1"), room(), text("one"));
    outbox.add(id("2"), room(), text("two"));
    assert!(outbox.next(now, |_| false).is_none(), "the room is not open");
    let first = outbox.next(now, |_| true).unwrap().id.clone();
    assert!(outbox.next(now, |_| true).is_none(), "one is in flight");
    outbox.lost("gone".into());
    assert_eq!(outbox.next(now, |_| true).unwrap().id, first);
    assert!(outbox.stored(&first) && !outbox.stored(&first));
    assert_eq!(outbox.next(now, |_| true).unwrap().payload, text("two"));
}

#[test]
fn a_stuck_topic_holds_no_other() {
    let (mut outbox, now) = (outbox(), Instant::now());
    let person = Topic::User(UserName::parse("bob").unwrap());
    outbox.add(id("0"), room(), text("stuck"));
    outbox.add(id("1"), person.clone(), text("one"));
    outbox.add(id("2"), person.clone(), text("two"));
    let is_open = |topic: &Topic| *topic == person;
    assert_eq!(outbox.next(now, is_open).unwrap().payload, text("one"));
    assert!(outbox.next(now, is_open).is_none(), "to each one at a time");
    assert_eq!(outbox.next(now, |_| true).unwrap().payload, text("stuck"));
    outbox.lost("gone".into());
    let (given_up, _) = outbox.give_up(now + SEND_TIMEOUT).unwrap();
    assert_eq!(given_up.payload, text("stuck"));
    assert_eq!(outbox.give_up(now + SEND_TIMEOUT).unwrap().0.payload, text("one"));
    assert!(outbox.give_up(now + SEND_TIMEOUT).is_none(), "its turn has not come");
}

#[test]
fn a_passing_error_is_retried_and_a_final_one_returned() {
    let (mut outbox, now) = (outbox(), Instant::now());
    outbox.add(id("1"), room(), text("one"));
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
    assert!(matches!(refused, Some(Refusal::Final(publish)) if publish.payload == text("one")));
}

#[test]
fn a_message_is_given_up_within_the_dedupe_window() {
    let (mut outbox, now) = (outbox(), Instant::now());
    outbox.set_dedupe(Duration::from_secs(30));
    outbox.add(id("1"), room(), text("sent"));
    outbox.add(id("2"), room(), text("never sent"));
    outbox.next(now, |_| true).unwrap();
    outbox.lost("gone".into());
    let window = now + Duration::from_secs(20);
    assert_eq!(outbox.wake(now), Some(window));
    let (given_up, error) = outbox.give_up(window).unwrap();
    assert_eq!((given_up.payload, error.may_be_stored()), (text("sent"), true));
    assert!(outbox.next(window, |_| false).is_none() && outbox.give_up(window).is_none());
    let (_, error) = outbox.give_up(window + SEND_TIMEOUT).unwrap();
    assert_eq!(error, SendError::NotStored(StopReason::TimedOut("gone".into())));
    assert_eq!(error.to_string(), "it was not stored (gone)");
}

#[test]
fn message_that_no_node_would_accept_fails_at_once() {
    let (mut outbox, now, me) = (outbox(), Instant::now(), UserName::parse("ann").unwrap());
    outbox.add(id("1"), room(), text(&"x".repeat(MAX_FRAME_BYTES)));
    outbox.add(id("2"), room(), text("two"));
    let refused = SendError::Refused {
        code: ErrorCode::MessageTooLarge.into(),
        message: "the message is too long".into(),
    };
    match outbox.attempt(&me, &Since::NOTHING, &Features::default(), now, |_| true) {
        Some(Attempt::Failed(publish, error)) => assert_eq!((publish.id, error), (id("1"), refused)),
        other => panic!("{other:?}"),
    }
    match outbox.attempt(&me, &Since::NOTHING, &Features::default(), now, |_| true) {
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
    assert!(
        outbox.attempt(&me, &Since::NOTHING, &Features::default(), now, |_| true).is_none(),
        "one is in flight"
    );
}

#[test]
fn features_of_the_node_decide_which_publishes_go() {
    let (mut outbox, now) = (outbox(), Instant::now());
    let (me, message_id) = (UserName::parse("ann").unwrap(), MessageId::generate());
    let change = Change::React { reaction: "+".into(), on: true };
    outbox.add(id("1"), room(), Payload::Change { message_id, change });
    outbox.add(id("2"), room(), Payload::Message(NewMessage::new("x").reply_to(message_id)));
    outbox.add(id("3"), room(), text("two"));
    let mut attempt = |features: &Features| outbox.attempt(&me, &Since::NOTHING, features, now, |_| true);
    for word in ["react", "reply_to"] {
        match attempt(&Features::default()) {
            Some(Attempt::Failed(_, SendError::NotStored(StopReason::Unsupported(lacked)))) => {
                assert_eq!(lacked, word);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(attempt(&Features::default()), Some(Attempt::Send(_))));
    let all = Features::all();
    let message = NewMessage::new("x").reply_to(message_id).thread(message_id).mention(me.clone());
    assert_eq!((message.needs().count(), Payload::Message(message).lacks(&all)), (3, None));
}
