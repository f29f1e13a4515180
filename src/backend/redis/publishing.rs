//! Publishes to logs in Redis. Owns which keys a publish names, and what follows if one call is not enough: for a log with rights, and for
//! two logs on different servers. Called by the broker.

use redis::Value;

use super::broker::RedisBroker;
use super::error::ConnectionRole;
use super::publish_item::{PublishItem, PublishTerms, dedupe_hash};
use super::publish_reply::{HAS_RIGHTS, PublishReply};
use super::router::Published;
use super::slot::Slot;
use crate::backend::body::with_id;
use crate::backend::{BackendError, NewEntry, Publish, Stored};
use crate::protocol::{Epoch, MessageId, Topic};

impl RedisBroker {
    /// A publish to these logs, in one call. While nodes of an earlier version run, links are not counted.
    fn item(
        &self,
        publish: &Publish,
        topics: &[Topic],
        dedupe_key: Option<String>,
        (terms, names_rights): (PublishTerms, bool),
    ) -> PublishItem {
        let entry = match &publish.entry {
            NewEntry::Message(_) => publish.entry.links().is_some() && self.format.has_changes(),
            NewEntry::Change(_) | NewEntry::Rights(_) | NewEntry::Note => true,
        };
        let entry = entry.then(|| Box::new(publish.entry.clone()));
        let has_changes = matches!(entry.as_deref(), Some(NewEntry::Message(_) | NewEntry::Change(_)));
        let mut keys = Vec::with_capacity(4 * topics.len());
        for log in topics.iter().map(|topic| self.keys.log(topic)) {
            keys.extend(log.meta_and_stream());
            if dedupe_key.is_some() {
                keys.extend(log.dedupe());
            }
            if has_changes {
                keys.push(log.changes());
            }
        }
        if names_rights && let Some(topic) = topics.first() {
            let rights = self.keys.log(topic).rights();
            // A note for a user needs none of them, and has as many.
            let members = topic.room().map_or_else(|| rights[0].clone(), |room| self.keys.members(room));
            keys.extend(rights);
            if matches!(publish.entry, NewEntry::Rights(_) | NewEntry::Note) {
                keys.push(members);
            }
        }
        let log = |topic: &Topic| (self.keys.channel_on_server(topic), Epoch::generate().to_string());
        PublishItem {
            slot: Slot::number(0),
            keys,
            dedupe: dedupe_key.map(|key| (dedupe_hash(&key), key)),
            message_id: publish.message_id.to_string(),
            sent_at: publish.sent_at,
            terms,
            is_first_of_two: topics.len() < publish.topics.len(),
            body: publish.body.clone(),
            logs: topics.iter().map(log).collect(),
            entry,
            asker: names_rights.then(|| publish.asker.clone()),
        }
    }

    /// Publishes to the logs of these topics. `None` if the first has rights, and the item does not name their keys: nothing was stored.
    async fn publish_item(
        &self,
        item: PublishItem,
        topics: &[Topic],
    ) -> Result<Option<PublishReply>, BackendError> {
        let target: Option<MessageId> =
            item.entry.as_deref().and_then(NewEntry::change).map(|change| change.target);
        let sent_at = item.sent_at;
        let Published { reply, source, deadline } = self.router.publish(item).await?;
        if matches!(&reply, Value::BulkString(text) if text == HAS_RIGHTS) {
            return Ok(None);
        }
        let reply = PublishReply::parse(reply, target, sent_at)
            .ok_or_else(|| ConnectionRole::Command.malformed_reply())??;
        if let (Some(source), Some(topic), false) = (source, topics.last(), reply.stored.is_unchanged) {
            self.repeat_at(&source, topic, &reply.stored.position, deadline).await;
        }
        Ok(Some(reply))
    }

    /// Publishes to one log, or to two of one server.
    pub(super) async fn publish_once(
        &self,
        publish: &Publish,
        terms: PublishTerms,
    ) -> Result<Stored, BackendError> {
        let reply =
            self.publish_with_rights(publish, &publish.topics, publish.dedupe_key.as_ref(), terms).await;
        reply.map(|reply| reply.stored)
    }

    /// Publishes to these logs in one call, or in two if the first one has rights of which this node did not know.
    async fn publish_with_rights(
        &self,
        publish: &Publish,
        topics: &[Topic],
        dedupe_key: Option<&String>,
        terms: PublishTerms,
    ) -> Result<PublishReply, BackendError> {
        let is_of_rights = matches!(publish.entry, NewEntry::Rights(_) | NewEntry::Note);
        let first = topics.first();
        let mut names_rights = is_of_rights || first.is_some_and(|topic| self.with_rights.has(topic));
        loop {
            let item = self.item(publish, topics, dedupe_key.cloned(), (terms, names_rights));
            match (self.publish_item(item, topics).await?, first) {
                (Some(reply), _) => return Ok(reply),
                (None, Some(first)) if !names_rights => self.with_rights.insert(first),
                (None, _) => return Err(ConnectionRole::Command.malformed_reply()),
            }
            names_rights = true;
        }
    }

    /// Publishes to two logs of a cluster, which may be on different servers, in two calls. The first one decides whether the message
    /// is stored, and its id. If the second one fails, the outcome is unknown, and a repeat completes it: the other way round, the
    /// sender's log could have a message that its target never gets.
    pub(super) async fn publish_twice(
        &self,
        mut publish: Publish,
        terms: PublishTerms,
    ) -> Result<Stored, BackendError> {
        let key = publish.dedupe_key.take();
        let first = self.publish_with_rights(&publish, &publish.topics[..1], key.as_ref(), terms).await?;
        if first.stored.is_unchanged {
            return Ok(first.stored);
        }
        let given_id = publish.message_id;
        publish.message_id = first.stored.position.message_id;
        publish.sent_at = first.stored.sent_at;
        publish.body = match first.body {
            Some(body) => body,
            // The entry is trimmed already: the message as it is repeated, but with the id that it has.
            None => with_id(publish.body, given_id, publish.message_id),
        };
        publish.topics.remove(0);
        let second = self.item(&publish, &publish.topics, key, (PublishTerms::Second, false));
        let second = self.publish_item(second, &publish.topics).await;
        let malformed = || ConnectionRole::Command.malformed_reply();
        let second = second.and_then(|reply| reply.ok_or_else(malformed));
        let PublishReply { stored, .. } = second.map_err(|error| match error {
            BackendError::Unknown(_) | BackendError::Corrupt(_) | BackendError::Change(_) => error,
            error => BackendError::Unknown(format!("only the log of the target has the message: {error}")),
        })?;
        Ok(Stored {
            duplicate: first.stored.duplicate && stored.duplicate,
            logs_begun: first.stored.logs_begun + stored.logs_begun,
            ..stored
        })
    }
}
