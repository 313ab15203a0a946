//! The packs of a volume copied to another one, while this one goes on serving.
//!
//! The domain copies the catalog first, and then the packs that lie there: what a name in that copy needs was durable before
//! the name was, so it is in one of them, unless that was unlinked in between. Hence packs are held (see [`super::held`]) from
//! before the catalog is copied, all of them; then, once it is known which there are, those that are still to be copied. The
//! waterline is not held, nor is letting go: blobs may leave the index and compaction may go on, since what is copied is
//! whole files, dead records included. Holding the waterline for as long as a terabyte takes to be copied would have pushes
//! refused on every volume that is full; this way the room alone of packs that nothing needs any more comes back late, and
//! those packs are copied first of all. How long anybody may wait for that is for the domain to say.
//!
//! Open packs are sealed first, so that each pack is copied once, ever: a sealed one never changes.

mod mark;
mod target;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::format::{FooterEntry, PackId, PackState, Place};
use super::pack::{Copied, CopyPlan, PackFile};
use super::scrub::BadRecord;
use super::shared::Shared;
use super::{Blobs, Damage};
use crate::{Error, Level, Result};

pub use mark::{Mark, Purpose, become_volume};
pub use target::Target;

/// A pack that is to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pack(PackId);

/// What became of a pack.
#[derive(Debug, Default)]
pub struct PackCopied {
    /// Bytes of the copy.
    pub bytes: u64,
    /// It lay there already.
    pub is_same: bool,
    /// Records in it.
    pub records: u64,
    /// Records that could not be copied.
    pub bad: Vec<BadRecord>,
    /// What else is wrong with it, a sentence.
    pub damaged: Option<String>,
}

/// The packs that are to be copied, held for as long as this lives.
#[derive(Debug)]
pub struct PackCopies {
    blobs: Blobs,
    all: BTreeSet<PackId>,
    left: BTreeSet<PackId>,
    /// Of those that could not be sealed: up to where they are durable.
    unsealed: HashMap<PackId, u64>,
}

impl Blobs {
    /// The volume, for marks.
    pub fn volume_id(&self) -> [u8; 16] {
        self.shared.keys.id
    }

    /// From now on no pack leaves the volume: before the catalog is copied.
    ///
    /// # Errors
    /// [`Error::Busy`] while another backup is under way.
    pub fn hold_packs(&self) -> Result<PackCopies> {
        if !self.shared.held.hold_all() {
            return Err(Error::Busy("another backup is under way: wait until it ends".to_owned()));
        }
        let blobs = self.clone();
        Ok(PackCopies { blobs, all: BTreeSet::new(), left: BTreeSet::new(), unsealed: HashMap::new() })
    }

    /// Bytes that would have come back to the volume if nothing were held.
    pub fn held_bytes(&self) -> u64 {
        self.shared.held.bytes()
    }

    /// Lets all packs go that are held, though whoever holds them may hang: it must copy nothing more after that. Blocks.
    pub fn give_held_up(&self) {
        for (id, going) in self.shared.held.give_up() {
            self.shared.unlink_held(id, going);
        }
    }
}

impl PackCopies {
    /// Seals what is open, and looks out what is to be copied; only that is held from now on. After the catalog was copied.
    /// Blocks.
    pub fn look_out(&mut self) {
        let shared = &self.blobs.shared;
        // What is begun later is needed by no name in the copy of the catalog.
        let begun: Vec<_> = shared.packs.unsealed().iter().map(|group| group.target().id()).collect();
        shared.seal_current();
        let unsealed = &mut self.unsealed;
        let held = shared.held.hold_only(|going| {
            for group in shared.packs.unsealed() {
                let pack = group.target();
                if begun.contains(&pack.id()) {
                    unsealed.insert(pack.id(), pack.synced());
                }
            }
            let settled = shared.packs.settled().into_iter().map(|(id, _)| id);
            // One that was sealed in between is among both.
            settled.chain(unsealed.keys().copied()).chain(going).collect()
        });
        self.all = held.into_iter().collect();
        self.left = self.all.clone();
    }

