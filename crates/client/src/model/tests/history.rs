//! Old messages: they come first, each once, and with a user who is shown.

use super::*;

#[test]
fn older_messages_come_first_and_once() {
    let mut story = Story::begin(None);
    story.model.opened();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 0));
    let enter = story.one("Enter");
    story.ack(&enter, &at("e", 5));
    story.said("ops", 5);
    story.sent();
    story.model.ask_history(50);
    story.model.ask_history(50);
    let history = story.one("History");
    assert_eq!(
        (&history["message_body"]["before"], &history["message_body"]["epoch"]),
        (&json!(5), &json!(epoch("e")))
    );
    let old = |seq| {
        json!({ "sender_username": "bob", "room": "ops", "content": format!("r{seq}"), "sent_at": 1,
        "epoch": epoch("e"), "seq": seq, "message_id": id(&format!("m{seq}")) })
    };
    story.ack(&history, &json!({ "messages": [old(3), old(4), old(5)], "epoch": epoch("e"), "more": false }));
    let texts: Vec<String> = story.model.conversations()[0].lines.iter().map(Line::text).collect();
    assert_eq!(texts, ["r3", "r4", "r5"]);
    story.sent();
    story.model.ask_history(50);
    assert!(story.sent().is_empty(), "there are none");
}

#[test]
fn a_shown_user_comes_with_old_messages() {
    let mut story = Story::begin(Some("bob"));
    story.model.opened();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 7));
    let history = story.one("History");
    assert_eq!(
        history["message_body"],
        json!({ "sender_username": "ann", "target_username": "bob", "limit": 20 })
    );
    story.ack(&history, &json!({ "messages": [], "epoch": epoch("p"), "more": false }));
    story.model.open(Topic::User(UserName::parse("carol").unwrap()), story.now);
    assert_eq!(story.one("History")["message_body"]["target_username"], "carol");
    story.model.open(Topic::User(UserName::parse("bob").unwrap()), story.now);
    assert!(story.sent().is_empty(), "there is no more");
}
