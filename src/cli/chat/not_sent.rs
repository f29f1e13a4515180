//! What the program tells of messages that it takes along when it ends. Used by the full screen and by the lines.

use chatnode_client::model::Line;
use chatnode_client::text::harmless_lines;
use chatnode_client::{Event as ChatEvent, News, Session};

/// Gives up every message that is on its way. Returns their texts, each with what is known of it.
pub(super) fn give_up(session: &mut Session) -> Vec<String> {
    session.model.fail_everything();
    let mut told = Vec::new();
    while let Some(news) = session.settle() {
        if let News::Line(_, Line::Event(ChatEvent::NotSent { topic, content, error, .. })) = news {
            told.push(format!("not sent to {topic}: {error}:\n{}", indented(&content)));
        }
    }
    told
}

/// The text, so that a terminal shows it and does nothing else with it.
pub(super) fn indented(text: &str) -> String {
    let lines: Vec<String> = harmless_lines(text).iter().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}
