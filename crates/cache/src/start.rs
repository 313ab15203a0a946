//! Opening a cache: volume, catalog, blobs, and after an unclean stop the levels that lay in memory only.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use millpond_store::audit::Audit;
use millpond_store::blobs::{Blobs, BlobsOptions, Damage, Started, become_volume};
use millpond_store::catalog::{Catalog, CatalogOptions, Revisions, Witness};
use millpond_store::disk::{Disk, DiskWatch, RealDisk, WatchedDisk};
use millpond_store::{Changing, Clock, Error as StoreError, Level};
use tokio::sync::{Semaphore, watch};

use crate::audit::Auditor;
use crate::background::Task;
use crate::bad_records::BadRecords;
use crate::by_project::ByProject;
use crate::cache::{Background, Compression, Inner};
use crate::closure::Walker;
use crate::compressing::{self, CompressedSoFar};
use crate::counters::Counters;
use crate::gate::Gate;
use crate::inflow::Inflow;
use crate::instance::Instances;
use crate::lacking::LackingNames;
use crate::let_go_names::LetGoNames;
use crate::letting_go::{self, LettingGo};
use crate::maintenance;
use crate::overwrite::ReplacementRules;
use crate::pins::PinsInForce;
use crate::relevel::{self, Relevels};
use crate::retention::Retention;
use crate::scrubbing::{self, Scrubbing};
use crate::verify::Verifier;
use crate::walks::Walks;
use crate::{Cache, CacheOptions, MaxSize, OpenError, Opened};

/// The limit where none was set, in percent of the volume.
const MAX_SIZE_PERCENT: u8 = 90;
/// Bytes of the catalog's log at which it is written back: a 128th of the limit, within these.
const WAL_BYTES_LEAST: u64 = 512 << 10;
const WAL_BYTES_MOST: u64 = 32 << 20;
/// After a longer stop, or a jump of the wall clock, a start waits with letting go.
const DAY_SECONDS: u32 = 24 * 3600;
/// Tries to restore the levels after an unclean stop; each follows a check that cures the catalog.
const RESTORE_TRIES: u32 = 3;

impl Cache {
    /// Opens the data directory, or makes it. Starts the background work; needs a tokio runtime.
    pub async fn open(options: CacheOptions) -> Result<(Self, Opened), OpenError> {
        let open = |data: &Path| -> millpond_store::Result<Arc<dyn Disk>> {
            let disk = RealDisk::open(data)?;
            become_volume(&disk)?;
            Ok(Arc::new(disk))
        };
        Self::open_on(options, open).await
    }

    /// Opens with packs and journal on another disk than the data directory.
    pub(crate) async fn open_on(
        options: CacheOptions,
        disk: impl FnOnce(&Path) -> millpond_store::Result<Arc<dyn Disk>> + Send + 'static,
    ) -> Result<(Self, Opened), OpenError> {
        let scrub = options.scrub;
        let begun = Begun::open(options, disk, Clock::start).await?;
        let inner = &begun.inner;
        let background = Background {
            maintenance: Task::start("the background work", |stopped| {
                maintenance::run(Arc::clone(inner), stopped)
            }),
            letting_go: Task::start("letting go", |stopped| letting_go::run(Arc::clone(inner), stopped)),
            relevel: Task::start("lowering levels", |stopped| relevel::run(Arc::clone(inner), stopped)),
            scrubbing: scrub.map(|pass| {
                Task::start("reading all blobs again", |stopped| {
                    scrubbing::run(Arc::clone(inner), pass, stopped)
                })
            }),
            compressing: Task::start("compressing what is cold", |stopped| {
                compressing::run(Arc::clone(inner), stopped)
            }),
        };
        if let Ok(mut place) = inner.background.lock() {
            *place = Some(background);
        }
        let (cache, opened) = (Self { inner: Arc::clone(inner) }, begun.opened.clone());
        if !opened.clean {
            tokio::task::spawn_blocking(move || begun.restore());
        }
        Ok((cache, opened))
    }
}

/// A cache that is open, whose background work is still to be started.
pub(crate) struct Begun {
    pub inner: Arc<Inner>,
    pub opened: Opened,
    blobs: Started,
}

impl Begun {
    /// Opens; `clock` makes the clock from the last time that was written down.
    pub(crate) async fn open(
        options: CacheOptions,
        disk: impl FnOnce(&Path) -> millpond_store::Result<Arc<dyn Disk>> + Send + 'static,
        clock: impl FnOnce(Level) -> Clock + Send + 'static,
    ) -> Result<Self, OpenError> {
        let open = move || open_blocking(&options, disk(&options.data).map_err(open_error)?, clock);
        let begun = tokio::task::spawn_blocking(open).await.map_err(other)??;
        forget_what_is_gone(&begun.inner.catalog, &begun.blobs.gone).await;
        Ok(begun)
    }

