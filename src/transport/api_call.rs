//! How calls of the server API are read, and how they fail. Owns the extractors with errors in the format of the API, and the status
//! of each error. Used by the handlers, and by the check of the key.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::chat::RequestError;
use crate::protocol::{Current, ErrorCode, NameError, RequestId, RoomName, UserName};

/// An error of a call: `{"code", "message", "current"?, "retry_after_ms"?}` with a status.
#[derive(Serialize)]
pub(super) struct ApiError {
    #[serde(skip)]
    status: StatusCode,
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<Current>,
    /// When the caller may try again, ms. With it, the answer has `Retry-After` too, in whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), current: None, retry_after_ms: None }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::InvalidMessage.as_str(), message)
    }

    /// The caller may try again after this time.
    pub(super) fn rate_limited(message: impl Into<String>, wait: Duration) -> Self {
        let code = ErrorCode::RateLimited.as_str();
        let retry_after_ms = u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX).max(1);
        Self {
            retry_after_ms: Some(retry_after_ms),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, code, message)
        }
    }

    fn name(field: &str, error: &NameError) -> Self {
        Self::invalid(format!("`{field}` {error}"))
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        let status = match error.code() {
            ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorCode::MessageTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::Gone => StatusCode::GONE,
            ErrorCode::Conflict | ErrorCode::TooManyChanges => StatusCode::CONFLICT,
            ErrorCode::Forbidden | ErrorCode::TooLate => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        };
        Self {
            current: error.current().cloned(),
            ..Self::new(status, error.code().as_str(), error.message())
        }
    }
}

impl ApiError {
    /// An error for a request that axum could not read.
    fn unreadable(status: StatusCode, text: String) -> Self {
        let code = match status {
            StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::MessageTooLarge,
            _ => ErrorCode::InvalidMessage,
        };
        Self::new(status, code.as_str(), text)
    }
}

macro_rules! from_rejections {
    ($($rejection:ty),+) => {$(
        impl From<$rejection> for ApiError {
            fn from(rejection: $rejection) -> Self {
                Self::unreadable(rejection.status(), rejection.body_text())
            }
        }
    )+};
}
from_rejections!(JsonRejection, QueryRejection, PathRejection);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let retry_after = self.retry_after_ms.map(|ms| [(RETRY_AFTER, ms.div_ceil(1_000).to_string())]);
        (self.status, retry_after, Json(self)).into_response()
    }
}

/// A JSON body, with errors in the format of this API.
#[derive(FromRequest)]
#[from_request(via(Json), rejection(ApiError))]
pub(super) struct Body<T>(pub(super) T);

/// A query, with errors in the format of this API.
#[derive(FromRequestParts)]
#[from_request(via(Query), rejection(ApiError))]
pub(super) struct Params<T>(pub(super) T);

/// Names in a path, with errors in the format of this API.
#[derive(FromRequestParts)]
#[from_request(via(Path), rejection(ApiError))]
pub(super) struct InPath<T>(pub(super) T);

pub(super) fn user(field: &str, name: &str) -> Result<UserName, ApiError> {
    UserName::parse(name).map_err(|error| ApiError::name(field, &error))
}

pub(super) fn room(field: &str, name: &str) -> Result<RoomName, ApiError> {
    RoomName::parse(name).map_err(|error| ApiError::name(field, &error))
}

pub(super) fn bounded(limit: Option<u32>, default: u32, most: u32) -> Result<u32, ApiError> {
    match limit.unwrap_or(default) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        _ => Err(ApiError::invalid(format!("`limit` must be from 1 to {most}"))),
    }
}

/// The `id` of a call.
pub(super) fn request_id(id: Option<&str>) -> Result<Option<RequestId>, ApiError> {
    let invalid = || ApiError::invalid(format!("`id` {}", RequestId::RULE));
    id.map(|id| RequestId::parse(id).ok_or_else(invalid)).transpose()
}
