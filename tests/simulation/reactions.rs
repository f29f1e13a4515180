//! The reactions to messages, as a client counts them that follows the protocol: those that came with the message, and those that
//! came later one by one.

use std::collections::{HashMap, HashSet};

use chatnode::protocol::MessageId;
use serde_json::Value;

#[derive(Debug, Default)]
struct Count {
    /// Those that came with the message.
    folded: usize,
    /// Up to which `seq` they are counted.
    until: u64,
    later: HashSet<MessageId>,
}

/// The reactions to the messages that a member has without a gap.
#[derive(Debug, Default)]
pub struct Reactions(HashMap<MessageId, Count>);

impl Reactions {
    /// The next messages do not follow on those that the member has.
    pub fn forget(&mut self) {
        self.0.clear();
    }

    /// Takes a message or a reaction.
    pub fn take(&mut self, frame: &Value, id: MessageId) {
        let body = &frame["message_body"];
        if frame["message_type"] == "React" {
            let target: MessageId = body["target"]["message_id"].as_str().unwrap().parse().unwrap();
            let count = self.0.get_mut(&target);
            if let Some(count) = count.filter(|count| body["seq"].as_u64().unwrap() > count.until) {
                count.later.insert(id);
            }
        } else if let Some(until) = body["changes_seq"].as_u64() {
            let folded = body["reactions"]["+"]["count"].as_u64().unwrap() as usize;
            self.0.insert(id, Count { folded, until, later: HashSet::new() });
        } else {
            self.0.entry(id).or_default();
        }
    }

    /// The messages that have another number of reactions in truth.
    pub fn miscounted(&self, truth: impl Fn(MessageId) -> usize) -> Vec<MessageId> {
        let is_wrong = |(id, count): &(&MessageId, &Count)| count.folded + count.later.len() != truth(**id);
        self.0.iter().filter(is_wrong).map(|(id, _)| *id).collect()
    }
}
