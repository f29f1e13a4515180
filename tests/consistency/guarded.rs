//! The room with rights of a run: its users, who enter and write whenever they may, and the moderator, who acts on them through the server API.
//! Owns what both do, and what is recorded of it. Its events are of their own kind, so the other checks do not see them. Started by the run.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use crate::entry::content;
use crate::guarded_event::{ACTIONS, GuardedEvent};
use crate::history::{Event, Place, Position};
use crate::run_context::{Phase, RunContext};
use crate::wire::{Frame, Wire, position, request, room_name, since, user_name};

/// Its number is that of no other room.
pub const ROOM: u16 = 99;

/// Its users are no others.
const USERS: std::ops::Range<u16> = 900..905;

/// Starts the moderator and the users, until no client publishes any longer.
pub fn spawn(context: &Arc<RunContext>, rng: &mut SmallRng) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(moderate(context.clone(), SmallRng::seed_from_u64(rng.random())));
    for user in USERS {
        tasks.spawn(Guest::new(context.clone(), user, rng.random()).run());
    }
    tasks
}

fn record(context: &RunContext, event: GuardedEvent) {
    context.recorder.record(Event::Guarded(event));
}

async fn moderate(context: Arc<RunContext>, mut rng: SmallRng) {
    let Some(api) = &context.api else { return };
    let path = format!("/api/v1/rooms/{}", room_name(ROOM));
    let mut number = 0_u32;
    while context.phase() == Phase::Publish {
        // A store that lost all data lost the rights too.
        if number.is_multiple_of(20) {
            api.call("PUT", &path, Some(&json!({ "kind": "private" }))).await;
        }
        let user = USERS.start + (number % u32::from(USERS.end - USERS.start)) as u16;
        let action = match number / 5 {
            0 => "role",
            _ => ACTIONS[rng.random_range(0..ACTIONS.len())],
        };
        number += 1;
        let mut body = json!({ "action": action, "target_username": user_name(user) });
        if action == "role" {
            body["role"] = "member".into();
        }
        record(&context, GuardedEvent::Asked { user, action: action.to_owned() });
        let asked = context.recorder.now();
        let answer = api.call("POST", &format!("{path}/moderation"), Some(&body)).await;
        let done = answer.filter(|(status, _)| *status == 200);
        let done = done.and_then(|(_, body)| position(&serde_json::from_str(&body).ok()?));
        if let Some(Position { message_id, .. }) = done {
            record(&context, GuardedEvent::Acted { user, action: action.to_owned(), asked, message_id });
        }
        sleep(Duration::from_millis(rng.random_range(50..200))).await;
    }
}

/// A user of the room, with one connection at a time.
struct Guest {
    context: Arc<RunContext>,
    user: u16,
    rng: SmallRng,
    token: Option<String>,
    /// The last entry that it has.
    last: Option<Position>,
}

/// One connection.
struct Visit {
    conn: u64,
    /// When the `Enter` that has no answer yet was sent.
    asked: Option<u64>,
    is_in: bool,
    /// When to enter, or to write.
    next: Instant,
}

impl Guest {
    fn new(context: Arc<RunContext>, user: u16, seed: u64) -> Self {
        Self { context, user, rng: SmallRng::seed_from_u64(seed), token: None, last: None }
    }

    async fn run(mut self) {
        while self.context.phase() == Phase::Publish {
            if let (None, Some(api)) = (&self.token, &self.context.api) {
                self.token = api.issue(self.user).await;
            }
            let address = self.context.nodes[self.rng.random_range(0..self.context.nodes.len())];
            match Wire::connect(address, self.user, self.token.as_deref(), false).await {
                Ok(wire) => self.visit(wire).await,
                Err(_) => {
                    self.token = None;
                    sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    async fn visit(&mut self, mut wire: Wire) {
        let end = Instant::now() + Duration::from_millis(self.rng.random_range(1_000..6_000));
        let conn = self.context.recorder.number();
        let mut visit = Visit { conn, asked: None, is_in: false, next: Instant::now() };
        while self.context.phase() == Phase::Publish && Instant::now() < end {
            let is_open = tokio::select! {
                frame = wire.next() => self.receive(&mut visit, frame),
                () = sleep_until(visit.next.min(end)) => self.act(&mut visit, &mut wire).await,
            };
            if !is_open {
                return;
            }
        }
        wire.close().await;
    }

    /// Enters, or writes.
    async fn act(&mut self, visit: &mut Visit, wire: &mut Wire) -> bool {
        visit.next = Instant::now() + Duration::from_millis(self.rng.random_range(20..150));
        let mut body = json!({ "sender_username": user_name(self.user), "room": room_name(ROOM) });
        if visit.is_in {
            let id = Uuid::from_u128(self.rng.random());
            body["content"] = content(id, 10).into();
            return wire.send(&request("GroupChat", &id.to_string(), &body)).await;
        }
        if visit.asked.is_some() {
            return true;
        }
        match (self.last, self.rng.random_range(0..3)) {
            (Some(last), 0) => body["since"] = since(last),
            (_, 1) => body["history"] = 5.into(),
            _ => {}
        }
        visit.asked = Some(self.context.recorder.now());
        wire.send(&request("Enter", "enter", &body)).await
    }

    fn receive(&mut self, visit: &mut Visit, frame: Frame) -> bool {
        let (user, conn) = (self.user, visit.conn);
        match frame {
            Frame::Chat { at, message_id, .. } | Frame::Rights { at, message_id } => {
                let Place { epoch, seq } = at;
                self.last = Some(Position { epoch, seq, message_id });
                record(&self.context, GuardedEvent::Received { user, conn, at, message_id });
            }
            Frame::Removed => visit.is_in = false,
            Frame::Ack { id, body } if id == "enter" => self.entered(visit, &body),
            Frame::Error { id, .. } if id.as_deref() == Some("enter") => visit.asked = None,
            // The node has taken the user out, and the word of it is on its way.
            Frame::Error { code, .. } if code == "not_in_room" => visit.is_in = false,
            Frame::Closed { .. } => return false,
            _ => {}
        }
        true
    }

    fn entered(&mut self, visit: &mut Visit, body: &Value) {
        let (user, conn) = (self.user, visit.conn);
        if let Some(asked) = visit.asked.take() {
            debug_assert!(body["epoch"].is_string(), "{body}");
            record(&self.context, GuardedEvent::Joined { user, conn, asked });
        }
        visit.is_in = true;
    }
}
