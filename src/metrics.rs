//! Names and descriptions of all metrics. Owns the names and the label values, and registers them, so that each label value
//! exists from the start; measures nothing. Every layer counts its own events.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::protocol::CloseReason;

/// Open WebSocket connections.
pub const CONNECTIONS: &str = "chat_connections";
/// Open WebSocket connections that are not bound to a user yet.
pub const CONNECTIONS_WAITING: &str = "chat_connections_waiting";
/// Maximum of connections that are bound to a user: the setting `max_connections`.
pub const CONNECTIONS_LIMIT: &str = "chat_connections_limit";
/// Connections that ended, by `reason` ([`CloseReason::as_str`]).
pub const CONNECTIONS_CLOSED: &str = "chat_connections_closed_total";
/// Upgrades, by `result` ([`HANDSHAKE_RESULTS`]).
pub const HANDSHAKES: &str = "chat_handshakes_total";
/// Topics to which this node is subscribed.
pub const SUBSCRIPTIONS: &str = "chat_subscriptions";
/// Publishes by `result` ([`PUBLISH_RESULTS`]).
pub const PUBLISHES: &str = "chat_publishes_total";
/// Entries that this node stored in logs, by `kind` ([`ENTRY_KINDS`]); a private message is one.
pub const ENTRIES_STORED: &str = "chat_entries_stored_total";
/// Changes of messages that were not stored, by `reason` ([`CHANGE_REFUSALS`]).
pub const CHANGES_REFUSED: &str = "chat_changes_refused_total";
/// What the rights of rooms forbade, by `reason` ([`RIGHTS_REFUSALS`]): publishes, and attempts to enter.
pub const RIGHTS_REFUSED: &str = "chat_rights_refused_total";
/// Pages of older messages that were read for clients, by `content` ([`PAGE_CONTENTS`]).
pub const HISTORY_PAGES: &str = "chat_history_pages_total";
/// From decoding a publish to queueing its `Ack`, seconds.
pub const PUBLISH_ACK: &str = "chat_publish_ack_seconds";
/// Messages queued for connections, by `path` ([`DELIVERY_PATHS`]).
pub const DELIVERIES: &str = "chat_deliveries_total";
/// From storing a message to handing it to a node's sockets, seconds; sampled once per burst.
pub const DELIVERY: &str = "chat_delivery_seconds";
/// Joins with `since`, by `result` ([`RESUME_RESULTS`]).
pub const RESUMES: &str = "chat_resumes_total";
/// Gaps in the messages from the subscriptions, by `source` ([`GAP_SOURCES`]). The node repairs them from the log.
pub const GAPS_DETECTED: &str = "chat_gaps_detected_total";
/// `Gap` frames sent, by `reason`.
pub const GAPS_SENT: &str = "chat_gaps_sent_total";
/// Connections closed because writing made no progress for too long.
pub const SLOW_CONSUMER_DISCONNECTS: &str = "chat_slow_consumer_disconnects_total";
/// Times a connection fell so far behind that it left the fan-out.
pub const LAGGED: &str = "chat_lagged_total";
/// Bytes queued for all connections.
pub const SEND_QUEUE_BYTES: &str = "chat_send_queue_bytes";
/// Failed calls to Redis, by `role` ([`REDIS_ROLES`]) and `kind` ([`REDIS_ERROR_KINDS`]).
pub const REDIS_ERRORS: &str = "chat_redis_errors_total";
/// Time since the last probe arrived, on the subscription connection with the longest silence, seconds.
pub const PUBSUB_SILENCE: &str = "chat_pubsub_silence_seconds";
/// Memory that Redis uses, as a part of its `maxmemory`; 0 without a limit.
pub const REDIS_MEMORY: &str = "chat_redis_memory_ratio";
/// Sentinels that answered the last question. 0 without Sentinels.
pub const SENTINELS_ANSWERING: &str = "chat_sentinels_answering";
/// Masters that were replaced by another server, as this node saw it.
pub const REDIS_FAILOVERS: &str = "chat_redis_failovers_total";
/// Connections for commands that were asked and gave no answer for a second: new writes waited for a proof of the master.
pub const REDIS_STALLS: &str = "chat_redis_stalls_total";
/// Publishes that too few replicas had in time, so that their outcome is unknown.
pub const PUBLISH_REPLICAS_SHORT: &str = "chat_publish_replicas_short_total";
/// Masters of the Redis Cluster that this node knows; 0 for a single Redis.
pub const REDIS_MASTERS: &str = "chat_redis_masters";
/// Slots of the Redis Cluster without a master.
pub const REDIS_SLOTS_UNCOVERED: &str = "chat_redis_slots_uncovered";
/// Changes of the slots of the Redis Cluster.
pub const REDIS_TOPOLOGY_CHANGES: &str = "chat_redis_topology_changes_total";
/// Calls that a server of the Redis Cluster did not execute, by `kind` ([`REDIS_REDIRECT_KINDS`]).
pub const REDIS_REDIRECTS: &str = "chat_redis_redirects_total";
/// Rejected requests and connections, by `scope` ([`REJECTION_SCOPES`]).
pub const REJECTIONS: &str = "chat_rejections_total";
/// Calls of the server API, by `key` (the name in the settings, at most 65) and `result` ([`API_RESULTS`]).
pub const API_CALLS: &str = "chat_api_calls_total";
/// Questions about the rate of a user that the store did not answer in time: the limit did not hold for a second.
pub const USER_RATE_UNANSWERED: &str = "chat_user_rate_unanswered_total";
/// Checks of JWTs, by `result` ([`JWT_RESULTS`]): each token once for each connection.
pub const JWT_CHECKS: &str = "chat_jwt_checks_total";
/// Reads of the keys of the identity provider, by `result` ([`JWKS_FETCH_RESULTS`]).
pub const JWKS_FETCHES: &str = "chat_jwks_fetches_total";
/// Time since the keys of the identity provider were last read, seconds. 0 without `auth.jwt.jwks_url`.
pub const JWKS_AGE: &str = "chat_jwks_age_seconds";
/// Memberships (a user in a room) that this node holds.
pub const PRESENCE_ENTRIES: &str = "chat_presence_entries";
/// 1 while draining.
pub const DRAINING: &str = "chat_draining";
/// 1 while the store answers and the subscriptions work. Then `/readyz` returns 200, unless the node drains.
pub const READY: &str = "chat_ready";
/// The clock of this node minus the clock of Redis, seconds. 0 without Redis.
pub const CLOCK_DIFFERENCE: &str = "chat_clock_difference_seconds";
/// Log lines that were not written, by `reason` ([`LOG_DROP_REASONS`]).
pub const LOG_LINES_DROPPED: &str = "chat_log_lines_dropped_total";
/// Spans of traces that the receiver took.
pub const TRACE_SPANS_EXPORTED: &str = "chat_trace_spans_exported_total";
/// Spans of traces that the receiver did not get, by `reason` ([`TRACE_DROP_REASONS`]).
pub const TRACE_SPANS_DROPPED: &str = "chat_trace_spans_dropped_total";
/// Worker threads of the runtime.
pub const RUNTIME_WORKERS: &str = "chat_runtime_workers";
/// Time that all worker threads spent working, whole seconds. Its rate, divided by the number of workers, is the load.
pub const RUNTIME_BUSY: &str = "chat_runtime_busy_seconds_total";
/// Tasks of the runtime that have not ended.
pub const RUNTIME_TASKS: &str = "chat_runtime_tasks";
/// Tasks that are ready to run and wait for a worker: the first sign of too little CPU.
pub const RUNTIME_QUEUE: &str = "chat_runtime_queue_depth";
/// Always 1, with the `version` as label.
pub const BUILD_INFO: &str = "chat_build_info";

