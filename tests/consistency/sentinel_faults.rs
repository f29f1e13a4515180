//! The faults of a set with Sentinels: how each begins and how it ends. Owns nothing. Called by the injector.

use rand::Rng;

use crate::fault::Fault;
use crate::history::Damage;
use crate::injector::Injector;
use crate::process::RedisServer;
use crate::sentinel_set::SentinelSet;

impl Injector<'_> {
    /// Causes one of these faults; returns once all servers and Sentinels have found each other again.
    pub async fn inject_at_sentinels(&mut self, fault: Fault) -> std::io::Result<()> {
        self.set()?.until_complete().await?;
        let old =
            self.set()?.master().await.ok_or_else(|| std::io::Error::other("the Sentinels disagree"))?;
        let sentinel = self.rng.random_range(0..3);
        match fault {
            Fault::SentinelFailover => {
                self.began(fault, Damage::None);
                self.set()?.fail_over(sentinel).await?;
                self.set()?.until_replaced(old, 3).await?;
                self.ended(fault);
            }
            Fault::SentinelKill => {
                self.began(fault, self.unacknowledged());
                self.server(old)?.kill();
                self.set()?.until_replaced(old, 3).await?;
                self.wait(0, 2_000).await;
                // Its Acks need a replica again.
                self.server(old)?.up().await?;
                self.set()?.until_complete().await?;
                self.ended(fault);
            }
            Fault::PauseMaster => {
                self.began(fault, Damage::None);
                self.server(old)?.stop();
                let promoted = self.set()?.until_promoted(&self.cluster.redis, old).await;
                self.wait(0, 1_500).await;
                self.server(old)?.resume();
                promoted?;
                self.set()?.until_replaced(old, 3).await?;
                self.ended(fault);
            }
            Fault::SentinelMinority => {
                self.began(fault, self.unacknowledged());
                self.set()?.cut(old, sentinel);
                let replaced = self.set()?.until_replaced(old, 2).await;
                self.wait(2_000, 5_000).await;
                self.set()?.mend();
                replaced?;
                self.set()?.until_replaced(old, 3).await?;
                self.ended(fault);
            }
            _ => {
                // Clients notice nothing.
                self.began(fault, Damage::None);
                self.ended(fault);
                self.cluster.set.iter_mut().for_each(SentinelSet::kill_sentinels);
                self.wait(4_000, 10_000).await;
                match &mut self.cluster.set {
                    Some(set) => set.restart_sentinels().await?,
                    None => return Err(no_sentinels()),
                }
            }
        }
        self.set()?.until_complete().await
    }

    /// What was on its way to a replica may be gone. Nobody got an Ack for it, since an Ack needs a replica.
    pub fn unacknowledged(&self) -> Damage {
        Damage::Unacknowledged { since: self.recorder.now().saturating_sub(200_000) }
    }

    fn set(&self) -> std::io::Result<&SentinelSet> {
        self.cluster.set.as_ref().ok_or_else(no_sentinels)
    }

    /// The server with this number.
    fn server(&mut self, number: usize) -> std::io::Result<&mut RedisServer> {
        match (number, &mut self.cluster.set) {
            (0, _) => Ok(&mut self.cluster.redis),
            (number, Some(set)) => Ok(set.replica(number)),
            (_, None) => Err(no_sentinels()),
        }
    }
}

fn no_sentinels() -> std::io::Error {
    std::io::Error::other("the run has no Sentinels")
}
