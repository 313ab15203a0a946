//! What is still needed of the packs with the least in them is copied into one new pack, and they go.
//!
//! 1. Each record that an entry at or above the waterline points to is read, verified, and appended to the target, the
//!    same bytes with the same time of writing. 2. The target is sealed, and so durable. 3. With no snapshot under way,
//!    each entry that still points to what was copied is pointed to the copy; what was not copied stays as it is. 4. The
//!    packs that hold nothing any more are unlinked.
//!
//! A power cut before 2 leaves an open pack of records that are elsewhere too; later, two copies of each, of which a
//! start takes the one in the pack with the higher number.
//!
//! **Invariant:** an entry is pointed to a copy only when that is durable, and keeps its level; a pack is unlinked only
//! after all its entries point elsewhere.
//! **Invariant:** no snapshot sees the target without all of its entries, or the invariant of [`super::snapshot`] breaks.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::format::{FRAME_SIZE, PackHeader, PackId, PackKind, PackState};
use super::index::{Entry, Location, Stored};
use super::pack::{ENTRIES_MAX, OpenPack, PackFile, StoredRecord};
use super::pack_set::{PackCounters, pack_bytes};
use super::poison::PoisonOnPanic;
use super::reap::Counted;
use super::shared::Shared;
use super::space::TargetClaim;
use crate::{Error, Level, Result, now_and_then};

/// Bytes of records in one write.
const BATCH_BYTES_MAX: u64 = 4 << 20;
/// Bytes of the target that may wait to be synced: all at once would hold up the syncs of uploads.
const UNSYNCED_MAX: u64 = 64 << 20;
/// Longer records are not moved: such a one has a pack of its own, or nearly.
const RECORD_MAX: u64 = 2 * FRAME_SIZE;
/// Garbage above this part of what packs may hold is compacted.
const GARBAGE_PART: u64 = 10;
/// A pack is worth copying if this part of it is garbage, ...
const WORTH_PART: u64 = 8;
/// ... or this part, when somebody waits for room.
const WORTH_PART_URGENT: u64 = 32;
/// For so many seconds a pack that could not be read is left alone.
const LATER: u32 = 600;

/// What a step of giving back did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GivenBack {
    /// Packs unlinked.
    pub packs: usize,
    /// Bytes of records that were copied and are in force.
    pub moved: u64,
    /// Bytes given back to the volume. What is still being read comes back with a later step.
    pub freed: u64,
    /// Another step right away would find something to do.
    pub more: bool,
}

impl GivenBack {
    /// Counts what another step did as well.
    pub(super) fn add(&mut self, other: &Self) {
        self.packs += other.packs;
        self.moved += other.moved;
        self.freed += other.freed;
    }
}

/// Packs whose records were copied, as far as they are needed.
#[derive(Debug, Default)]
pub(super) struct Copied {
    pub(super) victims: Vec<Counted>,
    pub(super) targets: Vec<Target>,
}

/// What a walk over the index found of a pack.
#[derive(Debug, Default)]
struct Found {
    records: usize,
    bytes: u64,
    has_long: bool,
}

/// A sealed pack that nothing points to yet.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) reader: Arc<PackFile>,
    pub(super) claim: TargetClaim,
    pub(super) counters: PackCounters,
    /// What was copied, and where the copy lies.
    pub(super) copies: Vec<(Entry, Location)>,
}

impl Shared {
    /// See [`super::Blobs::give_back`].
    pub(super) fn give_back(&self, urgent: bool) -> Result<GivenBack> {
        if self.check_open().is_err() {
            return Ok(GivenBack::default());
        }
        let mut given = std::mem::take(&mut *self.lock(&self.untold));
        let done = self.give_back_to(&mut given, urgent);
        if let Err(error) = done {
            self.lock(&self.untold).add(&given);
            return Err(error);
        }
        Ok(given)
    }

    fn give_back_to(&self, given: &mut GivenBack, urgent: bool) -> Result<()> {
        let _guard = PoisonOnPanic::during(&self.poison, "giving space back");
        self.release_left(given);
        // What cannot be unlinked is no reason not to compact the rest.
        let reaped = self.reap(given);
        let copying = self.lock(&self.copying);
        let victims = self.victims(urgent);
        if !victims.is_empty() {
            let copied = self.copy(victims, |record| record)?;
            self.switch(copied, given)?;
            given.more |= !self.victims(urgent).is_empty();
        }
        drop(copying);
        reaped
    }

