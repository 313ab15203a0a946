//! The shell: what the domain calls. Everything that may wait for the disk runs on the blocking pool, decided here (and
//! in `reader` and `upload`) and nowhere below.
//!
//! **Invariant:** no lock is held across an await, and nothing that is begun on the blocking pool depends on somebody
//! waiting for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::appending::occupied;
use super::compaction::GivenBack;
use super::damage::Damage;
use super::group_sync::SyncPoints;
use super::pack_set::Standing;
use super::reader::BlobReader;
use super::scan_levels::BytesByAge;
use super::shared::{Raised, Shared};
use super::space::{Reservation, RoomOptions, SpaceParts, make_room_to_start};
use super::start::{Started, start};
use super::upload::Upload;
use crate::disk::Disk;
use crate::{Clock, Digest, Error, Held, Level, Result};

/// Packs that are synced at a time for one who waits.
const SYNCS_AT_A_TIME: usize = 16;

/// How a store is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlobsOptions {
    /// Bytes that the data folder may hold in all, at least 8 000 000. `None`: 90 % of the volume.
    pub limit: Option<u64>,
    /// Bytes that the volume must have left. `None`: the smaller of 2 GB and 5 % of it.
    pub keep_free: Option<u64>,
    /// For how long a write that finds no room waits for it: zero where nobody lets go.
    pub room_wait: Duration,
    /// The largest blob that is taken, in bytes, where that is less than what the store itself takes.
    pub blob_max: Option<u64>,
    /// Blobs that come in are compressed where that pays.
    pub compress: bool,
    /// [`Blobs::sync`] does not wait for the disk: a power cut may then cost what was promised.
    pub durability_off: bool,
}

impl BlobsOptions {
    pub(super) fn room(&self) -> RoomOptions {
        let Self { limit, keep_free, blob_max, room_wait, .. } = *self;
        RoomOptions { limit, keep_free, blob_max, wait: room_wait }
    }
}

/// Figures for metrics and operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobFigures {
    /// Bytes that the data folder may hold.
    pub limit: u64,
    /// Bytes that it holds, with what is reserved for uploads in progress.
    pub used: u64,
    /// Bytes that the file system has left.
    pub free: u64,
    /// Bytes of packs that hold blobs; the rest of them is garbage.
    pub live: u64,
    /// Bytes that packs may hold at most, as things are.
    pub packs_max: u64,
    /// The largest blob that is taken.
    pub blob_max: u64,
    /// Blobs in the index.
    pub blobs: usize,
    /// Packs on the volume.
    pub packs: usize,
    /// Bytes of memory that the index takes.
    pub index_memory: usize,
    /// Why nothing is taken in any more, if so.
    pub poisoned: Option<String>,
    /// By age, as of the last minute or so; empty until [`Blobs::background_sync`] first ran.
    pub by_age: BytesByAge,
}

/// The blobs of a volume. Clones share it.
#[derive(Clone, Debug)]
pub struct Blobs {
    pub(super) shared: Arc<Shared>,
}

impl Blobs {
    /// Opens the blobs of a volume, whose lock the caller holds, making the volume if it is empty. `waterline` and
    /// `damaged` are what the catalog remembers. `on_damage` is called on a blocking thread when a bad record is found:
    /// after its entry left the index and the epoch rose, before the reader is told [`Error::Missing`].
    ///
    /// # Errors
    /// [`Error::NewerFormat`], [`Error::NotWritable`], [`Error::NoSpace`] (on making a volume), [`Error::Io`].
    pub fn open(
        disk: Arc<dyn Disk>,
        options: &BlobsOptions,
        clock: Arc<Clock>,
        waterline: Level,
        damaged: Vec<Damage>,
        on_damage: Box<dyn Fn(Damage) + Send + Sync>,
    ) -> Result<(Self, Started)> {
        let (shared, started) = start(disk, options, clock, waterline, damaged, on_damage)?;
        Ok((Self { shared }, started))
    }

    /// Before anything of a volume is opened: gives its ballast up if its file system is full.
    pub fn make_room_to_start(disk: &dyn Disk) {
        make_room_to_start(disk);
    }

    /// Which of these are not there; the others are raised to `to` if they are older than `fresh_from`. No I/O, no
    /// waiting. The empty blob is always there.
    pub fn missing(&self, digests: &[Digest], to: Level, fresh_from: Level, missing: &mut Vec<Digest>) {
        self.shared.missing(digests, to, fresh_from, missing);
    }

