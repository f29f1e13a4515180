//! The chat on the full screen. Owns when the screen is drawn, and what happens at the end; what it shows is the model. Called by
//! the subcommand.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use chatnode_client::model::Line;
use chatnode_client::{Change, Event as ChatEvent, News, Session, Topic};
use crossterm::event::Event;
use jiff::tz::TimeZone;
use ratatui::layout::Rect;

use super::job::{self, Call, Job};
use super::keyboard;
use super::keys::{self, Next};
use super::local_time::{LocalTime, local_zone};
use super::not_sent;
use super::outcome;
use super::painter::Painter;
use super::screen::{self, View};
use crate::cli::output::print_error;

/// At most 30 pictures a second: everything that has happened meanwhile is in the next one.
const DRAW_EVERY: Duration = Duration::from_millis(33);

/// The screen is drawn at least this often: for the countdown to the next attempt, and for the names of days.
const REDRAW_EVERY: Duration = Duration::from_secs(1);

/// Others are told at most this often how far the user has read.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The chat, its screen, and when the screen is drawn next.
struct Chat<'a> {
    session: &'a mut Session,
    view: &'a mut View,
    zone: TimeZone,
    area: Rect,
    drawn: Instant,
    looked: Option<Instant>,
    /// Whether something has changed since the last drawing.
    is_stale: bool,
    is_suspended: bool,
}

