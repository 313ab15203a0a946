//! Bad records: told to the domain, which remembers them until their pack is gone, so that no restart brings a bad
//! blob back as present.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use super::format::{PackId, Place};

/// Where a bad record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Damage {
    /// The number of the pack.
    pub pack: u32,
    /// Where the record starts, in units of 8 bytes.
    pub offset: u32,
}

impl From<Place> for Damage {
    fn from(place: Place) -> Self {
        Self { pack: place.pack.number(), offset: place.offset }
    }
}

/// Whom to tell.
pub(super) struct OnDamage(Box<dyn Fn(Damage) + Send + Sync>);

impl OnDamage {
    pub(super) fn new(tell: Box<dyn Fn(Damage) + Send + Sync>) -> Self {
        Self(tell)
    }

    /// Tells it. Blocks for as long as the domain takes to write a row.
    pub(super) fn tell(&self, place: Place) {
        (self.0)(place.into());
    }
}

impl fmt::Debug for OnDamage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OnDamage")
    }
}

/// What is remembered as bad at start.
#[derive(Debug, Default)]
pub(super) struct KnownDamage(HashSet<Damage>);

impl KnownDamage {
    pub(super) fn new(rows: Vec<Damage>) -> Self {
        Self(rows.into_iter().collect())
    }

    pub(super) fn contains(&self, place: Place) -> bool {
        !self.0.is_empty() && self.0.contains(&place.into())
    }

    /// The packs named that are not among those on the volume. Not those above the highest on it: as long as a row names
    /// it, such a number is not given out again.
    pub(super) fn gone(&self, on_volume: &HashSet<PackId>) -> Vec<u32> {
        let highest = on_volume.iter().max().copied().unwrap_or(PackId::NONE);
        let named: BTreeSet<PackId> = self.0.iter().map(|damage| PackId::new(damage.pack)).collect();
        let gone = named.into_iter().filter(|pack| *pack < highest && !on_volume.contains(pack));
        gone.map(PackId::number).collect()
    }

    /// The highest pack that a row names: its number must not be used again.
    pub(super) fn last_pack(&self) -> PackId {
        self.0.iter().map(|damage| PackId::new(damage.pack)).max().unwrap_or(PackId::NONE)
    }
}
