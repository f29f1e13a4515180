//! Rooms with rights, for programs: who is in, who may write, and what they learn of it.

use chatnode::config::Config;
use chatnode_client::protocol::events::RemovedBy;
use chatnode_client::{
    Action, Client, ErrorCode, Event, Events, Moderation, RequestError, Role, RoomKind, RoomRights,
    RoomSettings, SendError, StopReason, UserName, Word,
};

use crate::program::{connect, content, options, soon, until};
use crate::support::api::with_tokens;
use crate::support::cluster::{Cluster, Kind};

async fn sign_in(cluster: &Cluster, name: &str) -> (Client, Events) {
    let token = cluster.token(0, name).await;
    options(cluster.address(0), name).token(token).connect().await.unwrap()
}

fn code(error: &RequestError) -> Option<ErrorCode> {
    match error {
        RequestError::Refused { code, .. } => code.known(),
        _ => None,
    }
}

async fn role(client: &Client) -> Option<Role> {
    soon(client.rights("ops")).await.unwrap()?.role?.known()
}

async fn removed(events: &mut Events) -> (Option<RemovedBy>, Option<String>) {
    let removed = until(events, "the removal", |event| match event {
        Event::Removed { action, reason, .. } => Some((action.known(), reason.clone())),
        _ => None,
    });
    removed.await
}

/// What moderators did, and to whom.
async fn moderated(events: &mut Events) -> (Option<Action>, String) {
    let moderated = until(events, "what a moderator did", |event| match event {
        Event::Moderated { action, user, .. } => Some((action.known(), user.to_string())),
        _ => None,
    });
    moderated.await
}

#[tokio::test]
async fn private_room_is_entered_by_invitation_until_a_ban() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, with_tokens).await;
    let (ann, mut seen) = sign_in(&cluster, "ann").await;
    let (bob, mut events) = sign_in(&cluster, "bob").await;
    let made =
        soon(ann.make_room("ops", RoomKind::Private, RoomSettings::new().topic("on call"))).await.unwrap();
    assert_eq!((made.seq, made.unchanged), (Some(1), false));
    assert_eq!(soon(ann.rights("ops")).await.unwrap(), None, "she is not in the room");
    soon(ann.join("ops")).await.unwrap();
    assert_eq!(
        soon(ann.rights("ops")).await.unwrap(),
        Some(RoomRights {
            kind: Word::Known(RoomKind::Private),
            topic: Some("on call".into()),
            slow_mode_ms: None,
            role: Some(Word::Known(Role::Owner)),
            muted_until: None,
            may_write: false,
        })
    );
    assert_eq!(code(&soon(bob.join("ops")).await.unwrap_err()), Some(ErrorCode::Forbidden));
    soon(ann.moderate("ops", "bob", Moderation::Invite, Some("welcome"))).await.unwrap();
    let invited = until(&mut events, "the invitation", |event| match event {
        Event::Invited { room, by, reason, .. } => {
            Some((room.to_string(), by.as_ref()?.to_string(), reason.clone()))
        }
        _ => None,
    });
    assert_eq!(invited.await, ("ops".into(), "ann".into(), Some("welcome".into())));
    soon(bob.join("ops")).await.unwrap();
    assert_eq!(role(&bob).await, Some(Role::Member));
    soon(bob.send("ops", "thanks")).await.unwrap();
    assert_eq!(code(&soon(bob.kick("ops", "ann")).await.unwrap_err()), Some(ErrorCode::Forbidden));

    soon(ann.moderate("ops", "bob", Moderation::Ban { until: None }, Some("spam"))).await.unwrap();
    assert_eq!(removed(&mut events).await, (Some(RemovedBy::Ban), Some("spam".into())));
    assert_eq!(soon(bob.rights("ops")).await.unwrap(), None);
    assert_eq!(soon(bob.send("ops", "x")).await, Err(SendError::NotStored(StopReason::RoomRefused)));
    assert_eq!(code(&soon(bob.members("ops")).await.unwrap_err()), Some(ErrorCode::NotInRoom));
    assert_eq!(code(&soon(bob.join("ops")).await.unwrap_err()), Some(ErrorCode::Forbidden));
    for (action, user) in [(Action::Invite, "bob"), (Action::Role, "bob"), (Action::Ban, "bob")] {
        assert_eq!(moderated(&mut seen).await, (Some(action), user.to_owned()));
    }

    soon(ann.unban("ops", "bob")).await.unwrap();
    assert!(soon(ann.unban("ops", "bob")).await.unwrap().unchanged);
    soon(ann.set_role("ops", "bob", Role::Moderator)).await.unwrap();
    soon(bob.join("ops")).await.unwrap();
    assert_eq!(role(&bob).await, Some(Role::Moderator));
    soon(bob.remove_user("ops", "bob")).await.unwrap();
    assert_eq!(removed(&mut events).await, (Some(RemovedBy::Remove), None));
}

