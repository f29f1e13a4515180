//! The way in which the nodes of one Redis Cluster publish. Owns the two ways, and the key in which the nodes note theirs: a channel
//! of one kind is another channel than one of the other kind, even with the same name. Checked by `connect`.

use std::time::Duration;

use super::router::Router;
use super::server::Lane;
use crate::backend::BackendError;

/// How long the note outlives the last node.
const NOTE_TTL: Duration = Duration::from_secs(60);

/// Interval between two renewals of the note.
const INTERVAL: Duration = Duration::from_secs(10);

/// How messages reach the other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PubSubWay {
    /// Every server gets every message.
    Broadcast,
    /// Only the servers of the slot get it.
    Sharded,
}

impl PubSubWay {
    /// Its value in the settings.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast",
            Self::Sharded => "sharded",
        }
    }

    /// The command that publishes to the channels of topics.
    pub(super) fn publish_command(self) -> &'static str {
        match self {
            Self::Broadcast => "PUBLISH",
            Self::Sharded => "SPUBLISH",
        }
    }
}

/// Keeps the note.
pub(super) struct PubSubAgreement {
    router: Router,
    key: String,
    way: PubSubWay,
}

impl PubSubAgreement {
    /// The note under this key.
    pub(super) fn new(router: Router, key: String, way: PubSubWay) -> Self {
        Self { router, key, way }
    }

    /// Writes or renews the note. The inner error is what other nodes have noted, if it differs.
    pub(super) async fn check(&self) -> Result<Result<(), String>, BackendError> {
        let mut set = redis::cmd("SET");
        let ttl = NOTE_TTL.as_millis() as u64;
        set.arg(&self.key).arg(self.way.name()).arg("NX").arg("GET").arg("PX").arg(ttl);
        let noted: Option<String> = self.router.command((Lane::Long, &self.key), &set).await?;
        if let Some(noted) = noted.filter(|noted| noted != self.way.name()) {
            return Ok(Err(noted));
        }
        let mut extend = redis::cmd("PEXPIRE");
        extend.arg(&self.key).arg(ttl);
        self.router.command::<()>((Lane::Long, &self.key), &extend).await?;
        Ok(Ok(()))
    }

    /// Renews the note without end. If the store answers only now, and other nodes differ, it returns what they have noted.
    pub(super) async fn keep(self) -> String {
        loop {
            match self.check().await {
                Ok(Ok(())) => {}
                Ok(Err(others)) => return others,
                Err(error) => tracing::debug!(%error, "the way of publishing could not be noted"),
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
