//! Requests that wait for an answer. Owns what each was about, and how a new id is made; what an answer means is not decided
//! here. Held by the model; answers to messages belong to the outbox.

use std::collections::{BTreeSet, HashMap};

use chatnode_protocol::{ClientMessage, MessageId, Request, RequestId, RoomName, Since, Topic, UserName};

use crate::event::Message;
use crate::revisions::Revision;
use crate::rights_request::RightsRequest;

/// What a request is about that waits for its answer.
#[derive(Debug)]
pub(crate) enum Asked {
    Auth {
        resumed: bool,
    },
    Enter {
        room: RoomName,
        resumed: bool,
    },
    /// For the last of the old messages that the node sends by itself after `Enter`.
    Newest(Topic),
    Leave,
    /// For this many old messages; `later` came already, in pages before.
    History {
        topic: Topic,
        wanted: u32,
        later: Vec<Message>,
    },
    /// For the members of a room; `names` came already, in pages before.
    Members {
        topic: Topic,
        names: BTreeSet<UserName>,
    },
    /// For how far the user has read with each peer.
    Markers,
    /// By the user, about the rights of a room, while this conversation was on show.
    Rights {
        from: Option<Topic>,
        request: RightsRequest,
    },
    /// Of the program, which reads the answer.
    Program,
}

/// A new id for a request.
pub(crate) fn new_id() -> RequestId {
    RequestId::parse(&uuid::Uuid::now_v7().to_string()).expect("a UUID has 36 characters")
}

/// The requests that wait for an answer, each until it comes or the connection is lost.
#[derive(Debug, Default)]
pub(crate) struct PendingRequests {
    asked: HashMap<RequestId, Asked>,
}

impl PendingRequests {
    /// Adds a request under a new id. Returns its frame, to be sent.
    pub(crate) fn add<R: Request>(&mut self, request: &R, asked: Asked, received: &Since) -> String {
        let id = new_id();
        let frame = ClientMessage::encode(request, Some(&id), None, Some(received));
        self.add_with(id, asked);
        frame
    }

    /// Adds a request whose frame has this id.
    pub(crate) fn add_with(&mut self, id: RequestId, asked: Asked) {
        self.asked.insert(id, asked);
    }

    /// The answer came. `None` if no request waits for it.
    pub(crate) fn take(&mut self, id: &RequestId) -> Option<Asked> {
        self.asked.remove(id)
    }

    /// The connection is lost: no answer comes any more. Returns what was asked for.
    pub(crate) fn clear(&mut self) -> Vec<Asked> {
        self.asked.drain().map(|(_, asked)| asked).collect()
    }

    /// Whether a page of older messages of this conversation was asked for.
    pub(crate) fn has_history(&self, topic: &Topic) -> bool {
        self.asked.values().any(|asked| matches!(asked, Asked::History { topic: of, .. } if of == topic))
    }

    /// A user entered a room or left it, while its members come page by page.
    pub(crate) fn set_present(&mut self, room: &RoomName, user: &UserName, is_present: bool) {
        for asked in self.asked.values_mut() {
            let Asked::Members { topic: Topic::Room(of), names } = asked else { continue };
            if of == room && is_present {
                names.insert(user.clone());
            } else if of == room {
                names.remove(user);
            }
        }
    }

    /// A message was changed, while it waits here for older ones.
    pub(crate) fn revise(&mut self, topic: &Topic, message_id: MessageId, revision: &Revision) {
        for asked in self.asked.values_mut() {
            if let Asked::History { topic: of, later, .. } = asked
                && of == topic
                && let Some(message) = later.iter_mut().find(|message| message.id() == message_id)
            {
                revision.apply(message);
            }
        }
    }

    /// How many pages of old messages were asked for.
    pub(crate) fn history_count(&self) -> usize {
        let is_history = |asked: &&Asked| matches!(asked, Asked::History { .. } | Asked::Newest(_));
        self.asked.values().filter(is_history).count()
    }
}

#[cfg(test)]
mod tests {
    use chatnode_protocol::requests::Ping;

    use super::*;

    #[test]
    fn each_answer_is_taken_once() {
        let mut pending = PendingRequests::default();
        let ping = Ping { sender_username: UserName::parse("ann").ok() };
        let frames = [Asked::Program, Asked::Leave].map(|asked| pending.add(&ping, asked, &Since::NOTHING));
        let ids = frames.map(|frame| {
            let frame: serde_json::Value = serde_json::from_str(&frame).unwrap();
            RequestId::parse(frame["id"].as_str().unwrap()).unwrap()
        });
        assert!(matches!(pending.take(&ids[1]), Some(Asked::Leave)));
        assert!(pending.take(&ids[1]).is_none());
        assert!(matches!(pending.take(&ids[0]), Some(Asked::Program)));
    }

    #[test]
    fn history_waits_until_its_answer_or_the_end_of_the_connection() {
        let mut pending = PendingRequests::default();
        let topic = |name: &str| Topic::Room(RoomName::parse(name).unwrap());
        let id = new_id();
        let history = Asked::History { topic: topic("ops"), wanted: 5, later: Vec::new() };
        pending.add_with(id.clone(), history);
        pending.add_with(new_id(), Asked::Newest(topic("dev")));
        pending.add_with(new_id(), Asked::Members { topic: topic("dev"), names: BTreeSet::new() });
        assert!(pending.has_history(&topic("ops")) && !pending.has_history(&topic("dev")));
        assert_eq!(pending.history_count(), 2);
        pending.take(&id);
        assert!(!pending.has_history(&topic("ops")));
        assert_eq!(pending.history_count(), 1);
        pending.clear();
        assert_eq!(pending.history_count(), 0);
    }
}
