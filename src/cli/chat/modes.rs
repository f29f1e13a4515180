//! The modes of the terminal: raw input, the alternate screen, pasted text in brackets, the wheel of the mouse. Owns how they
//! are entered and left, also if the program panics; draws nothing. Called by the painter and the terminal.

use std::fs::File;
use std::io::{self, Write, stdout};
use std::os::fd::AsFd;

use crossterm::terminal::{disable_raw_mode, enable_raw_mode};

/// The alternate screen (1049); pasted text comes in brackets (2004); presses of the mouse are reported (1000) in decimal
/// numbers (1006), since the wheel is such a press; a character too many at the end of a row does not move to the next row
/// (7): some terminals take more columns for a character than others; Alt with a key is an escape and the key (1036, 1039),
/// which xterm has to be told, and which is saved first (s), since users choose otherwise.
const ENTER: &[u8] =
    b"\x1b[?1049h\x1b[?2004h\x1b[?1000h\x1b[?1006h\x1b[?7l\x1b[?1036;1039s\x1b[?1036h\x1b[?1039h";

/// The reverse, with colours and the cursor as they were.
const LEAVE: &[u8] = b"\x1b[0m\x1b[?1036;1039r\x1b[?7h\x1b[?1006l\x1b[?1000l\x1b[?2004l\x1b[?25h\x1b[?1049l";

/// The terminal to write to. Not `stdout()`: a thread that waits for a slow terminal would hold its lock.
pub(super) fn output() -> io::Result<File> {
    Ok(File::from(stdout().as_fd().try_clone_to_owned()?))
}

/// Enters the modes. They must not be entered already: what was saved would be lost.
pub(super) fn enter(out: &mut impl Write) -> io::Result<()> {
    // While the program was stopped, the shell may have changed the modes behind the back of crossterm.
    leave_raw_mode();
    enable_raw_mode()?;
    out.write_all(ENTER)?;
    out.flush()
}

/// Leaves the modes. The terminal may be gone, and then nothing is left to restore.
pub(super) fn leave(out: &mut impl Write) {
    let _gone = out.write_all(LEAVE).and_then(|()| out.flush());
    leave_raw_mode();
}

/// Leaves only the raw input, which needs no output.
pub(super) fn leave_raw_mode() {
    let _gone = disable_raw_mode();
}

/// Leaves the modes if the program panics, before the panic is reported.
pub(super) fn leave_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if let Ok(mut out) = output() {
            leave(&mut out);
        }
        report(panic);
    }));
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use portable_pty::{CommandBuilder, PtySize, native_pty_system};

    use super::*;

    #[test]
    #[ignore = "a program for the test below"]
    fn program_that_panics() {
        leave_on_panic();
        enter(&mut output().unwrap()).unwrap();
        panic!("on purpose");
    }

    #[test]
    fn a_panic_restores_the_terminal_before_it_is_reported() {
        let pty = native_pty_system().openpty(PtySize::default()).unwrap();
        let modes = || format!("{:?}", pty.master.get_termios().unwrap());
        let before = modes();
        let mut program = CommandBuilder::new(std::env::current_exe().unwrap());
        program.args(["--exact", "cli::chat::modes::tests::program_that_panics", "--ignored", "--nocapture"]);
        let mut child = pty.slave.spawn_command(program).unwrap();
        let (mut reader, mut seen, mut bytes) =
            (pty.master.try_clone_reader().unwrap(), Vec::new(), [0; 1_024]);
        let place = |seen: &[u8], text: &[u8]| seen.windows(text.len()).position(|window| window == text);
        while place(&seen, b"on purpose").is_none() {
            let count = reader.read(&mut bytes).unwrap();
            seen.extend_from_slice(&bytes[..count]);
        }
        assert!(place(&seen, ENTER) < place(&seen, LEAVE) && place(&seen, ENTER).is_some());
        assert!(place(&seen, LEAVE) < place(&seen, b"on purpose"));
        assert_eq!(modes(), before, "echo and the others");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
