//! Reading everything that is there, from the disk and not from the page cache, and comparing it with all that vouches for
//! it: checksums, and the hash that its digest names. What is bad is missing from then on, as when a client reads it.
//!
//! **Invariant:** memory is bounded, whatever the volume holds: the index is walked for a number of records at a time.

mod position;

use std::collections::{HashMap, VecDeque};

use super::Blobs;
use super::damage::Damage;
use super::format::{PackId, Place};
use super::index::Entry;
use crate::{Digest, Error, Result};

pub use position::ScrubPosition;

/// About how many records are looked out at a time.
const RECORDS_AT_ONCE: usize = 250_000;

/// A record that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Bytes that it takes on the volume; none if it had gone meanwhile.
    pub bytes: u64,
    /// What is wrong with it, if anything is.
    pub bad: Option<BadRecord>,
}

/// What cannot be read back as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRecord {
    /// The blob, if the record still says which one it was.
    pub digest: Option<Digest>,
    /// Where it lies.
    pub place: Damage,
    /// What was wrong with it.
    pub what: String,
}

/// One pass over all packs, those that were begun last first: those that compaction makes of others, which it reads and
/// compares, too.
#[derive(Debug)]
pub struct Scrub {
    blobs: Blobs,
    packs: VecDeque<PackId>,
    entries: VecDeque<Entry>,
    /// The pack whose pages were forgotten.
    at: PackId,
    /// The highest pack when it began.
    newest: u32,
}

impl Scrub {
    /// Looks out what there is. Blocks.
    pub fn new(blobs: Blobs) -> Self {
        let newest = blobs.shared.packs.last_id().number();
        Self::of(blobs, newest, newest)
    }

    /// Goes on where another one was; anew if that had come to its end. Blocks.
    pub fn resume(blobs: Blobs, position: &ScrubPosition) -> Self {
        if position.at == 0 { Self::new(blobs) } else { Self::of(blobs, position.newest, position.at) }
    }

    /// Of what there was when `newest` was the highest pack, from `first` down.
    fn of(blobs: Blobs, newest: u32, first: u32) -> Self {
        let mut packs = blobs.shared.packs.ids();
        packs.retain(|id| id.number() <= newest.min(first));
        packs.sort_unstable_by(|one, other| other.cmp(one));
        Self { blobs, packs: packs.into(), entries: VecDeque::new(), at: PackId::NONE, newest }
    }

    /// How far it has come: the highest pack when it began, and that at hand, 0 at the end.
    pub fn place(&self) -> (u32, u32) {
        let next = self.entries.front().map(|entry| entry.location.place.pack);
        let at = next.or_else(|| self.packs.front().copied());
        (self.newest, at.map_or(0, PackId::number))
    }

    /// The footers of sealed packs that are not what they should be, with what a start does about it. Blocks.
    ///
    /// # Errors
    /// [`Error::Io`] if the process or the system has run out of something.
    pub fn footers(&self, mut found: impl FnMut(String)) -> Result<()> {
        let shared = &self.blobs.shared;
        for (id, _) in shared.packs.sealed_lens() {
            let footer = shared.packs.reader(&*shared.disk, &shared.keys, id).and_then(|pack| pack.footer());
            match footer {
                Ok(_) | Err(Error::Missing) => {}
                Err(Error::Damaged(what)) => {
                    found(format!("{what}; a start without a snapshot searches the pack instead"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The records of the next packs, in the order in which they lie; `None` if there is no pack left.
    fn look_out(&mut self) -> Option<()> {
        let shared = &self.blobs.shared;
        let mut rank: HashMap<PackId, usize> = HashMap::new();
        let mut records = 0;
        while records < RECORDS_AT_ONCE
            && let Some(id) = self.packs.pop_front()
        {
            records += shared.packs.counters(id).map_or(0, |counters| counters.records());
            rank.insert(id, rank.len());
        }
        if rank.is_empty() {
            return None;
        }
        let mut entries = Vec::with_capacity(records);
        shared.index.for_each(|entry| {
            if rank.contains_key(&entry.location.place.pack) {
                entries.push(*entry);
            }
        });
        let order = |place: Place| (rank.get(&place.pack).copied(), place.offset);
        entries.sort_unstable_by_key(|entry| order(entry.location.place));
        self.entries = entries.into();
        Some(())
    }

    fn read(&mut self, entry: &Entry) -> Result<Scrubbed> {
        let shared = &self.blobs.shared;
        let place = entry.location.place;
        let is_there =
            || shared.index.get(entry.key, shared.waterline()).is_some_and(|now| now.location.place == place);
        if !is_there() {
            return Ok(Scrubbed::default());
        }
        let pack = shared.packs.reader(&*shared.disk, &shared.keys, place.pack);
        if let Ok(pack) = &pack
            && std::mem::replace(&mut self.at, place.pack) != place.pack
        {
            pack.forget_pages();
        }
        let mut digest = None;
        let read = pack.and_then(|pack| {
            let found = pack.digest_at(place)?;
            digest = Some(found);
            if shared.index.key(&found) != entry.key {
                return Err(Error::Damaged("it is the record of another blob".to_owned()));
            }
            pack.hash(place, &found)
        });
        let bytes = entry.location.stored.bytes();
        let what = match read {
            Ok(()) => {
                shared.index.set_checked(entry.key, place);
                return Ok(Scrubbed { bytes, bad: None });
            }
            // It may have been compacted, and its pack be gone, since it was looked out.
            Err(Error::Missing | Error::Damaged(_)) if !is_there() => return Ok(Scrubbed::default()),
            Err(Error::Missing) => "its pack is gone".to_owned(),
            Err(Error::Damaged(what)) => what,
            Err(error) => return Err(error),
        };
        shared.found_bad(entry.key, &entry.location);
        Ok(Scrubbed { bytes, bad: Some(BadRecord { digest, place: place.into(), what }) })
    }
}

/// Reads one record after the other. Blocks. [`Error::Io`] if the process or the system has run out of something: nothing is
/// known of that record, which is passed over.
impl Iterator for Scrub {
    type Item = Result<Scrubbed>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.entries.is_empty() {
            self.look_out()?;
        }
        self.entries.pop_front().map(|entry| self.read(&entry))
    }
}
