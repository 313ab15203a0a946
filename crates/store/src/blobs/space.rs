//! How much the volume may hold, and who has a claim on it: limits, reservations, bytes in use.
//!
//! Who finds no room waits for it a while, if anybody lets go: see `room.rs`.
//!
//! `used` counts what the file system gave to the files (blocks, not lengths), and what is reserved: an upload reserves
//! by bytes received, never by what its client announces.
//!
//! **Invariant:** packs + reserved <= P, where P is the limit less what compaction, the catalog and the folders need;
//! the reserve for the catalog lies above P, so that names and rows can still be written when blobs cannot.
//! **Invariant:** compacting + owed <= what is kept for compaction: a target lies above P until as many bytes of packs
//! have been given back, also where a reader keeps the file that it replaces.
//!
//! It knows neither packs nor the index; it is told what they hold.

mod ballast;
mod limits;
mod room;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ballast::Ballast;
pub(crate) use ballast::make_room_to_start;
pub(crate) use limits::Limits;
use limits::LimitsNow;
use room::Room;

use crate::disk::{Disk, DiskSpace};
use crate::{Error, Held, Result};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// 256 folders of packs, the data folder, and the files that say how far reading all blobs again, and compressing what is
/// cold, have come: a block each.
const FOLDERS: u64 = 259 * 4 * KIB;
/// Free space of the volume is asked for after so many bytes...
const ASK_EACH_BYTES: u64 = 64 * MIB;
/// ... or after this time, whichever comes first: somebody else may fill it.
const ASK_EACH: Duration = Duration::from_secs(1);

/// What takes the bytes of a data folder that are in use, but for the catalog and whatever else the domain has there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceParts {
    /// Packs, with the garbage in them.
    pub packs: u64,
    /// Reserved for unfinished uploads.
    pub uploads: u64,
    /// Copies that compaction is making, and packs that it has copied and that are still read.
    pub compacting: u64,
    /// Snapshots of the index.
    pub snapshots: u64,
    /// The ballast.
    pub ballast: u64,
    /// Folders.
    pub folders: u64,
}

/// What was free on the volume, and what was reserved since then.
#[derive(Debug)]
struct Free {
    asked: Option<Instant>,
    available: u64,
    since: u64,
    /// What was reserved since this moment.
    taken_since: Option<Instant>,
    taken: u64,
    /// When somebody was last refused for want of room.
    refused: Option<Instant>,
}

/// How the room of a store is set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RoomOptions {
    /// Bytes that the data folder may hold; `None` for 90 % of the volume.
    pub(crate) limit: Option<u64>,
    /// Bytes that the volume must have left; `None` for the smaller of 2 GB and 5 % of it.
    pub(crate) keep_free: Option<u64>,
    /// The largest blob that is taken, if that is less than what there is room for.
    pub(crate) blob_max: Option<u64>,
    /// For how long a write waits for room.
    pub(crate) wait: Duration,
}

/// The books of one store.
#[derive(Debug)]
pub(crate) struct Space {
    disk: Arc<dyn Disk>,
    limits: LimitsNow,
    packs: AtomicU64,
    other: AtomicU64,
    snapshots: AtomicU64,
    reserved: AtomicU64,
    /// Of the target of a compaction under way.
    compacting: AtomicU64,
    /// Of targets in force, for which packs have not given back as much yet.
    owed: AtomicU64,
    free: Mutex<Free>,
    ballast: Ballast,
    room: Room,
}

impl Space {
    /// Nothing in use yet.
    pub(crate) fn new(disk: Arc<dyn Disk>, options: &RoomOptions) -> Result<Self> {
        let limits = limits_of(&*disk, options)?;
        let free = Free { asked: None, available: 0, since: 0, taken_since: None, taken: 0, refused: None };
        Ok(Self {
            ballast: Ballast::find(&*disk, limits.ballast),
            disk,
            limits: LimitsNow::new(limits),
            packs: AtomicU64::new(0),
            other: AtomicU64::new(0),
            snapshots: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            compacting: AtomicU64::new(0),
            owed: AtomicU64::new(0),
            free: Mutex::new(free),
            room: Room::new(options.wait),
        })
    }

    /// What follows from the limit, as it is now.
    pub(crate) fn limits(&self) -> Limits {
        self.limits.now()
    }

    /// Other limits from now on, of which the largest blob is one. Says nothing of `wait`, which stays.
    ///
    /// # Errors
    /// As [`Space::new`], and nothing has changed.
    pub(crate) fn change(&self, options: &RoomOptions) -> Result<()> {
        self.limits.change(limits_of(&*self.disk, options)?);
        self.was_full();
        self.has_room();
        Ok(())
    }

