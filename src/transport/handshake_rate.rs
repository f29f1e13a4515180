//! How many upgrades each address asks for in a minute. Owns when each address may ask again; the limit is in the settings of the
//! moment. Asked before anything else is done for an upgrade.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);
/// Addresses that are remembered. Further ones are not counted, so that no number of addresses takes more memory.
const MAX_ADDRESSES: usize = 16_384;

/// The upgrades of each address.
#[derive(Default)]
pub(super) struct HandshakeRate {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the address may ask for as many upgrades as in a whole minute again.
    full_at: HashMap<IpAddr, Instant>,
    /// When addresses that may do so were last forgotten.
    swept: Option<Instant>,
}

impl State {
    fn has_room_for(&mut self, address: IpAddr, now: Instant) -> bool {
        let is_due = self.swept.is_none_or(|swept| now - swept >= Duration::from_secs(1));
        if self.full_at.len() >= MAX_ADDRESSES && is_due {
            self.swept = Some(now);
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        self.full_at.len() < MAX_ADDRESSES || self.full_at.contains_key(&address)
    }

    /// When the address may ask for as many as in a whole minute, if it asks for one more now.
    fn next(&self, address: IpAddr, most: u32, now: Instant) -> Instant {
        let full_at = self.full_at.get(&address).map_or(now, |full_at| (*full_at).max(now));
        full_at + MINUTE / most
    }
}

impl HandshakeRate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the address has to wait with its next upgrade; zero if it need not. With `most` 0 there is no limit.
    pub(super) fn pause(&self, address: IpAddr, most: u32, now: Instant) -> Duration {
        if most == 0 {
            return Duration::ZERO;
        }
        self.lock().next(address, most, now).saturating_duration_since(now + MINUTE)
    }

    /// Takes one upgrade of the address: at most so many at once, and then as many in a minute.
    ///
    /// # Errors
    /// The address has to wait for so long. Nothing was taken.
    pub(super) fn take(&self, address: IpAddr, most: u32, now: Instant) -> Result<(), Duration> {
        if most == 0 {
            return Ok(());
        }
        let mut state = self.lock();
        let next = state.next(address, most, now);
        let pause = next.saturating_duration_since(now + MINUTE);
        if !pause.is_zero() {
            return Err(pause);
        }
        if state.has_room_for(address, now) {
            state.full_at.insert(address, next);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + number).into())
    }

    #[test]
    fn address_has_a_minute_at_once_and_then_the_rate() {
        let (rate, start) = (HandshakeRate::default(), Instant::now());
        assert!((0..6).all(|_| rate.take(address(1), 6, start).is_ok()));
        let wait = Duration::from_secs(10);
        assert_eq!(rate.pause(address(1), 6, start), wait);
        assert_eq!(rate.take(address(1), 6, start), Err(wait));
        assert_eq!(rate.take(address(2), 6, start), Ok(()));
        assert_eq!(rate.take(address(1), 0, start), Ok(()), "there is no limit");
        assert_eq!(rate.take(address(1), 6, start + wait), Ok(()));
        assert_eq!(rate.take(address(1), 6, start + wait), Err(wait));
        assert!((0..6).all(|_| rate.take(address(1), 6, start + wait + MINUTE).is_ok()));
    }

    #[test]
    fn upgrades_of_many_addresses_are_bounded_and_forgotten() {
        let (rate, start) = (HandshakeRate::default(), Instant::now());
        for number in 0..20_000 {
            rate.take(address(number), 1, start).unwrap();
        }
        assert_eq!(rate.lock().full_at.len(), MAX_ADDRESSES);
        assert!(rate.take(address(0), 1, start).is_err());
        rate.take(address(50_000), 1, start + MINUTE).unwrap();
        assert_eq!(rate.lock().full_at.len(), 1);
    }
}
