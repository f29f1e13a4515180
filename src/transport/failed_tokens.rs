//! Failed tokens at the upgrade, by address. Owns how many look-ups of tokens an address may cause in the store before one
//! succeeds. Asked at the handshake, before the token is checked.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures at once: many people behind one address whose tokens have just expired.
const BURST: f64 = 30.0;
/// Failures per second after that.
const PER_SECOND: f64 = 1.0;
/// Addresses that are remembered. More than these share one place, so that no number of addresses takes more memory.
const MAX_ADDRESSES: usize = 16_384;
const OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What each address has left.
#[derive(Default)]
pub(super) struct FailedTokens {
    addresses: Mutex<Addresses>,
}

#[derive(Default)]
struct Addresses {
    left: HashMap<IpAddr, Left>,
    /// When addresses that have everything left were last forgotten.
    swept: Option<Instant>,
}

struct Left {
    level: f64,
    at: Instant,
}

impl Left {
    fn level_at(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.level + elapsed * PER_SECOND).min(BURST)
    }
}

impl FailedTokens {
    /// Takes one look-up from an address. If none is left, returns how long it takes until there is one. All look-ups
    /// count until they succeed, or any number of them could be under way.
    pub(super) fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        self.change(address, now, |level| {
            if *level < 1.0 {
                false
            } else {
                *level -= 1.0;
                true
            }
        })
    }

    /// The look-up did not fail: it was no guess.
    pub(super) fn give_back(&self, address: IpAddr, now: Instant) {
        let _always_succeeds = self.change(address, now, |level| {
            *level += 1.0;
            true
        });
    }

    fn change(
        &self,
        address: IpAddr,
        now: Instant,
        change: impl FnOnce(&mut f64) -> bool,
    ) -> Result<(), Duration> {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let address = addresses.place_of(address, now);
        let left = addresses.left.entry(address).or_insert(Left { level: BURST, at: now });
        *left = Left { level: left.level_at(now), at: now };
        if change(&mut left.level) {
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - left.level) / PER_SECOND))
    }
}

impl Addresses {
    fn place_of(&mut self, address: IpAddr, now: Instant) -> IpAddr {
        if self.left.contains_key(&address) {
            return address;
        }
        let is_due = self.swept.is_none_or(|swept| now - swept >= Duration::from_secs(1));
        if self.left.len() >= MAX_ADDRESSES && is_due {
            self.swept = Some(now);
            self.left.retain(|_, left| left.level_at(now) < BURST);
        }
        if self.left.len() >= MAX_ADDRESSES { OTHERS } else { address }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number))
    }

    #[test]
    fn address_has_a_burst_and_then_a_rate() {
        let (tokens, start) = (FailedTokens::default(), Instant::now());
        assert!((0..30).all(|_| tokens.take(address(1), start).is_ok()));
        assert_eq!(tokens.take(address(1), start), Err(Duration::from_secs(1)));
        assert!(tokens.take(address(2), start).is_ok(), "another address has its own");
        let later = start + Duration::from_secs(1);
        assert!(tokens.take(address(1), later).is_ok() && tokens.take(address(1), later).is_err());
        tokens.give_back(address(1), later);
        assert!(tokens.take(address(1), later).is_ok());
    }

    #[test]
    fn addresses_are_forgotten_and_bounded() {
        let (tokens, start) = (FailedTokens::default(), Instant::now());
        for number in 0..40_000 {
            let _some_share_a_place = tokens.take(address(number), start);
        }
        assert!(tokens.addresses.lock().unwrap().left.len() <= MAX_ADDRESSES + 1);
        assert!(tokens.take(address(50_000), start).is_err(), "the others share one place");
        assert!(tokens.take(address(50_000), start + Duration::from_secs(60)).is_ok());
        assert!(tokens.addresses.lock().unwrap().left.len() < 100);
    }
}
