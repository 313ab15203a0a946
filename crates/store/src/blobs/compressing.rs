//! Compressing what is cold: packs whose newest record was written long enough ago are copied with their raw records
//! compressed, where that pays, and go.
//!
//! It is a compaction of packs that may have no garbage at all: the same copies, durable before the index points to them,
//! in the room that is kept for that. Packs are looked at once each, in the order in which they were begun.
//!
//! **Invariant:** nothing is compressed of which a checksum or the hash does not match, and nothing gets longer by it.

mod position;

use std::sync::Arc;

use super::Blobs;
use super::compaction::{Copied, GivenBack, Target};
use super::encoding::compress_where_it_pays;
use super::format::{
    Encoding, FRAME_GROWTH_MAX, FooterEntry, PackId, PackKind, Place, frame_count, record_len,
};
use super::index::{Entry, Location, Stored};
use super::pack::{PackFile, SingleWriter, StoredRecord};
use super::pack_set::{PackCounters, pack_bytes};
use super::packs::check_hashed;
use super::poison::PoisonOnPanic;
use super::reap::Counted;
use super::shared::Shared;
use crate::{Error, Hasher, Level, Result, now_and_then};

/// Packs that are looked at in one step.
const LOOKED_AT_MAX: usize = 256;
/// Blobs with packs of their own that are compressed in one step, ...
const SINGLES_MAX: usize = 64;
/// ... and about how many bytes of them.
const SINGLES_BYTES: u64 = 64 << 20;
/// Records of a pack that are tried, to see whether it pays for all.
const TRIED: usize = 64;
/// A pack is copied if this part of what it holds is saved.
const WORTH_PART: u64 = 8;

/// What a step of compressing came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compressed {
    /// Packs that were copied.
    pub packs: usize,
    /// Bytes of records that were copied ...
    pub before: u64,
    /// ... and what the copies have.
    pub after: u64,
}

/// How things stand after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressStep {
    /// There may be more to do.
    Did(Compressed),
    /// There is nothing more that is cold.
    Ended,
    /// The next pack needs more room than there is now.
    NoRoom,
}

/// Goes through the packs, those that were begun first at first.
#[derive(Debug)]
pub struct Compressing {
    blobs: Blobs,
    /// The highest pack that was looked at.
    pub(super) done: PackId,
}

/// What to do with a pack.
enum Found {
    /// It was written too lately, or a record in it.
    Warm,
    /// There is nothing in it to compress.
    Nothing,
    Single(Entry, FooterEntry),
    Mixed,
}

/// What came of trying to compress a blob that has a pack of its own.
enum Tried {
    /// There is no room for the copy now.
    NoRoom,
    /// It does not pay, there will never be room, or the blob is bad and therefore missing from now on.
    Stays,
    Copied(Target),
}

impl Compressing {
    /// Goes on where the last server was. Blocks.
    pub fn resume(blobs: Blobs) -> Self {
        let done = position::read(&*blobs.shared.disk).unwrap_or(PackId::NONE);
        Self { blobs, done }
    }

    /// Remembers how far it has come; if that cannot be kept, some is looked at again. Blocks.
    pub fn keep(&self) {
        position::write(&*self.blobs.shared.disk, self.done);
    }

    /// Leaves the next pack as it is.
    pub fn pass_over(&mut self) {
        if let Some((id, _)) = self.ahead().first() {
            self.done = *id;
        }
    }

    /// The packs that were not looked at, the first first.
    fn ahead(&self) -> Vec<Counted> {
        let mut packs = self.blobs.shared.packs.settled();
        packs.retain(|(id, counters)| *id > self.done && counters.records() > 0);
        packs.sort_unstable_by_key(|(id, _)| *id);
        packs
    }

