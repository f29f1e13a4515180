//! The shapes of load: how many connections, in which rooms, and who writes to whom. Owns how a shape becomes seats and logs; opens
//! nothing. Made from the command line, carried out by the scenario.

use chatnode_protocol::{RoomName, UserName};

use crate::run::{Name, Seat, Topic};
use crate::secret::Secret;

/// What is asked of the nodes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    /// So many connections a second, each of a new user.
    Connect { rate: f64, connections: usize },
    /// Connections that have entered a room and do nothing.
    Idle { connections: usize, members: usize },
    /// Rooms with publishers: in a closed loop, or at a rate for all together.
    Rooms { rooms: usize, members: usize, publishers: usize, rate: Option<f64> },
    /// Pairs that write to each other privately, in the same two ways.
    Pairs { pairs: usize, rate: Option<f64> },
    /// Connections that come at the same time.
    Storm { connections: usize, members: usize },
    /// Connections that come back at the same time, and have missed messages.
    Resume { connections: usize, rooms: usize, missed: u32 },
    /// What a product does: small rooms, private messages, typing, users that come and go.
    Mixed { users: usize, rate: f64, churn: f64 },
}

/// The rooms of each user of `mixed`, and the users for each room.
const ROOMS_PER_USER: usize = 3;
const USERS_PER_ROOM: usize = 4;

/// Of so many users of `mixed`, one comes and goes; the others write.
const ONE_COMES_AND_GOES_OF: usize = 5;

impl Shape {
    /// How many connections it needs.
    pub(crate) fn connections(&self) -> usize {
        match *self {
            Self::Connect { connections, .. }
            | Self::Idle { connections, .. }
            | Self::Storm { connections, .. } => connections,
            Self::Rooms { rooms, members, .. } => rooms * members,
            Self::Pairs { pairs, .. } => 2 * pairs,
            Self::Resume { connections, rooms, .. } => connections + rooms,
            Self::Mixed { users, .. } => users,
        }
    }

    /// What a search varies, and how much of it there is now; none if it has no start yet.
    pub(crate) fn load(&self) -> (&'static str, Option<f64>) {
        match *self {
            Self::Connect { rate, .. } => ("connects/s", Some(rate)),
            Self::Rooms { rate, .. } | Self::Pairs { rate, .. } => ("messages/s", rate),
            Self::Mixed { rate, .. } => ("actions/s", Some(rate)),
            Self::Idle { connections, .. }
            | Self::Storm { connections, .. }
            | Self::Resume { connections, .. } => ("connections", Some(connections as f64)),
        }
    }

    /// The same shape with another load, for so many seconds.
    pub(crate) fn with_load(self, load: f64, seconds: f64) -> Self {
        let count = load.round().max(1.0) as usize;
        match self {
            Self::Connect { .. } => {
                Self::Connect { rate: load, connections: (load * seconds).ceil().max(1.0) as usize }
            }
            Self::Rooms { rooms, members, publishers, .. } => {
                Self::Rooms { rooms, members, publishers, rate: Some(load) }
            }
            Self::Pairs { pairs, .. } => Self::Pairs { pairs, rate: Some(load) },
            Self::Mixed { users, churn, .. } => Self::Mixed { users, rate: load, churn },
            Self::Idle { members, .. } => Self::Idle { connections: count, members },
            Self::Storm { members, .. } => Self::Storm { connections: count, members },
            Self::Resume { rooms, missed, .. } => Self::Resume { connections: count, rooms, missed },
        }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let pace = |rate: Option<f64>| match rate {
            Some(rate) => format!("{rate:.0} messages/s"),
            None => "closed loop".to_owned(),
        };
        match *self {
            Self::Connect { rate, connections } => format!("{connections} connections, {rate:.0} a second"),
            Self::Idle { connections, members } => format!("{connections} connections in rooms of {members}"),
            Self::Rooms { rooms, members, publishers, rate } => {
                let plural = if publishers == 1 { "" } else { "s" };
                format!("{rooms} rooms of {members}, {publishers} publisher{plural} in each, {}", pace(rate))
            }
            Self::Pairs { pairs, rate } => format!("{pairs} pairs, {}", pace(rate)),
            Self::Storm { connections, members } => {
                format!("{connections} connections at once, in rooms of {members}")
            }
            Self::Resume { connections, rooms, missed } => {
                format!(
                    "{connections} connections come back to {rooms} rooms, {missed} missed messages in each"
                )
            }
            Self::Mixed { users, rate, churn } => {
                format!("{users} users, {rate:.0} actions/s, {churn:.1} come back each second")
            }
        }
    }

    /// The seats of those who write, in `mixed`.
    pub(crate) fn writers(users: usize) -> usize {
        users - users / ONE_COMES_AND_GOES_OF
    }

