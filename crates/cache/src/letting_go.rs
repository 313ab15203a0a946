//! Letting go: what was used least recently goes, so that there is room for what comes in.
//!
//! One task does it, in this order, and the order is the promise: choose a level by the bytes that are too many; raise the
//! waterline to it, as far as leases and publishes in progress allow (from here on nothing below is served or there);
//! commit the waterline with all uses; then drop what lies below from the index; then forget its rows; then give the space
//! back. A crash after any step leaves whole names, or blobs without a name. The same task writes the snapshots of levels:
//! **invariant:** none is begun, and no pack goes, while the waterline is above the committed one, since a blob uploaded
//! anew then stands in the index in the place of one that a crash would need.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use millpond_store::blobs::Dropped;
use millpond_store::{Error, Held, Level, now_and_then};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::cache::Inner;
use crate::gate::Leased;
use crate::relevel::LOOK_SECONDS_MAX;

/// A step is done so often when nobody waits for room...
const PERIOD: Duration = Duration::from_secs(1);
/// ... and at most so often when somebody does.
const PERIOD_MIN: Duration = Duration::from_millis(50);
/// Who waits is refused when nothing could go for so long.
const STUCK: Duration = Duration::from_secs(2);
/// Levels are snapshotted at most so often.
const SNAPSHOT_PERIOD: Duration = Duration::from_secs(15 * 60);
/// Portions of rows that a step looks at.
const PORTIONS: usize = 8;
/// Packs are given back in so many bounded steps at a time.
const GIVE_BACK_STEPS: usize = 16;
/// Names begin to go when they take so much of the limit, in percent; no more are taken in from 15 on.
const NAMES_HIGH_PERCENT: u64 = 13;
/// What the rows' own bytes may be of the limit then: journal, log and free pages take twice as much again.
const NAMES_ROWS_PERCENT: u64 = 4;
/// Names are weighed at most so often: that reads every row.
const WEIGH_PERIOD: Duration = Duration::from_secs(10);

/// What letting go has come to, for all to see.
#[derive(Debug, Default)]
pub(crate) struct LettingGo {
    /// Names, blobs and bytes of blobs that were let go since the start.
    pub names: AtomicU64,
    pub blobs: AtomicU64,
    pub bytes: AtomicU64,
    /// Bytes that were given back to the volume since the start, and of those that were moved for it.
    pub given_back: AtomicU64,
    pub moved: AtomicU64,
    /// The cache is being closed: what is under way is to end soon.
    pub stopping: AtomicBool,
    /// Bytes of what is kept, while uploads are refused because nothing else is left to go.
    pub kept_bytes: AtomicU64,
    /// Levels fell, and what lies at the lowest is to be dropped.
    pub swept: AtomicBool,
    /// A snapshot is due, however long ago the last one was written.
    pub snapshot_due: AtomicBool,
    /// The waterline in the catalog, in seconds.
    committed: AtomicU32,
}

impl LettingGo {
    pub(crate) fn new(committed: Level) -> Self {
        Self { committed: AtomicU32::new(committed.seconds()), ..Self::default() }
    }

    /// The waterline in the catalog.
    pub(crate) fn committed(&self) -> Level {
        Level::from_seconds(self.committed.load(Ordering::Acquire))
    }
}

/// What the task remembers from step to step.
#[derive(Debug)]
pub(crate) struct Progress {
    pub snapshot_after: Instant,
    weigh_after: Instant,
    /// Where the next portion of rows begins, if rows below the waterline may be left.
    rows_from: Option<u64>,
    /// The last step made no room for those who wait: then what no compaction gives back counts too.
    made_none: bool,
    /// Since when nothing could go although somebody waited.
    stuck_since: Option<Instant>,
    /// After the last portion, those before are to be looked at once more: the waterline rose meanwhile.
    rows_again: bool,
}

impl Progress {
    /// At a start: rows below the waterline may have been left, and the first snapshot is due after a while.
    pub(crate) fn at_start() -> Self {
        let now = Instant::now();
        let snapshot_after = now + SNAPSHOT_PERIOD;
        Self {
            snapshot_after,
            weigh_after: now,
            rows_from: Some(0),
            made_none: false,
            stuck_since: None,
            rows_again: false,
        }
    }

