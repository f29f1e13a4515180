//! The master of a store whose master can move. Owns which server it is, its number in the order of masters, and whether writes
//! wait for a failover; asks nobody. Set by the task that follows the Sentinels, asked by the connector and the connections.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::config::RedisAddress;
use crate::failpoints::{self, Failpoint};

/// Why a server of a cluster is not used.
const RETIRED: &str = "the server is no longer a master of the Redis Cluster";

/// One master in the order of masters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Term {
    /// Its number. A connection of an earlier number leads to a replaced master.
    pub(super) number: u64,
    /// Where the node reaches it.
    pub(super) address: RedisAddress,
}

/// What is known of the master; its clones share it.
#[derive(Clone)]
pub(super) struct Master(Arc<Shared>);

struct Shared {
    state: watch::Sender<State>,
    /// Somebody wants to know at once.
    question: Arc<Notify>,
}

struct State {
    /// The master, or why it is not known.
    term: Result<Term, String>,
    /// Why writes wait.
    hold: Option<&'static str>,
    /// It stood still, and was not confirmed since. Only in a cluster: Sentinels say when they replace a master.
    is_suspect: bool,
    /// Whether nobody says that it is being replaced, so that it has to be suspected.
    is_in_cluster: bool,
    /// Counts the failovers that have begun.
    failovers: u64,
    /// A master is replaced at the earliest when it has been silent for this long.
    window: Option<Duration>,
    rounds: Rounds,
}

impl State {
    fn is_held(&self) -> bool {
        self.hold.is_some() || self.is_suspect
    }
}

/// Rounds of questions to those who know the master, by their numbers.
#[derive(Default)]
struct Rounds {
    begun: u64,
    ended: u64,
    /// The last one that has proved the present master.
    confirmed: u64,
}

/// A round that has begun.
pub(super) struct Round {
    number: u64,
    failovers: u64,
}

impl Master {
    /// Nothing is known yet, for this reason.
    pub(super) fn unknown(why: impl Into<String>) -> Self {
        let state = State {
            term: Err(why.into()),
            hold: None,
            is_suspect: false,
            is_in_cluster: false,
            failovers: 0,
            window: None,
            rounds: Rounds::default(),
        };
        Self(Arc::new(Shared { state: watch::Sender::new(state), question: Arc::default() }))
    }

    /// A master of a cluster, which stays where it is until it is one no longer. `question` is notified when somebody wants to know
    /// whether it still is; it is replaced at the earliest after it was silent for `window`.
    pub(super) fn in_cluster(address: RedisAddress, window: Option<Duration>, question: Arc<Notify>) -> Self {
        let state = State {
            term: Ok(Term { number: 1, address }),
            hold: None,
            is_suspect: false,
            is_in_cluster: true,
            failovers: 0,
            window,
            rounds: Rounds::default(),
        };
        Self(Arc::new(Shared { state: watch::Sender::new(state), question }))
    }

    /// It stands still. In a cluster, nothing is written to it and nothing that it says counts until it was confirmed: when it
    /// goes on, it may have been replaced.
    pub(super) fn suspect(&self) {
        self.0.state.send_if_modified(|state| {
            let is_new = state.is_in_cluster && !state.is_suspect;
            state.is_suspect |= is_new;
            is_new
        });
    }

    /// Whether it stood still and was not confirmed since.
    pub(super) fn is_suspect(&self) -> bool {
        self.0.state.borrow().is_suspect
    }

    /// It answers, and is confirmed.
    pub(super) fn trust(&self) {
        self.0.state.send_if_modified(|state| std::mem::take(&mut state.is_suspect));
    }

    /// It is a master no longer, and never again.
    pub(super) fn retire(&self) {
        self.0.state.send_modify(|state| state.term = Err(RETIRED.into()));
    }

    /// The master, or why it is not known.
    pub(super) fn term(&self) -> Result<Term, String> {
        self.0.state.borrow().term.clone()
    }

    /// Whether this is still the number of the master.
    pub(super) fn is_current(&self, number: u64) -> bool {
        self.0.state.borrow().term.as_ref().is_ok_and(|term| term.number == number)
    }

    /// How long a master must be silent before it is replaced, if that is known.
    pub(super) fn window(&self) -> Option<Duration> {
        self.0.state.borrow().window
    }

    /// Whether writes have to wait.
    pub(super) fn is_held(&self) -> bool {
        !failpoints::is(Failpoint::TrustStall) && self.0.state.borrow().is_held()
    }

    /// Resolves once writes need not wait.
    pub(super) async fn released(&self) {
        // The sender is in `self`, so it exists.
        if self.is_held() {
            let _ = self.0.state.subscribe().wait_for(|state| !state.is_held()).await;
        }
    }

    /// Lets the next round begin at once.
    pub(super) fn ask(&self) {
        self.0.question.notify_one();
    }

    /// Resolves once somebody has asked.
    pub(super) async fn asked(&self) {
        self.0.question.notified().await;
    }

