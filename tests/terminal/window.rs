//! A pseudo-terminal with the program in it. Owns both and the screen that an emulator makes of the output; knows nothing of
//! chats beyond the status line. Used by all stories of the terminal.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::num::NonZero;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, SlavePty, native_pty_system};
use vt100::{MouseProtocolMode, Parser};

use crate::support::client::PATIENCE;

pub const PAGE_UP: &str = "\u{1b}[5~";
pub const PAGE_DOWN: &str = "\u{1b}[6~";
pub const BACK_TAB: &str = "\u{1b}[Z";
pub const UP: &str = "\u{1b}[A";
pub const DOWN: &str = "\u{1b}[B";
pub const CONTROL_A: &str = "\u{1}";
pub const CONTROL_C: &str = "\u{3}";
pub const CONTROL_R: &str = "\u{12}";
pub const CONTROL_T: &str = "\u{14}";
pub const CONTROL_U: &str = "\u{15}";
pub const CONTROL_Y: &str = "\u{19}";
pub const CONTROL_Z: &str = "\u{1a}";
/// One notch of the wheel towards older rows, as xterm reports it.
pub const WHEEL_UP: &str = "\u{1b}[<64;10;5M";
pub const WHEEL_DOWN: &str = "\u{1b}[<65;10;5M";

/// Text as a terminal pastes it: with its lines ended by carriage returns, in brackets.
pub fn pasted(text: &str) -> String {
    format!("\u{1b}[200~{}\u{1b}[201~", text.replace('\n', "\r"))
}

/// Whether the terminal takes output.
#[derive(Default)]
struct Valve {
    is_shut: Mutex<bool>,
    changed: Condvar,
}

impl Valve {
    fn turn(&self, shut: bool) {
        *self.is_shut.lock().unwrap() = shut;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let _open = self.changed.wait_while(self.is_shut.lock().unwrap(), |shut| *shut).unwrap();
    }
}

/// The program, its terminal and its screen. Killed when dropped.
pub struct Window {
    pub child: Box<dyn Child + Send + Sync>,
    pub master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    screen: Arc<Mutex<Parser>>,
    /// The bytes that the program has written.
    written: Arc<AtomicUsize>,
    valve: Arc<Valve>,
    /// The modes of the terminal before the program started.
    pub modes: String,
    /// Kept open, as a shell does, so that the modes outlive the program.
    _shell: Box<dyn SlavePty + Send>,
}

impl Drop for Window {
    fn drop(&mut self) {
        // The program may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.valve.turn(false);
    }
}

fn size(rows: u16, cols: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}

/// A command with no variable but the usual ones of a terminal.
pub fn plain(program: &str, environment: &[(&str, &str)]) -> CommandBuilder {
    let mut command = CommandBuilder::new(program);
    command.env_clear();
    command.env("TERM", "xterm-256color");
    command.env("LC_ALL", "C.UTF-8");
    environment.iter().for_each(|(name, value)| command.env(name, value));
    command.cwd(std::env::temp_dir());
    command
}

/// The arguments of ann's chat.
pub fn chat_args(node: SocketAddr) -> [String; 4] {
    ["chat".into(), format!("ws://{node}/ws"), "--name".into(), "ann".into()]
}

impl Window {
    pub fn start(node: SocketAddr, args: &[&str]) -> Self {
        Self::start_with(node, args, &[])
    }

    pub fn start_with(node: SocketAddr, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = plain(env!("CARGO_BIN_EXE_chatnode"), environment);
        command.args(chat_args(node));
        command.args(args);
        Self::run(command)
    }

    /// Ann's chat below a shell that does this with it. `$0` is the program with its arguments as `$@`.
    pub fn start_below(script: &str, node: SocketAddr) -> Self {
        let mut command = plain("/bin/sh", &[]);
        command.args(["-mc", script, env!("CARGO_BIN_EXE_chatnode")]);
        command.args(chat_args(node));
        Self::run(command)
    }

