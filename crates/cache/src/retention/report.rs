//! What rules and pins come to, told before anything is done: the dry run of a [`Plan`](super::Plan).
//!
//! Bytes are those of contents. A blob counts once for each rule and fate, however many names share it; what was met
//! already is known by a filter of fixed size, so that sums may be too low by about a hundredth.

use std::collections::BTreeMap;
use std::sync::Arc;

use millpond_store::Digest;
use millpond_store::catalog::{Name, Value};

use super::{Fate, Keeper, Met, RetentionRule, clocks_agree};
use crate::cache::Inner;
use crate::name::short;
use crate::{Admin, Cache, Error, Permit, Result};

/// Names that are told of those that would go.
pub(crate) const GOING_MAX: usize = 100;

/// Names, and the contents that they reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Names.
    pub names: u64,
    /// Bytes of blobs, each counted once.
    pub bytes: u64,
}

/// What a rule comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleReport {
    /// The rule.
    pub rule: RetentionRule,
    /// What it keeps.
    pub keeps: Tally,
    /// What goes by it.
    pub goes: Tally,
    /// What it matches and leaves to go when space is needed.
    pub leaves: Tally,
}

/// What all rules come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionReport {
    /// Each rule, in their order.
    pub rules: Vec<RuleReport>,
    /// What pins keep, for longer than any rule.
    pub pinned: Tally,
    /// What no rule matches and no pin keeps.
    pub unmatched: Tally,
    /// What is kept by any rule or pin, each blob counted once over all of them.
    pub kept: Tally,
    /// Bytes that blobs may take on the volume.
    pub room: u64,
    /// Names that would go now, some of them if they are many.
    pub going: Vec<String>,
    /// Ages cannot be told: the wall clock is more than a day from the time that the cache has.
    pub paused: bool,
}

/// The lists of what anything keeps, and of what pins do; the others are numbered by rule and fate.
const KEPT: u64 = u64::MAX;
const PINNED: u64 = KEPT - 1;

/// A name for people, and no more of it than they read.
pub(crate) fn shown(name: &Name) -> String {
    short(name).chars().take(300).collect()
}

impl Inner {
    /// Plans, and tells what that comes to. Blocks.
    fn retention_report(self: &Arc<Self>) -> Result<RetentionReport> {
        let plan = self.plan_with_shares()?;
        let mut met = Met::new(self.blobs.figures().blobs);
        let mut sums = BTreeMap::<u64, Tally>::new();
        let mut report = RetentionReport { paused: !clocks_agree(&self.clock), ..Default::default() };
        let mut from = Some(0);
        while let Some(begin) = from {
            self.go_on()?;
            let (values, next) = self.catalog.portion_touched_after(begin, millpond_store::Level::ZERO)?;
            for value in values.into_iter().filter(Value::is_whole) {
                self.go_on()?;
                if self.gate.level_of(&value) < self.blobs.waterline() {
                    continue;
                }
                let fate = self.fate(&plan, &value)?;
                if matches!(fate, Fate::Goes(_)) && report.going.len() < GOING_MAX {
                    report.going.push(shown(&value.name));
                }
                let lists: &[u64] =
                    if matches!(fate, Fate::Kept(..)) { &[list_of(fate), KEPT] } else { &[list_of(fate)] };
                lists.iter().for_each(|list| sums.entry(*list).or_default().names += 1);
                let mut count = |digests: &[Digest]| {
                    for digest in digests.iter().filter(|digest| self.blobs.contains(digest)) {
                        for list in lists {
                            if met.first(*list, digest) {
                                sums.entry(*list).or_default().bytes += digest.size();
                            }
                        }
                    }
                };
                // What cannot be walked takes nothing that could be told.
                if let Ok(subject) = self.subject(&value) {
                    let _ = self.walker.show(&subject, &mut count);
                }
            }
            from = next;
        }
        let sum = |list| sums.get(&list).copied().unwrap_or_default();
        report.rules = (plan.retention().rules.iter().enumerate())
            .map(|(place, rule)| RuleReport {
                rule: rule.clone(),
                keeps: sum(list_of(Fate::Kept(Keeper::Rule(place), millpond_store::Level::PINNED))),
                goes: sum(list_of(Fate::Goes(place))),
                leaves: sum(list_of(Fate::Free(Some(place)))),
            })
            .collect();
        (report.unmatched, report.kept) = (sum(list_of(Fate::Free(None))), sum(KEPT));
        report.pinned = sum(PINNED);
        report.room = self.blobs.room();
        Ok(report)
    }
}

/// The list that a fate is counted in.
fn list_of(fate: Fate) -> u64 {
    match fate {
        Fate::Free(None) => 0,
        Fate::Kept(Keeper::Pin, _) => PINNED,
        Fate::Kept(Keeper::Rule(rule), _) => rule as u64 * 3 + 1,
        Fate::Goes(rule) => rule as u64 * 3 + 2,
        Fate::Free(Some(rule)) => rule as u64 * 3 + 3,
    }
}

impl Cache {
    /// What the rules of retention come to as things are, and what would go by them. Walks all names.
    ///
    /// # Errors
    /// `Busy` while the cache is being closed.
    pub async fn retention_plan(&self, _permit: &Permit<Admin>) -> Result<RetentionReport> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || inner.retention_report()).await.map_err(Error::internal)?
    }
}
