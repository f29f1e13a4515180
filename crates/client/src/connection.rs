//! The task behind a client. Owns the session, the queue of events and everything that waits for an answer; what a frame means
//! is the model's business. Started by the options, fed by the handles, ended by the node or by the program.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chatnode_protocol::{Position, RequestId, Topic};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::address::BearerToken;
use crate::client::Client;
use crate::command::{Command, HandleState, Queued};
use crate::error::RequestError;
use crate::event::Event;
use crate::events::Events;
use crate::model::{Effect, Line, Membership, Model};
use crate::pending::Asked;
use crate::publish::Payload;
use crate::reason::{ClosedReason, LostReason};
use crate::sending::SendError;
use crate::session::{News, Session};
use crate::waiting::Waiting;

/// How long a client without handles sends what is on its way.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Without anything to wait for, a moment far away does no harm.
const FAR_AWAY: Duration = Duration::from_secs(3_600);

/// Why a client did not start.
pub(crate) enum StartError {
    Lost(LostReason),
    Closed(ClosedReason),
}

/// Resolves with the first success or failure.
pub(crate) type Started = oneshot::Receiver<Result<(), StartError>>;

/// Starts the task. With `fails_at_first`, the first failure ends it.
pub(crate) fn spawn(
    session: Session,
    event_capacity: usize,
    send_capacity: usize,
    fails_at_first: bool,
) -> (Client, Events, Started) {
    let shared = Arc::new(HandleState::new(session.model.me().clone(), send_capacity));
    // Bounded by the permits of the handles.
    let (handle, commands) = mpsc::unbounded_channel();
    let (events, queue) = mpsc::channel(event_capacity);
    let (take, taken) = watch::channel(None);
    let (started, has_started) = oneshot::channel();
    let task = Connection {
        session,
        shared: shared.clone(),
        commands,
        has_handles: true,
        events,
        has_reader: true,
        taken,
        pending: VecDeque::new(),
        started: fails_at_first.then_some(started),
        waiting: Waiting::default(),
        renewal: None,
        closing: None,
    };
    tokio::spawn(task.run());
    (Client::new(shared, handle), Events::new(queue, take), has_started)
}

/// The program closes the client.
struct Closing {
    until: Instant,
    replies: Vec<oneshot::Sender<usize>>,
}

struct Connection {
    session: Session,
    shared: Arc<HandleState>,
    commands: mpsc::UnboundedReceiver<Queued>,
    /// Whether the program has a handle.
    has_handles: bool,
    events: mpsc::Sender<Event>,
    /// Whether the program can read the events.
    has_reader: bool,
    /// The last private message that the program has taken.
    taken: watch::Receiver<Option<Position>>,
    /// Events that did not fit into the queue yet. While there are some, the task reads nothing from the node.
    pending: VecDeque<Event>,
    started: Option<oneshot::Sender<Result<(), StartError>>>,
    waiting: Waiting,
    /// A new token that the node has not answered yet, with the id of the request that has it.
    renewal: Option<(RequestId, BearerToken)>,
    closing: Option<Closing>,
}

/// What the task waited for.
enum Step {
    News(Option<Box<News>>),
    Command(Option<Queued>),
    EventQueued,
    EventTaken,
    ReaderGone,
    Time,
}

impl Connection {
    async fn run(mut self) {
        let reason = loop {
            if let Some(reason) = self.settle() {
                break reason;
            }
            if !self.has_handles && !self.has_reader && self.closing.is_none() {
                self.close(CLOSE_TIMEOUT, None);
            }
            if let Some(closing) = &self.closing
                && (self.session.model.unsent() == 0 || closing.until <= Instant::now())
            {
                break ClosedReason::ByClient;
            }
            match self.step().await {
                Step::News(news) => {
                    if let Some(reason) = news.and_then(|news| self.handle_news(*news)) {
                        break reason;
                    }
                }
                Step::Command(Some(Queued(command, _place))) => self.carry_out(command),
                Step::Command(None) => self.has_handles = false,
                Step::EventQueued => {}
                Step::EventTaken => self.note_taken(),
                Step::ReaderGone => {
                    self.has_reader = false;
                    self.pending.clear();
                }
                Step::Time => self.session.model.tick(std::time::Instant::now()),
            }
        };
        self.end(reason).await;
    }