    /// The logs and the connections. `prefix` makes the names of the rooms unlike those of other runs.
    pub(crate) fn plan(
        &self,
        users: Vec<(UserName, Option<Secret>)>,
        prefix: &str,
        nodes: usize,
    ) -> (Vec<Topic>, Vec<Seat>) {
        let room = |index: usize| {
            Topic::new(Name::Room(
                RoomName::parse(&format!("{prefix}r{index}")).expect("it is short and plain"),
            ))
        };
        let mut seats: Vec<Seat> = users
            .into_iter()
            .enumerate()
            .map(|(index, (user, token))| Seat {
                user,
                token,
                target: index % nodes.max(1),
                topics: Vec::new(),
                writes_to: None,
                peer: None,
                comes_back: false,
                is_commanded: false,
            })
            .collect();
        let rooms = match *self {
            Self::Connect { .. } => 0,
            Self::Idle { connections, members } | Self::Storm { connections, members } => {
                connections.div_ceil(members.max(1))
            }
            Self::Rooms { rooms, .. } | Self::Resume { rooms, .. } => rooms,
            Self::Pairs { .. } => 0,
            Self::Mixed { users, .. } => users.div_ceil(USERS_PER_ROOM),
        };
        let mut topics: Vec<Topic> = (0..rooms).map(room).collect();
        match *self {
            Self::Connect { .. } => {}
            Self::Idle { .. } | Self::Storm { .. } => {
                for (index, seat) in seats.iter_mut().enumerate() {
                    seat.topics.push((index % rooms) as u32);
                }
            }
            Self::Rooms { members, publishers, .. } => {
                for (index, seat) in seats.iter_mut().enumerate() {
                    let (room, member) = (index / members, index % members);
                    seat.topics.push(room as u32);
                    // Not the same member in each room, so that every node has its share of publishers.
                    if (member + members - room % members) % members < publishers {
                        (seat.writes_to, seat.is_commanded) = (Some(room as u32), true);
                    }
                }
            }
            Self::Pairs { .. } => {
                topics.extend(seats.iter().map(|seat| Topic::new(Name::User(seat.user.clone()))));
                for (index, seat) in seats.iter_mut().enumerate() {
                    seat.topics.push(index as u32);
                    (seat.writes_to, seat.is_commanded) = (Some(index as u32 ^ 1), true);
                }
            }
            Self::Resume { .. } => {
                for (index, seat) in seats.iter_mut().enumerate() {
                    let room = (index % rooms) as u32;
                    seat.topics.push(room);
                    let is_author = index < rooms;
                    seat.writes_to = is_author.then_some(room);
                    (seat.is_commanded, seat.comes_back) = (is_author, !is_author);
                }
            }
            Self::Mixed { users, .. } => {
                topics.extend(seats.iter().map(|seat| Topic::new(Name::User(seat.user.clone()))));
                for (index, seat) in seats.iter_mut().enumerate() {
                    seat.topics.push((rooms + index) as u32);
                    for turn in 0..ROOMS_PER_USER {
                        // A room apart in each turn, so that the members of two rooms are seldom the same.
                        let room =
                            ((index / USERS_PER_ROOM + turn * (1 + index % USERS_PER_ROOM)) % rooms) as u32;
                        if !seat.topics.contains(&room) {
                            seat.topics.push(room);
                        }
                    }
                    seat.writes_to = Some(seat.topics[1]);
                    seat.peer = Some((rooms + (index + 1) % users) as u32);
                    seat.is_commanded = true;
                }
            }
        }
        (topics, seats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(shape: Shape) -> (Vec<Topic>, Vec<Seat>) {
        let users =
            (0..shape.connections()).map(|index| (UserName::parse(&format!("u{index}")).unwrap(), None));
        shape.plan(users.collect(), "x-", 2)
    }

    #[test]
    fn each_room_has_its_members_and_publishers() {
        let (topics, seats) = plan(Shape::Rooms { rooms: 3, members: 4, publishers: 2, rate: None });
        assert_eq!((topics.len(), seats.len()), (3, 12));
        for room in 0..3 {
            let members = seats.iter().filter(|seat| seat.topics == [room]);
            assert_eq!(members.clone().count(), 4);
            assert_eq!(members.filter(|seat| seat.writes_to == Some(room)).count(), 2);
        }
        assert_eq!(seats.iter().filter(|seat| seat.target == 1).count(), 6);
    }

    #[test]
    fn pairs_write_to_each_other() {
        let (topics, seats) = plan(Shape::Pairs { pairs: 2, rate: None });
        assert_eq!(topics.len(), 4);
        let to: Vec<Option<u32>> = seats.iter().map(|seat| seat.writes_to).collect();
        assert_eq!(to, [Some(1), Some(0), Some(3), Some(2)]);
    }

    #[test]
    fn mixed_users_have_rooms_and_private_logs() {
        for users in [2, 5, 40, 101] {
            let (topics, seats) = plan(Shape::Mixed { users, rate: 1.0, churn: 0.0 });
            assert_eq!(topics.len(), users.div_ceil(4) + users);
            for (index, seat) in seats.iter().enumerate() {
                assert!((2..=4).contains(&seat.topics.len()), "{:?}", seat.topics);
                assert!(topics[seat.writes_to.unwrap() as usize].is_room());
                let Name::User(peer) = &topics[seat.peer.unwrap() as usize].name else { panic!("a room") };
                assert_eq!(peer.as_str(), format!("u{}", (index + 1) % users));
            }
        }
        assert_eq!(Shape::writers(10), 8);
    }

    #[test]
    fn a_search_varies_the_load_and_nothing_else() {
        let shape = Shape::Rooms { rooms: 3, members: 4, publishers: 2, rate: None };
        assert_eq!(shape.load(), ("messages/s", None));
        assert_eq!(shape.with_load(50.0, 2.0).load().1, Some(50.0));
        let connect = Shape::Connect { rate: 1.0, connections: 1 }.with_load(50.0, 2.0);
        assert_eq!(connect, Shape::Connect { rate: 50.0, connections: 100 });
        let storm = Shape::Storm { connections: 9, members: 3 }.with_load(20.4, 2.0);
        assert_eq!(storm, Shape::Storm { connections: 20, members: 3 });
    }
}
