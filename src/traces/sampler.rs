//! Which spans are recorded. Owns the standard samplers, and the bounds for spans per second that hold on top of them. Asked once for
//! each request and each fan-out with traced messages.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::TraceId;
use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::trace::{Sampler as Root, SamplingDecision, ShouldSample};

use crate::protocol::TraceParent;

/// Requests, and fan-outs, that a node records in one second: enough to see what a busy node does, and little beside what it does. The
/// messages of a request that is not recorded are recorded nowhere else.
pub(super) const MAX_PER_SECOND: u32 = 100;

/// What a request is, for the traces.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Record,
    Leave,
    /// It would be recorded, but too many are already.
    OverRate,
}

/// The sampler of `OTEL_TRACES_SAMPLER`.
#[derive(Debug, Clone)]
pub(super) struct Sampler {
    /// Decides where there is no parent, or none that counts.
    pub(super) root: Root,
    /// The decision of a parent counts.
    pub(super) is_parent_based: bool,
}

impl Sampler {
    fn wants(&self, trace_id: TraceId, parent: Option<&TraceParent>) -> bool {
        match (&self.root, parent) {
            (_, Some(parent)) if self.is_parent_based => parent.is_sampled,
            (Root::AlwaysOn, _) => true,
            (Root::AlwaysOff, _) => false,
            (root, _) => {
                let result = root.should_sample(None, trace_id, "", &SpanKind::Server, &[], &[]);
                result.decision == SamplingDecision::RecordAndSample
            }
        }
    }

    /// What becomes of a request. `trace_id` is that of its parent, or else random.
    pub(super) fn decide(
        &self,
        trace_id: TraceId,
        parent: Option<&TraceParent>,
        bound: &Bound,
        now: SystemTime,
    ) -> Decision {
        match self.wants(trace_id, parent) {
            false => Decision::Leave,
            true if bound.take(now) => Decision::Record,
            true => Decision::OverRate,
        }
    }
}

/// A bound for one second after another.
#[derive(Debug, Default)]
pub(super) struct Bound {
    /// The second in the upper half, and how many were taken in it.
    taken: AtomicU64,
}

impl Bound {
    /// Takes one of the second, unless all are taken.
    pub(super) fn take(&self, now: SystemTime) -> bool {
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() & 0xffff_ffff);
        let next = |taken: u64| match (taken >> 32 == second, taken & 0xffff_ffff) {
            (true, count) if count >= u64::from(MAX_PER_SECOND) => None,
            (true, _) => Some(taken + 1),
            (false, _) => Some(second << 32 | 1),
        };
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parent(is_sampled: bool) -> TraceParent {
        TraceParent { trace_id: [1; 16], span_id: [1; 8], is_sampled }
    }

    #[test]
    fn parent_decides_only_if_the_sampler_is_based_on_it() {
        let any = TraceId::from_bytes([0x7f; 16]);
        for (root, is_parent_based, of_sampled, of_unsampled, of_none) in [
            (Root::AlwaysOn, false, true, true, true),
            (Root::AlwaysOff, false, false, false, false),
            (Root::AlwaysOn, true, true, false, true),
            (Root::AlwaysOff, true, true, false, false),
            (Root::TraceIdRatioBased(0.0), true, true, false, false),
            (Root::TraceIdRatioBased(1.0), false, true, true, true),
        ] {
            let sampler = Sampler { root, is_parent_based };
            let wants = |parent: Option<TraceParent>| sampler.wants(any, parent.as_ref());
            let got = (wants(Some(parent(true))), wants(Some(parent(false))), wants(None));
            assert_eq!(got, (of_sampled, of_unsampled, of_none), "{sampler:?}");
        }
    }

    #[test]
    fn second_has_a_bound() {
        let (sampler, bound) = (Sampler { root: Root::AlwaysOn, is_parent_based: true }, Bound::default());
        let any = TraceId::from_bytes([1; 16]);
        for second in [0, 1, 7] {
            let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000 + second);
            let decide = |_| sampler.decide(any, None, &bound, now);
            let decisions: Vec<_> = (0..MAX_PER_SECOND + 5).map(decide).collect();
            let recorded = decisions.iter().filter(|decision| **decision == Decision::Record).count();
            assert_eq!(recorded, MAX_PER_SECOND as usize);
            assert!(decisions[MAX_PER_SECOND as usize..].iter().all(|one| *one == Decision::OverRate));
        }
    }
}
