//! Handles to the metrics of the hot path. Owns only the handles: to look a metric up by its name costs more than to
//! count. Made once per node, after the recorder is installed.

use std::time::Instant;

use metrics::{Counter, Histogram, counter, histogram};

use crate::backend::{
    BackendError, ChangeKind, ChangeRefusal, NewEntry, RightsRefusal, RightsUpdate, Stored, unix_ms,
};
use crate::metrics as names;
use crate::protocol::{ErrorCode, GapReason, Outcome, Topic};

/// Counters of deliveries.
pub(super) struct Counters {
    pub(super) live: Counter,
    pub(super) replay: Counter,
    pub(super) lagged: Counter,
    pub(super) gap_hole: Counter,
    pub(super) gap_idle_check: Counter,
    pub(super) gap_probe: Counter,
    pub(super) gap_reconnect: Counter,
    delivery: Histogram,
}

/// Metrics of publishes.
pub(super) struct PublishCounters {
    ack: Histogram,
    by_result: [Counter; PublishResult::ALL.len()],
    stored: [Counter; names::ENTRY_KINDS.len()],
}

/// What a publish stores, in the order of [`names::ENTRY_KINDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    Message,
    Edit,
    Retract,
    React,
    Room,
    Moderation,
    Invitation,
    Block,
}

impl EntryKind {
    /// What an entry of this log is.
    pub(super) fn of(log: &Topic, entry: &NewEntry) -> Self {
        match entry {
            NewEntry::Message(_) => Self::Message,
            NewEntry::Change(change) => match change.kind {
                ChangeKind::Edit { .. } => Self::Edit,
                ChangeKind::Retract { .. } => Self::Retract,
                ChangeKind::React { .. } => Self::React,
            },
            NewEntry::Rights(RightsUpdate::Room { .. }) => Self::Room,
            NewEntry::Rights(_) if log.room().is_none() => Self::Block,
            NewEntry::Rights(_) => Self::Moderation,
            NewEntry::Note => Self::Invitation,
        }
    }
}

/// Counts that the rights of a room forbade something.
pub(super) fn count_rights_refusal(refusal: RightsRefusal) {
    let reason = match refusal {
        RightsRefusal::Banned(_) => "banned",
        RightsRefusal::Muted(_) => "muted",
        RightsRefusal::NoRole => "no_role",
        RightsRefusal::ReadOnly => "read_only",
        RightsRefusal::Rank => "rank",
        RightsRefusal::Slow(_) => "slow_mode",
        RightsRefusal::Blocked => "blocked",
        _ => "other",
    };
    counter!(names::RIGHTS_REFUSED, "reason" => reason).increment(1);
}

/// The reason of a change that was not stored, one of [`names::CHANGE_REFUSALS`]. `None` for a publish that failed otherwise.
fn refusal(error: &BackendError) -> Option<&'static str> {
    let code = match error {
        BackendError::OlderNodes => return Some("older_nodes"),
        BackendError::Change(refusal) => match refusal.as_ref() {
            ChangeRefusal::NotFound => ErrorCode::NotFound,
            ChangeRefusal::NotAuthor => ErrorCode::Forbidden,
            ChangeRefusal::Gone => ErrorCode::Gone,
            ChangeRefusal::Conflict { .. } => ErrorCode::Conflict,
            ChangeRefusal::TooLate => ErrorCode::TooLate,
            ChangeRefusal::TooLarge => ErrorCode::MessageTooLarge,
            ChangeRefusal::TooMany => ErrorCode::TooManyChanges,
        },
        _ => return None,
    };
    Some(code.as_str())
}

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PublishResult {
    Ok,
    Duplicate,
    Limited,
    NotAllowed,
    Refused,
    Unknown,
}

impl PublishResult {
    /// In the order of their numbers.
    const ALL: [Self; 6] =
        [Self::Ok, Self::Duplicate, Self::Limited, Self::NotAllowed, Self::Refused, Self::Unknown];

    fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Duplicate => "duplicate",
            Self::Limited => "limited",
            Self::NotAllowed => "not_allowed",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

impl PublishCounters {
    pub(super) fn new() -> Self {
        Self {
            ack: histogram!(names::PUBLISH_ACK),
            by_result: PublishResult::ALL
                .map(|result| counter!(names::PUBLISHES, "result" => result.label())),
            stored: names::ENTRY_KINDS.map(|kind| counter!(names::ENTRIES_STORED, "kind" => kind)),
        }
    }
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            live: counter!(names::DELIVERIES, "path" => "live"),
            replay: counter!(names::DELIVERIES, "path" => "replay"),
            lagged: counter!(names::LAGGED),
            gap_hole: counter!(names::GAPS_DETECTED, "source" => "hole"),
            gap_idle_check: counter!(names::GAPS_DETECTED, "source" => "idle_check"),
            gap_probe: counter!(names::GAPS_DETECTED, "source" => "probe"),
            gap_reconnect: counter!(names::GAPS_DETECTED, "source" => "reconnect"),
            delivery: histogram!(names::DELIVERY),
        }
    }

    /// Records how long a message took from the store to here. If this clock is behind the store's, that counts as 0.
    pub(super) fn delivery_age(&self, stored_at_ms: u64) {
        self.delivery.record(unix_ms().saturating_sub(stored_at_ms) as f64 / 1_000.0);
    }

    /// Counts `Gap` frames.
    pub(super) fn gaps_sent(&self, reason: GapReason, count: u64) {
        counter!(names::GAPS_SENT, "reason" => reason.as_str()).increment(count);
    }

    /// Counts a join with a position.
    pub(super) fn resumed(&self, broken: Option<GapReason>) {
        counter!(names::RESUMES, "result" => broken.map_or("recovered", GapReason::as_str)).increment(1);
    }
}

/// A publish under way. Counted once, when it is dropped: as `unknown` if it got no answer, since its connection was lost
/// or its deadline passed.
pub(super) struct Publishing<'a> {
    counters: &'a PublishCounters,
    kind: EntryKind,
    started: Instant,
    result: PublishResult,
}

impl<'a> Publishing<'a> {
    pub(super) fn begin(counters: &'a PublishCounters, kind: EntryKind) -> Self {
        Self { counters, kind, started: Instant::now(), result: PublishResult::Unknown }
    }

    pub(super) fn end(mut self, answer: Result<&Stored, &BackendError>) {
        self.result = match answer {
            Ok(stored) if stored.duplicate => PublishResult::Duplicate,
            Ok(stored) => {
                self.counters.stored[self.kind as usize].increment(u64::from(!stored.is_unchanged));
                PublishResult::Ok
            }
            Err(BackendError::OverShare(_) | BackendError::InboxFull | BackendError::NotARepeat) => {
                PublishResult::Limited
            }
            Err(BackendError::Rights(refusal)) => {
                count_rights_refusal(*refusal);
                PublishResult::NotAllowed
            }
            Err(error) => match (refusal(error), error.outcome()) {
                (Some(reason), _) => {
                    counter!(names::CHANGES_REFUSED, "reason" => reason).increment(1);
                    PublishResult::NotAllowed
                }
                (None, Outcome::Refused) => PublishResult::Refused,
                (None, Outcome::Unknown) => PublishResult::Unknown,
            },
        };
        self.counters.ack.record(self.started.elapsed().as_secs_f64());
    }
}

impl Drop for Publishing<'_> {
    fn drop(&mut self) {
        self.counters.by_result[self.result as usize].increment(1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::protocol::{Epoch, Position};

    #[test]
    fn each_publish_is_counted_once_with_its_result() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let position = Position::start(Epoch::generate());
        let stored =
            |duplicate, is_unchanged| Stored { position, sent_at: 0, duplicate, logs_begun: 0, is_unchanged };
        let not_author = BackendError::Change(Box::new(ChangeRefusal::NotAuthor));
        metrics::with_local_recorder(&recorder, || {
            let counters = PublishCounters::new();
            let publishing = || Publishing::begin(&counters, EntryKind::React);
            publishing().end(Ok(&stored(false, false)));
            publishing().end(Ok(&stored(true, false)));
            publishing().end(Ok(&stored(false, true)));
            publishing().end(Err(&not_author));
            publishing().end(Err(&BackendError::OlderNodes));
            publishing().end(Err(&BackendError::Refused(String::new())));
            publishing().end(Err(&BackendError::OverShare(Duration::ZERO)));
            publishing().end(Err(&BackendError::Unknown(String::new())));
            drop(publishing());
        });
        let page = recorder.handle().render();
        for (name, count) in [
            ("publishes_total{result=\"ok\"}", 2),
            ("publishes_total{result=\"duplicate\"}", 1),
            ("publishes_total{result=\"refused\"}", 1),
            ("publishes_total{result=\"limited\"}", 1),
            ("publishes_total{result=\"not_allowed\"}", 2),
            ("publishes_total{result=\"unknown\"}", 2),
            ("entries_stored_total{kind=\"react\"}", 1),
            ("changes_refused_total{reason=\"forbidden\"}", 1),
            ("changes_refused_total{reason=\"older_nodes\"}", 1),
        ] {
            let line = format!("chat_{name} {count}\n");
            assert!(page.contains(&line), "{line} is not in {page}");
        }
    }
}
