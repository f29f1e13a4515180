//! The life of messages against a model: whatever is edited, retracted, reacted to, answered and trimmed, a page of messages, the
//! entries of the log, and the counts of what is unread agree with each other and with the model.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chatnode::backend::{Change, ChangeKind, Links, NewEntry, Publish, Range};
use chatnode::protocol::{MessageId, Topic};

use super::TestStore;
use super::changes::{change, edit, messages_of, reaction, retraction, said};
use super::support::backend::{ALL, Harness, message, room, user, user_name};

/// Random numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

#[derive(Debug, Default, PartialEq, Eq, Clone)]
struct Said {
    seq: u64,
    text: String,
    is_retracted: bool,
    reactions: BTreeMap<String, BTreeSet<String>>,
    answers: BTreeSet<u64>,
    mentions: BTreeSet<String>,
}

/// What the log should hold.
#[derive(Default)]
struct Model {
    ids: BTreeMap<u64, MessageId>,
    held: Vec<Said>,
    entries: u64,
    changes: u64,
}

impl Model {
    fn trim(&mut self, max: usize) {
        while self.held.iter().filter(|said| !said.is_retracted).count() > max {
            let gone = self.held.remove(0).seq;
            self.forget_answer(gone);
        }
    }

    fn forget_answer(&mut self, seq: u64) {
        for said in &mut self.held {
            said.answers.remove(&seq);
        }
    }

    /// What a reader sees, but for leading messages that were taken back: a store may drop them earlier.
    fn shown(&self) -> Vec<Said> {
        self.held.iter().skip_while(|said| said.is_retracted).cloned().collect()
    }
}

const USERS: [&str; 3] = ["ann", "bob", "cleo"];

async fn say(node: &Harness, topic: &Topic, model: &mut Model, dice: &mut Dice) {
    let answered = (dice.below(3) == 0 && !model.held.is_empty()).then(|| dice.below(model.held.len()));
    let mentions: BTreeSet<String> = (0..dice.below(3)).map(|_| USERS[dice.below(3)].to_owned()).collect();
    let answers: Vec<MessageId> = answered.map(|at| model.ids[&model.held[at].seq]).into_iter().collect();
    let text = format!("text {}", model.entries);
    // The store reads what a message names from its body again when it is taken back.
    let named = serde_json::json!({ "mentions": mentions, "reply_to": answers.first() }).to_string();
    let body = format!("{},{}", said("ann", &text), &named[1..named.len() - 1]);
    let links = Links { answers, mentions: mentions.iter().map(|user| user_name(user)).collect() };
    let key = MessageId::generate().to_string();
    let stored = node
        .backend
        .broker
        .publish(Publish { entry: NewEntry::Message(links), ..message(&[topic], &key, &body) })
        .await
        .unwrap()
        .position;
    model.entries += 1;
    assert_eq!(stored.seq, model.entries);
    if let Some(at) = answered.filter(|at| !model.held[*at].is_retracted) {
        model.held[at].answers.insert(stored.seq);
    }
    model.ids.insert(stored.seq, stored.message_id);
    model.held.push(Said { seq: stored.seq, text, mentions, ..Said::default() });
}

async fn change_one(node: &Harness, topic: &Topic, model: &mut Model, dice: &mut Dice) {
    let living: Vec<usize> = (0..model.held.len()).filter(|at| !model.held[*at].is_retracted).collect();
    if living.is_empty() {
        return;
    }
    let at = living[dice.below(living.len())];
    let id = model.ids[&model.held[at].seq];
    let (user, kind) = (USERS[dice.below(3)], ["+", "-", "?"][dice.below(3)]);
    let users = model.held[at].reactions.get(kind);
    let has_reacted = users.is_some_and(|users| users.contains(user));
    let wanted = match dice.below(8) {
        0 => {
            let gone = &mut model.held[at];
            let (seq, answers) = (gone.seq, std::mem::take(&mut gone.answers));
            *gone = Said { seq, is_retracted: true, answers, ..Said::default() };
            model.forget_answer(seq);
            retraction(id)
        }
        1 | 2 => {
            let text = format!("edit {}", model.entries);
            model.held[at].text.clone_from(&text);
            edit(id, None, &text)
        }
        _ => {
            let users = model.held[at].reactions.entry(kind.to_owned()).or_default();
            if has_reacted {
                users.remove(user)
            } else {
                users.insert(user.to_owned())
            };
            if users.is_empty() {
                model.held[at].reactions.remove(kind);
            }
            reaction(id, user, kind, !has_reacted)
        }
    };
    let stored = change(node, &[topic], wanted).await.unwrap();
    model.entries += 1;
    model.changes += 1;
    assert_eq!(stored.position.seq, model.entries);
}

