//! Standard input, line by line. Owns the thread that reads it and the bound of a line; does not know what lines are for.
//! Called by the line mode.

use std::io::{BufRead, Read};

use tokio::sync::mpsc;

/// Longer than any line that fits a frame.
const MAX_LINE_BYTES: u64 = 128 * 1024;

/// Lines read ahead: reading stops at this many, and goes on as they are taken.
const READ_AHEAD: usize = 16;

/// A line, or why there is none.
#[derive(Debug)]
pub(super) enum Input {
    Line(String),
    /// It was too long, and was passed over.
    TooLong,
    /// Can't be read any further.
    Broken(std::io::Error),
}

/// Starts to read. The channel ends with the input. The thread is not waited for: a read can't be interrupted, and ends with
/// the process.
pub(super) fn read() -> std::io::Result<mpsc::Receiver<Input>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    std::thread::Builder::new().name("input".into()).spawn(move || {
        let mut stdin = std::io::stdin().lock();
        while let Some(input) = next(&mut stdin) {
            let is_last = matches!(input, Input::Broken(_));
            if sender.blocking_send(input).is_err() || is_last {
                return;
            }
        }
    })?;
    Ok(receiver)
}

fn next(reader: &mut impl BufRead) -> Option<Input> {
    let mut line = Vec::new();
    match piece(reader, &mut line) {
        Ok(0) => return None,
        Ok(read) if read < MAX_LINE_BYTES as usize || line.ends_with(b"\n") => {
            let line = String::from_utf8_lossy(&line);
            return Some(Input::Line(line.trim_end_matches(['\n', '\r']).to_owned()));
        }
        Ok(_) => {}
        Err(error) => return Some(Input::Broken(error)),
    }
    while !line.ends_with(b"\n") {
        line.clear();
        match piece(reader, &mut line) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Some(Input::Broken(error)),
        }
    }
    Some(Input::TooLong)
}

/// Reads up to the end of the line, or of the bound.
fn piece(reader: &mut impl BufRead, into: &mut Vec<u8>) -> std::io::Result<usize> {
    reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_one_by_one_and_one_too_long_is_passed_over() {
        let text = format!("one\r\n\n{}\nlast", "x".repeat(300_000));
        let mut reader = text.as_bytes();
        let mut told = Vec::new();
        while let Some(input) = next(&mut reader) {
            told.push(match input {
                Input::Line(line) => line,
                other => format!("{other:?}"),
            });
        }
        assert_eq!(told, ["one", "", "TooLong", "last"]);
    }
}
