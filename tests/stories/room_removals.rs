//! Users who are taken out of a room while they send requests. On two nodes, as in `room_rights`.

use serde_json::{Value, json};

use crate::room_rights::{act, connect, enter, room_of_ann, start};

on_each_store! {
    async fn no_ack_follows_the_removal(kind) {
        let cluster = start(kind).await;
        let mut ann = room_of_ann(&cluster, "open").await;
        let mut bob = enter(&cluster, 1, "bob").await;
        for round in 0..40 {
            let ids = [0, 1, 2].map(|n| format!("{round}-{n}"));
            for id in &ids {
                let again = bob.envelope("Enter", json!({ "room": "ops" }), Some(id)).to_string();
                bob.send_text(again).await;
            }
            ann.ok("Moderate", act("kick", "bob")).await;
            // The answers, and the removal, in the order in which they came.
            let is_of_round = |frame: &Value| {
                frame["message_type"] == "Removed" || frame["id"].as_str().is_some_and(|id| ids.iter().any(|own| own == id))
            };
            let mut is_in = true;
            for _ in 0..=ids.len() {
                let frame = bob.wait_for("the removal and the answers", is_of_round).await;
                let body = &frame["message_body"];
                match frame["message_type"].as_str() {
                    Some("Ack") => is_in = true,
                    Some("Removed") => is_in = false,
                    _ => assert_eq!(body["code"], "not_in_room", "{frame}"),
                }
            }
            if is_in {
                bob.say("ops", "here").await;
            }
            bob.ok("Enter", json!({ "room": "ops" })).await;
        }
    }

    async fn message_goes_to_no_other_room_after_a_removal(kind) {
        let cluster = start(kind).await;
        let mut ann = room_of_ann(&cluster, "open").await;
        let mut bob = connect(&cluster, 1, "bob").await;
        for room in ["pub", "ops"] {
            bob.ok("Enter", json!({ "room": room })).await;
        }
        ann.ok("Moderate", act("kick", "bob")).await;
        bob.next("Removed").await;
        bob.refused("GroupChat", json!({ "content": "for the ops" }), "not_in_room").await;
        bob.say("pub", "for all").await;
        bob.refused("GroupChat", json!({ "content": "for the ops" }), "not_in_room").await;
        bob.ok("Enter", json!({ "room": "pub" })).await;
        assert_eq!(bob.ok("GroupChat", json!({ "content": "current again" })).await["seq"], 2);
    }
}
