//! Presence of one node, tokens and markers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use chatnode::backend::{Lease, MAX_READ_MARKERS, Move, SignedToken, TokenHash, TokenRecord};
use chatnode::protocol::{Epoch, MessageId, Position, RoomMarker, RoomName, UserName};
use uuid::Uuid;

use crate::TestStore;
use crate::support::backend::{Harness, room, room_name, user_name};
use crate::support::listener::eventually;

async fn add(node: &Harness, room: &RoomName, user: &str) -> bool {
    let event = Bytes::from(format!("+{user}"));
    node.backend.presence.add(room, &user_name(user), event).await.unwrap()
}

async fn remove(node: &Harness, room: &RoomName, user: &str) -> bool {
    let event = Bytes::from(format!("-{user}"));
    node.backend.presence.remove(room, &user_name(user), event).await.unwrap()
}

/// Starts a node and acquires its lease.
async fn present(store: &TestStore, quiet_above: usize) -> Harness {
    let node = store.node(|config| config.rooms.quiet_above = quiet_above).await;
    assert_eq!(node.backend.presence.renew().await.unwrap(), Lease::Kept);
    node
}

async fn members(node: &Harness, room: &RoomName) -> Vec<String> {
    let page = node.backend.presence.members(room, None, 1_000).await.unwrap();
    assert_eq!(page.count as usize, page.members.len());
    assert!(!page.more);
    page.members.iter().map(ToString::to_string).collect()
}

pub async fn presence_publishes_one_enter_and_one_leave(store: &TestStore) {
    let node = present(store, 1_000).await;
    let (name, topic) = (room_name("a}{b"), room("a}{b"));
    node.subscribe(&topic).await;
    assert!(add(&node, &name, "alice").await);
    assert!(!add(&node, &name, "alice").await);
    assert!(add(&node, &name, "日本").await);
    assert_eq!(members(&node, &name).await, ["alice", "日本"]);
    assert_eq!(members(&node, &room_name("other")).await, Vec::<String>::new());
    assert!(remove(&node, &name, "alice").await);
    assert!(!remove(&node, &name, "alice").await);
    assert!(!remove(&node, &name, "never there").await);
    assert_eq!(members(&node, &name).await, ["日本"]);
    assert!(add(&node, &name, "alice").await);
    node.say(&topic, "end").await;
    node.listener.messages(&topic, 1).await;
    assert_eq!(node.listener.events(&topic), ["+alice", "+日本", "-alice", "+alice"]);
}

pub async fn members_are_paged_in_byte_order(store: &TestStore) {
    let node = present(store, 0).await;
    let name = room_name("lobby");
    let mut names: Vec<String> = (0..25).map(|i| format!("user {i}")).collect();
    names.extend(["Zoë", "zoe", "ß", "日本", "-", "(a", "[b", "+"].map(String::from));
    for user in &names {
        add(&node, &name, user).await;
    }
    names.sort();
    let mut paged: Vec<String> = Vec::new();
    let mut after: Option<UserName> = None;
    loop {
        let page = node.backend.presence.members(&name, after.as_ref(), 10).await.unwrap();
        assert_eq!(page.count, 33);
        paged.extend(page.members.iter().map(ToString::to_string));
        assert_eq!(page.more, paged.len() < 33);
        if !page.more {
            break;
        }
        assert_eq!(page.members.len(), 10);
        after = page.members.last().cloned();
    }
    assert_eq!(paged, names);
    let exactly = node.backend.presence.members(&name, None, 33).await.unwrap();
    assert_eq!((exactly.members.len(), exactly.more), (33, false));
}

