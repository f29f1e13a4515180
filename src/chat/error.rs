//! How a request fails. Owns, for each failure, what the client sees and what is logged. Built by the session and its
//! parts, answered in one place.

use crate::backend::BackendError;
use crate::protocol::{ErrorBody, ErrorCode, Outcome, Rejected};

/// The error that the client receives for its request.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestError {
    code: ErrorCode,
    message: String,
    retry_after_ms: Option<u64>,
    outcome: Option<Outcome>,
}

impl RequestError {
    /// A code of the protocol's table with its reason.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None, outcome: None }
    }

    /// The code on the wire.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The text for a person.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the client sees.
    pub(super) fn body(&self) -> ErrorBody {
        ErrorBody {
            code: self.code.into(),
            message: self.message.clone(),
            retry_after_ms: self.retry_after_ms,
            outcome: self.outcome.map(Into::into),
        }
    }

    /// The request took longer than its deadline: its outcome is unknown.
    pub fn timed_out() -> Self {
        Self::unavailable(Outcome::Unknown)
    }

    pub(super) fn unavailable(outcome: Outcome) -> Self {
        let message = match outcome {
            Outcome::Refused => "the store can't be reached; nothing was stored; try again",
            Outcome::Unknown => {
                "the store did not answer; the request may have taken effect; repeat it with the same `id`"
            }
        };
        let error = Self::new(ErrorCode::Unavailable, message);
        Self { retry_after_ms: Some(1_000), outcome: Some(outcome), ..error }
    }
}

impl From<Rejected> for RequestError {
    fn from(rejected: Rejected) -> Self {
        Self::new(rejected.code, rejected.message)
    }
}

impl From<BackendError> for RequestError {
    fn from(error: BackendError) -> Self {
        // The store's own message may name hosts and keys: it is for the log, not for the client.
        if let BackendError::Corrupt(_) = &error {
            tracing::error!(%error, "a request failed: the store holds data that no node wrote");
            let message = "the stored data can't be read; an operator has to look at it";
            let outcome = Some(error.outcome());
            return Self { outcome, ..Self::new(ErrorCode::Internal, message) };
        }
        tracing::warn!(%error, "a request failed: the store is not available");
        Self::unavailable(error.outcome())
    }
}
