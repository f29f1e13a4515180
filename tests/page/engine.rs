//! The browsers that the page is tried with. Owns what differs between their drivers: names, output, settings.

use std::path::Path;

use serde_json::{Value, json};

/// Chromium runs as the user of the tests, even as root, and contacts no other host.
const CHROMIUM_FLAGS: [&str; 9] = [
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

/// Without a screen, there would be no mouse.
const CHROMIUM_MOUSE: &str =
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4";

/// A browser, with its driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Chromium,
    Firefox,
    /// The one of Safari, in the small browser that Debian's webkit2gtk-driver comes with.
    WebKit,
}

impl Engine {
    /// The program of the driver.
    pub fn driver(self) -> &'static str {
        match self {
            Self::Chromium => "chromedriver",
            Self::Firefox => "geckodriver",
            Self::WebKit => "WebKitWebDriver",
        }
    }

    /// Whether the driver can choose a free port, and tells it.
    pub fn chooses_port(self) -> bool {
        self != Self::WebKit
    }

    /// What the driver is started with, beside its port.
    pub fn driver_flags(self) -> &'static [&'static str] {
        match self {
            // A test writes into the store of passwords.
            Self::Firefox => &["--allow-system-access"],
            Self::Chromium | Self::WebKit => &[],
        }
    }

    /// The class of its windows in X.
    pub fn window_class(self) -> &'static str {
        match self {
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
            Self::WebKit => "MiniBrowser",
        }
    }

    /// The port of the driver, if this line of its output tells it.
    pub fn port(self, line: &str) -> Option<u16> {
        let before = match self {
            Self::Chromium => "successfully on port ",
            Self::Firefox => "Listening on 127.0.0.1:",
            Self::WebKit => return None,
        };
        line.split(before).nth(1)?.trim_end_matches('.').parse().ok()
    }

    /// The body of the request for a session. `folder` holds the profile.
    pub fn capabilities(self, folder: &Path, is_headless: bool) -> Value {
        let mut wanted = json!({ "unhandledPromptBehavior": "ignore" });
        match self {
            Self::Chromium => {
                let mut flags: Vec<String> = CHROMIUM_FLAGS.map(str::to_owned).into();
                let screen: &[&str] =
                    if is_headless { &["--headless", CHROMIUM_MOUSE] } else { &["--window-position=0,0"] };
                flags.extend(screen.iter().map(|&flag| flag.to_owned()));
                flags.push(format!("--user-data-dir={}", folder.join("profile").display()));
                wanted["browserName"] = json!("chrome");
                wanted["goog:chromeOptions"] = json!({ "binary": program("chromium"), "args": flags });
            }
            Self::Firefox => {
                let mut flags = vec!["--width=1280", "--height=800"];
                if is_headless {
                    flags.push("-headless");
                }
                wanted["browserName"] = json!("firefox");
                wanted["moz:firefoxOptions"] = json!({
                    "binary": program("firefox-esr"),
                    "args": flags,
                    "prefs": {
                        "intl.accept_languages": "en-GB",
                        "browser.startup.page": 0,
                        // The driver turns these off.
                        "signon.autofillForms": true,
                        "signon.rememberSignons": true,
                        // Ctrl and + enlarge the text only.
                        "browser.zoom.full": false,
                    },
                });
            }
            Self::WebKit => {
                let folder = format!("/usr/lib/{}-linux-gnu/webkit2gtk-4.1", std::env::consts::ARCH);
                let binary = format!("{folder}/MiniBrowser");
                wanted["webkitgtk:browserOptions"] = json!({ "binary": binary, "args": ["--automation"] });
            }
        }
        json!({ "capabilities": { "alwaysMatch": wanted } })
    }

    /// The process of the browser, from the capabilities of a session. WebKit's ends with its driver, and has none.
    pub fn process(self, capabilities: &Value) -> Option<u64> {
        let name = match self {
            Self::Chromium => "goog:processID",
            Self::Firefox => "moz:processID",
            Self::WebKit => return None,
        };
        Some(capabilities[name].as_u64().expect("the browser's process id"))
    }
}

/// The path of a program.
fn program(name: &str) -> String {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing; tests/run installs it")).to_str().unwrap().to_owned()
}