pub async fn rooms_are_paged_in_byte_order(store: &TestStore) {
    let (one, two) = (present(store, 0).await, present(store, 0).await);
    let page = one.backend.presence.rooms(None, 10).await.unwrap();
    assert_eq!((page.rooms, page.more, page.is_complete), (vec![], false, true));
    // A name may be the beginning of another, and sort before it although a longer member follows.
    let mut names: Vec<String> = (0..25).map(|i| format!("room {i}")).collect();
    names.extend(["room", "roo", "Zoë", "日本", "日", "-", "(a", "[b", "+", "a}{b"].map(String::from));
    for (at, name) in names.iter().enumerate() {
        for user in 0..=at % 3 {
            add(if (at + user) % 2 == 0 { &one } else { &two }, &room_name(name), &format!("~ {user}")).await;
        }
    }
    let mut expected: Vec<(String, u64)> =
        names.iter().enumerate().map(|(at, name)| (name.clone(), at as u64 % 3 + 1)).collect();
    expected.sort();
    for limit in [1, 10, 34, 35, 200] {
        let (mut paged, mut after): (Vec<(String, u64)>, Option<RoomName>) = (Vec::new(), None);
        loop {
            let page = two.backend.presence.rooms(after.as_ref(), limit).await.unwrap();
            assert!(page.is_complete && page.rooms.len() <= limit as usize);
            paged.extend(page.rooms.iter().map(|size| (size.room.to_string(), size.count)));
            assert_eq!(page.more, paged.len() < expected.len());
            if !page.more {
                break;
            }
            after = page.rooms.last().map(|size| size.room.clone());
        }
        assert_eq!(paged, expected, "{limit}");
    }
}

pub async fn large_room_publishes_no_presence_events(store: &TestStore) {
    let node = present(store, 2).await;
    let (name, topic) = (room_name("lobby"), room("lobby"));
    node.subscribe(&topic).await;
    for user in ["a", "b", "c"] {
        assert!(add(&node, &name, user).await);
    }
    assert!(remove(&node, &name, "a").await, "the room had three members, above the limit");
    assert!(remove(&node, &name, "b").await);
    node.say(&topic, "end").await;
    node.listener.messages(&topic, 1).await;
    assert_eq!(node.listener.events(&topic), ["+a", "+b", "-b"]);
}

pub async fn restoring_members_publishes_no_events(store: &TestStore) {
    let node = present(store, 1_000).await;
    let rooms = ["one", "two", "three"];
    let all: Vec<(RoomName, UserName, Option<Bytes>)> = rooms
        .iter()
        .flat_map(|room| (0..700).map(|i| (room_name(room), user_name(&format!("user {i}")), None)))
        .collect();
    for name in rooms {
        node.subscribe(&room(name)).await;
    }
    add(&node, &room_name("one"), "user 0").await;
    node.backend.presence.reincarnate().await.unwrap();
    assert_eq!(node.backend.presence.renew().await.unwrap(), Lease::Kept);
    node.backend.presence.restore_members(&all).await.unwrap();
    node.backend.presence.restore_members(&all).await.unwrap();
    for name in rooms {
        assert_eq!(members(&node, &room_name(name)).await.len(), 700);
        node.say(&room(name), "end").await;
        node.listener.messages(&room(name), 1).await;
    }
    assert_eq!(node.listener.events(&room("one")), ["+user 0"]);
    assert!(node.listener.events(&room("two")).is_empty());
}

pub async fn first_renewal_acquires_the_lease(store: &TestStore) {
    let node = store.node(|config| config.node.name = Some("node one".into())).await;
    let presence = &node.backend.presence;
    for _ in 0..3 {
        assert_eq!(presence.renew().await.unwrap(), Lease::Kept);
    }
    let nodes = presence.nodes().await.unwrap();
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0].name, "node one");
    assert!((1..=15_000).contains(&nodes[0].lease_remaining_ms), "{nodes:?}");
    assert_eq!(presence.claim_expired().await.unwrap(), None);
    presence.release().await.unwrap();
    assert_eq!(presence.nodes().await.unwrap(), []);
}

fn hash(n: u128) -> TokenHash {
    TokenHash::of(Uuid::from_u128(n))
}

fn in_ms(ms: u64) -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64 + ms
}

