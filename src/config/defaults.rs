//! The default of every setting. Owns only the values; `config/default.toml` has the reason for each, and a test
//! compares that file with this one. Used by `config::load`, and by tests that start a node.

use std::time::Duration;

use super::{
    Auth, ClusterPubSub, Config, Drain, History, Internal, Jwt, Limits, Log, LogFormat, Messages, Node,
    Redis, RedisTls, RoomCreators, Rooms, Server, Tls,
};

impl Default for Config {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 8080,
            max_connections: 10_000,
            auth: Auth::default(),
            redis: Redis::default(),
            node: Node::default(),
            internal: Internal::default(),
            tls: Tls::default(),
            history: History::default(),
            messages: Messages::default(),
            limits: Limits::default(),
            server: Server::default(),
            rooms: Rooms::default(),
            drain: Drain::default(),
            log: Log::default(),
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            enabled: false,
            admin_key: None,
            api_keys: Vec::new(),
            token_ttl: Duration::from_secs(24 * 3600),
            deadline: Duration::from_secs(10),
            recheck_interval: Duration::from_secs(15),
            jwt: Jwt::default(),
        }
    }
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: None,
            username: None,
            password: None,
            password_file: None,
            sentinel_master: None,
            sentinel_username: None,
            sentinel_password: None,
            sentinel_password_file: None,
            address_map: Vec::new(),
            tls: RedisTls::default(),
            prefix: "chat".into(),
            command_connections: 1,
            subscriber_connections: 1,
            pool_size: 8,
            cluster_pubsub: ClusterPubSub::Auto,
            timeout: Duration::from_secs(2),
            min_replicas_acked: 0,
            max_reconnect_delay: Duration::from_secs(1),
        }
    }
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: None,
            lease: Duration::from_secs(15),
            heartbeat: Duration::from_secs(5),
            idle_check: Duration::from_secs(8),
            linger: Duration::from_secs(5),
            ring_bytes: 64 << 20,
            threads: 0,
        }
    }
}

impl Default for Messages {
    fn default() -> Self {
        Self { edit_window: Duration::from_secs(24 * 3600), attachment_hosts: Vec::new() }
    }
}

impl Default for Internal {
    fn default() -> Self {
        Self { host: "127.0.0.1".into(), port: None }
    }
}

impl Default for History {
    fn default() -> Self {
        Self {
            max_messages: 1_000,
            max_age: Duration::from_secs(24 * 3600),
            max_bytes: 4 << 20,
            embedded_bytes: 256 << 20,
            dedupe_window: Duration::from_secs(300),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            messages_per_second: 50,
            burst: 100,
            user_messages_per_second: None,
            user_burst: None,
            stored_bytes_per_second: None,
            stored_bytes_burst: 16 << 20,
            max_content_bytes: 16_384,
            max_frame_bytes: 131_072,
            max_delivery_bytes: None,
            max_rooms_per_connection: 64,
            max_connections_per_address: 0,
            handshakes_per_minute: 0,
            max_unfinished_bytes: 64 << 20,
            max_queue_bytes: 256 << 10,
            write_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(5),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(10),
            away_after: Duration::from_secs(150),
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
        }
    }
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            default: "lobby".into(),
            read_only: Vec::new(),
            listed: Vec::new(),
            quiet_above: 1_000,
            create: RoomCreators::Anyone,
            max_made: 100,
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            delay: Duration::from_secs(5),
            spread: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Text }
    }
}