    /// Raises those that are there to `to`, and says what is missing, and what must be synced before anything that
    /// needs them is promised.
    pub fn raise(&self, digests: &[Digest], to: Level) -> Raised {
        self.shared.raise(digests, to)
    }

    /// Whether the blob is there. It is not raised: by the answer nothing may be promised.
    pub fn contains(&self, digest: &Digest) -> bool {
        let key = self.shared.index.key(digest);
        *digest == Digest::EMPTY || self.shared.index.get(key, self.shared.waterline()).is_some()
    }

    /// Of these points, those that are still not durable.
    pub fn unsynced(&self, points: &SyncPoints) -> SyncPoints {
        self.shared.packs.not_durable(&points.iter().collect::<Vec<_>>())
    }

    /// Returns once everything up to these points is durable. At most two syncs of each pack are waited for.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Poisoned`]: some of it never will be, and has left the index. A poisoned store
    /// refuses even what is durable.
    pub async fn sync(&self, points: &SyncPoints) -> Result<()> {
        self.shared.poison.check()?;
        let mut waiting = Vec::new();
        for (pack, end) in points.iter() {
            match self.shared.packs.standing(pack) {
                Standing::Durable => {}
                Standing::GivenUp => return Err(self.shared.given_up()),
                Standing::Unsealed(group) if group.synced() >= end => {}
                Standing::Unsealed(group) if group.target().is_given_up() => {
                    return Err(self.shared.given_up());
                }
                Standing::Unsealed(group) => waiting.push((group, end)),
            }
        }
        if self.shared.durability_off {
            return Ok(());
        }
        for some in waiting.chunks(SYNCS_AT_A_TIME) {
            some.iter().for_each(|(group, _)| group.start());
            for (group, end) in some {
                group.wait(*end).await?;
            }
        }
        // The store may have been poisoned meanwhile by another pack.
        self.shared.poison.check()
    }

    /// Reads all of a blob and compares every checksum. Blocks.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is not there or is bad, [`Error::Io`].
    pub fn verify(&self, digest: &Digest) -> Result<()> {
        self.shared.verify(digest)
    }

    /// A whole blob, for walks: the caller sees to it that it is small. Blocks.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Io`].
    pub fn read_small(&self, digest: &Digest) -> Result<Bytes> {
        self.shared.read_small(digest)
    }

    /// As [`Blobs::read_small`], for whoever only looks: the blob is not raised by it. Blocks.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Io`].
    pub fn peek_small(&self, digest: &Digest) -> Result<Bytes> {
        self.shared.peek_small(digest)
    }