    /// The emptiest packs, as many as fit into one; none if there is too little to be had.
    pub(super) fn victims(&self, urgent: bool) -> Vec<Counted> {
        let mut packs = self.packs.settled();
        let garbage: u64 = packs.iter().map(|(_, counters)| counters.garbage()).sum();
        let pack_max = self.space.limits().pack_max;
        let tenth = self.space.packs_max() / GARBAGE_PART;
        let (enough, part) =
            if urgent { (pack_max.min(tenth), WORTH_PART_URGENT) } else { (tenth, WORTH_PART) };
        if garbage < enough.max(1) {
            return Vec::new();
        }
        let now = self.clock.now();
        packs.retain(|(_, counters)| {
            let worth = counters.garbage().saturating_mul(part) >= counters.counted();
            worth && counters.records() > 0 && !counters.is_left_alone(now)
        });
        packs.sort_by_key(|(id, counters)| {
            (counters.live().saturating_mul(1 << 20) / counters.counted().max(1), *id)
        });
        let room = self.space.for_compaction();
        let (mut records, mut live) = (0, 0);
        packs.retain(|(_, counters)| {
            let (more_records, more_live) = (records + counters.records(), live + counters.live());
            let fits = more_records <= ENTRIES_MAX
                && more_live + PackHeader::LEN as u64 <= pack_max
                && pack_bytes(more_records, more_live) <= room;
            if fits {
                (records, live) = (more_records, more_live);
            }
            fits
        });
        packs
    }

    /// Copies what is needed of these packs into a new one, as `recode` would have it, which makes nothing longer, and
    /// makes it durable. The index stays as it is, but for entries of bad records and entries below the waterline. One
    /// caller at a time, who holds `copying`.
    pub(super) fn copy(
        &self,
        victims: Vec<Counted>,
        recode: impl Fn(StoredRecord) -> StoredRecord,
    ) -> Result<Copied> {
        let (victims, entries) = self.entries_of(self.readable(victims));
        if entries.is_empty() {
            return Ok(Copied { victims, targets: Vec::new() });
        }
        let live = entries.iter().map(|entry| entry.location.stored.bytes()).sum();
        let needed = pack_bytes(entries.len(), live);
        self.space.check_target(needed)?;
        let mut claim = self.space.target();
        claim.set(needed);
        let pack = self.make_pack()?;
        let sealed = self.fill(&pack, &entries, recode).and_then(|copies| {
            if copies.is_empty() {
                return Ok(None);
            }
            self.written(pack.seal(), true)?;
            let reader = pack.reader();
            Ok(Some((PackCounters::sealed(reader.len()?, reader.allocated()?), copies)))
        });
        match sealed {
            Ok(Some((counters, copies))) => {
                claim.set(counters.counted());
                let target = Target { reader: pack.reader(), claim, counters, copies };
                Ok(Copied { victims, targets: vec![target] })
            }
            other => {
                self.abandon(pack.id(), claim);
                other.map(|_| Copied { victims, targets: Vec::new() })
            }
        }
    }

    /// Points the index to the copies, and unlinks the packs that hold nothing any more.
    pub(super) fn switch(&self, copied: Copied, given: &mut GivenBack) -> Result<()> {
        // Until the end: see the second invariant.
        let _no_snapshot = self.lock(&self.snapshots);
        let Copied { victims, targets } = copied;
        if self.check_open().is_err() {
            // What a clean stop wrote down is to stay as it is.
            targets.into_iter().for_each(|target| self.abandon(target.reader.id(), target.claim));
            return Ok(());
        }
        for Target { reader, claim, counters, copies } in targets {
            let counters = Arc::new(counters);
            self.packs.add_sealed(reader.id(), counters.clone(), reader);
            for (entry, copy) in copies {
                counters.add_live(copy.stored.bytes());
                if self.index.relocate(entry.key, entry.location.place, copy) {
                    self.dead(&entry.location);
                    given.moved += copy.stored.bytes();
                } else {
                    counters.remove_live(copy.stored.bytes());
                }
            }
            claim.keep();
        }
        let unlinked = self.unlink_empty(&victims, given);
        // Whatever kept one of them, it is not tried again every second.
        let later = self.clock.now().plus(LATER);
        victims.iter().for_each(|(_, counters)| counters.leave_alone(later));
        unlinked
    }

    /// Those that can be opened and have many records.
    fn readable(&self, mut victims: Vec<Counted>) -> Vec<Counted> {
        victims.retain(|(id, counters)| {
            let kind = self.packs.reader(&*self.disk, &self.keys, *id).and_then(|pack| pack.kind());
            match kind {
                Ok(PackKind::Mixed) => return true,
                Ok(PackKind::Single) => counters.leave_alone(Level::PINNED),
                Err(error) => self.not_now(*id, counters, &error),
            }
            false
        });
        victims
    }

    pub(super) fn not_now(&self, id: PackId, counters: &PackCounters, error: &Error) {
        now_and_then!(warn, pack = %id, %error, "a pack could not be compacted");
        counters.leave_alone(self.clock.now().plus(LATER));
    }

