//! What the program tells of messages that it takes along when it ends. Used by the full screen and by the lines.

use chatnode_client::model::Line;
use chatnode_client::text::harmless_lines;
use chatnode_client::{Change, Event as ChatEvent, News, Session};

/// Gives up every message that is on its way. Returns their texts, each with what is known of it.
pub(super) fn give_up(session: &mut Session) -> Vec<String> {
    session.model.fail_everything();
    let mut told = Vec::new();
    while let Some(news) = session.settle() {
        match news {
            News::Line(_, Line::Event(ChatEvent::NotSent { topic, content, error, .. })) => {
                told.push(format!("not sent to {topic}: {error}:\n{}", indented(&content)));
            }
            News::Line(_, Line::Event(event @ ChatEvent::NotChanged { .. })) => {
                let text = match &event {
                    ChatEvent::NotChanged { change: Change::Edit { content, .. }, .. } => {
                        format!(":\n{}", indented(content))
                    }
                    _ => String::new(),
                };
                told.push(format!("{event}{text}"));
            }
            _ => {}
        }
    }
    told
}

/// The text, so that a terminal shows it and does nothing else with it.
pub(super) fn indented(text: &str) -> String {
    let lines: Vec<String> = harmless_lines(text).iter().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}