    fn run(command: CommandBuilder) -> Self {
        let pty = native_pty_system().openpty(size(24, 100)).unwrap();
        let modes = format!("{:?}", pty.master.get_termios().unwrap());
        let child = pty.slave.spawn_command(command).unwrap();
        let screen = Arc::new(Mutex::new(Parser::new(cells(24), cells(100), 0)));
        let (written, valve) = (Arc::new(AtomicUsize::new(0)), Arc::new(Valve::default()));
        let (shown, counted, open) = (screen.clone(), written.clone(), valve.clone());
        let mut output = pty.master.try_clone_reader().unwrap();
        // This thread ends with the terminal.
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..count]);
                counted.fetch_add(count, Ordering::Relaxed);
                open.pass();
            }
        });
        let keys = pty.master.take_writer().unwrap();
        Self { child, master: pty.master, keys, screen, written, valve, modes, _shell: pty.slave }
    }

    pub fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Gives the window another size.
    pub fn resize(&self, rows: u16, cols: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(cells(rows), cells(cols));
        self.master.resize(size(rows, cols)).unwrap();
    }

    /// Stops to take output, like a terminal after Ctrl+S.
    pub fn stall(&self) {
        self.valve.turn(true);
    }

    /// Takes output again.
    pub fn resume(&self) {
        self.valve.turn(false);
    }

    /// The bytes that the program has written.
    pub fn written(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }

    pub fn rows(&self) -> Vec<String> {
        self.screen.lock().unwrap().screen().contents().lines().map(|row| row.trim_end().to_owned()).collect()
    }

    /// The row and the column of the cursor.
    pub fn cursor(&self) -> (u16, u16) {
        self.screen.lock().unwrap().screen().cursor_position()
    }

    /// Whether the program has left the modes of the screen.
    pub fn is_restored(&self) -> bool {
        let parser = self.screen.lock().unwrap();
        let screen = parser.screen();
        let is_plain = !screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste();
        is_plain && screen.mouse_protocol_mode() == MouseProtocolMode::None
    }

    /// Echo and the other modes of the input.
    pub fn input_modes(&self) -> String {
        format!("{:?}", self.master.get_termios().unwrap())
    }

    /// Waits until the condition holds for the screen.
    pub async fn shows_so(&self, what: &str, fits: impl Fn(&[String]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !fits(&self.rows()) {
            assert!(Instant::now() < deadline, "{what} is not on the screen: {:#?}", self.rows());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn shows(&self, text: &str) {
        self.shows_so(text, |rows| rows.iter().any(|row| row.contains(text))).await;
    }

    /// Waits until the prompt has exactly these rows.
    pub async fn prompts(&self, prompt: &[&str]) {
        self.shows_so(&format!("the prompt {prompt:?}"), |rows| {
            let status = rows.iter().rposition(|row| row.starts_with(" ann ") || row.contains("· ann "));
            status.is_some_and(|status| rows[status + 1..] == *prompt)
        })
        .await;
    }

    /// Waits until the screen shows this conversation and this state of the connection.
    pub async fn stands(&self, place: &str, connection: &str) {
        let standing = format!(" ann · {place} · {connection}");
        self.shows_so(&standing, |rows| rows.iter().any(|row| row.starts_with(&standing))).await;
    }

    /// Sends the program a signal.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.process_id().unwrap());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for the end of the program, and returns its exit code.
    pub async fn code(&mut self) -> u32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.exit_code();
            }
            assert!(Instant::now() < deadline, "the program does not end: {:#?}", self.rows());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for the end of the program, and returns its exit code. The terminal must be restored.
    pub async fn ended(&mut self) -> u32 {
        let code = self.code().await;
        // Its last output may still be on the way.
        let deadline = Instant::now() + PATIENCE;
        while !self.is_restored() {
            assert!(Instant::now() < deadline, "the terminal is not restored");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(self.input_modes(), self.modes, "echo and the others");
        code
    }
}
