//! What a node tells its supervisor, as systemd hears it: through a socket of the test.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod support;

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tempfile::TempDir;

use support::client::PATIENCE;
use support::program::Program;

/// A supervisor that hears notices.
struct Supervisor {
    socket: UnixDatagram,
    name: String,
    _folder: TempDir,
}

impl Supervisor {
    fn at_a_path() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("notify");
        Self::of(UnixDatagram::bind(&path).unwrap(), path.display().to_string(), folder)
    }

    fn at_a_name() -> Self {
        let name = format!("chatnode-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        Self::of(UnixDatagram::bind_addr(&address).unwrap(), format!("@{name}"), TempDir::new().unwrap())
    }

    fn of(socket: UnixDatagram, name: String, folder: TempDir) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, name, _folder: folder }
    }

    fn hears(&self) -> String {
        let mut notice = [0; 512];
        let count = self.socket.recv(&mut notice).expect("a notice in time");
        String::from_utf8(notice[..count].to_vec()).unwrap()
    }

    /// The next notice that is not of the watchdog.
    fn hears_state(&self) -> String {
        loop {
            let notice = self.hears();
            if notice != "WATCHDOG=1" {
                return notice;
            }
        }
    }
}

#[test]
fn start_reload_and_end_are_told() {
    for supervisor in [Supervisor::at_a_path(), Supervisor::at_a_name()] {
        let mut node = Program::start(&[("NOTIFY_SOCKET", &supervisor.name)]);
        assert_eq!(supervisor.hears(), "READY=1\nSTATUS=ready");
        node.signal("-HUP");
        assert_eq!(supervisor.hears(), "RELOADING=1\nSTATUS=reading the settings again");
        assert_eq!(supervisor.hears(), "READY=1\nSTATUS=ready; the settings were read again");
        std::fs::write(node.folder().join(".env"), "CHAT_LIMITS__BURTS=1").unwrap();
        node.signal("-HUP");
        assert_eq!(supervisor.hears(), "RELOADING=1\nSTATUS=reading the settings again");
        assert_eq!(supervisor.hears(), "READY=1\nSTATUS=ready; the settings were read again");
        assert!(node.terminate().success());
        assert_eq!(supervisor.hears(), "STOPPING=1\nSTATUS=draining");
    }
}

#[test]
fn watchdog_hears_a_node_until_it_stands_still() {
    let supervisor = Supervisor::at_a_path();
    let node = Program::start(&[("NOTIFY_SOCKET", &supervisor.name), ("WATCHDOG_USEC", "300000")]);
    assert_eq!(supervisor.hears_state(), "READY=1\nSTATUS=ready");
    for _ in 0..5 {
        assert_eq!(supervisor.hears(), "WATCHDOG=1");
    }
    node.signal("-STOP");
    supervisor.socket.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
    let mut notice = [0; 512];
    // What was sent before it stood still.
    while supervisor.socket.recv(&mut notice).is_ok() {}
    node.signal("-CONT");
    supervisor.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(supervisor.hears(), "WATCHDOG=1");
}

#[test]
fn watchdog_of_another_process_hears_nothing() {
    let supervisor = Supervisor::at_a_path();
    let other = std::process::id().to_string();
    let settings =
        [("NOTIFY_SOCKET", supervisor.name.as_str()), ("WATCHDOG_USEC", "30000"), ("WATCHDOG_PID", &other)];
    let mut node = Program::start(&settings);
    assert_eq!(supervisor.hears(), "READY=1\nSTATUS=ready");
    assert!(node.terminate().success());
    assert_eq!(supervisor.hears(), "STOPPING=1\nSTATUS=draining");
}

/// It serves and waits; a supervisor that waited with it would start it again and again.
#[test]
fn node_without_its_store_counts_as_started_after_a_while() {
    let supervisor = Supervisor::at_a_path();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let redis = format!("redis://{free}");
    let _node = Program::start(&[("NOTIFY_SOCKET", &supervisor.name), ("CHAT_REDIS__URL", &redis)]);
    assert_eq!(supervisor.hears(), "READY=1\nSTATUS=listening; the store does not answer yet");
}

#[test]
fn supervisor_that_is_gone_stops_no_node() {
    let mut node = Program::start(&[("NOTIFY_SOCKET", "/nowhere/notify"), ("WATCHDOG_USEC", "100000")]);
    let deadline = std::time::Instant::now() + PATIENCE;
    while !node.log().contains("can't tell the supervisor") {
        assert!(std::time::Instant::now() < deadline, "{}", node.log());
        std::thread::yield_now();
    }
    assert!(node.terminate().success());
}