    /// How many bytes of blobs, which are `live`, would go with other limits.
    ///
    /// # Errors
    /// As [`Space::change`].
    pub(crate) fn above_with(&self, options: &RoomOptions, live: u64) -> Result<u64> {
        Ok(self.above(limits_of(&*self.disk, options)?.packs(self.beside_packs()), live))
    }

    /// P, as things are now.
    pub(crate) fn packs_max(&self) -> u64 {
        self.limits().packs(self.beside_packs())
    }

    fn beside_packs(&self) -> u64 {
        self.other.load(Ordering::Relaxed) + self.snapshots.load(Ordering::Relaxed)
    }

    /// The size of the largest blob that is taken: half of P, or one client could empty the cache; or less if so set.
    pub(crate) fn blob_max(&self) -> u64 {
        self.limits().blob_max.min(self.packs_max() / 2)
    }

    /// The size that was set as the largest of a blob.
    pub(crate) fn blob_max_set(&self) -> u64 {
        self.limits().blob_max
    }

    /// All bytes in use, reservations included.
    pub(crate) fn used(&self) -> u64 {
        [&self.packs, &self.other, &self.snapshots, &self.reserved, &self.compacting, &self.owed]
            .iter()
            .fold(FOLDERS, |sum, part| sum.saturating_add(part.load(Ordering::Relaxed)))
            .saturating_add(self.ballast.held())
    }

    /// The same, part by part.
    pub(crate) fn parts(&self) -> SpaceParts {
        let of = |part: &AtomicU64| part.load(Ordering::Relaxed);
        SpaceParts {
            packs: of(&self.packs),
            uploads: of(&self.reserved),
            compacting: of(&self.compacting).saturating_add(of(&self.owed)),
            snapshots: of(&self.snapshots),
            ballast: self.ballast.held(),
            folders: FOLDERS,
        }
    }

    /// A pack's file became this much larger or, in place of `before`, has this size.
    pub(crate) fn packs_change(&self, before: u64, after: u64) {
        if after >= before {
            self.packs.fetch_add(after - before, Ordering::Relaxed);
        } else {
            let less = before - after;
            let _ = self
                .packs
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| Some(sum.saturating_sub(less)));
        }
    }

    /// A pack's file of this size is gone, and nobody reads it any more. What is owed is paid first.
    pub(crate) fn released(&self, bytes: u64) {
        let mut paid = 0;
        let _ = self.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |owed| {
            paid = owed.min(bytes);
            Some(owed - paid)
        });
        self.packs_change(bytes - paid, 0);
    }

    /// What a compaction may still take, in bytes.
    pub(crate) fn for_compaction(&self) -> u64 {
        let taken = self.owed.load(Ordering::Relaxed).saturating_add(self.compacting.load(Ordering::Relaxed));
        self.limits().for_compaction.saturating_sub(taken)
    }

    /// Whether the volume has room for a compaction's target, for which what is kept free for others may be used: it
    /// gives more back.
    pub(crate) fn check_target(&self, bytes: u64) -> Result<()> {
        let lacking = || self.disk.space().ok().filter(|space| space.available < bytes);
        if lacking().is_some() {
            self.give_up_ballast();
        }
        lacking().map_or(Ok(()), |space| Err(Error::disk_full(space)))
    }

    /// The claim of a compaction's target, on nothing yet.
    pub(crate) fn target(self: &Arc<Self>) -> TargetClaim {
        TargetClaim { space: self.clone(), bytes: 0 }
    }

    /// What the catalog and its journal occupy.
    pub(crate) fn set_other(&self, bytes: u64) {
        self.other.store(bytes, Ordering::Relaxed);
    }

    /// What unfinished uploads and writes have claimed.
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }

    /// What the snapshots occupy.
    pub(crate) fn set_snapshots(&self, bytes: u64) {
        self.snapshots.store(bytes, Ordering::Relaxed);
    }

    /// What the file system has left, asked now.
    pub(crate) fn available(&self) -> u64 {
        self.ask(&mut self.free())
    }

    /// A claim on nothing yet.
    pub(crate) fn claim(self: &Arc<Self>) -> Reservation {
        Reservation { space: self.clone(), bytes: 0 }
    }

    /// The file system said that it is full: ask again before anything else is reserved.
    pub(crate) fn was_full(&self) {
        self.free().asked = None;
    }

    /// The error that says what holds the room.
    pub(crate) fn full(&self, held: Held) -> Error {
        match (held, self.disk.space()) {
            (Held::KeptFree, Ok(DiskSpace { total, available })) => {
                Error::NoSpace { held, used: total.saturating_sub(available), limit: total }
            }
            _ => Error::NoSpace { held, used: self.used(), limit: self.limits().limit },
        }
    }

    fn reserve(&self, bytes: u64) -> Result<()> {
        let reserved = self.reserved.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let wanted = self.packs.load(Ordering::Relaxed).saturating_add(reserved);
        let room = self.packs_max();
        let held = if wanted > room {
            Some(Held::Limit)
        } else if reserved > room / 2 {
            Some(Held::Uploads)
        } else {
            (!self.volume_has(bytes, self.limits().keep_free)).then_some(Held::KeptFree)
        };
        if let Some(held) = held {
            self.reserved.fetch_sub(bytes, Ordering::Relaxed);
            return Err(self.full(held));
        }
        self.count_pace(bytes);
        Ok(())
    }

    /// Whether the file system has so many bytes, and `left` beside them and what the ballast still needs.
    fn volume_has(&self, bytes: u64, left: u64) -> bool {
        let mut free = self.free();
        let stale = free.asked.is_none_or(|asked| asked.elapsed() >= ASK_EACH);
        let asks = stale || free.since >= ASK_EACH_BYTES;
        if asks {
            self.ask(&mut free);
        }
        let left = left.max(self.ballast.missing());
        let is_enough = |free: &Free| free.available >= left.saturating_add(free.since).saturating_add(bytes);
        // Nobody is refused by an old answer: there may be room by now.
        if !asks && !is_enough(&free) {
            self.ask(&mut free);
        }
        let enough = is_enough(&free);
        if enough {
            free.since += bytes;
        }
        enough
    }

    /// If the file system does not answer, the last answer stands.
    fn ask(&self, free: &mut Free) -> u64 {
        if let Ok(space) = self.disk.space() {
            (free.asked, free.available, free.since) = (Some(Instant::now()), space.available, 0);
        }
        free.available
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn limits_of(disk: &dyn Disk, options: &RoomOptions) -> Result<Limits> {
    let volume = disk.space().map_err(|error| Error::io("asking for the size of the volume", error))?;
    Limits::new(options, volume)
}

/// A claim on space; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    space: Arc<Space>,
    bytes: u64,
}