    /// Waits for the next thing to do.
    async fn step(&mut self) -> Step {
        let is_full = !self.pending.is_empty();
        // The program waits for the end, and may not read events meanwhile.
        let may_read = !is_full || self.closing.is_some();
        let now = std::time::Instant::now();
        let wake = self.session.model.wake(now).unwrap_or(now + FAR_AWAY).into();
        let wake = self.closing.as_ref().map_or(wake, |closing| closing.until.min(wake));
        tokio::select! {
            news = news(&mut self.session, may_read) => Step::News(news.map(Box::new)),
            command = self.commands.recv(), if self.has_handles => Step::Command(command),
            place = self.events.reserve(), if is_full => match (place, self.pending.pop_front()) {
                (Ok(place), Some(event)) => {
                    place.send(event);
                    Step::EventQueued
                }
                _ => Step::ReaderGone,
            },
            () = self.events.closed(), if self.has_reader => Step::ReaderGone,
            taken = self.taken.changed(), if self.has_reader => match taken {
                Ok(()) => Step::EventTaken,
                Err(_) => Step::ReaderGone,
            },
            () = sleep_until(wake) => Step::Time,
        }
    }

    /// Carries out what the model wants. Returns a reason if the client can't go on.
    fn settle(&mut self) -> Option<ClosedReason> {
        while let Some(news) = self.session.settle() {
            if let Some(reason) = self.handle_news(news) {
                return Some(reason);
            }
        }
        None
    }

    /// Passes news on to the futures and the events of the program. Returns a reason if the client can't go on.
    fn handle_news(&mut self, news: News) -> Option<ClosedReason> {
        match news {
            News::Connected => {
                self.shared.set_features(self.session.model.features());
                if let Some(started) = self.started.take() {
                    let _gone = started.send(Ok(()));
                }
                self.report(Event::Connected {});
            }
            News::Lost(reason, retry_in) => {
                if let Some(started) = self.started.take() {
                    let _gone = started.send(Err(StartError::Lost(reason)));
                    return Some(ClosedReason::ByClient);
                }
                // The next handshake shows whether the node takes it.
                if let Some((_, token)) = self.renewal.take() {
                    self.session.set_token(token);
                }
                self.waiting.disconnected(&self.session.model);
                self.report(Event::Disconnected { reason, retry_in });
            }
            News::Stopped(reason) => return Some(reason),
            News::Stored(id, receipt) => self.waiting.stored(&id, receipt),
            News::Changed(id, receipt) => self.waiting.changed(&id, receipt),
            News::Joined(room) => self.waiting.joined(&room, &Ok(())),
            News::Answer(id, answer) => {
                let renewed = self.renewal.take_if(|(request, _)| *request == id);
                if let Some((_, token)) = renewed.filter(|_| answer.is_ok()) {
                    self.session.set_token(token);
                }
                self.waiting.answered(&id, answer, &self.session.model);
            }
            News::Event(event) => self.report(event),
            News::Line(_, Line::Message(message)) => self.report(Event::Message(message)),
            News::Line(topic, Line::Gap(reason)) => self.report(Event::Gap { topic, reason }),
            News::Line(_, Line::Event(event)) => {
                self.waiting.failed(&event);
                self.report(event);
            }
            News::Line(_, Line::Note(_)) => {}
        }
        None
    }

    /// The model learns what the program has.
    fn note_taken(&mut self) {
        if let Some(position) = *self.taken.borrow_and_update() {
            self.session.model.handed_on(position, std::time::Instant::now());
        }
    }

