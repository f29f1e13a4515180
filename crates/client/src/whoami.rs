//! Whose a token is. Owns the one question and its deadline; keeps nothing of the connection. Called by `chatnode chat`
//! where a token is all that it was given.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use crate::address::Address;
use crate::link::{Event, Link};
use crate::text::harmless;
use crate::wire::Frame;
use chatnode_protocol::UserName;

/// For the connection and the answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Asks the node at this address, over a connection of its own that is closed again. The error is for a person.
pub async fn whoami(address: &Address) -> Result<UserName, String> {
    let mut link = Link::new(address.clone());
    let answer = timeout(DEADLINE, ask(&mut link)).await;
    link.close().await;
    answer.unwrap_or_else(|_| Err("the node does not say whose the token is".into()))
}

async fn ask(link: &mut Link) -> Result<UserName, String> {
    loop {
        match link.next().await {
            Event::Opened => {
                link.send(json!({ "message_type": "Ping", "message_body": {}, "id": "owner" }).to_string());
            }
            Event::Frame(text) => match Frame::read(&text) {
                Some(Frame::Ack { body, .. }) => {
                    let name = body["sender_username"].as_str().and_then(|name| UserName::parse(name).ok());
                    return name.ok_or("the node asks for no token: give --name".into());
                }
                Some(Frame::Error { fault, .. }) => return Err(harmless(&fault.message)),
                _ => {}
            },
            Event::Lost { why, .. } | Event::Refused(why) => return Err(why),
        }
    }
}
