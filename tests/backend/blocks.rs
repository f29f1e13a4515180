//! Users who block others: their private log takes nothing of these, and everything else stays as it was.

use chatnode::backend::{
    Asker, BackendError, ChangeKind, FOREVER, NewEntry, Publish, RightsRefusal, RightsUpdate, Stored,
};
use chatnode::protocol::{Action, Grant, MessageId, UserName};

use super::TestStore;
use super::changes::{edit, said};
use super::support::backend::{Harness, message, user, user_name};

/// Publishes to a user for another one.
async fn publish(
    node: &Harness,
    (from, to): (&str, &str),
    key: &str,
    entry: NewEntry,
) -> Result<Stored, BackendError> {
    let asker = Asker::User(user_name(from), Grant::default());
    let body = said(from, "hello");
    let publish = Publish { asker, entry, ..message(&[&user(to), &user(from)], key, &body) };
    node.backend.broker.publish(publish).await
}

async fn say(node: &Harness, from: &str, to: &str) -> Result<Stored, BackendError> {
    publish(node, (from, to), &MessageId::generate().to_string(), NewEntry::Message(Default::default())).await
}

async fn block(node: &Harness, by: &str, action: Action, target: &str) -> Stored {
    let key = MessageId::generate().to_string();
    let update = RightsUpdate::User { action, user: user_name(target), role: None, until: None };
    let body = format!(r#""change":"Block","sender_username":"{by}""#);
    let publish = Publish { entry: NewEntry::Rights(update), ..message(&[&user(by)], &key, &body) };
    node.backend.broker.publish(publish).await.unwrap()
}

async fn blocked(node: &Harness, by: &str) -> Vec<UserName> {
    let found = node.backend.broker.users(&user(by)).await.unwrap();
    found.map_or_else(Vec::new, |found| found.users.into_iter().map(|(user, _)| user).collect())
}

const REFUSED: Result<Stored, BackendError> = Err(BackendError::Rights(RightsRefusal::Banned(FOREVER)));

pub async fn nothing_of_a_blocked_user_is_stored(store: &TestStore) {
    let node = store.node(|_| ()).await;
    let first = publish(&node, ("bob", "ann"), "first", NewEntry::Message(Default::default())).await.unwrap();
    let stored = block(&node, "ann", Action::Ban, "bob").await;
    assert_eq!((stored.position.seq, stored.is_unchanged), (2, false), "an entry of the log of ann");
    assert!(block(&node, "ann", Action::Ban, "bob").await.is_unchanged);
    assert_eq!(blocked(&node, "ann").await, [user_name("bob")]);
    assert_eq!(say(&node, "bob", "ann").await, REFUSED);
    let mut change = edit(first.position.message_id, None, "new");
    change.author = bytes::Bytes::from_static(br#""sender_username":"bob","#);
    assert_eq!(publish(&node, ("bob", "ann"), "edit", NewEntry::Change(change)).await, REFUSED);
    let reaction = ChangeKind::React { user: user_name("bob"), reaction: "+".into(), on: true };
    let target = first.position.message_id;
    let change =
        chatnode::backend::Change { target, author: bytes::Bytes::new(), window: None, kind: reaction };
    assert_eq!(publish(&node, ("bob", "ann"), "react", NewEntry::Change(change)).await, REFUSED);
    assert_eq!((node.log(&user("ann")).await.len(), node.log(&user("bob")).await.len()), (2, 1));
    // A repeat of what was stored before is still answered.
    let repeat =
        publish(&node, ("bob", "ann"), "first", NewEntry::Message(Default::default())).await.unwrap();
    assert_eq!((repeat.duplicate, repeat.position), (true, first.position));
    // Others write to ann, and ann writes to bob.
    say(&node, "cleo", "ann").await.unwrap();
    say(&node, "ann", "bob").await.unwrap();
    say(&node, "ann", "ann").await.unwrap();
    block(&node, "ann", Action::Unban, "bob").await;
    assert!(block(&node, "ann", Action::Unban, "bob").await.is_unchanged);
    assert_eq!(blocked(&node, "ann").await, []);
    say(&node, "bob", "ann").await.unwrap();
    let bodies = node.log(&user("ann")).await;
    assert_eq!(bodies.iter().filter(|entry| entry.body.starts_with(b"\"change\":\"Block\"")).count(), 2);
}

pub async fn blocked_user_can_not_invite(store: &TestStore) {
    let node = store.node(|_| ()).await;
    let invite = async |asker: Asker| {
        let key = MessageId::generate().to_string();
        let publish = Publish { asker, entry: NewEntry::Note, ..message(&[&user("ann")], &key, "note") };
        node.backend.broker.publish(publish).await
    };
    let bob = || Asker::User(user_name("bob"), Grant::default());
    invite(bob()).await.unwrap();
    block(&node, "ann", Action::Ban, "bob").await;
    assert_eq!(invite(bob()).await, REFUSED);
    invite(Asker::Server).await.unwrap();
    assert_eq!(node.log(&user("ann")).await.len(), 3);
}