/// What a page of messages shows to ann.
async fn shown(node: &Harness, topic: &Topic) -> Vec<(Said, BTreeMap<String, (u32, bool)>, u32)> {
    let page = messages_of(node, topic, "ann").await;
    let all = page.into_iter().map(|(entry, fold)| {
        let body: serde_json::Value =
            serde_json::from_str(&format!("{{{}}}", String::from_utf8_lossy(&entry.body))).unwrap();
        let edited = fold.edit.map(|(_, text)| {
            let text: serde_json::Value =
                serde_json::from_str(&format!("{{{}}}", String::from_utf8_lossy(&text))).unwrap();
            text["content"].as_str().unwrap().to_owned()
        });
        let text = edited.or(body["content"].as_str().map(str::to_owned)).unwrap_or_default();
        let said = Said { seq: entry.seq, text, is_retracted: fold.is_retracted, ..Said::default() };
        let reactions = fold.reactions.into_iter().map(|(kind, count, mine)| (kind, (count, mine)));
        (said, reactions.collect(), fold.answers)
    });
    all.skip_while(|(said, ..)| said.is_retracted).collect()
}

fn expected(said: &Said) -> (Said, BTreeMap<String, (u32, bool)>, u32) {
    let of = |users: &BTreeSet<String>| (users.len() as u32, users.contains("ann"));
    let reactions = said.reactions.iter().map(|(kind, users)| (kind.clone(), of(users))).collect();
    let shown = Said {
        reactions: BTreeMap::new(),
        answers: BTreeSet::new(),
        mentions: BTreeSet::new(),
        ..said.clone()
    };
    (shown, reactions, said.answers.len() as u32)
}

async fn check_unread(node: &Harness, topic: &Topic, model: &Model, dice: &mut Dice) {
    let epoch = node.page(topic, Range::Top, ALL).await.top.epoch;
    for marker in [0, model.entries, dice.below(model.entries as usize + 1) as u64] {
        let unread = node.backend.broker.unread(topic, Some((epoch, marker)), &user_name("bob")).await;
        let unread = unread.unwrap().unwrap();
        let living = model.held.iter().filter(|said| said.seq > marker && !said.is_retracted);
        let mentions = living.clone().filter(|said| said.mentions.contains("bob")).count() as u64;
        assert_eq!((unread.messages, unread.mentions), (living.count() as u64, mentions), "after {marker}");
        assert_eq!(unread.top.seq, model.entries);
    }
}

