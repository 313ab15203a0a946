//! Publishing: the durable commit point.
//!
//! The order is the promise. Ticket; raise the closure (from here on level(blob) ≥ level(name) holds for what will
//! be named); sync what of it is not durable; commit the names; give the ticket back; answer. A crash after any step
//! leaves blobs without a name, or a whole name that nobody was told of, never a name without its blobs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use millpond_store::catalog::{NewValue, State, Target, Value};
use millpond_store::{Held, Level, now_and_then};

use crate::access::Allowed;
use crate::cache::Inner;
use crate::closure::{Subject, Walked};
use crate::overwrite::Decided;
use crate::walks::Turn;
use crate::{Client, Error, Published, Result};

/// What names may take of the limit, in percent.
const NAMES_PERCENT_MAX: u64 = 15;
/// About what a row takes beside its content and references, in bytes.
const ROW_BYTES: usize = 600;
/// A publish must be through with its walk and its syncs after so many seconds; its ticket holds the waterline.
const PUBLISH_SECONDS_MAX: u32 = 600;

/// Names that commit together, and what they will point to.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    /// Each with what its closure is.
    pub names: Vec<(Allowed, Subject)>,
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
    /// It takes the place of the value with this number only, or of none; where another was put in force since, that stays.
    /// Without it, the rules alone decide.
    pub in_place_of: Option<Option<u64>>,
}

impl Inner {
    /// Publishes. The steps run in a task of their own: a client that goes away in the middle must not take the
    /// ticket with it while a COMMIT is under way.
    pub(crate) async fn publish(self: &Arc<Self>, publication: Publication) -> Result<Published> {
        let inner = Arc::clone(self);
        let task = tokio::spawn(async move { inner.publish_or_live_without(publication).await });
        task.await.map_err(Error::internal)?
    }

    /// BuildStream 2 has its build stopped by any refusal here, and its uploads were refused before for the same
    /// reason: without room, or with a disk that failed, such a push is answered as one that waits for its blobs.
    async fn publish_or_live_without(self: Arc<Self>, publication: Publication) -> Result<Published> {
        let refusable = !publication.may_wait || publication.promotes.is_some();
        let name = publication.names.first().map(|(name, _)| name.text.to_string());
        match self.clone().publish_in_order(publication).await {
            Err(
                error @ (Error::NoSpace { .. }
                | Error::FullOfKept { .. }
                | Error::TooLarge { .. }
                | Error::Poisoned),
            ) if !refusable => {
                now_and_then!(warn, name, %error, "a name was not taken in");
                self.counters.pending_pushes.add(1);
                Ok(Published::Pending)
            }
            outcome => outcome,
        }
    }

    async fn publish_in_order(self: Arc<Self>, publication: Publication) -> Result<Published> {
        let mut ticket = self.gate.ticket()?;
        let subjects = distinct(&publication.names);
        let kept_until = self.kept_until(&publication).await;
        let highest = kept_until.iter().copied().max().unwrap_or(Level::ZERO);
        let to = highest.max(ticket.time());
        let at_once = self.walker.walk_at_once(&subjects, to, self.fresh_from(to))?;
        let mut walked = match at_once {
            Some(walked) => walked,
            None => self.walk_all(self.walks.turn().await?, subjects.clone(), to).await?,
        };
        // What an earlier walk raised lies below this ticket, and may have been let go since it was looked at.
        if walked.is_whole() && !ticket.hold(walked.raised_to, || self.blobs.waterline()) {
            walked = self.walk_all(self.walks.turn().await?, subjects, to).await?;
            if walked.is_whole() && !ticket.hold(walked.raised_to, || self.blobs.waterline()) {
                return Err(Error::Busy("what this name needs is being let go: push it again".into()));
            }
        }
        if !walked.is_whole() {
            return self.not_whole(publication, walked, ticket.time()).await;
        }
        self.blobs.sync(&walked.unsynced).await?;
        if self.clock.now() > ticket.time().plus(PUBLISH_SECONDS_MAX) {
            return Err(Error::Busy("publishing took longer than ten minutes: push the name again".into()));
        }
        let of_name = |until: &Level| walked.raised_to.min(ticket.time().max(*until));
        let levels = kept_until.iter().map(of_name).collect();
        let decided = self.commit(publication, levels, ticket.time(), State::Whole).await?;
        for value in &decided.published {
            // What is kept is used all the same, and its look-ups are to be noted.
            value.set_raised(walked.raised_to.min(ticket.time()), walked.epoch);
        }
        drop(ticket);
        self.verifier.verify_later(walked.unchecked);
        Ok(if decided.kept > 0 { Published::Kept } else { Published::Whole })
    }

