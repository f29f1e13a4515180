//! C14 and C15: what the changes of messages come to, and what is erased. Owns the comparison of what clients were sent, one by one and
//! in pages of history, with the fold of the log. Called by `all`.

mod fold;

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use self::fold::{Changes, Entry, fold};
use super::index::{Index, RawLog};
use super::{Check, Findings};
use crate::history::{Event, Kind, Micros, Place, Shown, Topic, Verdict};

pub fn check(index: &Index<'_>, findings: &mut Findings) {
    let logs = index.logs.iter().map(|(topic, log)| (*topic, Changes::new(log))).collect();
    views(index, &logs, findings);
    pages(index, &logs, findings);
    erased(index, findings);
}

/// What one client has received of a room without a gap.
#[derive(Default)]
struct View {
    epoch: u64,
    /// Entries up to this one may be missing, but for messages as they are now.
    from: u64,
    /// Up to here, messages come as they are now, if the last join asked for them.
    replayed: Option<u64>,
    /// From here on, entries may come one by one all the same: the client sent a late position.
    late: Option<u64>,
    /// When the last join was sent.
    asked: Micros,
    entries: BTreeMap<u64, Entry>,
}

impl View {
    fn begin(&mut self, from: Place, replayed: Option<u64>) {
        *self = Self { epoch: from.epoch, from: from.seq, replayed, ..Self::default() };
    }

    fn covers(&self, at: Place) -> bool {
        at.epoch == self.epoch && (at.seq > self.from || self.replayed.is_some_and(|until| at.seq <= until))
    }
}

/// Whether the log has at the end what a client asked for and was shown at these times: it was not rolled back, and not dropped from a
/// full log.
fn is_certain(
    index: &Index<'_>,
    changes: &Changes<'_>,
    (asked, at): (Micros, Micros),
    shown: &Shown,
) -> bool {
    let is_held = changes.log.by_message.contains_key(&shown.message_id);
    !index.may_roll_back(asked, at) && (is_held || !index.trims(changes.log))
}

/// C14: a message is shown to a client that asked for the newest ones as it was then. At the end, a client that has received everything
/// since some place has all messages since then as the log has them.
fn views(index: &Index<'_>, logs: &HashMap<Topic, Changes<'_>>, findings: &mut Findings) {
    let mut views: BTreeMap<(u32, Topic), View> = BTreeMap::new();
    let mut asked: HashMap<(u32, Topic), (u32, Option<u64>, Micros)> = HashMap::new();
    for line in &index.history.lines {
        match &line.event {
            Event::Join { client, topic, history, since, .. } => {
                asked.insert((*client, *topic), (*history, since.map(|since| since.seq), line.at));
            }
            Event::Joined { client, topic, top, verdict, already, .. } => {
                let view = views.entry((*client, *topic)).or_default();
                let (history, since, sent) = asked.get(&(*client, *topic)).copied().unwrap_or_default();
                let replayed = (history > 0).then_some(top.seq);
                // If their end was rolled back, the node sends entries in their place.
                let late = index.rollback_of(top.message_id).map(|_| 0);
                match verdict {
                    None if *already => {}
                    Some(Verdict::Recovered) if *already => view.late = view.late.or(since).min(since),
                    Some(Verdict::Recovered) => (view.replayed, view.late) = (None, None),
                    None => {
                        view.begin(top.place(), replayed);
                        (view.late, view.asked) = (late, sent);
                    }
                    Some(Verdict::Not { next_seq, .. }) => {
                        let before = Place { epoch: top.epoch, seq: next_seq.saturating_sub(1) };
                        view.begin(if history > 0 { top.place() } else { before }, replayed);
                        (view.late, view.asked) = (late, sent);
                    }
                }
            }
            Event::Gap { client, topic, next, .. } => {
                let from = Place { epoch: next.epoch, seq: next.seq.saturating_sub(1) };
                views.entry((*client, *topic)).or_default().begin(from, None);
            }
            Event::Received {
                client,
                topic: topic @ Topic::Room(_),
                at,
                message_id,
                sender,
                id,
                kind,
                shown,
                ..
            } => {
                let view = views.entry((*client, *topic)).or_default();
                let mut entry =
                    Entry { message_id: *message_id, id: *id, sender: *sender, kind: *kind, folded: None };
                let until = view.replayed.filter(|until| at.epoch == view.epoch && at.seq <= *until);
                let is_late = shown.is_none() && view.late.is_some_and(|late| at.seq > late);
                if let Some(until) = until.filter(|_| !kind.is_change() && !is_late) {
                    let changes = logs.get(topic).filter(|changes| changes.log.epoch == at.epoch);
                    let Some(changes) = changes else { continue };
                    let is_retracted = *kind == Kind::Tombstone;
                    let unchanged =
                        || Shown { message_id: *message_id, text: *id, is_retracted, ..Shown::default() };
                    let shown = shown.clone().unwrap_or_else(unchanged);
                    if !is_certain(index, changes, (view.asked, line.at), &shown) {
                        continue;
                    }
                    findings.look(Check::Changes);
                    let Some(folded) = changes.shown(&shown, until) else {
                        let text = format!(
                            "client {client} was sent {shown:?} of {topic:?}, but after {until} it never was like this"
                        );
                        findings.find(Check::Changes, line.at, text);
                        continue;
                    };
                    entry.folded = Some((folded, shown.changes_seq.unwrap_or(0)));
                } else if until.is_none() && shown.is_some() {
                    let text = format!("client {client} was sent {shown:?} of {topic:?} among entries");
                    findings.find(Check::Changes, line.at, text);
                }
                if view.covers(*at) {
                    view.entries.insert(at.seq, entry);
                }
            }
            _ => {}
        }
    }
    for ((client, topic), view) in views {
        let Some(changes) = logs.get(&topic) else { continue };
        // Whether every client gets that far is another check's.
        if view.epoch != changes.log.epoch || view.entries.keys().next_back() != Some(&changes.log.top()) {
            continue;
        }
        for (message_id, seen) in fold(view.entries.into_iter()) {
            let Some(held) = changes.at_end.get(&message_id) else { continue };
            findings.look(Check::Changes);
            if seen != *held {
                let text = format!(
                    "client {client} has {message_id} of {topic:?} as {seen:?}, but the log as {held:?}"
                );
                findings.find(Check::Changes, index.end, text);
            }
        }
    }
}