    /// Looks out what there is, to be looked at and not to be copied: open packs stay open.
    pub fn look_at_all(&mut self) {
        let shared = &self.blobs.shared;
        let held = shared.held.hold_only(|_| shared.packs.ids());
        self.all = held.into_iter().collect();
        self.left = self.all.clone();
    }

    /// The packs that are still to be copied.
    pub fn left(&self) -> impl Iterator<Item = Pack> {
        self.left.iter().copied().map(Pack)
    }

    /// How many packs there are in all.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// The pack to be copied next: one that letting go or compaction waits for, if there is any.
    pub fn next_pack(&mut self) -> Option<Pack> {
        let going = self.blobs.shared.held.first_going().filter(|id| self.left.contains(id));
        going.or_else(|| self.left.first().copied()).map(Pack)
    }

    /// The pack was copied, and is held no longer.
    pub fn is_through(&mut self, pack: Pack) {
        self.left.remove(&pack.0);
        if let Some(going) = self.blobs.shared.held.release(pack.0) {
            self.blobs.shared.unlink_held(pack.0, going);
        }
    }

    /// Bytes that would have come back to the volume if nothing were held.
    pub fn held_bytes(&self) -> u64 {
        self.blobs.shared.held.bytes()
    }

    /// Whether the pack lies there already, and its length. Blocks.
    ///
    /// # Errors
    /// As [`PackCopies::copy`].
    pub fn survey(&self, pack: Pack, target: Option<&Target>) -> Result<(bool, u64)> {
        let source = match self.open(pack.0) {
            // What is wrong with it is found when it is copied.
            Err(Error::Missing) => return Ok((false, 0)),
            other => other?,
        };
        let len = source.len()?;
        let Ok(entries) = source.footer() else { return Ok((false, len)) };
        let Some((_, there)) = target.map_or(Ok(None), |target| target.pack(pack.0))? else {
            return Ok((false, len));
        };
        let is_there = there == entries;
        if !is_there {
            check_is_earlier(pack.0, &there, &entries)?;
        }
        Ok((is_there, len))
    }

    /// Copies the pack, unless it lies there already. Asks `go_on` again and again, with the bytes copied since. Blocks.
    ///
    /// # Errors
    /// [`Error::Refused`] if another pack of this number lies there; [`Error::NoSpace`], [`Error::Io`]; whatever `go_on` says
    /// against it.
    pub fn copy(
        &self,
        pack: Pack,
        target: &Target,
        go_on: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<PackCopied> {
        let id = pack.0;
        let source = match self.open(id) {
            Err(Error::Missing) => {
                return Ok(PackCopied {
                    damaged: Some(format!("pack {id} is gone")),
                    ..PackCopied::default()
                });
            }
            other => other?,
        };
        let mut damaged = None;
        let mut entries = match (self.unsealed.get(&id), source.footer()) {
            (_, Ok(entries)) => entries,
            (Some(synced), Err(Error::Damaged(_))) => source.search_up_to(*synced)?,
            (None, Err(Error::Damaged(what))) => {
                damaged = Some(format!("{what}; what is good in it was searched for"));
                source.search_up_to(u64::MAX)?
            }
            (_, Err(error)) => return Err(error),
        };
        let earlier = target.pack(id)?;
        if let Some((earlier, there)) = &earlier {
            if *there == entries {
                let (bytes, records) = (earlier.len()?, there.len() as u64);
                return Ok(PackCopied { bytes, is_same: true, records, damaged, ..PackCopied::default() });
            }
            if damaged.is_some() && entries.is_empty() {
                // Nothing is left of it here: what an earlier backup has of it stays.
                let (bytes, records) = (earlier.len()?, there.len() as u64);
                return Ok(PackCopied { bytes, is_same: true, records, damaged, ..PackCopied::default() });
            }
            if damaged.is_some() && are_of_one(&entries, there) {
                // What the search did not find may be good there.
                entries.extend(there);
                entries.sort_unstable_by_key(|entry| entry.offset);
                entries.dedup();
            }
            check_is_earlier(id, there, &entries)?;
        }
        let earlier = earlier.as_ref().map(|(earlier, there)| (&**earlier, there.as_slice()));
        let plan = CopyPlan { source: &source, entries: &entries, earlier };
        let Copied { len, records, bad } = plan.copy_to(target.disk(), &self.blobs.shared.keys, go_on)?;
        if len > 0 {
            target.has_now(id, len);
        }
        let bad = bad.iter().filter_map(|entry| self.blobs.shared.found_bad_in(id, entry)).collect();
        Ok(PackCopied { bytes: len, is_same: false, records: records as u64, bad, damaged })
    }

    /// How many packs [`PackCopies::clear`] would remove.
    pub fn count_to_clear(&self, target: &Target) -> u64 {
        target.count_without(&self.all)
    }

    /// Removes from the target what this volume has no more. Blocks.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn clear(&self, target: &Target) -> Result<(u64, u64)> {
        target.keep_only(&self.all)
    }

