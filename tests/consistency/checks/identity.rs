//! C6, C11 and C12: the sender of each message, its recipients, and the validity of tokens. Owns the comparison of received
//! with sent messages; does not look at positions. Called by `all`.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use super::index::{Attempt, End, Index};
use super::{Check, Findings};
use crate::history::{Damage, Event, Kind, Micros, SECOND, Topic};

/// How much later than its arrival a frame may be recorded on a busy machine.
const SLACK: Micros = SECOND;

pub fn check(index: &Index<'_>, findings: &mut Findings) {
    received_as_sent(index, findings);
    private_messages_arrive(index, findings);
    revoked_connections_close(index, findings);
    revoked_tokens_are_refused(index, findings);
}

fn received_as_sent(index: &Index<'_>, findings: &mut Findings) {
    for line in &index.history.lines {
        match &line.event {
            // Nothing of what was sent is left of it.
            Event::Received { kind: Kind::Tombstone, .. } => {}
            Event::Received { client, topic, message_id, sender, id, .. } => {
                findings.look(Check::PhantomOrLeak);
                findings.look(Check::Impersonation);
                let what = format!("{message_id}, which client {client} received in {topic:?},");
                let Some(sent) = attempt(index, *id) else {
                    findings.find(Check::PhantomOrLeak, line.at, format!("{what} was never sent"));
                    continue;
                };
                let own = index.user(*client);
                let right_place = match (sent.topic, topic) {
                    (Topic::Room(sent), Topic::Room(here)) => sent == *here,
                    (Topic::Inbox(target), Topic::Inbox(here)) => {
                        *here == own && (target == own || index.user(sent.client) == own)
                    }
                    _ => false,
                };
                if !right_place {
                    findings.find(
                        Check::PhantomOrLeak,
                        line.at,
                        format!("{what} was sent to {:?}", sent.topic),
                    );
                }
                check_sender(index, findings, line.at, &what, sent, *sender);
            }
            Event::Log { topic, entries, .. } => {
                for entry in entries.iter().filter(|entry| !entry.kind.is_erased()) {
                    let what = format!("{}, which {topic:?} holds,", entry.message_id);
                    match (attempt(index, entry.id), entry.sender) {
                        (Some(sent), Some(sender)) => {
                            check_sender(index, findings, line.at, &what, sent, sender)
                        }
                        _ => findings.find(Check::PhantomOrLeak, line.at, format!("{what} was never sent")),
                    }
                }
            }
            _ => {}
        }
    }
}

fn attempt<'a>(index: &'a Index<'_>, id: Option<Uuid>) -> Option<&'a Attempt> {
    let ops = index.by_id.get(&id?)?;
    index.attempts.get(ops.first()?)
}

fn check_sender(
    index: &Index<'_>,
    findings: &mut Findings,
    at: Micros,
    what: &str,
    sent: &Attempt,
    sender: u16,
) {
    let truth = index.user(sent.client);
    if sender != truth {
        findings.find(
            Check::Impersonation,
            at,
            format!("{what} names user {sender} as its sender; user {truth} sent it"),
        );
    }
}

/// C2 for private messages to users that keep no position: at the end they have received all of them. The session check
/// finds what other users miss.
fn private_messages_arrive(index: &Index<'_>, findings: &mut Findings) {
    let setup = &index.history.setup;
    let mut had: BTreeMap<u16, HashSet<Uuid>> = BTreeMap::new();
    for (client, user) in setup.users.iter().enumerate() {
        if !setup.keeps_inbox[client] {
            had.entry(*user).or_default();
        }
    }
    for line in &index.history.lines {
        if let Event::Received { client, topic: Topic::Inbox(_), message_id, .. } = &line.event
            && let Some(had) = had.get_mut(&index.user(*client))
        {
            had.insert(*message_id);
        }
    }
    for attempt in index.attempts.values() {
        let (Topic::Inbox(target), Some((at, End::Stored { message_id, .. }))) =
            (attempt.topic, &attempt.end)
        else {
            continue;
        };
        if let Some(had) = had.get(&target) {
            findings.look(Check::LostAtMember);
            if !had.contains(message_id) && !index.excused(attempt) {
                findings.find(
                    Check::LostAtMember,
                    *at,
                    format!("user {target} never received the private message {message_id}"),
                );
            }
        }
    }
}