/// C14: a page shows each message as it was at some time, and as the log has it at the end if it was asked for after everything had
/// arrived.
fn pages(index: &Index<'_>, logs: &HashMap<Topic, Changes<'_>>, findings: &mut Findings) {
    let mut settled: HashMap<Topic, Micros> = HashMap::new();
    for line in &index.history.lines {
        if let Event::Received { topic, .. } = &line.event {
            settled.insert(*topic, line.at);
        }
    }
    for line in &index.history.lines {
        let Event::Page { client, room, asked, epoch, messages, .. } = &line.event else { continue };
        let topic = Topic::Room(*room);
        let Some(changes) = logs.get(&topic).filter(|changes| changes.log.epoch == *epoch) else { continue };
        let is_settled = settled.get(&topic).is_none_or(|at| asked > at);
        let from = if is_settled { changes.log.top() } else { 0 };
        for shown in messages {
            if !is_settled && !is_certain(index, changes, (*asked, line.at), shown) {
                continue;
            }
            findings.look(Check::Changes);
            if changes.shown(shown, from).is_none() {
                let held = changes.at_end.get(&shown.message_id);
                let text = format!(
                    "a page of {topic:?} showed client {client} {shown:?}, but the log has {held:?} at the end"
                );
                findings.find(Check::Changes, line.at, text);
            }
        }
    }
}

