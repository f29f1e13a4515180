//! Rates of users in Redis. Owns what `rate.lua` is called with; the script does the arithmetic. Called by `chat` through
//! [`Rates`].

use std::time::Duration;

use async_trait::async_trait;
use redis::Cmd;

use super::keys::Keys;
use super::router::Router;
use super::script::RATE;
use super::server::Lane;
use crate::backend::{BackendError, LeaseRequest, Payer, RateLease, Rates};

/// Rates of the cluster.
pub(super) struct RedisRates {
    pub(super) router: Router,
    pub(super) keys: Keys,
}

#[async_trait]
impl Rates for RedisRates {
    async fn lease(&self, payer: &Payer, request: LeaseRequest) -> Result<RateLease, BackendError> {
        let LeaseRequest { rate, owed, least, most } = request;
        let key = self.keys.rate(payer);
        let fill = |cmd: &mut Cmd| {
            cmd.arg(&key).arg(rate.per_second).arg(rate.burst).arg(owed).arg(least).arg(most);
        };
        let (leased, wait_ms): (u32, u64) = self.router.script((Lane::Short, &key), &RATE, 1, fill).await?;
        Ok(match leased {
            0 => RateLease::Refused(Duration::from_millis(wait_ms)),
            leased => RateLease::Granted(leased),
        })
    }
}