    /// A higher waterline was committed: any row may lie below it, also where no blob does.
    fn look_at_all_rows(&mut self) {
        self.rows_again = self.rows_from.is_some_and(|from| from > 0);
        self.rows_from.get_or_insert(0);
    }
}

/// Lets go until it is stopped. Whoever waits for room then is refused.
pub(crate) async fn run(inner: Arc<Inner>, mut stopped: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut progress = Progress::at_start();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = inner.blobs.wanting() => tokio::time::sleep(PERIOD_MIN).await,
            _ = stopped.changed() => break,
        }
        inner.let_go_step(&mut progress).await;
        if inner.blobs.wanted() > 0 {
            // Also those who began to wait while the step was under way.
            ticks.reset_after(PERIOD_MIN);
        }
    }
    inner.blobs.end_waiting();
}

impl Inner {
    /// One step, of bounded work but for the walk over the index.
    async fn let_go_step(self: &Arc<Self>, progress: &mut Progress) {
        let wanted = self.blobs.wanted();
        let leased = self.move_waterline(progress).await;
        let held = leased.is_some_and(|leased| leased.held_by_lease);
        let (lease, set) = self.gate.adjust_lease(held, wanted > 0);
        if lease < set {
            now_and_then!(
                warn,
                lease = lease.as_secs(),
                set = set.as_secs(),
                "the volume is too small for its load: what is looked up stays for less than the lease that was set"
            );
        }
        let dropped = self.commit_and_drop(progress).await;
        let Some(freed) = self.tidy_up(progress, wanted > 0).await else { return };
        self.blobs.has_room();
        progress.made_none = wanted > 0 && dropped.bytes == 0 && freed == 0;
        if dropped.bytes > 0 || freed > 0 {
            self.letting_go.kept_bytes.store(0, Ordering::Relaxed);
        }
        let kept = leased.is_some_and(|leased| leased.held_by_rules);
        let stuck = progress.made_none && (kept || held && self.gate.is_lease_at_its_floor());
        // The next second may let go what this one could not.
        let since = stuck.then(|| *progress.stuck_since.get_or_insert_with(Instant::now));
        progress.stuck_since = since;
        let stuck = since.is_some_and(|since| since.elapsed() >= STUCK);
        if stuck {
            self.note_kept(kept).await;
            now_and_then!(
                warn,
                wanted,
                kept,
                "the cache is full of what is in use or kept: uploads are refused"
            );
            self.blobs.has_none();
        }
    }

