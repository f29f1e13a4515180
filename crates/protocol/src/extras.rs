//! What a message may say beside its text: what it answers, whom it mentions, what is attached. Owns these fields with
//! their bounds; whether a message that they name exists is the clients' business. Part of the requests that publish, of
//! stored messages and of their events.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::id::MessageId;
use crate::name::UserName;
use crate::number;

/// The most names in `mentions`.
pub const MAX_MENTIONS: usize = 20;

/// The most entries of `attachments`.
pub const MAX_ATTACHMENTS: usize = 10;

/// The most bytes of `attachments`, as JSON.
pub const MAX_ATTACHMENTS_BYTES: usize = 8 << 10;

/// The most bytes of `data`, as it was sent.
pub const MAX_DATA_BYTES: usize = 4 << 10;

/// The most bytes of an attachment's `url`.
const MAX_URL_BYTES: usize = 2_048;

/// The most characters of an attachment's `name` and `mime`.
const MAX_LABEL_CHARS: usize = 255;

/// How deep objects and lists in `data` may be nested: parsers of clients have limits of their own.
const MAX_DATA_DEPTH: usize = 32;

/// What a message says beside its text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Extras {
    /// The message that this one answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// The first message of the thread that this one belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<MessageId>,
    /// The users that are mentioned. A node never looks for names in the text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<UserName>,
    /// What is attached. A node never fetches an address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// An object of the application's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
}

impl Extras {
    /// The fields that take most bytes as JSON: each with its name.
    pub fn sizes(&self) -> [(&'static str, usize); 3] {
        fn json_bytes<T: Serialize>(value: &[T]) -> usize {
            if value.is_empty() { 0 } else { serde_json::to_vec(value).map_or(0, |json| json.len()) }
        }
        [
            ("mentions", json_bytes(&self.mentions)),
            ("attachments", json_bytes(&self.attachments)),
            ("data", self.data.as_ref().map_or(0, |data| data.get().len())),
        ]
    }
}

/// A file or a picture elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Attachment {
    /// Where it is.
    #[serde(deserialize_with = "url")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = MAX_URL_BYTES)))]
    pub url: String,
    /// How people call it.
    #[serde(deserialize_with = "label")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = MAX_LABEL_CHARS)))]
    pub name: String,
    /// Its media type, such as `image/png`.
    #[serde(deserialize_with = "label")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = MAX_LABEL_CHARS)))]
    pub mime: String,
    /// Its size.
    pub bytes: u64,
    /// Of a picture, in pixels.
    #[serde(default, deserialize_with = "pixels", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 65_535)))]
    pub width: Option<u32>,
    /// Of a picture, in pixels.
    #[serde(default, deserialize_with = "pixels", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 65_535)))]
    pub height: Option<u32>,
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let url = String::deserialize(deserializer)?;
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic());
    if url.is_empty() || url.len() > MAX_URL_BYTES || !is_plain {
        let message =
            format!("must have 1 to {MAX_URL_BYTES} ASCII characters and no spaces: percent-encode others");
        return Err(D::Error::custom(message));
    }
    Ok(url)
}

fn label<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let label = String::deserialize(deserializer)?;
    let count = label.chars().take(MAX_LABEL_CHARS + 1).count();
    if count == 0 || count > MAX_LABEL_CHARS || label.chars().any(char::is_control) {
        let message = format!("must have 1 to {MAX_LABEL_CHARS} characters and no control characters");
        return Err(D::Error::custom(message));
    }
    Ok(label)
}

fn pixels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    Ok(number::read_optional(deserializer, 1, 65_535)?.map(|pixels| pixels as u32))
}

/// A JSON object of the application's own, as it was sent: a node reads nothing in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Data(Box<RawValue>);

impl Data {
    /// Takes the text of a JSON object.
    ///
    /// # Errors
    /// Says what is wrong: it is no object, too long, or nested too deep.
    pub fn new(text: String) -> Result<Self, String> {
        let value = RawValue::from_string(text).map_err(|error| format!("is not JSON: {error}"))?;
        Self::check(&value)?;
        Ok(Self(value))
    }