impl Reservation {
    /// Claims so many bytes more.
    ///
    /// # Errors
    /// [`Error::NoSpace`] if there is no room for them now.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<()> {
        self.space.reserve(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// The same, but also an error if this second has taken in its share.
    pub(crate) fn grow_at_pace(&mut self, bytes: u64) -> Result<()> {
        if self.space.pause().is_some() { Err(self.space.full(Held::Limit)) } else { self.grow(bytes) }
    }

    /// As [`Reservation::grow`], but waits for room if there is none.
    ///
    /// # Errors
    /// [`Error::NoSpace`] if none was made in time.
    pub(crate) async fn grow_patiently(&mut self, bytes: u64) -> Result<()> {
        self.space.wait_for_room(bytes).await?;
        self.bytes += bytes;
        Ok(())
    }

    /// A claim on so many bytes: a part of this one if it has as many, else another.
    ///
    /// # Errors
    /// [`Error::NoSpace`] if it has not, and there is no room for them now.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<Self> {
        let mut taken = self.space.claim();
        if self.bytes >= bytes {
            (self.bytes, taken.bytes) = (self.bytes - bytes, bytes);
        } else {
            taken.grow(bytes)?;
        }
        Ok(taken)
    }

    /// Takes in another claim.
    pub(crate) fn join(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives back what is not needed of it.
    pub(crate) fn shrink_to(&mut self, bytes: u64) {
        let more = self.bytes.saturating_sub(bytes);
        self.bytes -= more;
        self.space.reserved.fetch_sub(more, Ordering::Relaxed);
        self.space.has_room();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// What a compaction's target occupies until it is in force; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct TargetClaim {
    space: Arc<Space>,
    bytes: u64,
}

impl TargetClaim {
    /// It occupies so many bytes by now.
    pub(crate) fn set(&mut self, bytes: u64) {
        self.space.compacting.fetch_sub(self.bytes, Ordering::Relaxed);
        self.space.compacting.fetch_add(bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }

    /// The target stays, as a pack.
    pub(crate) fn keep(mut self) {
        let bytes = self.bytes;
        self.set(0);
        self.space.owed.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for TargetClaim {
    fn drop(&mut self) {
        self.set(0);
    }
}