    /// Something required is missing: kept aside where the client cannot live with a refusal, refused elsewhere.
    async fn not_whole(
        self: &Arc<Self>,
        publication: Publication,
        walked: Walked,
        time: Level,
    ) -> Result<Published> {
        let first = walked.missing.first().copied();
        let (true, Some(first)) = (publication.may_wait, first) else {
            return Err(Error::Incomplete { missing: walked.missing, count: walked.missing_count });
        };
        let name = publication.names.first().map(|(name, _)| name.text.to_string());
        now_and_then!(warn, name, missing = walked.missing_count, %first, "a name waits for its blobs");
        if publication.promotes.is_none() {
            self.counters.pending_pushes.add(1);
        }
        self.commit(publication, Vec::new(), time, State::Pending(first)).await?;
        Ok(Published::Pending)
    }

    async fn commit(
        self: &Arc<Self>,
        publication: Publication,
        levels: Vec<Level>,
        touched: Level,
        state: State,
    ) -> Result<Decided> {
        self.claim_room_for_rows(&publication)?;
        let Publication { promotes, in_place_of, .. } = publication;
        let mut values = values(publication, self.clock.wall(), levels, touched, state);
        match (promotes, values.pop()) {
            (Some(pending), Some(value)) => self.promote_in_force(pending, value).await,
            (_, last) => {
                values.extend(last);
                self.put_in_force(values, in_place_of).await
            }
        }
    }

    /// Names may take a share of the limit only. What they take is measured now and then; until the next time each
    /// counts for what it will take in database, log and journal.
    fn claim_room_for_rows(&self, publication: &Publication) -> Result<()> {
        self.claim_room(&publication.target, &publication.references, publication.names.len())
    }

    /// The same for one value.
    pub(crate) fn claim_room_for(&self, value: &NewValue) -> Result<()> {
        self.claim_room(&value.target, &value.references, 1)
    }

    fn claim_room(&self, target: &Target, references: &Bytes, names: usize) -> Result<()> {
        let content = if let Target::Inline(content) = target { content.len() } else { 0 };
        let row = content + references.len() + ROW_BYTES;
        let bytes = (row * names * 3) as u64;
        let limit = self.limit_bytes.load(Ordering::Relaxed) / 100 * NAMES_PERCENT_MAX;
        let used = self.names_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used > limit {
            return Err(Error::NoSpace { held: Held::Names, used, limit });
        }
        Ok(self.blobs.check_room_for_rows()?)
    }

    /// A tree that was raised to this or later needs no walk to `to`: unless something is to be kept, whatever the
    /// waterline cannot reach for a lease.
    fn fresh_from(&self, to: Level) -> Level {
        if to > self.clock.now() { to } else { self.gate.fresh_from() }
    }

    /// Walks several closures as one, on a thread that may block.
    pub(crate) async fn walk_all(
        self: &Arc<Self>,
        turn: Turn,
        subjects: Vec<Subject>,
        to: Level,
    ) -> Result<Walked> {
        let inner = Arc::clone(self);
        let walk = move || {
            // Until the walk ends, also when nobody waits for it any more.
            let _turn = turn;
            let fresh_from = inner.fresh_from(to);
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
}

/// Names that say the same of their value need one walk.
fn distinct(names: &[(Allowed, Subject)]) -> Vec<Subject> {
    let mut subjects: Vec<Subject> = Vec::new();
    for (_, subject) in names {
        if !subjects.iter().any(|known| known.same_closure(subject)) {
            subjects.push(subject.clone());
        }
    }
    subjects
}

/// The values that names get; one without a level of its own, the lowest.
fn values(
    publication: Publication,
    now: u64,
    levels: Vec<Level>,
    touched: Level,
    state: State,
) -> Vec<NewValue> {
    let pushed = publication.pushed.unwrap_or(now);
    let address = publication.client.address.map(|address| address.to_string()).unwrap_or_default();
    let levels = levels.into_iter().chain(std::iter::repeat(Level::ZERO));
    let new = |((name, _), level): ((Allowed, Subject), Level)| NewValue {
        name: name.into_name(),
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
    publication.names.into_iter().zip(levels).map(new).collect()
}

/// The publication that makes a pending value whole, if its blobs are there.
pub(crate) fn promotion(value: &Value, subject: Subject) -> Publication {
    Publication {
        names: vec![(Allowed::stored(&value.name), subject)],
        target: value.target.clone(),
        references: value.references.clone(),
        expires: value.expires,
        client: Client { identity: value.pusher.to_string(), address: value.address.parse().ok() },
        pushed: Some(value.pushed),
        may_wait: true,
        promotes: Some(value.seq),
        in_place_of: None,
    }
}
