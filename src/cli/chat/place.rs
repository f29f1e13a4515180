//! Where the user reads in a conversation. Owns the anchor, a row of a line, which stays in place while lines come before and
//! after it; does not know how rows look. Held by the view. Its cost follows the height of the screen and the rows scrolled
//! at once, not the place.

use std::ops::Range;

use chatnode_client::model::Conversation;
use ratatui::text::Line as Row;

use super::transcript::{self, Transcript};

/// The place of the last visible row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Anchor {
    /// The number of the line.
    line: i64,
    /// How many of its rows are below the screen. At another width, as many are.
    hidden: usize,
}

/// The place of the last visible row: the end, or above it.
#[derive(Debug, Default)]
pub(super) struct Place {
    anchor: Option<Anchor>,
    /// How many lines the conversation had received when the user left the end.
    received: usize,
    /// Rows to scroll at the next drawing: up if positive.
    pending: isize,
    /// Whether the oldest row was visible. Set by drawing.
    pub(super) at_top: bool,
    /// The numbers of the lines whose rows were all visible. Set by drawing.
    seen: Range<i64>,
}

impl Place {
    /// Whether the user sees the newest line.
    pub(super) fn is_at_end(&self) -> bool {
        self.anchor.is_none() && self.pending <= 0
    }

    /// Scrolls by this many rows, up if positive.
    pub(super) fn scroll(&mut self, rows: isize) {
        self.pending = self.pending.saturating_add(rows);
    }

    /// How many lines came since the user left the end.
    pub(super) fn new_below(&self, conversation: &Conversation) -> usize {
        self.anchor.map_or(0, |_| conversation.added.saturating_sub(self.received))
    }

    /// The index after the last line that was visible: of the conversation that was drawn last.
    pub(super) fn lowest(&self, conversation: &Conversation) -> usize {
        let count = conversation.lines.len();
        if self.is_at_end() { count } else { transcript::index(conversation, self.seen.end).min(count) }
    }

    /// Goes to the line at this index, if it was not visible: as the last one.
    pub(super) fn show(&mut self, conversation: &Conversation, index: usize) {
        let line = transcript::number(conversation, index);
        if !self.seen.contains(&line) {
            if self.anchor.is_none() {
                self.received = conversation.added;
            }
            (self.anchor, self.pending) = (Some(Anchor { line, hidden: 0 }), 0);
        }
    }

