//! The cache: what the server holds one of, and how it is opened and closed.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millpond_store::blobs::Blobs;
use millpond_store::catalog::Catalog;
use millpond_store::disk::{Disk, DiskDeed, DiskWatch};
use millpond_store::{Changing, Clock, Level, Took};
use tokio::sync::{Semaphore, watch};

use crate::audit::{AuditKeep, Auditor};
use crate::background::Task;
use crate::bad_records::BadRecords;
use crate::by_project::{ByProject, NamesCounted};
use crate::closure::Walker;
use crate::compressing::CompressedSoFar;
use crate::counters::Counters;
use crate::gate::Gate;
use crate::inflow::Inflow;
use crate::instance::Instances;
use crate::lacking::LackingNames;
use crate::let_go_names::LetGoNames;
use crate::letting_go::LettingGo;
use crate::overwrite::ReplacementRules;
use crate::pins::PinsInForce;
use crate::relevel::{Relevels, SWEPT};
use crate::retention::Retention;
use crate::scrubbing::Scrubbing;
use crate::verify::Verifier;
use crate::walks::Walks;
use crate::{InstanceName, InstanceOptions, Limit, Limits, ReplacementRule, Result, RetentionRule};

/// How long what is in progress is waited for when the cache is closed.
const CLOSE_POLLS: u32 = 150;
const CLOSE_POLL: Duration = Duration::from_millis(20);
/// How long bad records are tried once more then: those that are forgotten are found again when they are read.
const CLOSE_BAD_RECORDS: Duration = Duration::from_secs(1);

/// The most that the data directory may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxSize {
    /// So many bytes.
    Bytes(u64),
    /// So many percent of the volume.
    Percent(u8),
}

impl MaxSize {
    /// In bytes, on a volume of so many.
    pub fn bytes(self, volume: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => volume / 100 * u64::from(percent),
        }
    }
}

/// How a cache is opened.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// The data directory; made if it is not there.
    pub data: PathBuf,
    /// The most bytes that everything below the data directory may take. `None`: 90 % of the volume.
    pub max_size: Option<MaxSize>,
    /// Bytes that the volume must have left for others. `None`: the smaller of 2 GB and 5 % of it.
    pub keep_free: Option<u64>,
    /// The largest blob that is taken, in bytes, where that is less than half of what there is room for.
    pub max_blob_size: Option<u64>,
    /// For how long what was looked up stays.
    pub lease: Duration,
    /// For how long a write that finds no room waits for what is let go.
    pub room_wait: Duration,
    /// For how long whoever looks something up should wait for it. A look-up walks a tree in tens of milliseconds; a
    /// sick disk may take minutes.
    pub look_up_time: Duration,
    /// How many walks may wait for their turn until look-ups that need one are answered as misses.
    pub look_ups_waiting: usize,
    /// How much one request may name or reach. What a name reaches beyond that is a miss, also if it was pushed before.
    pub limits: Limits,
    /// Who may give a name another value; the first rule that matches counts. Where none does: strong keys of artifacts
    /// by the same identity, everything else by anyone.
    pub replacement: Vec<ReplacementRule>,
    /// What is kept however little it is used; the first rule that matches counts.
    pub retention: Vec<RetentionRule>,
    /// Instances beside the empty one, and what the empty one keeps if not names and blobs.
    pub instances: Vec<InstanceOptions>,
    /// What is kept of who did what.
    pub audit: AuditKeep,
    /// When blobs are compressed, where that pays.
    pub compression: Compression,
    /// Whether a volume of an older format is raised to that of this release, which earlier ones cannot open.
    pub upgrade: bool,
    /// In how much time all blobs are read again, over and over; `None`: never.
    pub scrub: Option<Duration>,
}

/// When blobs are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// They lie as they came.
    Off,
    /// Before they are written.
    AtOnce,
    /// When they were written so long ago, and their packs are sealed.
    Cold(Duration),
}

/// What a server has that nobody configured, but for the audit log; the data directory is always to be given.
impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            data: PathBuf::new(),
            max_size: None,
            keep_free: None,
            max_blob_size: None,
            lease: Duration::from_secs(3 * 3600),
            room_wait: Duration::from_secs(10),
            look_up_time: Duration::from_secs(30),
            look_ups_waiting: 1000,
            limits: Limits::default(),
            replacement: Vec::new(),
            retention: Vec::new(),
            instances: Vec::new(),
            audit: AuditKeep::Off,
            compression: Compression::Off,
            upgrade: true,
            scrub: None,
        }
    }
}

