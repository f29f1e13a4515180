//! Changes of messages: what every store accepts, refuses, erases and returns.

use std::time::Duration;

use bytes::Bytes;
use chatnode::backend::{
    BackendError, Change, ChangeKind, ChangeRefusal, Entry, Fold, MessagePage, NewEntry, PageLimit, Publish,
    Range, Stored,
};
use chatnode::protocol::{MessageId, Topic};

use super::TestStore;
use super::support::backend::{Harness, message, room, user, user_name};
use super::support::listener::eventually;

/// A stored message of this user, as nodes write it.
pub fn said(user: &str, text: &str) -> String {
    format!(r#""sender_username":"{user}","content":"{text}""#)
}

pub fn edit(target: MessageId, if_version: Option<MessageId>, text: &str) -> Change {
    let text = Bytes::from(format!(r#""content":"{text}""#));
    let author = Bytes::from_static(br#""sender_username":"ann","#);
    Change {
        target,
        author,
        window: None,
        kind: ChangeKind::Edit { if_version, text, max_bytes: usize::MAX >> 1 },
    }
}

pub fn retraction(target: MessageId) -> Change {
    let tombstone =
        Bytes::from(format!(r#""change":"Tombstone","sender_username":"ann","message_id":"{target}""#));
    let author = Bytes::from_static(br#""sender_username":"ann","#);
    Change { target, author, window: None, kind: ChangeKind::Retract { tombstone, moderated: None } }
}

pub fn reaction(target: MessageId, user: &str, reaction: &str, on: bool) -> Change {
    let (user, reaction) = (user_name(user), reaction.to_owned());
    Change { target, author: Bytes::new(), window: None, kind: ChangeKind::React { user, reaction, on } }
}

fn of_change(topics: &[&Topic], key: &str, change: Change) -> Publish {
    let kind = match change.kind {
        ChangeKind::Edit { .. } => "Edit",
        ChangeKind::Retract { .. } => "Retract",
        ChangeKind::React { .. } => "React",
    };
    let publish = message(topics, key, &format!(r#""change":"{kind}","sender_username":"x""#));
    Publish { entry: NewEntry::Change(change), ..publish }
}

pub async fn change(node: &Harness, topics: &[&Topic], change: Change) -> Result<Stored, BackendError> {
    let key = MessageId::generate().to_string();
    node.backend.broker.publish(of_change(topics, &key, change)).await
}

async fn refused(node: &Harness, topics: &[&Topic], refused: Change) -> ChangeRefusal {
    match change(node, topics, refused).await {
        Err(BackendError::Change(refusal)) => *refusal,
        other => panic!("{other:?}"),
    }
}

async fn messages(node: &Harness, topic: &Topic, reader: &str) -> MessagePage {
    let limit = PageLimit { messages: 100, bytes: 1 << 20 };
    node.backend.broker.messages(topic, Range::Newest, limit, Some(&user_name(reader))).await.unwrap()
}

/// The newest messages of a log, with what their changes come to.
pub async fn messages_of(node: &Harness, topic: &Topic, reader: &str) -> Vec<(Entry, Fold)> {
    let limit = PageLimit { messages: 1_000, bytes: 1 << 20 };
    node.backend
        .broker
        .messages(topic, Range::Newest, limit, Some(&user_name(reader)))
        .await
        .unwrap()
        .messages
}

/// What the store returns for the one message of a log.
async fn fold(node: &Harness, topic: &Topic) -> (Entry, Fold) {
    let page = messages(node, topic, "ann").await;
    assert_eq!(page.messages.len(), 1);
    page.messages.into_iter().next().unwrap()
}

pub async fn edit_is_an_entry_and_changes_its_message(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let lobby = room("lobby");
    let original = node.say(&lobby, &said("ann", "one")).await.position;
    assert_eq!(fold(&node, &lobby).await.1, Fold::default());
    let first = change(&node, &[&lobby], edit(original.message_id, None, "two")).await.unwrap();
    assert_eq!((first.position.seq, first.duplicate, first.is_unchanged), (2, false, false));
    let expected = Some(original.message_id);
    let refusal = refused(&node, &[&lobby], edit(original.message_id, expected, "three")).await;
    let (version, text) = (first.position.message_id, Bytes::from_static(br#""content":"two""#));
    assert_eq!(refusal, ChangeRefusal::Conflict { version, text });
    let again = edit(original.message_id, Some(version), "three");
    let second = change(&node, &[&lobby], again).await.unwrap();
    let (entry, folded) = fold(&node, &lobby).await;
    assert_eq!(entry.seq, 1);
    let text = Bytes::from_static(br#""content":"three""#);
    assert_eq!(folded.edit, Some((second.position.message_id, text)));
    // The log itself has all three, each with the one before.
    let log = node.log(&lobby).await;
    assert_eq!(log.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(log.windows(2).all(|pair| pair[1].prev == pair[0].message_id));
}

pub async fn repeated_change_is_stored_once(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let lobby = room("lobby");
    let original = node.say(&lobby, &said("ann", "one")).await.position;
    let publish = of_change(&[&lobby], "key", edit(original.message_id, None, "two"));
    let first = node.backend.broker.publish(publish.clone()).await.unwrap();
    let repeat = Publish { message_id: MessageId::generate(), ..publish };
    let again = node.backend.broker.publish(repeat).await.unwrap();
    assert!(again.duplicate && again.position == first.position);
    assert_eq!(node.log(&lobby).await.len(), 2);
}

pub async fn change_that_does_not_fit_is_refused(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let lobby = room("lobby");
    let original = node.say(&lobby, &said("ann", "one")).await.position.message_id;
    let others = node.say(&lobby, &said("anna", "x")).await.position.message_id;
    assert_eq!(refused(&node, &[&lobby], edit(others, None, "y")).await, ChangeRefusal::NotAuthor);
    assert_eq!(refused(&node, &[&lobby], retraction(others)).await, ChangeRefusal::NotAuthor);
    let unknown = MessageId::generate();
    assert_eq!(refused(&node, &[&lobby], edit(unknown, None, "y")).await, ChangeRefusal::NotFound);
    assert_eq!(refused(&node, &[&room("none")], edit(original, None, "y")).await, ChangeRefusal::NotFound);
    let edited = change(&node, &[&lobby], edit(original, None, "y")).await.unwrap().position.message_id;
    assert_eq!(refused(&node, &[&lobby], edit(edited, None, "z")).await, ChangeRefusal::NotFound);
    assert_eq!(refused(&node, &[&lobby], reaction(edited, "bob", "+", true)).await, ChangeRefusal::NotFound);
    // In a room of its own: until a millisecond has passed, it is accepted.
    let old = room("old");
    let target = node.say(&old, &said("ann", "one")).await.position.message_id;
    let late = Change { window: Some(Duration::ZERO), ..edit(target, None, "z") };
    eventually("the message is too old", || async {
        match change(&node, &[&old], late.clone()).await {
            Err(BackendError::Change(refusal)) => *refusal == ChangeRefusal::TooLate,
            other => other.is_err(),
        }
    })
    .await;
    let expected = edit(others, Some(original), "z");
    let expected = Change { author: Bytes::new(), ..expected };
    let (version, text) = (others, Bytes::from(said("anna", "x")));
    assert_eq!(refused(&node, &[&lobby], expected).await, ChangeRefusal::Conflict { version, text });
    assert_eq!(node.log(&lobby).await.len(), 3);
}

pub async fn retraction_erases_the_text_and_its_edits(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let lobby = room("lobby");
    let before = node.say(&lobby, &said("bob", "before")).await.position;
    let original = node.say(&lobby, &said("ann", "secret")).await.position;
    let target = original.message_id;
    let edited = change(&node, &[&lobby], edit(target, None, "secret too")).await.unwrap().position;
    change(&node, &[&lobby], reaction(target, "bob", "+", true)).await.unwrap();
    change(&node, &[&lobby], retraction(target)).await.unwrap();
    for further in [edit(target, None, "x"), retraction(target), reaction(target, "bob", "x", true)] {
        assert_eq!(refused(&node, &[&lobby], further).await, ChangeRefusal::Gone);
    }
    let log = node.log(&lobby).await;
    assert_eq!(log.len(), 5);
    assert!(log.iter().all(|entry| !entry.body.windows(6).any(|part| part == b"secret")));
    assert!(log.windows(2).all(|pair| pair[1].prev == pair[0].message_id));
    for (entry, position) in [(&log[1], original), (&log[2], edited)] {
        let id = position.message_id;
        assert_eq!((entry.seq, entry.message_id), (position.seq, id));
        assert_eq!(
            entry.body,
            format!(r#""change":"Tombstone","sender_username":"ann","message_id":"{id}""#)
        );
    }
    let page = messages(&node, &lobby, "ann").await;
    let seen: Vec<_> = page.messages.iter().map(|(entry, fold)| (entry.seq, fold.is_retracted)).collect();
    assert_eq!(seen, [(1, false), (2, true)]);
    assert_eq!(page.messages[1].1, Fold { is_retracted: true, ..Fold::default() });
    // Pages that begin or end at an erased entry.
    let limit = PageLimit { messages: 2, bytes: 1 << 20 };
    let page = node.page(&lobby, Range::After(before.seq), limit).await;
    assert_eq!(page.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [2, 3]);
    let page = node.page(&lobby, Range::Before(4), limit).await;
    assert_eq!(page.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [2, 3]);
}

pub async fn reaction_counts_each_user_once(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let lobby = room("lobby");
    let target = node.say(&lobby, &said("ann", "one")).await.position.message_id;
    for user in ["ann", "bob"] {
        let stored = change(&node, &[&lobby], reaction(target, user, "+1", true)).await.unwrap();
        assert!(!stored.is_unchanged);
        let again = change(&node, &[&lobby], reaction(target, user, "+1", true)).await.unwrap();
        assert!(again.is_unchanged && again.position.message_id == target);
    }
    change(&node, &[&lobby], reaction(target, "bob", "日本", true)).await.unwrap();
    let (_, folded) = fold(&node, &lobby).await;
    assert_eq!(folded.reactions, [("+1".into(), 2, true), ("日本".into(), 1, false)]);
    change(&node, &[&lobby], reaction(target, "ann", "+1", false)).await.unwrap();
    let again = change(&node, &[&lobby], reaction(target, "ann", "+1", false)).await.unwrap();
    assert!(again.is_unchanged);
    change(&node, &[&lobby], reaction(target, "bob", "日本", false)).await.unwrap();
    assert_eq!(fold(&node, &lobby).await.1.reactions, [("+1".into(), 1, false)]);
    assert_eq!(node.log(&lobby).await.len(), 6);
}

pub async fn changes_of_a_message_are_bounded(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let lobby = room("lobby");
    let target = node.say(&lobby, &said("ann", "one")).await.position.message_id;
    for n in 0..20 {
        change(&node, &[&lobby], reaction(target, "ann", &n.to_string(), true)).await.unwrap();
    }
    assert_eq!(refused(&node, &[&lobby], reaction(target, "ann", "0x", true)).await, ChangeRefusal::TooMany);
    assert_eq!(refused(&node, &[&lobby], reaction(target, "bob", "new", true)).await, ChangeRefusal::TooMany);
    change(&node, &[&lobby], reaction(target, "bob", "7", true)).await.unwrap();
    for n in 0..100 {
        change(&node, &[&lobby], edit(target, None, &n.to_string())).await.unwrap();
    }
    assert_eq!(refused(&node, &[&lobby], edit(target, None, "more")).await, ChangeRefusal::TooMany);
    change(&node, &[&lobby], retraction(target)).await.unwrap();
    let log = node.log(&lobby).await;
    assert_eq!(log.iter().filter(|entry| entry.body.starts_with(br#""change":"Tombstone""#)).count(), 101);
}

pub async fn private_change_reaches_both_logs(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let (ann, bob) = (user("ann"), user("bob"));
    node.say(&ann, "other").await;
    let topics = [&bob, &ann];
    let key = MessageId::generate().to_string();
    let sent = node.publish(&topics, &key, &said("ann", "one")).await.unwrap().position;
    change(&node, &topics, edit(sent.message_id, None, "two")).await.unwrap();
    change(&node, &[&ann, &bob], reaction(sent.message_id, "bob", "+1", true)).await.unwrap();
    for log in [&ann, &bob] {
        let page = messages(&node, log, "bob").await;
        let (entry, folded) = page.messages.last().unwrap();
        assert_eq!(entry.message_id, sent.message_id);
        assert_eq!(folded.edit.as_ref().unwrap().1, &br#""content":"two""#[..]);
        assert_eq!(folded.reactions, [("+1".into(), 1, true)]);
    }
    change(&node, &topics, retraction(sent.message_id)).await.unwrap();
    for log in [&ann, &bob] {
        let page = messages(&node, log, "bob").await;
        assert!(page.messages.last().unwrap().1.is_retracted);
        let entries = node.log(log).await;
        assert!(entries.iter().all(|entry| !entry.body.ends_with(br#""one""#)));
        assert!(entries.windows(2).all(|pair| pair[1].prev == pair[0].message_id));
    }
}

pub async fn edit_does_not_follow_its_retraction_into_a_log(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let (ann, bob) = (user("ann"), user("bob"));
    let topics = [&bob, &ann];
    let sent = node.publish(&topics, "key", &said("ann", "one")).await.unwrap().position.message_id;
    // In a cluster, a retraction may reach the log of its sender before an edit that the target's log has accepted.
    change(&node, &[&ann], retraction(sent)).await.unwrap();
    assert_eq!(refused(&node, &topics, edit(sent, None, "secret")).await, ChangeRefusal::Gone);
    assert!(!node.log(&ann).await.iter().any(|entry| entry.body.starts_with(br#""change":"Edit""#)));
    change(&node, &topics, reaction(sent, "bob", "+", true)).await.unwrap();
}

pub async fn reaction_is_to_a_message_of_its_conversation(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let (ann, bob) = (user("ann"), user("bob"));
    let body = r#""sender_username":"ann","target_username":"bob","content":"one""#;
    let sent = node.publish(&[&bob, &ann], "key", body).await.unwrap().position.message_id;
    let of = |one: &str, other: &str| {
        let author = chatnode::protocol::stored::conversation(&user_name(one), &user_name(other));
        Change { author, ..reaction(sent, one, "+", true) }
    };
    assert_eq!(refused(&node, &[&bob, &user("eve")], of("eve", "bob")).await, ChangeRefusal::NotFound);
    change(&node, &[&ann, &bob], of("bob", "ann")).await.unwrap();
    change(&node, &[&bob, &ann], of("ann", "bob")).await.unwrap();
}

pub async fn edit_leaves_place_for_what_stands_beside_the_text(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let lobby = room("lobby");
    let body = said("ann", &"x".repeat(60)) + r#","data":{"a":"yyyyyyyyyyyyyyyyyyyy"}"#;
    let target = node.say(&lobby, &body).await.position.message_id;
    let text = Bytes::from(format!(r#""content":"{}""#, "z".repeat(80)));
    let limit = body.len() - 60 + text.len();
    let of = |max_bytes| Change {
        kind: ChangeKind::Edit { if_version: None, text: text.clone(), max_bytes },
        ..edit(target, None, "")
    };
    assert_eq!(refused(&node, &[&lobby], of(limit - 1)).await, ChangeRefusal::TooLarge);
    change(&node, &[&lobby], of(limit)).await.unwrap();
}

pub async fn page_of_messages_leaves_changes_out(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let lobby = room("lobby");
    for n in 0..5 {
        let target = node.say(&lobby, &said("ann", &n.to_string())).await.position.message_id;
        for user in 0..20 {
            change(&node, &[&lobby], reaction(target, &format!("u{user}"), "+1", true)).await.unwrap();
        }
    }
    let limit = PageLimit { messages: 2, bytes: 1 << 20 };
    let mut ranges = [Range::Newest, Range::After(0)];
    let mut found = [Vec::new(), Vec::new()];
    for (range, found) in ranges.iter_mut().zip(&mut found) {
        loop {
            let page = node.backend.broker.messages(&lobby, *range, limit, None).await.unwrap();
            assert!(page.messages.len() <= 2);
            assert!(page.messages.iter().all(|(_, fold)| fold.reactions == [("+1".into(), 20, false)]));
            let seqs = page.messages.iter().map(|(entry, _)| entry.seq);
            let (lowest, highest) = page.looked_at;
            assert!(seqs.clone().all(|seq| (lowest..=highest).contains(&seq)));
            match range {
                // Each page begins where the one before ended.
                Range::After(seq) => {
                    assert_eq!(lowest, *seq + 1);
                    found.extend(seqs);
                    *range = Range::After(highest);
                }
                _ => {
                    found.extend(seqs.rev());
                    *range = Range::Before(lowest);
                }
            }
            if !page.more {
                break;
            }
        }
    }
    assert_eq!(found, [[85, 64, 43, 22, 1], [1, 22, 43, 64, 85]]);
    let page = node.backend.broker.messages(&lobby, Range::After(105), limit, None).await.unwrap();
    assert_eq!((page.messages.len(), page.more, page.looked_at), (0, false, (106, 105)));
}

pub async fn page_says_whether_messages_were_changed(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let lobby = room("lobby");
    let target = node.say(&lobby, &said("ann", "one")).await.position.message_id;
    let limit = PageLimit { messages: 1, bytes: 1 << 20 };
    assert!(!node.page(&lobby, Range::After(0), limit).await.has_changes);
    change(&node, &[&lobby], reaction(target, "ann", "+1", true)).await.unwrap();
    change(&node, &[&lobby], reaction(target, "ann", "+1", false)).await.unwrap();
    // Also where the page itself has no change.
    assert!(node.page(&lobby, Range::After(0), limit).await.has_changes);
    assert!(!node.page(&room("other"), Range::After(0), limit).await.has_changes);
}

pub async fn trimmed_message_takes_its_changes_along(store: &TestStore) {
    let node = store.node(|config| config.history.max_messages = 10).await;
    let lobby = room("lobby");
    let target = node.say(&lobby, &said("ann", "one")).await.position.message_id;
    let kept = node.say(&lobby, &said("ann", "two")).await.position.message_id;
    change(&node, &[&lobby], edit(target, None, "x")).await.unwrap();
    for n in 0..20 {
        node.say(&lobby, &said("ann", &n.to_string())).await;
    }
    assert_eq!(refused(&node, &[&lobby], edit(kept, None, "y")).await, ChangeRefusal::NotFound);
    let page = messages(&node, &lobby, "ann").await;
    assert!(page.messages.iter().all(|(_, fold)| *fold == Fold::default()));
    assert!(!page.more);
}
