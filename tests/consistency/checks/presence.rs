//! C10: the answers to `Members`, compared with the real members. Owns the two bounds and the calculation of the real
//! members; does not check `Enter` and `Leave` events, which may be lost. Called by `all`.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::index::Index;
use super::{Check, Findings};
use crate::history::{Event, Micros, Topic};

/// The close code of a connection that ended without one.
const LOST: u16 = 1006;

/// One membership of a client in a room.
struct Stay {
    user: u16,
    /// `Enter` was sent: from here on the user may be listed.
    sent: Micros,
    /// The `Ack` came: from here on, plus the bound, the user must be listed.
    from: Option<Micros>,
    /// The client left, or its connection ended.
    to: Micros,
    /// The connection was lost: the node was not informed.
    lost: bool,
}

pub fn check(index: &Index<'_>, findings: &mut Findings) {
    let stays = stays(index);
    let bounds = index.history.setup.bounds;
    let none = Vec::new();
    let mut judged: HashSet<(u16, u16, Micros)> = HashSet::new();
    for line in &index.history.lines {
        let Event::Members { room, asked, users } = &line.event else { continue };
        let (asked, answered) = (*asked, line.at);
        let stays = stays.get(room).unwrap_or(&none);
        let shown: HashSet<u16> = users.iter().copied().collect();
        // When each user was last a member before the request.
        let mut last: HashMap<u16, (Micros, bool)> = HashMap::new();
        for stay in stays.iter().filter(|stay| stay.sent <= answered) {
            let until = last.entry(stay.user).or_default();
            *until = (stay.to, stay.lost).max(*until);
        }
        let over = |until: Micros| asked > index.last_fault_end(until, asked) + bounds.ghost;
        for (user, (until, lost)) in &last {
            if *lost && asked > until.saturating_add(bounds.ghost) && over(*until) {
                judged.insert((*room, *user, *until));
            }
        }
        for user in &shown {
            findings.look(Check::StalePresence);
            match last.get(user).map(|(until, _)| *until) {
                Some(until) if until >= asked || !over(until) => {}
                gone => findings.find(
                    Check::StalePresence,
                    answered,
                    format!("user {user} was listed in room {room}, but was last a member at {gone:?} µs"),
                ),
            }
        }
        for stay in stays {
            let Some(from) = stay.from else { continue };
            let there = from <= asked && stay.to > answered;
            if !there || shown.contains(&stay.user) {
                continue;
            }
            findings.look(Check::StalePresence);
            let due = index.last_fault_end(from, answered) + bounds.absent;
            if asked > due {
                findings.find(
                    Check::StalePresence,
                    answered,
                    format!(
                        "user {} was not listed in room {room}, but has been a member since {from} µs",
                        stay.user
                    ),
                );
            }
        }
    }
    findings.ghosts = judged.len() as u64;
}

fn stays(index: &Index<'_>) -> BTreeMap<u16, Vec<Stay>> {
    let mut stays: BTreeMap<u16, Vec<Stay>> = BTreeMap::new();
    // The current membership, by connection and room.
    let mut open: HashMap<(u64, u16), usize> = HashMap::new();
    for line in &index.history.lines {
        match &line.event {
            Event::Join { client, conn, topic: Topic::Room(room), .. } => {
                let stays = stays.entry(*room).or_default();
                open.entry((*conn, *room)).or_insert_with(|| {
                    stays.push(Stay {
                        user: index.user(*client),
                        sent: line.at,
                        from: None,
                        to: Micros::MAX,
                        lost: false,
                    });
                    stays.len() - 1
                });
            }
            Event::Joined { conn, topic: Topic::Room(room), .. } => {
                if let (Some(stays), Some(stay)) = (stays.get_mut(room), open.get(&(*conn, *room))) {
                    stays[*stay].from.get_or_insert(line.at);
                }
            }
            Event::Leave { conn, topic: Topic::Room(room), .. } => {
                // From here on the user need not be listed, and the bound for ghosts begins.
                if let (Some(stays), Some(stay)) = (stays.get_mut(room), open.remove(&(*conn, *room))) {
                    stays[stay].to = line.at;
                }
            }
            Event::Closed { conn, code, .. } => {
                open.retain(|(this, room), stay| {
                    if this == conn
                        && let Some(stays) = stays.get_mut(room)
                    {
                        stays[*stay].to = line.at;
                        stays[*stay].lost = *code == LOST;
                    }
                    this != conn
                });
            }
            _ => {}
        }
    }
    stays
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::*;
    use crate::history::Damage;

    fn ask(run: &mut Sample, users: &[u16]) {
        let asked = run.now;
        run.record(Event::Members { room: 0, asked, users: users.to_vec() });
    }

    #[test]
    fn correct_member_list_passes() {
        let mut run = Sample::new(2);
        run.enter(0, 0);
        run.enter(1, 0);
        run.wait(11);
        ask(&mut run, &[0, 1]);
        run.go(1);
        run.wait(29);
        ask(&mut run, &[0, 1]);
        run.wait(2);
        ask(&mut run, &[0]);
        run.finish();
        assert_eq!(run.names(), []);
    }

    #[test]
    fn ghost_is_found_after_its_bound() {
        let mut run = Sample::new(2);
        run.enter(0, 0);
        run.enter(1, 0);
        run.go(1);
        run.wait(31);
        ask(&mut run, &[0, 1]);
        run.finish();
        assert_eq!(run.names(), [Check::StalePresence]);
    }

    #[test]
    fn ghost_bound_starts_when_the_fault_ends() {
        let mut run = Sample::new(2);
        run.enter(0, 0);
        run.enter(1, 0);
        run.begin_fault("kill-node", Damage::None);
        run.go(1);
        run.wait(20);
        run.end_fault("kill-node");
        run.wait(25);
        ask(&mut run, &[0, 1]);
        run.finish();
        assert_eq!(run.names(), []);
        assert_eq!(run.findings().ghosts, 0);
    }

    #[test]
    fn expired_ghost_bound_is_counted_once_per_absence() {
        let mut run = Sample::new(3);
        (0..3).for_each(|client| run.enter(client, 0));
        run.close(1);
        run.record(Event::Away { client: 1 });
        run.leave(2);
        run.wait(31);
        ask(&mut run, &[0]);
        ask(&mut run, &[0]);
        run.finish();
        assert_eq!(run.names(), []);
        assert_eq!(run.findings().ghosts, 1);
    }

    #[test]
    fn user_that_never_joined_is_a_ghost_at_once() {
        let mut run = Sample::new(2);
        run.enter(0, 0);
        ask(&mut run, &[0, 1]);
        run.finish();
        assert_eq!(run.names(), [Check::StalePresence]);
    }

    #[test]
    fn connected_user_missing_from_the_list_is_found() {
        for (seconds, names) in [(9, vec![]), (11, vec![Check::StalePresence])] {
            let mut run = Sample::new(2);
            run.enter(0, 0);
            run.enter(1, 0);
            run.wait(seconds);
            ask(&mut run, &[0]);
            run.finish();
            assert_eq!(run.names(), names);
        }
    }
}
