//! Stands before another disk and knows which calls to it are under way, and since when: a disk that hangs fails no call,
//! so nothing else would say that it does.
//!
//! What the page cache answers without waiting is not watched. It costs a call some tens of nanoseconds.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Disk, DiskFile, DiskSpace, Entry};
use crate::{Durations, Took};

/// Calls that are told apart. Of those that come while so many are under way nothing is known: some of these are older.
const CALLS: usize = 64;
/// A call that took longer was slow.
const SLOW: Duration = Duration::from_secs(1);

/// What the disk is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskDeed {
    /// To read what the page cache does not have.
    Read,
    /// To write, mostly into the page cache.
    Write,
    /// To make durable what was written to a file.
    Sync,
    /// Everything that is about folders, names and sizes.
    Folder,
    /// To take a transaction of the catalog in.
    Commit,
}

impl DiskDeed {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Read, Self::Write, Self::Sync, Self::Folder, Self::Commit];

    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Folder => "folder",
            Self::Commit => "commit",
        }
    }
}

/// What is known of the calls to a disk.
#[derive(Debug)]
pub struct DiskWatch {
    started: Instant,
    /// When each call under way began, in milliseconds since then and one; 0 where there is none.
    calls: [AtomicU64; CALLS],
    next: AtomicUsize,
    slow: AtomicU64,
    took: [Durations; DiskDeed::ALL.len()],
}

/// A call under way, until it is dropped.
#[derive(Debug)]
pub struct Watched<'w> {
    watch: &'w DiskWatch,
    place: Option<usize>,
    began: Instant,
    deed: DiskDeed,
}

impl Default for DiskWatch {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            calls: std::array::from_fn(|_| AtomicU64::new(0)),
            next: AtomicUsize::new(0),
            slow: AtomicU64::new(0),
            took: Default::default(),
        }
    }
}

impl DiskWatch {
    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.started);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Something that waits for the disk begins.
    pub fn begin(&self, deed: DiskDeed) -> Watched<'_> {
        let began = Instant::now();
        let since = self.millis(began);
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let place = (first..first.saturating_add(CALLS)).map(|place| place % CALLS).find(|place| {
            let taken = |call: &AtomicU64| {
                call.compare_exchange(0, since, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            };
            self.calls.get(*place).is_some_and(taken)
        });
        Watched { watch: self, place, began, deed }
    }

    /// For how long the call that began first of those under way has waited for the disk; nothing while there is none.
    pub fn silent_for(&self) -> Duration {
        let oldest =
            self.calls.iter().map(|call| call.load(Ordering::Relaxed)).filter(|since| *since > 0).min();
        let now = self.millis(Instant::now());
        oldest.map_or(Duration::ZERO, |since| Duration::from_millis(now.saturating_sub(since)))
    }

    /// How long calls of each kind took that have ended.
    pub fn took(&self) -> Vec<(DiskDeed, Took)> {
        DiskDeed::ALL.into_iter().zip(self.took.iter().map(Durations::read)).collect()
    }

    /// How many calls took longer than a second.
    pub fn slow_calls(&self) -> u64 {
        self.slow.load(Ordering::Relaxed)
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.place.and_then(|place| self.watch.calls.get(place)) {
            call.store(0, Ordering::Relaxed);
        }
        let took = self.began.elapsed();
        if took > SLOW {
            self.watch.slow.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(durations) = self.watch.took.get(self.deed as usize) {
            durations.note(took);
        }
    }
}

/// A disk that is watched.
#[derive(Debug)]
pub struct WatchedDisk {
    inner: Arc<dyn Disk>,
    watch: Arc<DiskWatch>,
}

impl WatchedDisk {
    /// Watches a disk.
    pub fn new(inner: Arc<dyn Disk>, watch: Arc<DiskWatch>) -> Self {
        Self { inner, watch }
    }

    fn file(&self, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(WatchedFile { inner, watch: Arc::clone(&self.watch) })
    }
}

