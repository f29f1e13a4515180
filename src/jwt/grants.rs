//! The rooms that a token grants. Owns the form of the claim: `[{"room": "ops*", "can": ["read", "write"]}]`. Read by the claims, and kept with
//! the token while it is in use.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::refusal::Refusal;
use crate::protocol::{Grant, Granted, RoomName, RoomPattern, WordSet};

/// What a token grants, by room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoomGrants(Option<Arc<[(RoomPattern, Grant)]>>);

impl RoomGrants {
    /// Reads the claim. An empty name means that there is none.
    ///
    /// # Errors
    /// It has another form: the token is not valid, since nobody can say what it should grant.
    pub(super) fn read(claims: &Map<String, Value>, claim: &str) -> Result<Self, Refusal> {
        let Some(value) = claims.get(claim).filter(|value| !claim.is_empty() && !value.is_null()) else {
            return Ok(Self::default());
        };
        let grants = value.as_array().ok_or_else(|| other_form(claim, "it is no list"))?;
        let grants: Vec<_> = grants.iter().map(|grant| read_one(grant, claim)).collect::<Result<_, _>>()?;
        Ok(Self((!grants.is_empty()).then(|| grants.into())))
    }

    /// What it grants in a room: what any of its entries does.
    pub fn in_room(&self, room: &RoomName) -> Grant {
        let entries = self.0.as_deref().unwrap_or_default();
        let of_room = entries.iter().filter(|(pattern, _)| pattern.is_of(room));
        of_room.fold(Grant::default(), |all, (_, grant)| all.or(*grant))
    }
}

fn other_form(claim: &str, why: &str) -> Refusal {
    Refusal::claims(format!(
        "`{claim}` must be a list such as [{{\"room\": \"ops*\", \"can\": [\"read\", \"write\", \"create\"]}}]: {why}"
    ))
}

fn read_one(grant: &Value, claim: &str) -> Result<(RoomPattern, Grant), Refusal> {
    let room = grant.get("room").and_then(Value::as_str);
    let room = room.ok_or_else(|| other_form(claim, "an entry has no text `room`"))?;
    let pattern = RoomPattern::parse(room)
        .map_err(|error| other_form(claim, &format!("the `room` of an entry {error}")))?;
    let can = grant.get("can").and_then(Value::as_array);
    let can = can.ok_or_else(|| other_form(claim, "an entry has no list `can`"))?;
    let mut granted = Grant::default();
    for word in can {
        let word = word.as_str().and_then(Granted::of);
        let word =
            word.ok_or_else(|| other_form(claim, "`can` has another word than read, write, create"))?;
        granted.add(word);
    }
    Ok((pattern, granted))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(claim: &str, value: Value) -> Result<RoomGrants, Refusal> {
        let Value::Object(claims) = json!({ "rooms": value }) else { panic!("not an object") };
        RoomGrants::read(&claims, claim)
    }

    #[test]
    fn grants_that_match_are_added_up() {
        let grants = read(
            "rooms",
            json!([
                { "room": "ops*", "can": ["read"] },
                { "room": "ops-night", "can": ["write", "read"], "note": "others may add fields" },
                { "room": "new-*", "can": ["create"] },
                { "room": "ops", "can": [] },
            ]),
        )
        .unwrap();
        let in_room = |room: &str| {
            let Grant { read, write, create } = grants.in_room(&RoomName::parse(room).unwrap());
            [read, write, create]
        };
        assert_eq!(in_room("ops"), [true, false, false]);
        assert_eq!(in_room("ops-night"), [true, true, false]);
        assert_eq!(in_room("new-team"), [false, false, true]);
        assert_eq!(in_room("lobby"), [false; 3]);
    }

    #[test]
    fn claim_of_another_form_is_refused() {
        for value in [
            json!("ops"),
            json!({ "room": "ops", "can": ["read"] }),
            json!(["ops"]),
            json!([{ "can": ["read"] }]),
            json!([{ "room": 7, "can": ["read"] }]),
            json!([{ "room": "", "can": ["read"] }]),
            json!([{ "room": "ops" }]),
            json!([{ "room": "ops", "can": "read" }]),
            json!([{ "room": "ops", "can": ["Read"] }]),
            json!([{ "room": "ops", "can": [1] }]),
        ] {
            let refusal = read("rooms", value.clone()).unwrap_err();
            assert_eq!(refusal.as_str(), "claims", "{value}");
            // With another name, the claim is another application's.
            for other in ["", "chat_rooms"] {
                assert_eq!(read(other, value.clone()).unwrap(), RoomGrants::default());
            }
        }
        assert_eq!(read("rooms", json!(null)).unwrap(), RoomGrants::default());
        assert_eq!(read("rooms", json!([])).unwrap(), RoomGrants::default());
    }
}
