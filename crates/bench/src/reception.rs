//! What the server sends to one connection. Owns how each kind of frame is counted and checked; cheap for deliveries and `Ack`s
//! of messages, which are nearly all, and by the protocol's types for the rest. Called by the connection for each text frame.

use chatnode_protocol::requests::{Auth, Enter};
use chatnode_protocol::{AnyEvent, ErrorBody, ErrorCode, Outcome, ServerMessage};

use crate::log::Place;
use crate::scan::{Scan, scan};
use crate::session::{Ended, Session};
use crate::stamp::Stamp;
use crate::state::State;
use crate::tally::record;

/// Takes one text frame.
///
/// # Errors
/// The server refused to let the connection join.
pub(crate) fn take(session: &mut Session, text: &[u8], now: u64, state: &mut State) -> Result<(), Ended> {
    let Some(scan) = scan(text) else {
        state.tally.counts.misrouted += 1;
        state.tally.because("a frame that is no JSON object");
        return Ok(());
    };
    match scan.kind {
        b"GroupChat" => deliver(session, Some(scan.room), &scan, now, state),
        b"PrivateChat" => deliver(session, None, &scan, now, state),
        b"Ack" => match Stamp::read(scan.id) {
            Some(stamp) => session.acked(&stamp, scan.seq.unwrap_or(0), now, state),
            None => other(session, text, now, state)?,
        },
        b"Error" | b"Gap" => other(session, text, now, state)?,
        b"Enter" | b"Leave" | b"Typing" | b"Read" => state.tally.counts.events += 1,
        _ => {}
    }
    Ok(())
}

fn deliver(session: &mut Session, room: Option<&[u8]>, scan: &Scan<'_>, now: u64, state: &mut State) {
    state.tally.counts.deliveries += 1;
    let (Some(log), Some(seq)) = (session.log_of(room, state), scan.seq) else {
        state.tally.counts.misrouted += 1;
        return;
    };
    let stamp = Stamp::read(scan.client_id).filter(|stamp| stamp.run == session.run().id);
    let local = session.local();
    let place = state.logs[local][log].take((scan.epoch, seq, scan.message_id), stamp.as_ref());
    let counts = &mut state.tally.counts;
    match place {
        Place::Next | Place::AfterHole(_) => {}
        Place::Late => counts.disordered += 1,
        Place::Repeated => counts.repeated += 1,
        Place::OtherEpoch => counts.other_epochs += 1,
    }
    let Some(stamp) = stamp else {
        counts.strays += 1;
        return;
    };
    // The time of a repeat or of a replay says nothing of the way of a message.
    if place != Place::Repeated && session.has_joined() && session.run().is_measured(stamp.intended) {
        record(&mut state.tally.delivery, stamp.intended, now);
    }
    if stamp.publisher == session.seat_index() {
        session.came_back(&stamp);
    }
    if !session.has_joined() {
        session.finish_join(now, state);
    }
}

/// A rare frame.
fn other(session: &mut Session, text: &[u8], now: u64, state: &mut State) -> Result<(), Ended> {
    let decoded = std::str::from_utf8(text).map_err(|error| error.to_string());
    let decoded = decoded.and_then(|text| ServerMessage::decode(text).map_err(|error| error.to_string()));
    match decoded {
        Ok(ServerMessage::Ack(ack)) => {
            let id = ack.id.as_str();
            // The answer to `Typing` has nothing to be read.
            if let Ok(body) = ack.read::<Enter>() {
                session.joined(id.as_bytes(), &body.joined, state);
            } else if let Ok(body) = ack.read::<Auth>() {
                session.joined(id.as_bytes(), &body.joined, state);
            }
            session.finish_join(now, state);
        }
        Ok(ServerMessage::Error { id, body }) => {
            return error(session, id.as_ref().map(|id| id.as_str()), &body, now, state);
        }
        Ok(ServerMessage::Event(AnyEvent::Gap(gap))) => {
            state.tally.counts.gaps += 1;
            let room = gap.room.as_ref().map(|room| room.as_str().as_bytes());
            if let Some(log) = session.log_of(room, state) {
                let local = session.local();
                state.logs[local][log].skip_to(gap.epoch.to_string().as_bytes(), gap.next_seq);
            }
        }
        Ok(_) => {}
        Err(error) => {
            state.tally.counts.misrouted += 1;
            state.tally.because(&error);
        }
    }
    Ok(())
}

fn error(
    session: &mut Session,
    id: Option<&str>,
    body: &ErrorBody,
    now: u64,
    state: &mut State,
) -> Result<(), Ended> {
    let is_rate = body.code.known() == Some(ErrorCode::RateLimited);
    if is_rate && body.outcome.is_none() {
        state.tally.counts.slowed += 1;
        return Ok(());
    }
    let text = format!("{}: {}", body.code.as_str(), body.message);
    state.tally.because(&text);
    match id.map(|id| Stamp::read(id.as_bytes())) {
        Some(Some(stamp)) => {
            let is_unknown =
                body.outcome.as_ref().is_some_and(|outcome| outcome.known() == Some(Outcome::Unknown));
            // A second, if the server does not say it: never again at once.
            let pause = body.retry_after_ms.unwrap_or(1_000) * 1_000_000;
            session.failed(&stamp, is_unknown, Some(now + pause), state);
            Ok(())
        }
        _ if session.has_joined() => Ok(()),
        _ => Err(Ended::Refused(text)),
    }
}
