//! The client libraries that are tested. Owns their names, their languages and how their drivers are started; knows none of
//! their behaviour, which `docs/clients.md` tells.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::process::Command;
use tokio::sync::Semaphore;

/// So many drivers start and work at once: a virtual machine of Java needs seconds on a busy machine.
const AT_ONCE: usize = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Python,
    Node,
    Go,
    Java,
    Rust,
    /// Qt, through its own bindings for Python.
    Qt,
    /// What Debian packages.
    Debian,
}

impl Language {
    /// The folder of its drivers, here and in `target/clients`.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
            Self::Go => "go",
            Self::Java => "java",
            Self::Rust => "rust",
            Self::Qt => "qt",
            Self::Debian => "debian",
        }
    }

    /// The file in this folder that pins the versions.
    pub const fn manifest(self) -> &'static str {
        match self {
            Self::Python | Self::Qt => "requirements.txt",
            Self::Node => "package.json",
            Self::Go => "go.mod",
            Self::Java => "pom.xml",
            Self::Rust => "Cargo.toml",
            Self::Debian => "packages",
        }
    }
}

/// A library.
#[derive(Debug, Clone, Copy)]
pub struct Library {
    /// Its name in `docs/clients.md`.
    pub name: &'static str,
    pub language: Language,
    /// Its name in the manifest; none if it comes with the language.
    pub package: Option<&'static str>,
    /// The file or the class of its driver.
    driver: &'static str,
}

const fn library(language: Language, name: &'static str, driver: &'static str) -> Library {
    Library { name, language, package: Some(name), driver }
}

const fn built_in(language: Language, name: &'static str, driver: &'static str) -> Library {
    Library { name, language, package: None, driver }
}

const fn packaged(
    language: Language,
    package: &'static str,
    name: &'static str,
    driver: &'static str,
) -> Library {
    Library { name, language, package: Some(package), driver }
}

const fn java(package: &'static str, name: &'static str, driver: &'static str) -> Library {
    Library { name, language: Language::Java, package: Some(package), driver }
}

pub const ALL: [Library; 40] = [
    library(Language::Python, "aiohttp", "aiohttp"),
    library(Language::Python, "autobahn", "autobahn"),
    library(Language::Python, "curl-cffi", "curl_cffi"),
    library(Language::Python, "httpx-ws", "httpx_ws"),
    library(Language::Python, "picows", "picows"),
    library(Language::Python, "tornado", "tornado"),
    library(Language::Python, "trio-websocket", "trio_websocket"),
    library(Language::Python, "websocket-client", "websocket_client"),
    library(Language::Python, "websockets", "websockets"),
    library(Language::Node, "faye-websocket", "faye-websocket"),
    library(Language::Node, "partysocket", "partysocket"),
    library(Language::Node, "reconnecting-websocket", "reconnecting-websocket"),
    library(Language::Node, "undici", "undici"),
    library(Language::Node, "websocket", "websocket"),
    library(Language::Node, "ws", "ws"),
    built_in(Language::Node, "WebSocket of Node", "built-in"),
    library(Language::Go, "coder/websocket", "coder"),
    library(Language::Go, "gobwas/ws", "gobwas"),
    library(Language::Go, "gorilla/websocket", "gorilla"),
    library(Language::Go, "lxzan/gws", "gws"),
    library(Language::Go, "golang.org/x/net", "xnet"),
    java("Java-WebSocket", "Java-WebSocket", "JavaWebSocket"),
    java("jetty-websocket-jetty-client", "Jetty", "Jetty"),
    java("netty-codec-http", "Netty", "Netty"),
    java("nv-websocket-client", "nv-websocket-client", "NvWebSocket"),
    java("okhttp-jvm", "OkHttp", "OkHttp"),
    java("reactor-netty-http", "Reactor Netty", "ReactorNetty"),
    java("tomcat-embed-websocket", "Tomcat", "Tomcat"),
    java("tyrus-standalone-client", "Tyrus", "Tyrus"),
    java("undertow-core", "Undertow", "Undertow"),
    java("vertx-core", "Vert.x", "VertX"),
    built_in(Language::Java, "java.net.http", "JdkHttpClient"),
    library(Language::Rust, "ezsockets", "ezsockets"),
    library(Language::Rust, "fastwebsockets", "fastwebsockets"),
    library(Language::Rust, "tokio-tungstenite", "tokio-tungstenite"),
    packaged(Language::Qt, "PySide6-Addons", "Qt WebSockets", "qt_driver.py"),
    packaged(Language::Debian, "libsoup-3.0-0", "libsoup", "soup_driver.py"),
    packaged(Language::Debian, "libwebsockets-dev", "libwebsockets", "lws"),
    packaged(Language::Debian, "ruby-faye-websocket", "faye/websocket", "faye.rb"),
    packaged(Language::Debian, "lua-http", "lua-http", "lua_http.lua"),
];