#[tokio::test]
async fn rights_of_a_room_follow_what_moderators_do() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, with_tokens).await;
    let (ann, _seen) = sign_in(&cluster, "ann").await;
    let (bob, mut events) = sign_in(&cluster, "bob").await;
    soon(ann.make_room("ops", RoomKind::Open, RoomSettings::new())).await.unwrap();
    for client in [&ann, &bob] {
        soon(client.join("ops")).await.unwrap();
    }
    assert_eq!(role(&bob).await, None);
    soon(ann.mute("ops", "bob", Some(9_000_000_000_000))).await.unwrap();
    assert_eq!(moderated(&mut events).await, (Some(Action::Mute), "bob".into()));
    assert_eq!(soon(bob.rights("ops")).await.unwrap().unwrap().muted_until, Some(9_000_000_000_000));
    let refused = soon(bob.send("ops", "x")).await.unwrap_err();
    let is_forbidden =
        matches!(&refused, SendError::Refused { code, .. } if code.known() == Some(ErrorCode::Forbidden));
    assert!(is_forbidden, "{refused:?}");
    soon(ann.unmute("ops", "bob")).await.unwrap();
    soon(bob.send("ops", "I may")).await.unwrap();
    soon(ann.change_room("ops", RoomSettings::new().kind(RoomKind::Announce).topic("releases")))
        .await
        .unwrap();
    let changed = until(&mut events, "the change", |event| match event {
        Event::RoomChanged { topic, .. } => topic.clone(),
        _ => None,
    });
    assert_eq!(changed.await, "releases");
    let rights = soon(bob.rights("ops")).await.unwrap().unwrap();
    assert_eq!((rights.kind.known(), rights.topic.as_deref()), (Some(RoomKind::Announce), Some("releases")));
    assert_eq!(rights.muted_until, None);
    // Who was kicked comes back by joining, with the role.
    soon(ann.set_role("ops", "bob", Role::Moderator)).await.unwrap();
    soon(ann.kick("ops", "bob")).await.unwrap();
    assert_eq!(removed(&mut events).await, (Some(RemovedBy::Kick), None));
    soon(bob.join("ops")).await.unwrap();
    soon(bob.send("ops", "back")).await.unwrap();
    assert_eq!(content(&mut events).await, "back");
}

#[tokio::test]
async fn node_without_authentication_refuses_rights() {
    let is_open = |config: &mut Config| config.auth.enabled = false;
    let cluster = Cluster::start_with(Kind::Embedded, 1, is_open).await;
    let (ann, _events) = connect(cluster.address(0), "ann").await;
    let refused = soon(ann.make_room("ops", RoomKind::Private, RoomSettings::new())).await.unwrap_err();
    assert_eq!(code(&refused), Some(ErrorCode::Forbidden), "{refused:?}");
    assert!(matches!(soon(ann.invite("ops", "")).await, Err(RequestError::Name { .. })));
    assert!(matches!(soon(ann.ban("", "bob", None)).await, Err(RequestError::Name { .. })));
}

#[tokio::test]
async fn blocked_user_can_send_nothing() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, with_tokens).await;
    let (ann, mut events) = sign_in(&cluster, "ann").await;
    let (bob, _seen) = sign_in(&cluster, "bob").await;
    soon(ann.block("bob")).await.unwrap();
    assert!(soon(ann.block("bob")).await.unwrap().unchanged);
    let on = until(&mut events, "the block", |event| match event {
        Event::Blocked { user, on, .. } if user.as_str() == "bob" => Some(*on),
        _ => None,
    });
    assert!(on.await);
    assert_eq!(soon(ann.blocked()).await.unwrap(), [UserName::parse("bob").unwrap()]);
    let refused = soon(bob.send_private("ann", "x")).await.unwrap_err();
    let is_forbidden =
        matches!(&refused, SendError::Refused { code, .. } if code.known() == Some(ErrorCode::Forbidden));
    assert!(is_forbidden, "{refused:?}");
    assert_eq!(code(&soon(ann.block("ann")).await.unwrap_err()), Some(ErrorCode::InvalidMessage));
    soon(ann.unblock("bob")).await.unwrap();
    assert!(soon(ann.blocked()).await.unwrap().is_empty());
    soon(bob.send_private("ann", "x")).await.unwrap();
}