async fn live(store: &TestStore, max: u64, seed: u64) {
    let node = store.node(|config| config.history.max_messages = max).await;
    let lobby = room(&format!("lobby {seed}"));
    let (mut model, mut dice) = (Model::default(), Dice(seed));
    for step in 0..400 {
        if dice.below(3) == 0 {
            say(&node, &lobby, &mut model, &mut dice).await;
        } else {
            change_one(&node, &lobby, &mut model, &mut dice).await;
        }
        model.trim(max as usize);
        if step % 7 == 0 && model.entries > 0 {
            let wanted: Vec<_> = model.shown().iter().map(expected).collect();
            assert_eq!(shown(&node, &lobby).await, wanted, "step {step} of seed {seed}");
            check_unread(&node, &lobby, &model, &mut dice).await;
        }
    }
    let log = node.log(&lobby).await;
    assert!(log.windows(2).all(|pair| pair[1].prev == pair[0].message_id && pair[1].seq == pair[0].seq + 1));
    assert_eq!(log.last().unwrap().seq, model.entries);
    assert!(model.changes > 4 * max, "too few changes for the test");
    let is_change =
        |body: &[u8]| body.starts_with(br#""change":"#) && !body.starts_with(br#""change":"Tombstone"#);
    let changes = log.iter().filter(|entry| is_change(&entry.body)).count() as u64;
    assert!(changes <= 4 * max && changes > 2 * max, "{changes} changes");
}

pub async fn few_messages_agree_with_a_model(store: &TestStore) {
    live(store, 3, 1).await;
}

pub async fn messages_agree_with_a_model(store: &TestStore) {
    for seed in [2, 3] {
        live(store, 20, seed).await;
    }
}

pub async fn flood_of_reactions_leaves_the_messages(store: &TestStore) {
    let node = store.node(|config| config.history.max_messages = 128).await;
    let lobby = room("lobby");
    let mut ids = Vec::new();
    for text in 0..100 {
        ids.push(node.say(&lobby, &said("ann", &text.to_string())).await.position.message_id);
    }
    let (mut on, flood) = (BTreeSet::new(), 700);
    for step in 0..flood {
        let (target, user) = (ids[step % 50], USERS[step % 3]);
        let is_on = on.insert((target, user)) || !on.remove(&(target, user));
        change(&node, &[&lobby], reaction(target, user, "+", is_on)).await.unwrap();
    }
    assert_eq!(messages_of(&node, &lobby, "ann").await.len(), 100);
    let first = node.log(&lobby).await[0].seq;
    assert!(first > 100 + flood as u64 - 4 * 128 && first <= 100 + flood as u64 - 3 * 128, "{first}");
    // Each message that comes now leaves the others too, until there are too many.
    for text in 100..128 {
        node.say(&lobby, &said("ann", &text.to_string())).await;
    }
    assert_eq!(messages_of(&node, &lobby, "ann").await.len(), 128);
    // Some go again, and are not unread either.
    for id in ids.iter().step_by(9) {
        change(&node, &[&lobby], retraction(*id)).await.unwrap();
    }
    let page = messages_of(&node, &lobby, "ann").await;
    let epoch = node.page(&lobby, Range::Top, ALL).await.top.epoch;
    for marker in (0..900).step_by(13) {
        let unread = node.backend.broker.unread(&lobby, Some((epoch, marker)), &user_name("bob")).await;
        let living = page.iter().filter(|(entry, fold)| entry.seq > marker && !fold.is_retracted);
        assert_eq!(unread.unwrap().unwrap().messages, living.count() as u64, "after {marker}");
    }
}

pub async fn large_changes_go_before_messages(store: &TestStore) {
    let node = store.node(|config| config.history.max_bytes = 40_000).await;
    let lobby = room("lobby");
    let original = node.say(&lobby, &said("ann", "first")).await.position.message_id;
    let body = format!(r#""change":"Edit","sender_username":"ann","content":"{}""#, "x".repeat(9_000));
    for _ in 0..8 {
        let text = Bytes::from_static(br#""content":"edited""#);
        let author = Bytes::from_static(br#""sender_username":"ann","#);
        let kind = ChangeKind::Edit { if_version: None, text, max_bytes: usize::MAX >> 1 };
        let entry = NewEntry::Change(Change { target: original, author, window: None, kind });
        let key = MessageId::generate().to_string();
        let publish = Publish { entry, ..message(&[&lobby], &key, &body) };
        node.backend.broker.publish(publish).await.unwrap();
        let held: usize = node.log(&lobby).await.iter().map(|entry| entry.body.len()).sum();
        assert!(held <= 40_000, "{held}");
    }
    node.say(&lobby, &said("ann", &"y".repeat(20_000))).await;
    let page = messages_of(&node, &lobby, "ann").await;
    assert_eq!(page.iter().map(|(entry, _)| entry.seq).collect::<Vec<_>>(), [1, 10]);
    assert!(page[0].1.edit.is_some());
}

pub async fn nothing_is_unread_of_a_log_that_was_never_written(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let nobody = user("nobody");
    assert_eq!(node.backend.broker.unread(&nobody, None, &user_name("bob")).await.unwrap(), None);
    let lobby = room("lobby");
    let epoch = node.say(&lobby, &said("ann", "hello")).await.position.epoch;
    for (marker, messages) in [(None, 1), (Some((epoch, 0)), 1), (Some((epoch, 1)), 0), (Some((epoch, 9)), 0)]
    {
        let unread = node.backend.broker.unread(&lobby, marker, &user_name("bob")).await.unwrap().unwrap();
        assert_eq!((unread.messages, unread.mentions, unread.top.seq), (messages, 0, 1), "{marker:?}");
    }
    let other = chatnode::protocol::Epoch::generate();
    let unread = node.backend.broker.unread(&lobby, Some((other, 1)), &user_name("bob")).await.unwrap();
    assert_eq!(unread.unwrap().messages, 1, "the marker is of another epoch");
}
