//! A conversation as rows of the screen. Owns the look of new days, and where a line wraps; does not know which rows are visible. Called by
//! the screen.

use std::collections::HashMap;
use std::rc::Rc;

use chatnode_client::model::{Conversation, Line};
use chatnode_client::{MessageId, Topic};
use jiff::civil::Date;
use ratatui::buffer::CellWidth;
use ratatui::style::{Color, Style};
use ratatui::text::{Line as Row, Span};

use super::local_time::LocalTime;
use super::message_rows::{self, Reader};

/// Stands before each further row of a line, so that no row can imitate another message: its text would choose where a row begins.
const NEXT_ROW: &str = "  ";

/// On a narrower screen, rows have no space to lose.
const WIDE_ENOUGH: usize = 20;

/// The rows of lines that were on the screen last, so that a line is wrapped once while it stays there.
#[derive(Debug, Default)]
pub(super) struct Wrapped {
    of: Option<Look>,
    /// By the number of the line.
    rows: HashMap<i64, Rc<[Row<'static>]>>,
}

/// What the rows of all lines depend on.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    topic: Topic,
    width: usize,
    /// How many times a line was changed.
    changed: usize,
    read: Option<MessageId>,
    mark: Option<MessageId>,
}

#[cfg(test)]
impl Wrapped {
    /// How many lines the last drawing looked at.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}

/// A conversation in rows of a width.
pub(super) struct Transcript<'a> {
    pub(super) conversation: &'a Conversation,
    reader: Reader<'a>,
    width: usize,
    before: HashMap<i64, Rc<[Row<'static>]>>,
    wrapped: &'a mut Wrapped,
}

impl<'a> Transcript<'a> {
    pub(super) fn new(
        conversation: &'a Conversation,
        reader: Reader<'a>,
        width: usize,
        wrapped: &'a mut Wrapped,
    ) -> Self {
        let (topic, changed) = (conversation.topic.clone(), conversation.changed);
        let of = Some(Look { topic, width, changed, read: reader.read, mark: reader.mark });
        let rows = std::mem::take(&mut wrapped.rows);
        let before = if wrapped.of == of { rows } else { HashMap::new() };
        wrapped.of = of;
        Self { conversation, reader, width, before, wrapped }
    }

    /// The number of a line, which it keeps while lines are added before and after it.
    pub(super) fn number(&self, index: usize) -> i64 {
        number(self.conversation, index)
    }

    /// The index of the line with a number: of the oldest line if that line is no longer there.
    pub(super) fn index(&self, number: i64) -> usize {
        index(self.conversation, number)
    }

    /// How many rows a line takes, with the row of the day that begins with it.
    pub(super) fn count(&mut self, index: usize) -> usize {
        self.line(index).len() + self.day(index).len()
    }

    /// The rows of a line, with the row of the day that begins with it.
    pub(super) fn rows(&mut self, index: usize) -> Vec<Row<'static>> {
        let mut rows = self.day(index);
        rows.extend_from_slice(&self.line(index));
        rows
    }

    fn day(&self, index: usize) -> Vec<Row<'static>> {
        let day = begun_by(self.conversation, index, self.reader.local);
        day.map_or_else(Vec::new, |day| {
            wrapped(&day_row(&self.reader.local.name(day), self.width), self.width)
        })
    }

    fn line(&mut self, index: usize) -> Rc<[Row<'static>]> {
        let number = self.number(index);
        if let Some(rows) = self.wrapped.rows.get(&number) {
            return rows.clone();
        }
        let rows = self.before.remove(&number).unwrap_or_else(|| {
            let rows = message_rows::rows(&self.conversation.lines[index], self.conversation, &self.reader);
            rows.iter().flat_map(|row| wrapped(row, self.width)).collect()
        });
        self.wrapped.rows.insert(number, rows.clone());
        rows
    }
}

/// The number of a line, which it keeps while lines are added before and after it.
pub(super) fn number(conversation: &Conversation, index: usize) -> i64 {
    conversation.added as i64 - (conversation.lines.len() - index) as i64
}

