//! How fast one user may store, over all its connections on all nodes. Owns what each user has left on this node, and asks the store for
//! more; the arithmetic is in `rate_share`. Asked by the publisher before each request of a user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use metrics::counter;
use tokio::time::{Instant, timeout};

use super::rate_share::{Passage, RateShare};
use crate::backend::{LeaseRequest, Owner, Payer, Rate, Rates};
use crate::metrics as names;

/// How long the store may take for a lease. Nobody waits longer than that for a limit.
const ANSWER_TIME: Duration = Duration::from_millis(200);

/// For how long the store is not asked again when it gave no answer. All requests that would need a lease pass meanwhile.
const PAUSE: Duration = Duration::from_secs(1);

/// Users above which those who are idle are forgotten.
const FIRST_PRUNE: usize = 1_024;

/// Users that are remembered. Requests of further ones pass, so that no number of users takes more memory.
const MAX_USERS: usize = 65_536;

/// A question to the store, which all requests of one user wait for.
type Question = Shared<BoxFuture<'static, ()>>;

/// The rate of every user, as this node knows it.
pub(super) struct UserRate {
    rates: Arc<dyn Rates>,
    state: Mutex<State>,
}

struct State {
    /// `None`: there is no limit.
    rate: Option<Rate>,
    users: HashMap<Owner, User>,
    prune_at: usize,
    pruned: Option<Instant>,
    /// The store gave no answer.
    paused_until: Option<Instant>,
}

struct User {
    share: RateShare,
    /// As long as a request waits for it.
    question: Option<WeakShared<BoxFuture<'static, ()>>>,
}

impl User {
    fn question(&self) -> Option<Question> {
        self.question.as_ref().and_then(WeakShared::upgrade)
    }
}

/// What follows for a request.
enum Next {
    Pass,
    Refuse(Duration),
    Wait(Question),
}

impl State {
    fn has_place_for(&mut self, owner: Owner, rate: Rate, now: Instant) -> bool {
        if self.users.contains_key(&owner) {
            return true;
        }
        let is_due = self.pruned.is_none_or(|pruned| now - pruned >= PAUSE) || self.users.len() < MAX_USERS;
        if self.users.len() >= self.prune_at && is_due {
            self.pruned = Some(now);
            self.users.retain(|_, user| user.question().is_some() || !user.share.is_idle(rate, now));
            self.prune_at = (self.users.len() * 2).clamp(FIRST_PRUNE, MAX_USERS);
        }
        self.users.len() < MAX_USERS
    }
}

impl UserRate {
    /// Without a rate there is no limit.
    pub(super) fn new(rates: Arc<dyn Rates>, rate: Option<Rate>) -> Self {
        let state =
            State { rate, users: HashMap::new(), prune_at: FIRST_PRUNE, pruned: None, paused_until: None };
        Self { rates, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the rate. What the store has charged stays.
    pub(super) fn set(&self, rate: Option<Rate>) {
        let mut state = self.state();
        if state.rate != rate {
            state.rate = rate;
            state.users.clear();
        }
    }

    /// Takes one request of a user. Only a user who sends more than the free share of this node waits for the store.
    ///
    /// # Errors
    /// The user has sent too much: it may try again after a time.
    pub(super) async fn take(self: &Arc<Self>, payer: &Payer, owner: Owner) -> Result<(), Duration> {
        loop {
            match self.next(payer, owner, Instant::now()) {
                Next::Pass => return Ok(()),
                Next::Refuse(wait) => return Err(wait),
                Next::Wait(question) => question.await,
            }
        }
    }

    fn next(self: &Arc<Self>, payer: &Payer, owner: Owner, now: Instant) -> Next {
        let mut state = self.state();
        let Some(rate) = state.rate else { return Next::Pass };
        if !state.has_place_for(owner, rate, now) {
            return Next::Pass;
        }
        let is_paused = state.paused_until.is_some_and(|until| now < until);
        let fresh = || User { share: RateShare::new(now), question: None };
        let user = state.users.entry(owner).or_insert_with(fresh);
        match user.share.take(rate, now) {
            Passage::Free => return Next::Pass,
            Passage::Refused(wait) => return Next::Refuse(wait),
            Passage::Ask if is_paused => return Next::Pass,
            Passage::Ask => {}
        }
        if let Some(question) = user.question() {
            return Next::Wait(question);
        }
        let request = user.share.request(rate, now);
        let question = self.clone().ask(payer.clone(), owner, request).boxed().shared();
        user.question = question.downgrade();
        Next::Wait(question)
    }

    /// Asks the store, and takes its answer. Goes on as long as a request waits for it.
    async fn ask(self: Arc<Self>, payer: Payer, owner: Owner, request: LeaseRequest) {
        let answer = timeout(ANSWER_TIME, self.rates.lease(&payer, request)).await;
        let mut state = self.state();
        let now = Instant::now();
        if let Some(user) = state.users.get_mut(&owner) {
            // Before the requests that wait go on: they may have to ask again.
            user.question = None;
            if let Ok(Ok(answer)) = answer {
                user.share.settle(request, answer, now);
            }
        }
        if !matches!(answer, Ok(Ok(_))) {
            counter!(names::USER_RATE_UNANSWERED).increment(1);
            state.paused_until = Some(now + PAUSE);
        }
    }
}

#[cfg(test)]
mod tests;
