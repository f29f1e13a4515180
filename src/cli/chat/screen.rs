//! The chat as a screen. Owns the layout and the look of everything except the rows of a conversation; changes nothing in the
//! model. Called by the terminal.

use std::ops::Range;
use std::time::Instant;

use chatnode_client::Topic;
use chatnode_client::model::{Connection, Model};
use chatnode_client::text::harmless;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line as Row, Span, Text};
use ratatui::widgets::{Block, Borders, Paragraph, Widget, Wrap};

use super::completion::Completion;
use super::drafts::Drafts;
use super::local_time::LocalTime;
use super::message_rows::Reader;
use super::painter::Picture;
use super::place::Place;
use super::prompt_rows::PromptRows;
use super::room_row;
use super::transcript::{Transcript, Wrapped};

/// The width of the lists beside the conversation.
const LIST_WIDTH: u16 = 20;

/// Below the first width there is no list of members; below the second, no list of conversations either.
const WIDE: u16 = 90;
const NARROW: u16 = 50;

/// With fewer rows, all of them are for the lines of the conversation.
const ENOUGH_ROWS: u16 = 6;

/// The most rows of the prompt, if the screen is high enough. On a lower one it takes a third.
const MAX_PROMPT_ROWS: u16 = 8;

/// The state of the screen beside the model.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) drafts: Drafts,
    pub(super) place: Place,
    /// The number of visible rows of the conversation. Set by drawing.
    pub(super) height: u16,
    /// The first visible row of the prompt.
    prompt_top: usize,
    completion: Option<Completion>,
    wrapped: Wrapped,
}

impl View {
    /// The user sees another conversation, or one anew: at its end, with its own draft.
    pub(super) fn turn_to(&mut self, model: &Model) {
        self.place = Place::default();
        self.wrapped = Wrapped::default();
        self.completion = None;
        self.drafts.open(model.current().map(|current| &current.topic));
    }

    /// Completes what stands before the cursor, or takes the next choice. False if nothing can be completed there.
    pub(super) fn complete(&mut self, model: &Model, forwards: bool) -> bool {
        let prompt = self.drafts.prompt();
        let ongoing = self.completion.take_if(|completion| completion.goes_on(prompt));
        let Some(mut completion) = ongoing.or_else(|| Completion::begin(model, prompt)) else { return false };
        completion.step(prompt, forwards);
        self.completion = Some(completion);
        true
    }

    /// Follows the model to another conversation.
    pub(super) fn look_at(&mut self, model: &Model) {
        if self.drafts.open(model.current().map(|current| &current.topic)) {
            self.turn_to(model);
        }
    }
}

/// Draws everything.
pub(super) fn draw(area: Rect, model: &Model, view: &mut View, local: &LocalTime, now: Instant) -> Picture {
    view.look_at(model);
    let mut cells = Buffer::empty(area);
    let most = MAX_PROMPT_ROWS.min(area.height / 3);
    let typed =
        PromptRows::new(view.drafts.prompt(), usize::from(area.width), usize::from(most), view.prompt_top);
    view.prompt_top = typed.top;
    let [body, status, prompt] = Layout::vertical([
        Constraint::Min(1),
        Constraint::Length(1),
        Constraint::Length(typed.rows.len() as u16),
    ])
    .areas(area);
    let lists = if body.width >= NARROW { LIST_WIDTH } else { 0 };
    let is_room = model.current().is_some_and(|current| matches!(current.topic, Topic::Room(_)));
    let members = if body.width >= WIDE && is_room { LIST_WIDTH } else { 0 };
    let [left, middle, right] =
        Layout::horizontal([Constraint::Length(lists), Constraint::Min(1), Constraint::Length(members)])
            .areas(body);
    conversations(&mut cells, model, left);
    lines(&mut cells, model, view, local, middle);
    if members > 0 {
        people(&mut cells, model, right);
    }
    let listed = if lists > 0 { listed(model, left.height) } else { 0..0 };
    let text = status_text(model, view, now, usize::from(status.width), &listed);
    Paragraph::new(text).style(Style::new().reversed()).render(status, &mut cells);
    let (row, column) = typed.cursor;
    let cursor = Position::new(
        prompt.x + (column as u16).min(prompt.width.saturating_sub(1)),
        prompt.y + (row as u16).min(prompt.height.saturating_sub(1)),
    );
    Text::from_iter(typed.rows).render(prompt, &mut cells);
    Picture { cells, cursor }
}

/// The conversations that a list of this height shows: the open one is always among them.
fn listed(model: &Model, height: u16) -> Range<usize> {
    let height = usize::from(height);
    let skipped = (model.current_index() + 1).saturating_sub(height);
    skipped..skipped + height
}

