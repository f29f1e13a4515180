//! Calls of the server API about messages: pages of a room, and sending and changing messages in the name of a user. Owns their JSON;
//! the node does the work.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::api_call::{ApiError, Body, InPath, Params, bounded, request_id, room, user};
use super::state::AppState;
use super::trace_header;
use crate::chat::{Asker, ModeratedRetraction, NewChange, RequestError, Submission};
use crate::protocol::requests::{self, Before, ChangeAck};
use crate::protocol::{
    Attachment, Data, ErrorCode, Extras, MAX_HISTORY, MessageId, RequestId, Topic, UserName, extras,
};
use crate::traces::{Arrived, Ending, RequestSpan};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessagesQuery {
    before: Option<u64>,
    epoch: Option<String>,
    limit: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SendMessage {
    sender_username: String,
    content: String,
    id: Option<String>,
    #[serde(default, deserialize_with = "extras::message_id")]
    reply_to: Option<MessageId>,
    #[serde(default, deserialize_with = "extras::message_id")]
    thread: Option<MessageId>,
    #[serde(default, deserialize_with = "extras::mentions")]
    mentions: Vec<UserName>,
    #[serde(default, deserialize_with = "extras::attachments")]
    attachments: Vec<Attachment>,
    #[serde(default, deserialize_with = "extras::data")]
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EditMessage {
    sender_username: String,
    content: String,
    #[serde(default, deserialize_with = "extras::message_id")]
    if_version: Option<MessageId>,
    id: Option<String>,
}

/// A query: what the body of a `DELETE` means is not defined, and some proxies drop it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RetractMessage {
    sender_username: Option<String>,
    #[serde(default, deserialize_with = "requests::reason")]
    reason: Option<String>,
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReactToMessage {
    sender_username: String,
    #[serde(deserialize_with = "requests::reaction")]
    reaction: String,
    on: bool,
    id: Option<String>,
}

/// What a path names: a room or a user, and mostly a message.
#[derive(Deserialize)]
pub(super) struct Place {
    room: Option<String>,
    user: Option<String>,
    #[serde(default)]
    message_id: String,
}

impl Place {
    fn topic(&self) -> Result<Topic, ApiError> {
        match &self.room {
            Some(name) => Ok(Topic::Room(room("room", name)?)),
            None => Ok(Topic::User(user("user", self.user.as_deref().unwrap_or_default())?)),
        }
    }

    fn message_id(&self) -> Result<MessageId, ApiError> {
        let id = self.message_id.parse().ok().filter(|id: &MessageId| !id.is_none());
        id.ok_or_else(|| ApiError::invalid("`message_id` must be the UUID of a message"))
    }
}

type App = State<Arc<AppState>>;
type Answer = Result<Response, ApiError>;

pub(super) async fn list(
    State(app): App,
    InPath(place): InPath<Place>,
    Params(query): Params<MessagesQuery>,
) -> Answer {
    let limit = bounded(query.limit, 50, MAX_HISTORY)?;
    let before = match (query.before, query.epoch) {
        (None, _) => None,
        (Some(seq), Some(epoch)) => Some(Before { epoch: epoch.parse().ok(), seq }),
        (Some(_), None) => return Err(ApiError::invalid("`epoch` must be given together with `before`")),
    };
    let page = app.node.history().page(&place.topic()?, before, limit).await?;
    Ok(([(CONTENT_TYPE, "application/json")], page).into_response())
}

pub(super) async fn send(
    State(app): App,
    InPath(place): InPath<Place>,
    headers: HeaderMap,
    Body(call): Body<SendMessage>,
) -> Answer {
    let (to, sender) = (place.topic()?, user("sender_username", &call.sender_username)?);
    check_content(&app, &call.content)?;
    let id = request_id(call.id.as_deref())?;
    let SendMessage { content, reply_to, thread, mentions, attachments, data, .. } = call;
    let extras = Extras { reply_to, thread, mentions, attachments, data };
    let publishing = async |message_id| {
        let from = from(&sender, &to, id.as_ref(), message_id);
        app.node.publish(&from, &content, &extras).await.map(ChangeAck::from)
    };
    let ack = traced("SendMessage", &headers, publishing).await?;
    let body = json!({
        "message_id": ack.message_id,
        "epoch": ack.epoch,
        "seq": ack.seq,
        "sent_at": ack.sent_at,
        "duplicate": ack.duplicate,
    });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

pub(super) async fn edit(
    State(app): App,
    InPath(place): InPath<Place>,
    headers: HeaderMap,
    Body(call): Body<EditMessage>,
) -> Answer {
    let EditMessage { sender_username, content, if_version, id } = call;
    let change = NewChange::Edit { content: &content, if_version };
    change_message(&app, &place, ("EditMessage", &headers), (&sender_username, id), change).await
}

pub(super) async fn retract(
    State(app): App,
    InPath(place): InPath<Place>,
    headers: HeaderMap,
    Params(call): Params<RetractMessage>,
) -> Answer {
    let (log, target) = (place.topic()?, place.message_id()?);
    let by = call.sender_username.map(|name| user("sender_username", &name)).transpose()?;
    let id = request_id(call.id.as_deref())?;
    let changing = async |message_id| {
        let retraction = ModeratedRetraction {
            log: &log,
            target,
            by: by.as_ref(),
            reason: call.reason.as_deref(),
            payer: None,
            asker: &Asker::Server,
            client_id: id.as_ref().map(RequestId::as_str),
            message_id,
        };
        app.node.moderate(&retraction).await.map(ChangeAck::from)
    };
    Ok(Json(traced("RetractMessage", &headers, changing).await?).into_response())
}

pub(super) async fn react(
    State(app): App,
    InPath(place): InPath<Place>,
    headers: HeaderMap,
    Body(call): Body<ReactToMessage>,
) -> Answer {
    let ReactToMessage { sender_username, reaction, on, id } = call;
    let change = NewChange::React { reaction: &reaction, on };
    change_message(&app, &place, ("ReactToMessage", &headers), (&sender_username, id), change).await
}

/// Changes a message in the name of a user.
async fn change_message(
    app: &AppState,
    place: &Place,
    (name, headers): (&'static str, &HeaderMap),
    (sender, id): (&str, Option<String>),
    change: NewChange<'_>,
) -> Answer {
    let (to, target) = (place.topic()?, place.message_id()?);
    let sender = user("sender_username", sender)?;
    if let NewChange::Edit { content, .. } = change {
        check_content(app, content)?;
    }
    let id = request_id(id.as_deref())?;
    let changing = async |message_id| {
        let from = from(&sender, &to, id.as_ref(), message_id);
        app.node.change(&from, target, change).await.map(ChangeAck::from)
    };
    Ok(Json(traced(name, headers, changing).await?).into_response())
}

fn check_content(app: &AppState, content: &str) -> Result<(), ApiError> {
    let most = app.node.config().limits.max_content_bytes;
    if content.is_empty() {
        return Err(ApiError::invalid("`content` must not be empty"));
    }
    if content.len() > most {
        let message = format!("`content` has {} bytes; the limit is {most}", content.len());
        return Err(RequestError::new(ErrorCode::MessageTooLarge, message).into());
    }
    Ok(())
}

/// The operator's own entries are charged to nobody.
fn from<'a>(
    sender: &'a UserName,
    to: &'a Topic,
    id: Option<&'a RequestId>,
    message_id: MessageId,
) -> Submission<'a> {
    let client_id = id.map(RequestId::as_str);
    Submission { sender, to, client_id, payer: None, message_id, asker: &Asker::Server }
}

/// Carries out a call that stores an entry under the given id, with a span of this name.
async fn traced(
    name: &'static str,
    headers: &HeaderMap,
    call: impl AsyncFnOnce(MessageId) -> Result<ChangeAck, RequestError>,
) -> Result<ChangeAck, RequestError> {
    let trace = trace_header::read(headers);
    let mut span = RequestSpan::begin(Arrived::now(), name, (None, &trace), None);
    let result = call(span.message_id()).await;
    match &result {
        Ok(ack) => {
            span.stored(ack.message_id, ack.duplicate || ack.unchanged);
            span.end(Ending::Done);
        }
        Err(error) => span.end(Ending::Failed(error.code(), error.outcome())),
    }
    result
}
