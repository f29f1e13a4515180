//! C16: rights. Owns the comparison of the log of the room with rights, and of what its users were sent, with what the moderator was
//! told. Called by `all`.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::index::Index;
use super::{Check, Findings};
use crate::guarded_event::{GuardedEntry, GuardedEvent, GuardedKind};
use crate::history::{Event, Micros};

/// What a user is, by the log so far.
#[derive(Default)]
struct State {
    has_role: bool,
    is_banned: bool,
    is_muted: bool,
}

pub fn check(index: &Index<'_>, findings: &mut Findings) {
    let lines = &index.history.lines;
    let log = lines.iter().find_map(|line| match &line.event {
        Event::Guarded(GuardedEvent::Log { epoch, entries }) => Some((*epoch, entries)),
        _ => None,
    });
    let Some((epoch, entries)) = log else { return };
    stored(index.end, entries, findings);
    served(index, &Held::new(epoch, entries), findings);
}

/// What the log holds at the end.
struct Held {
    epoch: u64,
    seqs: HashMap<Uuid, u64>,
    /// The entries by which a user may not enter any longer, unless the user gets a role.
    closing: HashSet<Uuid>,
}

impl Held {
    fn new(epoch: u64, entries: &[GuardedEntry]) -> Self {
        let seqs = entries.iter().map(|entry| (entry.message_id, entry.seq)).collect();
        let (mut closing, mut is_private) = (HashSet::new(), false);
        for entry in entries {
            let closes = match &entry.what {
                GuardedKind::Room { kind } => {
                    is_private = kind.as_ref().map_or(is_private, |kind| kind == "private");
                    false
                }
                // A store that lost all data has an open room.
                GuardedKind::Action { action, .. } => action == "ban" || action == "remove" && is_private,
                GuardedKind::Message { .. } => false,
            };
            if closes {
                closing.insert(entry.message_id);
            }
        }
        Self { epoch, seqs, closing }
    }
}

/// Nothing of a user is in the log that the entries before it forbid.
fn stored(end: Micros, entries: &[GuardedEntry], findings: &mut Findings) {
    let (mut users, mut is_private): (HashMap<u16, State>, bool) = Default::default();
    for entry in entries {
        match &entry.what {
            GuardedKind::Room { kind } => {
                is_private = kind.as_ref().map_or(is_private, |kind| kind == "private");
            }
            GuardedKind::Action { user, action } => {
                let state = users.entry(*user).or_default();
                match action.as_str() {
                    "role" => (state.has_role, state.is_banned) = (true, false),
                    "ban" => (state.has_role, state.is_banned) = (false, true),
                    "remove" => state.has_role = false,
                    "unban" => state.is_banned = false,
                    "mute" => state.is_muted = true,
                    "unmute" => state.is_muted = false,
                    _ => {}
                }
            }
            GuardedKind::Message { user } => {
                findings.look(Check::Rights);
                let state = users.entry(*user).or_default();
                if state.is_banned || state.is_muted || is_private && !state.has_role {
                    let seq = entry.seq;
                    let text =
                        format!("entry {seq} of the room with rights is of user {user}, who may not write");
                    findings.find(Check::Rights, end, text);
                }
            }
        }
    }
}