fn conversations(cells: &mut Buffer, model: &Model, area: Rect) {
    let Range { start, end } = listed(model, area.height);
    let visible = model.conversations().iter().enumerate().take(end).skip(start);
    let rows = visible.map(|(index, each)| {
        let unread = if each.unread > 0 { format!(" ({})", each.unread) } else { String::new() };
        let style = match (index == model.current_index(), each.unread > 0) {
            (true, _) => Style::new().add_modifier(Modifier::REVERSED),
            (false, true) => Style::new().add_modifier(Modifier::BOLD),
            (false, false) => Style::new(),
        };
        // The count stays visible however long the name is.
        let most = usize::from(area.width.saturating_sub(1)).saturating_sub(unread.len());
        let name = shortened(&each.topic.to_string(), most);
        Row::styled(format!("{name}{unread}"), style)
    });
    let list = Text::from_iter(rows);
    Paragraph::new(list).block(Block::new().borders(Borders::RIGHT)).render(area, cells);
}

fn lines(cells: &mut Buffer, model: &Model, view: &mut View, local: &LocalTime, mut area: Rect) {
    view.height = area.height;
    let Some(conversation) = model.current() else {
        view.place = Place::default();
        let hint = "No room is open. Use /join ROOM to enter a room, or /help to list the commands.";
        return Paragraph::new(hint).wrap(Wrap { trim: false }).render(area, cells);
    };
    let about = conversation.rights().and_then(|rights| room_row::text(rights, local));
    if let Some(about) = about.filter(|_| area.height >= ENOUGH_ROWS) {
        let about = shortened(&about, usize::from(area.width));
        Row::styled(about, Style::new().add_modifier(Modifier::UNDERLINED)).render(area, cells);
        area = Rect { y: area.y + 1, height: area.height - 1, ..area };
        view.height = area.height;
    }
    let (height, width) = (usize::from(area.height), usize::from(area.width));
    let me = model.me();
    let reader = Reader { me, local, read: conversation.read_by_peer(me), mark: view.drafts.mark() };
    let mut transcript = Transcript::new(conversation, reader, width, &mut view.wrapped);
    let rows = view.place.visible(&mut transcript, height);
    // The newest row is at the bottom.
    let free = area.height.saturating_sub(rows.len() as u16);
    let area = Rect { y: area.y + free, height: area.height - free, ..area };
    Text::from(rows).render(area, cells);
}

fn people(cells: &mut Buffer, model: &Model, area: Rect) {
    let members = model.current().and_then(|current| current.members.as_ref());
    let rows = members.into_iter().flatten().take(usize::from(area.height));
    let list = Text::from_iter(rows.map(|name| Row::from(harmless(name.as_str()))));
    Paragraph::new(list).block(Block::new().borders(Borders::LEFT)).render(area, cells);
}

/// As much of a name as fits, safe for a terminal.
fn shortened(name: &str, most: usize) -> String {
    let name = harmless(name);
    if Span::raw(&name).width() <= most {
        return name;
    }
    let mut short = String::new();
    for grapheme in Span::raw(&name).styled_graphemes(Style::new()) {
        if Span::raw(&short).width() + Span::raw(grapheme.symbol).width() + 1 > most {
            break;
        }
        short.push_str(grapheme.symbol);
    }
    short + "…"
}

fn status_text(model: &Model, view: &View, now: Instant, width: usize, listed: &Range<usize>) -> String {
    let connection = match model.connection() {
        Connection::Connecting => "connecting".to_owned(),
        Connection::SigningIn => "signing in".to_owned(),
        Connection::Live => "connected".to_owned(),
        Connection::Waiting(until, why) => {
            let seconds = until.saturating_duration_since(now).as_secs_f64().ceil();
            format!("retrying in {seconds:.0} s: {why}")
        }
    };
    let unsent = match model.unsent() {
        0 => String::new(),
        count => format!(" · {count} unsent"),
    };
    let below = match model.current().map_or(0, |current| view.place.new_below(current)) {
        0 => String::new(),
        count => format!(" · {count} new below"),
    };
    // Only this tells of the conversations that are not in the list.
    let hidden = model.conversations().iter().enumerate().filter(|(index, _)| !listed.contains(index));
    let unread = match hidden.map(|(_, each)| each.unread).sum::<usize>() {
        0 => String::new(),
        count => format!(" {count} unread ·"),
    };
    // The state of the connection stays visible however long the names are.
    let most = width / 4;
    let mark = view.drafts.mark().and_then(|mark| model.current()?.quote(mark));
    let mark = mark.map_or_else(String::new, |quote| format!(" · marked {}", shortened(&quote, most)));
    let place = model.current().map(|current| format!(" · {}", shortened(&current.topic.to_string(), most)));
    let place = place.unwrap_or_default();
    // The reason of a lost connection can be long, so it is last.
    let typing = model.current().and_then(|current| current.typing(now));
    let typing = typing.map_or_else(String::new, |who| format!(" · {who}"));
    let me = shortened(model.me().as_str(), most);
    format!("{unread} {me}{place}{mark}{below}{unsent}{typing} · {connection}")
}

#[cfg(test)]
mod tests;
