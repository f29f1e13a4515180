//! What one user may store through this node without asking the store. Owns the arithmetic: a free share, the requests that were
//! leased, and how many to lease next. Has no clock, and is given the time. Used by `user_rate`.

use std::time::Duration;

use tokio::time::Instant;

use crate::backend::{LeaseRequest, Rate, RateLease};

/// The free share of each node is this part of rate and burst, and so is the smallest lease of the rate: a user who keeps below
/// it costs the store nothing, and a user over the rate costs it at most so many leases in a second.
const PART: u32 = 20;

/// How long a lease may be used. A second's worth of requests is the most that a lease has.
const LEASE: Duration = Duration::from_secs(1);

/// The state of one user on this node.
#[derive(Debug)]
pub(super) struct RateShare {
    /// Requests of the free share that the store has not been told of, at a time. The share grows back by itself.
    owed: f64,
    at: Instant,
    /// What is left of the last lease, and its end.
    leased: u32,
    leased_until: Instant,
    /// The size of the last lease that was asked for.
    chunk: u32,
    refused_until: Instant,
}

/// Whether a request may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    /// It may.
    Free,
    /// Not before this time has passed.
    Refused(Duration),
    /// The store has to be asked.
    Ask,
}

fn smallest_lease(rate: Rate) -> u32 {
    rate.per_second.div_ceil(PART).min(rate.burst)
}

impl RateShare {
    /// A user who did nothing lately.
    pub(super) fn new(now: Instant) -> Self {
        Self { owed: 0.0, at: now, leased: 0, leased_until: now, chunk: 0, refused_until: now }
    }

    fn owed_at(&self, rate: Rate, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.owed - elapsed * f64::from(rate.per_second) / f64::from(PART)).max(0.0)
    }

    fn is_leased(&self, now: Instant) -> bool {
        self.leased > 0 && now < self.leased_until
    }

    /// Whether forgetting it changes nothing.
    pub(super) fn is_idle(&self, rate: Rate, now: Instant) -> bool {
        now >= self.refused_until && now >= self.leased_until + LEASE && self.owed_at(rate, now) == 0.0
    }

    /// Takes one request.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) -> Passage {
        if now < self.refused_until {
            return Passage::Refused(self.refused_until - now);
        }
        if self.is_leased(now) {
            self.leased -= 1;
            return Passage::Free;
        }
        let owed = self.owed_at(rate, now) + 1.0;
        if owed > f64::from(rate.burst.div_ceil(PART)) {
            return Passage::Ask;
        }
        (self.owed, self.at) = (owed, now);
        Passage::Free
    }

    /// What to ask the store for. A lease that was used up in its time is followed by one of twice the size, and one that was not by
    /// one of half the size. What was not used is given back, unless the rate has had time to grow by as much.
    pub(super) fn request(&mut self, rate: Rate, now: Instant) -> LeaseRequest {
        let least = smallest_lease(rate);
        let next = if now < self.leased_until { self.chunk.saturating_mul(2) } else { self.chunk / 2 };
        self.chunk = next.clamp(least, rate.per_second.min(rate.burst).max(least));
        let unused = if now < self.leased_until + LEASE { std::mem::take(&mut self.leased) } else { 0 };
        let owed = self.owed_at(rate, now).ceil() as i64 - i64::from(unused);
        LeaseRequest { rate, owed, least, most: self.chunk }
    }

    /// Takes the answer of the store.
    pub(super) fn settle(&mut self, request: LeaseRequest, answer: RateLease, now: Instant) {
        (self.owed, self.at) = ((self.owed_at(request.rate, now) - request.owed.max(0) as f64).max(0.0), now);
        match answer {
            RateLease::Granted(leased) => (self.leased, self.leased_until) = (leased, now + LEASE),
            RateLease::Refused(wait) => self.refused_until = now + wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 200, burst: 400 };

    /// Takes requests until the share has to ask.
    fn take_all(share: &mut RateShare, now: Instant) -> u32 {
        let mut taken = 0;
        while share.take(RATE, now) == Passage::Free {
            taken += 1;
        }
        taken
    }

    #[test]
    fn user_within_the_free_share_never_asks() {
        let start = Instant::now();
        let mut share = RateShare::new(start);
        for request in 0..10_000 {
            let now = start + Duration::from_millis(100) * request;
            assert_eq!(share.take(RATE, now), Passage::Free, "{request}");
        }
        let last = start + Duration::from_millis(999_900);
        assert!(!share.is_idle(RATE, last) && share.is_idle(RATE, last + LEASE));
    }

    #[test]
    fn first_lease_pays_for_the_free_share() {
        let start = Instant::now();
        let mut share = RateShare::new(start);
        assert_eq!(take_all(&mut share, start), 20);
        assert_eq!(share.take(RATE, start), Passage::Ask);
        let request = share.request(RATE, start);
        assert_eq!((request.owed, request.least, request.most), (20, 10, 10));
        share.settle(request, RateLease::Granted(10), start);
        assert_eq!(take_all(&mut share, start), 30, "the lease, and the free share that is paid for");
    }

    #[test]
    fn lease_grows_with_its_use_and_ends_with_its_time() {
        let start = Instant::now();
        let mut share = RateShare::new(start);
        let mut sizes = Vec::new();
        for _ in 0..7 {
            take_all(&mut share, start);
            let request = share.request(RATE, start);
            sizes.push(request.most);
            share.settle(request, RateLease::Granted(request.most), start);
        }
        assert_eq!(sizes, [10, 20, 40, 80, 160, 200, 200], "at most what a second allows");
        assert_eq!(share.take(RATE, start), Passage::Free);
        let ended = start + LEASE;
        assert_eq!(take_all(&mut share, ended), 20, "only the free share is left");
        let request = share.request(RATE, ended);
        assert_eq!((request.owed, request.most), (20 - 199, 100), "the rest is given back");
        share.settle(request, RateLease::Granted(100), ended);
        let late = ended + 2 * LEASE;
        take_all(&mut share, late);
        assert_eq!(share.request(RATE, late).owed, 20, "the rate has grown by more meanwhile");
    }

    #[test]
    fn refused_user_waits_without_asking() {
        let start = Instant::now();
        let mut share = RateShare::new(start);
        take_all(&mut share, start);
        let request = share.request(RATE, start);
        let wait = Duration::from_millis(50);
        share.settle(request, RateLease::Refused(wait), start);
        assert_eq!(share.take(RATE, start), Passage::Refused(wait));
        let later = start + wait / 2;
        assert_eq!(share.take(RATE, later), Passage::Refused(wait / 2));
        assert_eq!(share.take(RATE, start + wait), Passage::Free);
    }

    #[test]
    fn smallest_rate_lets_one_request_pass_at_a_time() {
        let rate = Rate { per_second: 1, burst: 1 };
        let start = Instant::now();
        let mut share = RateShare::new(start);
        assert_eq!(share.take(rate, start), Passage::Free);
        assert_eq!(share.take(rate, start), Passage::Ask);
        let request = share.request(rate, start);
        assert_eq!((request.owed, request.least, request.most), (1, 1, 1));
    }
}
