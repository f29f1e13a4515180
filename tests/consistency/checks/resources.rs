//! C13: after everybody has gone, a node holds about what it held when it was started; when everybody comes back at once,
//! logs are read per node and not per client; and nothing in a node panics, whether the node outlives it or not. Owns how
//! much is too much; does not measure. Called by `all`.

use std::collections::{HashMap, HashSet};

use super::index::Index;
use super::{Check, Findings};
use crate::history::{Event, Topic};

/// Connections to Redis come and go by a few.
const DESCRIPTORS: u64 = 16;
/// The runtime's blocking threads end after a while.
const THREADS: u64 = 8;
/// Of a connection that is just being closed, of an answer to the question itself.
const TASKS: u64 = 8;
/// The rings of recent messages, and what an allocator does not give back: a node of 12 MiB was seen to come to 18, and to 42
/// where 2,000 clients came back at once.
const RESIDENT_KIB: u64 = 48 << 10;
/// What a node is subscribed to for itself.
const SUBSCRIPTIONS: u64 = 2;

/// Of a private log: its top, at a node where the user was not, and a page where it missed something.
const READS_PER_CLIENT: u64 = 2;

pub fn check(index: &Index<'_>, findings: &mut Findings) {
    let_go(index, findings);
    read_once(index, findings);
    panics(index, findings);
}

fn panics(index: &Index<'_>, findings: &mut Findings) {
    for line in &index.history.lines {
        if let Event::Panicked { node, line: text } = &line.event {
            findings.find(Check::Resources, line.at, format!("node {node}: {text}"));
        }
    }
}

/// Rooms are read once per node at most, however many come back to them.
fn read_once(index: &Index<'_>, findings: &mut Findings) {
    let lines = &index.history.lines;
    let nodes = lines.iter().filter_map(|line| match &line.event {
        Event::Connected { node, .. } => Some(*node),
        _ => None,
    });
    let nodes = nodes.collect::<HashSet<u8>>().len() as u64;
    let room_logs = index.logs.keys().filter(|topic| matches!(topic, Topic::Room(_))).count() as u64;
    let clients = index.history.setup.users.len() as u64;
    for line in lines {
        let Event::LogsRead { rooms, private, .. } = &line.event else { continue };
        for (whose, reads, most) in
            [("rooms'", *rooms, room_logs * nodes), ("users'", *private, clients * READS_PER_CLIENT)]
        {
            findings.look(Check::Resources);
            if reads > most {
                let text = format!("{whose} logs were read {reads} times when all came back; {most} at most");
                findings.find(Check::Resources, line.at, text);
            }
        }
    }
}

fn let_go(index: &Index<'_>, findings: &mut Findings) {
    let mut before = HashMap::new();
    for line in &index.history.lines {
        let Event::Holds { node, pid, end, resources } = &line.event else { continue };
        if !end {
            before.insert(*pid, *resources);
            continue;
        }
        let Some(start) = before.get(pid) else { continue };
        findings.look(Check::Resources);
        for (what, start, end, more) in [
            ("descriptors", start.descriptors, resources.descriptors, DESCRIPTORS),
            ("threads", start.threads, resources.threads, THREADS),
            ("tasks", start.tasks, resources.tasks, TASKS),
            ("KiB of memory", start.resident_kib, resources.resident_kib, RESIDENT_KIB),
            ("subscriptions", start.subscriptions, resources.subscriptions, SUBSCRIPTIONS),
            ("connections", 0, resources.connections, 0),
        ] {
            if end > start + more {
                findings.find(
                    Check::Resources,
                    line.at,
                    format!("node {node} holds {end} {what} after everybody has gone; at first {start}"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::*;
    use crate::history::Resources;

    fn held(descriptors: u64, tasks: u64) -> Vec<Check> {
        let mut run = Sample::new(1);
        let mut resources = Resources {
            descriptors: 20,
            threads: 4,
            tasks: 30,
            resident_kib: 9_000,
            peak_kib: 9_000,
            connections: 0,
            subscriptions: 1,
        };
        run.record(Event::Holds { node: 0, pid: 7, end: false, resources });
        resources.descriptors = descriptors;
        resources.tasks = tasks;
        run.record(Event::Holds { node: 0, pid: 7, end: true, resources });
        run.finish();
        run.names()
    }

    #[test]
    fn large_growth_of_descriptors_or_tasks_is_a_leak() {
        assert_eq!(held(22, 31), []);
        assert_eq!(held(220, 31), [Check::Resources]);
        assert_eq!(held(22, 60), [Check::Resources]);
    }

    #[test]
    fn panic_in_a_running_node_is_found() {
        let mut run = Sample::new(1);
        run.record(Event::Panicked { node: 1, line: "thread 'main' panicked at src/x.rs:1:2".into() });
        run.finish();
        assert_eq!(run.names(), [Check::Resources]);
    }

    /// So many reads while three clients come back to one room at two nodes.
    fn read(rooms: u64, private: u64) -> Vec<Check> {
        let mut run = Sample::new(3);
        for client in 0..3 {
            run.enter(client, client as u8 % 2);
        }
        run.record(Event::LogsRead { rooms, of_a_room: rooms, private, of_a_user: 1 });
        run.finish();
        run.names()
    }

    #[test]
    fn reading_a_log_once_per_client_is_found() {
        assert_eq!(read(2, 6), []);
        assert_eq!(read(3, 6), [Check::Resources]);
        assert_eq!(read(2, 7), [Check::Resources]);
    }
}
