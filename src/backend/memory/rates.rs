//! Rates of users in memory. Owns when what each user has stored is paid for, by the generic cell rate algorithm: the same as in
//! `rate.lua`. Called by `chat` through [`Rates`].

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::lock::lock;
use crate::backend::{BackendError, LeaseRequest, Owner, Payer, RateLease, Rates};

/// How far ahead of the present the time may be at which all is paid for, in bursts. So nobody waits longer for what nodes
/// have let pass without a lease.
const MOST_BURSTS: f64 = 2.0;

/// Users above which those who owe nothing any more are forgotten.
const FIRST_PRUNE: usize = 1_024;

/// All rates of the process.
pub(super) struct MemoryRates {
    start: Instant,
    paid: Mutex<Paid>,
}

/// When what each user has stored is paid for, in seconds from the start. Users for whom this time has passed need no place.
struct Paid {
    until: HashMap<Owner, f64>,
    prune_at: usize,
}

impl Default for MemoryRates {
    fn default() -> Self {
        let paid = Paid { until: HashMap::new(), prune_at: FIRST_PRUNE };
        Self { start: Instant::now(), paid: Mutex::new(paid) }
    }
}

/// Charges what is owed, and then leases what is left. Returns when all is paid for, and the answer.
fn lease(paid_until: f64, now: f64, request: LeaseRequest) -> (f64, RateLease) {
    let LeaseRequest { rate, owed, least, most } = request;
    let interval = 1.0 / f64::from(rate.per_second);
    let window = f64::from(rate.burst) * interval;
    let paid = (paid_until.max(now) + owed as f64 * interval).clamp(now, now + MOST_BURSTS * window);
    // A rounding error must not hide a whole request.
    let left = ((now + window - paid) / interval + 1e-6).floor();
    if left < f64::from(least) {
        let wait = paid + f64::from(least) * interval - window - now;
        return (paid, RateLease::Refused(Duration::from_secs_f64(wait.max(0.001))));
    }
    let leased = left.min(f64::from(most));
    (paid + leased * interval, RateLease::Granted(leased as u32))
}

#[async_trait]
impl Rates for MemoryRates {
    async fn lease(&self, payer: &Payer, request: LeaseRequest) -> Result<RateLease, BackendError> {
        let now = self.start.elapsed().as_secs_f64();
        let mut paid = lock(&self.paid);
        if paid.until.len() >= paid.prune_at {
            paid.until.retain(|_, until| *until > now);
            paid.prune_at = (paid.until.len() * 2).max(FIRST_PRUNE);
        }
        let until = paid.until.entry(Owner::from(payer)).or_insert(now);
        let (paid_until, answer) = lease(*until, now, request);
        *until = paid_until;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::backend::Rate;

    #[tokio::test(start_paused = true)]
    async fn users_without_debt_are_forgotten() {
        let rates = MemoryRates::default();
        let rate = Rate { per_second: 10, burst: 10 };
        let request = LeaseRequest { rate, owed: 0, least: 1, most: 1 };
        for number in 0..100_000_u32 {
            let payer = Payer::Address(IpAddr::from(number.to_be_bytes()));
            rates.lease(&payer, request).await.unwrap();
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let held = lock(&rates.paid).until.len();
        assert!(held <= 2 * FIRST_PRUNE, "{held}");
    }
}