pub async fn lookup_finds_tokens_until_their_removal(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let tokens = &node.backend.tokens;
    let alice = TokenRecord { user: user_name("alice }{ x"), expires_at: Some(in_ms(60_000)) };
    let bob = TokenRecord { user: user_name("日本"), expires_at: None };
    tokens.insert(hash(1), &alice).await.unwrap();
    tokens.insert(hash(2), &bob).await.unwrap();
    let found = tokens.look_up(&[hash(2), hash(9), hash(1), hash(2)]).await.unwrap();
    assert_eq!(found, [Ok(Some(bob.clone())), Ok(None), Ok(Some(alice)), Ok(Some(bob))]);
    assert!(tokens.remove(hash(1)).await.unwrap());
    assert!(!tokens.remove(hash(1)).await.unwrap());
    assert!(!tokens.remove(hash(9)).await.unwrap());
    assert_eq!(tokens.look_up(&[hash(1)]).await.unwrap(), [Ok(None)]);
    assert_eq!(tokens.look_up(&[]).await.unwrap(), []);
}

pub async fn lookup_ignores_expired_tokens(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let tokens = &node.backend.tokens;
    let user = user_name("alice");
    let soon = TokenRecord { user: user.clone(), expires_at: Some(in_ms(300)) };
    let past = TokenRecord { user: user.clone(), expires_at: Some(in_ms(0) - 1_000) };
    let never = TokenRecord { user, expires_at: None };
    for (n, record) in [&soon, &past, &never].into_iter().enumerate() {
        tokens.insert(hash(n as u128), record).await.unwrap();
    }
    assert_eq!(tokens.look_up(&[hash(1)]).await.unwrap(), [Ok(None)]);
    eventually("the token expires", || async { tokens.look_up(&[hash(0)]).await.unwrap()[0] == Ok(None) })
        .await;
    assert!(in_ms(0) >= soon.expires_at.unwrap(), "the token expired too early");
    assert_eq!(tokens.look_up(&[hash(2)]).await.unwrap(), [Ok(Some(never))]);
}

pub async fn remove_all_removes_every_token_of_a_user(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let tokens = &node.backend.tokens;
    let (alice, bob) = (user_name("alice"), user_name("bob"));
    for n in 0..600 {
        let expires_at = if n % 2 == 0 { None } else { Some(in_ms(60_000)) };
        tokens.insert(hash(n), &TokenRecord { user: alice.clone(), expires_at }).await.unwrap();
    }
    tokens.insert(hash(1_000), &TokenRecord { user: bob, expires_at: None }).await.unwrap();
    tokens.remove_all(&alice).await.unwrap();
    tokens.remove_all(&alice).await.unwrap();
    let all: Vec<TokenHash> = (0..600).map(hash).collect();
    assert!(tokens.look_up(&all).await.unwrap().iter().all(|found| *found == Ok(None)));
    assert!(tokens.look_up(&[hash(1_000)]).await.unwrap()[0].as_ref().unwrap().is_some());
}

pub async fn signed_tokens_are_revoked_by_identity_and_by_age(store: &TestStore) {
    let (node, other) = (store.node(|_| {}).await, store.node(|_| {}).await);
    let tokens = &node.backend.tokens;
    let token =
        |n: u128, user: &str, issued_at| SignedToken { id: hash(n), user: user_name(user), issued_at };
    let all = [
        token(1, "alice", Some(1_000)),
        token(2, "alice", Some(2_000)),
        token(3, "alice", None),
        token(4, "bob }{", Some(1)),
    ];
    let revoked = async || {
        let found = other.backend.tokens.are_revoked(&all).await.unwrap();
        found.into_iter().map(Result::unwrap).collect::<Vec<bool>>()
    };
    assert_eq!(revoked().await, [false; 4]);
    tokens.revoke_signed(hash(4), Some(in_ms(60_000))).await.unwrap();
    assert_eq!(revoked().await, [false, false, false, true]);
    let alice = user_name("alice");
    tokens.revoke_issued_before(&alice, 1_500, None).await.unwrap();
    assert_eq!(revoked().await, [true, false, true, true]);
    // An earlier time gives nothing back.
    tokens.revoke_issued_before(&alice, 500, Some(in_ms(60_000))).await.unwrap();
    assert_eq!(revoked().await, [true, false, true, true]);
    tokens.revoke_issued_before(&alice, 2_001, Some(in_ms(60_000))).await.unwrap();
    assert_eq!(revoked().await, [true; 4]);
    assert_eq!(tokens.are_revoked(&[]).await.unwrap(), []);
    // More than one call reads.
    let many: Vec<SignedToken> = (0..600).map(|n| token(n, "carol", Some(1))).collect();
    let found = tokens.are_revoked(&many).await.unwrap();
    assert_eq!(found.iter().filter(|found| **found == Ok(true)).count(), 1, "one has the revoked identity");
}

