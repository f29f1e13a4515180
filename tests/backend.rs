//! Requirements for every backend: one list of tests, run against each backend.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod support;

#[path = "backend/blocks.rs"]
mod blocks;
#[path = "backend/changes.rs"]
mod changes;
#[path = "backend/life.rs"]
mod life;
#[path = "backend/logs.rs"]
mod logs;
#[path = "backend/rates.rs"]
mod rates;
#[path = "backend/rights.rs"]
mod rights;
#[path = "backend/stores.rs"]
mod stores;
#[path = "backend/subscriptions.rs"]
mod subscriptions;

use std::sync::OnceLock;

use chatnode::backend::Embedded;
use chatnode::config::{ClusterPubSub, Config};
use support::backend::Harness;
use support::redis_cluster::{RedisCluster, TIMEOUT};
use support::redis_server::RedisServer;

/// The store of the nodes of one test.
pub enum TestStore {
    Redis(RedisServer),
    Cluster(RedisCluster, ClusterPubSub),
    /// Created by the first node, with the retention of its settings.
    Embedded(OnceLock<Embedded>),
}

impl TestStore {
    fn redis() -> Self {
        Self::Redis(RedisServer::start())
    }

    fn sharded_cluster() -> Self {
        Self::Cluster(RedisCluster::start(3), ClusterPubSub::Sharded)
    }

    fn broadcast_cluster() -> Self {
        Self::Cluster(RedisCluster::start(3), ClusterPubSub::Broadcast)
    }

    fn embedded() -> Self {
        Self::Embedded(OnceLock::new())
    }

    /// Starts a node with its own settings.
    pub async fn node(&self, tune: impl FnOnce(&mut Config)) -> Harness {
        match self {
            Self::Redis(server) => Harness::redis(server, tune).await,
            Self::Cluster(cluster, way) => {
                let url = cluster.url();
                let node = Harness::redis_unready(&url, |config| {
                    config.redis.cluster_pubsub = *way;
                    config.redis.timeout = TIMEOUT;
                    tune(config);
                });
                let node = node.await;
                node.ready().await;
                node
            }
            Self::Embedded(store) => Harness::embedded(store, tune),
        }
    }
}

/// Generates a module of tests for each backend.
macro_rules! for_each_backend {
    ($($file:ident: $($test:ident),+;)+) => {
        mod redis {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::$file::$test(&crate::TestStore::redis()).await;
                }
            )+)+
        }
        mod sharded {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::$file::$test(&crate::TestStore::sharded_cluster()).await;
                }
            )+)+
        }
        mod embedded {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::$file::$test(&crate::TestStore::embedded()).await;
                }
            )+)+
        }
    };
}

for_each_backend! {
    changes:
        edit_is_an_entry_and_changes_its_message,
        repeated_change_is_stored_once,
        change_that_does_not_fit_is_refused,
        retraction_erases_the_text_and_its_edits,
        reaction_counts_each_user_once,
        changes_of_a_message_are_bounded,
        private_change_reaches_both_logs,
        edit_does_not_follow_its_retraction_into_a_log,
        reaction_is_to_a_message_of_its_conversation,
        edit_leaves_place_for_what_stands_beside_the_text,
        page_of_messages_leaves_changes_out,
        page_says_whether_messages_were_changed,
        trimmed_message_takes_its_changes_along;
    life:
        few_messages_agree_with_a_model,
        messages_agree_with_a_model,
        flood_of_reactions_leaves_the_messages,
        large_changes_go_before_messages,
        nothing_is_unread_of_a_log_that_was_never_written;
    logs:
        log_numbers_entries_and_links_each_to_the_previous,
        log_drops_entries_above_its_count_limit,
        log_drops_entries_above_its_byte_limit,
        log_drops_expired_entries_and_keeps_its_top,
        duplicate_returns_the_result_of_the_first_publish,
        dedupe_key_expires_with_its_window,
        publish_to_two_topics_stores_one_message_in_both,
        duplicate_completes_a_half_stored_message,
        only_a_repeat_is_answered_if_nothing_new_may_be_stored,
        ids_of_a_log_sort_by_seq_whatever_the_clocks,
        message_to_its_sender_is_stored_once,
        history_returns_pages_in_both_directions,
        page_limits_leave_at_least_one_entry,
        tops_returns_the_top_of_each_log,
        topics_with_similar_names_have_separate_logs;
    rates:
        nodes_share_the_rate_of_a_user,
        requests_that_are_owed_are_charged_in_any_case,
        nothing_is_given_back_beyond_the_burst,
        users_and_addresses_have_rates_of_their_own;
    rights:
        private_room_takes_messages_of_members_only,
        token_grants_writing_without_a_role,
        room_in_use_can_not_be_taken_over,
        nothing_of_a_banned_user_is_stored,
        moderator_takes_messages_of_lower_roles_back,
        slow_mode_makes_each_user_wait,
        ended_bans_make_place_for_others,
        invitations_of_an_unused_name_have_a_limit,
        stores_decide_the_same;
    blocks:
        nothing_of_a_blocked_user_is_stored,
        blocked_user_can_not_invite;
    subscriptions:
        subscriber_receives_the_entries_of_the_log,
        unsubscribed_node_receives_nothing,
        last_call_decides_whether_a_topic_is_subscribed,
        node_subscribes_to_many_topics_at_once,
        event_carries_its_origin_and_is_not_stored,
        notice_reaches_its_sender;
    stores:
        presence_publishes_one_enter_and_one_leave,
        members_are_paged_in_byte_order,
        rooms_are_paged_in_byte_order,
        large_room_publishes_no_presence_events,
        restoring_members_publishes_no_events,
        first_renewal_acquires_the_lease,
        lookup_finds_tokens_until_their_removal,
        lookup_ignores_expired_tokens,
        remove_all_removes_every_token_of_a_user,
        signed_tokens_are_revoked_by_identity_and_by_age,
        cursor_moves_only_forward,
        room_markers_move_only_forward,
        private_markers_move_only_forward_and_are_bounded;
}

/// What depends on the way in which the nodes of a cluster hear of messages.
mod broadcast {
    macro_rules! on_broadcast {
        ($($file:ident::$test:ident),+) => {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::$file::$test(&crate::TestStore::broadcast_cluster()).await;
                }
            )+
        };
    }

    on_broadcast! {
        subscriptions::subscriber_receives_the_entries_of_the_log,
        subscriptions::unsubscribed_node_receives_nothing,
        subscriptions::last_call_decides_whether_a_topic_is_subscribed,
        subscriptions::node_subscribes_to_many_topics_at_once,
        subscriptions::event_carries_its_origin_and_is_not_stored,
        subscriptions::notice_reaches_its_sender,
        stores::presence_publishes_one_enter_and_one_leave
    }
}
