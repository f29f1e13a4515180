//! What every backend must do: one list of assertions, run against each.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod support;

#[path = "backend/logs.rs"]
mod logs;
#[path = "backend/stores.rs"]
mod stores;
#[path = "backend/subscriptions.rs"]
mod subscriptions;

use std::sync::OnceLock;

use chatnode::backend::Embedded;
use chatnode::config::Config;
use support::backend::Harness;
use support::redis_server::RedisServer;

/// Where the nodes of one test live.
pub enum Stage {
    Redis(RedisServer),
    /// Made by the first node, whose settings say what its logs keep.
    Embedded(OnceLock<Embedded>),
}

impl Stage {
    fn redis() -> Self {
        Self::Redis(RedisServer::start())
    }

    fn embedded() -> Self {
        Self::Embedded(OnceLock::new())
    }

    /// One node with settings of its own.
    pub async fn node(&self, tune: impl FnOnce(&mut Config)) -> Harness {
        match self {
            Self::Redis(server) => Harness::redis(server, tune).await,
            Self::Embedded(store) => Harness::embedded(store, tune),
        }
    }
}

/// One module per backend.
macro_rules! for_each_backend {
    ($($file:ident: $($test:ident),+;)+) => {
        mod redis {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::$file::$test(&crate::Stage::redis()).await;
                }
            )+)+
        }
        mod embedded {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::$file::$test(&crate::Stage::embedded()).await;
                }
            )+)+
        }
    };
}

for_each_backend! {
    logs:
        a_log_counts_from_one_and_each_entry_names_the_one_before,
        a_log_is_trimmed_by_count,
        a_log_is_trimmed_by_bytes,
        a_log_is_trimmed_by_age_and_keeps_its_top,
        a_repeat_is_told_what_the_first_was_told,
        a_dedupe_key_ends_with_its_window,
        a_message_to_two_topics_is_one_message_in_both,
        a_half_done_message_is_completed_as_the_first_was,
        a_message_to_oneself_is_one_entry,
        pages_of_history,
        a_page_is_bounded_but_never_empty_for_its_bounds,
        the_tops_of_many_logs,
        names_never_collide;
    subscriptions:
        who_is_subscribed_hears_what_the_log_holds,
        who_has_unsubscribed_hears_nothing,
        subscribing_and_unsubscribing_in_any_order_ends_where_the_last_call_said,
        many_topics_are_subscribed_at_once,
        an_event_bears_its_origin_and_is_not_stored,
        a_notice_reaches_the_node_itself;
    stores:
        a_user_enters_and_leaves_once,
        members_are_paged_in_the_order_of_their_bytes,
        a_large_room_is_quiet,
        asserting_members_tells_nobody,
        the_first_renewal_takes_the_lease,
        tokens_are_found_by_hash_until_they_are_removed,
        tokens_expire,
        all_tokens_of_a_user_are_removed_at_once,
        a_cursor_only_moves_forward,
        room_markers_only_move_forward,
        private_markers_only_move_forward_and_are_bounded;
}
