//! Why a connection ends. Owns the reasons with their WebSocket close codes and the texts of a close frame; does not
//! decide when they apply. Used by chat and transport, by metrics for its label values, and by clients.

use std::borrow::Cow;
use std::time::Duration;

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
    /// The node has no seat for it, or needs its place in the waiting room.
    Full,
    /// Its token was revoked or has expired.
    TokenRevoked,
    /// It took nothing for too long.
    Slow,
    /// An administrator removed it.
    Removed,
    /// No frame and no pong within the idle time.
    Idle,
    /// It began a message and did not finish it: in time, or while the node had space for it.
    UnfinishedMessage,
}

impl CloseReason {
    /// Whether the node goes down: what is in hand is answered first.
    pub const fn is_drain(self) -> bool {
        matches!(self, Self::GoingAway | Self::Restarting)
    }

    /// Every reason, for metrics that show each label value from the start.
    pub const ALL: [Self; 17] = [
        Self::Normal,
        Self::Restarting,
        Self::GoingAway,
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
        Self::UnfinishedMessage,
    ];

    /// The WebSocket close code.
    pub const fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::ProtocolError => 1002,
            Self::BinaryFrame => 1003,
            Self::Lost => 1006,
            Self::BadUtf8 => 1007,
            Self::TooManyInvalid | Self::NotAuthenticated => 1008,
            Self::TooLarge => 1009,
            Self::InternalError => 1011,
            Self::TokenRevoked => 4001,
            Self::Slow => 4002,
            Self::Removed => 4003,
            Self::Idle => 4004,
            // Codes of our own: libraries report 1012 and 1013 as errors of the protocol, and stop at 1001.
            Self::Restarting | Self::GoingAway => 4012,
            Self::Full | Self::UnfinishedMessage => 4013,
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
            Self::UnfinishedMessage => "unfinished_message",
        }
    }

    /// The reason of a close frame with this code and text; the text tells apart the reasons that share a code. `None`
    /// for a code that this version does not know.
    pub fn from_code(code: u16, text: &str) -> Option<Self> {
        match code {
            // From nodes of an older version.
            1001 => return Some(Self::GoingAway),
            1012 => return Some(Self::Restarting),
            1013 => return Some(Self::Full),
            _ => {}
        }
        let same_code = || Self::ALL.into_iter().filter(|reason| reason.code() == code);
        let says = |reason: &Self| {
            reason.as_str() == text || reason.words().is_some_and(|words| text.ends_with(words))
        };
        same_code().find(says).or_else(|| same_code().next())
    }

    /// What some reasons say after the time. 4012 and 4013 have two reasons each, which a client treats alike; the words are for people.
    const fn words(self) -> Option<&'static str> {
        match self {
            Self::GoingAway => Some("; node stops"),
            Self::Full => Some("; node full"),
            Self::UnfinishedMessage => Some("; unfinished message"),
            _ => None,
        }
    }

    /// The text of a close frame. Where the client is to come back after a time, that stands there instead of the reason.
    pub fn text(self, retry_after_ms: Option<u64>) -> Cow<'static, str> {
        match retry_after_ms {
            Some(ms) => format!("{RETRY_AFTER}{ms}{}", self.words().unwrap_or_default()).into(),
            None => self.as_str().into(),
        }
    }
}

/// How long a client should wait before it reconnects, by the text of the close frame.
pub fn retry_after(text: &str) -> Option<Duration> {
    let (_, rest) = text.split_once(RETRY_AFTER)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok().map(Duration::from_millis)
}

const RETRY_AFTER: &str = "retry_after_ms=";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_frame_gives_its_reason_back() {
        for reason in CloseReason::ALL {
            assert_eq!(CloseReason::from_code(reason.code(), &reason.text(None)), Some(reason));
        }
        for reason in CloseReason::ALL {
            let text = reason.text(Some(5));
            let found = CloseReason::from_code(reason.code(), &text);
            assert_eq!(found.map(|found| found.text(Some(5))), Some(text), "{reason:?}");
        }
        assert_eq!(CloseReason::from_code(1013, "retry_after_ms=5"), Some(CloseReason::Full));
        for code in [1012, 4012] {
            assert_eq!(CloseReason::from_code(code, "retry_after_ms=5"), Some(CloseReason::Restarting));
        }
        assert_eq!(CloseReason::from_code(1001, "retry_after_ms=5"), Some(CloseReason::GoingAway));
        assert_eq!(CloseReason::from_code(4999, "later"), None);
    }

    #[test]
    fn a_close_frame_gives_its_pause_back() {
        let text = CloseReason::Full.text(Some(250));
        assert_eq!(text, "retry_after_ms=250; node full");
        assert_eq!(CloseReason::Slow.text(Some(9)), "retry_after_ms=9");
        assert_eq!(retry_after(&text), Some(Duration::from_millis(250)));
        assert_eq!(retry_after("restart; retry_after_ms=7, please"), Some(Duration::from_millis(7)));
        for invalid in
            ["", "idle", "retry_after_ms=", "retry_after_ms=-1", "retry_after_ms=99999999999999999999"]
        {
            assert_eq!(retry_after(invalid), None, "{invalid}");
        }
    }
}
