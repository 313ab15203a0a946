//! Removing names, and bringing back those that were set aside.
//!
//! What is removed is not served from that moment on. Set aside it is kept as it was, is let go as it would have been, and may
//! come back: then its closure is walked and raised as that of a push is.

use std::collections::VecDeque;
use std::sync::Arc;

use millpond_store::Clock;
use millpond_store::catalog::{By, NewValue, Pages, Promoted, State, Value};

use super::names::{NameEntry, NamesWalk, NamesWanted};
use crate::cache::Inner;
use crate::retention::clocks_agree;
use crate::{Admin, Cache, Error, Permit, Result};

/// How names are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalKind {
    /// Nothing is removed: only told what would be.
    DryRun,
    /// Names that are served are set aside for so many seconds; such as wait for their blobs go for good.
    SetAside(u64),
    /// They go for good, and such as were set aside before with them.
    ForGood,
}

/// Removes names, page by page.
#[derive(Debug)]
pub struct Removal {
    inner: Arc<Inner>,
    walks: VecDeque<NamesWalk>,
    kind: RemovalKind,
    by: By,
}

/// What became of a name that was to come back, and why it did not.
pub type Restored = (NameEntry, Result<()>);

/// Brings names back, page by page.
#[derive(Debug)]
pub struct Restoration {
    inner: Arc<Inner>,
    walk: NamesWalk,
    by: By,
}

/// Who holds a permit.
pub(crate) fn by(permit: &Permit<Admin>) -> By {
    let client = permit.client();
    let address = client.address.map(|address| address.to_string()).unwrap_or_default();
    By { who: client.identity.as_str().into(), address: address.into() }
}

impl Removal {
    /// Removes the next names, which may be none, and says which; `None` at the end.
    pub async fn next_page(&mut self) -> Result<Option<Vec<NameEntry>>> {
        while let Some(walk) = self.walks.front_mut() {
            if let Some(values) = walk.next_values().await? {
                return self.remove(values).await.map(Some);
            }
            self.walks.pop_front();
        }
        Ok(None)
    }

    async fn remove(&self, mut values: Vec<Value>) -> Result<Vec<NameEntry>> {
        let until = match self.kind {
            RemovalKind::DryRun => None,
            RemovalKind::SetAside(seconds) => Some(Clock::unix_seconds().saturating_add(seconds)),
            RemovalKind::ForGood => None,
        };
        if self.kind != RemovalKind::DryRun && !values.is_empty() {
            let wanted = values.iter().map(|value| (value.name.clone(), value.seq)).collect();
            let removed = self.inner.catalog.remove_all(wanted, until, Some(self.by.clone())).await?;
            values.retain(|value| removed.contains(&value.seq));
        }
        let removed_until = |value: &Value| until.filter(|_| value.is_whole());
        let entry =
            |value: &Value| NameEntry { removed_until: removed_until(value), ..self.inner.entry_of(value) };
        Ok(values.iter().map(entry).collect())
    }
}

impl Restoration {
    /// Brings the next names back, as far as it goes; `None` at the end.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Restored>>> {
        let Some(values) = self.walk.next_values().await? else { return Ok(None) };
        let mut restored = Vec::with_capacity(values.len());
        for value in values {
            let entry = self.inner.entry_of(&value);
            if self.has_later(&value).await? {
                let sentence =
                    "it was removed more than once: what it pointed to last comes back, and this does not";
                restored.push((entry, Err(Error::Denied(sentence.into()))));
                continue;
            }
            // In a task of its own: whoever goes away must not leave a name without what holds its blobs.
            let restore = Arc::clone(&self.inner).restore_value(value, self.by.clone());
            restored.push((entry, tokio::spawn(restore).await.map_err(Error::internal)?));
        }
        Ok(Some(restored))
    }
}

impl Restoration {
    /// Whether a later value of the same name was set aside, may come back, and is wanted too.
    async fn has_later(&self, value: &Value) -> Result<bool> {
        let now = Clock::unix_seconds();
        let removed = self.inner.catalog.removed_values(&value.name).await?;
        Ok(removed
            .iter()
            .any(|other| other.seq > value.seq && !is_over(other, now) && self.walk.wanted().matches(other)))
    }
}

