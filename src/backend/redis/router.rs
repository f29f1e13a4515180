//! Calls to the store, wherever their keys are. Owns the choice of the server for a key, and in a Redis Cluster the way after a
//! redirect; does not know the commands. Called by the stores.
//!
//! For a single Redis, this costs nothing: there is one server, and no slot is computed unless it has several connections.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Cmd, FromRedisValue, Pipeline, Value, from_redis_value};
use tokio::time::Instant;

use super::call::Call;
use super::error::ConnectionRole;
use super::publish_item::PublishItem;
use super::publish_queue::NotPublished;
use super::redirect::Failure;
use super::route::Route;
use super::script::Script;
use super::server::{Lane, Server};
use super::slot::Slot;
use super::slot_reader::RefreshSignal;
use super::topology::{Topology, TopologyWatch};
use crate::backend::BackendError;

/// A publish that was executed.
pub(super) struct Published {
    /// The reply of the script for this publish.
    pub(super) reply: Value,
    /// The slot is moving, and the publish was executed where it moves to. This is the server that it leaves.
    pub(super) source: Option<Arc<Server>>,
    /// The time of the call is over then.
    pub(super) deadline: Instant,
}

/// Sends calls.
#[derive(Clone)]
pub(super) struct Router {
    topology: TopologyWatch,
    refresh: RefreshSignal,
    /// How long a call may take.
    timeout: Duration,
}

impl Router {
    /// Sends calls to the masters of the topology, and raises the signal when it seems to have changed.
    pub(super) fn new(topology: TopologyWatch, refresh: RefreshSignal, timeout: Duration) -> Self {
        Self { topology, refresh, timeout }
    }

    /// The newest topology.
    pub(super) fn topology(&self) -> Arc<Topology> {
        self.topology.now()
    }

    /// Runs a script. `fill` appends `keys` keys, of the slot of `key`, then the arguments.
    pub(super) async fn script<T: FromRedisValue>(
        &self,
        (lane, key): (Lane, &str),
        script: &Script,
        keys: usize,
        fill: impl Fn(&mut Cmd) + Send + Sync,
    ) -> Result<T, BackendError> {
        parsed(lane, self.call(lane, key, &Call::Script(script, keys, &fill)).await?)
    }

    /// Runs a command for a key.
    pub(super) async fn command<T: FromRedisValue>(
        &self,
        (lane, key): (Lane, &str),
        command: &Cmd,
    ) -> Result<T, BackendError> {
        parsed(lane, self.call(lane, key, &Call::Command(command)).await?)
    }

    /// Runs commands one directly after the other, for keys of the slot of `key`.
    pub(super) async fn pipeline<T: FromRedisValue>(
        &self,
        (lane, key): (Lane, &str),
        pipeline: &Pipeline,
    ) -> Result<T, BackendError> {
        parsed(lane, self.call(lane, key, &Call::Pipeline(pipeline)).await?)
    }

    /// Runs `per_key` commands for each key, in one round trip for each server. `add` appends the commands for a key.
    pub(super) async fn for_each_key(
        &self,
        lane: Lane,
        keys: &[String],
        per_key: usize,
        add: impl Fn(&mut Pipeline, &str) + Send + Sync,
    ) -> Vec<Result<Vec<Value>, BackendError>> {
        let topology = self.topology.now();
        let mut servers: Vec<(Slot, &Arc<Server>, Vec<usize>)> = Vec::new();
        let mut results = vec![None; keys.len()];
        for (index, key) in keys.iter().enumerate() {
            let slot = topology.only().map_or_else(|| Slot::of(key), |only| slot_on(only, key));
            let Some(owner) = topology.owner(slot) else { continue };
            match servers.iter_mut().find(|(_, server, _)| Arc::ptr_eq(server, owner)) {
                Some((.., indices)) => indices.push(index),
                None => servers.push((slot, owner, vec![index])),
            }
        }
        let deadline = Instant::now() + self.timeout;
        let calls = servers.into_iter().map(|(slot, server, indices)| {
            let add = &add;
            async move {
                let mut pipeline = Pipeline::with_capacity(per_key * indices.len());
                indices.iter().for_each(|index| add(&mut pipeline, &keys[*index]));
                let reply = server.call((lane, slot), &Call::Pipeline(&pipeline), false, deadline).await;
                (indices, reply)
            }
        });
        for (indices, reply) in join_all(calls).await {
            match reply {
                Ok(Value::Array(replies)) if replies.len() == per_key * indices.len() => {
                    let mut replies = replies.into_iter();
                    for index in indices {
                        results[index] = Some(Ok(replies.by_ref().take(per_key).collect()));
                    }
                }
                // Some of the slots have moved: each key by itself finds its way.
                Err(Failure { redirect: Some(_), .. }) if topology.only().is_none() => {
                    let singly = indices.iter().map(|index| {
                        let (key, mut pipeline) = (&keys[*index], Pipeline::with_capacity(per_key));
                        add(&mut pipeline, key);
                        async move { self.pipeline((lane, key), &pipeline).await }
                    });
                    let singly = join_all(singly).await;
                    indices.into_iter().zip(singly).for_each(|(index, reply)| results[index] = Some(reply));
                }
                Ok(_) => {
                    let malformed = ConnectionRole::Pool.malformed_reply();
                    indices.into_iter().for_each(|index| results[index] = Some(Err(malformed.clone())));
                }
                Err(failure) => {
                    self.suspect(&failure);
                    indices.into_iter().for_each(|index| results[index] = Some(Err(failure.error.clone())));
                }
            }
        }
        results.into_iter().map(|reply| reply.unwrap_or_else(|| Err(ConnectionRole::Pool.nobody()))).collect()
    }

