//! Publishing: the durable commit point.
//!
//! The order is the promise. Ticket; raise the closure (from here on level(blob) ≥ level(name) holds for what will
//! be named); sync what of it is not durable; commit the names; give the ticket back; answer. A crash after any step
//! leaves blobs without a name, or a whole name that nobody was told of, never a name without its blobs.

use std::sync::Arc;

use bytes::Bytes;
use millpond_store::catalog::{Name, NewValue, State, Target, Value};
use millpond_store::{Clock, Level};

use crate::cache::Inner;
use crate::closure::{Subject, Walked};
use crate::{Client, Error, Published, Result};

/// A publish must be through with its walk and its syncs after so many seconds; its ticket holds the waterline.
const PUBLISH_SECONDS_MAX: u32 = 600;

/// Names that commit together, and what they will point to.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    /// Each with what its closure is.
    pub names: Vec<(Name, Subject)>,
    pub target: Target,
    pub references: Bytes,
    pub expires: Option<u64>,
    pub client: Client,
    /// Pushed so late, in Unix seconds; `None` for now.
    pub pushed: Option<u64>,
    /// If blobs are missing: keep it aside until they arrive.
    pub may_wait: bool,
    /// The pending value that this makes whole, if it is one.
    pub promotes: Option<u64>,
}

impl Inner {
    /// Publishes. The steps run in a task of their own: a client that goes away in the middle must not take the
    /// ticket with it while a COMMIT is under way.
    pub(crate) async fn publish(self: &Arc<Self>, publication: Publication) -> Result<Published> {
        let inner = Arc::clone(self);
        let task = tokio::spawn(async move { inner.publish_in_order(publication).await });
        task.await.map_err(Error::internal)?
    }

    async fn publish_in_order(self: Arc<Self>, publication: Publication) -> Result<Published> {
        let ticket = self.gate.ticket();
        let subjects = distinct(&publication.names);
        let walked = self.walk_all(subjects, ticket.time()).await?;
        if !walked.is_whole() {
            return self.not_whole(publication, walked, ticket.time()).await;
        }
        self.blobs.sync(&walked.unsynced).await?;
        if self.clock.now() > ticket.time().plus(PUBLISH_SECONDS_MAX) {
            return Err(Error::Busy("publishing took longer than ten minutes: push the name again".into()));
        }
        let published = self.commit(publication, walked.raised_to, ticket.time(), State::Whole).await?;
        for value in &published {
            value.set_raised(walked.raised_to, walked.epoch);
        }
        drop(ticket);
        self.verify_later(walked.unchecked);
        Ok(Published::Whole)
    }

    /// Something required is missing: kept aside where the client cannot live with a refusal, refused elsewhere.
    async fn not_whole(&self, publication: Publication, walked: Walked, time: Level) -> Result<Published> {
        let first = walked.missing.first().copied();
        let (true, Some(first)) = (publication.may_wait, first) else {
            return Err(Error::Incomplete { missing: walked.missing, count: walked.missing_count });
        };
        let name = publication.names.first().map(|(name, _)| name.text.to_string());
        tracing::warn!(name, missing = walked.missing_count, %first, "a name waits for its blobs");
        self.counters.pending_pushes.add(1);
        self.commit(publication, Level::ZERO, time, State::Pending(first)).await?;
        Ok(Published::Pending)
    }

    async fn commit(
        &self,
        publication: Publication,
        level: Level,
        touched: Level,
        state: State,
    ) -> Result<Vec<Arc<Value>>> {
        let promotes = publication.promotes;
        let mut values = values(publication, level, touched, state);
        match (promotes, values.pop()) {
            (Some(pending), Some(value)) => {
                Ok(self.catalog.promote(pending, value).await?.into_iter().collect())
            }
            (_, last) => {
                values.extend(last);
                Ok(self.catalog.publish(values).await?)
            }
        }
    }

    /// Walks several closures as one, on a thread that may block.
    pub(crate) async fn walk_all(self: &Arc<Self>, subjects: Vec<Subject>, to: Level) -> Result<Walked> {
        let inner = Arc::clone(self);
        let walk = move || {
            let fresh_from = inner.gate.fresh_from();
            let mut subjects = subjects.iter();
            let Some(first) = subjects.next() else { return Err(Error::internal("nothing to walk")) };
            let mut walked = inner.walker.walk(first, to, fresh_from)?;
            for subject in subjects {
                walked.join(inner.walker.walk(subject, to, fresh_from)?);
            }
            Ok(walked)
        };
        tokio::task::spawn_blocking(walk).await.map_err(Error::internal)?
    }

    /// Verifies what a walk had no time for. What is bad becomes missing, and the names that hold it with it.
    pub(crate) fn verify_later(&self, unchecked: Vec<millpond_store::Digest>) {
        if unchecked.is_empty() {
            return;
        }
        let blobs = self.blobs.clone();
        tokio::task::spawn_blocking(move || {
            for digest in unchecked {
                if let Err(error) = blobs.verify(&digest) {
                    tracing::warn!(%digest, %error, "a blob cannot be read back");
                }
            }
        });
    }
}

/// Names that say the same of their value need one walk.
fn distinct(names: &[(Name, Subject)]) -> Vec<Subject> {
    let mut subjects: Vec<Subject> = Vec::new();
    for (_, subject) in names {
        if !subjects.iter().any(|known| known.same_closure(subject)) {
            subjects.push(subject.clone());
        }
    }
    subjects
}

fn values(publication: Publication, level: Level, touched: Level, state: State) -> Vec<NewValue> {
    let pushed = publication.pushed.unwrap_or_else(Clock::unix_seconds);
    let address = publication.client.address.map(|address| address.to_string()).unwrap_or_default();
    let new = |(name, _): (Name, Subject)| NewValue {
        name,
        target: publication.target.clone(),
        references: publication.references.clone(),
        level,
        touched,
        expires: publication.expires,
        pushed,
        pusher: publication.client.identity.as_str().into(),
        address: address.as_str().into(),
        state,
    };
    publication.names.into_iter().map(new).collect()
}

/// The publication that makes a pending value whole, if its blobs are there.
pub(crate) fn promotion(value: &Value, subject: Subject) -> Publication {
    Publication {
        names: vec![(value.name.clone(), subject)],
        target: value.target.clone(),
        references: value.references.clone(),
        expires: value.expires,
        client: Client { identity: value.pusher.to_string(), address: value.address.parse().ok() },
        pushed: Some(value.pushed),
        may_wait: true,
        promotes: Some(value.seq),
    }
}