pub async fn cursor_moves_only_forward(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let markers = &node.backend.markers;
    let alice = user_name("alice");
    assert_eq!(markers.cursor(&alice).await.unwrap(), None);
    let at = |epoch, seq| Position { epoch, seq, message_id: MessageId::generate() };
    let (one, two) = (Epoch::generate(), Epoch::generate());
    let (fifth, tenth, other) = (at(one, 5), at(one, 10), at(two, 1));
    for (to, is) in [
        (Position::start(one), Position::start(one)),
        (fifth, fifth),
        (tenth, tenth),
        (fifth, tenth),
        (at(one, 10), tenth),
        (other, other),
        (tenth, tenth),
    ] {
        markers.advance_cursor(&alice, to).await.unwrap();
        assert_eq!(markers.cursor(&alice).await.unwrap(), Some(is));
    }
    assert_eq!(markers.cursor(&user_name("bob")).await.unwrap(), None);
}

pub async fn room_markers_move_only_forward(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let markers = &node.backend.markers;
    let (alice, lobby) = (user_name("alice"), room_name("a}{b 日本"));
    assert_eq!(markers.room_marker(&alice, &lobby).await.unwrap(), None);
    let (one, two) = (Epoch::generate(), Epoch::generate());
    for (epoch, seq, moved) in
        [(one, 9, true), (one, 10, true), (one, 10, false), (one, 9, false), (two, 1, true), (two, 0, false)]
    {
        let before = markers.room_marker(&alice, &lobby).await.unwrap();
        let marker = RoomMarker { epoch, seq };
        assert_eq!(markers.mark_room(&alice, &lobby, marker, Move::Forward).await.unwrap(), moved, "{seq}");
        let after = markers.room_marker(&alice, &lobby).await.unwrap();
        assert_eq!(after, if moved { Some(marker) } else { before });
    }
    assert_eq!(markers.room_marker(&alice, &room_name("other")).await.unwrap(), None);
}

pub async fn private_markers_move_only_forward_and_are_bounded(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let markers = &node.backend.markers;
    let (alice, bob) = (user_name("alice"), user_name("bob"));
    let (older, newer) = (MessageId::generate(), MessageId::generate());
    assert_eq!(markers.private_markers(&alice).await.unwrap(), []);
    assert!(markers.mark_private(&alice, &bob, newer, Move::Forward).await.unwrap());
    assert!(!markers.mark_private(&alice, &bob, older, Move::Forward).await.unwrap());
    assert!(!markers.mark_private(&alice, &bob, newer, Move::Forward).await.unwrap());
    assert_eq!(markers.private_markers(&alice).await.unwrap(), [(bob.clone(), newer)]);
    // The marker that moved longest ago is deleted first. Bob's marker moves again, so the first peer's is the oldest.
    let peers: Vec<UserName> = (0..MAX_READ_MARKERS).map(|i| user_name(&format!("peer {i}"))).collect();
    for (i, peer) in peers.iter().enumerate() {
        if i == MAX_READ_MARKERS / 2 {
            assert!(markers.mark_private(&alice, &bob, MessageId::generate(), Move::Forward).await.unwrap());
        }
        assert!(markers.mark_private(&alice, peer, newer, Move::Forward).await.unwrap());
    }
    let kept = markers.private_markers(&alice).await.unwrap();
    assert_eq!(kept.len(), MAX_READ_MARKERS);
    assert_eq!(
        kept.iter().position(|(peer, _)| *peer == bob),
        Some(MAX_READ_MARKERS / 2),
        "in the order of the moves"
    );
    assert_eq!(kept[0].0, peers[MAX_READ_MARKERS - 1], "the one that moved last is the first");
    assert!(kept.iter().all(|(peer, _)| *peer != peers[0]));
    tokio::time::timeout(Duration::from_secs(5), node.shut_down()).await.unwrap();
}