/// Values of `result` of [`HANDSHAKES`].
pub const HANDSHAKE_RESULTS: [&str; 10] = [
    "ok",
    "banned",
    "bad_request",
    "bad_version",
    "bad_origin",
    "unauthorized",
    "full",
    "unavailable",
    "internal",
    "too_many",
];
/// Values of `result` of [`PUBLISHES`].
pub const PUBLISH_RESULTS: [&str; 6] = ["ok", "duplicate", "limited", "not_allowed", "refused", "unknown"];
/// Values of `kind` of [`ENTRIES_STORED`].
pub const ENTRY_KINDS: [&str; 8] =
    ["message", "edit", "retract", "react", "room", "moderation", "invitation", "block"];
/// Values of `reason` of [`CHANGES_REFUSED`]: those of [`crate::protocol::ErrorCode`], and that an older node runs.
pub const CHANGE_REFUSALS: [&str; 7] =
    ["not_found", "forbidden", "gone", "conflict", "too_late", "too_many_changes", "older_nodes"];
/// Values of `reason` of [`RIGHTS_REFUSED`]: why the rights of a room forbid something.
pub const RIGHTS_REFUSALS: [&str; 8] =
    ["banned", "muted", "no_role", "read_only", "rank", "slow_mode", "blocked", "other"];