    /// The visible rows, from the top.
    pub(super) fn visible(&mut self, transcript: &mut Transcript<'_>, height: usize) -> Vec<Row<'static>> {
        let Some(last) = transcript.conversation.lines.len().checked_sub(1) else {
            *self = Self { at_top: true, ..Self::default() };
            return Vec::new();
        };
        let end = (last, transcript.count(last));
        let bottom = self.anchor.map_or(end, |anchor| {
            let index = transcript.index(anchor.line).min(last);
            (index, transcript.count(index).saturating_sub(anchor.hidden).max(1))
        });
        let bottom = match std::mem::take(&mut self.pending) {
            up @ 0.. => above(transcript, bottom, up.unsigned_abs()),
            down => below(transcript, bottom, last, down.unsigned_abs()),
        };
        let (rows, bottom) = self.fill(transcript, bottom, last, height);
        if bottom == end {
            self.anchor = None;
        } else {
            if self.anchor.is_none() {
                self.received = transcript.conversation.added;
            }
            let hidden = transcript.count(bottom.0) - bottom.1;
            self.anchor = Some(Anchor { line: transcript.number(bottom.0), hidden });
        }
        rows
    }

    /// As many rows as fit above this place, or from the oldest row on. Returns the place of the last one.
    fn fill(
        &mut self,
        transcript: &mut Transcript<'_>,
        bottom: (usize, usize),
        last: usize,
        height: usize,
    ) -> (Vec<Row<'static>>, (usize, usize)) {
        let (mut index, mut shown) = bottom;
        let mut reversed = Vec::new();
        loop {
            let rows = transcript.rows(index);
            reversed.extend(rows.into_iter().take(shown).rev());
            if reversed.len() >= height || index == 0 {
                break;
            }
            index -= 1;
            shown = transcript.count(index);
        }
        self.at_top = index == 0 && reversed.len() <= height;
        let first = index + usize::from(reversed.len() > height);
        reversed.truncate(height);
        reversed.reverse();
        let mut rows = reversed;
        // There is room below: the oldest row is not lower than the top.
        let (mut index, mut shown) = bottom;
        while rows.len() < height {
            let further = transcript.rows(index);
            let room = height - rows.len();
            let taken = (further.len() - shown).min(room);
            rows.extend_from_slice(&further[shown..shown + taken]);
            shown += taken;
            if index == last || shown < further.len() || rows.len() == height {
                break;
            }
            (index, shown) = (index + 1, 0);
        }
        let end = index + usize::from(shown == transcript.count(index));
        self.seen = transcript.number(first)..transcript.number(end);
        (rows, (index, shown))
    }
}

/// The place this many rows up, at most the oldest row.
fn above(
    transcript: &mut Transcript<'_>,
    (mut index, mut shown): (usize, usize),
    mut rows: usize,
) -> (usize, usize) {
    while rows >= shown {
        rows -= shown;
        if index == 0 {
            return (0, 1);
        }
        index -= 1;
        shown = transcript.count(index);
    }
    (index, shown - rows)
}

/// The place this many rows down, at most the newest row.
fn below(
    transcript: &mut Transcript<'_>,
    (mut index, mut shown): (usize, usize),
    last: usize,
    mut rows: usize,
) -> (usize, usize) {
    loop {
        let count = transcript.count(index);
        if count - shown >= rows || index == last {
            return (index, (shown + rows).min(count));
        }
        rows -= count - shown;
        (index, shown) = (index + 1, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use chatnode_client::model::Line;
    use chatnode_client::{Topic, UserName};
    use jiff::tz::TimeZone;

    use super::super::local_time::LocalTime;
    use super::super::message_rows;
    use super::super::transcript::Wrapped;
    use super::*;

    /// A conversation of numbered notes, and the place in it.
    struct Reader {
        conversation: Conversation,
        next: usize,
        place: Place,
        wrapped: Wrapped,
        width: usize,
    }

    impl Reader {
        fn new(count: usize) -> Self {
            let conversation = Conversation::new(Topic::User(UserName::parse("bob").unwrap()));
            let (place, wrapped) = (Place::default(), Wrapped::default());
            let mut reader = Self { conversation, next: 0, place, wrapped, width: 20 };
            reader.add(count);
            reader
        }

        fn add(&mut self, count: usize) {
            for _ in 0..count {
                self.conversation.push(Line::Note(format!("note {}", self.next)));
                self.next += 1;
            }
        }

        /// The visible rows of a screen of four.
        fn sees(&mut self) -> Vec<String> {
            let local = LocalTime::new(&TimeZone::UTC, SystemTime::UNIX_EPOCH);
            let me = UserName::parse("ann").unwrap();
            let reader = message_rows::Reader { me: &me, local: &local, read: None, mark: None };
            let mut transcript = Transcript::new(&self.conversation, reader, self.width, &mut self.wrapped);
            let rows = self.place.visible(&mut transcript, 4);
            rows.iter().map(ToString::to_string).collect()
        }

        fn scrolls(&mut self, rows: isize) -> Vec<String> {
            self.place.scroll(rows);
            self.sees()
        }
    }

    fn notes(numbers: std::ops::Range<usize>) -> Vec<String> {
        numbers.map(|number| format!("* note {number}")).collect()
    }

    #[test]
    fn a_place_far_up_costs_no_more_than_the_end() {
        let mut reader = Reader::new(2_000);
        assert_eq!(reader.sees(), notes(1_996..2_000));
        let at_end = reader.wrapped.len();
        assert_eq!(reader.scrolls(10_000), notes(0..4));
        assert!(reader.place.at_top);
        reader.add(1_000);
        assert_eq!(reader.sees(), notes(0..4));
        // The newest line is looked at too.
        assert!(reader.wrapped.len() <= at_end + 1, "{} lines were wrapped", reader.wrapped.len());
        assert_eq!(reader.place.new_below(&reader.conversation), 1_000);
        assert_eq!(reader.scrolls(-10_000), notes(2_996..3_000));
        assert!(reader.place.is_at_end());
        assert_eq!(reader.place.new_below(&reader.conversation), 0);
    }

    #[test]
    fn lines_before_and_after_move_no_row() {
        let mut reader = Reader::new(20);
        assert_eq!(reader.scrolls(5), notes(11..15));
        reader.conversation.prepend((0..7).map(|_| Line::Note("older".into())).collect());
        reader.add(3);
        assert_eq!(reader.sees(), notes(11..15));
        assert_eq!(reader.scrolls(1_000), vec!["* older"; 4]);
        assert_eq!(reader.scrolls(-7), notes(0..4));
        // Where the lines are dropped, the oldest rows that are left take their place.
        reader.add(5_002);
        let oldest = reader.next - 5_000;
        assert_eq!(reader.sees(), notes(oldest..oldest + 4));
    }

    #[test]
    fn a_line_stays_in_place_when_the_width_changes() {
        let mut reader = Reader::new(0);
        for number in 0..9 {
            let text = format!("{number} is a long note");
            reader.conversation.push(Line::Note(text));
        }
        assert_eq!(reader.scrolls(3).last().unwrap(), "* 5 is a long note");
        reader.width = 10;
        assert_eq!(reader.sees(), ["* 4 is a ", "long note", "* 5 is a ", "long note"]);
        reader.width = 20;
        assert_eq!(reader.sees().last().unwrap(), "* 5 is a long note");
        // The line is taken as a whole, however few of its rows were visible.
        reader.width = 10;
        assert_eq!(reader.scrolls(1).last().unwrap(), "* 5 is a ");
        reader.width = 20;
        assert_eq!(reader.sees().last().unwrap(), "* 5 is a long note");
    }

    #[test]
    fn few_lines_are_all_visible() {
        let mut reader = Reader::new(0);
        assert!(reader.scrolls(3).is_empty() && reader.place.at_top);
        reader.add(2);
        assert_eq!(reader.scrolls(3), notes(0..2));
        assert!(reader.place.at_top && reader.place.is_at_end());
    }
}