/// Whoever was taken out is sent nothing that comes later in the log; and whoever may not enter does not.
fn served(index: &Index<'_>, held: &Held, findings: &mut Findings) {
    let removes = |action: &str| matches!(action, "ban" | "kick" | "remove");
    // When each removal of a user was asked for, the `seq` of its entry, and whether the user may not enter after it.
    let mut removals: HashMap<u16, Vec<(Micros, u64, bool)>> = HashMap::new();
    for line in &index.history.lines {
        if let Event::Guarded(GuardedEvent::Acted { user, action, asked, message_id }) = &line.event
            && removes(action)
            && let Some(seq) = held.seqs.get(message_id)
        {
            let closes = held.closing.contains(message_id);
            removals.entry(*user).or_default().push((*asked, *seq, closes));
        }
    }
    // When the users of each connection asked to enter, and were in; and who may not enter, since when, by which entry.
    let mut joined: HashMap<u64, (Micros, Micros)> = HashMap::new();
    let mut closed: HashMap<u16, (Micros, Uuid)> = HashMap::new();
    let mut found: HashSet<u64> = HashSet::new();
    for line in &index.history.lines {
        let Event::Guarded(event) = &line.event else { continue };
        match event {
            GuardedEvent::Asked { user, action } if matches!(action.as_str(), "unban" | "role") => {
                closed.remove(user);
            }
            GuardedEvent::Acted { user, action, message_id, .. }
                if matches!(action.as_str(), "ban" | "remove") =>
            {
                closed.insert(*user, (line.at, *message_id));
            }
            GuardedEvent::Joined { user, conn, asked } => {
                findings.look(Check::Rights);
                joined.insert(*conn, (*asked, line.at));
                if let Some((since, by)) = closed.get(user)
                    && asked > since
                    && held.closing.contains(by)
                {
                    let text =
                        format!("user {user} entered the room with rights, and may not since {since} µs");
                    findings.find(Check::Rights, line.at, text);
                }
            }
            GuardedEvent::Received { user, conn, at, message_id } => {
                findings.look(Check::Rights);
                let Some((asked, acked)) = joined.get(conn).filter(|_| at.epoch == held.epoch) else {
                    continue;
                };
                let is_held = held.seqs.get(message_id) == Some(&at.seq);
                let mut removals = removals.get(user).into_iter().flatten();
                // Who enters while it is sent out may do so after it, but not after a ban.
                let was_in = |removed: &Micros, closes: bool| if closes { asked } else { acked } < removed;
                let removal =
                    removals.find(|(removed, seq, closes)| was_in(removed, *closes) && *seq < at.seq);
                if let Some((_, seq, _)) = removal.filter(|_| is_held)
                    && found.insert(*conn)
                {
                    let text = format!("user {user} was sent entry {} and taken out at entry {seq}", at.seq);
                    findings.find(Check::Rights, line.at, text);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::*;
    use crate::history::Place;

    const USER: u16 = 901;

    fn entry(seq: u64, what: GuardedKind) -> GuardedEntry {
        GuardedEntry { seq, message_id: Uuid::from_u128(seq.into()), what }
    }

    fn action(seq: u64, action: &str) -> GuardedEntry {
        entry(seq, GuardedKind::Action { user: USER, action: action.to_owned() })
    }

    fn said(seq: u64) -> GuardedEntry {
        entry(seq, GuardedKind::Message { user: USER })
    }

    fn private() -> GuardedEntry {
        entry(1, GuardedKind::Room { kind: Some("private".to_owned()) })
    }

    /// What the check finds in a history with these events, and this log at its end.
    fn found(events: &[GuardedEvent], entries: Vec<GuardedEntry>) -> bool {
        let mut run = Sample::conversation();
        for event in events {
            run.wait(1);
            run.record(Event::Guarded(event.clone()));
        }
        run.record(Event::Guarded(GuardedEvent::Log { epoch: 1, entries }));
        run.finish();
        let names = run.names();
        assert!(names.is_empty() || names == [Check::Rights], "{names:?}");
        !names.is_empty()
    }

    #[test]
    fn message_that_the_entries_before_it_forbid_is_found() {
        for (actions, is_found) in [
            (&[][..], true),
            (&["role"], false),
            (&["role", "mute"], true),
            (&["role", "mute", "unmute"], false),
            (&["role", "ban"], true),
            (&["role", "ban", "unban"], true),
            (&["role", "ban", "role", "kick"], false),
            (&["role", "remove"], true),
        ] {
            let mut entries = vec![private()];
            for name in actions {
                entries.push(action(entries.len() as u64 + 1, name));
            }
            entries.push(said(entries.len() as u64 + 1));
            assert_eq!(found(&[], entries), is_found, "{actions:?}");
        }
    }

    fn acted(name: &str, seq: u64, asked: Micros) -> GuardedEvent {
        let message_id = Uuid::from_u128(seq.into());
        GuardedEvent::Acted { user: USER, action: name.to_owned(), asked, message_id }
    }

    fn received(seq: u64) -> GuardedEvent {
        let (at, message_id) = (Place { epoch: 1, seq }, Uuid::from_u128(seq.into()));
        GuardedEvent::Received { user: USER, conn: 1, at, message_id }
    }

    #[test]
    fn delivery_after_the_removal_is_found() {
        let joined = |asked| GuardedEvent::Joined { user: USER, conn: 1, asked };
        // The user asked to enter at 10, and was in before the later one of these two removals was asked for.
        let (during, later) = (20, Micros::MAX);
        for (name, removed, seqs, is_found) in [
            ("kick", later, &[2, 3][..], false),
            ("kick", later, &[3, 4], true),
            ("kick", during, &[3, 4], false),
            ("ban", during, &[3, 4], true),
            ("remove", during, &[3, 4], true),
            ("remove", 5, &[3, 4], false),
        ] {
            let mut events = vec![joined(10), acted(name, 3, removed)];
            events.extend(seqs.iter().map(|seq| received(*seq)));
            let room = entry(4, GuardedKind::Room { kind: None });
            let log = vec![private(), action(2, "role"), action(3, name), room];
            assert_eq!(found(&events, log), is_found, "{name} {removed} {seqs:?}");
        }
    }

    #[test]
    fn entry_of_a_banned_user_is_found() {
        let log = || vec![private(), action(2, "ban")];
        let joined = GuardedEvent::Joined { user: USER, conn: 1, asked: Micros::MAX };
        let role = GuardedEvent::Asked { user: USER, action: "role".to_owned() };
        assert!(found(&[acted("ban", 2, 5), joined.clone()], log()));
        assert!(!found(&[acted("ban", 2, 5), role, joined.clone()], log()));
        // The log lost the ban.
        assert!(!found(&[acted("ban", 2, 5), joined.clone()], vec![private()]));
        let remove = action(2, "remove");
        assert!(found(&[acted("remove", 2, 5), joined.clone()], vec![private(), remove.clone()]));
        // The room is open.
        assert!(!found(&[acted("remove", 2, 5), joined], vec![said(1), remove]));
    }
}