/// What opening found, for the log.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The last stop was a clean one.
    pub clean: bool,
    /// Sentences about what was found damaged and set aside or rebuilt.
    pub findings: Vec<String>,
    /// The older format that the catalog had, and the one that it was raised to.
    pub upgraded: Option<(u32, u32)>,
}

/// How things stand.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// The most bytes that the data directory may take.
    pub limit_bytes: u64,
    /// Bytes that it takes.
    pub used_bytes: u64,
    /// Bytes of blobs that are there.
    pub live_bytes: u64,
    /// Free bytes of the volume.
    pub volume_free_bytes: u64,
    /// Blobs that are there.
    pub blobs: u64,
    /// Names in force.
    pub names: u64,
    /// Names that wait for their blobs.
    pub pending_names: u64,
    /// Pushes of names that had to wait for their blobs, since the start.
    pub pending_pushes: u64,
    /// Names found to be not whole when they were looked up, since the start.
    pub incomplete_lookups: u64,
    /// Look-ups that failed for a fault of ours, and were answered as misses, since the start.
    pub failed_lookups: u64,
    /// Look-ups and reads that took too long, and were answered as misses, since the start.
    pub lookups_timed_out: u64,
    /// Look-ups that were answered as misses at once because too many waited, since the start.
    pub lookups_shed: u64,
    /// Pushes that left a name with the value that it had, since the start.
    pub names_kept: u64,
    /// Pushes that were refused because the name has a value, since the start.
    pub names_refused: u64,
    /// How often the audit log could not be written or made durable, since the start.
    pub audit_failures: u64,
    /// Bad records found since the start.
    pub bad_records: u64,
    /// Names that were let go since the start.
    pub names_let_go: u64,
    /// Blobs that were let go since the start.
    pub blobs_let_go: u64,
    /// Bytes of blobs that were let go since the start.
    pub bytes_let_go: u64,
    /// Bytes of packs that were given back to the volume since the start.
    pub bytes_given_back: u64,
    /// Bytes of blobs that were moved to another pack for that, since the start.
    pub bytes_moved: u64,
    /// Look-ups of names that had been let go, since the start: what more disk would have spared.
    pub let_go_lookups: u64,
    /// Look-ups of names that were never there, or went too long ago to be remembered, since the start.
    pub unknown_lookups: u64,
    /// Look-ups of names that wait for their blobs and were not there otherwise, since the start.
    pub pending_lookups: u64,
    /// Bytes in use of the ballast.
    pub ballast_bytes: u64,
    /// For how many milliseconds the disk has not answered; 0 while it does.
    pub disk_silent_ms: u64,
    /// Calls to the disk that took longer than a second, since the start.
    pub slow_disk_calls: u64,
    /// What was used before this time, in Unix seconds, has been let go; 0 if nothing was yet.
    pub waterline: u64,
    /// For how long what is looked up stays, as things are, in seconds.
    pub lease_seconds: u64,
    /// For how long it was set to stay, in seconds.
    pub lease_set_seconds: u64,
    /// Whether an upload was refused for want of room within the last minute.
    pub is_full: bool,
    /// Bytes of blobs that were read again since the start, beside serving, and bad records found so.
    pub scrubbed_bytes: u64,
    /// See `scrubbed_bytes`.
    pub scrubbed_bad: u64,
    /// When all were last read through, in Unix seconds; 0 if never since the start.
    pub scrubbed_all: u64,
    /// How much of the pass under way has been read again, from 0 to 1.
    pub scrubbed_share: f64,
    /// Bytes of records that were compressed since the start because they were cold, and what they take since.
    pub cold_bytes: u64,
    /// See `cold_bytes`.
    pub cold_bytes_compressed: u64,
    /// Names in force that were found to lack blobs, and are misses.
    pub names_lacking: u64,
    /// Blobs that they were found to lack.
    pub blobs_lacking: u64,
    /// Look-ups and pushes of names since the start, by what they are of.
    pub names_counted: Vec<NamesCounted>,
    /// How long calls to the disk took since the start.
    pub disk_calls: Vec<(DiskDeed, Took)>,
    /// Why nothing is taken in, if so.
    pub poisoned: Option<String>,
}

/// An artifact cache on one volume. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cache {
    pub(crate) inner: Arc<Inner>,
}

