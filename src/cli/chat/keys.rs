//! What the keys and the mouse do. Owns their meaning and their help; draws nothing. Called by the terminal.

use std::time::Instant;

use chatnode_client::model::Model;
use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseEventKind};

use super::command;
use super::mark;
use super::outcome::{self, Outcome};
use super::prompt::{MAX_BYTES, To};
use super::screen::View;

/// The rows that one notch of the wheel scrolls.
const WHEEL_ROWS: isize = 3;

const HELP: [&str; 8] = [
    "Tab, Shift-Tab: complete a command, or a name after @ or /msg. Elsewhere, or Alt with an arrow key: next or previous conversation",
    "Ctrl-R, Ctrl-T: mark the message before or after, for /reply, /react, /edit and /delete. Esc: no mark",
    "Page Up, Page Down, Shift with an arrow key, or the mouse wheel: scroll. Page Up at the top loads older messages",
    "Up, Down: the texts that you entered before",
    "Alt-Enter or Ctrl-J: a new line in the same message. A pasted text of several lines stays one message",
    "Ctrl with an arrow key, Alt-B, Alt-F: by word. Ctrl-W, Alt-Backspace, Alt-D: delete a word",
    "Ctrl-A, Ctrl-E: start, end of the line. Ctrl-U, Ctrl-K: delete up to there. Ctrl-Y: insert the deleted text again",
    "Ctrl-C: quit. Ctrl-Z: suspend. Ctrl-L: draw anew. Select text with Shift and the mouse (Option in iTerm2)",
];

/// What the terminal has to do after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Draw,
    /// Draw everything, whatever the terminal shows.
    DrawAnew,
    Suspend,
    Quit,
}

/// Handles a key, pasted text or the wheel.
pub(super) fn handle(model: &mut Model, view: &mut View, event: Event) -> Next {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => press(model, view, key),
        Event::Paste(text) => {
            insert(model, view, &text);
            Next::Draw
        }
        Event::Mouse(mouse) => {
            match mouse.kind {
                MouseEventKind::ScrollUp => scroll(model, view, WHEEL_ROWS),
                MouseEventKind::ScrollDown => scroll(model, view, -WHEEL_ROWS),
                _ => {}
            }
            Next::Draw
        }
        _ => Next::Draw,
    }
}

fn press(model: &mut Model, view: &mut View, key: KeyEvent) -> Next {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let alt = key.modifiers.contains(KeyModifiers::ALT);
    let shift = key.modifiers.contains(KeyModifiers::SHIFT);
    match key.code {
        KeyCode::Char(c) if control => return press_control(model, view, c),
        KeyCode::Char(c) if alt => match c.to_ascii_lowercase() {
            'b' => view.drafts.prompt().go(To::WordLeft),
            'f' => view.drafts.prompt().go(To::WordRight),
            'd' => delete(view, To::WordRight),
            _ => {}
        },
        KeyCode::Char(c) => {
            insert(model, view, c.encode_utf8(&mut [0; 4]));
            if !view.drafts.prompt().text().starts_with('/') {
                model.typing(Instant::now());
            }
        }
        KeyCode::Enter if alt => insert(model, view, "\n"),
        KeyCode::Enter => return enter(model, view),
        KeyCode::Tab if view.complete(model, true) => {}
        KeyCode::Tab => switch(model, view, true),
        KeyCode::BackTab if view.complete(model, false) => {}
        KeyCode::BackTab => switch(model, view, false),
        KeyCode::Esc => view.drafts.set_mark(None),
        KeyCode::Right | KeyCode::Down if alt => switch(model, view, true),
        KeyCode::Left | KeyCode::Up if alt => switch(model, view, false),
        KeyCode::Backspace if alt => delete(view, To::WordLeft),
        KeyCode::Backspace => drop(view.drafts.prompt().delete(To::Left)),
        KeyCode::Delete if control || alt => delete(view, To::WordRight),
        KeyCode::Delete => drop(view.drafts.prompt().delete(To::Right)),
        KeyCode::Left => view.drafts.prompt().go(if control { To::WordLeft } else { To::Left }),
        KeyCode::Right => view.drafts.prompt().go(if control { To::WordRight } else { To::Right }),
        KeyCode::Home => view.drafts.prompt().go(To::LineStart),
        KeyCode::End => view.drafts.prompt().go(To::LineEnd),
        KeyCode::PageUp => scroll(model, view, page(view)),
        KeyCode::PageDown => scroll(model, view, -page(view)),
        KeyCode::Up if shift || control => scroll(model, view, 1),
        KeyCode::Down if shift || control => scroll(model, view, -1),
        KeyCode::Up => browse(view, true),
        KeyCode::Down => browse(view, false),
        _ => {}
    }
    Next::Draw
}

