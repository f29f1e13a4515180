//! The receiver of the tests as a process. Owns its spans, as the official schema of OpenTelemetry decodes them; expects nothing of
//! them. `tests/run --traces` installs what it needs.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use serde_json::Value;

use crate::support::client::PATIENCE;

/// A running receiver. Killed when dropped.
pub struct Receiver {
    child: Child,
    endpoint: String,
    spans: Arc<(Mutex<Vec<Value>>, Condvar)>,
}

impl Receiver {
    pub fn start() -> Self {
        Self::launch(&[], "http://127.0.0.1")
    }

    /// With TLS, and this certificate and key.
    pub fn start_with_tls(certificate: &Path) -> Self {
        Self::launch(&[certificate.to_str().unwrap()], "https://localhost")
    }

    fn launch(arguments: &[&str], host: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/traces/bin/python");
        assert!(python.exists(), "the receiver is not installed: run `tests/run --traces`");
        let mut child = Command::new(python)
            .arg(root.join("tests/traces/receiver.py"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port: u16 = lines.next().unwrap().unwrap().parse().unwrap();
        let spans = Arc::<(Mutex<Vec<Value>>, Condvar)>::default();
        let shared = spans.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                shared.0.lock().unwrap().push(serde_json::from_str(&line).unwrap());
                shared.1.notify_all();
            }
        });
        Self { child, endpoint: format!("{host}:{port}"), spans }
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// All spans of nodes that have ended.
    pub fn all(&self) -> Vec<Value> {
        let address = self.endpoint.strip_prefix("http://").unwrap();
        let mut connection = TcpStream::connect(address).unwrap();
        connection.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        // The line for this request comes after those of all spans.
        self.spans(1, Value::is_null);
        let mut spans = self.spans.0.lock().unwrap();
        spans.retain(|span| !span.is_null());
        spans.clone()
    }

    /// The spans so far, once so many have come that fit.
    pub fn spans(&self, count: usize, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        let mut spans = self.spans.0.lock().unwrap();
        loop {
            let found: Vec<Value> = spans.iter().filter(|span| fits(span)).cloned().collect();
            if found.len() >= count {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} of {count} spans came: {:#?}", found.len(), *spans);
            spans = self.spans.1.wait_timeout(spans, left).unwrap().0;
        }
    }

    /// The spans of this name, once so many have come.
    pub fn named(&self, name: &str, count: usize) -> Vec<Value> {
        self.spans(count, |span| span["name"] == name)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
