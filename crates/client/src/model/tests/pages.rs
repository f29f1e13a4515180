//! Lists that come in pages: they count once they are complete.

use super::*;

#[test]
fn pages_that_are_cut_are_followed_to_the_wanted_number() {
    let mut story = Story::begin(Some("bob"));
    story.model.opened();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 9));
    let old = |seq| {
        json!({ "sender_username": "bob", "target_username": "ann", "content": format!("m{seq}"), "sent_at": 1,
        "epoch": epoch("p"), "seq": seq, "message_id": id(&format!("m{seq}")) })
    };
    let page =
        |messages: &[Value], more: bool| json!({ "messages": messages, "epoch": epoch("p"), "more": more });
    let first = story.one("History");
    story.ack(&first, &page(&[old(8), old(9)], true));
    assert!(story.model.conversations().iter().all(|each| each.lines.is_empty()), "not before all have come");
    assert!(!story.model.is_settled());
    let second = story.one("History");
    assert_eq!(
        second["message_body"],
        json!({ "sender_username": "ann", "target_username": "bob", "before": 8, "epoch": epoch("p"), "limit": 18 })
    );
    story.ack(&second, &page(&[old(7)], true));
    let third = story.one("History");
    story.error(&third, &json!({ "code": "unavailable", "message": "try again" }));
    let texts = |story: &Story| -> Vec<String> {
        story
            .model
            .current()
            .unwrap()
            .lines
            .iter()
            .filter_map(Line::message)
            .map(|each| each.content.clone())
            .collect()
    };
    assert_eq!(texts(&story), ["m7", "m8", "m9"], "the messages that came are shown");
    story.sent();
    story.model.ask_history(1);
    let fourth = story.one("History");
    assert_eq!(fourth["message_body"]["before"], 7);
    story.ack(&fourth, &page(&[old(6)], true));
    assert_eq!(texts(&story), ["m6", "m7", "m8", "m9"]);
    assert!(story.sent().is_empty(), "one was wanted");
}

#[test]
fn members_are_known_once_all_pages_have_come() {
    let mut story = Story::begin(None);
    story.model.opened();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 0));
    let enter = story.one("Enter");
    story.ack(&enter, &at("e", 5));
    let members = story.one("Members");
    story.ack(&members, &json!({ "room": "ops", "members": ["amy", "bob"], "count": 4, "more": true }));
    assert_eq!(story.model.conversations()[0].members, None);
    // Users who enter or leave between two pages.
    for (kind, user) in [("Leave", "amy"), ("Enter", "abe")] {
        let body = json!({ "sender_username": user, "room": "ops" });
        story.hears(&json!({ "message_type": kind, "message_body": body }));
    }
    let next = story.one("Members");
    assert_eq!(next["message_body"]["after"], "bob");
    story.ack(&next, &json!({ "room": "ops", "members": ["carol", "dan"], "count": 4, "more": false }));
    let known = story.model.conversations()[0].members.clone().unwrap();
    assert_eq!(known.iter().map(UserName::as_str).collect::<Vec<_>>(), ["abe", "bob", "carol", "dan"]);
}

#[test]
fn markers_beyond_the_auth_lower_the_unread_count() {
    let mut story = Story::begin(None);
    story.model.opened();
    let auth = story.one("Auth");
    let mut answer = at("p", 9);
    answer["read"] = json!({ "bob": id("m2") });
    answer["read_more"] = json!(true);
    answer["features"] = json!(["auth", "history", "members", "read", "markers"]);
    story.ack(&auth, &answer);
    let private = |sender: &str, seq: u64| {
        json!({ "message_type": "PrivateChat", "message_body": { "sender_username": sender, "target_username": "ann", "content": "hi", "sent_at": 1,
        "epoch": epoch("p"), "seq": seq, "message_id": id(&format!("m{seq}")) } })
    };
    let markers = story.one("Markers");
    assert_eq!(markers["message_body"], json!({ "sender_username": "ann", "limit": 1_000 }));
    for (sender, seq) in [("bob", 2), ("bob", 3), ("carol", 4), ("carol", 5)] {
        story.hears(&private(sender, seq));
    }
    let unread = |story: &Story| -> Vec<usize> {
        story.model.conversations()[1..].iter().map(|each| each.unread).collect()
    };
    assert_eq!(unread(&story), [1, 2], "carol's marker is still to come");
    let marker =
        |peer: &str, seq: u64| json!({ "target_username": peer, "message_id": id(&format!("m{seq}")) });
    story.ack(&markers, &json!({ "markers": [marker("bob", 2)], "more": true }));
    let next = story.one("Markers");
    assert_eq!(next["message_body"]["after"], "bob");
    story.ack(&next, &json!({ "markers": [marker("carol", 4)], "more": false }));
    assert_eq!(unread(&story), [1, 1]);
    story.hears(&private("carol", 4));
    assert_eq!(unread(&story), [1, 1], "it came before");
}