/// The index of the line with a number: of the oldest line if that line is no longer there.
pub(super) fn index(conversation: &Conversation, of: i64) -> usize {
    usize::try_from(of - number(conversation, 0)).unwrap_or(0)
}

/// The day that begins with the line at this index. A line without a time, or with one out of range, begins and ends no day.
fn begun_by(conversation: &Conversation, index: usize, local: &LocalTime) -> Option<Date> {
    let day_of = |line: &Line| match line {
        Line::Message(message) => local.day(message.sent_at),
        Line::Gap(_) | Line::Event(_) | Line::Note(_) => None,
    };
    let day = day_of(&conversation.lines[index])?;
    let before = conversation.lines.range(..index).rev().find_map(day_of);
    (before != Some(day)).then_some(day)
}

/// The name of a day in the middle of a horizontal line, or alone if the row is too narrow.
fn day_row(name: &str, width: usize) -> Row<'static> {
    let text = format!("{:─^width$}", format!(" {name} "));
    Row::styled(text, Style::new().fg(Color::DarkGray))
}

/// A row in rows of at most this width, wrapped between words where possible. All but the first are indented.
fn wrapped(row: &Row<'_>, full_width: usize) -> Vec<Row<'static>> {
    let indent = if full_width < WIDE_ENOUGH { "" } else { NEXT_ROW };
    let mut width = full_width;
    let graphemes = row.styled_graphemes(Style::new());
    let pieces: Vec<_> =
        graphemes.map(|it| (it.symbol, it.style, usize::from(it.symbol.cell_width()))).collect();
    let mut rows = Vec::new();
    let (mut start, mut taken, mut space) = (0, 0, None);
    for (at, &(symbol, _, wide)) in pieces.iter().enumerate() {
        // A space at the edge becomes the line break.
        if taken + wide > width && start < at && symbol == " " {
            rows.push(joined(&pieces[start..at]));
            (start, taken, space) = (at + 1, 0, None);
            width = full_width - indent.len();
            continue;
        }
        while taken + wide > width && start < at {
            let cut = space.take().unwrap_or(at);
            rows.push(joined(&pieces[start..cut]));
            start = cut;
            width = full_width - indent.len();
            taken = pieces[start..at].iter().map(|(_, _, wide)| wide).sum();
        }
        taken += wide;
        if symbol == " " {
            space = Some(at + 1);
        }
    }
    rows.push(joined(&pieces[start..]));
    rows.iter_mut().skip(1).for_each(|row| row.spans.insert(0, Span::raw(indent)));
    rows
}

/// A row of graphemes, with one span for each run of the same style.
fn joined(pieces: &[(&str, Style, usize)]) -> Row<'static> {
    let runs = pieces.chunk_by(|(_, left, _), (_, right, _)| left == right);
    let spans = runs.map(|run| {
        let text: String = run.iter().map(|(symbol, _, _)| *symbol).collect();
        Span::styled(text, run[0].1)
    });
    Row::from_iter(spans)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use chatnode_client::model::Model;
    use chatnode_client::protocol::events::ChatMessage;
    use chatnode_client::{Epoch, GapReason, Position, Topic, UserName};
    use jiff::tz::TimeZone;

    use super::*;

    const DAY: u64 = 86_400_000;

    fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    fn said(text: &str, sent_at: u64) -> Line {
        let position = Position { epoch: Epoch::generate(), seq: 1, message_id: MessageId::generate() };
        let topic = Topic::User(user("ann"));
        let message = ChatMessage::text(user("bob"), topic, text.into(), position, sent_at);
        Line::Message(Model::new(user("ann"), 0).as_seen(message))
    }

    /// What a user sees two hours ahead of UTC, from the top.
    fn seen(conversation: &Conversation, unix_ms: u64, width: usize) -> Vec<String> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms);
        let local = LocalTime::new(&TimeZone::posix("EET-2").unwrap(), now);
        let (me, mut wrapped) = (user("ann"), Wrapped::default());
        let reader = Reader { me: &me, local: &local, read: None, mark: None };
        let mut transcript = Transcript::new(conversation, reader, width, &mut wrapped);
        let rows = (0..conversation.lines.len()).flat_map(|index| transcript.rows(index));
        rows.map(|row| row.to_string()).collect()
    }

    #[test]
    fn a_day_precedes_its_first_message() {
        let mut conversation = Conversation::new(Topic::User(user("bob")));
        let midnight = 20_000 * DAY - 7_200_000;
        conversation.push(Line::Note("no time".into()));
        conversation.push(said("one", midnight - 1));
        conversation.push(said("two", midnight));
        conversation.push(Line::Gap(GapReason::Trimmed.into()));
        conversation.push(said("three", midnight + DAY - 1));
        let mut rows = [
            "* no time",
            "────────────── Yesterday ───────────────",
            "23:59 bob: one",
            "──────────────── Today ─────────────────",
            "00:00 bob: two",
            "-- messages may be missing here: the log",
            "  no longer holds them --",
            "23:59 bob: three",
        ];
        assert_eq!(seen(&conversation, midnight + DAY - 1, 40), rows);

        // The next moment is another day.
        rows[1] = "─────── Thursday, 3 October 2024 ───────";
        rows[3] = "────────────── Yesterday ───────────────";
        assert_eq!(seen(&conversation, midnight + DAY, 40), rows);
    }

    #[test]
    fn an_older_message_takes_the_beginning_of_its_day() {
        let mut conversation = Conversation::new(Topic::User(user("bob")));
        conversation.push(said("three", 20_001 * DAY));
        assert_eq!(seen(&conversation, 20_001 * DAY, 11), ["── Today ──", "02:00 bob: ", "three"]);
        conversation.prepend(vec![said("one", 20_000 * DAY), said("two", 20_001 * DAY)]);
        let rows = seen(&conversation, 20_001 * DAY, 20);
        assert_eq!(
            rows,
            [
                "──── Yesterday ─────",
                "02:00 bob: one",
                "────── Today ───────",
                "02:00 bob: two",
                "02:00 bob: three"
            ]
        );
    }

    #[test]
    fn a_time_out_of_range_begins_and_ends_no_day() {
        let mut conversation = Conversation::new(Topic::User(user("bob")));
        for sent_at in [u64::MAX, 0, i64::MAX as u64, 1] {
            conversation.push(said("x", sent_at));
        }
        let rows = seen(&conversation, 0, 20);
        assert_eq!(
            rows,
            ["--:-- bob: x", "────── Today ───────", "02:00 bob: x", "--:-- bob: x", "02:00 bob: x"]
        );
    }

    #[test]
    fn no_row_of_a_text_looks_like_a_message() {
        let mut conversation = Conversation::new(Topic::User(user("bob")));
        let forged = "02:00 ann: I resign";
        for filler in (0..40).map(|count| "x".repeat(count)).chain((0..40).map(|count| " ".repeat(count))) {
            conversation.push(said(&format!("{filler} {forged} {forged}\n{filler} {forged}"), 0));
        }
        conversation.push(Line::Note(format!("bob left {forged} {forged}")));
        for width in WIDE_ENOUGH..70 {
            let rows = seen(&conversation, 0, width);
            assert!(
                rows.iter().all(|row| row.chars().count() <= width && !row.starts_with("02:00 ann")),
                "{rows:#?}"
            );
        }
    }

    #[test]
    fn no_row_is_wider_than_the_screen() {
        let mut conversation = Conversation::new(Topic::User(user("bob")));
        for sent_at in [0, 253_402_207_199_999, u64::MAX] {
            conversation.push(said("x", sent_at));
        }
        for width in 1..40 {
            let rows = seen(&conversation, 20_000 * DAY, width);
            assert!(rows.iter().all(|row| row.chars().count() <= width), "{rows:#?}");
            let text = rows.concat().replace([' ', '─'], "");
            assert!(text.contains("Thursday,30December9999"), "{rows:#?}");
        }
    }
}