/// The time by which every node has to know a revocation that was answered at `answered`.
fn revoked_by(index: &Index<'_>, answered: Micros) -> Micros {
    let bounds = index.history.setup.bounds;
    let disturbed = index
        .windows
        .iter()
        .any(|window| window.from <= answered + bounds.revocation && window.to + bounds.recovery >= answered);
    let bound = if disturbed { bounds.revocation_in_fault } else { bounds.revocation };
    index.calm(answered) + bound + SLACK
}

/// C12 for new connections: every node refuses a revoked token, however a client presents it. The exception is a store that
/// was rolled back to before the revocation.
fn revoked_tokens_are_refused(index: &Index<'_>, findings: &mut Findings) {
    for line in &index.history.lines {
        let Event::Probed { user, answered, asked, node, by, admitted } = &line.event else { continue };
        findings.look(Check::Revocation);
        let rolled_back = index.windows.iter().any(|window| {
            matches!(
                window.damage,
                Damage::RolledBack { since } | Damage::Unacknowledged { since } if since <= *answered
            ) && *answered <= window.to
        });
        if *admitted && !rolled_back && *asked > revoked_by(index, *answered) {
            findings.find(
                Check::Revocation,
                line.at,
                format!(
                    "node {node} accepted a token of user {user} in {by:?} {} ms after its revocation",
                    (asked - answered) / 1_000
                ),
            );
        }
    }
}

