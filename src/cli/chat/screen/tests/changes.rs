//! Edits, deletions, reactions and replies on the screen, the mark, and what hostile texts can do there.

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

use super::super::super::keys;
use super::*;

fn id(seq: u64) -> String {
    format!("00000000-0000-7000-8000-{seq:012x}")
}

/// An entry of the log of `#dev`.
fn entry(kind: &str, from: &str, seq: u64, fields: &Value) -> String {
    let mut body = json!({ "sender_username": from, "room": "dev", "sent_at": 45_240_000 + seq, "epoch": EPOCH, "seq": seq,
        "message_id": id(seq) });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({ "message_type": kind, "message_body": body }).to_string()
}

/// A change of the message with this number.
fn change(kind: &str, from: &str, seq: u64, of: u64, fields: &Value) -> String {
    let mut fields = fields.clone();
    fields["target"] = json!({ "message_id": id(of) });
    entry(kind, from, seq, &fields)
}

fn reacted(from: &str, seq: u64, of: u64, reaction: &str) -> String {
    change("React", from, seq, of, &json!({ "reaction": reaction, "on": true }))
}

/// The rows of the conversation, without those above the first message.
fn messages(model: &Model, view: &mut View) -> Vec<String> {
    let rows = shown(model, view, 49, 24);
    rows[..22].iter().filter(|row| !row.is_empty() && !row.contains("Today")).cloned().collect()
}

fn press(model: &mut Model, view: &mut View, code: KeyCode, modifiers: KeyModifiers) {
    keys::handle(model, view, Event::Key(KeyEvent::new(code, modifiers)));
}

fn types(model: &mut Model, view: &mut View, text: &str) {
    keys::handle(model, view, Event::Paste(text.into()));
    press(model, view, KeyCode::Enter, KeyModifiers::NONE);
}

#[test]
fn messages_are_shown_as_they_are_now() {
    let now = Instant::now();
    let mut model = opened(now);
    let mut view = View::default();
    model.receive(&said("dev", "bob", "hello\nall", 1), now);
    model.receive(&entry("GroupChat", "ann", 2, &json!({ "content": "yes", "reply_to": id(1) })), now);
    assert_eq!(
        messages(&model, &mut view),
        ["12:34 bob: hello", "⏎ all", "12:34 ann (to bob: hello ⏎ all): yes"]
    );
    for (seq, from, reaction) in [(3, "bob", "+1"), (4, "ann", "👍"), (5, "bob", "👍")] {
        model.receive(&reacted(from, seq, 1, reaction), now);
    }
    model.receive(&change("Edit", "bob", 6, 1, &json!({ "content": "good\nbye" })), now);
    let rows = messages(&model, &mut view);
    assert_eq!(
        rows,
        ["12:34 bob: good", "⏎ bye (edited)", "↳ 👍  2 (you) · +1 1", "12:34 ann (to bob: good ⏎ bye): yes"]
    );
    model.receive(&change("Retract", "bob", 7, 1, &json!({ "reason": "a typo" })), now);
    let rows = messages(&model, &mut view);
    assert_eq!(rows, ["12:34 bob: (deleted: a typo)", "12:34 ann (to bob: (deleted)): yes"]);
}

#[test]
fn the_mark_moves_and_the_next_command_means_it() {
    let now = Instant::now();
    let mut model = opened(now);
    let mut view = View::default();
    for seq in 1..=40 {
        model.receive(
            &said("dev", if seq % 2 == 0 { "ann" } else { "bob" }, &format!("number {seq}"), seq),
            now,
        );
    }
    while model.next_effect().is_some() {}
    let status = |model: &Model, view: &mut View| shown(model, view, 100, 12)[10].clone();
    assert!(!status(&model, &mut view).contains("marked"));
    let (back, on) = (KeyCode::Char('r'), KeyCode::Char('t'));
    press(&mut model, &mut view, back, KeyModifiers::CONTROL);
    assert!(status(&model, &mut view).contains("· marked ann: number 40 ·"), "{}", status(&model, &mut view));
    for _ in 0..30 {
        press(&mut model, &mut view, back, KeyModifiers::CONTROL);
        assert!(status(&model, &mut view).contains("marked"));
    }
    let rows = shown(&model, &mut view, 100, 12);
    assert!(rows[10].contains("marked ann: number 10 "), "{rows:#?}");
    assert!(rows[..10].iter().any(|row| row.contains("ann: number 10")), "it is in view: {rows:#?}");
    press(&mut model, &mut view, on, KeyModifiers::CONTROL);
    press(&mut model, &mut view, on, KeyModifiers::CONTROL);
    types(&mut model, &mut view, "/edit");
    assert_eq!(view.drafts.prompt().text(), "/edit number 12");
    model.receive(&said("dev", "ann", "from my telephone", 41), now);
    types(&mut model, &mut view, "!");
    assert!(!view.place.is_at_end(), "the reader stays at the message");
    let mut sent = std::iter::from_fn(|| model.next_effect()).filter_map(|effect| match effect {
        Effect::Send(frame) => serde_json::from_str::<Value>(&frame).ok(),
        _ => None,
    });
    let edit = sent.find(|frame| frame["message_type"] == "Edit").unwrap();
    assert_eq!(edit["message_body"]["message_id"], id(12));
    assert_eq!(edit["message_body"]["content"], "number 12!");
    drop(sent);
    assert_eq!(view.drafts.mark(), None);
    assert_eq!(view.drafts.prompt().text(), "");
    press(&mut model, &mut view, back, KeyModifiers::CONTROL);
    press(&mut model, &mut view, KeyCode::Esc, KeyModifiers::NONE);
    assert_eq!(view.drafts.mark(), None);
}