/// The folder that `tests/clients/install` fills.
fn built() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients")
}

impl Library {
    /// Those that are installed.
    pub fn installed() -> Vec<Self> {
        let names = std::fs::read_to_string(built().join("installed"));
        let names =
            names.expect("no client library is installed; tests/run and tests/clients/install do that");
        let is_installed = |library: &Self| {
            let all_of_language = format!("{}/*", library.language.folder());
            names.lines().any(|name| name == library.name || name == all_of_language)
        };
        ALL.into_iter().filter(is_installed).collect()
    }

    /// The one with this name, if it is installed.
    pub fn if_installed(name: &str) -> Option<Self> {
        assert!(ALL.iter().any(|library| library.name == name), "there is no library {name}");
        Self::installed().into_iter().find(|library| library.name == name)
    }

    /// Whether its own loop calls the program with each message, so that the program can't let messages wait: it is never busy
    /// for long, or the whole loop stands.
    pub fn has_own_loop(self) -> bool {
        let is_one = matches!(
            self.name,
            "autobahn" | "picows" | "Qt WebSockets" | "libsoup" | "libwebsockets" | "faye/websocket"
        );
        is_one || self.language == Language::Node
    }

    /// Its driver, which speaks the line protocol.
    pub fn command(self) -> Command {
        let folder = built().join(self.language.folder());
        let mut command = match self.language {
            Language::Python => {
                let mut python = Command::new(folder.join("environment/bin/python"));
                python.arg(folder.join(format!("{}_driver.py", self.driver)));
                python
            }
            Language::Node => {
                let mut node = Command::new("node");
                if self.package.is_none() {
                    node.arg("--experimental-websocket");
                }
                node.arg(folder.join(format!("{}.mjs", self.driver)));
                node
            }
            Language::Go => Command::new(folder.join("bin").join(self.driver)),
            Language::Java => {
                let classes = format!("{0}/target/classes:{0}/target/dependency/*", folder.display());
                let mut java = Command::new("java");
                // Small and soon ready: many run at once.
                java.args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", &classes]);
                java.arg(format!("drivers.{}", self.driver));
                java
            }
            Language::Rust => Command::new(folder.join("target/debug").join(self.driver)),
            Language::Qt => {
                let mut python = Command::new(folder.join("environment/bin/python"));
                python.arg(folder.join(self.driver));
                python
            }
            Language::Debian => {
                // By path: another interpreter on the PATH does not see what Debian installs.
                let interpreter = match self.driver.rsplit_once('.') {
                    Some((_, "rb")) => "/usr/bin/ruby",
                    Some((_, "lua")) => "/usr/bin/lua5.2",
                    Some((_, "py")) => "/usr/bin/python3",
                    _ => "/usr/bin/env",
                };
                let mut command = Command::new(interpreter);
                command.arg(folder.join(self.driver));
                command
            }
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        command
    }
}

/// Tells the same story with each installed library, and fails with the names of all that fail.
pub async fn with_each<F: Future<Output = ()>>(story: impl Fn(Library) -> F) {
    let places = Semaphore::new(AT_ONCE);
    let tell = async |library: Library| {
        let _place = places.acquire().await.unwrap();
        // The output of a panic is shown when the test fails.
        AssertUnwindSafe(story(library)).catch_unwind().await.err().map(|_| library.name)
    };
    let installed = Library::installed();
    assert!(!installed.is_empty(), "no client library is installed");
    let told = join_all(installed.into_iter().map(tell)).await;
    let failed: Vec<&str> = told.into_iter().flatten().collect();
    assert!(failed.is_empty(), "the output above says what failed with {failed:?}");
}
