//! Names as an operator looks for them: page by page through the whole catalog, which is never in memory as a whole.
//!
//! Looking is no use: what is listed is neither raised nor kept.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use millpond_store::catalog::{NameKind, Pages, State, Target, Value};
use millpond_store::{Digest, Level};

use crate::cache::Inner;
use crate::closure::Contents;
use crate::name::{UriForm, short};
use crate::retention::Described;
use crate::{Admin, AssetKind, Cache, Error, Pattern, Permit, Pin, Result};

/// The most names that are put into an order, since all of them are in memory then.
pub const SORTED_MAX: usize = 10_000;

/// What a name is of, to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sort {
    /// An artifact of either BuildStream.
    Artifact,
    /// Sources of BuildStream 2.
    Source,
    /// Any other asset.
    Asset,
    /// The result of an action.
    ActionResult,
}

impl Sort {
    /// Of this value.
    pub(crate) fn of(value: &Value) -> Self {
        let kind = match value.name.kind {
            NameKind::ActionResult => return Self::ActionResult,
            NameKind::AssetBlob => AssetKind::Blob,
            NameKind::AssetDirectory => AssetKind::Directory,
        };
        match UriForm::of(kind, &value.name.text) {
            UriForm::Artifact => Self::Artifact,
            UriForm::Source | UriForm::SourceTree => Self::Source,
            UriForm::Other if short(&value.name).starts_with("artifact:") => Self::Artifact,
            UriForm::Other => Self::Asset,
        }
    }
}

/// Which names are meant: those that fit all that is given.
#[derive(Clone, Debug, Default)]
pub struct NamesWanted {
    /// Like this, as the names of a [`Grant`](crate::Grant), or with a whole URI like this.
    pub pattern: Option<Pattern>,
    /// Of this instance.
    pub instance: Option<String>,
    /// Of this sort.
    pub sort: Option<Sort>,
    /// Artifacts of this project.
    pub project: Option<String>,
    /// Pushed by those whose names are like this.
    pub pushed_by: Option<Pattern>,
    /// Pushed from then on, in Unix seconds.
    pub since: Option<u64>,
    /// Pushed before then, in Unix seconds.
    pub until: Option<u64>,
    /// Those that were removed and may come back, instead of those that are there.
    pub removed: bool,
}

/// The project of an artifact, by its short name.
pub(crate) fn project(short_name: &str) -> Option<&str> {
    short_name.strip_prefix("artifact:")?.split('/').next()
}

impl NamesWanted {
    /// Whether this value is meant.
    pub(crate) fn matches(&self, value: &Value) -> bool {
        let name = short(&value.name);
        self.pattern
            .as_ref()
            .is_none_or(|pattern| pattern.matches(&name) || pattern.matches(&value.name.text))
            && self.instance.as_ref().is_none_or(|instance| **instance == *value.name.instance)
            && self.sort.is_none_or(|sort| sort == Sort::of(value))
            && self.project.as_ref().is_none_or(|wanted| project(&name) == Some(wanted))
            && self.pushed_by.as_ref().is_none_or(|pattern| pattern.matches(&value.pusher))
            && self.since.is_none_or(|since| value.pushed >= since)
            && self.until.is_none_or(|until| value.pushed < until)
    }
}

/// In which order names are wanted; each begins with the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamesOrder {
    /// The largest closures first.
    Size,
    /// What was used last first.
    Used,
    /// What was pushed last first.
    Pushed,
}

/// What the catalog says of a name. Times are Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameEntry {
    /// The instance that it belongs to.
    pub instance: String,
    /// The name as grants and people have it.
    pub name: String,
    /// The whole URI, or the action.
    pub uri: String,
    /// Its qualifiers in their canonical spelling.
    pub qualifiers: String,
    /// What it is of.
    pub sort: Sort,
    /// What it points to.
    pub digest: Digest,
    /// When it was pushed.
    pub pushed: u64,
    /// By whom; empty if unknown.
    pub pusher: String,
    /// Where from; empty if unknown.
    pub address: String,
    /// When it was last used; pushing is a use.
    pub used: u64,
    /// When its client wants it to end.
    pub expires: Option<u64>,
    /// It is served; else it waits for its blobs, or was removed.
    pub whole: bool,
    /// It was removed, and may come back until this time.
    pub removed_until: Option<u64>,
    /// The bytes of all that it reaches, where that was asked for.
    pub bytes: Option<u64>,
    /// A pin holds that it is like.
    pub pinned: bool,
}

