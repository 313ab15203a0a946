//! Packs that hold nothing any more are unlinked.
//!
//! A pack goes only after the whole index was looked through for entries that point into it: its counters only say
//! where to look. Entries leave a settled pack and never come to it, so what a walk does not find is not there later.
//!
//! No folder is synced: an unlink that a power cut undoes brings back a pack that the next start takes for what it is,
//! good copies of blobs that are elsewhere or were let go.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::compaction::GivenBack;
use super::format::{PackId, PackState};
use super::held::Going;
use super::pack_set::PackCounters;
use super::shared::Shared;
use crate::{Error, Result};

/// Packs unlinked in one step.
const UNLINKED_MAX: usize = 256;

/// A pack and its figures.
pub(super) type Counted = (PackId, Arc<PackCounters>);

impl Shared {
    /// Unlinks what holds nothing any more, some of it if there is much.
    pub(super) fn reap(&self, given: &mut GivenBack) -> Result<()> {
        let mut empty = self.packs.settled();
        empty.retain(|(_, counters)| counters.records() == 0);
        given.more |= empty.len() > UNLINKED_MAX;
        empty.truncate(UNLINKED_MAX);
        self.unlink_empty(&empty, given)
    }

    /// Unlinks those of these settled packs of which the index holds nothing.
    pub(super) fn unlink_empty(&self, packs: &[Counted], given: &mut GivenBack) -> Result<()> {
        let found = self.count_entries(packs);
        let mut failed = None;
        for (id, counters) in packs {
            match found.get(id) {
                Some((0, _)) => {
                    if self.held.goes_later(*id, || (counters.recount(0), self.packs.forget_unlinked(*id))) {
                        continue;
                    }
                    match self.unlink(*id) {
                        Ok(()) => {
                            self.packs.unlinked(counters.recount(0), self.packs.forget_unlinked(*id));
                            given.packs += 1;
                        }
                        Err(error) => failed = Some(error),
                    }
                }
                Some((records, bytes)) if counters.records() == 0 => {
                    tracing::error!(pack = %id, records, bytes, "a pack was counted as empty and is not");
                    counters.recount_live(*records, *bytes);
                }
                _ => {}
            }
        }
        self.release_left(given);
        failed.map_or(Ok(()), Err)
    }

    /// Unlinked packs that nobody reads any more do not count as used any more.
    pub(super) fn release_left(&self, given: &mut GivenBack) {
        let left = self.packs.take_left();
        self.space.released(left);
        given.freed += left;
    }

    /// How many records, and bytes of them, the index has in each of these packs: one walk over all of it.
    fn count_entries(&self, packs: &[Counted]) -> HashMap<PackId, (usize, u64)> {
        let mut found: HashMap<PackId, (usize, u64)> = packs.iter().map(|(id, _)| (*id, (0, 0))).collect();
        if !found.is_empty() {
            self.index.for_each(|entry| {
                if let Some((records, bytes)) = found.get_mut(&entry.location.place.pack) {
                    *records += 1;
                    *bytes += entry.location.stored.bytes();
                }
            });
        }
        found
    }

    /// A pack that was held for whoever copies it goes now.
    pub(super) fn unlink_held(&self, id: PackId, (bytes, file): Going) {
        match self.unlink(id) {
            Ok(()) => self.packs.unlinked(bytes, file),
            // Its bytes count on. The next start finds it, and nothing that needs it.
            Err(error) => {
                tracing::warn!(pack = %id, %error, "a pack that was held for a backup stays until the next start");
            }
        }
    }

    /// Under whichever name it has: a pack that could not be sealed at start still has that of an open one.
    fn unlink(&self, id: PackId) -> Result<()> {
        for state in [PackState::Sealed, PackState::Open] {
            match self.disk.remove(&id.path(state)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other.map_err(|error| Error::io(format!("removing pack {id}"), error)),
            }
        }
        Ok(())
    }
}
