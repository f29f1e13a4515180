//! A headless Chromium, driven over WebDriver. Owns the two programs, their folder and their end; knows nothing of the page.
//! Used by persons, who are windows of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

/// No command takes longer, the start of the browser on a busy machine included.
const DEADLINE: Duration = Duration::from_secs(50);

/// It runs as whoever runs the tests, root too, and asks nothing of any other host.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--lang=en-GB",
    "--window-size=1280,800",
];

/// One browser. It and its driver end when it is dropped.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    /// Chromium's own process: it outlives a driver that is killed.
    process: u64,
    /// Its profile.
    _folder: TempDir,
}

/// The driver with its port; none where it ended before it had one.
fn start_driver(home: &std::path::Path) -> Option<(Child, u16)> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .env("HOME", home)
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("chromedriver can't be started; tests/run installs what is missing");
    let said = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
    let port = said
        .filter_map(|line| line.split("successfully on port ").nth(1)?.trim_end_matches('.').parse().ok())
        .next();
    if port.is_none() {
        // It has closed its output: it ends, if it has not yet.
        let _ = driver.kill();
        driver.wait().unwrap();
    }
    Some((driver, port?))
}

impl Browser {
    pub async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        // It takes a free port for IPv4 and wants the same for IPv6: where somebody else has that, it ends, and another try
        // takes another.
        let (driver, port) = (0..10)
            .find_map(|_| start_driver(folder.path()))
            .expect("chromedriver does not start: its own output says why");
        let mut browser = Self { driver, port, session: String::new(), process: 0, _folder: folder };
        let mut flags: Vec<String> = FLAGS.map(str::to_owned).into();
        flags.push(format!("--user-data-dir={}", browser._folder.path().join("profile").display()));
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "unhandledPromptBehavior": "ignore",
            "goog:chromeOptions": { "binary": program("chromium"), "args": flags },
        } } });
        let started = browser.command("POST", "/session", wanted).await;
        browser.process =
            started["capabilities"]["goog:processID"].as_u64().expect("the browser's process id");
        browser.session = started["sessionId"].as_str().unwrap().to_owned();
        browser
    }

    /// A window of its own, empty.
    pub async fn window(&self) -> String {
        let window = self.post("/window/new", json!({ "type": "window" })).await;
        window["handle"].as_str().unwrap().to_owned()
    }

    /// A command of the session.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.command("POST", &format!("/session/{}{path}", self.session), body).await
    }

    /// A question to the session.
    pub async fn get(&self, path: &str) -> Value {
        self.command("GET", &format!("/session/{}{path}", self.session), Value::Null).await
    }

    async fn command(&self, method: &str, path: &str, body: Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let exchange = async {
            let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            let reading = tokio::spawn(connection);
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("host", format!("127.0.0.1:{}", self.port))
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from(body)))
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            let answer = response.into_body().collect().await.unwrap().to_bytes();
            reading.abort();
            answer
        };
        let answer = tokio::time::timeout(DEADLINE, exchange)
            .await
            .unwrap_or_else(|_| panic!("{path} takes too long"));
        let mut answer: Value = serde_json::from_slice(&answer).unwrap();
        let value = answer["value"].take();
        assert!(value.get("error").is_none(), "{method} {path}: {} {}", value["error"], value["message"]);
        value
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // In a drop nothing can be awaited; and none of this matters any more to a story that has failed.
        if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", self.port)) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let path = format!("/session/{}", self.session);
            let _ = write!(
                stream,
                "DELETE {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n",
                self.port
            );
            let _ = stream.read(&mut [0; 256]);
        }
        if self.process != 0 {
            let kill = format!("kill -9 {} 2>/dev/null", self.process);
            let _ = Command::new("sh").args(["-c", &kill]).status();
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Where a program is.
fn program(name: &str) -> String {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing; tests/run installs it")).to_str().unwrap().to_owned()
}
