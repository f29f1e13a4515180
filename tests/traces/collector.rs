//! A collector between the node and the receiver: a program of others, which reads what it passes on.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::receiver::Receiver;
use crate::support::client::{Client, PATIENCE};
use crate::support::program::Program;
use crate::{first_span, place};

/// Rotel, with OTLP in and OTLP out. Killed when dropped.
struct Collector {
    child: Child,
    port: u16,
}

impl Collector {
    fn start(receiver: &Receiver) -> Self {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Another process may take a free port before the collector uses it; then the next one is tried.
            let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let (port, other) = (free(), free());
            let mut child = Self::launch(port, other, receiver.endpoint());
            while child.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self { child, port };
                }
                assert!(Instant::now() < deadline, "the collector does not listen");
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(Instant::now() < deadline, "the collector does not start");
        }
    }

    fn launch(port: u16, other: u16, endpoint: &str) -> Child {
        let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/traces/lib");
        let python = std::fs::read_dir(&packages).unwrap().next().unwrap().unwrap().path();
        Command::new(python.join("site-packages/rotel/rotel-agent"))
            .arg("start")
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{port}")])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{other}")])
            .args(["--exporter", "otlp", "--otlp-exporter-protocol", "http"])
            .args(["--otlp-exporter-endpoint", endpoint])
            .args(["--batch-timeout", "50ms"])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn collector_passes_the_spans_on() {
    let receiver = Receiver::start();
    let collector = Collector::start(&receiver);
    let endpoint = format!("http://127.0.0.1:{}/", collector.port);
    let mut one = Program::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    let mut alice = Client::enter(one.address, "alice", "room").await;
    let ack = alice.say("room", "hi").await;
    one.terminate();
    let first = first_span(&ack["message_id"]);
    assert_eq!(place(&receiver.named("GroupChat", 1)[0]), first);
    let delivery = &receiver.named("deliver", 1)[0];
    assert_eq!((delivery["trace"].as_str(), delivery["parent"].as_str()), (Some(&*first.0), Some(&*first.1)));
    assert_eq!(delivery["resource"]["service.name"], "chatnode");
}