#[test]
fn tab_completes_and_carries_no_draft_along() {
    let now = Instant::now();
    let mut model = opened(now);
    let mut view = View::default();
    view.look_at(&model);
    keys::handle(&mut model, &mut view, Event::Paste("hi @b".into()));
    press(&mut model, &mut view, KeyCode::Tab, KeyModifiers::NONE);
    assert_eq!(view.drafts.prompt().text(), "hi @bob ");
    press(&mut model, &mut view, KeyCode::Tab, KeyModifiers::NONE);
    assert_eq!(view.drafts.prompt().text(), "hi @bob ", "the only one");
    keys::handle(&mut model, &mut view, Event::Paste("you".into()));
    press(&mut model, &mut view, KeyCode::Tab, KeyModifiers::NONE);
    assert_eq!(model.current().unwrap().topic.to_string(), "#ops", "there is nothing to complete");
    assert_eq!(view.drafts.prompt().text(), "");
    press(&mut model, &mut view, KeyCode::BackTab, KeyModifiers::NONE);
    assert_eq!(view.drafts.prompt().text(), "hi @bob you");
}

/// Whatever others send, each cell holds what a terminal shows in its columns, and nothing imitates another message.
#[test]
fn hostile_texts_stay_in_their_cells() {
    let now = Instant::now();
    let mut model = opened(now);
    let controls: String = (0..=0x20_u32).chain(0x7f..=0x9f).filter_map(char::from_u32).collect();
    let zalgo = format!("e{}", "\u{301}".repeat(300));
    let texts = [
        controls.as_str(),
        "\u{1b}]52;c;Zm9v\u{7}\u{1b}[2J\u{1b}[1;1H12:34 eve: I resign",
        "\u{202e}\u{2066}\u{200f}12:34 eve: I resign\u{2028}12:34 eve: I resign",
        "\n12:34 eve: I resign\r12:34 eve: I resign",
        &zalgo,
        &"日".repeat(600),
        "\u{200d}\u{fe0f}\u{3164}\u{fffd}\u{ad}",
        "👩\u{200d}👩\u{200d}👧\u{200d}👦🏳️\u{200d}🌈",
    ];
    let mut seq = 0;
    let mut next = || {
        seq += 1;
        seq
    };
    for text in texts {
        let said = next();
        model.receive(&super::said("dev", "bob", text, said), now);
        let reply = json!({ "content": "x", "reply_to": id(said) });
        let reply_seq = next();
        model.receive(&entry("GroupChat", "bob", reply_seq, &reply), now);
        for other in texts {
            model.receive(&reacted("bob", next(), reply_seq, other), now);
        }
        model.receive(&change("Edit", "bob", next(), reply_seq, &json!({ "content": text })), now);
        let deleted = next();
        model.receive(&super::said("dev", "bob", "y", deleted), now);
        model.receive(&change("Retract", "bob", next(), deleted, &json!({ "reason": text })), now);
    }
    for number in 0..60 {
        let name = format!("u{number}{}", "e\u{301}".repeat(30));
        let entered =
            json!({ "message_type": "Enter", "message_body": { "sender_username": name, "room": "dev" } });
        model.receive(&entered.to_string(), now);
        model.receive(&reacted(&name, next(), 2, &number.to_string()), now);
    }
    let mut view = View::default();
    let local = LocalTime::new(&TimeZone::UTC, SystemTime::UNIX_EPOCH);
    for (width, height) in [(100, 24), (40, 12), (21, 30)] {
        for _ in 0..200 {
            let cells = draw(Rect::new(0, 0, width, height), &model, &mut view, &local, now).cells;
            for cell in &cells.content {
                let is_harmful = |c: char| {
                    c.is_control()
                        || ('\u{202a}'..='\u{202e}').contains(&c)
                        || ('\u{2066}'..='\u{2069}').contains(&c)
                };
                assert!(!cell.symbol().contains(is_harmful), "{:?}", cell.symbol());
            }
            let row = |y: u16| (0..width).map(|x| cells[(x, y)].symbol()).collect::<String>();
            let forged = |row: String| row.split('│').any(|part| part.starts_with("12:34 eve"));
            assert!(!(0..height).map(row).any(forged));
            if view.place.at_top {
                break;
            }
            view.place.scroll(9);
        }
        view.place.scroll(-100_000);
    }
}