    /// Whether a round that begins from now on proves that the master with this number is the present one. Has no deadline.
    pub(super) async fn confirm(&self, number: u64) -> bool {
        let mut state = self.0.state.subscribe();
        let first = state.borrow().rounds.begun + 1;
        self.ask();
        let ended = state.wait_for(|state| state.rounds.ended >= first).await;
        ended.is_ok_and(|state| {
            state.rounds.confirmed >= first && state.term.as_ref().is_ok_and(|term| term.number == number)
        })
    }

    /// A round begins.
    pub(super) fn begin_round(&self) -> Round {
        let mut round = Round { number: 0, failovers: 0 };
        self.0.state.send_modify(|state| {
            state.rounds.begun += 1;
            round = Round { number: state.rounds.begun, failovers: state.failovers };
        });
        round
    }

    /// A round ends: whether it has proved the present master, and why writes wait. A failover that has begun meanwhile counts
    /// more than what was said before it.
    pub(super) fn end_round(&self, round: &Round, is_confirmed: bool, hold: Option<&'static str>) {
        self.0.state.send_modify(|state| {
            state.rounds.ended = round.number;
            if state.failovers != round.failovers {
                return;
            }
            state.hold = hold;
            if is_confirmed {
                state.rounds.confirmed = round.number;
            }
        });
    }

    /// A failover begins: writes wait until a round has shown how it ends.
    pub(super) fn begin_failover(&self, why: &'static str) {
        self.0.state.send_modify(|state| {
            state.failovers += 1;
            state.hold = Some(why);
        });
        self.ask();
    }

    /// The master, as the last round has shown. True if it is another one than before.
    pub(super) fn set(&self, address: RedisAddress) -> bool {
        self.0.state.send_if_modified(|state| {
            let number = match &state.term {
                Ok(term) if term.address == address => return false,
                Ok(term) => term.number + 1,
                Err(_) => 1,
            };
            state.term = Ok(Term { number, address });
            true
        })
    }

    /// Why the master is not known; nothing changes if it is.
    pub(super) fn explain(&self, why: String) {
        self.0.state.send_if_modified(|state| match &mut state.term {
            Ok(_) => false,
            Err(before) => {
                *before = why;
                true
            }
        });
    }

    /// Takes how long a master must be silent before it is replaced.
    pub(super) fn set_window(&self, window: Duration) {
        self.0.state.send_modify(|state| state.window = Some(window));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn at(port: u16) -> RedisAddress {
        RedisAddress::Tcp { host: "h".into(), port, is_tls: false }
    }

    #[test]
    fn each_address_begins_a_new_term() {
        let master = Master::unknown("none");
        assert_eq!(master.term(), Err("none".into()));
        master.explain("still none".into());
        assert_eq!(master.term(), Err("still none".into()));
        assert!(master.set(at(1)) && !master.set(at(1)) && master.is_current(1));
        master.explain("lost".into());
        assert!(master.set(at(2)) && master.set(at(1)), "a master may come back");
        assert_eq!(master.term(), Ok(Term { number: 3, address: at(1) }));
        assert!(!master.is_current(1));
    }

    #[test]
    fn only_a_round_that_begins_later_confirms() {
        let master = Master::unknown("");
        master.set(at(1));
        let before = master.begin_round();
        let mut confirmed = Box::pin(master.confirm(1));
        assert!(confirmed.as_mut().now_or_never().is_none());
        master.end_round(&before, true, None);
        assert!(confirmed.as_mut().now_or_never().is_none());
        let round = master.begin_round();
        master.end_round(&round, true, None);
        assert_eq!(confirmed.now_or_never(), Some(true));
        for (is_confirmed, port) in [(false, 1), (true, 2)] {
            let mut confirmed = Box::pin(master.confirm(1));
            assert!(confirmed.as_mut().now_or_never().is_none());
            let round = master.begin_round();
            master.set(at(port));
            master.end_round(&round, is_confirmed, None);
            assert_eq!(confirmed.now_or_never(), Some(false));
        }
    }

    #[test]
    fn writes_wait_until_a_round_after_the_failover_began() {
        let master = Master::unknown("");
        let before = master.begin_round();
        master.begin_failover("a failover");
        master.end_round(&before, true, None);
        assert!(master.is_held() && master.released().now_or_never().is_none());
        let during = master.begin_round();
        master.end_round(&during, false, Some("a failover"));
        assert!(master.is_held());
        let after = master.begin_round();
        master.end_round(&after, true, None);
        assert!(!master.is_held() && master.released().now_or_never().is_some());
    }

    #[test]
    fn master_of_a_cluster_that_stood_still_is_held_until_trusted() {
        let master = Master::in_cluster(at(1), None, Arc::default());
        assert!(master.is_current(1) && !master.is_held());
        master.suspect();
        let round = master.begin_round();
        master.end_round(&round, true, None);
        assert!(master.is_held() && master.released().now_or_never().is_none(), "no connection was proved");
        master.trust();
        assert!(!master.is_held() && master.released().now_or_never().is_some());
        master.suspect();
        master.retire();
        assert!(!master.is_current(1) && master.is_held());

        let of_sentinels = Master::unknown("");
        of_sentinels.suspect();
        assert!(!of_sentinels.is_held(), "the Sentinels say when");
    }
}
