//! The futures of a program that wait for a message to be stored, a room to be entered or an answer. Owns their replies, and
//! resolves them; sends nothing. Held by the connection task.

use std::collections::HashMap;

use chatnode_protocol::{Ack, ErrorBody, RequestId, RoomName};
use tokio::sync::OwnedSemaphorePermit;

use crate::change::ChangeReceipt;
use crate::command::{Answered, Reply};
use crate::error::RequestError;
use crate::event::Event;
use crate::model::Model;
use crate::sending::{FateSender, Receipt};

/// A message on its way, or a change of one, with the place that it takes.
struct Sent<R> {
    reply: FateSender<R>,
    _permit: OwnedSemaphorePermit,
}

/// The replies that the futures of the program wait for. If the program has dropped a future, its reply has no effect.
#[derive(Default)]
pub(crate) struct Waiting {
    sends: HashMap<RequestId, Sent<Receipt>>,
    changes: HashMap<RequestId, Sent<ChangeReceipt>>,
    joins: HashMap<RoomName, Vec<Reply<()>>>,
    questions: HashMap<RequestId, Answered>,
}

impl Waiting {
    /// The fate of this message is awaited. The place in the send queue is taken until then.
    pub(crate) fn add_send(
        &mut self,
        id: RequestId,
        reply: FateSender<Receipt>,
        permit: OwnedSemaphorePermit,
    ) {
        self.sends.insert(id, Sent { reply, _permit: permit });
    }

    /// The same for a change of a message.
    pub(crate) fn add_change(
        &mut self,
        id: RequestId,
        reply: FateSender<ChangeReceipt>,
        permit: OwnedSemaphorePermit,
    ) {
        self.changes.insert(id, Sent { reply, _permit: permit });
    }

    pub(crate) fn add_join(&mut self, room: RoomName, reply: Reply<()>) {
        self.joins.entry(room).or_default().push(reply);
    }

    pub(crate) fn add_question(&mut self, id: RequestId, answered: Answered) {
        self.questions.insert(id, answered);
    }

    /// The message is stored.
    pub(crate) fn stored(&mut self, id: &RequestId, receipt: Receipt) {
        if let Some(sent) = self.sends.remove(id) {
            let _dropped = sent.reply.send(Ok(receipt));
        }
    }

    /// The change is stored.
    pub(crate) fn changed(&mut self, id: &RequestId, receipt: ChangeReceipt) {
        if let Some(sent) = self.changes.remove(id) {
            let _dropped = sent.reply.send(Ok(receipt));
        }
    }

    /// The client is in the room, or will not be.
    pub(crate) fn joined(&mut self, room: &RoomName, result: &Result<(), RequestError>) {
        for reply in self.joins.remove(room).into_iter().flatten() {
            let _dropped = reply.send(result.clone());
        }
    }

    /// Resolves the futures that this event concerns.
    pub(crate) fn failed(&mut self, event: &Event) {
        match event {
            Event::NotSent { id, error, .. } => {
                if let Some(sent) = self.sends.remove(id) {
                    let _dropped = sent.reply.send(Err(error.clone()));
                }
            }
            Event::NotChanged { id, error, .. } => {
                if let Some(sent) = self.changes.remove(id) {
                    let _dropped = sent.reply.send(Err(error.clone()));
                }
            }
            Event::JoinRefused { room, code, message } => {
                let (code, message) = (code.clone(), message.clone());
                self.joined(room, &Err(RequestError::Refused { code, message }));
            }
            _ => {}
        }
    }

    /// The answer to a request came.
    pub(crate) fn answered(&mut self, id: &RequestId, answer: Result<Ack, ErrorBody>, model: &Model) {
        if let Some(answered) = self.questions.remove(id) {
            let refused = |ErrorBody { code, message, .. }| RequestError::Refused { code, message };
            answered(answer.map_err(refused), model);
        }
    }

    /// The connection is lost: no answer comes any more. Messages and rooms wait for the next connection.
    pub(crate) fn disconnected(&mut self, model: &Model) {
        for (_, answered) in self.questions.drain() {
            answered(Err(RequestError::Disconnected), model);
        }
    }
}
