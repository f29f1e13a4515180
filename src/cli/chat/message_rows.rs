//! The look of one line of a conversation: a message with what it answers, what became of it and the reactions to it, a gap, a note. Owns
//! the texts and the colours; does not know where a row wraps. Called by the transcript.

use chatnode_client::model::{Conversation, Line};
use chatnode_client::text::{harmless, harmless_lines};
use chatnode_client::{Event, Message, MessageId, UserName};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Row, Span};

use super::local_time::LocalTime;

/// Stands before each further line of a message, so that no line can imitate another message.
const NEXT_LINE: &str = "⏎ ";

/// Stands before the reactions, where no text of a message can stand.
const REACTIONS: &str = "↳ ";

/// What the look of a message depends on beside the message.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) me: &'a UserName,
    pub(super) local: &'a LocalTime,
    /// The newest message that the other user has read.
    pub(super) read: Option<MessageId>,
    /// The message that the user has marked.
    pub(super) mark: Option<MessageId>,
}

/// The rows of a line before they are wrapped.
pub(super) fn rows(line: &Line, conversation: &Conversation, reader: &Reader<'_>) -> Vec<Row<'static>> {
    match line {
        Line::Message(message) => message_rows(message, conversation, reader),
        Line::Gap(_) => vec![Row::styled(format!("-- {} --", line.text()), Style::new().fg(Color::Yellow))],
        Line::Event(event) => {
            let end = addition(event, reader.local).map(|more| format!(" ({more})")).unwrap_or_default();
            vec![Row::styled(format!("* {}{end}", line.text()), gray())]
        }
        Line::Note(_) => vec![Row::styled(format!("* {}", line.text()), gray())],
    }
}

/// What a reader of the screen wants to know beyond the text of an event.
fn addition(event: &Event, local: &LocalTime) -> Option<String> {
    match event {
        Event::Invited { room, .. } => Some(format!("/join {} accepts", harmless(room.as_str()))),
        Event::Moderated { until: Some(until), .. } | Event::Removed { until: Some(until), .. } => {
            local.moment(*until).map(|end| format!("until {end}"))
        }
        _ => None,
    }
}

fn gray() -> Style {
    Style::new().fg(Color::DarkGray)
}

fn message_rows(message: &Message, conversation: &Conversation, reader: &Reader<'_>) -> Vec<Row<'static>> {
    let color = if message.sender == *reader.me { Color::Green } else { Color::Cyan };
    let is_marked = reader.mark == Some(message.id());
    let time = if is_marked { gray().add_modifier(Modifier::REVERSED) } else { gray() };
    let name = Style::new().fg(color).add_modifier(Modifier::BOLD);
    let mut start = vec![
        Span::styled(reader.local.time_of_day(message.sent_at), time),
        Span::styled(harmless(&format!(" {}", message.sender)), name),
    ];
    // Before the colon, where no text of a message can stand.
    if let Some(answered) = conversation.answered_by(message) {
        start.push(Span::styled(format!(" (to {answered})"), gray()));
    }
    start.push(Span::raw(": "));
    let mut rows = Vec::new();
    if let Some(retraction) = &message.retraction {
        start.push(Span::styled(format!("({retraction})"), gray()));
        rows.push(Row::from(start));
    } else {
        for text in harmless_lines(&message.content) {
            start.push(Span::raw(text));
            rows.push(Row::from(std::mem::replace(&mut start, vec![Span::styled(NEXT_LINE, gray())])));
        }
    }
    if let Some(last) = rows.last_mut() {
        if message.version.is_some() && !message.is_retracted() {
            last.push_span(Span::styled(" (edited)", gray()));
        }
        if reader.read == Some(message.id()) {
            last.push_span(Span::styled(" (read)", gray()));
        }
    }
    if !message.reactions.is_empty() {
        rows.push(Row::styled(format!("{REACTIONS}{}", reactions(message)), gray()));
    }
    rows
}

/// The reactions with their counts, the most frequent first.
fn reactions(message: &Message) -> String {
    let mut counts: Vec<_> = message.reactions.iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(count.count));
    let counts = counts.into_iter().map(|(reaction, count)| {
        let you = if count.mine { " (you)" } else { "" };
        format!("{} {}{you}", harmless(reaction), count.count)
    });
    counts.collect::<Vec<_>>().join(" · ")
}
