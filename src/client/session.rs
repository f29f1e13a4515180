//! The model and its connection, side by side. Owns carrying what happens from one to the other; shows nothing. Called
//! by the line mode and the terminal.

use std::time::{Duration, Instant};

use super::conversation::Line;
use super::link::{Event, Link};
use super::state::{Chat, Effect};
use super::wire::Target;

/// A chat under way.
pub(crate) struct Session {
    pub(crate) chat: Chat,
    link: Link,
    /// Whether a connection ever stood.
    pub(crate) was_connected: bool,
}

/// What is to be shown.
#[derive(Debug)]
pub(crate) enum News {
    /// A line of a conversation, or of none.
    Line(Option<Target>, Line),
    /// The connection stands.
    Connected,
    /// The connection is gone, and for how long.
    Lost(String, Duration),
    /// It makes no sense to go on.
    Stopped(String),
}

impl Session {
    pub(crate) fn new(chat: Chat, link: Link) -> Self {
        Self { chat, link, was_connected: false }
    }

    /// Carries out what the model wants; the news of it. None once there is nothing left to do.
    pub(crate) fn settle(&mut self) -> Option<News> {
        while let Some(effect) = self.chat.next_effect() {
            match effect {
                Effect::Send(frame) => self.link.send(frame),
                Effect::Show(target, line) => return Some(News::Line(target, line)),
                Effect::Stop(why) => return Some(News::Stopped(why)),
                Effect::Restart(wait) => {
                    let event = self.link.restart(wait);
                    return self.happened(event);
                }
            }
        }
        None
    }

    /// Waits until something happens, on the connection or because it is time. Cancel safe. [`Session::settle`] comes
    /// after it.
    pub(crate) async fn next(&mut self) -> Option<News> {
        let now = Instant::now();
        // Who was away for a while may have missed a moment.
        self.chat.tick(now);
        if self.chat.has_effects() {
            return None;
        }
        // With nothing to wait for, a moment far away does no harm.
        let wake = self.chat.wake(now).unwrap_or(now + Duration::from_secs(3_600));
        tokio::select! {
            // What has arrived comes before the time that has passed meanwhile.
            biased;
            event = self.link.next() => self.happened(event),
            () = tokio::time::sleep_until(wake.into()) => {
                self.chat.tick(Instant::now());
                None
            }
        }
    }

    /// Says goodbye.
    pub(crate) async fn close(self) {
        self.link.close().await;
    }

    fn happened(&mut self, event: Event) -> Option<News> {
        match event {
            Event::Opened => {
                self.was_connected = true;
                self.chat.opened();
                Some(News::Connected)
            }
            Event::Frame(text) => {
                let was_live = self.chat.is_live();
                self.chat.receive(&text, Instant::now());
                if !was_live && self.chat.is_live() {
                    self.link.settled();
                }
                None
            }
            Event::Lost { why, until } => {
                self.chat.lost(&why, until.into());
                Some(News::Lost(why, until.saturating_duration_since(tokio::time::Instant::now())))
            }
            Event::Refused(why) => Some(News::Stopped(why)),
        }
    }
}