/// Values of `content` of [`HISTORY_PAGES`]: whether a message in it was changed.
pub const PAGE_CONTENTS: [&str; 2] = ["as_sent", "changed"];
/// Values of `path` of [`DELIVERIES`].
pub const DELIVERY_PATHS: [&str; 2] = ["live", "replay"];
/// Values of `result` of [`RESUMES`].
pub const RESUME_RESULTS: [&str; 5] = ["recovered", "trimmed", "epoch", "rollback", "too_many"];
/// Values of `source` of [`GAPS_DETECTED`].
pub const GAP_SOURCES: [&str; 4] = ["hole", "probe", "idle_check", "reconnect"];
/// Values of `reason` of [`GAPS_SENT`].
pub const GAP_REASONS: [&str; 4] = ["trimmed", "epoch", "rollback", "too_many"];
/// Values of `role` of [`REDIS_ERRORS`].
pub const REDIS_ROLES: [&str; 3] = ["command", "subscriber", "pool"];
/// Values of `kind` of [`REDIS_REDIRECTS`].
pub const REDIS_REDIRECT_KINDS: [&str; 5] = ["moved", "ask", "tryagain", "clusterdown", "unconnected"];
/// Values of `kind` of [`REDIS_ERRORS`].
pub const REDIS_ERROR_KINDS: [&str; 4] = ["refused", "timeout", "io", "corrupt"];
/// Values of `result` of [`API_CALLS`]: the call went on to its path, its key lacks the scope, its key is over its rate.
pub const API_RESULTS: [&str; 3] = ["admitted", "no_scope", "over_rate"];
/// Values of `result` of [`JWT_CHECKS`].
pub const JWT_RESULTS: [&str; 12] = [
    "ok",
    "malformed",
    "algorithm",
    "unknown_key",
    "signature",
    "expired",
    "not_yet_valid",
    "issuer",
    "audience",
    "claims",
    "revoked",
    "unavailable",
];
/// Values of `result` of [`JWKS_FETCHES`].
pub const JWKS_FETCH_RESULTS: [&str; 2] = ["ok", "failed"];
/// Values of `scope` of [`REJECTIONS`].
pub const REJECTION_SCOPES: [&str; 6] = ["rate", "size", "auth", "forbidden", "overload", "invalid"];
/// Values of `reason` of [`LOG_LINES_DROPPED`].
pub const LOG_DROP_REASONS: [&str; 3] = ["repeated", "queue_full", "write_failed"];
/// Values of `reason` of [`TRACE_SPANS_DROPPED`].
pub const TRACE_DROP_REASONS: [&str; 3] = ["rate", "queue_full", "not_sent"];

