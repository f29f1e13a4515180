//! What the connections of one thread have counted and timed. Owns the counters, the histograms, and what was acknowledged for
//! each log; judges nothing. Filled by sessions, merged by the fleet.

use std::collections::{BTreeMap, HashMap};

use hdrhistogram::Histogram;

use crate::stamp::Stamp;

/// Times are nanoseconds, up to an hour, to three digits.
const MAX_NANOS: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters; each only grows.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub(crate) struct Counts { $($(#[$doc])* pub(crate) $name: u64,)* }

        impl Counts {
            /// Adds those of another thread.
            pub(crate) fn add(&mut self, other: &Self) { $(self.$name += other.$name;)* }

            /// What was counted since an earlier moment.
            pub(crate) fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name - earlier.$name,)* }
            }
        }
    };
}

counts! {
    /// Connections that have joined all their rooms.
    joined,
    /// Connections that have joined all their rooms again, after they had left or were closed.
    returned,
    /// Connections that could not be opened, or did not join.
    failed,
    /// Connections that ended although nobody wanted it.
    closed,
    /// Messages that were sent.
    sent,
    /// Messages whose `Ack` came.
    acked,
    /// Messages that the server refused.
    refused,
    /// Messages whose outcome the server does not know.
    unknown,
    /// Messages that the schedule wanted and that were not sent, because too many waited at their connection.
    skipped,
    /// `Ack`s that came again, or for nothing.
    repeated_acks,
    /// Messages that were delivered.
    deliveries,
    /// Events that were delivered: who came, left or is typing.
    events,
    /// Deliveries that came before.
    repeated,
    /// Deliveries that came after a later one.
    disordered,
    /// Deliveries of rooms that the connection has not entered, and frames that are none of this protocol.
    misrouted,
    /// Gaps that the server signalled.
    gaps,
    /// Logs that started again without a signal.
    other_epochs,
    /// Messages of somebody else.
    strays,
    /// Notices that the server reads a connection more slowly.
    slowed,
    /// Bytes that were read.
    bytes,
}

impl Counts {
    /// Messages that have no answer yet.
    pub(crate) fn unanswered(&self) -> u64 {
        self.sent.saturating_sub(self.acked + self.refused + self.unknown)
    }
}

/// What the members of a log are to receive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) refused: u64,
    /// The sum of the digests of the acknowledged messages.
    pub(crate) digest: u64,
    /// The highest `seq` in an `Ack`; 0 for private logs, of which an `Ack` tells only the sender's.
    pub(crate) top: u64,
}

impl Expected {
    /// Another thread has publishers in the same log.
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acked += other.acked;
        self.refused += other.refused;
        self.digest = self.digest.wrapping_add(other.digest);
        self.top = self.top.max(other.top);
    }

    pub(crate) fn acked(&mut self, stamp: &Stamp, seq: u64) {
        self.acked += 1;
        self.digest = self.digest.wrapping_add(stamp.digest());
        self.top = self.top.max(seq);
    }
}

/// The account of a thread.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    /// From the intended time of sending to the arrival at each member, of messages of the measured time.
    pub(crate) delivery: Histogram<u64>,
    /// From the intended time of sending to the `Ack`.
    pub(crate) ack: Histogram<u64>,
    /// From the intended time of connecting until the connection has joined.
    pub(crate) join: Histogram<u64>,
    /// From the intended time of sending to the moment when this program had time for it.
    pub(crate) lag: Histogram<u64>,
    /// By the index of the log.
    pub(crate) expected: HashMap<u32, Expected>,
    /// Why connections failed, closed, or had a request refused: the text and how often.
    pub(crate) reasons: BTreeMap<String, u64>,
}

/// The most different reasons that are kept.
const MAX_REASONS: usize = 50;

impl Tally {
    pub(crate) fn new() -> Self {
        let histogram = || Histogram::new_with_max(MAX_NANOS, DIGITS).expect("the bounds are valid");
        Self {
            counts: Counts::default(),
            delivery: histogram(),
            ack: histogram(),
            join: histogram(),
            lag: histogram(),
            expected: HashMap::new(),
            reasons: BTreeMap::new(),
        }
    }

    /// Remembers why something failed.
    pub(crate) fn because(&mut self, reason: &str) {
        if let Some(count) = self.reasons.get_mut(reason) {
            *count += 1;
        } else if self.reasons.len() < MAX_REASONS {
            self.reasons.insert(reason.to_owned(), 1);
        }
    }

    /// Adds the account of another thread.
    pub(crate) fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        for (mine, theirs) in [
            (&mut self.delivery, &other.delivery),
            (&mut self.ack, &other.ack),
            (&mut self.join, &other.join),
            (&mut self.lag, &other.lag),
        ] {
            mine.add(theirs).expect("all histograms have the same bounds");
        }
        for (topic, expected) in &other.expected {
            self.expected.entry(*topic).or_default().add(expected);
        }
        for (reason, count) in &other.reasons {
            *self.reasons.entry(reason.clone()).or_default() += count;
        }
    }
}

/// Records a time; one beyond the bound counts as the bound.
pub(crate) fn record(histogram: &mut Histogram<u64>, from: u64, to: u64) {
    histogram.saturating_record(to.saturating_sub(from).max(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_tallies_say_what_one_would_say() {
        let stamp = |number| Stamp { run: 1, publisher: 1, number, intended: 0 };
        let (mut one, mut two, mut both) = (Tally::new(), Tally::new(), Tally::new());
        for number in 1..=1_000_u32 {
            let part = if number % 2 == 0 { &mut one } else { &mut two };
            for tally in [part, &mut both] {
                record(&mut tally.delivery, 0, u64::from(number) * 1_000);
                tally.counts.deliveries += 1;
                tally.expected.entry(number % 3).or_default().acked(&stamp(number), number.into());
                tally.because("lost");
            }
        }
        one.add(&two);
        assert_eq!((one.counts, &one.expected, &one.reasons), (both.counts, &both.expected, &both.reasons));
        assert_eq!(one.delivery, both.delivery);
        let median = one.delivery.value_at_quantile(0.5);
        assert!((499_000..=501_000).contains(&median), "{median}");
        assert_eq!(one.reasons["lost"], 1_000);
    }

    #[test]
    fn a_time_beyond_the_bound_is_kept_as_the_bound() {
        let mut tally = Tally::new();
        record(&mut tally.delivery, 0, u64::MAX);
        record(&mut tally.delivery, 5, 4);
        assert_eq!(tally.delivery.len(), 2);
        assert!(tally.delivery.max() >= MAX_NANOS);
    }

    #[test]
    fn counts_since_a_moment_are_differences() {
        let earlier = Counts { sent: 3, acked: 1, ..Counts::default() };
        let now = Counts { sent: 10, acked: 5, refused: 2, ..Counts::default() };
        assert_eq!(now.since(&earlier), Counts { sent: 7, acked: 4, refused: 2, ..Counts::default() });
        assert_eq!(now.unanswered(), 3);
    }
}