/// What all clones share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub blobs: Blobs,
    pub catalog: Catalog,
    pub clock: Arc<Clock>,
    pub gate: Arc<Gate>,
    pub walker: Walker,
    pub instances: Changing<Instances>,
    pub replacement: Changing<ReplacementRules>,
    pub counters: Arc<Counters>,
    pub verifier: Arc<Verifier>,
    pub bad_records: Arc<BadRecords>,
    pub background: Mutex<Option<Background>>,
    pub letting_go: LettingGo,
    pub scrubbing: Scrubbing,
    /// When blobs are compressed.
    pub compression: watch::Sender<Compression>,
    pub compressed: CompressedSoFar,
    /// Held by the one who checks everything.
    pub checking: Mutex<()>,
    /// Held by the one who counts what takes the room.
    pub counting_usage: Arc<tokio::sync::Mutex<()>>,
    pub let_go_names: LetGoNames,
    pub lacking: LackingNames,
    pub by_project: ByProject,
    pub pins: Arc<PinsInForce>,
    pub inflow: Inflow,
    pub look_up_time: Changing<Duration>,
    pub disk_watch: Arc<DiskWatch>,
    pub disk: Arc<dyn Disk>,
    /// The data directory.
    pub data: PathBuf,
    pub walks: Walks,
    /// For whoever brings names back from a backup: the catalog of that one is copied for it.
    pub bringing_back: Arc<Semaphore>,
    pub auditor: Option<Arc<Auditor>>,
    /// The most that the data directory may take.
    pub limit_bytes: AtomicU64,
    /// About what catalog and journal take.
    pub names_bytes: AtomicU64,
    /// What keeps what for how long.
    pub retention: Changing<Retention>,
    /// Held while levels fall, while a pin is made, and while a snapshot of levels is written.
    pub levels_fall: Arc<tokio::sync::Mutex<()>>,
    pub relevels: Relevels,
    /// The levels of blobs in memory satisfy the invariant for every value; not yet, for a while after an unclean stop.
    pub levels_are_true: AtomicBool,
}

/// What runs beside serving.
#[derive(Debug)]
pub(crate) struct Background {
    pub maintenance: Task,
    pub letting_go: Task,
    pub relevel: Task,
    pub scrubbing: Option<Task>,
    pub compressing: Task,
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Inner {
    /// Begins no publish and no look-up any more, and waits for those in progress; false if they go on.
    async fn close_gate(&self) -> bool {
        self.gate.close();
        for _ in 0..CLOSE_POLLS {
            if self.gate.is_idle() {
                return true;
            }
            tokio::time::sleep(CLOSE_POLL).await;
        }
        self.gate.is_idle()
    }
}

impl Cache {
    /// The instance of that name; `Invalid` if there is none.
    pub fn instance(&self, name: &str) -> Result<InstanceName> {
        self.inner.instances.now().find(name)
    }

