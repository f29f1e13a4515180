//! A conversation as rows of the screen. Owns how a message, a gap and a note look, and where a line is broken; does not know
//! which of the rows are on show. Called by the screen.

use std::time::{Duration, SystemTime};

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Row, Span};

use super::conversation::{Conversation, Line};
use crate::protocol::UserName;

/// The rows of at most this width, the newest first: all, or at least so many. From the newest backwards and no further than
/// what is to be seen: a long conversation costs no more than a short one.
pub(super) fn newest(
    conversation: &Conversation,
    me: &UserName,
    width: usize,
    at_least: usize,
) -> Vec<Row<'static>> {
    let mut rows = Vec::new();
    let read = conversation.read_by_peer(me);
    for line in conversation.lines.iter().rev() {
        rows.extend(wrapped(&row(line, me, read), width).into_iter().rev());
        if rows.len() >= at_least {
            break;
        }
    }
    rows
}

/// A line in rows of at most this width, broken between words where that is possible.
fn wrapped(line: &Row<'_>, width: usize) -> Vec<Row<'static>> {
    let mut rows = Vec::new();
    let (mut row, mut taken, mut space) = (Vec::new(), 0, None);
    for grapheme in line.styled_graphemes(Style::new()) {
        let piece = Span::styled(grapheme.symbol.to_owned(), grapheme.style);
        let wide = piece.width();
        let is_space = piece.content == " ";
        if taken + wide > width && !row.is_empty() {
            // A space at the edge is the break itself.
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

/// `read` is the newest message that the other one has read.
fn row(line: &Line, me: &UserName, read: Option<&str>) -> Row<'static> {
    match line {
        Line::Said { from, text, sent_at, place, .. } => {
            let is_read = read == Some(place.message_id.as_str());
            let color = if from == me { Color::Green } else { Color::Cyan };
            Row::from(vec![
                Span::styled(time_of_day(*sent_at), Style::new().fg(Color::DarkGray)),
                Span::styled(format!(" {from}"), Style::new().fg(color).add_modifier(Modifier::BOLD)),
                Span::raw(format!(": {text}")),
                Span::styled(if is_read { " (read)" } else { "" }, Style::new().fg(Color::DarkGray)),
            ])
        }
        Line::Gap(text) => Row::styled(format!("-- {text} --"), Style::new().fg(Color::Yellow)),
        Line::Note(text) => Row::styled(format!("* {text}"), Style::new().fg(Color::DarkGray)),
    }
}

/// Hours and minutes, UTC: the time zone of the machine is not known without its database.
fn time_of_day(sent_at: u64) -> String {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(sent_at));
    let seconds =
        at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()).map_or(0, |at| at.as_secs());
    format!("{:02}:{:02}", seconds / 3_600 % 24, seconds / 60 % 60)
}