    /// The text of the object.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    fn check(value: &RawValue) -> Result<(), String> {
        let text = value.get();
        if !text.starts_with('{') {
            return Err("must be a JSON object".into());
        }
        if text.len() > MAX_DATA_BYTES {
            return Err(format!("has {} bytes; the limit is {MAX_DATA_BYTES}", text.len()));
        }
        if depth(text) > MAX_DATA_DEPTH {
            return Err(format!("is nested deeper than {MAX_DATA_DEPTH} levels"));
        }
        Ok(())
    }
}

/// How deep objects and lists are nested in a valid JSON text.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut is_escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
    }
    deepest
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Data {}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Data {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Data".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "object", "description": "An object of the application's own." })
    }
}

/// Reads the id of a message that a field names. `null` is `None`.
///
/// # Errors
/// It is no UUID.
pub fn message_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<MessageId>, D::Error> {
    let id = Option::<MessageId>::deserialize(deserializer)?;
    match id {
        Some(id) if id.is_none() => Err(D::Error::custom("must be the UUID of a message")),
        id => Ok(id),
    }
}

/// Reads the id of a message that a request is about.
pub(crate) fn required_message_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MessageId, D::Error> {
    let id = MessageId::deserialize(deserializer)?;
    if id.is_none() { Err(D::Error::custom("must be the UUID of a message")) } else { Ok(id) }
}

/// Reads `mentions`. `null` is an empty list.
///
/// # Errors
/// A name is not valid, or there are too many.
pub fn mentions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<UserName>, D::Error> {
    let mut mentions = Option::<Vec<UserName>>::deserialize(deserializer)?.unwrap_or_default();
    if mentions.len() > MAX_MENTIONS {
        return Err(D::Error::custom(format!("has {} names; the limit is {MAX_MENTIONS}", mentions.len())));
    }
    let mut seen = std::collections::HashSet::new();
    mentions.retain(|name| seen.insert(name.clone()));
    Ok(mentions)
}

/// Reads `attachments`. `null` is an empty list.
///
/// # Errors
/// One is not valid, or there are too many, or they take too many bytes.
pub fn attachments<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Attachment>, D::Error> {
    let attachments = Option::<Vec<Attachment>>::deserialize(deserializer)?.unwrap_or_default();
    if attachments.len() > MAX_ATTACHMENTS {
        let message = format!("has {} entries; the limit is {MAX_ATTACHMENTS}", attachments.len());
        return Err(D::Error::custom(message));
    }
    let bytes = if attachments.is_empty() {
        0
    } else {
        serde_json::to_vec(&attachments).map_or(0, |json| json.len())
    };
    if bytes > MAX_ATTACHMENTS_BYTES {
        return Err(D::Error::custom(format!("takes {bytes} bytes; the limit is {MAX_ATTACHMENTS_BYTES}")));
    }
    Ok(attachments)
}

