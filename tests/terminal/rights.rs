//! Rooms with rights on the screen of the real program: how they are made, who comes in, and who is sent out.

use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;

use crate::support::api::with_tokens;
use crate::support::client::{Client, PATIENCE};
use crate::support::cluster::{Cluster, Kind};
use crate::window::{CONTROL_C, CONTROL_U, Window, chat_args};

async fn window(cluster: &Cluster, args: &[&str]) -> Window {
    let token = cluster.token(0, "ann").await;
    Window::start_with(cluster.address(0), args, &[("CHATNODE_TOKEN", &token)])
}

async fn sign_in(cluster: &Cluster, name: &str) -> Client {
    let token = cluster.token(0, name).await;
    let header = [("authorization", format!("Bearer {token}"))];
    let mut client = Client::connect_with(cluster.address(0), name, &header).await.unwrap();
    client.ok("Auth", json!({})).await;
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_keeps_a_private_room() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, with_tokens).await;
    let mut bob = sign_in(&cluster, "bob").await;
    let mut ann = window(&cluster, &["--room", "dev"]).await;
    ann.stands("#dev", "connected").await;
    ann.types("/invite bob\r");
    ann.shows("* /invite: this room has no roles").await;
    ann.types(&format!("{CONTROL_U}/room private ops\r"));
    ann.stands("#ops", "connected").await;
    ann.shows("private · you are an owner").await;
    ann.types("/topic on call\r");
    ann.shows("private · you are an owner · topic: on call").await;
    ann.shows("* ann changed #ops: the topic is on call").await;

    bob.refused("Enter", json!({ "room": "ops" }), "forbidden").await;
    ann.types("/invite bob welcome\r");
    assert_eq!(bob.next("Invitation").await["reason"], "welcome");
    ann.shows("* ann invited bob in #ops: welcome").await;
    bob.ok("Enter", json!({ "room": "ops" })).await;
    ann.shows("* bob is a member of #ops now").await;
    bob.say("ops", "thanks").await;
    ann.shows("bob: thanks").await;

    ann.types("/mu\tb\t5\r");
    let mute = bob.wait_for("the mute", |frame| frame["message_body"]["action"] == "mute").await;
    assert!(mute["message_body"]["until"].as_u64().is_some(), "{mute}");
    ann.shows("* ann muted bob in #ops (until ").await;
    ann.types("/role bob mod\t\r");
    ann.shows("* ann gave bob the role moderator in #ops").await;
    ann.types("/ban bob spam\r");
    assert_eq!(bob.next("Removed").await["reason"], "spam");
    ann.shows("* ann banned bob in #ops: spam").await;
    bob.refused("Enter", json!({ "room": "ops" }), "forbidden").await;
    // Who left is completed too.
    ann.types("/unban b\t\r");
    ann.shows("* ann unbanned bob in #ops").await;
    ann.types("/unban bob\r");
    ann.shows("* nothing changed: it was so already").await;
    ann.types("/remove ann\r");
    ann.shows("* can't remove ann: ").await;
    ann.types(CONTROL_C);
    assert_eq!(ann.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_is_invited_and_sent_out() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, with_tokens).await;
    let mut bob = sign_in(&cluster, "bob").await;
    bob.ok("Room", json!({ "room": "ops", "kind": "private", "topic": "on call" })).await;
    bob.ok("Enter", json!({ "room": "ops" })).await;
    let mut ann = window(&cluster, &["--room", "dev"]).await;
    ann.stands("#dev", "connected").await;
    let act = |action: &str| json!({ "room": "ops", "action": action, "target_username": "ann", "reason": "why not" });
    bob.ok("Moderate", act("invite")).await;
    ann.shows("* bob invites you to #ops: why not (/join ops accepts)").await;
    ann.types("/join ops\r");
    ann.stands("#ops", "connected").await;
    ann.shows("private · you are a member · topic: on call").await;
    ann.types("/kick bob\r");
    ann.shows("* /kick: only owners and moderators may do").await;
    ann.prompts(&["> /kick bob"]).await;
    ann.types(CONTROL_U);
    bob.ok("Moderate", act("kick")).await;
    ann.shows("* you are no longer in #ops: you were sent out").await;
    ann.shows_so("no more of the room", |rows| !rows.iter().any(|row| row.contains("topic: on call"))).await;
    ann.types("nobody hears this\r");
    ann.shows("not sent to #ops").await;
    ann.types(&format!("{CONTROL_U}/join ops\r"));
    ann.shows("private · you are a member · topic: on call").await;
    ann.types("back\r");
    bob.wait_for("her message", |frame| frame["message_body"]["content"] == "back").await;
    ann.types(CONTROL_C);
    // One message was not sent.
    ann.code().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipe_that_is_sent_out_fails() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, with_tokens).await;
    let mut bob = sign_in(&cluster, "bob").await;
    bob.ok("Room", json!({ "room": "ops", "kind": "open" })).await;
    bob.ok("Enter", json!({ "room": "ops" })).await;
    let child = Command::new(env!("CARGO_BIN_EXE_chatnode"))
        .args(chat_args(cluster.address(0)))
        .args(["--room", "ops", "--follow"])
        .env_clear()
        .env("CHATNODE_TOKEN", cluster.token(0, "ann").await)
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    bob.wait_for("ann", |frame| {
        frame["message_type"] == "Enter" && frame["message_body"]["sender_username"] == "ann"
    })
    .await;
    bob.ok("Room", json!({ "room": "ops", "topic": "on call" })).await;
    bob.ok(
        "Moderate",
        json!({ "room": "ops", "action": "kick", "target_username": "ann", "reason": "why not" }),
    )
    .await;
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    let [lines, errors] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let told = "#ops -- bob changed #ops: the topic is on call\n#ops -- bob kicked ann in #ops: why not\n";
    assert_eq!((output.status.code(), lines.as_str()), (Some(1), told), "{errors}");
    assert!(errors.contains("you are no longer in #ops: you were sent out"), "{errors}");
}
