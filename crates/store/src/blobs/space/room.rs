//! Waiting for room: who writes and finds none waits a while for what is let go meanwhile.
//!
//! Levels have whole seconds, and letting go ends at one of them. So that what one second brought in is never most of
//! what there is, a store that fills takes in no more than an eighth of its room in a second: that slows down only
//! stores that are small for their load.
//!
//! **Invariant:** nobody waits longer than was set, and nobody at all where nobody lets go.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Space;
use crate::{Held, Result};

/// Pacing begins when this part of the room is taken.
const PACED_FROM: u64 = 4;
/// The part of the room that may be taken in a second then.
const PACED_PART: u64 = 8;
/// A second.
const PACE: Duration = Duration::from_secs(1);
/// For so long after a refusal uploads count as refused.
const REFUSING: Duration = Duration::from_secs(60);
/// Letting go begins when blobs that are there take so many percent of what packs may hold...
const HIGH_PERCENT: u64 = 87;
/// ... and goes on down to so many.
const LOW_PERCENT: u64 = 85;

/// Of [`Room::refused`]: whoever comes is refused too.
const ENDED: u64 = u64::MAX;

/// Who waits for room.
#[derive(Debug)]
pub(super) struct Room {
    wait: Duration,
    /// Bytes that are waited for.
    wanted: AtomicU64,
    /// Rises when whoever waits is to be refused.
    refused: AtomicU64,
    made: Notify,
    wanting: Notify,
}

impl Room {
    pub(super) fn new(wait: Duration) -> Self {
        let (wanted, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { wait, wanted, refused, made: Notify::new(), wanting: Notify::new() }
    }
}

/// Counts what one caller waits for.
struct Wanting<'a> {
    room: &'a Room,
    bytes: u64,
}

