//! Chat without a screen: lines in, lines out. Owns the format of a printed line, and when a pipe is done; knows no protocol.
//! Called by the subcommand.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use chatnode_client::model::Line;
use chatnode_client::{Event, News, Session, Topic, UserName};
use tokio::sync::mpsc;

use super::command;
use super::input::{self, Input};
use super::not_sent;
use super::outcome::{self, Outcome};
use super::printed;
use super::printer::Printer;
use super::signals::Signals;
use crate::cli::output::print_errors;

/// With this many messages on their way, reading the input pauses.
const MAX_UNSENT: usize = 4;

/// After the end of the input, the pipe gives up if nothing was done for this time: it must not wait for ever for a node that
/// is gone, or for a room that nobody can enter. Longer than the client tries to send a message.
const STANDSTILL: Duration = Duration::from_secs(90);

/// How long nothing has been done.
struct Progress {
    left: usize,
    since: Instant,
}

impl Progress {
    fn new(now: Instant) -> Self {
        Self { left: usize::MAX, since: now }
    }

    /// When to give up, unless less is left to do by then.
    fn deadline(&mut self, left: usize, now: Instant) -> Instant {
        if left != self.left {
            *self = Self { left, since: now };
        }
        self.since + STANDSTILL
    }
}

/// Where messages are printed. What the first error of it means for the input is not decided here.
struct Output {
    /// Whether to leave out the user's own private messages from earlier runs, which come because no device of the user has
    /// received them yet. Messages of others that waited for the user are always printed.
    is_brief: bool,
    printer: Printer,
}

impl Output {
    /// Waits until the line is written. Meanwhile the connection stays open, and the rest stays with the node. Returns the end if a
    /// signal asks for it.
    async fn written(&mut self, session: &mut Session, signals: &mut Signals) -> Option<End> {
        tokio::select! {
            biased;
            () = self.printer.done() => None,
            code = signals.next() => Some(End::Signal(code)),
            () = session.speak() => None,
        }
    }

    /// How a chat ends that has nothing left to do. `is_cut` if part of the input was not read.
    fn end(self, is_cut: bool) -> End {
        match self.printer.into_failure() {
            None => End::Done,
            // Nobody reads the output any more (`chatnode chat | head -1`), and there was nothing left to send.
            Some(error) if !is_cut && error.kind() == io::ErrorKind::BrokenPipe => End::Done,
            Some(error) if is_cut => {
                End::Failed(format!("can't write the output: {error}; the rest of the input was not sent"))
            }
            Some(error) => End::Failed(format!("can't write the output: {error}")),
        }
    }
}

/// How the chat ended.
enum End {
    /// The input has ended, and everything is done.
    Done,
    /// It can't go on.
    Failed(String),
    Signal(u8),
}

