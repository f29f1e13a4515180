//! What all topics of a node share: its budgets, its counters, and the connections whose sockets are to be written. Made by the registry.

use std::sync::Arc;

use super::counters::Counters;
use super::flush_list::{FanOut, FlushList};
use super::ring::RingBudget;
use super::send_budget::SendBudget;

/// What the topics of a node share.
pub(super) struct NodeResources {
    pub(super) budget: Arc<RingBudget>,
    pub(super) queued: Arc<SendBudget>,
    pub(super) to_flush: FlushList,
    pub(super) counters: Counters,
}

impl NodeResources {
    /// Has a fan-out written to the sockets. Returns how many connections got it.
    pub(super) fn end(&self, fan_out: FanOut) -> usize {
        self.to_flush.end(fan_out, &self.queued)
    }
}
