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

use super::drafts::Drafts;
use super::local_time::LocalTime;
use super::painter::Picture;
use super::place::Place;
use super::prompt_rows::PromptRows;
use super::transcript::{Transcript, Wrapped};

/// The width of the lists beside the conversation.
const LIST_WIDTH: u16 = 20;

/// Below the first width there is no list of members; below the second, no list of conversations either.
const WIDE: u16 = 90;
const NARROW: u16 = 50;

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
    wrapped: Wrapped,
}

impl View {
    /// The user sees another conversation, or one anew: at its end, with its own draft.
    pub(super) fn turn_to(&mut self, model: &Model) {
        self.place = Place::default();
        self.wrapped = Wrapped::default();
        self.drafts.open(model.current().map(|current| &current.topic));
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

fn lines(cells: &mut Buffer, model: &Model, view: &mut View, local: &LocalTime, area: Rect) {
    view.height = area.height;
    let Some(conversation) = model.current() else {
        view.place = Place::default();
        let hint = "No room is open. Use /join ROOM to enter a room, or /help to list the commands.";
        return Paragraph::new(hint).wrap(Wrap { trim: false }).render(area, cells);
    };
    let (height, width) = (usize::from(area.height), usize::from(area.width));
    let mut transcript = Transcript::new(conversation, model.me(), local, width, &mut view.wrapped);
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
    let place = model.current().map(|current| format!(" · {}", shortened(&current.topic.to_string(), most)));
    let place = place.unwrap_or_default();
    // The reason of a lost connection can be long, so it is last.
    let typing = model.current().and_then(|current| current.typing(now));
    let typing = typing.map_or_else(String::new, |who| format!(" · {who}"));
    let me = shortened(model.me().as_str(), most);
    format!("{unread} {me}{place}{below}{unsent}{typing} · {connection}")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use chatnode_client::model::Effect;
    use chatnode_client::{LostReason, UserName};
    use jiff::tz::TimeZone;
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::chat::command::run_command;
    const EPOCH: &str = "0123456789abcdef";

    /// What the user sees.
    fn shown(model: &Model, view: &mut View, width: u16, height: u16) -> Vec<String> {
        let local = LocalTime::new(&TimeZone::UTC, SystemTime::UNIX_EPOCH);
        let buffer = draw(Rect::new(0, 0, width, height), model, view, &local, Instant::now()).cells;
        let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(|y| row(y).trim_end().to_owned()).collect()
    }

    /// Answers all requests as a node would.
    fn answer(model: &mut Model, now: Instant) {
        while let Some(effect) = model.next_effect() {
            let Effect::Send(frame) = effect else { continue };
            let frame: Value = serde_json::from_str(&frame).unwrap();
            let body = match frame["message_type"].as_str().unwrap() {
                "Members" => {
                    json!({ "room": frame["message_body"]["room"], "members": ["ann", "bob"], "count": 2, "more": false })
                }
                "GroupChat" => continue,
                "Auth" => {
                    json!({ "epoch": EPOCH, "seq": 0, "message_id": "", "dedupe_ms": 300_000, "read": {} })
                }
                _ => json!({ "epoch": EPOCH, "seq": 0, "message_id": "", "dedupe_ms": 300_000,
                    "room": frame["message_body"]["room"] }),
            };
            let ack = json!({ "message_type": "Ack", "message_body": body, "id": frame["id"] });
            model.receive(&ack.to_string(), now);
        }
    }

    fn said(room: &str, from: &str, content: &str, seq: u64) -> String {
        json!({ "message_type": "GroupChat", "message_body": { "sender_username": from, "room": room,
            "content": content, "sent_at": 45_240_000 + seq, "epoch": EPOCH, "seq": seq,
            "message_id": format!("00000000-0000-7000-8000-{seq:012x}") } })
        .to_string()
    }

    fn opened(now: Instant) -> Model {
        let mut model = Model::new(UserName::parse("ann").unwrap(), 50);
        for line in ["/join ops", "/join dev"] {
            run_command(&mut model, line, now);
        }
        model.opened();
        answer(&mut model, now);
        model
    }

    #[test]
    fn the_screen_shows_conversation_members_unread_and_connection() {
        let now = Instant::now();
        let mut model = opened(now);
        model.receive(&said("dev", "bob", "hi \u{1b}[31mann", 1), now);
        model.receive(&said("ops", "bob", "elsewhere", 1), now);
        let mut view = View::default();
        view.turn_to(&model);
        view.drafts.prompt().insert("typed");
        let rows = shown(&model, &mut view, 100, 8);
        assert_eq!(rows[0].split_whitespace().collect::<Vec<_>>(), ["#ops", "(1)", "│", "│ann"]);
        assert!(rows[1].contains("#dev") && rows[1].ends_with("│bob"), "{rows:#?}");
        assert!(rows[4].contains("── Today ──"), "{rows:#?}");
        assert_eq!(rows[5].split('│').nth(1).map(str::trim_end), Some("12:34 bob: hi ann"));
        assert_eq!(rows[6], " ann · #dev · connected");
        assert_eq!(rows[7], "> typed");
        model.lost(LostReason::NoAnswer, now + Duration::from_millis(2_500));
        run_command(&mut model, "later", now);
        // However long the reason is, the countdown before it stays visible.
        let rows = shown(&model, &mut view, 100, 8);
        assert!(
            rows[6].starts_with(" ann · #dev · 1 unsent · retrying in 3 s: the node does not answer"),
            "{rows:#?}"
        );
    }

    #[test]
    fn a_long_line_wraps_and_scrolling_ends_at_the_oldest() {
        let now = Instant::now();
        let mut model = opened(now);
        for seq in 1..=10 {
            model.receive(&said("dev", "bob", &format!("number {seq} is a long one, 日本語 too"), seq), now);
        }
        let mut view = View::default();
        let rows = shown(&model, &mut view, 30, 6);
        assert_eq!(rows[2..4], ["12:34 bob: number 10 is a long", "  one, 日 本 語  too"]);
        assert!(!view.place.at_top);
        view.place.scroll(1_000);
        let rows = shown(&model, &mut view, 30, 6);
        assert_eq!(rows[..2], ["─────────── Today ────────────", "12:34 bob: number 1 is a long"]);
        assert!(view.place.at_top);
        view.place.scroll(-16);
        shown(&model, &mut view, 30, 6);
        assert!(!view.place.is_at_end());
        view.place.scroll(-1);
        assert_eq!(shown(&model, &mut view, 30, 6)[2], "12:34 bob: number 10 is a long");
        assert!(view.place.is_at_end());
    }

    #[test]
    fn the_rows_being_read_stay_in_place() {
        let now = Instant::now();
        let mut model = opened(now);
        for seq in 1..=30 {
            model.receive(&said("dev", "bob", &format!("number {seq}"), seq), now);
        }
        let mut view = View::default();
        shown(&model, &mut view, 60, 8);
        view.place.scroll(10);
        let before = shown(&model, &mut view, 60, 8);
        model.receive(&said("dev", "bob", &"long ".repeat(30), 31), now);
        model.receive(&said("dev", "bob", "next", 32), now);
        let after = shown(&model, &mut view, 60, 8);
        assert_eq!(before[..6], after[..6]);
        assert!(after[6].contains("2 new below"), "{after:#?}");
        run_command(&mut model, "/leave", now);
        run_command(&mut model, "/join dev", now);
        assert!(!shown(&model, &mut view, 60, 8)[6].contains("0 new"), "it counts from the start");
        answer(&mut model, now);
        model.receive(&said("dev", "bob", "next", 33), now);
        let newest = shown(&model, &mut view, 60, 8);
        assert!(newest[5].ends_with("next") && !newest[6].contains("new below"), "{newest:#?}");
    }

    #[test]
    fn a_long_name_hides_neither_count_nor_connection() {
        let now = Instant::now();
        let mut model = opened(now);
        let name = "日本語".repeat(20);
        run_command(&mut model, &format!("/join {name}"), now);
        answer(&mut model, now);
        let mut view = View::default();
        assert!(shown(&model, &mut view, 80, 8)[6].ends_with("… · connected"));
        run_command(&mut model, "/join dev", now);
        model.receive(&said(&name, "bob", "hi", 1), now);
        assert!(shown(&model, &mut view, 80, 8)[2].contains("… (1)"));
    }

    #[test]
    fn unread_messages_below_and_above_the_list_are_told() {
        let now = Instant::now();
        let mut model = opened(now);
        for number in 0..10 {
            run_command(&mut model, &format!("/join r{number}"), now);
        }
        answer(&mut model, now);
        model.receive(&said("ops", "bob", "above", 1), now);
        let mut view = View::default();
        assert!(shown(&model, &mut view, 80, 8)[6].starts_with(" 1 unread · ann · #r9 · connected"));
        run_command(&mut model, "/join ops", now);
        for seq in 1..=2 {
            model.receive(&said("r9", "bob", "below", seq), now);
        }
        model.receive(&said("r0", "bob", "in the list", 1), now);
        let rows = shown(&model, &mut view, 80, 8);
        assert!(rows[2].starts_with("#r0 (1)"), "{rows:#?}");
        assert!(rows[6].starts_with(" 2 unread · ann · #ops · connected"), "{rows:#?}");
    }

    #[test]
    fn the_screen_fits_every_size() {
        let now = Instant::now();
        let mut model = opened(now);
        model.receive(&said("dev", "bob", "日本語", 1), now);
        let mut view = View::default();
        view.drafts.prompt().insert("日本語");
        for (width, height) in [(1, 1), (1, 5), (2, 3), (60, 1), (200, 2), (91, 40)] {
            shown(&model, &mut view, width, height);
        }
        model.leave();
        model.leave();
        assert!(shown(&model, &mut view, 80, 5)[0].contains("/join ROOM"));
    }
}
