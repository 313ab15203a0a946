//! Rules that let go of what takes more than a share: which values fit into it.
//!
//! What was used last fits first. What is kept counts as well, before all others, and stays. Bytes are those of the contents that
//! the values reach, each blob counted once for a rule.

use std::sync::Arc;

use millpond_store::Level;
use millpond_store::catalog::Value;

use super::plan::UsedAt;
use super::{Described, Fate, Met, Plan};
use crate::Result;
use crate::cache::Inner;

/// A value that a rule matches which has a share.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sharer {
    is_kept: bool,
    used: UsedAt,
}

impl Inner {
    /// The plan, with what takes more than its share. Walks all values that have to share. Blocks.
    pub(crate) fn plan_with_shares(&self) -> Result<Plan> {
        let mut plan = self.plan()?;
        let retention = Arc::clone(plan.retention());
        let rules = retention.rules.iter().enumerate();
        for (place, bytes) in rules.filter_map(|(place, rule)| Some((place, rule.at_most?))) {
            let mut sharers = self.sharers(&plan, place)?;
            sharers.sort_unstable_by(|one, other| other.cmp(one));
            if let Some(fits_from) = self.fits_from(&sharers, bytes)? {
                plan.let_go_before(place, fits_from);
            }
        }
        Ok(plan)
    }

    /// Those that the rule at this place matches.
    fn sharers(&self, plan: &Plan, place: usize) -> Result<Vec<Sharer>> {
        let (mut sharers, mut from) = (Vec::new(), Some(0));
        while let Some(begin) = from {
            self.go_on()?;
            let (values, next) = self.catalog.portion_touched_after(begin, Level::ZERO)?;
            for value in values.iter().filter(|value| value.is_whole()) {
                let outcome = self.outcome_of_value(plan.retention(), value)?;
                let rule = plan.retention().rule(&Described::of(&value.name), outcome);
                if rule.is_none_or(|(matched, _)| matched != place)
                    || self.gate.level_of(value) < self.blobs.waterline()
                {
                    continue;
                }
                let is_kept = matches!(self.fate(plan, value)?, Fate::Kept(..));
                sharers.push(Sharer { is_kept, used: (self.last_use(value), value.seq) });
            }
            from = next;
        }
        Ok(sharers)
    }

    /// The last one that fits into so many bytes, if not all do.
    fn fits_from(&self, sharers: &[Sharer], most: u64) -> Result<Option<UsedAt>> {
        let mut met = Met::new(self.blobs.figures().blobs);
        // Nothing fits that nothing keeps.
        let (mut bytes, mut fits_from) = (0, (Level::PINNED, u64::MAX));
        for sharer in sharers {
            self.go_on()?;
            bytes += match self.catalog.value_numbered(sharer.used.1)? {
                Some(value) => self.bytes_first_met(&value, &mut met),
                None => 0,
            };
            if sharer.is_kept {
                continue;
            }
            if bytes > most {
                return Ok(Some(fits_from));
            }
            fits_from = sharer.used;
        }
        Ok(None)
    }

    fn bytes_first_met(&self, value: &Value, met: &mut Met) -> u64 {
        let mut bytes = 0;
        // What cannot be walked takes nothing that could be told.
        if let Ok(subject) = self.subject(value) {
            let _ = self.walker.show(&subject, &mut |digests| {
                let there = digests.iter().filter(|digest| self.blobs.contains(digest));
                bytes += there.filter(|digest| met.first(0, digest)).map(|digest| digest.size()).sum::<u64>();
            });
        }
        bytes
    }
}