    /// A descriptor of our own: readers of blobs need those that are kept open.
    fn open(&self, id: PackId) -> Result<PackFile> {
        let Shared { disk, keys, .. } = &*self.blobs.shared;
        match PackFile::open(&**disk, keys, id, PackState::Sealed) {
            Err(Error::Missing) => PackFile::open(&**disk, keys, id, PackState::Open),
            other => other,
        }
    }
}

/// That a copy of a pack has nothing that the pack has not, by which it would be of another one with the same number.
fn check_is_earlier(id: PackId, there: &[FooterEntry], entries: &[FooterEntry]) -> Result<()> {
    let at: HashMap<_, _> = entries.iter().map(|entry| (entry.offset, entry)).collect();
    if there.iter().all(|entry| at.get(&entry.offset) == Some(&entry)) {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "it has another pack {id} than this volume: one of the two was restored, and has gone another way since; give a \
         directory of its own"
    )))
}

/// Whether what was found in a pack and what is in a copy can be of the same one: wherever both have a record it is the same, and
/// there is such a place.
fn are_of_one(found: &[FooterEntry], there: &[FooterEntry]) -> bool {
    let at: HashMap<_, _> = found.iter().map(|entry| (entry.offset, entry)).collect();
    let mut common = there.iter().filter_map(|entry| Some((entry, at.get(&entry.offset)?))).peekable();
    common.peek().is_some() && common.all(|(entry, found)| entry == *found)
}

impl Drop for PackCopies {
    fn drop(&mut self) {
        let shared = &self.blobs.shared;
        for (id, going) in shared.held.release_all() {
            shared.unlink_held(id, going);
        }
    }
}

impl Shared {
    /// The current pack takes nothing more, and is sealed with all that are not; those that cannot be stay as they are.
    fn seal_current(self: &Arc<Self>) {
        self.end_current();
        for group in self.packs.unsealed() {
            if let Err(error) = group.sync_after_running() {
                tracing::warn!(pack = %group.target().id(), %error, "a pack was not sealed for a backup");
            }
        }
    }

    /// A record that cannot be copied. If the index points to it, its blob is missing from now on; if it points elsewhere,
    /// nothing is wrong.
    fn found_bad_in(&self, id: PackId, entry: &FooterEntry) -> Option<BadRecord> {
        let place = Place { pack: id, offset: entry.offset };
        let key = self.index.key(&entry.digest);
        match self.index.get(key, Level::ZERO) {
            Some(found) if found.location.place != place => return None,
            Some(found) => self.found_bad(key, &found.location),
            None => {}
        }
        let what = "its bytes are not what they were written as".to_owned();
        Some(BadRecord { digest: Some(entry.digest), place: Damage::from(place), what })
    }
}
