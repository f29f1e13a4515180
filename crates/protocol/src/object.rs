//! JSON objects, read into structs. Owns two rules that serde leaves open: a struct is written as an object, never as an
//! array; and an error names the field. Used for every frame that a node reads.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::error::ErrorCode;

/// A struct that was written as a JSON object.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<fn() -> T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// What is wrong with a frame.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
}

impl Fault {
    /// The field is missing or wrong.
    pub(crate) fn invalid(field: &str, why: impl fmt::Display) -> Self {
        Self { code: ErrorCode::InvalidMessage, message: format!("`{field}` {why}") }
    }
}

/// Reads a JSON object. `what` names it in errors.
pub(crate) fn read<'de, T: Deserialize<'de>>(text: &'de str, what: &str) -> Result<T, Fault> {
    match serde_json::from_str::<Object<T>>(text) {
        Ok(Object(value)) => Ok(value),
        Err(error) => Err(explain::<T>(text, what, error)),
    }
}

/// Reads once more, now with the path to each field: that costs too much for what is mostly right.
fn explain<'de, T: Deserialize<'de>>(text: &'de str, what: &str, error: serde_json::Error) -> Fault {
    let not_json = |what: &str, error: serde_json::Error| {
        let message = format!("{what} is not JSON: {error}");
        Fault { code: ErrorCode::InvalidJson, message }
    };
    // Syntax comes first, the keys' included, whatever the fields hold.
    let syntax = serde_json::from_str::<IgnoredAny>(text).err();
    let keys = serde_json::from_str::<HashMap<String, IgnoredAny>>(text).err();
    if let Some(error) = syntax.or(keys.filter(|error| !error.is_data())) {
        return not_json(what, error);
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let (path, error) = match serde_path_to_error::deserialize::<_, Object<T>>(&mut json) {
        Err(error) => (error.path().to_string(), error.into_inner()),
        Ok(_) => return not_json(what, error),
    };
    // A key that can't be read has no name.
    if let Some(parent) = path.strip_suffix(".?") {
        return not_json(&format!("`{parent}`"), error);
    }
    let is_root = path == ".";
    let join = |field: &str| if is_root { field.to_owned() } else { format!("{path}.{field}") };
    // What serde says, without the place; the deserializers of this crate phrase the rest.
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = error.to_string();
    let text = text.strip_suffix(&place).unwrap_or(&text);
    let quoted = |start: &str| text.strip_prefix(start)?.split_once('`');
    if let Some((field, _)) = quoted("missing field `") {
        return Fault::invalid(&join(field), "is missing");
    }
    if let Some((field, _)) = quoted("duplicate field `") {
        return Fault::invalid(&join(field), "is given twice");
    }
    // A check of several fields names the one to mend.
    if let Some((field, why)) = quoted("`") {
        return Fault::invalid(&join(field), why.trim_start());
    }
    let shown = if is_root { what.to_owned() } else { format!("`{path}`") };
    let why = match text.rsplit_once(", expected ") {
        Some(("invalid type: null", _)) if !is_root => "is missing".to_owned(),
        Some((_, expected)) => format!("must be {expected}"),
        None if error.is_data() => text.to_owned(),
        None => format!("is not valid: {text}"),
    };
    Fault { code: ErrorCode::InvalidMessage, message: format!("{shown} {why}") }
}
