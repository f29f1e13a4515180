//! Brings topics into line with their logs. Owns all reads of logs that are done once per topic and node, to start a
//! topic, to recover it and to check a quiet one, and all subscribing and unsubscribing. Runs as background tasks of the
//! node; the registry says which topics have work.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::recovery::Step;
use super::registry::Registry;
use super::topic::{LocalTopic, Phase};
use crate::backend::{BackendError, Broker, PageLimit, Range};
use crate::failpoints::{self, Failpoint};
use crate::protocol::{CloseReason, Position, Topic};

/// Topics in hand at a time: enough for the backend to batch, few enough to leave its connections to others.
const MAX_IN_HAND: usize = 256;
/// Tops compared in one call.
const CHECK_AT_ONCE: usize = 100;
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// The worker's parts.
pub(super) struct TopicWorker {
    pub(super) registry: Arc<Registry>,
    pub(super) broker: Arc<dyn Broker>,
    /// How long a topic without a holder stays subscribed.
    pub(super) linger: Duration,
}

impl TopicWorker {
    /// Starts, recovers and unsubscribes from topics, until the node stops.
    pub(super) async fn run(&self, stop: CancellationToken) {
        self.registry.work().run(MAX_IN_HAND, stop, |name| self.work_on(name)).await;
    }

    /// Does what a topic needs at this moment. What is asked for meanwhile is done afterwards: the topic is in hand until
    /// then, and waits again.
    async fn work_on(&self, name: Topic) {
        let Some(topic) = self.registry.find(&name) else { return };
        if self.registry.forget_idle(&topic, self.linger) {
            self.broker.unsubscribe(&name);
            self.registry.remove_idle(&topic);
            return;
        }
        let phase = topic.lock().phase.clone();
        match phase {
            Phase::Starting => {
                let result = self.start(&topic).await;
                topic.lock().phase = result.map_or_else(Phase::Failed, |()| Phase::Ready);
                topic.changed.notify_waiters();
            }
            Phase::Ready => self.recover(&topic).await,
            // Not subscribed: a top that is read now would be taken for the last message before the subscription, and
            // what is published until then would be missed. The next joiner starts the topic.
            Phase::Idle | Phase::Failed(_) => {}
        }
    }

    async fn start(&self, topic: &Arc<LocalTopic>) -> Result<(), BackendError> {
        if failpoints::is(Failpoint::ReadFirst) {
            self.skip_to_top(topic).await?;
            topic.lock().phase = Phase::Ready;
            topic.changed.notify_waiters();
            sleep(FIRST_RETRY).await;
            self.broker.subscribe(&topic.name).await?;
            return self.skip_to_top(topic).await;
        }
        self.broker.subscribe(&topic.name).await?;
        let begun = std::time::Instant::now();
        let mut step = topic.next_step();
        while step != Step::Done {
            step = self.take(topic, step).await?;
        }
        let mut state = topic.lock();
        if state.last.is_none() {
            return Err(BackendError::Refused("the subscription was lost during the start".into()));
        }
        state.confirmed_at = Some(begun);
        Ok(())
    }

    async fn recover(&self, topic: &Arc<LocalTopic>) {
        let mut retry = FIRST_RETRY;
        let mut step = topic.next_step();
        while step != Step::Done {
            match self.take(topic, step).await {
                Ok(next) => step = next,
                Err(error @ BackendError::Corrupt(_)) => return self.give_up_on(topic, error),
                Err(error) => {
                    tracing::debug!(%error, "a topic could not be recovered yet");
                    sleep(retry.mul_f64(rand::random_range(0.5..1.5))).await;
                    retry = (retry * 2).min(LAST_RETRY);
                    step = topic.next_step();
                }
            }
        }
    }

    async fn take(&self, topic: &Arc<LocalTopic>, step: Step) -> Result<Step, BackendError> {
        match step {
            Step::Done => Ok(Step::Done),
            _ if failpoints::is(Failpoint::NoCatchUp) => self.skip_to_top(topic).await.map(|()| Step::Done),
            Step::Read(range, limit) => {
                let page = self.broker.history(&topic.name, range, limit).await?;
                if page.has_rights
                    && topic.name.room().is_none()
                    && (topic.top().is_none() || topic.skips_to(&page))
                {
                    topic.read_blocked(&*self.broker).await?;
                } else if page.has_rights && topic.skips_to(&page) {
                    self.ask_for_rights(topic).await?;
                }
                Ok(topic.apply_page(page))
            }
            Step::Compare(reason, range, limit) => {
                let page = self.broker.history(&topic.name, range, limit).await?;
                Ok(topic.roll_back(reason, range, &page))
            }
        }
    }