/// Whether a value was set aside and may not come back any more.
fn is_over(value: &Value, now: u64) -> bool {
    !value.is_earlier() && matches!(value.state, State::Removed { until } if until <= now)
}

impl Inner {
    /// The steps of a publish, for a value that was set aside.
    async fn restore_value(self: Arc<Self>, value: Value, by: By) -> Result<()> {
        if is_over(&value, Clock::unix_seconds()) {
            return Err(Error::Denied("the time in which it could come back is over".into()));
        }
        let mut ticket = self.gate.ticket()?;
        let kept_until = self.kept_from_its_push(&value.name, &value.target, value.pushed).await;
        let turn = self.walks.turn().await?;
        let to = ticket.time().max(kept_until);
        let walked = self.walk_all(turn, vec![self.subject(&value)?], to).await?;
        if !walked.is_whole() {
            return Err(Error::Incomplete { missing: walked.missing, count: walked.missing_count });
        }
        if !ticket.hold(walked.raised_to, || self.blobs.waterline()) {
            return Err(Error::Busy("what this name needs is being let go: restore it again".into()));
        }
        self.blobs.sync(&walked.unsynced).await?;
        let new =
            NewValue { level: walked.raised_to, touched: ticket.time(), ..value.in_state(State::Whole) };
        match self.catalog.restore(value.seq, new, by).await? {
            Promoted::Whole(value) => {
                value.set_raised(walked.raised_to.min(ticket.time()), walked.epoch);
            }
            Promoted::Occupied => {
                let there = self.catalog.look_up(&value.name).await?;
                if there.is_some_and(|there| there.target == value.target) {
                    let sentence = "the name is there already, and points to the same";
                    return Err(Error::Denied(sentence.into()));
                }
                let sentence = "the name points to something else, which was pushed since or came back just now: remove \
                                that first";
                return Err(Error::Denied(sentence.into()));
            }
            Promoted::Gone => return Err(Error::NotFound(value.name.text.to_string())),
        }
        drop(ticket);
        self.verifier.verify_later(walked.unchecked);
        Ok(())
    }

    /// Whether pins keep this earlier value of a name.
    async fn keeps_earlier(&self, value: &Value) -> millpond_store::Result<bool> {
        let revisions = self.pins.now().revisions(&value.name, self.time_of_pins());
        if revisions <= 1 {
            return Ok(false);
        }
        let removed = self.catalog.removed_values(&value.name).await?;
        let later = removed.iter().filter(|other| other.is_earlier() && other.seq > value.seq).count();
        Ok(u32::try_from(later).is_ok_and(|later| later < revisions - 1))
    }

    /// Forgets what was set aside and may not come back any more.
    pub(crate) async fn forget_removed(&self) -> millpond_store::Result<()> {
        if !clocks_agree(&self.clock) {
            // By a wall clock that has gone wrong all of it would be over.
            return Ok(());
        }
        let (mut after, now) = (0, Clock::unix_seconds());
        while let Some(page) = self.catalog.page_after(after, Pages::Removed).await? {
            after = page.next;
            let mut over = Vec::new();
            for value in page.values {
                if is_over(&value, now) || value.is_earlier() && !self.keeps_earlier(&value).await? {
                    over.push((value.name.clone(), value.seq));
                }
            }
            if !over.is_empty() {
                self.catalog.remove_all(over, None, None).await?;
            }
        }
        Ok(())
    }
}

impl Cache {
    /// Removes the names that are wanted.
    pub fn remove_names(&self, permit: &Permit<Admin>, wanted: &NamesWanted, kind: RemovalKind) -> Removal {
        let walk = |removed| self.names(permit, NamesWanted { removed, ..wanted.clone() }, usize::MAX);
        let walks = match kind {
            RemovalKind::ForGood => VecDeque::from([walk(false), walk(true)]),
            RemovalKind::DryRun | RemovalKind::SetAside(_) => VecDeque::from([walk(false)]),
        };
        Removal { inner: Arc::clone(&self.inner), walks, kind, by: by(permit) }
    }

    /// Brings the names that are wanted back, of those that were set aside.
    pub fn restore_names(&self, permit: &Permit<Admin>, wanted: NamesWanted) -> Restoration {
        let walk = self.names(permit, NamesWanted { removed: true, ..wanted }, usize::MAX);
        Restoration { inner: Arc::clone(&self.inner), walk, by: by(permit) }
    }
}