    /// As [`Blobs::read_small`], if the page cache has it; `Pending` if reading it may block.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub fn try_read_small(&self, digest: &Digest) -> Poll<Result<Bytes>> {
        self.shared.try_read_small(digest)
    }

    /// Whole blobs; the caller bounds their sizes together. What the page cache has is read here, the rest in one trip
    /// to the blocking pool. Each result stands where its digest stood.
    pub async fn read_many(&self, digests: &[Digest]) -> Vec<Result<Bytes>> {
        let mut results = Vec::with_capacity(digests.len());
        let mut slow = Vec::new();
        for (position, digest) in digests.iter().enumerate() {
            match self.shared.try_read_small(digest) {
                Poll::Ready(result) => results.push(result),
                Poll::Pending => {
                    slow.push((position, *digest));
                    results.push(Err(Error::Busy("the read was broken off".to_owned())));
                }
            }
        }
        if slow.is_empty() {
            return results;
        }
        let shared = self.shared.clone();
        let read = self.shared.turns.read(move || {
            Ok(slow
                .into_iter()
                .map(|(position, digest)| (position, shared.read_small(&digest)))
                .collect::<Vec<_>>())
        });
        for (position, result) in read.await.unwrap_or_default() {
            if let Some(place) = results.get_mut(position) {
                *place = result;
            }
        }
        results
    }

    /// Begins to read a blob from `offset` (not beyond its size), up to `len` bytes of it. Raises it.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Io`].
    pub async fn open_blob(&self, digest: &Digest, offset: u64, len: Option<u64>) -> Result<BlobReader> {
        BlobReader::open(self.shared.clone(), *digest, offset, len).await
    }

    /// Takes in whole blobs; each is hashed. Each result stands where its blob stood. A blob that is there already is
    /// raised and keeps its place.
    pub async fn put_many(&self, blobs: Vec<(Digest, Bytes)>) -> Vec<Result<()>> {
        let shared = self.shared.clone();
        let count = blobs.len();
        let claim = self.claim_for(&blobs).await;
        match self.shared.turns.write(move || Ok(shared.put_many(&blobs, claim))).await {
            Ok(results) => results,
            Err(error) => super::appending::repeat_error(&error, count),
        }
    }

    /// A claim on what these blobs may need; on nothing if there is no room for all of them, and none was made.
    async fn claim_for(&self, blobs: &[(Digest, Bytes)]) -> Reservation {
        let most = self.shared.space.blob_max();
        let needed = |(digest, _): &(Digest, Bytes)| {
            if digest.size() <= most { occupied(digest.size()) } else { 0 }
        };
        let mut claim = self.shared.space.claim();
        if claim.grow_at_pace(blobs.iter().map(needed).sum()).is_err() {
            let missing = blobs.iter().filter(|(digest, _)| !self.contains(digest));
            // Each is told by itself then, as far as there is room.
            let _ = claim.grow_patiently(missing.map(needed).sum()).await;
        }
        claim
    }

    /// Begins an upload. Dropped unfinished, it vanishes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the digest announces more than is taken in one blob, [`Error::Poisoned`],
    /// [`Error::Busy`] while closing.
    pub async fn create(&self, digest: Digest) -> Result<Upload> {
        Upload::create(self.shared.clone(), digest)
    }

    /// How many times blobs were lost to damage or to a failed sync: what was remembered of them is void when it rises.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch.load(Ordering::SeqCst)
    }

    /// The level below which nothing is there.
    pub fn waterline(&self) -> Level {
        self.shared.waterline()
    }

    /// Sets the waterline. That it only rises is the domain's to see to.
    pub fn set_waterline(&self, waterline: Level) {
        self.shared.waterline.store(waterline.seconds(), Ordering::SeqCst);
    }

    /// The largest blob that is taken, in bytes, as things are. No system call, no walk.
    pub fn blob_max(&self) -> u64 {
        self.shared.space.blob_max()
    }

    /// Figures, some of them by a walk over packs and shards.
    pub fn figures(&self) -> BlobFigures {
        let shared = &self.shared;
        BlobFigures {
            limit: shared.space.limits().limit,
            used: shared.space.used(),
            free: shared.space.available(),
            live: shared.packs.live(),
            packs_max: shared.space.packs_max(),
            blob_max: shared.space.blob_max(),
            blobs: shared.index.len(),
            packs: shared.packs.len(),
            index_memory: shared.index.memory_bytes(),
            poisoned: shared.poison.cause(),
            by_age: shared.lock(&shared.ages).as_ref().map(|(_, ages)| ages.clone()).unwrap_or_default(),
        }
    }

    /// Takes up other sizes, and whether what comes in is compressed; the rest of the options counts from the next start on,
    /// and so does the size of the ballast. What is there stays: if it is too much now, it is let go. Blocks.
    ///
    /// # Errors
    /// [`Error::Io`] for sizes that cannot work, and nothing has changed.
    pub fn change(&self, options: &BlobsOptions) -> Result<()> {
        self.shared.space.change(&options.room())?;
        self.shared.compresses.store(options.compress, Ordering::Relaxed);
        Ok(())
    }

    /// How many bytes of blobs would be let go at once if this limit were in force. Asks the file system.
    ///
    /// # Errors
    /// As [`Blobs::change`].
    pub fn excess_with(&self, options: &BlobsOptions) -> Result<u64> {
        self.shared.space.above_with(&options.room(), self.shared.packs.live())
    }

    /// What takes the bytes that are in use.
    pub fn space_parts(&self) -> SpaceParts {
        self.shared.space.parts()
    }

    /// Writes a snapshot of all levels, where `level` is S: the closure of every value whose level was set at S or
    /// before had been raised when this was called. Blocks.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`]: the last one stays in force.
    pub fn snapshot(&self, level: Level) -> Result<()> {
        self.shared.snapshot(level).map(|_| ())
    }

    /// Takes nothing in any more, seals all packs, writes a snapshot, and notes that the stop was clean. Reads go on.
    /// Blocks.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Poisoned`], [`Error::Io`]: the next start may treat it as a crash.
    pub fn close(&self, level: Level) -> Result<()> {
        self.shared.close(level)
    }

    /// One bounded step of upkeep, to be called about every second on a blocking thread: syncs what is not durable,
    /// seals what is full, makes the next pack ahead of need, looks at the ages of blobs once a minute.
    pub fn background_sync(&self) {
        self.shared.background_sync();
    }

    /// One bounded step of giving space back to the volume: packs that hold nothing any more are unlinked; then, if
    /// garbage is above a tenth of what packs may hold, or amounts to a pack when it is `urgent`, the packs with the
    /// least in them are copied into one. To be called by one task alone, on a blocking thread, while the waterline in
    /// force is the one that the catalog remembers. While the store is being closed, or poisoned, it does nothing.
    ///
    /// # Errors
    /// [`Error::NoSpace`] if the volume has no room for the copy, [`Error::Poisoned`], [`Error::Io`]. What was given
    /// back before stays so, and counts in what the next step says.
    pub fn give_back(&self, urgent: bool) -> Result<GivenBack> {
        self.shared.give_back(urgent)
    }

    /// What everything but packs and snapshots occupies below the data folder: catalog, journal.
    pub fn set_other_bytes(&self, bytes: u64) {
        self.shared.space.set_other(bytes);
    }
}

