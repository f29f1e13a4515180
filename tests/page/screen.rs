//! A screen with a real wheel and real keys: Xvfb, and xdotool. Owns both processes; knows nothing of the browser. What
//! WebDriver sends reaches the page directly, without the browser's own scrolling and shortcuts: only these do.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Ends when it is dropped.
pub struct Screen {
    server: Child,
    /// The name of the display, as in `DISPLAY`.
    pub display: String,
}

impl Screen {
    pub fn start() -> Self {
        // The server chooses a free number, and writes it when it is ready.
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb can't be started; tests/run installs what is missing");
        let mut number = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut number).unwrap();
        assert!(!number.trim().is_empty(), "Xvfb ended at its start");
        Self { server, display: format!(":{}", number.trim()) }
    }

    /// Turns the wheel over the middle of the screen: a positive number of notches turns it down.
    pub fn turns_wheel(&self, notches: i32) {
        let (count, button) = (notches.abs().to_string(), if notches > 0 { "5" } else { "4" });
        self.xdotool(&["mousemove", "640", "400", "click", "--repeat", &count, "--delay", "60", button]);
    }

    /// Presses a key, by its name in X: `Prior`, `ctrl+k`.
    pub fn presses(&self, key: &str) {
        self.xdotool(&["key", key]);
    }

    /// Gives the keyboard to the only window, by its class. Without a window manager, none has it.
    pub fn focuses_window(&self, class: &str) {
        self.xdotool(&["search", "--sync", "--onlyvisible", "--class", class, "windowfocus", "--sync"]);
    }

    fn xdotool(&self, args: &[&str]) {
        let status = Command::new("xdotool").args(args).env("DISPLAY", &self.display).status();
        let status = status.expect("xdotool can't be started; tests/run installs what is missing");
        assert!(status.success(), "xdotool {args:?}: {status}");
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