    /// Runs a command that has no key, on the server that is first now.
    pub(super) async fn anywhere<T: FromRedisValue>(
        &self,
        lane: Lane,
        command: &Cmd,
    ) -> Result<T, BackendError> {
        let topology = self.topology.now();
        let Some(master) = topology.masters().first() else {
            return Err(ConnectionRole::Command.nobody());
        };
        let deadline = Instant::now() + self.timeout;
        let reply = master.call((lane, Slot::number(0)), &Call::Command(command), false, deadline).await;
        parsed(lane, reply.inspect_err(|failure| self.suspect(failure))?)
    }

    async fn call(&self, lane: Lane, key: &str, call: &Call<'_>) -> Result<Value, BackendError> {
        let deadline = Instant::now() + self.timeout;
        if let Some(master) = self.topology.now().only() {
            return Ok(master.call((lane, slot_on(master, key)), call, false, deadline).await?);
        }
        let slot = Slot::of(key);
        let mut route = Route::new(&self.topology, &self.refresh, slot, deadline);
        loop {
            let (master, asking) = route.next().await?;
            match master.call((lane, slot), call, asking, deadline).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => route.after(failure, &master).await?,
            }
        }
    }

    /// Publishes.
    pub(super) async fn publish(&self, mut item: PublishItem) -> Result<Published, BackendError> {
        let deadline = Instant::now() + self.timeout;
        let key = item.keys.first().map_or("", String::as_str);
        if let Some(master) = self.topology.now().only() {
            let slot = slot_on(master, key);
            let reply = master.publish(slot, item, false, deadline).await;
            let reply = reply.map_err(|failed| failed.failure.error)?;
            return Ok(Published { reply, source: None, deadline });
        }
        let slot = Slot::of(key);
        item.slot = slot;
        let mut route = Route::new(&self.topology, &self.refresh, slot, deadline);
        loop {
            let (master, asking) = route.next().await?;
            match master.publish(slot, item, asking, deadline).await {
                Ok(reply) => return Ok(Published { reply, source: route.into_source(), deadline }),
                Err(NotPublished { failure, item: Some(returned) }) => {
                    route.after(failure, &master).await?;
                    item = *returned;
                }
                Err(NotPublished { failure, item: None }) => {
                    self.suspect(&failure);
                    return Err(failure.error);
                }
            }
        }
    }

    /// Lets the topology be read again if a call failed as calls fail when a server is lost.
    pub(super) fn suspect(&self, failure: &Failure) {
        if failure.redirect.is_some() || matches!(failure.error, BackendError::Unknown(_)) {
            self.refresh.raise(None);
        }
    }
}

/// What chooses one of the connections to a server.
fn slot_on(master: &Server, key: &str) -> Slot {
    if master.width() > 1 { Slot::of(key) } else { Slot::number(0) }
}

fn parsed<T: FromRedisValue>(lane: Lane, reply: Value) -> Result<T, BackendError> {
    let role = match lane {
        Lane::Short => ConnectionRole::Command,
        Lane::Long => ConnectionRole::Pool,
    };
    from_redis_value(reply).map_err(|_| role.malformed_reply())
}
