//! What letting go asks of the store: how much should go, down to which level, and that what lies below goes; and how
//! levels fall of what nothing needs any more.
//!
//! **Invariant:** an entry leaves the index only below a waterline that the catalog has. That this is so, and that no
//! waterline lies above what the catalog has while packs are unlinked, is for the domain to see to.

use std::sync::atomic::Ordering;

use super::Blobs;
use super::format::PackId;
use super::scan_levels::level_above;
use crate::{Digest, Level, Result};

/// What was taken out of the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Blobs.
    pub blobs: u64,
    /// Bytes that they took; on the volume they are garbage now.
    pub bytes: u64,
}

/// What a sweep came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs that no name needs and nobody counts on: they lie at the lowest level now.
    pub blobs: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Bytes of blobs that no name needs either, and somebody may still count on.
    pub leased: u64,
}

impl Blobs {
    /// Bytes of blobs that should be let go, so that there is room for what comes in and for those who wait.
    pub fn excess(&self) -> u64 {
        self.shared.space.excess(self.shared.packs.live())
    }

    /// Bytes that the file system must have left for others.
    pub fn keep_free(&self) -> u64 {
        self.shared.space.limits().keep_free
    }

    /// Bytes of blobs that may be there before letting go begins. Asks the file system.
    pub fn room(&self) -> u64 {
        self.shared.space.room(self.shared.packs.live())
    }

    /// Bytes by which those who wait have too little room as things are, garbage and the ends of packs counted, and what is
    /// held for whoever copies it not.
    pub fn shortage(&self) -> u64 {
        self.shared.space.shortage(self.shared.held.bytes())
    }

    /// Gives the ballast up, if the file system is full: false if there is none, or room without. Blocks.
    pub fn give_up_ballast(&self) -> bool {
        self.shared.space.give_up_ballast()
    }

    /// Whether the file system has room for rows of the catalog, beside what letting go needs itself.
    ///
    /// # Errors
    /// [`Error::NoSpace`](crate::Error::NoSpace) if not.
    pub fn check_room_for_rows(&self) -> Result<()> {
        self.shared.space.check_room_for_rows()
    }

    /// Whether an upload was refused for want of room within the last minute.
    pub fn is_refusing(&self) -> bool {
        self.shared.space.is_refusing()
    }

    /// Bytes that writers wait for now.
    pub fn wanted(&self) -> u64 {
        self.shared.space.wanted()
    }

    /// Returns when a writer begins to wait for room. One caller at a time.
    pub async fn wanting(&self) {
        self.shared.space.wanting().await;
    }

    /// Has those who wait look again whether there is room.
    pub fn has_room(&self) {
        self.shared.space.has_room();
    }

    /// Refuses those who wait: nothing more can go.
    pub fn has_none(&self) {
        self.shared.space.has_none();
    }

    /// Whether there is a pack of this number.
    pub fn has_pack(&self, pack: u32) -> bool {
        self.shared.packs.counters(PackId::new(pack)).is_some()
    }

    /// Refuses those who wait, and whoever comes: nothing goes any more.
    pub fn end_waiting(&self) {
        self.shared.space.end_waiting();
    }

    /// The lowest level below which at least so many bytes lie that are there; `None` if there are not so many. Walks the
    /// index twice. Blocks.
    pub fn level_above(&self, bytes: u64) -> Option<Level> {
        level_above(&self.shared.index, self.waterline(), bytes)
    }

    /// Lowers every level above `now` to it, takes all marks back, and then has all that was remembered of walks until now
    /// void, by a new epoch. Blocks for as long as a walk over the index takes.
    pub fn cap_levels(&self, now: Level) {
        self.shared.index.cap(now);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Bytes of blobs with a level above this one. Blocks for as long as a walk over the index takes.
    pub fn bytes_above(&self, level: Level) -> u64 {
        let mut bytes = 0;
        self.shared
            .index
            .for_each(|entry| bytes += if entry.level > level { entry.location.occupied() } else { 0 });
        bytes
    }

    /// Bytes that a blob takes if it is there with this level or a lower one: what it would add to what lies above. No I/O.
    pub fn bytes_not_above(&self, digest: &Digest, level: Level) -> u64 {
        let index = &self.shared.index;
        let entry = index.get(index.key(digest), self.waterline());
        entry.filter(|entry| entry.level <= level).map_or(0, |entry| entry.location.occupied())
    }

    /// Marks these blobs as needed, for [`Blobs::sweep`].
    pub fn mark(&self, digests: &[Digest]) {
        self.shared.index.mark(digests);
    }

    /// Lowers what has no mark and lies below `leased_from` to the lowest level; nothing with `only_looks`. Takes all
    /// marks back. Blocks for as long as a walk over the index takes.
    pub fn sweep(&self, leased_from: Level, only_looks: bool) -> Swept {
        let mut swept = Swept::default();
        self.shared.index.sweep(|entry| {
            let bytes = entry.location.occupied();
            let falls = entry.level < leased_from && !only_looks;
            if falls {
                swept.blobs += 1;
                swept.bytes += bytes;
            } else {
                swept.leased += bytes;
            }
            falls
        });
        swept
    }

    /// Takes out of the index what lies below `committed`, a waterline that the catalog has. Blocks.
    pub fn drop_below(&self, committed: Level) -> Dropped {
        let shared = &self.shared;
        let mut dropped = Dropped::default();
        shared.index.drop_below(committed, |entry| {
            shared.dead(&entry.location);
            dropped.blobs += 1;
            dropped.bytes += entry.location.occupied();
        });
        // The figures by age count what is below the waterline too.
        *shared.lock(&shared.ages) = None;
        dropped
    }
}