    /// How things stand. Asks the file system for sizes.
    pub fn figures(&self) -> Figures {
        let blobs = self.inner.blobs.figures();
        let catalog = self.inner.catalog.figures();
        let counters = &self.inner.counters;
        let letting_go = &self.inner.letting_go;
        let (lease, set) = self.inner.gate.lease();
        let catalog_poisoned = catalog.poisoned.then(|| "the catalog met a fault of the disk".to_owned());
        Figures {
            limit_bytes: blobs.limit,
            used_bytes: blobs.used,
            live_bytes: blobs.live,
            volume_free_bytes: blobs.free,
            blobs: blobs.blobs as u64,
            names: catalog.names,
            pending_names: catalog.pending,
            pending_pushes: counters.pending_pushes.get(),
            incomplete_lookups: counters.incomplete_lookups.get(),
            failed_lookups: counters.lookup_faults.get(),
            lookups_timed_out: counters.lookups_timed_out.get(),
            lookups_shed: counters.lookups_shed.get(),
            names_kept: counters.names_kept.get(),
            names_refused: counters.names_refused.get(),
            audit_failures: self.inner.auditor.as_ref().map_or(0, |auditor| auditor.log.failures()),
            bad_records: counters.bad_records.get(),
            names_let_go: letting_go.names.load(Ordering::Relaxed),
            blobs_let_go: letting_go.blobs.load(Ordering::Relaxed),
            bytes_let_go: letting_go.bytes.load(Ordering::Relaxed),
            bytes_given_back: letting_go.given_back.load(Ordering::Relaxed),
            bytes_moved: letting_go.moved.load(Ordering::Relaxed),
            let_go_lookups: self.inner.let_go_names.misses(),
            unknown_lookups: self.inner.let_go_names.strangers(),
            pending_lookups: counters.pending_lookups.get(),
            ballast_bytes: self.inner.blobs.space_parts().ballast,
            disk_silent_ms: millis(self.inner.disk_watch.silent_for()),
            slow_disk_calls: self.inner.disk_watch.slow_calls(),
            waterline: Some(self.inner.blobs.waterline())
                .filter(|level| *level > SWEPT)
                .map_or(0, Level::to_unix),
            lease_seconds: lease.as_secs(),
            lease_set_seconds: set.as_secs(),
            is_full: self.inner.blobs.is_refusing(),
            scrubbed_bytes: self.inner.scrubbing.bytes.load(Ordering::Relaxed),
            scrubbed_bad: self.inner.scrubbing.bad.load(Ordering::Relaxed),
            scrubbed_all: self.inner.scrubbing.last_pass.load(Ordering::Relaxed),
            scrubbed_share: self.inner.scrubbing.share(),
            cold_bytes: self.inner.compressed.before.load(Ordering::Relaxed),
            cold_bytes_compressed: self.inner.compressed.after.load(Ordering::Relaxed),
            names_lacking: self.inner.lacking.names(),
            blobs_lacking: self.inner.lacking.blobs(),
            names_counted: self.inner.by_project.read(),
            disk_calls: self.inner.disk_watch.took(),
            poisoned: blobs.poisoned.or(catalog_poisoned),
        }
    }

    /// For how long the disk has not answered, where that is longer than a look-up may take: what needs it is a miss then. No
    /// I/O.
    pub fn disk_hangs_for(&self) -> Option<Duration> {
        Some(self.inner.disk_watch.silent_for()).filter(|silent| *silent >= self.look_up_time())
    }

    /// For how long whoever looks something up should wait for it.
    pub fn look_up_time(&self) -> Duration {
        *self.inner.look_up_time.now()
    }

    /// How much one request may name or reach.
    pub fn limits(&self) -> Limits {
        self.inner.walker.limits()
    }

    /// A look-up that somebody gave up, because it took too long.
    pub fn count_late_look_up(&self) {
        Limit::LookUpTime.met();
        self.inner.counters.lookups_timed_out.add(1);
    }

    /// The largest blob that is taken, in bytes.
    pub fn largest_blob(&self) -> u64 {
        self.inner.blobs.blob_max()
    }

    /// Ends the background work, writes down what lay in memory only, and lets the volume go. Calls still in flight
    /// are refused from then on.
    pub async fn close(&self) {
        // Or whatever is still to be written would wait for it.
        self.inner.catalog.break_off();
        self.inner.letting_go.stopping.store(true, Ordering::Relaxed);
        let background = self.inner.background.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Background { maintenance, letting_go, relevel, scrubbing, compressing }) = background {
            for task in scrubbing.into_iter().chain([compressing]) {
                task.stop().await;
            }
            relevel.stop().await;
            letting_go.stop().await;
            maintenance.stop().await;
        }
        self.inner.verifier.stop();
        let idle = self.inner.close_gate().await;
        self.inner.flush_uses().await;
        let inner = Arc::clone(&self.inner);
        let close = move || {
            inner.bad_records.retry(CLOSE_BAD_RECORDS);
            // A snapshot says that levels are true up to its time, and a clean stop that nothing came after it.
            let committed = inner.blobs.waterline() == inner.letting_go.committed();
            let levels_stay = inner.levels_fall.try_lock();
            let true_levels = levels_stay.is_ok() && inner.levels_are_true.load(Ordering::Acquire);
            // Nobody would know any more that promises of before a stop out of order are to be kept.
            let promises = inner.gate.keeps_earlier_promises();
            if !idle || !committed || !true_levels || promises {
                tracing::info!("stopped before all was in order: the next start restores it");
            } else if let Err(error) = inner.blobs.close(inner.gate.snapshot_time()) {
                tracing::error!(%error, "the blob store did not close in order");
            }
            if let Err(error) = inner.catalog.close() {
                tracing::error!(%error, "the catalog did not close in order");
            }
            inner.sync_audit();
        };
        if tokio::task::spawn_blocking(close).await.is_err() {
            tracing::error!("closing the store did not come to its end");
        }
    }
}