/// Runs until the input ends and every message is stored. With `follow`, goes on printing messages.
pub(super) async fn run(mut session: Session, follow: bool, node: &str) -> ExitCode {
    let end = match (input::read(), Signals::new(), Printer::start()) {
        (Ok(input), Ok(signals), Ok(printer)) => {
            let is_brief = !follow && session.model.history() == 0;
            let output = Output { is_brief, printer };
            chat(&mut session, input, output, signals, follow, node).await
        }
        (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => End::Failed(error.to_string()),
    };
    let (failed, unsent) = (session.model.failed(), session.model.unsent());
    let mut errors = not_sent::give_up(&mut session);
    session.close().await;
    let code = match end {
        End::Done if failed == 0 && unsent == 0 => ExitCode::SUCCESS,
        End::Done => {
            if failed > 0 {
                errors.push(format!("{failed} failed"));
            }
            errors.extend(unconfirmed(unsent));
            ExitCode::FAILURE
        }
        End::Failed(why) => {
            errors.push(why);
            errors.extend(unconfirmed(unsent));
            ExitCode::FAILURE
        }
        End::Signal(code) => ExitCode::from(code),
    };
    print_errors(errors).await;
    code
}

/// Reports messages that are not known to be stored.
fn unconfirmed(unsent: usize) -> Option<String> {
    match unsent {
        0 => None,
        1 => Some("1 message unconfirmed".into()),
        _ => Some(format!("{unsent} messages unconfirmed")),
    }
}

async fn chat(
    session: &mut Session,
    input: mpsc::Receiver<Input>,
    mut output: Output,
    mut signals: Signals,
    follow: bool,
    node: &str,
) -> End {
    let mut input = Some(input);
    // Only a person types commands; text from a pipe may begin with a slash too.
    let is_person = io::stdin().is_terminal();
    let mut is_cut = false;
    let mut progress = Progress::new(Instant::now());
    loop {
        while let Some(news) = session.settle() {
            let end = show(session, &mut output, news, node);
            if let Some(end) = end.or(output.written(session, &mut signals).await) {
                return end;
            }
        }
        let is_unread = output.printer.has_failed();
        // What was read is still sent, but no more is read: the input may have no end.
        if is_unread && input.take().is_some() {
            is_cut = !is_person;
        }
        let is_done = input.is_none() && session.model.is_settled() && (!follow || is_unread);
        if session.model.is_shut_out() || is_done {
            return output.end(is_cut);
        }
        let may_read = session.model.unsent() < MAX_UNSENT;
        let deadline = progress.deadline(session.model.unsettled(), Instant::now());
        let news = tokio::select! {
            news = session.next() => news,
            line = next(&mut input), if may_read && input.is_some() => {
                match line {
                    Some(Input::Line(line)) if is_person => {
                        match command::run_command(&mut session.model, &line, None, Instant::now()) {
                            Outcome::Quit => return End::Done,
                            Outcome::Edit(..) => outcome::note(&mut session.model, "/edit TEXT: there is no text"),
                            _ => {}
                        }
                    }
                    Some(Input::Line(line)) => {
                        // An empty line is no message.
                        if !line.is_empty() {
                            session.model.send(line, Instant::now());
                        }
                    }
                    Some(Input::TooLong) => {
                        session.model.count_failure();
                        output.printer.print_error(&"not sent: a line is too long");
                    }
                    Some(Input::Broken(error)) => return End::Failed(format!("can't read the input: {error}")),
                    None => input = None,
                }
                None
            }
            code = signals.next() => return End::Signal(code),
            () = tokio::time::sleep_until(deadline.into()), if input.is_none() && (!follow || is_unread) => {
                return End::Failed(format!("{node}: no progress for {} s", STANDSTILL.as_secs()));
            }
        };
        let end = news.and_then(|news| show(session, &mut output, news, node));
        if let Some(end) = end.or(output.written(session, &mut signals).await) {
            return end;
        }
    }
}

async fn next(input: &mut Option<mpsc::Receiver<Input>>) -> Option<Input> {
    match input {
        Some(input) => input.recv().await,
        None => None,
    }
}

fn show(session: &Session, output: &mut Output, news: News, node: &str) -> Option<End> {
    match news {
        News::Line(Some(topic), line) => show_line(session, output, Some(&topic), &line),
        News::Line(None, line) => show_line(session, output, None, &line),
        News::Event(event) => show_change(session, output, &event),
        News::Lost(reason, _) if !session.was_connected() => {
            return Some(End::Failed(format!("{node}: {reason}")));
        }
        News::Lost(reason, wait) => {
            let wait = wait.as_secs_f64();
            output.printer.print_error(&format_args!("{reason}; retrying in {wait:.1} s"));
        }
        News::Stopped(reason) => return Some(End::Failed(reason.to_string())),
        _ => {}
    }
    None
}

/// A change by somebody else, or by this user on another device; not one from earlier runs, as with messages.
fn show_change(session: &Session, output: &mut Output, event: &Event) {
    let is_own =
        |topic: &Topic, sender: &UserName| matches!(topic, Topic::User(_)) && sender == session.model.me();
    let is_old = match event {
        Event::Edited { topic, sender, .. }
        | Event::Retracted { topic, sender, .. }
        | Event::Reacted { topic, sender, .. } => output.is_brief && is_own(topic, sender),
        _ => false,
    };
    if !is_old && let Some(line) = printed::change(&session.model, event) {
        output.printer.print(line);
    }
}

fn show_line(session: &Session, output: &mut Output, topic: Option<&Topic>, line: &Line) {
    match line {
        Line::Message(message) => {
            let is_old = output.is_brief
                && matches!(topic, Some(Topic::User(_)))
                && message.sender == *session.model.me()
                && session.model.is_older_than_client(message);
            if message.own_id.is_none() && !is_old {
                output.printer.print(printed::line(&session.model, topic, line));
            }
        }
        Line::Gap(_)
        | Line::Event(
            Event::RoomChanged { .. }
            | Event::Moderated { .. }
            | Event::Invited { .. }
            | Event::Blocked { .. },
        ) => output.printer.print(printed::line(&session.model, topic, line)),
        Line::Event(_) | Line::Note(_) => output.printer.print_error(&line.text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_waits_while_it_makes_progress() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut progress = Progress::new(start);
        assert_eq!(progress.deadline(2, start), after(90));
        assert_eq!(progress.deadline(2, after(60)), after(90), "no progress");
        assert_eq!(progress.deadline(1, after(80)), after(170));
        assert_eq!(progress.deadline(1, after(169)), after(170));
    }
}
