//! `traceparent` in the header of an HTTP request: the span of a client, or of a balancer that traces. Owns finding it; the protocol reads
//! it. Called by the upgrade and by the server API.

use axum::http::HeaderMap;

use crate::traces::ConnectionTrace;

/// The trace of a request. W3C has one such header in a request; two mean nothing.
pub(super) fn read(headers: &HeaderMap) -> ConnectionTrace {
    let mut parents = headers.get_all("traceparent").iter();
    let parent = parents.next().filter(|_| parents.next().is_none());
    ConnectionTrace::of(parent.and_then(|parent| parent.to_str().ok()))
}
