//! Standard input, line by line. Owns the thread that reads it and the limit of a line; does not know what lines mean. Called
//! by the line mode.

use std::io::{BufRead, Read};

use tokio::sync::mpsc;

/// More than fits into a frame.
const MAX_LINE_BYTES: u64 = 128 * 1024;

/// The most lines read ahead.
const READ_AHEAD: usize = 16;

/// A line, or the reason why there is none.
#[derive(Debug)]
pub(super) enum Input {
    Line(String),
    /// The line was too long and was skipped.
    TooLong,
    /// The input can't be read any further.
    Broken(std::io::Error),
}

/// Starts to read. The channel ends with the input. Nobody waits for the thread: a read can't be interrupted, and ends with
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

/// Reads up to the end of the line, or up to the limit.
fn piece(reader: &mut impl BufRead, into: &mut Vec<u8>) -> std::io::Result<usize> {
    reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_returns_lines_and_skips_long_ones() {
        let text = format!("one\r\n\n{}\nlast", "x".repeat(300_000));
        let mut reader = text.as_bytes();
        let mut inputs = Vec::new();
        while let Some(input) = next(&mut reader) {
            inputs.push(match input {
                Input::Line(line) => line,
                other => format!("{other:?}"),
            });
        }
        assert_eq!(inputs, ["one", "", "TooLong", "last"]);
    }
}