    fn report(&mut self, event: Event) {
        if !self.has_reader {
            return;
        }
        // In order: nothing overtakes what waits.
        if !self.pending.is_empty() {
            return self.pending.push_back(event);
        }
        if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
            self.pending.push_back(event);
        }
    }

    fn carry_out(&mut self, command: Command) {
        let now = std::time::Instant::now();
        let model = &mut self.session.model;
        match command {
            Command::Send { id, topic, message, reply, permit } => match self.obstacle(&topic) {
                Some(error) => drop(reply.send(Err(error))),
                None => {
                    self.waiting.add_send(id.clone(), reply, permit);
                    self.session.model.publish(id, topic, Payload::Message(message), now);
                }
            },
            Command::Change { id, topic, message_id, change, reply, permit } => match self.obstacle(&topic) {
                Some(error) => drop(reply.send(Err(error))),
                None => {
                    self.waiting.add_change(id.clone(), reply, permit);
                    self.session.model.publish(id, topic, Payload::Change { message_id, change }, now);
                }
            },
            Command::Join(room, reply) => {
                model.join(room.clone(), now);
                let is_in = |index: usize| model.conversations()[index].membership == Membership::In;
                if model.index_of(&Topic::Room(room.clone())).is_some_and(is_in) {
                    let _dropped = reply.send(Ok(()));
                } else {
                    self.waiting.add_join(room, reply);
                }
            }
            Command::Leave(room, reply) => {
                if let Some(index) = model.index_of(&Topic::Room(room.clone())) {
                    model.close(index);
                }
                self.waiting.joined(&room, &Err(RequestError::Left));
                let _dropped = reply.send(Ok(()));
            }
            Command::Rights(room, reply) => {
                let _dropped = reply.send(Ok(model.rights(&room).cloned()));
            }
            Command::Close(timeout, reply) => self.close(timeout, Some(reply)),
            Command::Ask { id, frame, answered } => {
                if model.is_live() {
                    model.ask_with(id.clone(), frame, Asked::Program);
                    self.waiting.add_question(id, answered);
                } else {
                    answered(Err(RequestError::Disconnected), model);
                }
            }
            Command::SetToken { token, reply, .. } if !model.is_live() => {
                self.session.set_token(token);
                let _dropped = reply.send(Ok(()));
            }
            Command::SetToken { id, frame, token, reply } => {
                model.ask_with(id.clone(), frame, Asked::Program);
                // It was not refused: without a connection it is as good as any.
                let answered = Box::new(move |answer: Result<_, RequestError>, _: &Model| {
                    let answer = answer.map(drop).or_else(|error| match error {
                        RequestError::Disconnected => Ok(()),
                        error => Err(error),
                    });
                    let _dropped = reply.send(answer);
                });
                self.waiting.add_question(id.clone(), answered);
                self.renewal = Some((id, token));
            }
            Command::Tell(frame, reply) => {
                let is_live = model.is_live();
                if is_live {
                    model.effect(Effect::Send(frame));
                }
                let _dropped = reply.send(if is_live { Ok(()) } else { Err(RequestError::Disconnected) });
            }
        }
    }

    /// Why nothing can be sent to a room or a user.
    fn obstacle(&self, topic: &Topic) -> Option<SendError> {
        match topic {
            _ if self.closing.is_some() => Some(SendError::Closed),
            Topic::Room(room) if self.session.model.index_of(topic).is_none() => {
                Some(SendError::NotJoined(room.clone()))
            }
            _ => None,
        }
    }

    fn close(&mut self, timeout: Duration, reply: Option<oneshot::Sender<usize>>) {
        let until = Instant::now() + timeout;
        let closing = self.closing.get_or_insert(Closing { until, replies: Vec::new() });
        closing.until = closing.until.min(until);
        closing.replies.extend(reply);
    }

    async fn end(mut self, reason: ClosedReason) {
        self.shared.close();
        if let Some(started) = self.started.take() {
            let _gone = started.send(Err(StartError::Closed(reason)));
            return;
        }
        let unsent = self.session.model.unsent();
        // Every message that is on its way is reported, with what is known of it.
        self.session.model.fail_everything();
        while let Some(news) = self.session.settle() {
            let _ended = self.handle_news(news);
        }
        self.commands.close();
        while let Ok(Queued(command, _)) = self.commands.try_recv() {
            match command {
                Command::Send { reply, .. } => drop(reply.send(Err(SendError::Closed))),
                Command::Change { reply, .. } => drop(reply.send(Err(SendError::Closed))),
                Command::Close(_, reply) => drop(reply.send(0)),
                // The futures of the others resolve, since their replies are dropped.
                _ => {}
            }
        }
        self.waiting = Waiting::default();
        self.report(Event::Closed { reason });
        if self.taken.has_changed().unwrap_or(true) {
            self.note_taken();
        }
        self.session.close().await;
        for reply in self.closing.into_iter().flat_map(|closing| closing.replies) {
            let _dropped = reply.send(unsent);
        }
        for event in self.pending {
            if self.events.send(event).await.is_err() {
                return;
            }
        }
    }
}

/// The next news. None comes while the program has no room for them; the node is not to take it for dead meanwhile.
async fn news(session: &mut Session, may_read: bool) -> Option<News> {
    if !may_read {
        session.speak().await;
    }
    session.next().await
}
