//! C13: after everybody has gone, a node holds about what it held before anybody came. Owns how much more is "about";
//! does not measure. Called by `all`.

use std::collections::HashMap;

use super::index::Index;
use super::{Check, Findings};
use crate::history::Event;

/// Connections to Redis come and go by a few.
const DESCRIPTORS: u64 = 16;
/// The runtime's blocking threads end after a while.
const THREADS: u64 = 8;
/// The rings of recent messages keep up to 64 MiB, and an allocator does not give everything back.
const RESIDENT_KIB: u64 = 128 << 10;
/// What a node is subscribed to for itself.
const SUBSCRIPTIONS: u64 = 2;

pub fn check(index: &Index<'_>, findings: &mut Findings) {
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

    fn held(descriptors: u64) -> Vec<Check> {
        let mut run = Sample::new(1);
        let mut resources = Resources {
            descriptors: 20,
            threads: 4,
            resident_kib: 9_000,
            peak_kib: 9_000,
            connections: 0,
            subscriptions: 1,
        };
        run.record(Event::Holds { node: 0, pid: 7, end: false, resources });
        resources.descriptors = descriptors;
        run.record(Event::Holds { node: 0, pid: 7, end: true, resources });
        run.finish();
        run.names()
    }

    #[test]
    fn a_few_descriptors_more_are_fine_and_many_are_a_leak() {
        assert_eq!(held(22), []);
        assert_eq!(held(220), [Check::Resources]);
    }
}