/// Reads `data`. `null` is `None`.
///
/// # Errors
/// It is no object, too long, or nested too deep.
pub fn data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Data>, D::Error> {
    let Some(data) = Option::<Data>::deserialize(deserializer)? else { return Ok(None) };
    Data::check(&data.0).map_err(D::Error::custom)?;
    Ok(Some(data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::GroupChat;
    use crate::{AnyRequest, ClientMessage, ErrorCode};

    fn decode(fields: &str) -> Result<GroupChat, (ErrorCode, String)> {
        let frame = format!(
            r#"{{"message_type":"GroupChat","message_body":{{"sender_username":"ann","content":"x",{fields}}}}}"#
        );
        match ClientMessage::decode(&frame, 100) {
            Ok(ClientMessage { request: AnyRequest::GroupChat(request), .. }) => Ok(request),
            Ok(other) => panic!("{other:?}"),
            Err(rejected) => Err((rejected.code, rejected.message)),
        }
    }

    #[test]
    fn fields_are_read_and_written_alike() {
        let id = "0193a1c2-7d3e-7c51-9a53-2f1f0f6a9b10";
        let fields = format!(
            r#""reply_to":"{id}","thread":"{id}","mentions":["bob","eve","bob"],"attachments":[{{"url":"https://a/b",
            "name":"b","mime":"image/png","bytes":9,"width":1,"height":2}}],"data":{{"n": 18446744073709551616}}"#
        );
        let request = decode(&fields).unwrap();
        let extras = request.clone().take_extras();
        assert_eq!(extras.reply_to, Some(id.parse().unwrap()));
        assert_eq!(extras.mentions.len(), 2);
        assert_eq!(extras.data.as_ref().unwrap().get(), r#"{"n": 18446744073709551616}"#);
        let again = ClientMessage::encode(&request, None, None, None);
        let Ok(ClientMessage { request: AnyRequest::GroupChat(again), .. }) =
            ClientMessage::decode(&again, 100)
        else {
            panic!()
        };
        assert_eq!(again, request);
        let nulls = r#""reply_to":null,"thread":null,"mentions":null,"attachments":null,"data":null"#;
        assert_eq!(decode(nulls).unwrap().take_extras(), Extras::default());
    }

    #[test]
    fn each_wrong_field_is_named() {
        let names = (0..21).map(|i| format!("\"u{i}\"")).collect::<Vec<_>>().join(",");
        let attachment = |url: &str| format!(r#"{{"url":"{url}","name":"n","mime":"m/m","bytes":1}}"#);
        let eleven = vec![attachment("https://a"); 11].join(",");
        let long = vec![attachment(&format!("https://a/{}", "x".repeat(1_500))); 6].join(",");
        for (fields, expected) in [
            (r#""reply_to":"x""#.to_owned(), "`message_body.reply_to` must be the UUID"),
            (r#""reply_to":"""#.into(), "`message_body.reply_to` must be the UUID"),
            (r#""thread":7"#.into(), "`message_body.thread` must be a string"),
            (format!(r#""mentions":[{names}]"#), "`message_body.mentions` has 21 names; the limit is 20"),
            (r#""mentions":["bob",""]"#.into(), "`message_body.mentions[1]` "),
            (r#""mentions":"bob""#.into(), "`message_body.mentions` must be a sequence"),
            (
                format!(r#""attachments":[{eleven}]"#),
                "`message_body.attachments` has 11 entries; the limit is 10",
            ),
            (format!(r#""attachments":[{long}]"#), "`message_body.attachments` takes "),
            (
                format!(r#""attachments":[{}]"#, attachment("a b")),
                "`message_body.attachments[0].url` must have 1 to",
            ),
            (
                r#""attachments":[{"url":"https://a"}]"#.into(),
                "`message_body.attachments[0].name` is missing",
            ),
            (r#""data":[]"#.into(), "`message_body.data` must be a JSON object"),
            (r#""data":"x""#.into(), "`message_body.data` must be a JSON object"),
            (format!(r#""data":{{"x":"{}"}}"#, "x".repeat(4_096)), "`message_body.data` has 4104 bytes"),
            (
                format!(r#""data":{{"x":{}{}}}"#, "[".repeat(32), "]".repeat(32)),
                "`message_body.data` is nested deeper than 32 levels",
            ),
        ] {
            let (code, message) = decode(&fields).unwrap_err();
            assert_eq!(code, ErrorCode::InvalidMessage, "{fields}");
            let expected = expected.replace("message_body.", "");
            assert!(message.starts_with(&expected), "{message} instead of {expected}");
        }
    }

    #[test]
    fn braces_in_strings_are_no_levels() {
        assert_eq!(depth(r#"{"a":"{[\"{","b":[{}]}"#), 3);
        assert!(Data::new(format!(r#"{{"x":"{}"}}"#, "{".repeat(100))).is_ok());
    }
}
