//! The roles of all clients of a run. Owns how they are drawn from a seed; does not act on them. Called by the run.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::history::{Bounds, Setup};
use crate::role::Role;
use crate::run_context::Sizes;

/// The mean pause between two messages in a quiet room.
const QUIET: Duration = Duration::from_secs(7);

/// The publishers, the members, and one observer per node, in this order.
pub fn draw(sizes: &Sizes, nodes: usize, seed: u64) -> Vec<Role> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let total = sizes.publishers + sizes.members + nodes as u32;
    let busy = sizes.rooms - sizes.quiet_rooms;
    let mut roles: Vec<Role> = Vec::new();
    for client in 0..total {
        let publisher = client < sizes.publishers;
        let observer = client >= sizes.publishers + sizes.members;
        // One client in twenty is a second device of the member before it.
        let second = !publisher && !observer && client % 20 == 7;
        let user = if second { roles[client as usize - 1].user } else { client as u16 };
        let rooms = if observer {
            (0..sizes.rooms).collect()
        } else if publisher {
            some(&mut rng, busy, 3).into_iter().chain(quiet_of(client, sizes)).collect::<Vec<_>>()
        } else {
            let count = rng.random_range(1..=3);
            some(&mut rng, sizes.rooms, count)
        };
        let publishes = if publisher {
            let each = f64::from(sizes.publishers) * 3.0 / sizes.rate;
            let pause =
                |room: &u16| (*room, if *room < busy { Duration::from_secs_f64(each) } else { QUIET });
            rooms.iter().map(pause).collect()
        } else {
            Vec::new()
        };
        let peers = (0..10).map(|_| rng.random_range(0..total - nodes as u32) as u16);
        let mut peers: Vec<u16> = peers.collect();
        // Second devices have no user of their own.
        peers.retain(|peer| u32::from(*peer) < sizes.publishers || u32::from(*peer) % 20 != 7);
        let several = second || client % 20 == 6;
        roles.push(Role {
            client,
            user,
            rooms,
            publishes,
            peers,
            keeps_inbox: publisher || several || rng.random_bool(0.8),
            churns: !observer,
            stays_away: !publisher && !observer && rng.random_range(0..1000) < sizes.stay_away_permille,
            impersonates: (client < 2).then_some(5),
            observes: observer.then(|| (client - sizes.publishers - sizes.members) as usize),
            padding: 0,
            reads_after: None,
            seed: rng.random(),
        });
    }
    if sizes.never_readers > 0 {
        add_busy_room(sizes, &mut roles, &mut rng);
    }
    roles
}

/// Adds a room with 1 MB/s: two clients publish, some read, and as many read nothing for half a minute.
fn add_busy_room(sizes: &Sizes, roles: &mut Vec<Role>, rng: &mut SmallRng) {
    let room = sizes.rooms;
    for number in 0..2 * sizes.never_readers + 2 {
        let writes = number < 2;
        let never_reads = number >= 2 + sizes.never_readers;
        let client = roles.len() as u32;
        roles.push(Role {
            client,
            user: client as u16,
            rooms: vec![room],
            publishes: if writes { vec![(room, Duration::from_millis(28))] } else { Vec::new() },
            peers: Vec::new(),
            keeps_inbox: true,
            churns: false,
            stays_away: false,
            impersonates: None,
            observes: None,
            padding: if writes { 14_000 } else { 0 },
            reads_after: never_reads.then_some(Duration::from_secs(30)),
            seed: rng.random(),
        });
    }
}

/// The quiet room of a publisher; the first publishers have one each.
fn quiet_of(client: u32, sizes: &Sizes) -> Option<u16> {
    let client = u16::try_from(client).ok()?;
    (client < sizes.quiet_rooms).then(|| sizes.rooms - sizes.quiet_rooms + client)
}

fn some(rng: &mut SmallRng, of: u16, count: usize) -> Vec<u16> {
    let mut chosen: Vec<u16> =
        rand::seq::index::sample(rng, of.into(), count).into_iter().map(|room| room as u16).collect();
    chosen.sort_unstable();
    chosen
}

/// The facts about the clients that the checks need.
pub fn setup(roles: &[Role]) -> Setup {
    Setup {
        users: roles.iter().map(|role| role.user).collect(),
        keeps_inbox: roles.iter().map(|role| role.keeps_inbox).collect(),
        bounds: Bounds::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_determines_roles_and_every_room_has_a_publisher() {
        let text = |seed| format!("{:?}", draw(&Sizes::FULL, 3, seed));
        assert_eq!(text(4), text(4));
        assert_ne!(text(4), text(5));
        let roles = draw(&Sizes::FULL, 3, 4);
        for room in 0..Sizes::FULL.rooms {
            assert!(roles.iter().any(|role| role.publishes.iter().any(|(to, _)| *to == room)), "room {room}");
        }
    }

    #[test]
    fn user_without_stored_position_has_one_device() {
        for role in draw(&Sizes::FULL, 3, 1).iter().filter(|role| !role.keeps_inbox) {
            let devices = draw(&Sizes::FULL, 3, 1).iter().filter(|other| other.user == role.user).count();
            assert_eq!(devices, 1);
        }
    }
}
