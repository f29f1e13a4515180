//! How fast a user stores, over all nodes. Owns the trait for the rates that the nodes share: a node leases requests, and
//! spends them without asking. Implemented by every backend, called by `chat::user_rate`.

use std::time::Duration;

use async_trait::async_trait;

use super::error::BackendError;
use super::owner::Payer;

/// What a user may store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests per second, at least 1.
    pub per_second: u32,
    /// Requests at once after a pause, at least 1.
    pub burst: u32,
}

/// What a node asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseRequest {
    /// The rate of the user.
    pub rate: Rate,
    /// Requests that passed without a lease, less those of an earlier lease that were not used.
    pub owed: i64,
    /// The fewest requests that a lease has, from 1 to the burst.
    pub least: u32,
    /// The most requests that a lease has.
    pub most: u32,
}

/// What the store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateLease {
    /// The node may let so many requests pass.
    Granted(u32),
    /// The rate is used up. After this time a lease of the least size is there, unless another node takes it.
    Refused(Duration),
}

/// The rates of all users. What is owed is charged in any case; a rate that is not used fills up, and is then forgotten.
#[async_trait]
pub trait Rates: Send + Sync + 'static {
    /// Leases requests.
    ///
    /// # Errors
    /// The store did not answer. Then nobody knows whether it was charged.
    async fn lease(&self, payer: &Payer, request: LeaseRequest) -> Result<RateLease, BackendError>;
}
