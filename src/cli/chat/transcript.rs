//! A conversation as rows of the screen. Owns the look of messages, gaps, notes and new days, and where a line wraps; does not
//! know which rows are visible. Called by the screen.

use chatnode_client::model::{Conversation, Line};
use chatnode_client::text::harmless;
use chatnode_client::{MessageId, UserName};
use jiff::civil::Date;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Row, Span};

use super::local_time::LocalTime;

/// The rows of at most this width, the newest first: all, or at least this many. It works backwards from the newest, and only
/// as far as needed: a long conversation costs no more than a short one.
pub(super) fn newest(
    conversation: &Conversation,
    me: &UserName,
    local: &LocalTime,
    width: usize,
    at_least: usize,
) -> Vec<Row<'static>> {
    let mut rows = Vec::new();
    let read = conversation.read_by_peer(me);
    for (index, line) in conversation.lines.iter().enumerate().rev() {
        rows.extend(wrapped(&row(line, me, local, read), width).into_iter().rev());
        if let Some(day) = begun_by(conversation, index, local) {
            rows.extend(wrapped(&day_row(&local.name(day), width), width).into_iter().rev());
        }
        if rows.len() >= at_least {
            break;
        }
    }
    rows
}

/// The number of rows of the newest lines. A user who has scrolled up must not be moved by them.
pub(super) fn rows_of_newest(
    conversation: &Conversation,
    me: &UserName,
    local: &LocalTime,
    width: usize,
    lines: usize,
) -> usize {
    let first = conversation.lines.len().saturating_sub(lines);
    let read = conversation.read_by_peer(me);
    let rows = conversation.lines.iter().enumerate().skip(first).map(|(index, line)| {
        let day = usize::from(begun_by(conversation, index, local).is_some());
        wrapped(&row(line, me, local, read), width).len() + day
    });
    rows.sum()
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

/// A line in rows of at most this width, wrapped between words where possible.
fn wrapped(line: &Row<'_>, width: usize) -> Vec<Row<'static>> {
    let mut rows = Vec::new();
    let (mut row, mut taken, mut space) = (Vec::new(), 0, None);
    for grapheme in line.styled_graphemes(Style::new()) {
        let piece = Span::styled(grapheme.symbol.to_owned(), grapheme.style);
        let wide = piece.width();
        let is_space = piece.content == " ";
        if taken + wide > width && !row.is_empty() {
            // A space at the edge becomes the line break.
            if is_space {
                rows.push(Row::from(std::mem::take(&mut row)));
                (taken, space) = (0, None);
                continue;
            }
            let rest = space.take().map_or_else(Vec::new, |at| row.split_off(at));
            taken = rest.iter().map(Span::width).sum();
            rows.push(Row::from(std::mem::replace(&mut row, rest)));
        }
        row.push(piece);
        taken += wide;
        if is_space {
            space = Some(row.len());
        }
    }
    rows.push(Row::from(row));
    rows
}

/// `read` is the newest message that the other user has read.
fn row(line: &Line, me: &UserName, local: &LocalTime, read: Option<MessageId>) -> Row<'static> {
    match line {
        Line::Message(message) => {
            let is_read = read == Some(message.id());
            let color = if message.sender == *me { Color::Green } else { Color::Cyan };
            Row::from(vec![
                Span::styled(local.time_of_day(message.sent_at), Style::new().fg(Color::DarkGray)),
                Span::styled(
                    harmless(&format!(" {}", message.sender)),
                    Style::new().fg(color).add_modifier(Modifier::BOLD),
                ),
                Span::raw(format!(": {}", line.text())),
                Span::styled(if is_read { " (read)" } else { "" }, Style::new().fg(Color::DarkGray)),
            ])
        }
        Line::Gap(_) => Row::styled(format!("-- {} --", line.text()), Style::new().fg(Color::Yellow)),
        Line::Event(_) | Line::Note(_) => {
            Row::styled(format!("* {}", line.text()), Style::new().fg(Color::DarkGray))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use chatnode_client::model::Model;
    use chatnode_client::protocol::events::ChatMessage;
    use chatnode_client::{Epoch, GapReason, Topic};
    use jiff::tz::TimeZone;

    use super::*;

    const DAY: u64 = 86_400_000;

    fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    fn said(text: &str, sent_at: u64) -> Line {
        let message = ChatMessage {
            sender_username: user("bob"),
            topic: Topic::User(user("ann")),
            content: text.into(),
            message_id: MessageId::generate(),
            client_id: None,
            sent_at,
            epoch: Epoch::generate(),
            seq: 1,
        };
        Line::Message(Model::new(user("ann"), 0).as_seen(message))
    }

    /// What a user sees two hours ahead of UTC, from the top.
    fn seen(conversation: &Conversation, unix_ms: u64, width: usize) -> Vec<String> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms);
        let local = LocalTime::new(&TimeZone::posix("EET-2").unwrap(), now);
        let rows = newest(conversation, &user("ann"), &local, width, usize::MAX);
        rows.iter().rev().map(ToString::to_string).collect()
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
            "no longer holds them --",
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