    /// Notes how much is kept, for those who are refused because of it.
    async fn note_kept(self: &Arc<Self>, kept: bool) {
        let inner = Arc::clone(self);
        let bytes =
            move || if kept { inner.blobs.bytes_above(inner.clock.now().plus(LOOK_SECONDS_MAX)) } else { 0 };
        let bytes = tokio::task::spawn_blocking(bytes).await.unwrap_or(0);
        self.letting_go.kept_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Why an upload is refused.
    pub(crate) fn refusal(&self, error: Error) -> crate::Error {
        match error {
            Error::NoSpace { held: held @ (Held::Limit | Held::Lease), used, limit } => {
                // Nobody waits for as long as it takes to shorten a lease to its end.
                let (lease, set) = self.gate.lease();
                let held = if lease < set { Held::Lease } else { held };
                match self.letting_go.kept_bytes.load(Ordering::Relaxed) {
                    0 => crate::Error::NoSpace { held, used, limit },
                    kept => {
                        let rules =
                            self.retention.now().that_keep(self.pins.now().count_at(self.time_of_pins()));
                        crate::Error::FullOfKept { used, limit, kept, rules }
                    }
                }
            }
            error => error.into(),
        }
    }

    /// What needs a waterline that is committed: forgets rows below it, gives space back, and writes a snapshot when one
    /// is due. Says how many bytes were given back; `None` if the waterline is not committed, and nothing was done.
    pub(crate) async fn tidy_up(self: &Arc<Self>, progress: &mut Progress, urgent: bool) -> Option<u64> {
        if self.blobs.waterline() != self.letting_go.committed() {
            return None;
        }
        self.forget_rows(progress).await;
        let freed = self.give_back(urgent).await;
        self.snapshot_if_due(progress).await;
        Some(freed)
    }

    /// Chooses the waterline and raises it.
    async fn move_waterline(self: &Arc<Self>, progress: &mut Progress) -> Option<Leased> {
        // Above the committed waterline nothing was dropped yet: what is too much would be counted again.
        let uncommitted = self.blobs.waterline() != self.letting_go.committed();
        if uncommitted || !self.levels_are_true.load(Ordering::Acquire) {
            return None;
        }
        let by_names = self.level_of_names(progress).await;
        let excess = match self.blobs.excess() {
            0 if progress.made_none => self.blobs.shortage(),
            excess => excess,
        };
        let by_blobs = match excess {
            0 => None,
            excess => {
                let inner = Arc::clone(self);
                // Less than that may be there: then all may go that no lease keeps.
                let level = move || inner.blobs.level_above(excess).unwrap_or(Level::PINNED);
                tokio::task::spawn_blocking(level).await.ok()
            }
        };
        let target = by_names.max(by_blobs)?;
        let inner = Arc::clone(self);
        let lowest = tokio::task::spawn_blocking(move || inner.blobs.level_above(1)).await.ok().flatten();
        // Leases keep even what was used least recently.
        if by_names.is_none() && lowest.is_some_and(|lowest| self.gate.leased_from() < lowest) {
            let held_by_rules = lowest.is_some_and(|lowest| lowest > self.clock.now().plus(1));
            let waterline = self.blobs.waterline();
            return Some(Leased { waterline, held_by_lease: !held_by_rules, held_by_rules });
        }
        self.raise_waterline(target)
    }

    /// Raises the waterline to `target`, as far as leases and tickets allow; `None` while levels are not true.
    pub(crate) fn raise_waterline(&self, target: Level) -> Option<Leased> {
        let blobs = &self.blobs;
        let raise = || self.gate.raise_waterline(target, || blobs.waterline(), |to| blobs.set_waterline(to));
        self.levels_are_true.load(Ordering::Acquire).then(raise)
    }

    /// The level below which names have to go, if they take too much.
    async fn level_of_names(self: &Arc<Self>, progress: &mut Progress) -> Option<Level> {
        let percent = self.limit_bytes.load(Ordering::Relaxed) / 100;
        let used = self.names_bytes.load(Ordering::Relaxed);
        if used <= percent * NAMES_HIGH_PERCENT || progress.weigh_after > Instant::now() {
            return None;
        }
        progress.weigh_after = Instant::now() + WEIGH_PERIOD;
        let catalog = self.catalog.clone();
        let weigh = move || catalog.level_above(percent * NAMES_ROWS_PERCENT);
        match tokio::task::spawn_blocking(weigh).await {
            Ok(Ok((rows, level))) => {
                tracing::info!(used, rows, ?level, "names take much of the limit");
                level
            }
            Ok(Err(error)) => {
                now_and_then!(warn, %error, "names could not be weighed");
                None
            }
            Err(_) => None,
        }
    }

    /// Commits the waterline if it was raised, and drops what lies below it; that also if levels fell.
    pub(crate) async fn commit_and_drop(self: &Arc<Self>, progress: &mut Progress) -> Dropped {
        let swept = self.letting_go.swept.swap(false, Ordering::AcqRel);
        let (waterline, committed) = (self.blobs.waterline(), self.letting_go.committed());
        if waterline > committed {
            let uses = self.gate.uses();
            let mut committed = self.catalog.commit_waterline(waterline, uses.clone()).await;
            if matches!(committed, Err(Error::NoSpace { .. })) && self.give_up_ballast().await {
                committed = self.catalog.commit_waterline(waterline, uses.clone()).await;
            }
            if let Err(error) = committed {
                now_and_then!(warn, %error, "nothing can be let go: the catalog takes in no waterline");
                self.letting_go.swept.fetch_or(swept, Ordering::AcqRel);
                return Dropped::default();
            }
            self.gate.uses_committed(&uses);
            self.letting_go.committed.store(waterline.seconds(), Ordering::Release);
            progress.look_at_all_rows();
        } else if swept {
            // So did those of values.
            progress.look_at_all_rows();
        } else {
            return Dropped::default();
        }
        let inner = Arc::clone(self);
        let dropped =
            tokio::task::spawn_blocking(move || inner.blobs.drop_below(waterline)).await.unwrap_or_default();
        self.letting_go.blobs.fetch_add(dropped.blobs, Ordering::Relaxed);
        self.letting_go.bytes.fetch_add(dropped.bytes, Ordering::Relaxed);
        let (blobs, bytes) = (dropped.blobs, dropped.bytes);
        if blobs == 0 {
            return dropped;
        }
        tracing::info!(
            blobs,
            bytes,
            waterline = waterline.to_unix(),
            "let go of what was used least recently"
        );
        dropped
    }

    /// Gives the ballast up if the file system is full; false if that makes no room.
    async fn give_up_ballast(self: &Arc<Self>) -> bool {
        let inner = Arc::clone(self);
        tokio::task::spawn_blocking(move || inner.blobs.give_up_ballast()).await.unwrap_or(false)
    }

    /// Forgets the rows of names below the waterline, a few portions at a time.
    async fn forget_rows(&self, progress: &mut Progress) {
        for _ in 0..PORTIONS {
            let Some(from) = progress.rows_from.filter(|_| !self.letting_go.stopping.load(Ordering::Relaxed))
            else {
                return;
            };
            match self.catalog.let_go_portion(from, self.letting_go.committed()).await {
                Ok(portion) => {
                    self.letting_go.names.fetch_add(portion.forgotten, Ordering::Relaxed);
                    portion.names.iter().for_each(|name| self.let_go_names.remember(name));
                    let again = || std::mem::take(&mut progress.rows_again).then_some(0);
                    progress.rows_from = portion.next.or_else(again);
                }
                Err(error) => {
                    now_and_then!(warn, %error, "names that were let go stay in the catalog for now");
                    return;
                }
            }
        }
    }

    /// Gives space back; says how many bytes.
    async fn give_back(self: &Arc<Self>, urgent: bool) -> u64 {
        let mut freed = 0;
        for _ in 0..GIVE_BACK_STEPS {
            let inner = Arc::clone(self);
            let step = tokio::task::spawn_blocking(move || inner.blobs.give_back(urgent)).await;
            let given = match step {
                Ok(Ok(given)) => given,
                Ok(Err(Error::Busy(_) | Error::Poisoned(_))) | Err(_) => return freed,
                Ok(Err(error)) => {
                    now_and_then!(warn, %error, "space could not be given back");
                    return freed;
                }
            };
            freed += given.freed;
            self.letting_go.given_back.fetch_add(given.freed, Ordering::Relaxed);
            self.letting_go.moved.fetch_add(given.moved, Ordering::Relaxed);
            self.blobs.has_room();
            if !given.more || self.letting_go.stopping.load(Ordering::Relaxed) {
                break;
            }
        }
        freed
    }

    async fn snapshot_if_due(self: &Arc<Self>, progress: &mut Progress) {
        let asked_for = self.letting_go.snapshot_due.load(Ordering::Acquire);
        let due = (asked_for || progress.snapshot_after <= Instant::now())
            && self.levels_are_true.load(Ordering::Acquire);
        if !due {
            return;
        }
        // While levels fall and rise again, no snapshot could say what is true.
        let Ok(_levels_stay) = self.levels_fall.try_lock() else { return };
        self.letting_go.snapshot_due.store(false, Ordering::Release);
        progress.snapshot_after = Instant::now() + SNAPSHOT_PERIOD;
        let inner = Arc::clone(self);
        let snapshot = move || inner.blobs.snapshot(inner.gate.snapshot_time());
        if let Ok(Err(error)) = tokio::task::spawn_blocking(snapshot).await {
            tracing::warn!(%error, "no snapshot of the levels was written");
        }
    }
}
