//! Model without a screen: lines in, lines out. Owns what a printed line looks like, and when a pipe is done; knows no
//! protocol. Called by the subcommand.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::command;
use super::input::{self, Input};
use super::signals::Signals;
use crate::cli::output::print_error;
use chatnode_client::model::Line;
use chatnode_client::model::Target;
use chatnode_client::{News, Session};

/// Messages on their way at which reading the input pauses.
const FEW: usize = 4;

/// A pipe whose input has ended waits so long for the next thing to be done: a node that is gone for good, or a room that
/// nobody can enter, must not leave it hanging. Longer than a message is tried.
const STANDSTILL: Duration = Duration::from_secs(90);

/// How long nothing has been done. Owns a number and a moment.
struct Progress {
    left: usize,
    since: Instant,
}

impl Progress {
    fn new(now: Instant) -> Self {
        Self { left: usize::MAX, since: now }
    }

    /// When it is over, unless less is left to do by then.
    fn end(&mut self, left: usize, now: Instant) -> Instant {
        if left != self.left {
            *self = Self { left, since: now };
        }
        self.since + STANDSTILL
    }
}

/// Where messages are printed to. Owns the fact that it may be gone; what that means for the input is not decided here.
struct Output {
    /// Whether what we said to somebody in earlier runs, and no device of ours has heard, is left out. What others said
    /// has waited for us and never is.
    is_brief: bool,
    failure: Option<io::Error>,
}

impl Output {
    fn print(&mut self, line: &str) {
        if self.failure.is_none() {
            let mut out = io::stdout().lock();
            self.failure = out.write_all(line.as_bytes()).and_then(|()| out.flush()).err();
        }
    }

    /// The end of a chat that has nothing left to do. `is_cut` where input was left unread.
    fn end(self, is_cut: bool) -> End {
        match self.failure {
            None => End::Done,
            // Nobody reads any more, `chatnode chat | head -1`, and nothing was left to say.
            Some(error) if !is_cut && error.kind() == io::ErrorKind::BrokenPipe => End::Done,
            Some(error) if is_cut => {
                End::Failed(format!("can't write the output: {error}; the rest of the input was not sent"))
            }
            Some(error) => End::Failed(format!("can't write the output: {error}")),
        }
    }
}

/// How it ended.
enum End {
    /// The input is done and all of it stored.
    Done,
    /// It makes no sense to go on.
    Failed(String),
    Signal(u8),
}

/// Runs until the input ends and everything is stored, unless it is to follow.
pub(super) async fn run(mut session: Session, follow: bool, node: &str) -> ExitCode {
    let end = match (input::read(), Signals::new()) {
        (Ok(input), Ok(signals)) => converse(&mut session, input, signals, follow, node).await,
        (Err(error), _) | (_, Err(error)) => End::Failed(error.to_string()),
    };
    let (failed, left) = (session.model.failed(), session.model.unsent());
    session.close().await;
    match end {
        End::Done if failed == 0 && left == 0 => ExitCode::SUCCESS,
        End::Done => {
            if failed > 0 {
                print_error(&format_args!("{failed} failed"));
            }
            if left > 0 {
                print_error(&format_args!("{left} not known to be stored"));
            }
            ExitCode::FAILURE
        }
        End::Failed(why) => {
            print_error(&why);
            if left > 0 {
                print_error(&format_args!("{left} more not known to be stored"));
            }
            ExitCode::FAILURE
        }
        End::Signal(code) => ExitCode::from(code),
    }
}

async fn converse(
    session: &mut Session,
    input: tokio::sync::mpsc::Receiver<Input>,
    mut signals: Signals,
    follow: bool,
    node: &str,
) -> End {
    let mut input = Some(input);
    // Text from a pipe may well begin with a slash; only a person means a command by it.
    let is_person = io::stdin().is_terminal();
    let mut output = Output { is_brief: !follow && session.model.history() == 0, failure: None };
    let mut is_cut = false;
    let mut progress = Progress::new(Instant::now());
    loop {
        while let Some(news) = session.settle() {
            if let Some(end) = tell(session, &mut output, news, node) {
                return end;
            }
        }
        let is_deaf = output.failure.is_some();
        // What was read is still sent; a producer without end must not keep us from ending.
        if is_deaf && input.take().is_some() {
            is_cut = !is_person;
        }
        let is_done = input.is_none() && session.model.is_settled() && (!follow || is_deaf);
        if session.model.is_shut_out() || is_done {
            return output.end(is_cut);
        }
        let may_read = session.model.unsent() < FEW;
        let over = progress.end(session.model.unsettled(), Instant::now());
        let news = tokio::select! {
            news = session.next() => news,
            line = next(&mut input), if may_read && input.is_some() => {
                match line {
                    Some(Input::Line(line)) if is_person => {
                        if command::obey(&mut session.model, &line, Instant::now()) {
                            return End::Done;
                        }
                    }
                    Some(Input::Line(line)) => {
                        // An empty message is none.
                        if !line.is_empty() {
                            session.model.say(line, Instant::now());
                        }
                    }
                    Some(Input::TooLong) => {
                        session.model.count_failure();
                        print_error(&"not sent: a line is too long");
                    }
                    Some(Input::Broken(error)) => return End::Failed(format!("can't read the input: {error}")),
                    None => input = None,
                }
                None
            }
            code = signals.next() => return End::Signal(code),
            () = tokio::time::sleep_until(over.into()), if input.is_none() && (!follow || is_deaf) => {
                return End::Failed(format!("{node}: nothing has moved for {} s", STANDSTILL.as_secs()));
            }
        };
        if let Some(news) = news
            && let Some(end) = tell(session, &mut output, news, node)
        {
            return end;
        }
    }
}

async fn next(input: &mut Option<tokio::sync::mpsc::Receiver<Input>>) -> Option<Input> {
    match input {
        Some(input) => input.recv().await,
        None => None,
    }
}

fn tell(session: &Session, output: &mut Output, news: News, node: &str) -> Option<End> {
    match news {
        News::Line(Some(Target::User(_)), Line::Said { from, place, .. })
            if output.is_brief && from == *session.model.me() && session.model.was_said_before(&place) =>
        {
            None
        }
        News::Line(_, Line::Said { own: Some(_), .. }) | News::Connected => None,
        News::Line(target, line @ (Line::Said { .. } | Line::Gap(_))) => {
            output.print(&printed(target.as_ref(), &line));
            None
        }
        News::Line(_, line @ (Line::NotSent { .. } | Line::Note(_))) => {
            print_error(&line.text());
            None
        }
        News::Lost(why, _) if !session.was_connected() => Some(End::Failed(format!("{node}: {why}"))),
        News::Lost(why, wait) => {
            print_error(&format_args!("{why}; trying again in {:.1} s", wait.as_secs_f64()));
            None
        }
        News::Stopped(why) => Some(End::Failed(why)),
    }
}

/// A message or a gap as one line.
fn printed(target: Option<&Target>, line: &Line) -> String {
    let place = target.map_or_else(|| "@".to_owned(), Target::to_string);
    let by = if let Line::Said { from, .. } = line { format!("{from}:") } else { "--".into() };
    format!("{place} {by} {}\n", line.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_waits_for_as_long_as_something_moves() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut progress = Progress::new(start);
        assert_eq!(progress.end(2, start), after(90));
        assert_eq!(progress.end(2, after(60)), after(90), "nothing has moved");
        assert_eq!(progress.end(1, after(80)), after(170));
        assert_eq!(progress.end(1, after(169)), after(170));
    }
}
