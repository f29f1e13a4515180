//! How the program ends, stops and goes on: the terminal is restored each time, and nothing unsent is lost in silence.

use std::io::Read;
use std::time::{Duration, Instant};

use portable_pty::{PtySize, native_pty_system};
use serde_json::Value;

use crate::support::api::with_api;
use crate::support::client::PATIENCE;
use crate::support::cluster::{Cluster, Kind};
use crate::support::fake_balancer::FakeBalancer;
use crate::window::{CONTROL_C, CONTROL_Z, Window, chat_args, pasted, plain};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_is_restored_after_every_end() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, with_api).await;
    for (signal, code) in [("TERM", 143), ("INT", 130), ("HUP", 129), ("QUIT", 131)] {
        let mut ann = Window::start(cluster.address(0), &[]);
        ann.stands("#lobby", "connected").await;
        ann.signal(signal);
        assert_eq!(ann.ended().await, code, "{signal}");
    }

    let mut ann = Window::start(cluster.address(0), &[]);
    ann.stands("#lobby", "connected").await;
    assert_eq!(cluster.call(0, "POST", "/users/ann/disconnect", Value::Null).await.0, 204);
    assert_eq!(ann.ended().await, 1);
    ann.shows("chatnode: removed by an administrator").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_ends_if_its_terminal_is_gone() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let bin = env!("CARGO_BIN_EXE_chatnode");
    for script in ["exec \"$0\" \"$@\"", "trap '' HUP; exec \"$0\" \"$@\""] {
        let pty = native_pty_system()
            .openpty(PtySize { rows: 24, cols: 100, pixel_width: 0, pixel_height: 0 })
            .unwrap();
        let mut command = plain("/bin/sh", &[]);
        command.args(["-c", script, bin]);
        command.args(chat_args(cluster.address(0)));
        let mut child = pty.slave.spawn_command(command).unwrap();
        let mut output = pty.master.try_clone_reader().unwrap();
        let (mut seen, mut bytes) = (String::new(), [0; 4_096]);
        while !seen.contains("#lobby") {
            let count = output.read(&mut bytes).unwrap();
            seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        // All that held the terminal open.
        drop((output, pty));
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert_eq!((status.exit_code(), status.signal()), (129, None), "{script}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_chat_returns_the_terminal_and_comes_back() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut bob = cluster.enter(0, "bob", "lobby").await;
    // As an interactive shell does it: the job stops, the shell goes on, and `fg` continues the job.
    let mut ann = Window::start_below("\"$0\" \"$@\"; echo the shell, $?; read go; fg", cluster.address(0));
    ann.stands("#lobby", "connected").await;
    ann.types("half a li");
    ann.prompts(&["> half a li"]).await;
    ann.types(CONTROL_Z);
    ann.shows("the shell, 1").await;
    ann.shows_so("the screen of the shell", |_| ann.is_restored()).await;
    assert_eq!(ann.input_modes(), ann.modes, "echo and the others");
    bob.say("lobby", "meanwhile").await;
    ann.types("\r");
    ann.shows("bob: meanwhile").await;
    ann.prompts(&["> half a li"]).await;
    ann.types("ne\r");
    ann.shows("ann: half a line").await;
    ann.types(CONTROL_C);
    assert_eq!(ann.ended().await, 0);
}

/// As in `xterm -e chatnode chat`: nobody could continue it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_without_a_shell_is_not_suspended() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut ann = Window::start(cluster.address(0), &[]);
    ann.stands("#lobby", "connected").await;
    ann.types(CONTROL_Z);
    ann.shows("not suspended").await;
    ann.signal("TSTP");
    ann.types("still here\r");
    ann.shows("ann: still here").await;
    // The modes are set again after a stop that can't be caught.
    ann.signal("STOP");
    ann.signal("CONT");
    ann.types("and here\r");
    ann.shows("ann: and here").await;
    ann.types(CONTROL_C);
    assert_eq!(ann.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_says_which_texts_were_not_sent() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let balancer = FakeBalancer::start(vec![cluster.address(0)]).await;
    let mut ann = Window::start(balancer.address, &["--room", "ops", "--room", "dev"]);
    ann.stands("#ops", "connected").await;
    ann.types(&pasted("a draft\nof two lines"));
    ann.types("\t");
    ann.stands("#dev", "connected").await;
    balancer.shut();
    ann.shows("retrying in").await;
    ann.types("said to nobody\r");
    ann.shows("1 unsent").await;
    ann.types(CONTROL_C);
    assert_eq!(ann.ended().await, 1);
    ann.shows_so("both texts", |rows| {
        let text = rows.join("\n");
        text.contains("not sent to #dev: it was not stored (the client ended):\n  said to nobody")
            && text.contains("never sent to #ops:\n  a draft\n  of two lines")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_ends_although_its_terminal_is_stalled() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut bob = cluster.enter(0, "bob", "lobby").await;
    let mut ann = Window::start(cluster.address(0), &[]);
    ann.stands("#lobby", "connected").await;
    ann.stall();
    for number in 0..100 {
        bob.say("lobby", &format!("{number} {}", "x".repeat(2_000))).await;
    }
    // Keys are still read, and messages still sent.
    ann.types("I am here\r");
    assert!(bob.wait_for("ann", |frame| frame["message_body"]["content"] == "I am here").await.is_object());
    ann.signal("TERM");
    assert_eq!(ann.code().await, 143);
    assert_eq!(ann.input_modes(), ann.modes, "echo and the others");
}