    /// Compresses one pack of many blobs, or some that have one each, which were written so many seconds ago. Blocks.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Poisoned`], [`Error::Io`]; a pack that cannot be read is passed over.
    pub fn step(&mut self, cold_after: u32) -> Result<CompressStep> {
        let shared = Arc::clone(&self.blobs.shared);
        let _guard = PoisonOnPanic::during(&shared.poison, "compressing");
        let _copying = shared.lock(&shared.copying);
        let mut copied = Copied::default();
        let end = self.copy_some(&shared, cold_after, &mut copied);
        if copied.targets.is_empty() {
            return end;
        }
        let mut compressed = Compressed { packs: copied.targets.len(), ..Compressed::default() };
        for (entry, copy) in copied.targets.iter().flat_map(|target| &target.copies) {
            compressed.before += entry.location.stored.bytes();
            compressed.after += copy.stored.bytes();
        }
        let mut given = GivenBack::default();
        let switched = shared.switch(copied, &mut given);
        // The task that gives back tells of it.
        shared.lock(&shared.untold).add(&given);
        switched.and(end.map(|_| CompressStep::Did(compressed)))
    }

    /// Copies one pack of many blobs, or some that have one each, to what nothing points to yet.
    fn copy_some(&mut self, shared: &Shared, cold_after: u32, copied: &mut Copied) -> Result<CompressStep> {
        let ahead = self.ahead();
        if ahead.is_empty() {
            return Ok(CompressStep::Ended);
        }
        let mut bytes = 0;
        for (id, counters) in ahead.into_iter().take(LOOKED_AT_MAX) {
            if shared.check_open().is_err() || copied.targets.len() >= SINGLES_MAX || bytes >= SINGLES_BYTES {
                break;
            }
            let found = shared.look_at(id, cold_after).unwrap_or_else(|error| {
                now_and_then!(warn, pack = %id, %error, "a pack could not be looked at, and stays as it is");
                Found::Nothing
            });
            match found {
                Found::Nothing => {}
                Found::Warm => return Ok(CompressStep::Ended),
                // What was gathered before goes first.
                Found::Mixed if !copied.targets.is_empty() => break,
                Found::Mixed => {
                    if !shared.has_room_to_compress(pack_bytes(counters.records(), counters.live())) {
                        return Ok(CompressStep::NoRoom);
                    }
                    *copied = shared.copy(vec![(id, counters)], StoredRecord::compressed_where_it_pays)?;
                    self.done = id;
                    break;
                }
                Found::Single(entry, line) => match shared.compress_single(&entry, &line)? {
                    Tried::NoRoom => return Ok(CompressStep::NoRoom),
                    Tried::Stays => {}
                    Tried::Copied(target) => {
                        bytes += line.digest.size();
                        copied.targets.push(target);
                        copied.victims.push((id, counters));
                    }
                },
            }
            self.done = id;
        }
        Ok(CompressStep::Did(Compressed::default()))
    }
}

impl Shared {
    /// Whether a copy of so many bytes has room, without that of the ballast and of what is kept free.
    fn has_room_to_compress(&self, needed: u64) -> bool {
        let left = self.space.limits().keep_free;
        needed <= self.space.for_compaction() && needed.saturating_add(left) <= self.space.available()
    }

    /// What there is to compress in a pack.
    fn look_at(&self, id: PackId, cold_after: u32) -> Result<Found> {
        let pack = match self.packs.reader(&*self.disk, &self.keys, id) {
            Err(Error::Missing) => return Ok(Found::Nothing),
            other => other?,
        };
        let mut lines = pack.footer()?;
        let newest = lines.iter().map(|line| line.time).max().unwrap_or(Level::ZERO);
        if newest.plus(cold_after) > self.clock.now() {
            return Ok(Found::Warm);
        }
        lines.retain(|line| line.encoding == Encoding::Raw);
        let mut raw: Vec<(Entry, FooterEntry)> =
            lines.into_iter().filter_map(|line| Some((self.entry_of(id, &line)?, line))).collect();
        if pack.kind()? == PackKind::Single {
            return Ok(raw.pop().map_or(Found::Nothing, |(entry, line)| Found::Single(entry, line)));
        }
        self.pays(&raw).map(|pays| if pays { Found::Mixed } else { Found::Nothing })
    }

