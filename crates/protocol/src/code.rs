//! The two tables of the protocol: what an `Error` can say and why a connection closes. Owns codes and their texts;
//! does not decide when they apply. Used by chat and transport, and by metrics for its label values.

/// The `code` of an `Error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Not JSON.
    InvalidJson,
    /// JSON, but not a request of this protocol; the message names the field.
    InvalidMessage,
    /// A `message_type` that this node does not know.
    UnknownType,
    /// A binary frame.
    UnsupportedFrame,
    /// Content or frame over its limit.
    MessageTooLarge,
    /// No valid token.
    Unauthorized,
    /// Another name than the connection's or the token's.
    IdentityMismatch,
    /// Not allowed to this user, whatever its token: only the server API says something in a read-only room.
    Forbidden,
    /// The request needs membership of the room.
    NotInRoom,
    /// The connection is in as many rooms as it may be.
    TooManyRooms,
    /// Over the rate.
    RateLimited,
    /// The cluster's store can't be reached.
    Unavailable,
    /// A fault of the node, or of what its store holds.
    Internal,
}

impl ErrorCode {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidMessage => "invalid_message",
            Self::UnknownType => "unknown_type",
            Self::UnsupportedFrame => "unsupported_frame",
            Self::MessageTooLarge => "message_too_large",
            Self::Unauthorized => "unauthorized",
            Self::IdentityMismatch => "identity_mismatch",
            Self::Forbidden => "forbidden",
            Self::NotInRoom => "not_in_room",
            Self::TooManyRooms => "too_many_rooms",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

/// Why the node closes a connection (or why it ended).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client said goodbye.
    Normal,
    /// The node shuts down for good.
    GoingAway,
    /// The node restarts or drains.
    Restarting,
    /// The client broke WebSocket's rules.
    ProtocolError,
    /// A binary frame.
    BinaryFrame,
    /// Text that is not UTF-8.
    BadUtf8,
    /// A frame or message over the limit.
    TooLarge,
    /// The connection ended without a close frame.
    Lost,
    /// A fault of the node.
    InternalError,
    /// Too many frames that were not requests.
    TooManyInvalid,
    /// Did not authenticate in time.
    NotAuthenticated,
    /// The node is full.
    Full,
    /// Its token was revoked or has expired.
    TokenRevoked,
    /// It took nothing for too long.
    Slow,
    /// An administrator removed it.
    Removed,
    /// No frame and no pong within the idle time.
    Idle,
}

impl CloseReason {
    /// Whether the node goes down: what is in hand is answered first.
    pub const fn is_drain(self) -> bool {
        matches!(self, Self::GoingAway | Self::Restarting)
    }

    /// Every reason, for metrics that show each label value from the start.
    pub const ALL: [Self; 16] = [
        Self::Normal,
        Self::GoingAway,
        Self::Restarting,
        Self::ProtocolError,
        Self::BinaryFrame,
        Self::BadUtf8,
        Self::TooLarge,
        Self::Lost,
        Self::InternalError,
        Self::TooManyInvalid,
        Self::NotAuthenticated,
        Self::Full,
        Self::TokenRevoked,
        Self::Slow,
        Self::Removed,
        Self::Idle,
    ];

    /// The WebSocket close code.
    pub const fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::ProtocolError => 1002,
            Self::BinaryFrame => 1003,
            Self::Lost => 1006,
            Self::BadUtf8 => 1007,
            Self::TooManyInvalid | Self::NotAuthenticated => 1008,
            Self::TooLarge => 1009,
            Self::InternalError => 1011,
            Self::Restarting => 1012,
            Self::Full => 1013,
            Self::TokenRevoked => 4001,
            Self::Slow => 4002,
            Self::Removed => 4003,
            Self::Idle => 4004,
        }
    }

    /// The value of the metric's label, and the close frame's reason where no `retry_after_ms` stands there.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::GoingAway => "going_away",
            Self::Restarting => "restarting",
            Self::ProtocolError => "protocol_error",
            Self::BinaryFrame => "binary_frame",
            Self::BadUtf8 => "bad_utf8",
            Self::TooLarge => "too_large",
            Self::Lost => "lost",
            Self::InternalError => "internal_error",
            Self::TooManyInvalid => "too_many_invalid",
            Self::NotAuthenticated => "not_authenticated",
            Self::Full => "full",
            Self::TokenRevoked => "token_revoked",
            Self::Slow => "slow",
            Self::Removed => "removed",
            Self::Idle => "idle",
        }
    }
}
