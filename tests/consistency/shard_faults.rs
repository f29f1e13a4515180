//! The faults of a Redis Cluster: how each begins and how it ends. Owns nothing. Called by the injector.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::Rng;
use tokio::time::sleep;

use crate::fault::{Fault, STUCK_WINDOW};
use crate::history::Damage;
use crate::injector::Injector;
use crate::redis_shards::RedisShards;
use crate::wire::room_name;

/// Slots that move in one fault, beside those of the rooms.
const MOVED: usize = 20;

/// How long before the end of a dedupe window slots begin to move, to stay halfway.
const LEAD: Duration = Duration::from_millis(1_500);

/// The time until the dedupe window ends. Nodes count the windows by the clock of Redis, which is that of this machine.
fn until_window_ends() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    STUCK_WINDOW - Duration::from_millis((now.as_millis() % STUCK_WINDOW.as_millis()) as u64)
}

impl Injector<'_> {
    /// Causes one of these faults; returns once the cluster is whole again.
    pub async fn inject_at_shards(&mut self, fault: Fault) -> std::io::Result<()> {
        self.shards()?.until_complete().await?;
        let masters = self.shards()?.masters().await?;
        let master = masters[self.rng.random_range(0..masters.len())];
        let fault_now = match fault {
            Fault::ShardBroadcast if self.rng.random_bool(0.5) => Fault::ShardFailover,
            Fault::ShardBroadcast => Fault::ShardReshard,
            fault => fault,
        };
        match fault_now {
            Fault::ShardFailover => {
                let replica = self.shards()?.replica_of(master).await?;
                self.began(fault, Damage::None);
                self.shards()?.fail_over(replica).await?;
                self.ended(fault);
            }
            Fault::ShardKill => {
                self.began(fault, self.unacknowledged());
                self.shards_mut()?.server(master).kill();
                self.shards()?.until_replaced(master).await?;
                self.wait(0, 2_000).await;
                // The Acks of its rooms need a replica again.
                self.shards_mut()?.server(master).up().await?;
                self.shards()?.until_complete().await?;
                self.ended(fault);
            }
            Fault::ShardPause => {
                self.began(fault, Damage::None);
                self.shards_mut()?.server(master).stop();
                let replaced = self.shards()?.until_replaced(master).await;
                self.wait(0, 1_500).await;
                self.shards_mut()?.server(master).resume();
                replaced?;
                self.ended(fault);
            }
            Fault::ShardReshard => {
                self.began(fault, Damage::None);
                self.reshard(&masters).await?;
                self.ended(fault);
            }
            Fault::ShardStuck => {
                sleep(until_window_ends().saturating_sub(LEAD)).await;
                self.began(fault, Damage::None);
                let moves = self.moves(self.slots_of_rooms().await?, &masters).await?;
                for (slot, from, to) in &moves {
                    self.shards()?.begin_to_move(*slot, *from, *to).await?;
                }
                sleep(until_window_ends()).await;
                self.wait(1_500, 2_500).await;
                for (slot, from, to) in moves {
                    self.shards()?.end_move(slot, from, to).await?;
                }
                self.ended(fault);
            }
            _ => {
                let spared = self.rng.random_range(0..masters.len());
                let stopped: Vec<usize> =
                    masters.iter().enumerate().filter(|(at, _)| *at != spared).map(|(_, m)| *m).collect();
                self.began(fault, Damage::None);
                for number in &stopped {
                    self.shards_mut()?.server(*number).stop();
                }
                self.wait(4_000, 8_000).await;
                for number in &stopped {
                    self.shards_mut()?.server(*number).resume();
                }
                self.shards()?.until_complete().await?;
                self.ended(fault);
            }
        }
        self.shards()?.until_complete().await
    }

    /// Moves the slots of all rooms, and some others, to the next master.
    async fn reshard(&mut self, masters: &[usize]) -> std::io::Result<()> {
        let mut slots = self.slots_of_rooms().await?;
        slots.extend((0..MOVED).map(|_| self.rng.random_range(0..16_384)));
        for (slot, from, to) in self.moves(slots, masters).await? {
            self.shards()?.move_slot(slot, from, to).await?;
        }
        Ok(())
    }

    async fn slots_of_rooms(&self) -> std::io::Result<Vec<usize>> {
        let mut slots = Vec::new();
        for room in 0..8 {
            slots.extend(self.shards()?.slot(&format!("chat:{{r:{}}}", room_name(room))).await);
        }
        Ok(slots)
    }

    /// Each slot once, with its master and the next one.
    async fn moves(
        &self,
        mut slots: Vec<usize>,
        masters: &[usize],
    ) -> std::io::Result<Vec<(usize, usize, usize)>> {
        slots.sort_unstable();
        slots.dedup();
        let mut moves = Vec::new();
        for slot in slots {
            let Some(from) = self.shards()?.owner(masters[0], slot).await else { continue };
            let at = masters.iter().position(|master| *master == from).unwrap_or(0);
            moves.push((slot, from, masters[(at + 1) % masters.len()]));
        }
        Ok(moves)
    }

    fn shards(&self) -> std::io::Result<&RedisShards> {
        self.cluster.shards.as_ref().ok_or_else(no_cluster)
    }

    fn shards_mut(&mut self) -> std::io::Result<&mut RedisShards> {
        self.cluster.shards.as_mut().ok_or_else(no_cluster)
    }
}

fn no_cluster() -> std::io::Error {
    std::io::Error::other("the run has no Redis Cluster")
}