    /// The entry that points to the record of this line, if one does.
    fn entry_of(&self, pack: PackId, line: &FooterEntry) -> Option<Entry> {
        let place = Place { pack, offset: line.offset };
        let entry = self.index.get(self.index.key(&line.digest), self.waterline())?;
        (entry.location.place == place).then_some(entry)
    }

    /// Whether compressing these records would save enough, as some of them say.
    fn pays(&self, raw: &[(Entry, FooterEntry)]) -> Result<bool> {
        let (mut before, mut after) = (0, 0);
        for (entry, _) in raw.iter().step_by(raw.len().div_ceil(TRIED).max(1)) {
            let Some(record) = self.read_to_copy(entry)? else { continue };
            before += record.record_len();
            after += record.compressed_where_it_pays().record_len();
        }
        Ok(before > 0 && (before - after).saturating_mul(WORTH_PART) >= before)
    }

    /// Compresses a blob that has a pack of its own into another, which is durable.
    fn compress_single(&self, entry: &Entry, line: &FooterEntry) -> Result<Tried> {
        let size = line.digest.size();
        let growth = frame_count(size).saturating_mul(FRAME_GROWTH_MAX);
        let needed = pack_bytes(1, record_len(size).saturating_add(growth));
        if needed > self.space.limits().for_compaction {
            return Ok(Tried::Stays);
        }
        if !self.has_room_to_compress(needed) {
            return Ok(Tried::NoRoom);
        }
        let mut claim = self.space.target();
        claim.set(needed);
        let copied = self.packs.reader(&*self.disk, &self.keys, entry.location.place.pack).and_then(|pack| {
            let mut writer = None;
            let done = self.fill_single(&pack, entry, line, &mut writer);
            match done {
                Ok(true) => Ok(writer),
                _ => {
                    writer.into_iter().for_each(SingleWriter::abandon);
                    done.map(|_| None)
                }
            }
        });
        let writer = match copied {
            Ok(Some(writer)) => writer,
            Ok(None) | Err(Error::Missing) => return Ok(Tried::Stays),
            Err(Error::Damaged(_) | Error::Mismatch(_)) => {
                self.found_bad(entry.key, &entry.location);
                return Ok(Tried::Stays);
            }
            Err(error) => return Err(self.single_failed(error)),
        };
        let id = writer.id();
        let finished = writer.finish(&line.digest).and_then(|single| {
            let reader = single.reader();
            single.commit()?;
            Ok((PackCounters::sealed(reader.len()?, reader.allocated()?), single.appended(), reader))
        });
        match finished {
            Ok((counters, appended, reader)) => {
                claim.set(counters.counted());
                let stored = Stored::of(appended.end.saturating_sub(appended.place.byte_offset()));
                let copies = vec![(*entry, Location { place: appended.place, stored })];
                Ok(Tried::Copied(Target { reader, claim, counters, copies }))
            }
            Err(error) => {
                self.abandon(id, claim);
                Err(self.single_failed(error))
            }
        }
    }

    /// Writes the blob into a new pack, which is made once the first frame says that it pays: false if not.
    fn fill_single(
        &self,
        pack: &Arc<PackFile>,
        entry: &Entry,
        line: &FooterEntry,
        writer: &mut Option<SingleWriter>,
    ) -> Result<bool> {
        let digest = &line.digest;
        let mut frames = pack.frames(entry.location.place, digest, 0..digest.size())?;
        let mut hasher = Hasher::new(digest.function());
        while let Some(frame) = frames.next()? {
            hasher.update(&frame);
            if writer.is_none() {
                if compress_where_it_pays(&frame).is_none() {
                    return Ok(false);
                }
                let id = self.packs.next_id()?;
                let made = SingleWriter::create(self.disk.clone(), &self.keys, id, line.time)?;
                *writer = Some(made.compressing());
            }
            if let Some(writer) = writer {
                writer.write(&[frame])?;
            }
        }
        check_hashed(digest, hasher)?;
        Ok(true)
    }
}
