//! A browser, headless or on a screen, controlled through WebDriver. Owns both processes and their folder; knows nothing of
//! the page. Used by `Person`, which is one window.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::engine::Engine;

/// The time limit of a command: long enough for the start of the browser on a busy machine.
const DEADLINE: Duration = Duration::from_secs(50);

/// One browser. Dropping it ends the browser and its driver.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    /// The process of the browser, which survives if the driver is killed.
    process: Option<u64>,
    /// The folder of the profile.
    _folder: TempDir,
}

fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// The driver with its port; none if it ended before it had one.
fn start_driver(engine: Engine, home: &Path, display: Option<&str>) -> Option<(Child, u16)> {
    let wanted = if engine.chooses_port() { 0 } else { free_port() };
    let mut command = Command::new(engine.driver());
    if let Some(display) = display {
        command.env("DISPLAY", display);
    }
    let mut driver = command
        .arg(format!("--port={wanted}"))
        .args(engine.driver_flags())
        // Its sandbox does not start as root.
        .env("WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS", "1")
        .env("HOME", home)
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; tests/run installs what is missing", engine.driver()));
    if !engine.chooses_port() {
        let deadline = Instant::now() + DEADLINE;
        while std::net::TcpStream::connect(("127.0.0.1", wanted)).is_err() {
            assert!(Instant::now() < deadline, "the driver does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        return Some((driver, wanted));
    }
    let mut said = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
    let port = said.find_map(|line| engine.port(&line));
    // The driver must be able to go on writing.
    std::thread::spawn(move || said.for_each(drop));
    if port.is_none() {
        // The driver has closed its output, so it is ending.
        let _ = driver.kill();
        driver.wait().unwrap();
    }
    Some((driver, port?))
}

/// Adds an authority to the certificates that Chromium reads in this home folder.
fn trust(home: &Path, authority: &Path) {
    let store = home.join(".pki/nssdb");
    std::fs::create_dir_all(&store).unwrap();
    let name = format!("sql:{}", store.display());
    let file = authority.to_str().unwrap();
    for arguments in
        [&["-N", "--empty-password"][..], &["-A", "-n", "authority of the test", "-t", "C,,", "-i", file]]
    {
        let done = Command::new("certutil").args(["-d", &name]).args(arguments).output();
        let done =
            done.unwrap_or_else(|error| panic!("certutil: {error}; tests/run installs what is missing"));
        assert!(done.status.success(), "certutil: {}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Browser {
    /// A headless Chromium.
    pub async fn start() -> Self {
        Self::launch(Engine::Chromium, None, None).await
    }

    /// A headless Chromium whose user trusts this authority, as a PEM file, beside those of the machine.
    pub async fn start_trusting(authority: &Path) -> Self {
        Self::launch(Engine::Chromium, None, Some(authority)).await
    }

    /// Another browser without a screen.
    pub async fn start_headless(engine: Engine) -> Self {
        Self::launch(engine, None, None).await
    }

    /// A browser on a display, as in the variable `DISPLAY`.
    pub async fn start_on(engine: Engine, display: &str) -> Self {
        Self::launch(engine, Some(display), None).await
    }

    async fn launch(engine: Engine, display: Option<&str>, authority: Option<&Path>) -> Self {
        let folder = TempDir::new().unwrap();
        if let Some(authority) = authority {
            trust(folder.path(), authority);
        }
        // The driver chooses a free port for IPv4 and needs the same one for IPv6. If that is taken, the driver ends,
        // and the next attempt chooses another port.
        let (driver, port) = (0..10)
            .find_map(|_| start_driver(engine, folder.path(), display))
            .expect("the driver does not start: its own output says why");
        let mut browser = Self { driver, port, session: String::new(), process: None, _folder: folder };
        let wanted = engine.capabilities(browser._folder.path(), display.is_none());
        let started = browser.command("POST", "/session", wanted).await;
        browser.process = engine.process(&started["capabilities"]);
        browser.session = started["sessionId"].as_str().unwrap().to_owned();
        browser
    }

    /// The window that the browser started with.
    pub async fn first_window(&self) -> String {
        self.get("/window").await.as_str().unwrap().to_owned()
    }

    /// Opens a new, empty window.
    pub async fn window(&self) -> String {
        let window = self.post("/window/new", json!({ "type": "window" })).await;
        window["handle"].as_str().unwrap().to_owned()
    }

    /// Sends a command to the session.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.command("POST", &format!("/session/{}{path}", self.session), body).await
    }

    /// Reads a value from the session.
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
        // A drop can't await. Errors don't matter here: the test is over.
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
        if let Some(process) = self.process {
            let kill = format!("kill -9 {process} 2>/dev/null");
            let _ = Command::new("sh").args(["-c", &kill]).status();
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