/// All that is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameDetails {
    /// What the catalog says.
    pub entry: NameEntry,
    /// It was let go, and its row is not yet gone.
    pub let_go: bool,
    /// Before this time it is not let go, in Unix seconds, as leases are now; `None` if it is kept for ever.
    pub stays_until: Option<u64>,
    /// Blobs of its closure that are there.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first few that are missing of what it takes to be served.
    pub missing: Vec<Digest>,
    /// How many are known to be missing.
    pub missing_count: u64,
    /// The pins that it is pinned by.
    pub pins: Vec<Pin>,
    /// The rule of retention that counts for it, with its number from 1 on.
    pub rule: Option<String>,
}

impl Inner {
    /// What the catalog says of a value.
    pub(crate) fn entry_of(&self, value: &Value) -> NameEntry {
        let digest = match &value.target {
            Target::Blob(digest) | Target::Directory(digest) => *digest,
            Target::Inline(content) => Digest::of(content),
        };
        NameEntry {
            instance: value.name.instance.to_string(),
            name: short(&value.name).into_owned(),
            uri: value.name.text.to_string(),
            qualifiers: value.name.qualifiers.to_string(),
            sort: Sort::of(value),
            digest,
            pushed: value.pushed,
            pusher: value.pusher.to_string(),
            address: value.address.to_string(),
            used: self.used(value),
            expires: value.expires,
            whole: value.state == State::Whole,
            removed_until: match value.state {
                State::Removed { until } => Some(until),
                State::Whole | State::Pending(_) => None,
            },
            bytes: None,
            pinned: self.pins.now().of(&value.name, self.time_of_pins()).next().is_some(),
        }
    }

    /// When a value was last used, in Unix seconds. Pushing is a use, by another clock.
    pub(crate) fn used(&self, value: &Value) -> u64 {
        self.last_use(value).to_unix().max(value.pushed)
    }

    /// What the closures of these values hold now.
    async fn contents_of(self: &Arc<Self>, values: Vec<Value>) -> Result<Vec<(Value, Contents)>> {
        let turn = self.walks.turn().await?;
        let inner = Arc::clone(self);
        let look = move || {
            let _turn = turn;
            let contents = |value: Value| {
                let looked = inner.subject(&value).and_then(|subject| inner.walker.inspect(&subject));
                match looked {
                    // What cannot be read as what it should be holds nothing that anybody could reach.
                    Err(Error::Invalid(_)) => Ok((value, Contents::default())),
                    looked => looked.map(|contents| (value, contents)),
                }
            };
            values.into_iter().map(contents).collect()
        };
        tokio::task::spawn_blocking(look).await.map_err(Error::internal)?
    }
}

/// A look through the names that are wanted.
#[derive(Debug)]
pub struct NamesWalk {
    inner: Arc<Inner>,
    wanted: NamesWanted,
    /// Where the next page begins; `None` at the end.
    next: Option<u64>,
    /// How many more may be shown.
    left: usize,
}

impl NamesWalk {
    pub(crate) fn new(inner: &Arc<Inner>, wanted: NamesWanted, limit: usize) -> Self {
        Self { inner: Arc::clone(inner), wanted, next: Some(0), left: limit }
    }

    pub(crate) fn wanted(&self) -> &NamesWanted {
        &self.wanted
    }

    /// The values of the next page that are wanted, which may be none; `None` at the end.
    pub(crate) async fn next_values(&mut self) -> Result<Option<Vec<Value>>> {
        let Some(after) = self.next.filter(|_| self.left > 0) else { return Ok(None) };
        let of = if self.wanted.removed { Pages::Removed } else { Pages::Names };
        let Some(page) = self.inner.catalog.page_after(after, of).await? else {
            self.next = None;
            return Ok(None);
        };
        self.next = Some(page.next);
        let wanted = page.values.into_iter().filter(|value| self.wanted.matches(value));
        let values: Vec<_> = wanted.take(self.left).collect();
        self.left -= values.len();
        Ok(Some(values))
    }

    /// The next names, which may be none; `None` at the end.
    pub async fn next_page(&mut self) -> Result<Option<Vec<NameEntry>>> {
        let values = self.next_values().await?;
        Ok(values.map(|values| values.iter().map(|value| self.inner.entry_of(value)).collect()))
    }

