//! What the node is told of private messages that were shown.

use super::*;

/// Every request says what was shown, and a `Ping` says so if there is none.
#[test]
fn node_is_told_what_was_shown_with_the_next_request() {
    let mut story = Story::begin(None);
    story.model.opened();
    let auth = story.one("Auth");
    assert_eq!((&auth["received"]["seq"], &auth["received"]["message_id"]), (&json!(0), &json!("")));
    story.ack(&auth, &at("p", 0));
    let enter = story.one("Enter");
    story.ack(&enter, &at("e", 0));
    story.sent();
    story.whispered(1, "m1");
    let pause = Duration::from_secs(1);
    story.now += pause;
    story.model.tick(story.now);
    // It is shown only now.
    assert!(story.sent().is_empty());
    assert_eq!(story.model.wake(story.now), Some(story.now + pause));
    story.now += pause;
    story.model.tick(story.now);
    assert_eq!(story.one("Ping")["received"], position("p", 1));
    assert_eq!(story.model.wake(story.now), None, "the node was told");
    story.whispered(2, "m2");
    story.sent();
    story.model.send("a message tells it too", story.now);
    assert_eq!(story.one("GroupChat")["received"], position("p", 2));
    assert_eq!(story.model.take_received(), None);
    // The next connection tells it again: only then can the node believe it.
    story.loses_the_connection();
    let auth = story.one("Auth");
    assert_eq!(auth["received"], position("p", 2));
    story.ack(&auth, &at("p", 2));
    assert_eq!(story.one("Enter")["received"], position("p", 2));
}