    /// The entries that point into these packs, in the order in which the records lie. Those below the waterline leave
    /// the index. A pack with a record that is too long to be moved is left out.
    fn entries_of(&self, mut victims: Vec<Counted>) -> (Vec<Counted>, Vec<Entry>) {
        let mut found: HashMap<PackId, Found> =
            victims.iter().map(|(id, _)| (*id, Found::default())).collect();
        let mut entries = Vec::new();
        self.index.for_each(|entry| {
            if let Some(found) = found.get_mut(&entry.location.place.pack) {
                let bytes = entry.location.stored.bytes();
                found.records += 1;
                found.bytes += bytes;
                found.has_long |= bytes > RECORD_MAX;
                entries.push(*entry);
            }
        });
        victims.retain(|(id, counters)| {
            let Some(found) = found.get(id) else { return false };
            counters.recount_live(found.records, found.bytes);
            if found.has_long {
                counters.leave_alone(Level::PINNED);
            }
            !found.has_long
        });
        let waterline = self.waterline();
        entries.retain(|entry| {
            let Location { place, .. } = entry.location;
            if self.index.remove_below(entry.key, place, waterline) {
                self.dead(&entry.location);
                return false;
            }
            found.get(&place.pack).is_some_and(|found| !found.has_long)
        });
        entries.sort_unstable_by_key(|entry| entry.location.place);
        (victims, entries)
    }

    /// Appends what these entries point to, as far as they still do. Nothing, if the store is being closed meanwhile.
    fn fill(
        &self,
        target: &OpenPack,
        entries: &[Entry],
        recode: impl Fn(StoredRecord) -> StoredRecord,
    ) -> Result<Vec<(Entry, Location)>> {
        let mut copies = Vec::with_capacity(entries.len());
        let mut batch: Vec<(Entry, StoredRecord)> = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            let Some(record) = self.read_to_copy(entry)?.map(&recode) else { continue };
            if bytes + record.record_len() > BATCH_BYTES_MAX {
                self.append_copies(target, &mut batch, &mut copies)?;
                bytes = 0;
                if self.check_open().is_err() {
                    return Ok(Vec::new());
                }
            }
            bytes += record.record_len();
            batch.push((*entry, record));
        }
        self.append_copies(target, &mut batch, &mut copies)?;
        Ok(copies)
    }

    fn append_copies(
        &self,
        target: &OpenPack,
        batch: &mut Vec<(Entry, StoredRecord)>,
        copies: &mut Vec<(Entry, Location)>,
    ) -> Result<()> {
        let (entries, records): (Vec<Entry>, Vec<StoredRecord>) = batch.drain(..).unzip();
        let appended = self.written(target.append_copies(&records), false)?;
        copies.extend(entries.into_iter().zip(appended).map(|(entry, appended)| {
            let stored = Stored::of(appended.end.saturating_sub(appended.place.byte_offset()));
            (entry, Location { place: appended.place, stored })
        }));
        if target.appended().saturating_sub(target.synced()) >= UNSYNCED_MAX {
            self.written(target.sync(), true)?;
        }
        Ok(())
    }

    /// The record of an entry; `None` if it is not needed any more, or is bad and therefore missing from now on.
    pub(super) fn read_to_copy(&self, entry: &Entry) -> Result<Option<StoredRecord>> {
        let Location { place, stored } = entry.location;
        if self.index.get(entry.key, Level::ZERO).is_none_or(|now| now.location.place != place) {
            return Ok(None);
        }
        let read = self
            .packs
            .reader(&*self.disk, &self.keys, place.pack)
            .and_then(|pack| pack.stored_record(place, stored.bytes()));
        match read {
            Ok(record) if self.index.key(record.digest()) == entry.key => Ok(Some(record)),
            Ok(_) | Err(Error::Damaged(_)) => {
                self.found_bad(entry.key, &entry.location);
                Ok(None)
            }
            Err(error) => {
                if let Some(counters) = self.packs.counters(place.pack) {
                    self.not_now(place.pack, &counters, &error);
                }
                Err(error)
            }
        }
    }

    /// What a failed write or sync of the target means for the store.
    fn written<T>(&self, result: Result<T>, in_sync: bool) -> Result<T> {
        result.map_err(|error| {
            self.write_failed(&error, in_sync);
            self.poison.check().err().unwrap_or(error)
        })
    }

    /// Removes a target that nothing points to. Should that fail it goes on counting, and the next start finds good
    /// copies in it.
    pub(super) fn abandon(&self, id: PackId, claim: TargetClaim) {
        let gone = [PackState::Open, PackState::Sealed].into_iter().all(|state| {
            let removed = self.disk.remove(&id.path(state));
            removed.map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |()| true)
        });
        if !gone {
            claim.keep();
        }
    }
}