impl Disk for WatchedDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let _call = self.watch.begin(DiskDeed::Folder);
        self.inner.create(path).map(|file| self.file(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let _call = self.watch.begin(DiskDeed::Folder);
        self.inner.open(path).map(|file| self.file(file))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let _call = self.watch.begin(DiskDeed::Folder);
        self.inner.list(folder)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        let _call = self.watch.begin(DiskDeed::Folder);
        self.inner.create_folder(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _call = self.watch.begin(DiskDeed::Folder);
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let _call = self.watch.begin(DiskDeed::Folder);
        self.inner.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let _call = self.watch.begin(DiskDeed::Sync);
        self.inner.sync_folder(folder)
    }

    fn space(&self) -> io::Result<DiskSpace> {
        let _call = self.watch.begin(DiskDeed::Folder);
        self.inner.space()
    }
}

#[derive(Debug)]
struct WatchedFile {
    inner: Arc<dyn DiskFile>,
    watch: Arc<DiskWatch>,
}

impl DiskFile for WatchedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let _call = self.watch.begin(DiskDeed::Read);
        self.inner.read_at(buffer, offset)
    }

    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.try_read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let _call = self.watch.begin(DiskDeed::Write);
        self.inner.write_at(bytes, offset)
    }

    fn write_pieces_at(&self, pieces: &[Bytes], offset: u64) -> io::Result<()> {
        let _call = self.watch.begin(DiskDeed::Write);
        self.inner.write_pieces_at(pieces, offset)
    }

    fn sync(&self) -> io::Result<()> {
        let _call = self.watch.begin(DiskDeed::Sync);
        self.inner.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn allocated(&self) -> io::Result<u64> {
        self.inner.allocated()
    }

    fn drop_cache(&self) {
        self.inner.drop_cache();
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::disk::{Call, Effect, Fault, FaultyDisk, MemoryDisk};

    #[test]
    fn a_call_that_hangs_is_seen_while_it_does_and_counted_as_slow() {
        let effect = Effect::FailAfter(Errno::IO, Duration::from_millis(1500));
        let fault = Fault { call: Some(Call::Read), nth: 1, effect, lasting: false };
        let watch = Arc::new(DiskWatch::default());
        let below = Arc::new(FaultyDisk::new(Arc::new(MemoryDisk::default()), fault));
        let disk = WatchedDisk::new(below, Arc::clone(&watch));
        let file = disk.create(Path::new("a")).unwrap();
        file.write_at(b"abc", 0).unwrap();
        assert_eq!((watch.silent_for(), watch.slow_calls()), (Duration::ZERO, 0));
        std::thread::scope(|scope| {
            let hangs = scope.spawn(|| file.read_at(&mut [0; 3], 0).is_err());
            while watch.silent_for() < Duration::from_millis(500) {
                std::thread::sleep(Duration::from_millis(10));
            }
            // What others ask meanwhile makes it none the younger.
            file.sync().unwrap();
            assert!(watch.silent_for() >= Duration::from_millis(500));
            assert!(hangs.join().unwrap());
        });
        assert_eq!((watch.silent_for(), watch.slow_calls()), (Duration::ZERO, 1));
        let counts: Vec<_> = watch.took().iter().map(|(deed, took)| (deed.word(), took.count())).collect();
        assert_eq!(counts, [("read", 1), ("write", 1), ("sync", 1), ("folder", 1), ("commit", 0)]);
        let (_, reads) = watch.took().swap_remove(0);
        assert!(reads.seconds >= 1.5, "{}", reads.seconds);
    }

    #[test]
    fn the_first_of_more_calls_than_are_told_apart_is_known() {
        let watch = DiskWatch::default();
        let first = watch.begin(DiskDeed::Read);
        std::thread::sleep(Duration::from_millis(20));
        let others: Vec<_> = (0..CALLS * 2).map(|_| watch.begin(DiskDeed::Read)).collect();
        assert!(watch.silent_for() >= Duration::from_millis(20));
        drop(others);
        assert!(watch.silent_for() >= Duration::from_millis(20));
        drop(first);
        assert_eq!(watch.silent_for(), Duration::ZERO);
        assert!(watch.begin(DiskDeed::Read).place.is_some());
    }
}
