//! The mark at a message, which the next command about a message means. Owns how it moves; the draft of the conversation keeps it, and the
//! screen shows it. Called by the keys.

use chatnode_client::model::{Conversation, Line, Model};

use super::command;
use super::screen::View;

/// Marks the message before the marked one, or after it; without one, the lowest that is visible. The mark ends below the newest message.
/// At the oldest, older messages are loaded.
pub(super) fn go(model: &mut Model, view: &mut View, back: bool) {
    let Some(conversation) = model.current() else { return };
    let marked = view.drafts.mark().and_then(|mark| {
        conversation.lines.iter().rposition(|line| line.message().is_some_and(|message| message.id() == mark))
    });
    let next = match (marked, back) {
        (Some(marked), true) => (0..marked).rev().find(|index| can_be_marked(conversation, *index)),
        (Some(marked), false) => {
            (marked + 1..conversation.lines.len()).find(|index| can_be_marked(conversation, *index))
        }
        (None, true) => {
            let lowest = view.place.lowest(conversation);
            (0..lowest).rev().find(|index| can_be_marked(conversation, *index))
        }
        (None, false) => None,
    };
    match next.and_then(|index| Some((index, conversation.lines[index].message()?.id()))) {
        Some((index, id)) => {
            view.drafts.set_mark(Some(id));
            view.place.show(conversation, index);
        }
        None if back => model.ask_history(command::PAGE),
        None => view.drafts.set_mark(None),
    }
}

fn can_be_marked(conversation: &Conversation, index: usize) -> bool {
    conversation.lines.get(index).and_then(Line::message).is_some_and(|message| !message.is_retracted())
}
