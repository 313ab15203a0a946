//! The plan: what rules and pins make of each value, found by reading all values before.
//!
//! It follows from the rows, the pins, the rules and the time alone, and is the same for whoever asks: the dry run tells it, and the
//! real run does it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use millpond_store::Level;
use millpond_store::catalog::{Target, Value};

use super::{BuildOutcome, Described, Retention, RetentionRule};

use crate::pins::Pins;

/// What keeps a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// A pin.
    Pin,
    /// The rule at this place.
    Rule(usize),
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is kept until then, by whatever keeps it for longest.
    Kept(Keeper, Level),
    /// It goes at once, by the rule at this place, and its last use does not count.
    Goes(usize),
    /// It stays until space is needed and it was used least recently; by the rule at this place, if one matches.
    Free(Option<usize>),
}

impl Fate {
    /// Until when it is kept; the lowest level if it is not.
    pub(crate) fn kept_until(self) -> Level {
        if let Self::Kept(_, until) = self { until } else { Level::ZERO }
    }
}

/// What is to be known of all values before the fate of one is.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The rules in force when it was made.
    retention: Arc<Retention>,
    /// The pins in force when it was made.
    pins: Arc<Pins>,
    hasher: RandomState,
    /// Values that were touched after this time may have come while others were read: whether they are among the newest
    /// is not known.
    since: Level,
    /// By rule and element: the artifacts pushed last, each with when that was, in Unix seconds; the oldest first.
    newest: HashMap<(usize, u64), Vec<(u64, u64)>>,
    /// By rule: of what there is too much of, the value used least recently that still fits. What comes before it goes.
    fits_from: HashMap<usize, UsedAt>,
}

/// Values in the order of their last use; of those used in one second, in the order of their pushes.
pub(crate) type UsedAt = (Level, u64);

impl Plan {
    /// With these rules and pins, of what was touched at this time or earlier, and of what else is found.
    pub(crate) fn begin(retention: Arc<Retention>, pins: Arc<Pins>, since: Level) -> Self {
        Self { retention, pins, since, ..Self::default() }
    }

    /// The rules that it is by.
    pub(crate) fn retention(&self) -> &Arc<Retention> {
        &self.retention
    }

    /// Of what the rule at this place matches, everything goes that nothing keeps and that was used before this.
    pub(crate) fn let_go_before(&mut self, place: usize, fits_from: UsedAt) {
        self.fits_from.insert(place, fits_from);
    }

    /// Takes a value in, which [`Plan::fate`] may be asked about once all were.
    pub(crate) fn note(&mut self, value: &Value, outcome: Option<BuildOutcome>) {
        let (described, retention) = (Described::of(&value.name), Arc::clone(&self.retention));
        let Some((place, rule)) = retention.rule(&described, outcome) else { return };
        let Some((element, artifact)) = self.counted(rule, &described, value) else { return };
        let newest = self.newest.entry((place, element)).or_default();
        // Of the several pushes of one artifact the last counts.
        if let Some(known) = newest.iter_mut().find(|(_, known)| *known == artifact) {
            known.0 = known.0.max(value.pushed);
        } else {
            newest.push((value.pushed, artifact));
        }
        newest.sort_unstable();
        let most = rule.keep_newest.map_or(0, |count| usize::try_from(count).unwrap_or(usize::MAX));
        newest.drain(..newest.len().saturating_sub(most));
    }

    /// What becomes of a value that was last used at `used`, at `now`, in Unix seconds.
    pub(crate) fn fate(&self, value: &Value, outcome: Option<BuildOutcome>, used: Level, now: u64) -> Fate {
        let by_rule = self.fate_by_rule(value, outcome, used, now);
        let pinned = self.pins.keep_until(&value.name, now);
        if pinned > by_rule.kept_until() { Fate::Kept(Keeper::Pin, pinned) } else { by_rule }
    }

    fn fate_by_rule(&self, value: &Value, outcome: Option<BuildOutcome>, used: Level, now: u64) -> Fate {
        let described = Described::of(&value.name);
        let Some((place, rule)) = self.retention.rule(&described, outcome) else { return Fate::Free(None) };
        let is_newest = self.counted(rule, &described, value).is_some_and(|(element, artifact)| {
            let newest = self.newest.get(&(place, element));
            newest.is_some_and(|newest| newest.iter().any(|(_, known)| *known == artifact))
        });
        let until = if is_newest { Level::PINNED } else { rule.kept_until(value.pushed) };
        if until > Level::from_unix(now) {
            return Fate::Kept(Keeper::Rule(place), until);
        }
        let is_over = rule.let_go_after.is_some_and(|after| value.pushed.saturating_add(after.into()) <= now);
        let is_too_much = self.fits_from.get(&place).is_some_and(|from| (used, value.seq) < *from);
        if is_over || is_too_much { Fate::Goes(place) } else { Fate::Free(Some(place)) }
    }

    /// Whether a value may be among the newest, though it came too late to be found.
    pub(crate) fn may_be_newest(&self, value: &Value) -> bool {
        let described = Described::of(&value.name);
        value.touched() > self.since && self.retention.rules.iter().any(|rule| rule.counts_newest(&described))
    }

    /// Element, hashed, and artifact, by the beginning of its hash, of what a rule counts.
    fn counted(&self, rule: &RetentionRule, described: &Described<'_>, value: &Value) -> Option<(u64, u64)> {
        if !rule.counts_newest(described) {
            return None;
        }
        let (Target::Blob(digest) | Target::Directory(digest)) = &value.target else { return None };
        let element = (&value.name.instance, described.artifact()?);
        // The same in each plan: of artifacts that were pushed in one second, these stay.
        let artifact = digest.hash().first_chunk::<8>().map(|start| u64::from_le_bytes(*start));
        Some((self.hasher.hash_one(element), artifact?))
    }
}
