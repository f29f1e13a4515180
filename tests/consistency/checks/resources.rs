//! C13: after all clients have left, a node holds about as much as after its start; when all clients reconnect at once, logs
//! are read once per node and not once per client; and no node panics, even if it continues. Owns the limits; does not
//! measure. Called by `all`.

use std::collections::{HashMap, HashSet};

use super::index::Index;
use super::{Check, Findings};
use crate::history::{Event, Topic};

/// The number of connections to Redis varies.
const DESCRIPTORS: u64 = 16;
/// The runtime ends its idle blocking threads only after a while.
const THREADS: u64 = 8;
/// Tasks of connections that are being closed, and of the metrics request itself.
const TASKS: u64 = 8;
/// The rings of recent messages, and memory that the allocator does not return. Observed: a node of 12 MiB grew to 18 MiB,
/// and to 42 MiB when 2,000 clients reconnected at once.
const RESIDENT_KIB: u64 = 48 << 10;
/// The node's own subscriptions.
const SUBSCRIPTIONS: u64 = 2;

/// Reads of one private log: its top, at a node that did not know the user, and one page of missed messages.
const READS_PER_CLIENT: u64 = 2;

pub fn check(index: &Index<'_>, findings: &mut Findings) {
    released(index, findings);
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

/// Each node reads a room's log at most once, however many clients return to the room.
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
                let text = format!(
                    "{whose} logs were read {reads} times when all clients reconnected; allowed: {most}"
                );
                findings.find(Check::Resources, line.at, text);
            }
        }
    }
}

fn released(index: &Index<'_>, findings: &mut Findings) {
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
                    format!(
                        "node {node} holds {end} {what} after all clients have left; {start} after its start"
                    ),
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

    /// Log reads while three clients return to one room at two nodes.
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
