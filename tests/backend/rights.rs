//! Rights of rooms: what is stored only for whom. Every store decides the same.

use std::sync::OnceLock;
use std::time::SystemTime;

use chatnode::backend::{
    Asker, BackendError, ChangeKind, FOREVER, NewEntry, Owner, Publish, Range, RightsRefusal, RightsUpdate,
    Stored, UserState,
};
use chatnode::protocol::{Action, Grant, MessageId, Role, RoomKind, Topic, UserName};
use futures_util::future::try_join_all;

use super::TestStore;
use super::changes::{edit, reaction, retraction, said};
use super::support::backend::{ALL, Harness, message, room, room_name, user, user_name};
use super::support::listener::eventually;

fn unix_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since_1970.as_millis()).unwrap()
}

fn asks(user: &str) -> Asker {
    if user.is_empty() { Asker::Server } else { Asker::User(user_name(user), Grant::default()) }
}

/// Publishes to the room `ops` for a user; without a name, for the server API.
async fn publish(node: &Harness, user: &str, body: &str, entry: NewEntry) -> Result<Stored, BackendError> {
    let key = MessageId::generate().to_string();
    let publish = Publish { asker: asks(user), entry, ..message(&[&room("ops")], &key, body) };
    node.backend.broker.publish(publish).await
}

async fn say(node: &Harness, user: &str) -> Result<Stored, BackendError> {
    publish(node, user, &said(user, "hello"), NewEntry::Message(Default::default())).await
}

