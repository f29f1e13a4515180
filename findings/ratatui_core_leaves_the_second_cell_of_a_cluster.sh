#!/usr/bin/env bash
# ratatui-core 0.1.2.
#
# `Buffer::diff` takes each symbol of two columns for one glyph of two columns: when other text takes its place, a blank second
# cell is not written, since it was blank before. A cluster of two base characters, such as the Hindi "स्ते", is also a symbol of
# two columns. A terminal that puts one base character into each cell shows its second one in the second cell, where it
# stays: the program and the terminal no longer agree until the whole screen is written again.
#
# Seen: after "स्ते" and then "a", the changes are one cell, "a" at column 0, and an emulator (vt100 0.18.1) shows "aते".
# With "日", one glyph of two columns, the emulator shows "a".
#
# Needs cargo.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat >Cargo.toml <<'EOF'
[package]
name = "program"
version = "0.0.0"
edition = "2021"

[dependencies]
ratatui-core = "=0.1.2"
vt100 = "=0.18.1"
EOF
cat >src/main.rs <<'EOF'
use std::num::NonZeroU16;

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::Style;

/// Writes the changes between two pictures as a backend does: each cell at its column.
fn write(terminal: &mut vt100::Parser, from: &Buffer, to: &Buffer) -> usize {
    let changes = from.diff(to);
    for (x, _, cell) in &changes {
        terminal.process(format!("\x1b[1;{}H{}", x + 1, cell.symbol()).as_bytes());
    }
    changes.len()
}

fn picture(text: &str) -> Buffer {
    let mut picture = Buffer::empty(Rect::new(0, 0, 4, 1));
    picture.set_string(0, 0, text, Style::new());
    picture
}

/// What the emulator shows after a text and then "a", and how many cells the second step wrote.
fn shown_after(text: &str) -> (String, usize) {
    let mut terminal = vt100::Parser::new(NonZeroU16::new(1).unwrap(), NonZeroU16::new(4).unwrap(), 0);
    write(&mut terminal, &picture(""), &picture(text));
    let written = write(&mut terminal, &picture(text), &picture("a"));
    (terminal.screen().contents().trim_end().to_owned(), written)
}

fn main() {
    for text in ["स्ते", "日"] {
        let (shown, written) = shown_after(text);
        println!("after {text} and then a: {written} cell written, the emulator shows {shown:?}");
    }
    assert_eq!(shown_after("स्ते"), ("aते".into(), 1), "the behaviour has changed");
    assert_eq!(shown_after("日"), ("a".into(), 1), "the emulator has changed");
}
EOF
cargo run --quiet