    /// For after an unclean stop: makes the levels true again, and checks the catalog. Blocks.
    pub(crate) fn restore(&self) {
        after_unclean_stop(&self.inner, self.blobs.snapshot);
    }
}

fn open_blocking(
    options: &CacheOptions,
    disk: Arc<dyn Disk>,
    clock: impl FnOnce(Level) -> Clock,
) -> Result<Begun, OpenError> {
    let instances =
        Instances::new(&options.instances).map_err(|error| OpenError::Invalid(error.to_string()))?;
    let disk_watch = Arc::new(DiskWatch::default());
    let disk: Arc<dyn Disk> = Arc::new(WatchedDisk::new(disk, Arc::clone(&disk_watch)));
    let backed_up = Arc::clone(&disk);
    Blobs::make_room_to_start(&*disk);
    let limit = limit(options, &disk).map_err(open_error)?;
    let auditor = auditor(options, limit, &disk).map_err(open_error)?;
    let witness = auditor.clone().map(|auditor| auditor as Arc<dyn Witness>);
    let wal_bytes = (limit / 128).clamp(WAL_BYTES_LEAST, WAL_BYTES_MOST);
    let pins = Arc::<PinsInForce>::default();
    let catalog_options = CatalogOptions {
        witness,
        wal_bytes,
        upgrade: options.upgrade,
        disk_watch: Arc::clone(&disk_watch),
        revisions: Some(Arc::clone(&pins) as Arc<dyn Revisions>),
        ..CatalogOptions::default()
    };
    let (catalog, catalog_started) =
        Catalog::open(&options.data, Arc::clone(&disk), &catalog_options).map_err(open_error)?;
    pins.reload(&catalog).map_err(|error| OpenError::Other(error.into()))?;
    let clock = Arc::new(clock(catalog_started.last_time));
    let counters = Arc::new(Counters::default());
    let remembers = catalog.clone();
    let remember = move |damage: Damage| remembers.record_damage(damage.pack, damage.offset);
    let bad_records = Arc::new(BadRecords::new(Arc::clone(&counters), Box::new(remember)));
    let tell = Arc::clone(&bad_records);
    let damaged = catalog.damage().map_err(open_error)?;
    let damaged = damaged.into_iter().map(|(pack, offset)| Damage { pack, offset }).collect();
    let (blobs, started) = Blobs::open(
        disk,
        &of_blobs(options, limit),
        Arc::clone(&clock),
        catalog_started.waterline,
        damaged,
        Box::new(move |damage| tell.found(damage)),
    )
    .map_err(open_error)?;
    let mut findings = started.set_aside.clone();
    findings.extend(catalog_started.set_aside);
    if catalog_started.rebuilt {
        findings
            .push(format!("the catalog was rebuilt from its journal, {} records", catalog_started.replayed));
    }
    let catalog_figures = catalog.figures();
    let clean = started.clean && catalog_started.clean;
    let opened = Opened { clean, findings, upgraded: catalog_started.upgraded };
    let gate = Gate::new(Arc::clone(&clock), options.lease);
    // What was promised lay in memory, or a wall clock that jumped has aged it.
    let last = catalog_started.last_time;
    if !clean || (last > Level::ZERO && clock.now() > last.plus(DAY_SECONDS)) {
        gate.hold_for_a_lease();
    }
    let inner = Inner {
        walker: Walker::new(blobs.clone(), options.limits),
        verifier: Verifier::new(blobs.clone()),
        bad_records,
        limit_bytes: AtomicU64::new(blobs.figures().limit),
        blobs,
        catalog,
        clock,
        gate,
        instances: Changing::new(instances),
        counters,
        background: Mutex::default(),
        look_up_time: Changing::new(options.look_up_time),
        disk_watch,
        disk: backed_up,
        data: options.data.clone(),
        auditor,
        walks: Walks::new(options.look_ups_waiting),
        bringing_back: Arc::new(Semaphore::new(1)),
        replacement: Changing::new(ReplacementRules(options.replacement.clone())),
        retention: Changing::new(Retention::new(options.retention.clone())),
        levels_fall: Arc::default(),
        relevels: Relevels::default(),
        levels_are_true: AtomicBool::new(clean),
        letting_go: LettingGo::new(catalog_started.waterline),
        scrubbing: Scrubbing::default(),
        compression: watch::Sender::new(options.compression),
        compressed: CompressedSoFar::default(),
        checking: Mutex::default(),
        counting_usage: Arc::default(),
        let_go_names: LetGoNames::default(),
        lacking: LackingNames::default(),
        by_project: ByProject::default(),
        pins,
        inflow: Inflow::default(),
        names_bytes: AtomicU64::new(catalog_figures.database_bytes + catalog_figures.journal_bytes),
    };
    Ok(Begun { inner: Arc::new(inner), opened, blobs: started })
}