impl<'a> Wanting<'a> {
    fn new(room: &'a Room, bytes: u64) -> Self {
        room.wanted.fetch_add(bytes, Ordering::Relaxed);
        room.wanting.notify_one();
        Self { room, bytes }
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.room.wanted.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Space {
    /// Reserves so many bytes, now or once there is room for them.
    pub(super) async fn wait_for_room(&self, bytes: u64) -> Result<()> {
        let deadline = Instant::now() + self.room.wait;
        let refused_before = self.room.refused.load(Ordering::Relaxed);
        let mut wanting = None;
        if bytes == 0 {
            return Ok(());
        }
        loop {
            let made = self.room.made.notified();
            tokio::pin!(made);
            made.as_mut().enable();
            let left = deadline.saturating_duration_since(Instant::now());
            let refused = self.room.refused.load(Ordering::Relaxed);
            let ended = left.is_zero() || refused != refused_before || refused == ENDED;
            // Pauses end by themselves, and do not count as waiting for room.
            if let Some(pause) = self.pause().filter(|_| !ended) {
                let _ = tokio::time::timeout(pause.min(left), made).await;
                continue;
            }
            match self.reserve(bytes) {
                Ok(()) => return Ok(()),
                // No letting go helps against that.
                Err(error) if ended || self.are_uploads_too_many(bytes) => {
                    self.free().refused = Some(Instant::now());
                    let is_leased = refused != refused_before && refused != ENDED;
                    return Err(if is_leased { self.full(Held::Lease) } else { error });
                }
                Err(_) => {}
            }
            if wanting.is_none() {
                wanting = Some(Wanting::new(&self.room, bytes));
            }
            let _ = tokio::time::timeout(left, made).await;
        }
    }

    /// Whether unfinished uploads and writes would hold more than they may together.
    fn are_uploads_too_many(&self, bytes: u64) -> bool {
        self.reserved().saturating_add(bytes) > self.packs_max() / 2
    }

    /// Whether a store like this one paces what it takes in.
    fn is_paced(&self) -> bool {
        let taken = self.packs.load(Ordering::Relaxed).saturating_add(self.reserved());
        !self.room.wait.is_zero() && taken >= self.packs_max() / PACED_FROM
    }

    /// How long to wait until this second's share is not used up.
    pub(super) fn pause(&self) -> Option<Duration> {
        if !self.is_paced() {
            return None;
        }
        let share = self.packs_max() / PACED_PART;
        let free = self.free();
        let passed = free.taken_since.map(|since| since.elapsed())?;
        (passed < PACE && free.taken >= share).then(|| PACE - passed)
    }

    /// Counts what was taken in this second.
    pub(super) fn count_pace(&self, bytes: u64) {
        if !self.is_paced() {
            return;
        }
        let mut free = self.free();
        match free.taken_since {
            Some(since) if since.elapsed() < PACE => free.taken += bytes,
            _ => (free.taken_since, free.taken) = (Some(Instant::now()), bytes),
        }
    }

    /// There may be room for those who wait.
    pub(crate) fn has_room(&self) {
        if self.wanted() > 0 {
            self.room.made.notify_waiters();
        }
    }

    /// There will be no room for those who wait.
    pub(crate) fn has_none(&self) {
        self.room.refused.fetch_add(1, Ordering::Relaxed);
        self.room.made.notify_waiters();
    }

    /// Nobody lets go any more: from now on nobody waits.
    pub(crate) fn end_waiting(&self) {
        self.room.refused.store(ENDED, Ordering::Relaxed);
        self.room.made.notify_waiters();
    }

    /// Whether somebody was refused within the last minute for want of room.
    pub(crate) fn is_refusing(&self) -> bool {
        self.free().refused.is_some_and(|refused| refused.elapsed() < REFUSING)
    }

    /// Bytes that are waited for.
    pub(crate) fn wanted(&self) -> u64 {
        self.room.wanted.load(Ordering::Relaxed)
    }

    /// Returns when somebody begins to wait for room.
    pub(crate) async fn wanting(&self) {
        self.room.wanting.notified().await;
    }

    /// Bytes by which those who wait have too little room as things are, so many of which come back without.
    pub(crate) fn shortage(&self, coming_back: u64) -> u64 {
        let packs = self.packs.load(Ordering::Relaxed).saturating_sub(coming_back);
        let taken = packs.saturating_add(self.reserved()).saturating_add(self.wanted());
        taken.saturating_sub(self.packs_max()).max(self.volume_lacks().saturating_sub(coming_back))
    }

    /// Bytes that the file system has too few for those who wait, and for the ballast: without it names are refused too.
    fn volume_lacks(&self) -> u64 {
        let ballast = self.ballast.wanted();
        let left = match self.wanted() {
            0 => ballast,
            wanted => self.limits().keep_free.max(ballast).saturating_add(wanted),
        };
        if left == 0 { 0 } else { left.saturating_sub(self.available()) }
    }

    /// How many bytes of blobs may be there before letting go begins, `live` being there now.
    pub(crate) fn room(&self, live: u64) -> u64 {
        let volume = live.saturating_add(self.available()).saturating_sub(self.limits().keep_free);
        (self.packs_max() / 100 * HIGH_PERCENT).min(volume)
    }

    /// How many bytes of blobs that are there, which are `live`, should be let go. What is garbage already is not
    /// counted: it comes back without.
    pub(crate) fn excess(&self, live: u64) -> u64 {
        let above = self.above(self.packs_max(), live);
        // What is garbage already comes back to the volume as well.
        let garbage = self.packs.load(Ordering::Relaxed).saturating_sub(live);
        let short = self.volume_lacks().saturating_sub(garbage);
        above.max(short).min(live)
    }

    /// How many bytes of blobs that are there, which are `live`, go for want of room once packs may hold no more than `packs_max`.
    pub(super) fn above(&self, packs_max: u64, live: u64) -> u64 {
        let taken = live.saturating_add(self.reserved()).saturating_add(self.wanted());
        let percent = |percent| packs_max / 100 * percent;
        if taken > percent(HIGH_PERCENT) { taken.saturating_sub(percent(LOW_PERCENT)).min(live) } else { 0 }
    }
}
