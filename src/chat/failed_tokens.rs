//! Failed tokens, at the upgrade and in requests, by address. Owns how many look-ups of tokens an address may cause in the
//! store before one succeeds. Asked by the node before a token is checked.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::limits::TokenBucket;

/// Failures at once: many people behind one address whose tokens have just expired. One more than the bucket holds, because
/// it may be overdrawn.
const BURST: u32 = 30;
/// Failures per second after that.
const PER_SECOND: u32 = 1;
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
    left: HashMap<IpAddr, TokenBucket>,
    /// When addresses that have everything left were last forgotten.
    swept: Option<Instant>,
}

impl FailedTokens {
    /// Takes one look-up from an address. If none is left, returns how long it takes until there is one. All look-ups
    /// count until they succeed, or any number of them could be under way.
    pub(super) fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        self.with(address, now, |bucket| bucket.try_take(1, now))
    }

    /// The look-up did not fail: it was no guess.
    pub(super) fn give_back(&self, address: IpAddr, now: Instant) {
        self.with(address, now, |bucket| bucket.give_back(1, now));
    }

    fn with<T>(&self, address: IpAddr, now: Instant, act: impl FnOnce(&mut TokenBucket) -> T) -> T {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let address = addresses.place_of(address, now);
        let fresh = || TokenBucket::new(PER_SECOND, BURST - 1, now);
        act(addresses.left.entry(address).or_insert_with(fresh))
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
            self.left.retain(|_, bucket| !bucket.is_full(now));
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
