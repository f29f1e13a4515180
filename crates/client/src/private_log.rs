//! The private log of the user: where the client resumes in it, and which of its messages came before. Owns both, and where
//! the log was when the client began; holds no message. Held by the model.

use std::time::{Duration, Instant};

use chatnode_protocol::requests::Joined;
use chatnode_protocol::{MessageId, Position, Since};

use crate::event::Message;
use crate::resume_point::ResumePoint;
use crate::revisions::{Revision, Revisions};
use crate::seen::Seen;

/// How soon the node is told of a message that was handed on. As soon as a node asks other clients, with a ping.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// What the client knows of the private log. The private messages with all users are in it.
#[derive(Debug, Default)]
pub(crate) struct PrivateLog {
    resume: ResumePoint,
    /// The position in the `Ack` of an `Auth` without `since`: messages up to it are older than this client. It is not a
    /// position to resume from: what waited for the user comes after the `Ack`, some time later, and nothing shows when all
    /// of it has come. `None` until the user is signed in.
    began_at: Option<Position>,
    seen: Seen<MessageId>,
    /// Changes of messages with users with whom there is no conversation yet.
    early: Revisions,
    /// The last message that was handed on. Behind `resume` while messages wait for the program.
    handed_on: Option<Position>,
    /// When the node has to be told of it. `None` if this connection has told it.
    tell_at: Option<Instant>,
}

impl PrivateLog {
    /// The position to send as `since` with `Auth`.
    pub(crate) fn since(&self) -> Option<Position> {
        self.resume.get()
    }

    /// The newest entry of the log that is known.
    pub(crate) fn newest_known(&self) -> Option<Position> {
        self.resume.newest_known()
    }

    /// The user is signed in; `resumed` if the request had `since`.
    pub(crate) fn signed_in(&mut self, joined: &Joined, resumed: bool) {
        self.resume.answered(joined);
        if !resumed {
            self.began_at = Some(joined.position);
        }
    }

    /// The message at this position was handed on to the program, or to whom shows it.
    pub(crate) fn handed_on(&mut self, position: Position, now: Instant) {
        self.handed_on = Some(position);
        self.tell_at.get_or_insert(now + TELL_AFTER);
    }

    /// What the client has received, as the node is told with a request.
    pub(crate) fn received(&self) -> Since {
        self.handed_on.map_or(Since::NOTHING, Since::from)
    }

    /// The node was told on this connection.
    pub(crate) fn told(&mut self) {
        self.tell_at = None;
    }

    /// When the node has to be told.
    pub(crate) fn tell_at(&self) -> Option<Instant> {
        self.tell_at
    }

    /// A new connection is signed in. The node has to be told again: it may not have read what was told on the old connection.
    pub(crate) fn tell_again(&mut self, now: Instant) {
        self.tell_at = self.handed_on.map(|_| now + TELL_AFTER);
    }

    /// A message at this position came.
    pub(crate) fn move_to(&mut self, position: Position) {
        self.resume.move_to(position);
    }

    /// False if the entry came before. Only for clients that keep no conversations with users: a conversation knows its own
    /// messages.
    pub(crate) fn is_new(&mut self, message_id: &MessageId) -> bool {
        self.seen.insert(message_id)
    }

    /// A change came, and there is no conversation that its message may be in.
    pub(crate) fn wait_for(&mut self, message_id: MessageId, revision: Revision) {
        self.early.wait_for(message_id, revision);
    }

    /// Changes a message that has come.
    pub(crate) fn revise(&mut self, message: &mut Message) {
        self.early.apply(message);
    }

    /// Whether the user was ever signed in.
    pub(crate) fn is_known(&self) -> bool {
        self.began_at.is_some()
    }

    /// Whether a message at this position was stored before the client began.
    pub(crate) fn is_older_than_client(&self, position: &Position) -> bool {
        self.began_at.is_some_and(|began| began.epoch == position.epoch && position.seq <= began.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resume_point::examples::{joined, position, unproved};

    #[test]
    fn first_answer_is_the_beginning_but_no_position_to_resume_from() {
        let mut log = PrivateLog::default();
        assert!(!log.is_known() && !log.is_older_than_client(&position(1, 1)));
        log.signed_in(&joined(1, 7), false);
        assert!(log.is_known());
        assert_eq!(log.since(), None, "older messages may still be on their way");
        assert!(log.is_older_than_client(&position(1, 7)));
        assert!(!log.is_older_than_client(&position(1, 8)) && !log.is_older_than_client(&position(2, 7)));
    }

    #[test]
    fn resumed_connection_keeps_the_beginning() {
        let mut log = PrivateLog::default();
        log.signed_in(&joined(1, 7), false);
        log.move_to(position(1, 8));
        assert_eq!(log.since(), Some(position(1, 8)));
        log.signed_in(&unproved(2, 9, 10), true);
        assert_eq!(log.since(), Some(position(2, 9)));
        assert!(log.is_older_than_client(&position(1, 7)) && !log.is_older_than_client(&position(2, 9)));
    }

    #[test]
    fn message_is_new_once() {
        let (mut log, id) = (PrivateLog::default(), position(1, 3).message_id);
        assert!(log.is_new(&id) && !log.is_new(&id));
    }
}
