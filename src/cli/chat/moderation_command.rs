//! The commands about rooms with rights, their users, and blocked users. Owns what they ask for, and what the user's own role forbids at once; the node decides
//! about the rest. Called by the commands.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chatnode_client::model::{Membership, Model};
use chatnode_client::protocol::{MAX_SLOW_MODE_MS, MAX_TOPIC_BYTES};
use chatnode_client::text::harmless;
use chatnode_client::{Moderation, Role, RoomKind, RoomName, RoomRights, RoomSettings, Topic, UserName};

use super::names;
use super::outcome::{Outcome, note, refuse};

/// Their help.
pub(super) const HELP: [&str; 7] = [
    "/room KIND [ROOM]   make a room and enter it, or change this one: private (by invitation), announce (moderators write) or open",
    "/topic [TEXT]       show the topic of this room, or set it; /topic - takes it away",
    "/slow SECONDS       let each user write once in so many seconds; 0 ends that",
    "/invite USER [WHY]  let a user into this room. Likewise /kick sends out, and /ban keeps out, until /unban USER",
    "/mute USER [MINUTES] let a user read only, until /unmute USER",
    "/role USER ROLE     make a user owner, moderator or member. /remove USER takes the role away and sends out",
    "/block USER         take no private messages from a user, until /unblock USER",
];

/// The commands that begin with the name of a user.
#[cfg(feature = "tui")]
pub(super) const ABOUT_USERS: [&str; 10] =
    ["/ban", "/block", "/invite", "/kick", "/mute", "/remove", "/role", "/unban", "/unblock", "/unmute"];

/// What `/role` gives.
pub(super) const ROLES: [Role; 3] = [Role::Owner, Role::Moderator, Role::Member];

/// What `/room` makes.
pub(super) const KINDS: [RoomKind; 3] = [RoomKind::Private, RoomKind::Announce, RoomKind::Open];

/// The longest mute with an end: a year.
const MAX_MINUTES: u64 = 525_600;

/// Runs one of them. `None` if the word is none of them.
pub(super) fn run(model: &mut Model, word: &str, rest: &str) -> Option<Outcome> {
    let feature = match word {
        "room" | "topic" | "slow" => "room",
        "invite" | "kick" | "ban" | "unban" | "mute" | "unmute" | "role" | "remove" => "moderate",
        "block" | "unblock" => "block",
        _ => return None,
    };
    if model.is_live() && !model.features().has(feature) {
        return Some(refuse(model, &format!("this node runs an older version, without /{word}")));
    }
    let done = match word {
        "room" => room(model, rest),
        "topic" if rest.is_empty() => show_topic(model),
        "topic" | "slow" => change(model, word, rest),
        "block" | "unblock" => block(model, rest, word == "block"),
        _ => moderate(model, word, rest),
    };
    Some(done.map_or_else(|why| refuse(model, &format!("/{word}: {why}")), |()| Outcome::Done))
}

fn room(model: &mut Model, rest: &str) -> Result<(), String> {
    let (kind, name) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let kind = KINDS.into_iter().find(|each| each.as_str() == kind);
    let kind = kind.ok_or("the kind is private, announce or open")?;
    let name = name.trim();
    check_live(model)?;
    let settings = RoomSettings::new().kind(kind);
    if name.is_empty() {
        let (room, rights) = here(model)?;
        check_role(rights, Role::Owner)?;
        model.change_room(room, settings);
        return Ok(());
    }
    let room = RoomName::parse(name.strip_prefix('#').unwrap_or(name))
        .map_err(|why| format!("the name of a room {why}"))?;
    let topic = Topic::Room(room.clone());
    let is_in = |model: &Model| {
        let mut open = model.conversations().iter();
        open.any(|each| each.topic == topic && each.membership == Membership::In)
    };
    match model.rights(&room) {
        Some(rights) => {
            check_role(rights, Role::Owner)?;
            model.change_room(room, settings);
        }
        None if is_in(model) => {
            return Err("this room is in use, so it can't be made: choose another name".into());
        }
        None => model.make_room(room, settings),
    }
    Ok(())
}

fn show_topic(model: &mut Model) -> Result<(), String> {
    let (_, rights) = here(model)?;
    let topic = rights.topic.as_deref().map(|topic| format!("topic: {}", harmless(topic)));
    note(model, topic.as_deref().unwrap_or("this room has no topic"));
    Ok(())
}

fn change(model: &mut Model, word: &str, rest: &str) -> Result<(), String> {
    let settings = match (word, rest) {
        ("slow", _) => {
            let seconds = rest.parse().ok().filter(|seconds| *seconds <= MAX_SLOW_MODE_MS / 1_000);
            let seconds =
                seconds.ok_or_else(|| format!("a number of seconds, up to {}", MAX_SLOW_MODE_MS / 1_000))?;
            RoomSettings::new().slow_mode(Duration::from_secs(seconds))
        }
        (_, "-") => RoomSettings::new().topic(""),
        _ if rest.len() > MAX_TOPIC_BYTES => {
            return Err(format!("a topic has at most {MAX_TOPIC_BYTES} bytes"));
        }
        _ => RoomSettings::new().topic(rest),
    };
    check_live(model)?;
    let (room, rights) = here(model)?;
    check_role(rights, Role::Moderator)?;
    model.change_room(room, settings);
    Ok(())
}