/// Upper bounds of every `_seconds` histogram: from a local fan-out to the deadline of a request.
pub const SECONDS_BUCKETS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Describes every metric and creates every label value. Call it once, after the recorder is installed.
pub fn register() {
    describe_gauge!(CONNECTIONS, "Open WebSocket connections.");
    describe_gauge!(CONNECTIONS_WAITING, "Open WebSocket connections that are not bound to a user yet.");
    describe_gauge!(
        CONNECTIONS_LIMIT,
        "Maximum number of WebSocket connections on this node that are bound to a user."
    );
    describe_counter!(CONNECTIONS_CLOSED, "Closed WebSocket connections, by reason.");
    describe_counter!(HANDSHAKES, "WebSocket upgrades, by result.");
    describe_gauge!(SUBSCRIPTIONS, "Topics (rooms and users) to which this node is subscribed.");
    describe_counter!(PUBLISHES, "Chat messages published by this node's clients, by result.");
    describe_counter!(ENTRIES_STORED, "Entries of logs stored by this node's clients, by kind.");
    describe_counter!(CHANGES_REFUSED, "Changes of messages that were not stored, by reason.");
    describe_counter!(RIGHTS_REFUSED, "Requests that the rights of a room forbade, by reason.");
    describe_counter!(HISTORY_PAGES, "Pages of older messages, by whether a message in them was changed.");
    describe_histogram!(PUBLISH_ACK, Unit::Seconds, "Time from decoding a publish to queueing its Ack.");
    describe_counter!(DELIVERIES, "Chat messages queued for connections, by path.");
    describe_histogram!(
        DELIVERY,
        Unit::Seconds,
        "Time from storing a message to queueing it for local members."
    );
    describe_counter!(RESUMES, "Joins with a position (since), by result.");
    describe_counter!(GAPS_DETECTED, "Gaps detected in the messages from the subscriptions, by source.");
    describe_counter!(GAPS_SENT, "Gap frames sent to clients, by reason.");
    describe_counter!(
        SLOW_CONSUMER_DISCONNECTS,
        "Connections closed because writing made no progress for too long."
    );
    describe_counter!(LAGGED, "Times a connection fell behind and left the fan-out.");
    describe_gauge!(SEND_QUEUE_BYTES, Unit::Bytes, "Bytes queued for all connections.");
    describe_counter!(REDIS_ERRORS, "Failed calls to Redis, by role of the connection and kind of error.");
    describe_gauge!(
        REDIS_MEMORY,
        "Memory that Redis uses, as a part of its maxmemory; 0 without a limit. In a cluster, that of the fullest master."
    );
    describe_gauge!(REDIS_MASTERS, "Masters of the Redis Cluster; 0 for a single Redis.");
    describe_gauge!(REDIS_SLOTS_UNCOVERED, "Slots of the Redis Cluster without a master.");
    describe_counter!(REDIS_TOPOLOGY_CHANGES, "Changes of the slots of the Redis Cluster.");
    describe_counter!(REDIS_REDIRECTS, "Calls that a server of the Redis Cluster did not execute, by kind.");
    describe_gauge!(
        PUBSUB_SILENCE,
        Unit::Seconds,
        "Time since the last probe arrived, on the subscription connection with the longest silence."
    );
    describe_gauge!(SENTINELS_ANSWERING, "Sentinels that answered the last question. 0 without Sentinels.");
    describe_counter!(REDIS_FAILOVERS, "Masters that were replaced by another server.");
    describe_counter!(REDIS_STALLS, "Connections for commands that gave no answer for a second.");
    describe_counter!(PUBLISH_REPLICAS_SHORT, "Publishes that too few replicas had in time.");
    describe_counter!(REJECTIONS, "Rejected requests and connections, by scope.");
    describe_counter!(API_CALLS, "Calls of the server API, by name of the key and result.");
    describe_counter!(
        USER_RATE_UNANSWERED,
        "Questions about the rate of a user that the store did not answer in time."
    );
    describe_counter!(JWT_CHECKS, "Checks of JWTs, by result.");
    describe_counter!(JWKS_FETCHES, "Reads of the keys of the identity provider, by result.");
    describe_gauge!(
        JWKS_AGE,
        Unit::Seconds,
        "Time since the keys of the identity provider were last read. 0 without auth.jwt.jwks_url."
    );
    describe_gauge!(PRESENCE_ENTRIES, "Memberships (a user in a room) that this node holds.");
    describe_gauge!(DRAINING, "1 while the node drains.");
    describe_gauge!(READY, "1 while the store answers and the subscriptions work. See also chat_draining.");
    describe_gauge!(
        CLOCK_DIFFERENCE,
        Unit::Seconds,
        "The clock of this node minus the clock of Redis. 0 without Redis."
    );
    describe_counter!(LOG_LINES_DROPPED, "Log lines that were not written, by reason.");
    describe_counter!(TRACE_SPANS_EXPORTED, "Spans of traces that the receiver took.");
    describe_counter!(TRACE_SPANS_DROPPED, "Spans of traces that were not recorded or not sent, by reason.");
    describe_gauge!(RUNTIME_WORKERS, "Worker threads of the runtime.");
    describe_counter!(RUNTIME_BUSY, Unit::Seconds, "Time that the runtime's worker threads spent working.");
    describe_gauge!(RUNTIME_TASKS, "Tasks of the runtime that have not ended.");
    describe_gauge!(RUNTIME_QUEUE, "Tasks that are ready to run and wait for a worker thread.");
    describe_gauge!(BUILD_INFO, "Always 1, with the version as a label.");
    for reason in CloseReason::ALL {
        counter!(CONNECTIONS_CLOSED, "reason" => reason.as_str()).absolute(0);
    }
    each(HANDSHAKES, "result", &HANDSHAKE_RESULTS);
    each(PUBLISHES, "result", &PUBLISH_RESULTS);
    each(ENTRIES_STORED, "kind", &ENTRY_KINDS);
    each(CHANGES_REFUSED, "reason", &CHANGE_REFUSALS);
    each(RIGHTS_REFUSED, "reason", &RIGHTS_REFUSALS);
    each(HISTORY_PAGES, "content", &PAGE_CONTENTS);
    each(DELIVERIES, "path", &DELIVERY_PATHS);
    each(RESUMES, "result", &RESUME_RESULTS);
    each(GAPS_DETECTED, "source", &GAP_SOURCES);
    each(GAPS_SENT, "reason", &GAP_REASONS);
    each(JWT_CHECKS, "result", &JWT_RESULTS);
    each(JWKS_FETCHES, "result", &JWKS_FETCH_RESULTS);
    each(REJECTIONS, "scope", &REJECTION_SCOPES);
    each(LOG_LINES_DROPPED, "reason", &LOG_DROP_REASONS);
    each(TRACE_SPANS_DROPPED, "reason", &TRACE_DROP_REASONS);
    for role in REDIS_ROLES {
        for kind in REDIS_ERROR_KINDS {
            counter!(REDIS_ERRORS, "role" => role, "kind" => kind).absolute(0);
        }
    }
    each(REDIS_REDIRECTS, "kind", &REDIS_REDIRECT_KINDS);
    for name in [
        SLOW_CONSUMER_DISCONNECTS,
        REDIS_FAILOVERS,
        REDIS_STALLS,
        PUBLISH_REPLICAS_SHORT,
        REDIS_TOPOLOGY_CHANGES,
        TRACE_SPANS_EXPORTED,
        USER_RATE_UNANSWERED,
    ] {
        counter!(name).absolute(0);
    }
    counter!(LAGGED).absolute(0);
    for name in [
        CONNECTIONS,
        CONNECTIONS_WAITING,
        SUBSCRIPTIONS,
        SEND_QUEUE_BYTES,
        PUBSUB_SILENCE,
        REDIS_MEMORY,
        SENTINELS_ANSWERING,
        REDIS_MASTERS,
        REDIS_SLOTS_UNCOVERED,
        CLOCK_DIFFERENCE,
        JWKS_AGE,
        PRESENCE_ENTRIES,
        DRAINING,
        READY,
    ] {
        gauge!(name).set(0.0);
    }
    for name in [PUBLISH_ACK, DELIVERY] {
        // Naming a histogram is enough to export its buckets. No value is recorded.
        let _registered = histogram!(name);
    }
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// Creates the label values of a key of the server API.
pub fn register_api_key(key: &str) {
    for result in API_RESULTS {
        counter!(API_CALLS, "key" => key.to_owned(), "result" => result).absolute(0);
    }
}

fn each(name: &'static str, label: &'static str, values: &[&'static str]) {
    for value in values {
        counter!(name, label => *value).absolute(0);
    }
}