fn press_control(model: &mut Model, view: &mut View, key: char) -> Next {
    let prompt = view.drafts.prompt();
    match key {
        'c' => return Next::Quit,
        'd' if prompt.text().is_empty() => return Next::Quit,
        'd' => drop(prompt.delete(To::Right)),
        // Some terminals send this for Backspace.
        'h' => drop(prompt.delete(To::Left)),
        'a' => prompt.go(To::LineStart),
        'e' => prompt.go(To::LineEnd),
        'b' => prompt.go(To::Left),
        'f' => prompt.go(To::Right),
        'w' => delete(view, To::BlankLeft),
        'u' => delete(view, To::LineStart),
        'k' => delete(view, To::LineEnd),
        'y' => insert_cut(model, view),
        'j' => insert(model, view, "\n"),
        'p' => browse(view, true),
        'n' => browse(view, false),
        'r' => mark::go(model, view, true),
        't' => mark::go(model, view, false),
        'l' => return Next::DrawAnew,
        'z' => return Next::Suspend,
        _ => {}
    }
    Next::Draw
}

fn enter(model: &mut Model, view: &mut View) -> Next {
    let text = view.drafts.enter();
    let outcome = command::run_command(model, &text, view.drafts.mark(), Instant::now());
    let open = model.current().map(|current| current.topic.clone());
    let is_end = outcome == Outcome::Quit;
    // What a reader does to a message does not take it out of sight.
    let stays = matches!(outcome, Outcome::Changed | Outcome::Edit(..));
    match outcome {
        Outcome::Refused => {
            view.drafts.put_back(open.as_ref(), &text, None);
        }
        Outcome::Help => HELP.iter().for_each(|line| outcome::note(model, line)),
        Outcome::Replied | Outcome::Changed => view.drafts.set_mark(None),
        // The message stays the same one, whatever comes meanwhile.
        Outcome::Edit(message, text) => {
            view.drafts.put_back(open.as_ref(), &format!("/edit {text}"), Some(message));
        }
        Outcome::Done | Outcome::Quit => {}
    }
    if !stays {
        view.turn_to(model);
    }
    if is_end { Next::Quit } else { Next::Draw }
}

fn insert(model: &mut Model, view: &mut View, text: &str) {
    if !view.drafts.prompt().insert(text) {
        refuse_long(model);
    }
}

fn insert_cut(model: &mut Model, view: &mut View) {
    if !view.drafts.insert_cut() {
        refuse_long(model);
    }
}

fn refuse_long(model: &mut Model) {
    let limit = MAX_BYTES / 1024;
    outcome::note(model, &format!("not inserted: the text would be longer than {limit} KiB"));
}

fn delete(view: &mut View, to: To) {
    let cut = view.drafts.prompt().delete(to);
    view.drafts.cut(cut);
}

/// Within a text of several lines first, then to other texts.
fn browse(view: &mut View, back: bool) {
    let prompt = view.drafts.prompt();
    let has_moved = if back { prompt.up() } else { prompt.down() };
    if !has_moved {
        view.drafts.browse(back);
    }
}

/// All rows but one, so that the reader finds the place again.
fn page(view: &View) -> isize {
    isize::try_from(view.height.saturating_sub(1).max(1)).unwrap_or(1)
}

fn scroll(model: &mut Model, view: &mut View, rows: isize) {
    if rows > 0 && view.place.at_top {
        model.ask_history(command::PAGE);
    }
    view.place.scroll(rows);
}

fn switch(model: &mut Model, view: &mut View, forwards: bool) {
    model.switch(forwards);
    view.turn_to(model);
}
