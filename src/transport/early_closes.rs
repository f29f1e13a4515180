//! Connections that the node closed directly after their upgrade, by address. Owns when an address that comes back too often
//! has to wait: many libraries pause only after an upgrade that failed. Told by connections, asked at the upgrade.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::CloseReason;

/// How soon after its upgrade a connection has to be closed to be counted.
const EARLY: Duration = Duration::from_secs(1);
/// Three within this time are too many.
const WINDOW: Duration = Duration::from_secs(10);
/// How long the address then has to wait.
const PAUSE: Duration = Duration::from_secs(10);
/// Addresses that are remembered. Further ones are not counted, so that no number of addresses takes more memory.
const MAX_ADDRESSES: usize = 16_384;

/// What each address did lately.
#[derive(Default)]
pub(super) struct EarlyCloses {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    addresses: HashMap<IpAddr, Closes>,
    /// When addresses that did nothing lately were last forgotten.
    swept: Option<Instant>,
}

struct Closes {
    last: Instant,
    before_last: Option<Instant>,
    paused_until: Option<Instant>,
}

impl Closes {
    fn is_over(&self, now: Instant) -> bool {
        self.last + WINDOW <= now && self.paused_until.is_none_or(|until| until <= now)
    }
}

impl State {
    fn has_room_for(&mut self, address: IpAddr, now: Instant) -> bool {
        let is_due = self.swept.is_none_or(|swept| now - swept >= Duration::from_secs(1));
        if self.addresses.len() >= MAX_ADDRESSES && is_due {
            self.swept = Some(now);
            self.addresses.retain(|_, closes| !closes.is_over(now));
        }
        self.addresses.len() < MAX_ADDRESSES || self.addresses.contains_key(&address)
    }
}

impl EarlyCloses {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the address still has to wait.
    pub(super) fn pause(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let until = self.lock().addresses.get(&address)?.paused_until?;
        Some(until.saturating_duration_since(now)).filter(|pause| !pause.is_zero())
    }

    fn count(&self, address: IpAddr, now: Instant) {
        let mut state = self.lock();
        if !state.has_room_for(address, now) {
            return;
        }
        let Some(closes) = state.addresses.get_mut(&address) else {
            state.addresses.insert(address, Closes { last: now, before_last: None, paused_until: None });
            return;
        };
        if closes.before_last.is_some_and(|first| now - first < WINDOW) {
            closes.paused_until = Some(now + PAUSE);
        }
        closes.before_last = Some(closes.last);
        closes.last = now;
    }
}

/// A connection that is counted if the node closes it early.
pub(super) struct Young {
    opened: Instant,
    /// None for an address that many clients have.
    address: Option<IpAddr>,
    closes: Arc<EarlyCloses>,
}

impl Young {
    /// It is upgraded now.
    pub(super) fn new(address: Option<IpAddr>, closes: Arc<EarlyCloses>) -> Self {
        Self { opened: Instant::now(), address, closes }
    }

    /// The connection is about to end. What the client or an administrator ended is not counted, and neither is a drain.
    pub(super) fn ends(&self, reason: CloseReason) {
        use CloseReason::{Lost, Normal, Removed, TokenRevoked};
        let is_counted = !reason.is_drain() && !matches!(reason, Normal | Lost | Removed | TokenRevoked);
        let now = Instant::now();
        if let Some(address) = self.address.filter(|_| is_counted && now - self.opened < EARLY) {
            self.closes.count(address, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + number).into())
    }

    #[tokio::test(start_paused = true)]
    async fn third_early_close_in_ten_seconds_pauses_the_address() {
        let closes = Arc::new(EarlyCloses::default());
        let end = |address, reason| Young::new(Some(address), closes.clone()).ends(reason);
        for _ in 0..5 {
            end(address(1), CloseReason::Normal);
            end(address(1), CloseReason::Restarting);
            Young::new(None, closes.clone()).ends(CloseReason::Full);
        }
        let late = Young::new(Some(address(1)), closes.clone());
        tokio::time::advance(EARLY).await;
        late.ends(CloseReason::Full);
        for _ in 0..2 {
            end(address(1), CloseReason::Full);
        }
        assert_eq!(closes.pause(address(1), Instant::now()), None);
        end(address(1), CloseReason::ProtocolError);
        assert_eq!(closes.pause(address(1), Instant::now()), Some(PAUSE));
        assert_eq!(closes.pause(address(2), Instant::now()), None);
        tokio::time::advance(PAUSE).await;
        assert_eq!(closes.pause(address(1), Instant::now()), None);
        end(address(1), CloseReason::Full);
        assert_eq!(closes.pause(address(1), Instant::now()), None, "the others are too long ago");
    }

    #[tokio::test(start_paused = true)]
    async fn early_closes_of_many_addresses_are_bounded_and_forgotten() {
        let closes = EarlyCloses::default();
        for number in 0..20_000 {
            closes.count(address(number), Instant::now());
        }
        assert_eq!(closes.lock().addresses.len(), MAX_ADDRESSES);
        tokio::time::advance(WINDOW).await;
        closes.count(address(50_000), Instant::now());
        assert_eq!(closes.lock().addresses.len(), 1);
    }
}
