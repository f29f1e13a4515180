//! Memory of a Redis server. Owns the share of `maxmemory` that messages may use: the rest is kept for presence, leases,
//! tokens and markers, which may use all of it. Filled by the probe, asked by the broker.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Messages may use 90 % of `maxmemory`.
const MESSAGES_PERCENT: u64 = 90;

/// Whether Redis has memory for messages, as of the last look.
#[derive(Debug, Default)]
pub(super) struct MemoryGauge {
    is_full: AtomicBool,
    /// Used memory as a part of `maxmemory`, as the bits of an `f64`.
    ratio: AtomicU64,
}

impl MemoryGauge {
    /// True if messages have used up their share. Always false for a server without `maxmemory`.
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// The memory that is used, as a part of `maxmemory`; 0 without a limit.
    pub(super) fn ratio(&self) -> f64 {
        f64::from_bits(self.ratio.load(Ordering::Relaxed))
    }

    /// Takes the reply to `INFO memory`. One without the numbers changes nothing.
    pub(super) fn record(&self, info: &str) {
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|number| number.trim().parse::<u64>().ok())
        };
        let (Some(used), Some(max)) = (field("used_memory"), field("maxmemory")) else { return };
        // As Redis itself counts it: the buffers for replicas and for the append-only file are no data.
        let used = used.saturating_sub(field("mem_not_counted_for_evict").unwrap_or(0));
        let is_full = max > 0 && used > max / 100 * MESSAGES_PERCENT;
        if is_full != self.is_full.swap(is_full, Ordering::Relaxed) {
            if is_full {
                tracing::warn!(used, max, "Redis has no memory left for messages: publishes are refused");
            } else {
                tracing::info!(used, max, "Redis has memory for messages again");
            }
        }
        let ratio = if max > 0 { used as f64 / max as f64 } else { 0.0 };
        self.ratio.store(ratio.to_bits(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_full_above_the_share_of_messages() {
        let gauge = MemoryGauge::default();
        for (used, buffers, max, is_full) in [
            (900_000, 0, 1_000_000, false),
            (900_001, 0, 1_000_000, true),
            (950_000, 60_000, 1_000_000, false),
            (u64::MAX, 0, 0, false),
            (2, 0, 1, true),
        ] {
            gauge.record(&format!(
                "# Memory\r\nused_memory:{used}\r\nused_memory_human:1K\r\nmaxmemory:{max}\r\n\
                 mem_not_counted_for_evict:{buffers}\r\n"
            ));
            assert_eq!(gauge.is_full(), is_full, "{used} of {max}");
        }
        gauge.record("no numbers");
        assert!(gauge.is_full());
    }
}