/// Runs until the user quits.
pub(super) async fn run(mut session: Session) -> ExitCode {
    let mut view = View::default();
    let mut has_terminal = true;
    let ended = match (Job::new(), Painter::start()) {
        (Ok(job), Ok(mut painter)) => {
            let ended = chat(&mut session, &mut view, &mut painter, job).await;
            has_terminal = painter.leave().await;
            ended
        }
        (Err(error), _) | (_, Err(error)) => Err(format!("can't use the terminal: {error}")),
    };
    // What is on its way gets what is known of it.
    let unsent = session.model.unsent();
    // A terminal that takes nothing would hold the program back.
    if has_terminal || !io::stderr().is_terminal() {
        print_unsent(&mut session, &view);
        if let Err(why) = &ended {
            print_error(why);
        }
    }
    session.close().await;
    match ended {
        Ok(ExitCode::SUCCESS) if unsent > 0 => ExitCode::FAILURE,
        Ok(code) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Prints every text that is lost with the program.
fn print_unsent(session: &mut Session, view: &View) {
    not_sent::give_up(session).iter().for_each(|error| print_error(error));
    for (topic, text) in view.drafts.unsent() {
        let to = topic.map(|topic| format!(" to {topic}")).unwrap_or_default();
        print_error(&format_args!("never sent{to}:\n{}", not_sent::indented(text)));
    }
}

async fn chat(
    session: &mut Session,
    view: &mut View,
    painter: &mut Painter,
    mut job: Job,
) -> Result<ExitCode, String> {
    let mut keys = keyboard::start().map_err(|error| format!("can't read the keys: {error}"))?;
    let now = Instant::now();
    let drawn = now.checked_sub(REDRAW_EVERY).unwrap_or(now);
    let mut chat = Chat {
        session,
        view,
        zone: local_zone(),
        area: size()?,
        drawn,
        looked: None,
        is_stale: true,
        is_suspended: false,
    };
    loop {
        while let Some(news) = chat.session.settle() {
            chat.take(news)?;
        }
        if !chat.is_suspended && !painter.is_busy() && Instant::now() >= chat.due() {
            chat.draw(painter);
        }
        let due = tokio::time::Instant::from(chat.due());
        tokio::select! {
            news = chat.session.next() => {
                chat.is_stale = true;
                if let Some(news) = news {
                    chat.take(news)?;
                }
            }
            event = keys.recv() => {
                if let Some(code) = chat.handle(event, painter)? {
                    return Ok(code);
                }
            }
            call = job.next() => {
                if let Some(code) = chat.obey(call, painter).await? {
                    return Ok(code);
                }
            }
            done = painter.done(), if painter.is_busy() => done.map_err(cannot_draw)?,
            () = tokio::time::sleep_until(due), if !painter.is_busy() && !chat.is_suspended => {}
        }
    }
}

impl Chat<'_> {
    /// When the screen is drawn next.
    fn due(&self) -> Instant {
        self.drawn + if self.is_stale { DRAW_EVERY } else { REDRAW_EVERY }
    }

    fn draw(&mut self, painter: &mut Painter) {
        let now = Instant::now();
        let local = LocalTime::new(&self.zone, SystemTime::now());
        painter.paint(screen::draw(self.area, &self.session.model, self.view, &local, now));
        (self.drawn, self.is_stale) = (now, false);
        let may_tell = self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_EVERY);
        if may_tell && self.view.place.is_at_end() && self.session.model.looked() {
            self.looked = Some(now);
        }
    }

    fn take(&mut self, news: News) -> Result<(), String> {
        match news {
            News::Stopped(reason) => return Err(reason.to_string()),
            News::Line(
                Some(topic),
                Line::Event(event @ (ChatEvent::NotSent { .. } | ChatEvent::NotChanged { .. })),
            ) => self.not_sent(&topic, event),
            _ => {}
        }
        Ok(())
    }

    /// A text that was not sent comes back into the prompt.
    fn not_sent(&mut self, topic: &Topic, event: ChatEvent) {
        let model = &mut self.session.model;
        let is_open = model.conversations().iter().any(|each| each.topic == *topic);
        if !is_open {
            // Its conversation was closed, and can't show it.
            model.show(None, Line::Event(event.clone()));
        }
        let (error, text, about) = match event {
            ChatEvent::NotSent { content, extras, error, .. } => match extras.reply_to {
                Some(answered) => (error, format!("/reply {content}"), Some(answered)),
                None if content.starts_with('/') => (error, format!("/{content}"), None),
                None => (error, content, None),
            },
            ChatEvent::NotChanged { message_id, change: Change::Edit { content, .. }, error, .. } => {
                (error, format!("/edit {content}"), Some(message_id))
            }
            _ => return,
        };
        // To send it again might store it twice.
        if error.may_be_stored() {
            return;
        }
        let is_back = is_open && self.view.drafts.put_back(Some(topic), &text, about);
        let hint = if is_back { "the text is back in the prompt" } else { "press Up to get the text back" };
        model.show(is_open.then(|| topic.clone()), Line::Note(hint.to_owned()));
    }

    /// Handles a key. The exit code if the user quits.
    fn handle(
        &mut self,
        event: Option<io::Result<Event>>,
        painter: &mut Painter,
    ) -> Result<Option<ExitCode>, String> {
        self.is_stale = true;
        let event = match event {
            Some(Ok(event)) => event,
            Some(Err(error)) => return Err(format!("can't read the keys: {error}")),
            None => return Ok(Some(ExitCode::SUCCESS)),
        };
        if let Event::Resize(width, height) = event {
            self.area = area(width, height);
        }
        self.view.look_at(&self.session.model);
        match keys::handle(&mut self.session.model, self.view, event) {
            Next::Draw => {}
            Next::DrawAnew => painter.begin_anew(),
            Next::Suspend if job::has_shell() => job::ask_to_suspend(),
            Next::Suspend => {
                outcome::note(&mut self.session.model, "not suspended: no shell could continue the chat");
            }
            Next::Quit => return Ok(Some(ExitCode::SUCCESS)),
        }
        Ok(None)
    }

    /// Does what a signal asks for. The exit code if it is to end.
    async fn obey(&mut self, call: Call, painter: &mut Painter) -> Result<Option<ExitCode>, String> {
        match call {
            Call::End(code) => return Ok(Some(ExitCode::from(code))),
            Call::Suspend if job::has_shell() => {
                self.is_suspended = true;
                painter.leave().await;
                job::stop();
            }
            // As the kernel does it: nobody could continue the chat.
            Call::Suspend => {}
            Call::Continued => {
                painter.begin_anew();
                self.area = size()?;
                (self.is_suspended, self.is_stale) = (false, true);
            }
        }
        Ok(None)
    }
}

fn size() -> Result<Rect, String> {
    let (width, height) = crossterm::terminal::size().map_err(|error| format!("no size: {error}"))?;
    Ok(area(width, height))
}

/// A terminal that does not tell its size, such as a serial line, has the usual one.
fn area(width: u16, height: u16) -> Rect {
    match (width, height) {
        (0, _) | (_, 0) => Rect::new(0, 0, 80, 24),
        _ => Rect::new(0, 0, width, height),
    }
}

fn cannot_draw(error: io::Error) -> String {
    format!("can't draw: {error}")
}