    /// All that is known of the next names.
    pub async fn next_details(&mut self) -> Result<Option<Vec<NameDetails>>> {
        let Some(values) = self.next_values().await? else { return Ok(None) };
        let looked_at = self.inner.contents_of(values).await?.into_iter();
        let inner = Arc::clone(&self.inner);
        let details = move || looked_at.map(|(value, contents)| inner.details_of(&value, contents)).collect();
        Ok(Some(tokio::task::spawn_blocking(details).await.map_err(Error::internal)?))
    }
}

impl Inner {
    /// May read what says how a build ended.
    fn details_of(&self, value: &Value, contents: Contents) -> NameDetails {
        let level = self.gate.level_of(value).max(value.touched());
        let Contents { blobs, bytes, missing, missing_count } = contents;
        let retention = self.retention.now();
        let outcome = self.outcome_of_value(&retention, value).ok().flatten();
        let rule = retention.rule(&Described::of(&value.name), outcome);
        let by_lease = self.gate.stays_until(level).map(Level::to_unix);
        // A rule that ends it does so whatever was promised of the name; its blobs stay for the lease.
        let is_kept = level > self.clock.now();
        let by_rule = rule.and_then(|(_, rule)| rule.let_go_after).filter(|_| !is_kept);
        let by_rule = by_rule.map(|after| value.pushed.saturating_add(after.into()));
        NameDetails {
            entry: self.entry_of(value),
            let_go: self.is_let_go(value),
            stays_until: by_lease.into_iter().chain(by_rule).min(),
            rule: rule.map(|(place, rule)| format!("{}: {rule}", place + 1)),
            blobs,
            bytes,
            missing,
            missing_count,
            pins: self.pins.now().of(&value.name, self.time_of_pins()).cloned().collect(),
        }
    }
}

impl Cache {
    /// Looks through the names that are wanted, as they lie in the catalog, at most so many.
    pub fn names(&self, _permit: &Permit<Admin>, wanted: NamesWanted, limit: usize) -> NamesWalk {
        NamesWalk::new(&self.inner, wanted, limit)
    }

    /// The first `limit` of the names that are wanted in that order. Looks at all of them before it answers; for the order
    /// by size into their closures as well.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `limit` is above [`SORTED_MAX`].
    pub async fn sorted_names(
        &self,
        permit: &Permit<Admin>,
        wanted: NamesWanted,
        order: NamesOrder,
        limit: usize,
    ) -> Result<Vec<NameEntry>> {
        if limit > SORTED_MAX {
            return Err(Error::Invalid(format!("{limit} names in an order: ask for at most {SORTED_MAX}")));
        }
        let mut walk = self.names(permit, wanted, usize::MAX);
        // The least of those kept is the first to go.
        let mut first = BinaryHeap::with_capacity(limit + 1);
        let mut count = 0_u64;
        while let Some(values) = walk.next_values().await? {
            for (entry, by) in self.inner.measured(values, order).await? {
                count += 1;
                first.push(Reverse(Ranked { by, count: Reverse(count), entry }));
                if first.len() > limit {
                    first.pop();
                }
            }
        }
        Ok(first.into_sorted_vec().into_iter().map(|Reverse(ranked)| ranked.entry).collect())
    }
}

impl Inner {
    /// Each with what it is ordered by.
    async fn measured(
        self: &Arc<Self>,
        values: Vec<Value>,
        order: NamesOrder,
    ) -> Result<Vec<(NameEntry, u64)>> {
        if order == NamesOrder::Size {
            let looked_at = self.contents_of(values).await?.into_iter();
            let sized = |(value, contents): (Value, Contents)| {
                let entry = NameEntry { bytes: Some(contents.bytes), ..self.entry_of(&value) };
                (entry, contents.bytes)
            };
            return Ok(looked_at.map(sized).collect());
        }
        let timed = |value: &Value| {
            let entry = self.entry_of(value);
            let by = if order == NamesOrder::Used { entry.used } else { entry.pushed };
            (entry, by)
        };
        Ok(values.iter().map(timed).collect())
    }
}

/// A name with what it is ordered by; of equals, what was met first comes first.
#[derive(Debug)]
struct Ranked {
    by: u64,
    count: Reverse<u64>,
    entry: NameEntry,
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.by, self.count).cmp(&(other.by, other.count))
    }
}
