//! A program that uses the client. Owns reading its events with a deadline.

use std::net::SocketAddr;

use chatnode_client::{Client, ConnectOptions, Event, Events, Message, RoomName, Topic, UserName};

use crate::support::client::PATIENCE;

pub fn options(address: SocketAddr, user: &str) -> ConnectOptions {
    ConnectOptions::new(format!("ws://{address}/ws")).user(user)
}

pub async fn connect(address: SocketAddr, user: &str) -> (Client, Events) {
    options(address, user).connect().await.unwrap()
}

/// The next event that fits. Skips all events before it.
pub async fn until<T>(events: &mut Events, what: &str, fits: impl Fn(&Event) -> Option<T>) -> T {
    let waiting = async {
        loop {
            let event = events.next().await.unwrap_or_else(|| panic!("the events ended before {what}"));
            if let Some(found) = fits(&event) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// The next event about messages and rooms. Skips those about the connection and about other users.
pub async fn next(events: &mut Events) -> Event {
    until(events, "an event", |event| {
        let is_other = matches!(
            event,
            Event::Connected { .. } | Event::Disconnected { .. } | Event::Entered { .. } | Event::Left { .. }
        );
        (!is_other).then(|| event.clone())
    })
    .await
}

pub async fn message(events: &mut Events) -> Message {
    match next(events).await {
        Event::Message(message) => message,
        other => panic!("not a message: {other:?}"),
    }
}

pub async fn content(events: &mut Events) -> String {
    message(events).await.content
}

/// Waits for a future that must not wait for anything else.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it does not resolve")
}

pub fn room(name: &str) -> Topic {
    Topic::Room(RoomName::parse(name).unwrap())
}

pub fn user(name: &str) -> Topic {
    Topic::User(UserName::parse(name).unwrap())
}