fn moderate(model: &mut Model, word: &str, rest: &str) -> Result<(), String> {
    let (user, text) = match word {
        // Nothing follows the name, which may contain spaces.
        "unban" | "unmute" | "remove" => (rest.strip_prefix('@').unwrap_or(rest), ""),
        "role" => {
            let (user, role) = rest.rsplit_once(char::is_whitespace).unwrap_or((rest, ""));
            (user.strip_prefix('@').unwrap_or(user), role)
        }
        _ => names::split(model, rest),
    };
    let (user, text) =
        (UserName::parse(user).map_err(|why| format!("the name of a user {why}"))?, text.trim());
    let mut reason = None;
    let moderation = match word {
        "role" => {
            let role = ROLES.into_iter().find(|role| role.as_str() == text);
            Moderation::SetRole(role.ok_or("after the user, the role: owner, moderator or member")?)
        }
        "mute" => Moderation::Mute { until: end(text)? },
        "unban" => Moderation::Unban,
        "unmute" => Moderation::Unmute,
        "remove" => Moderation::Remove,
        _ => {
            reason = Some(text.to_owned()).filter(|text| !text.is_empty());
            match word {
                "invite" => Moderation::Invite,
                "kick" => Moderation::Kick,
                _ => Moderation::Ban { until: None },
            }
        }
    };
    check_live(model)?;
    let (_, rights) = here(model)?;
    if user != *model.me() {
        check_role(rights, Role::Moderator)?;
        if let Moderation::SetRole(role @ (Role::Owner | Role::Moderator)) = moderation
            && known_role(rights) == Some(Some(Role::Moderator))
        {
            return Err(format!("only an owner makes another user {}", with_article(role)));
        }
    } else if moderation != Moderation::Remove {
        return Err("nobody does this to themselves".into());
    } else if rights.role.is_none() {
        return Err("you have no role here; /leave leaves the room".into());
    }
    model.moderate(user, moderation, reason);
    Ok(())
}

fn block(model: &mut Model, rest: &str, on: bool) -> Result<(), String> {
    // In the conversation with a user, the name can be left out.
    let user = match model.current().map(|current| &current.topic) {
        Some(Topic::User(peer)) if rest.is_empty() => peer.clone(),
        _ => UserName::parse(rest.strip_prefix('@').unwrap_or(rest))
            .map_err(|why| format!("the name of a user {why}"))?,
    };
    if user == *model.me() {
        return Err("nobody can block themselves".into());
    }
    check_live(model)?;
    model.block(user, on);
    Ok(())
}

/// When a mute ends that begins now, in Unix ms. `None` if no minutes are given.
fn end(minutes: &str) -> Result<Option<u64>, String> {
    if minutes.is_empty() {
        return Ok(None);
    }
    let minutes = minutes.parse::<u64>().ok().filter(|minutes| (1..=MAX_MINUTES).contains(minutes));
    let minutes =
        minutes.ok_or_else(|| format!("after the user, a number of minutes, up to {MAX_MINUTES}"))?;
    let end = SystemTime::now() + Duration::from_secs(minutes * 60);
    let end = end.duration_since(UNIX_EPOCH).map_err(|_| "the clock of this machine is wrong")?;
    Ok(u64::try_from(end.as_millis()).ok())
}

fn check_live(model: &Model) -> Result<(), String> {
    if model.is_live() { Ok(()) } else { Err("there is no connection now".into()) }
}

/// The room on show and its rights.
fn here(model: &Model) -> Result<(RoomName, &RoomRights), String> {
    let current = model.current().ok_or("no room is open")?;
    match (&current.topic, current.rights()) {
        (Topic::User(_), _) => Err("only a room has roles and a topic".into()),
        (Topic::Room(room), Some(rights)) => Ok((room.clone(), rights)),
        (Topic::Room(_), None) if current.membership != Membership::In => {
            Err("you are not in this room".into())
        }
        (Topic::Room(_), None) => {
            Err("this room has no roles and no topic; /room KIND ROOM makes one that has".into())
        }
    }
}

/// The own role. `None` if only a newer version knows it: then the node decides.
fn known_role(rights: &RoomRights) -> Option<Option<Role>> {
    match &rights.role {
        None => Some(None),
        Some(role) => role.known().map(Some),
    }
}

/// Whether the own role is high enough.
fn check_role(rights: &RoomRights, needed: Role) -> Result<(), String> {
    let Some(own) = known_role(rights) else { return Ok(()) };
    if own.map_or(0, Role::rank) >= needed.rank() {
        return Ok(());
    }
    let who = if needed == Role::Owner { "owners" } else { "owners and moderators" };
    let own = own.map_or_else(|| "have no role".to_owned(), |role| format!("are {}", with_article(role)));
    Err(format!("only {who} may do this here, and you {own}"))
}

/// A role as a sentence names it.
pub(super) fn with_article(role: Role) -> String {
    format!("{} {}", if role == Role::Owner { "an" } else { "a" }, role.as_str())
}

#[cfg(test)]
mod tests;
