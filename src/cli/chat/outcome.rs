//! What became of a text that was entered. Owns the outcomes, and how a person is told; runs nothing. Made by the commands, read by the
//! terminal and the line mode.

use chatnode_client::MessageId;
use chatnode_client::model::{Line, Model};

/// What became of a text that was entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was carried out, or it is on its way.
    Done,
    /// It is on its way, and is about a message: the marked one, if there was a mark.
    Replied,
    /// The same, and nothing new comes at the end of the conversation.
    Changed,
    /// This message is to be edited, and has this text.
    Edit(MessageId, String),
    /// It means nothing here. A note says why.
    Refused,
    /// The commands are listed.
    Help,
    /// The user quits.
    Quit,
}

/// Shows why a text means nothing here.
pub(super) fn refuse(model: &mut Model, why: &str) -> Outcome {
    note(model, why);
    Outcome::Refused
}

/// Shows a text of this program in the conversation on show.
pub(super) fn note(model: &mut Model, text: &str) {
    model.show(None, Line::Note(text.to_owned()));
}
