//! The machine that the load comes from: its clocks and its limits. Owns how they are read and raised; decides nothing about
//! the load. Called at the start, and for the figures.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use rustix::time::{ClockId, clock_gettime};

/// Files that this program needs besides its connections.
const OTHER_FILES: u64 = 64;

/// The ports of Linux for outgoing connections, unless it is set otherwise.
const DEFAULT_PORTS: (u64, u64) = (32_768, 60_999);

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The CPU time of this thread so far.
pub(crate) fn thread_cpu_nanos() -> u64 {
    nanos(ClockId::ThreadCPUTime)
}

/// The CPU time of this process so far.
pub(crate) fn process_cpu_nanos() -> u64 {
    nanos(ClockId::ProcessCPUTime)
}

/// The cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Why this machine can't carry the load.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum LimitError {
    /// Each connection is a file.
    #[error(
        "this machine allows {most} connections of this program, and {wanted} are wanted: each is an open file. Raise the limit (`ulimit -Hn`, now {limit}), or use several machines"
    )]
    Files { wanted: u64, most: u64, limit: u64 },
    /// Each connection is a port.
    #[error(
        "{wanted} connections to {address} are wanted, and this machine has {most} ports for one address (net.ipv4.ip_local_port_range). Name several --source addresses, several --url, or use several machines"
    )]
    Ports { wanted: u64, most: u64, address: SocketAddr },
}

/// What this machine allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Open files.
    pub(crate) files: u64,
    /// Ports for one address of this machine and one of a node.
    pub(crate) ports: u64,
}

impl Limits {
    /// Raises the soft limit of open files to the hard limit, and reads the rest.
    pub(crate) fn read() -> Self {
        let files = match rlimit::increase_nofile_limit(u64::MAX) {
            Ok(files) => files,
            // The soft limit holds.
            Err(_) => rlimit::Resource::NOFILE.get_soft().unwrap_or(1_024),
        };
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        let (first, last) = range.ok().and_then(|range| ports(&range)).unwrap_or(DEFAULT_PORTS);
        Self { files, ports: (last + 1).saturating_sub(first) }
    }

    /// How many connections this program can have to so many nodes.
    pub(crate) fn connections(&self, nodes: usize, sources: usize) -> u64 {
        let ports = self.ports.saturating_mul((nodes * sources.max(1)) as u64);
        self.files.saturating_sub(OTHER_FILES).min(ports)
    }

    /// Checks whether these connections fit.
    ///
    /// # Errors
    /// They do not.
    pub(crate) fn check(
        &self,
        addresses: impl Iterator<Item = SocketAddr>,
        sources: &[IpAddr],
    ) -> Result<(), LimitError> {
        let mut by_address: HashMap<SocketAddr, u64> = HashMap::new();
        addresses.for_each(|address| *by_address.entry(address).or_default() += 1);
        let wanted = by_address.values().sum();
        let most = self.files.saturating_sub(OTHER_FILES);
        if wanted > most {
            return Err(LimitError::Files { wanted, most, limit: self.files });
        }
        let most = self.ports.saturating_mul(sources.len().max(1) as u64);
        match by_address.into_iter().find(|(_, wanted)| *wanted > most) {
            Some((address, wanted)) => Err(LimitError::Ports { wanted, most, address }),
            None => Ok(()),
        }
    }
}

fn ports(range: &str) -> Option<(u64, u64)> {
    let mut numbers = range.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_connections_are_an_error_with_advice() {
        let limits = Limits { files: 1_064, ports: 600 };
        let to = |port, count| std::iter::repeat_n(SocketAddr::from(([127, 0, 0, 1], port)), count);
        assert_eq!(limits.check(to(1, 600), &[]), Ok(()));
        assert_eq!(limits.check(to(1, 500).chain(to(2, 500)), &[]), Ok(()));
        let error = limits.check(to(1, 601), &[]).unwrap_err().to_string();
        assert!(error.contains("601 connections to 127.0.0.1:1") && error.contains("--source"), "{error}");
        let sources = [IpAddr::from([127, 0, 0, 2]), IpAddr::from([127, 0, 0, 3])];
        assert_eq!(limits.check(to(1, 1_000), &sources), Ok(()));
        let error = limits.check(to(1, 1_001), &sources).unwrap_err().to_string();
        assert!(error.contains("ulimit -Hn") && error.contains("1000 connections"), "{error}");
        assert_eq!(limits.connections(1, 0), 600);
        assert_eq!(limits.connections(4, 2), 1_000);
    }

    #[test]
    fn the_range_of_ports_is_read() {
        assert_eq!(ports("32768\t60999\n"), Some((32_768, 60_999)));
        assert_eq!(ports("x"), None);
        assert!(Limits::read().files > 0);
    }

    #[test]
    fn clocks_of_the_cpu_advance() {
        let (thread, process) = (thread_cpu_nanos(), process_cpu_nanos());
        while thread_cpu_nanos() == thread || process_cpu_nanos() == process {
            std::hint::spin_loop();
        }
        assert!(cores() >= 1);
    }
}