    /// Entries are about to be skipped, and one of them may have taken a member out: takes those out that may not be in the room.
    async fn ask_for_rights(&self, topic: &Arc<LocalTopic>) -> Result<(), BackendError> {
        let Some(room) = topic.name.room() else { return Ok(()) };
        for (outbox, user) in topic.members_and_users() {
            if let Some(rights) = self.broker.rights(room, &user).await? {
                topic.set_rights(&outbox, &rights);
            }
        }
        Ok(())
    }

    /// For failpoints: continues from the log's top, and delivers none of the messages before it.
    async fn skip_to_top(&self, topic: &Arc<LocalTopic>) -> Result<(), BackendError> {
        let limit = PageLimit { messages: 1, bytes: 0 };
        let page = self.broker.history(&topic.name, Range::Top, limit).await?;
        let mut state = topic.lock();
        state.last = Some(page.top);
        state.recovery = None;
        state.ring.clear();
        Ok(())
    }

    /// Closes the members of a topic whose log can't be read, and never will be without an operator: they would wait
    /// without an answer. They come back, and receive an error for this topic alone, since it is started again.
    fn give_up_on(&self, topic: &Arc<LocalTopic>, error: BackendError) {
        tracing::error!(%error, "a log can't be read; the connections of its members are closed");
        {
            let mut state = topic.lock();
            state.begin_recovery(false);
            state.phase = Phase::Failed(error);
        }
        for outbox in self.registry.members(&topic.name) {
            outbox.close(CloseReason::InternalError.into());
        }
    }

    /// Compares every topic's last position with its log's top once per `period`. The last message before a quiet time may
    /// have been lost on the channel, and the log of a quiet topic may have been rolled back.
    pub(super) async fn check_quiet_topics(&self, period: Duration, stop: CancellationToken) {
        let mut round = Instant::now();
        loop {
            round += period;
            let topics = self.registry.all();
            let chunks: Vec<&[Arc<LocalTopic>]> = topics.chunks(CHECK_AT_ONCE).collect();
            let pause = period / (chunks.len() as u32 + 1);
            for chunk in chunks {
                let check = async {
                    match self.check(chunk).await {
                        // A log that can't be read must not hide the state of the others.
                        Err(BackendError::Corrupt(_)) => self.check_each(chunk).await,
                        Err(error) => tracing::debug!(%error, "quiet topics could not be checked"),
                        Ok(()) => {}
                    }
                    sleep(pause).await;
                };
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = check => {}
                }
            }
            // After a long stall, missed rounds are not repeated.
            round = round.max(Instant::now());
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(round) => {}
            }
        }
    }

    async fn check_each(&self, topics: &[Arc<LocalTopic>]) {
        for topic in topics {
            if let Err(error @ BackendError::Corrupt(_)) = self.check(std::slice::from_ref(topic)).await {
                self.give_up_on(topic, error);
            }
        }
    }

    async fn check(&self, topics: &[Arc<LocalTopic>]) -> Result<(), BackendError> {
        let before: Vec<(&Arc<LocalTopic>, Position)> = topics
            .iter()
            .filter_map(|topic| {
                let state = topic.lock();
                state.last.filter(|_| state.recovery.is_none()).map(|last| (topic, last))
            })
            .collect();
        if before.is_empty() {
            return Ok(());
        }
        let names: Vec<Topic> = before.iter().map(|(topic, _)| topic.name.clone()).collect();
        let tops = self.broker.tops(&names).await?;
        for ((topic, before), top) in before.into_iter().zip(tops) {
            let Some(top) = top else { continue };
            let mut state = topic.lock();
            let moved_on = state.last != Some(before);
            let is_behind = top.epoch == before.epoch && top.seq > before.seq;
            if top == before {
                topic.recall_members_ahead(&mut state, &top);
                continue;
            }
            // A topic that has moved on meanwhile is on its way to that top, unless it contradicts it.
            if (moved_on && is_behind) || state.recovery.is_some() {
                continue;
            }
            state.begin_recovery(false);
            drop(state);
            self.registry.counters().gap_idle_check.increment(1);
            self.registry.enqueue(topic);
        }
        Ok(())
    }

    /// Finds the topics that have had no holder for `linger`.
    pub(super) async fn unsubscribe_idle(&self, stop: CancellationToken) {
        let period = (self.linger / 4).clamp(Duration::from_millis(50), Duration::from_secs(1));
        let mut tick = interval(period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            self.registry.enqueue_idle(self.linger);
        }
    }
}

#[cfg(test)]
mod tests;