#[cfg(test)]
impl Blobs {
    /// For tests that look in between two steps.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Shared {
    /// See [`Blobs::put_many`]. `claimed` holds what it may need, or nothing. Blocks.
    pub(super) fn put_many(
        self: &Arc<Self>,
        blobs: &[(Digest, Bytes)],
        mut claimed: Reservation,
    ) -> Vec<Result<()>> {
        let mut results: Vec<Result<()>> =
            blobs.iter().map(|(digest, content)| check(digest, content)).collect();
        let mut small = (Vec::new(), Vec::new());
        let mut claim = self.space.claim();
        for (position, ((digest, content), result)) in blobs.iter().zip(&mut results).enumerate() {
            if result.is_err() {
                continue;
            }
            *result = self.check_open().and_then(|()| size_within(digest, self.space.blob_max_set()));
            if result.is_err() || self.is_there(digest) {
                continue;
            }
            if digest.size() >= self.space.limits().single_from {
                *result = self.put_single(digest, content, &mut claimed);
                continue;
            }
            match claimed.take(occupied(digest.size())) {
                Ok(taken) => {
                    claim.join(taken);
                    small.0.push(position);
                    small.1.push((*digest, content.clone()));
                }
                Err(error) => *result = Err(error),
            }
        }
        drop(claimed);
        let appended = self.append(&small.1, claim);
        for (position, appended) in small.0.into_iter().zip(appended) {
            if let Some(result) = results.get_mut(position) {
                *result = appended;
            }
        }
        results
    }

    /// Whether the blob is there, and raised.
    pub(super) fn is_there(&self, digest: &Digest) -> bool {
        let key = self.index.key(digest);
        *digest == Digest::EMPTY || self.index.raise(key, self.clock.now(), self.waterline()).is_some()
    }

    fn put_single(
        self: &Arc<Self>,
        digest: &Digest,
        content: &Bytes,
        claimed: &mut Reservation,
    ) -> Result<()> {
        self.check_size(digest)?;
        let claim = claimed.take(occupied(digest.size()))?;
        let mut writer = self.begin_single()?;
        if let Err(error) = writer.write(std::slice::from_ref(content)) {
            writer.abandon();
            return Err(self.single_failed(error));
        }
        self.finish_single(writer, digest, claim)
    }

    /// Whether a blob of this size is taken.
    pub(super) fn check_size(&self, digest: &Digest) -> Result<()> {
        size_within(digest, self.space.blob_max())
    }

    fn given_up(&self) -> Error {
        self.poison.check().err().unwrap_or_else(|| self.space.full(Held::Limit))
    }
}

fn size_within(digest: &Digest, limit: u64) -> Result<()> {
    let size = digest.size();
    if size > limit { Err(Error::TooLarge { size, limit }) } else { Ok(()) }
}

/// Whether the content is what the digest names.
fn check(digest: &Digest, content: &Bytes) -> Result<()> {
    let mut hasher = crate::Hasher::new(digest.function());
    hasher.update(content);
    check_hashed(digest, hasher)
}

/// Whether what was hashed is what the digest names.
pub(super) fn check_hashed(digest: &Digest, hasher: crate::Hasher) -> Result<()> {
    let found = hasher.finish();
    if found == *digest {
        Ok(())
    } else {
        Err(Error::Mismatch(format!("{digest} was announced, {found} came in")))
    }
}