/// C15: after a retraction, a connection gets the text of its message, or of an edit of it, no more. A retraction that a rollback took
/// away erases nothing.
fn erased(index: &Index<'_>, findings: &mut Findings) {
    let mut retracted: HashMap<(u64, Topic), HashSet<Uuid>> = HashMap::new();
    for line in &index.history.lines {
        let (client, conn, topic, texts): (_, _, _, Vec<Uuid>) = match &line.event {
            Event::Received { client, conn, topic, message_id, kind, shown, .. } => {
                let holds = |log: &RawLog<'_>| log.by_message.contains_key(message_id);
                let texts = match kind {
                    Kind::Message => vec![*message_id],
                    Kind::Tombstone if shown.as_ref().is_some_and(|shown| shown.text.is_some()) => {
                        vec![*message_id]
                    }
                    Kind::Edit { target } => vec![*target],
                    Kind::Retract { target } if index.logs.get(topic).is_some_and(holds) => {
                        findings.look(Check::ErasedText);
                        retracted.entry((*conn, *topic)).or_default().insert(*target);
                        continue;
                    }
                    _ => continue,
                };
                (client, conn, *topic, texts)
            }
            Event::Page { client, conn, room, messages, .. } => {
                let with_text = messages.iter().filter(|shown| shown.text.is_some());
                (client, conn, Topic::Room(*room), with_text.map(|shown| shown.message_id).collect())
            }
            _ => continue,
        };
        let Some(erased) = retracted.get(&(*conn, topic)) else { continue };
        for message_id in texts.iter().filter(|message_id| erased.contains(message_id)) {
            let text = format!(
                "client {client} received the text of {message_id} of {topic:?} after its retraction"
            );
            findings.find(Check::ErasedText, line.at, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::*;
    use crate::history::{LogEntry, Shown};

    /// Two clients in a room, and a message of the first.
    fn message() -> (Sample, Uuid) {
        let mut run = Sample::conversation();
        let target = run.log[0].message_id;
        run.change(1, 20, Kind::React { target, on: true });
        (run, target)
    }

    fn page(run: &mut Sample, text: Option<u128>, edit: Option<Uuid>, reactions: usize) {
        run.wait(1);
        let (conn, asked, epoch, message_id) = (run.conn(1), run.now, run.epoch, run.log[0].message_id);
        let (text, is_retracted) = (text.map(Uuid::from_u128), text.is_none());
        let changes_seq = (reactions > 0).then(|| run.top().seq);
        let messages = vec![Shown { message_id, text, edit, is_retracted, reactions, changes_seq }];
        run.record(Event::Page { client: 1, conn, room: 0, asked, epoch, messages });
        run.finish();
    }

    #[test]
    fn page_shows_the_last_edit_and_all_reactions() {
        for (id, reactions, found) in
            [(31, 1, vec![]), (30, 1, vec![Check::Changes]), (31, 0, vec![Check::Changes])]
        {
            let (mut run, target) = message();
            run.change(0, 30, Kind::Edit { target });
            run.change(0, 31, Kind::Edit { target });
            let edit = Some(run.top().message_id);
            page(&mut run, Some(id), edit, reactions);
            assert_eq!(run.names(), found, "{id} {reactions}");
        }
    }

    #[test]
    fn page_without_the_retracted_text_passes() {
        for (text, found) in [(None, vec![]), (Some(1), vec![Check::Changes, Check::ErasedText])] {
            let (mut run, target) = message();
            run.change(0, 30, Kind::Retract { target });
            page(&mut run, text, None, 0);
            assert_eq!(run.names(), found);
        }
    }

    #[test]
    fn edit_after_its_retraction_brings_a_text_back() {
        let (mut run, target) = message();
        run.change(0, 30, Kind::Edit { target });
        let edit = run.log.last().unwrap().clone();
        run.change(0, 31, Kind::Retract { target });
        run.deliver(1, LogEntry { kind: Kind::Edit { target }, ..edit });
        run.finish();
        assert!(run.names().contains(&Check::ErasedText), "{:?}", run.names());
    }

    /// A client asks for the newest messages; the first of them, with a reaction, is altered on its way.
    fn newest(alter: impl Fn(&mut Option<Shown>)) -> Vec<Check> {
        let (mut run, target) = message();
        run.close(1);
        run.connect(1, 0);
        run.join_with_history(1, None, None, 2);
        run.deliver_now(1, 0);
        if let Some(Event::Received { shown, .. }) = run.history.lines.last_mut().map(|line| &mut line.event)
        {
            alter(shown);
        }
        run.deliver_now(1, 1);
        run.change(0, 21, Kind::React { target, on: true });
        run.finish();
        run.names()
    }

    #[test]
    fn newest_message_is_as_the_log_had_it() {
        assert_eq!(newest(|_| {}), []);
        let alterations: [fn(&mut Shown); 4] = [
            |shown| shown.reactions = 2,
            |shown| shown.text = Some(Uuid::from_u128(9)),
            |shown| shown.changes_seq = Some(2),
            |shown| shown.changes_seq = Some(9),
        ];
        for alter in alterations {
            assert_eq!(newest(|shown| shown.as_mut().into_iter().for_each(alter)), [Check::Changes]);
        }
        assert_eq!(newest(|shown| *shown = None), [Check::Changes]);
    }

    #[test]
    fn message_as_it_is_now_among_entries_is_found() {
        let (mut run, _) = message();
        run.say(0, 3);
        if let Some(Event::Received { shown, .. }) =
            run.history.lines.iter_mut().rev().nth(1).map(|line| &mut line.event)
        {
            *shown = Some(Shown::default());
        }
        run.finish();
        assert_eq!(run.names(), [Check::Changes]);
    }

    #[test]
    fn client_with_another_text_than_the_log_is_found() {
        let (mut run, target) = message();
        run.change(0, 30, Kind::Edit { target });
        run.log.last_mut().unwrap().id = Some(Uuid::from_u128(31));
        run.finish();
        assert!(run.names().contains(&Check::Changes), "{:?}", run.names());
    }
}
