//! Pings that prove that private messages arrived. Owns whether one is wanted; the connection sends it.

use super::{FOR_PROOF, Outbox, Proof};

impl Outbox {
    /// Asks for a ping soon, to prove that everything queued arrived.
    pub fn want_ping(&self) {
        if self.lock().proof == Proof::NotNeeded {
            self.change(FOR_PROOF, |state| state.proof = Proof::Wanted);
        }
    }

    /// Waits until a ping is asked for. The connection then plans one, and says when it sends it with
    /// [`Outbox::ping_sent`].
    pub async fn ping_wanted(&self) {
        self.until(FOR_PROOF, |state| {
            let is_wanted = state.proof == Proof::Wanted;
            is_wanted.then(|| state.proof = Proof::Planned)
        })
        .await;
    }

    /// A ping is about to be queued behind everything that is queued: later messages want another one.
    pub fn ping_sent(&self) {
        self.lock().proof = Proof::NotNeeded;
    }
}