/// What the blobs are told of the options.
pub(crate) fn of_blobs(options: &CacheOptions, limit: u64) -> BlobsOptions {
    BlobsOptions {
        limit: Some(limit),
        keep_free: options.keep_free,
        blob_max: options.max_blob_size,
        room_wait: options.room_wait,
        compress: options.compression == Compression::AtOnce,
        ..BlobsOptions::default()
    }
}

/// The most that the data directory may take, in bytes.
pub(crate) fn limit(options: &CacheOptions, disk: &Arc<dyn Disk>) -> millpond_store::Result<u64> {
    let max_size = options.max_size.unwrap_or(MaxSize::Percent(MAX_SIZE_PERCENT));
    if let MaxSize::Bytes(bytes) = max_size {
        return Ok(bytes);
    }
    let space = disk.space();
    let volume = space.map_err(|error| StoreError::io("asking for the size of the volume", error))?.total;
    Ok(max_size.bytes(volume))
}

/// The audit log, which may take its part of the limit.
fn auditor(
    options: &CacheOptions,
    limit: u64,
    disk: &Arc<dyn Disk>,
) -> millpond_store::Result<Option<Arc<Auditor>>> {
    let Some(bytes) = options.audit.bytes(limit) else { return Ok(None) };
    Ok(Some(Arc::new(Auditor::new(Audit::open(Arc::clone(disk), bytes)?))))
}

/// Rows of bad records whose packs are gone say nothing any more.
async fn forget_what_is_gone(catalog: &Catalog, packs: &[u32]) {
    for pack in packs {
        if let Err(error) = catalog.forget_damage(*pack).await {
            tracing::warn!(%error, pack, "bad records of a pack that is gone stay in the catalog");
            return;
        }
    }
}

/// Levels lay in memory: every value touched since the snapshot is raised again, so that they are true again. Begun
/// again when the catalog turns out to be damaged, once it is rebuilt.
fn after_unclean_stop(inner: &Inner, snapshot: Option<Level>) {
    for _ in 0..RESTORE_TRIES {
        match restore_levels(inner, snapshot.unwrap_or(Level::ZERO)) {
            Ok(walked) if !inner.gate.is_closed() => {
                tracing::info!(walked, "levels restored after an unclean stop");
                inner.levels_are_true.store(true, Ordering::Release);
            }
            Ok(_) => return,
            Err(error) => tracing::error!(%error, "levels not restored after an unclean stop"),
        }
        match inner.catalog.check() {
            Ok(checked) if checked.rebuilt => {
                // Rows may be back that were not there to be walked.
                tracing::info!(rows = checked.rows, "catalog checked and rebuilt");
                inner.levels_are_true.store(false, Ordering::Release);
            }
            Ok(checked) => tracing::info!(rows = checked.rows, rebuilt = checked.rebuilt, "catalog checked"),
            Err(StoreError::Busy(why)) => tracing::info!(why, "the check of the catalog was broken off"),
            Err(error) => tracing::error!(%error, "the catalog could not be checked"),
        }
        if inner.levels_are_true.load(Ordering::Acquire) {
            return;
        }
    }
}

/// Raises what was touched after `snapshot`, and what is pinned and has lost the level of that; ends early, with levels not true, when the cache is closed.
fn restore_levels(inner: &Inner, snapshot: Level) -> millpond_store::Result<u64> {
    let (mut walked, pins, now) = (0, inner.pins.now(), inner.time_of_pins());
    let from = if pins.count_at(now) == 0 { snapshot } else { Level::ZERO };
    inner.catalog.for_each_touched_after(from, &mut |value| {
        let pinned = pins.keep_until(&value.name, now);
        let is_due = value.touched() > snapshot || pinned > value.level();
        if !is_due || inner.gate.is_closed() {
            return;
        }
        let to = value.level().max(pinned);
        match inner.subject(&value).and_then(|subject| inner.walker.raise_only(&subject, to)) {
            Ok(raised) if pinned > value.level() && raised.is_whole() => {
                let (blobs, time) = (&inner.blobs, inner.clock.now());
                inner.gate.record_use(&value, raised.raised_to, time, || blobs.waterline());
                walked += 1;
            }
            Ok(_) => walked += 1,
            Err(error) => tracing::warn!(name = &*value.name.text, %error, "a name cannot be walked"),
        }
    })?;
    Ok(walked)
}

fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OpenError {
    OpenError::Other(error.into())
}

pub(crate) fn open_error(error: StoreError) -> OpenError {
    match error {
        StoreError::InUse { pid } => OpenError::InUse { pid },
        StoreError::NewerFormat { found, known } => OpenError::NewerFormat { found, known },
        StoreError::OlderFormat { found, known } => OpenError::OlderFormat { found, known },
        StoreError::NotWritable(source) => OpenError::NotWritable(source),
        StoreError::Refused(why) => OpenError::Invalid(format!("the data directory is not served: {why}")),
        StoreError::NoSpace { used, limit, .. } => OpenError::Full { used, limit },
        error => other(error),
    }
}
