//! The metrics of this process on Linux, read from `/proc`. Owns the eight metrics that Prometheus defines for every
//! process, with the names and units of the crate `metrics-process`, which other systems use: on Linux that crate
//! brings procfs, 15 s of the release build. Called for each metrics page.

use std::fs;
use std::sync::LazyLock;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use rlimit::Resource;

/// The unit of times in `/proc`: Linux fixes it at a hundredth of a second for programs.
const TICKS_PER_SECOND: u64 = 100;

/// The start of the process in Unix seconds.
static START: LazyLock<Option<u64>> = LazyLock::new(|| {
    let boot = number(&fs::read_to_string("/proc/stat").ok()?, "btime ")?;
    Some(boot + Stat::read()?.start_ticks / TICKS_PER_SECOND)
});

/// What `/proc/self/stat` contains of interest.
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is the name of the program in brackets, which may contain spaces and brackets.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
        })
    }
}

/// The number after these words at the start of a line.
fn number(text: &str, words: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(words))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The number of open file descriptors. Since Linux 6.2 it is the size of the folder, which saves listing it.
fn open_descriptors() -> Option<u64> {
    let folder = "/proc/self/fd";
    match fs::metadata(folder).ok()?.len() {
        0 => Some(fs::read_dir(folder).ok()?.count() as u64),
        count => Some(count),
    }
}

/// A soft limit of the process; 0 means no limit.
fn limit(resource: Resource) -> Option<u64> {
    let (soft, _) = resource.get().ok()?;
    Some(if soft == rlimit::INFINITY { 0 } else { soft })
}

/// Registers the descriptions.
pub(super) fn describe() {
    let cpu = "Total user and system CPU time spent in seconds.";
    describe_counter!("process_cpu_seconds_total", Unit::Seconds, cpu);
    for (name, unit, what) in [
        ("process_open_fds", Unit::Count, "Number of open file descriptors."),
        ("process_max_fds", Unit::Count, "Maximum number of open file descriptors."),
        ("process_virtual_memory_bytes", Unit::Bytes, "Virtual memory size in bytes."),
        (
            "process_virtual_memory_max_bytes",
            Unit::Bytes,
            "Maximum amount of virtual memory available in bytes.",
        ),
        ("process_resident_memory_bytes", Unit::Bytes, "Resident memory size in bytes."),
        (
            "process_start_time_seconds",
            Unit::Seconds,
            "Start time of the process since unix epoch in seconds.",
        ),
        ("process_threads", Unit::Count, "Number of OS threads in the process."),
    ] {
        describe_gauge!(name, unit, what);
    }
}

/// Sets the metrics to their current values. A value that can't be read is left out.
pub(super) fn collect() {
    let stat = Stat::read();
    if let Some(stat) = &stat {
        counter!("process_cpu_seconds_total").absolute(stat.cpu_ticks / TICKS_PER_SECOND);
    }
    let resident = fs::read_to_string("/proc/self/status").ok().and_then(|text| number(&text, "VmRSS:"));
    for (name, value) in [
        ("process_open_fds", open_descriptors()),
        ("process_max_fds", limit(Resource::NOFILE)),
        ("process_virtual_memory_bytes", stat.as_ref().map(|stat| stat.virtual_bytes)),
        ("process_virtual_memory_max_bytes", limit(Resource::AS)),
        ("process_resident_memory_bytes", resident.map(|kib| kib << 10)),
        ("process_start_time_seconds", *START),
        ("process_threads", stat.as_ref().map(|stat| stat.threads)),
    ] {
        if let Some(value) = value {
            gauge!(name).set(value as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_has_every_value() {
        let stat = Stat::read().unwrap();
        assert!(stat.threads >= 1 && stat.virtual_bytes > 1 << 20);
        assert!(open_descriptors().unwrap() >= 3);
        assert!(limit(Resource::NOFILE).is_some() && limit(Resource::AS).is_some());
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        assert!((now - 3_600..=now + 1).contains(&START.unwrap()), "started at {START:?}, now it is {now}");
    }
}