/// C12 for open connections: none stays open, or receives a frame, for longer than the bound after the answer to the
/// revocation.
fn revoked_connections_close(index: &Index<'_>, findings: &mut Findings) {
    let mut open: HashMap<u64, (u32, Micros)> = HashMap::new();
    // The connections that must close, and by when.
    let mut doomed: HashMap<u64, (u32, Micros)> = HashMap::new();
    let late = |findings: &mut Findings, client: u32, at: Micros, due: Micros| {
        findings.find(
            Check::Revocation,
            at,
            format!(
                "client {client} was still served {} ms after its connection should have been closed",
                (at - due) / 1_000
            ),
        );
    };
    for line in &index.history.lines {
        match &line.event {
            Event::Connected { client, conn, .. } => {
                open.insert(*conn, (*client, line.at));
            }
            Event::Closed { conn, .. } => {
                open.remove(conn);
                if let Some((client, due)) = doomed.remove(conn)
                    && line.at > due
                {
                    late(findings, client, line.at, due);
                }
            }
            Event::Revoked { user, asked } => {
                findings.look(Check::Revocation);
                let due = revoked_by(index, line.at);
                // A client that connected after the revocation was requested may have a newer token.
                for (conn, (client, connected)) in &open {
                    if index.user(*client) == *user && connected < asked {
                        doomed.insert(*conn, (*client, due));
                    }
                }
            }
            Event::Received { conn, .. } => {
                if let Some((client, due)) = doomed.get(conn).copied()
                    && line.at > due
                {
                    late(findings, client, line.at, due);
                    doomed.remove(conn);
                }
            }
            _ => {}
        }
    }
    for (client, due) in doomed.into_values() {
        if index.end > due {
            late(findings, client, index.end, due);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{ROOM, Sample};
    use super::*;
    use crate::history::Place;

    #[test]
    fn unsent_message_is_a_phantom() {
        let mut run = Sample::new(1);
        run.enter(0, 0);
        run.say(0, 1);
        let conn = run.conn(0);
        let (at, message_id) = (Place { epoch: 1, seq: 2 }, Uuid::from_u128(77));
        let id = Some(Uuid::from_u128(78));
        run.record(Event::Received {
            client: 0,
            conn,
            topic: ROOM,
            at,
            message_id,
            sender: 0,
            id,
            kind: Kind::Message,
            shown: None,
        });
        run.finish();
        assert!(run.names().contains(&Check::PhantomOrLeak));
    }

    #[test]
    fn message_in_another_room_is_a_leak() {
        let mut run = Sample::new(1);
        run.enter(0, 0);
        run.say(0, 1);
        let (conn, message_id) = (run.conn(0), run.log[0].message_id);
        let at = Place { epoch: 9, seq: 1 };
        let id = Some(Uuid::from_u128(1));
        run.record(Event::Received {
            client: 0,
            conn,
            topic: Topic::Room(1),
            at,
            message_id,
            sender: 0,
            id,
            kind: Kind::Message,
            shown: None,
        });
        run.finish();
        assert_eq!(run.names(), [Check::PhantomOrLeak]);
    }

    fn private(receiver: u32) -> Vec<Check> {
        let mut run = Sample::new(3);
        (0..3).for_each(|client| run.connect(client, 0));
        (0..3).for_each(|client| run.auth(client));
        let (_, entry) = run.whisper(1, 1);
        run.deliver_private(receiver, &entry);
        run.finish();
        run.names()
    }

    #[test]
    fn private_message_to_a_third_user_is_a_leak() {
        assert_eq!(private(0), []);
        assert_eq!(private(1), []);
        assert_eq!(private(2), [Check::PhantomOrLeak]);
    }

    #[test]
    fn message_with_another_sender_is_an_impersonation() {
        let mut run = Sample::new(2);
        run.enter(0, 0);
        run.enter(1, 0);
        let op = run.send_as(0, 1, 1);
        let stored = run.append(op);
        run.deliver(0, stored.clone());
        run.deliver(1, stored);
        run.acknowledge(op);
        run.finish();
        assert_eq!(run.names(), [Check::Impersonation]);
    }

    #[test]
    fn undelivered_private_message_without_position_is_lost() {
        for arrives in [true, false] {
            let mut run = Sample::new(2);
            run.history.setup.keeps_inbox[1] = false;
            run.connect(0, 0);
            run.connect(1, 0);
            let (op, entry) = run.whisper(1, 1);
            if arrives {
                run.deliver_private(1, &entry);
            }
            let at = Place { epoch: run.epoch, seq: entry.seq };
            run.record(Event::Stored { op, at, message_id: entry.message_id, duplicate: false });
            for user in [0, 1] {
                let (topic, entries) = (Topic::Inbox(user), vec![entry.clone()]);
                run.record(Event::Log { topic, epoch: at.epoch, entries });
            }
            run.finish();
            assert_eq!(run.names(), if arrives { vec![] } else { vec![Check::LostAtMember] });
        }
    }

    fn revocation(closed_after: Option<u64>, received_after: Option<u64>) -> Vec<Check> {
        let mut run = Sample::new(2);
        run.enter(0, 0);
        run.enter(1, 0);
        let asked = run.now + 1;
        run.record(Event::Revoked { user: 1, asked });
        if let Some(seconds) = received_after {
            run.wait(seconds);
            run.say(0, 1);
        }
        if let Some(seconds) = closed_after {
            run.wait(seconds);
            run.go(1);
        }
        run.wait(60);
        run.finish();
        run.names()
    }

    #[test]
    fn connection_with_a_revoked_token_closes_in_time() {
        assert_eq!(revocation(Some(1), None), []);
        assert_eq!(revocation(Some(0), Some(1)), []);
        assert_eq!(revocation(Some(4), None), [Check::Revocation]);
        assert_eq!(revocation(None, None), [Check::Revocation]);
        assert_eq!(revocation(None, Some(5)), [Check::Revocation]);
    }

    /// A client presents a token some seconds after its revocation, with or without a fault in between.
    fn probed(seconds: u64, admitted: bool, fault: Option<Damage>) -> Vec<Check> {
        let mut run = Sample::new(1);
        run.enter(0, 0);
        run.wait(30);
        let asked = run.now + 1;
        run.record(Event::Revoked { user: 0, asked });
        let answered = run.now;
        run.go(0);
        if let Some(damage) = fault {
            run.begin_fault("fault", damage);
            run.wait(1);
            run.end_fault("fault");
        }
        run.wait(seconds);
        let (asked, by) = (run.now, crate::history::TokenUse::Auth);
        run.record(Event::Probed { user: 0, answered, asked, node: 2, by, admitted });
        run.finish();
        run.names()
    }

    #[test]
    fn revoked_token_is_rejected_after_the_notice() {
        assert_eq!(probed(4, false, None), []);
        assert_eq!(probed(1, true, None), []);
        assert_eq!(probed(4, true, None), [Check::Revocation]);
    }

    #[test]
    fn fault_delays_and_only_rollback_undoes_a_revocation() {
        assert_eq!(probed(4, true, Some(Damage::None)), []);
        assert_eq!(probed(40, true, Some(Damage::None)), [Check::Revocation]);
        assert_eq!(probed(40, true, Some(Damage::RolledBack { since: 1 })), []);
    }
}