async fn update(node: &Harness, user: &str, update: RightsUpdate) -> Result<Stored, BackendError> {
    let kind = if matches!(update, RightsUpdate::Room { .. }) { "Room" } else { "Moderation" };
    publish(node, user, &format!(r#""change":"{kind}","room":"ops""#), NewEntry::Rights(update)).await
}

fn made(kind: RoomKind, owner: &str) -> RightsUpdate {
    let owner = (!owner.is_empty()).then(|| user_name(owner));
    RightsUpdate::Room { kind: Some(kind), topic: None, slow_mode_ms: None, owner }
}

async fn act(node: &Harness, by: &str, action: Action, user: &str) -> Result<Stored, BackendError> {
    let role = (action == Action::Role).then_some(Role::Member);
    update(node, by, RightsUpdate::User { action, user: user_name(user), role, until: None }).await
}

fn refusal<T: std::fmt::Debug>(result: Result<T, BackendError>) -> RightsRefusal {
    match result.unwrap_err() {
        BackendError::Rights(refusal) => refusal,
        error => panic!("{error:?}"),
    }
}

pub async fn private_room_takes_messages_of_members_only(store: &TestStore) {
    let node = store.node(|_| ()).await;
    let stored = update(&node, "ann", made(RoomKind::Private, "ann")).await.unwrap();
    assert_eq!(stored.position.seq, 1);
    assert_eq!(say(&node, "ann").await.unwrap().position.seq, 2);
    assert_eq!(refusal(say(&node, "bob").await), RightsRefusal::NoRole);
    let unproven = Publish {
        asker: Asker::Unproven(user_name("ann")),
        ..message(&[&room("ops")], "unproven", &said("ann", "x"))
    };
    assert_eq!(refusal(node.backend.broker.publish(unproven).await), RightsRefusal::NoRole);
    assert_eq!(say(&node, "").await.unwrap().position.seq, 3, "the server API stands above roles");
    act(&node, "ann", Action::Role, "bob").await.unwrap();
    assert_eq!(say(&node, "bob").await.unwrap().position.seq, 5);
    act(&node, "ann", Action::Remove, "bob").await.unwrap();
    assert_eq!(refusal(say(&node, "bob").await), RightsRefusal::NoRole);
    assert!(act(&node, "ann", Action::Unban, "bob").await.unwrap().is_unchanged);
    assert_eq!(node.log(&room("ops")).await.len(), 6);
    assert!(node.page(&room("ops"), Range::Top, ALL).await.has_rights);
    assert!(!node.page(&room("lobby"), Range::Top, ALL).await.has_rights);
    assert_eq!(node.backend.broker.rights(&room_name("lobby"), &user_name("ann")).await.unwrap(), None);
}

pub async fn token_grants_writing_without_a_role(store: &TestStore) {
    let node = store.node(|_| ()).await;
    update(&node, "ann", made(RoomKind::Private, "ann")).await.unwrap();
    let by_grant = async |user: &str, grant: Grant, entry: NewEntry| {
        let (key, asker) = (MessageId::generate().to_string(), Asker::User(user_name(user), grant));
        let body = said(user, "hello");
        let publish = Publish { asker, entry, ..message(&[&room("ops")], &key, &body) };
        node.backend.broker.publish(publish).await
    };
    let message = || NewEntry::Message(Default::default());
    let (read, write) = (Grant { read: true, ..Grant::default() }, Grant { write: true, ..Grant::default() });
    assert_eq!(refusal(by_grant("bob", read, message()).await), RightsRefusal::NoRole);
    let target = by_grant("bob", write, message()).await.unwrap().position.message_id;
    by_grant("cleo", write, NewEntry::Change(reaction(target, "cleo", "+", true))).await.unwrap();
    // It makes nobody a moderator.
    let ban = RightsUpdate::User { action: Action::Ban, user: user_name("cleo"), role: None, until: None };
    assert_eq!(refusal(by_grant("bob", write, NewEntry::Rights(ban)).await), RightsRefusal::Rank);
    update(&node, "ann", made(RoomKind::Announce, "ann")).await.unwrap();
    assert_eq!(refusal(by_grant("bob", read, message()).await), RightsRefusal::ReadOnly);
    by_grant("bob", write, message()).await.unwrap();
    let slow = RightsUpdate::Room { kind: None, topic: None, slow_mode_ms: Some(60_000), owner: None };
    update(&node, "ann", slow).await.unwrap();
    by_grant("bob", write, message()).await.unwrap();
    let refused = refusal(by_grant("bob", write, message()).await);
    assert!(matches!(refused, RightsRefusal::Slow(1..=60_000)), "{refused:?}");
    act(&node, "ann", Action::Mute, "bob").await.unwrap();
    assert_eq!(refusal(by_grant("bob", write, message()).await), RightsRefusal::Muted(FOREVER));
    act(&node, "ann", Action::Ban, "bob").await.unwrap();
    assert_eq!(refusal(by_grant("bob", write, message()).await), RightsRefusal::Banned(FOREVER));
}

pub async fn room_in_use_can_not_be_taken_over(store: &TestStore) {
    let node = store.node(|_| ()).await;
    say(&node, "bob").await.unwrap();
    assert_eq!(refusal(update(&node, "ann", made(RoomKind::Private, "ann")).await), RightsRefusal::Exists);
    assert_eq!(refusal(act(&node, "ann", Action::Ban, "bob").await), RightsRefusal::NoRights);
    // The server API may: with a ban, the room has rights, and stays open.
    act(&node, "", Action::Ban, "bob").await.unwrap();
    assert_eq!(refusal(say(&node, "bob").await), RightsRefusal::Banned(FOREVER));
    say(&node, "cleo").await.unwrap();
    let owned = made(RoomKind::Announce, "ann");
    assert_eq!(refusal(update(&node, "", owned).await), RightsRefusal::Exists, "it is not new");
    update(&node, "", made(RoomKind::Announce, "")).await.unwrap();
    assert_eq!(refusal(say(&node, "cleo").await), RightsRefusal::ReadOnly);
}

pub async fn nothing_of_a_banned_user_is_stored(store: &TestStore) {
    let node = store.node(|_| ()).await;
    update(&node, "ann", made(RoomKind::Open, "ann")).await.unwrap();
    let target = say(&node, "bob").await.unwrap().position.message_id;
    act(&node, "ann", Action::Mute, "bob").await.unwrap();
    let change =
        |kind| publish(&node, "bob", r#""change":"X","sender_username":"bob""#, NewEntry::Change(kind));
    let own = |mut change: chatnode::backend::Change| {
        change.author = bytes::Bytes::from_static(br#""sender_username":"bob","#);
        change
    };
    assert_eq!(refusal(say(&node, "bob").await), RightsRefusal::Muted(FOREVER));
    assert_eq!(refusal(change(own(edit(target, None, "new"))).await), RightsRefusal::Muted(FOREVER));
    assert_eq!(refusal(change(reaction(target, "bob", "+", true)).await), RightsRefusal::Muted(FOREVER));
    act(&node, "ann", Action::Ban, "bob").await.unwrap();
    assert_eq!(refusal(change(own(retraction(target))).await), RightsRefusal::Banned(FOREVER));
    act(&node, "ann", Action::Unban, "bob").await.unwrap();
    change(own(retraction(target))).await.unwrap();
}

pub async fn moderator_takes_messages_of_lower_roles_back(store: &TestStore) {
    let node = store.node(|_| ()).await;
    update(&node, "ann", made(RoomKind::Open, "ann")).await.unwrap();
    let role = |user: &str, role| {
        let (action, user) = (Action::Role, user_name(user));
        update(&node, "ann", RightsUpdate::User { action, user, role: Some(role), until: None })
    };
    role("mod", Role::Moderator).await.unwrap();
    role("mod2", Role::Moderator).await.unwrap();
    let retract = async |by: &str, author: &str| {
        let target = say(&node, author).await.unwrap().position.message_id;
        let mut change = retraction(target);
        change.author = format!(r#""sender_username":"{author}","#).into();
        if let ChangeKind::Retract { moderated, .. } = &mut change.kind {
            *moderated = Some(user_name(author));
        }
        let body = r#""change":"Retract","sender_username":"x""#;
        publish(&node, by, body, NewEntry::Change(change)).await.map(|_| ())
    };
    assert_eq!(retract("mod", "bob").await, Ok(()));
    assert_eq!(refusal(retract("mod", "ann").await), RightsRefusal::Rank);
    assert_eq!(refusal(retract("mod", "mod2").await), RightsRefusal::Rank);
    assert_eq!(refusal(retract("bob", "cleo").await), RightsRefusal::Rank);
    assert_eq!(retract("ann", "mod").await, Ok(()));
}

pub async fn ended_bans_make_place_for_others(store: &TestStore) {
    let node = store.node(|_| ()).await;
    update(&node, "ann", made(RoomKind::Open, "ann")).await.unwrap();
    let ban = async |user: &str, until: Option<u64>| {
        let (action, user) = (Action::Ban, user_name(user));
        update(&node, "", RightsUpdate::User { action, user, role: None, until }).await
    };
    let until = unix_ms() + 1_000;
    ban("short", Some(until)).await.unwrap();
    // With the owner, as many as a room may have.
    let others: Vec<String> = (0..9_998).map(|number| format!("user{number}")).collect();
    for some in others.chunks(200) {
        try_join_all(some.iter().map(|user| ban(user, None))).await.unwrap();
    }
    // By the clock of the store too.
    eventually("the first ban has ended", || async { unix_ms() > until + 200 }).await;
    ban("next", None).await.unwrap();
    assert_eq!(refusal(ban("last", None).await), RightsRefusal::TooManyUsers);
    // One that is known already takes no place.
    ban("next", Some(unix_ms() + 60_000)).await.unwrap();
}

pub async fn invitations_of_an_unused_name_have_a_limit(store: &TestStore) {
    let node = store.node(|_| ()).await;
    let invite = async |count: usize, owner: &str| {
        let owner = Some(Owner::from(&user_name(owner)));
        let publish =
            Publish { owner, entry: NewEntry::Note, ..message(&[&user("vic")], &count.to_string(), "note") };
        node.backend.broker.publish(publish).await
    };
    for count in 0..=64 {
        let stored = invite(count, "ann").await;
        assert_eq!(stored.err(), (count == 64).then_some(BackendError::InboxFull), "{count}");
    }
    // It is the limit of private messages too.
    let owner = Some(Owner::from(&user_name("bob")));
    let publish = Publish { owner, ..message(&[&user("vic"), &user("bob")], "hi", "hi") };
    assert_eq!(node.backend.broker.publish(publish).await, Err(BackendError::InboxFull));
}

pub async fn slow_mode_makes_each_user_wait(store: &TestStore) {
    let node = store.node(|_| ()).await;
    update(&node, "ann", made(RoomKind::Open, "ann")).await.unwrap();
    let slow = |slow| {
        let slow_mode_ms = Some(slow);
        update(&node, "ann", RightsUpdate::Room { kind: None, topic: None, slow_mode_ms, owner: None })
    };
    slow(60_000).await.unwrap();
    for _ in 0..2 {
        say(&node, "ann").await.unwrap();
    }
    for user in ["bob", "cleo"] {
        say(&node, user).await.unwrap();
        let RightsRefusal::Slow(left) = refusal(say(&node, user).await) else { panic!("{user}") };
        assert!((1..=60_000).contains(&left), "{left}");
    }
    slow(0).await.unwrap();
    say(&node, "bob").await.unwrap();
    assert!(slow(0).await.unwrap().is_unchanged);
}

/// Random numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        all[(self.0 >> 33) as usize % all.len()]
    }
}

const USERS: [&str; 6] = ["", "ann", "bob", "cleo", "dan", "eve"];

/// One step: who asks, and for what.
fn step(dice: &mut Dice) -> (&'static str, Option<RightsUpdate>) {
    use Action::{Ban, Invite, Kick, Mute, Remove, Unban, Unmute};
    let by = dice.of(&USERS);
    let user: UserName = user_name(dice.of(&USERS[1..]));
    let update = match dice.of(&[0, 1, 2, 2, 2, 2, 2, 3, 4, 4]) {
        0 => RightsUpdate::Room {
            kind: dice.of(&[None, Some(RoomKind::Open), Some(RoomKind::Private), Some(RoomKind::Announce)]),
            topic: dice.of(&[None, Some(""), Some("t")]).map(str::to_owned),
            slow_mode_ms: dice.of(&[None, Some(0)]),
            owner: (!by.is_empty()).then(|| user_name(by)),
        },
        1 => return (by, None),
        2 => {
            let action = dice.of(&[Remove, Kick, Ban, Unban, Mute, Unmute, Invite]);
            let until =
                if matches!(action, Ban | Mute) { dice.of(&[None, Some(1), Some(1 << 50)]) } else { None };
            RightsUpdate::User { action, user, role: None, until }
        }
        3 if !by.is_empty() => RightsUpdate::Accept(user_name(by)),
        _ => {
            let role = Some(dice.of(&[Role::Owner, Role::Moderator, Role::Member]));
            RightsUpdate::User { action: Action::Role, user, role, until: None }
        }
    };
    (by, Some(update))
}

type Outcome = Result<bool, BackendError>;

async fn outcome(node: &Harness, by: &str, wanted: Option<RightsUpdate>) -> Outcome {
    let stored = match wanted {
        Some(wanted) => update(node, by, wanted).await,
        None => say(node, by).await,
    };
    stored.map(|stored| stored.is_unchanged)
}

/// What each store says of the room and of each user.
async fn state(
    node: &Harness,
) -> (Option<String>, Vec<Option<(RoomKind, UserState)>>, Vec<(UserName, UserState)>) {
    let broker = &node.backend.broker;
    let mut of_users = Vec::new();
    let mut topic = None;
    for user in &USERS[1..] {
        let rights = broker.rights(&room_name("ops"), &user_name(user)).await.unwrap();
        topic = rights.as_ref().and_then(|rights| rights.topic.clone());
        of_users.push(rights.map(|rights| (rights.kind, rights.user)));
    }
    let all = broker.users(&room("ops")).await.unwrap();
    (topic, of_users, all.map(|all| all.users).unwrap_or_default())
}

pub async fn stores_decide_the_same(store: &TestStore) {
    let node = store.node(|_| ()).await;
    let embedded = Harness::embedded(&OnceLock::new(), |_| ());
    let mut dice = Dice(7);
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..1_500 {
        let (by, wanted) = step(&mut dice);
        let expected = outcome(&embedded, by, wanted.clone()).await;
        let found = outcome(&node, by, wanted.clone()).await;
        assert_eq!(found, expected, "step {round}: {by:?} {wanted:?}");
        accepted += usize::from(found.is_ok());
        refused += usize::from(found.is_err());
        if round % 10 == 0 {
            assert_eq!(state(&node).await, state(&embedded).await, "step {round}: {by:?} {wanted:?}");
        }
    }
    assert!(accepted > 200 && refused > 200, "{accepted} {refused}");
    let topic: Topic = room("ops");
    let tops = node.backend.broker.tops(std::slice::from_ref(&topic)).await.unwrap();
    assert_eq!(tops, [Some(node.page(&topic, Range::Top, ALL).await.top)]);
}
