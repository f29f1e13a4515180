//! The chat on the full screen. Owns the modes of the terminal, the keys, and when the screen is drawn; what it shows is the
//! model. Called by the subcommand.

use std::io::stdout;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use chatnode_client::{News, Session};
use crossterm::event::{
    DisableBracketedPaste, EnableBracketedPaste, Event, EventStream, KeyCode, KeyEvent, KeyEventKind,
    KeyModifiers,
};
use crossterm::execute;
use futures_util::StreamExt;
use ratatui::DefaultTerminal;

use super::command;
use super::lines::print_unconfirmed;
use super::local_time::{LocalTime, local_zone};
use super::screen::{self, View};
use super::signals::Signals;
use crate::cli::output::print_error;

/// The screen is drawn at least this often: for the countdown to the next attempt, and for the names of days.
const REDRAW_EVERY: Duration = Duration::from_secs(1);

/// The terminal in its modes, until dropped.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> std::io::Result<Self> {
        // This also restores the modes if the program panics.
        let terminal = ratatui::try_init()?;
        execute!(stdout(), EnableBracketedPaste)?;
        Ok(Self(terminal))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _gone = execute!(stdout(), DisableBracketedPaste);
        ratatui::restore();
    }
}

/// Runs until the user quits.
pub(super) async fn run(mut session: Session) -> ExitCode {
    let ended = match (Screen::open(), Signals::new()) {
        (Ok(screen), Ok(signals)) => chat(&mut session, screen, signals).await,
        (Err(error), _) | (_, Err(error)) => Err(format!("can't use the terminal: {error}")),
    };
    let left = session.model.unsent();
    session.close().await;
    print_unconfirmed(left);
    match ended {
        Ok(ExitCode::SUCCESS) if left > 0 => ExitCode::FAILURE,
        Ok(code) => code,
        Err(why) => {
            print_error(&why);
            ExitCode::FAILURE
        }
    }
}

async fn chat(session: &mut Session, mut screen: Screen, mut signals: Signals) -> Result<ExitCode, String> {
    let zone = local_zone();
    let mut view = View::default();
    let mut keys = EventStream::new();
    loop {
        if view.scroll == 0 {
            session.model.looked();
        }
        while let Some(news) = session.settle() {
            if let News::Stopped(reason) = news {
                return Err(reason.to_string());
            }
        }
        let (now, local) = (Instant::now(), LocalTime::new(&zone, SystemTime::now()));
        let drawn = screen.0.draw(|frame| screen::draw(frame, &session.model, &mut view, &local, now));
        drawn.map_err(|error| format!("can't draw: {error}"))?;
        tokio::select! {
            news = session.next() => {
                if let Some(News::Stopped(reason)) = news {
                    return Err(reason.to_string());
                }
            }
            event = keys.next() => match event {
                Some(Ok(event)) => {
                    if handle(session, &mut view, event) {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
                Some(Err(error)) => return Err(format!("can't read the keys: {error}")),
                None => return Ok(ExitCode::SUCCESS),
            },
            code = signals.next() => return Ok(ExitCode::from(code)),
            () = tokio::time::sleep(REDRAW_EVERY) => {}
        }
    }
}

/// Handles a key or pasted text. True if the user quits.
fn handle(session: &mut Session, view: &mut View, event: Event) -> bool {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => press(session, view, key),
        Event::Paste(text) => {
            text.chars().for_each(|c| view.prompt.insert(c));
            false
        }
        _ => false,
    }
}

fn press(session: &mut Session, view: &mut View, key: KeyEvent) -> bool {
    let model = &mut session.model;
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let alt = key.modifiers.contains(KeyModifiers::ALT);
    let page = usize::from(view.height.saturating_sub(1).max(1));
    match key.code {
        KeyCode::Char('c') if control => return true,
        KeyCode::Char('d') if control && view.prompt.parts() == (String::new(), String::new()) => {
            return true;
        }
        KeyCode::Char('w') if control => view.prompt.delete_word(),
        KeyCode::Char('u') if control => view.prompt.clear(),
        KeyCode::Char('a') if control => view.prompt.go(isize::MIN),
        KeyCode::Char('e') if control => view.prompt.go(isize::MAX),
        KeyCode::Char(c) if !control && !alt => {
            view.prompt.insert(c);
            if !view.prompt.parts().0.starts_with('/') {
                model.typing(Instant::now());
            }
        }
        KeyCode::Enter => {
            view.scroll = 0;
            return command::run_command(model, &view.prompt.take(), Instant::now());
        }
        KeyCode::Tab => switch(session, view, true),
        KeyCode::BackTab => switch(session, view, false),
        KeyCode::Right | KeyCode::Down if alt => switch(session, view, true),
        KeyCode::Left | KeyCode::Up if alt => switch(session, view, false),
        KeyCode::Backspace => view.prompt.backspace(),
        KeyCode::Delete => view.prompt.delete(),
        KeyCode::Left => view.prompt.go(-1),
        KeyCode::Right => view.prompt.go(1),
        KeyCode::Home => view.prompt.go(isize::MIN),
        KeyCode::End => view.prompt.go(isize::MAX),
        KeyCode::PageUp | KeyCode::Up => {
            if view.at_top {
                model.ask_history(command::PAGE);
            }
            view.scroll += if key.code == KeyCode::Up { 1 } else { page };
        }
        KeyCode::PageDown => view.scroll = view.scroll.saturating_sub(page),
        KeyCode::Down => view.scroll = view.scroll.saturating_sub(1),
        _ => {}
    }
    false
}

fn switch(session: &mut Session, view: &mut View, forwards: bool) {
    session.model.switch(forwards);
    view.scroll = 0;
}
