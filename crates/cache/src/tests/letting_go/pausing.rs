//! A memory disk on which one call of an operation can be stopped in its middle, and which can die.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use millpond_store::disk::{Disk, DiskFile, DiskSpace, Entry, MemoryDisk};
use rustix::io::Errno;
use tokio::sync::Notify;

use super::run::Random;

/// Which operation is stopped where.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    state: Mutex<State>,
    released: Condvar,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// This operation stops at a read or sync of a pack, after it was let pass so many of them.
    armed: Option<(u32, u32)>,
    paused: BTreeSet<u32>,
    dead: bool,
    /// Each of these calls takes a moment, of another length each time.
    slow: Option<u64>,
}

impl State {
    fn check(&self) -> io::Result<()> {
        if self.dead { Err(Errno::NFILE.into()) } else { Ok(()) }
    }

    fn may_block(&self) -> bool {
        self.armed.is_some() || self.slow.is_some()
    }
}

impl Pauses {
    /// Has `operation` stop after so many calls.
    pub(super) fn arm(&self, operation: u32, calls: u32) {
        self.lock().armed = Some((operation, calls));
    }

    pub(super) fn disarm(&self) {
        self.lock().armed = None;
    }

    /// Reads and syncs of packs take a moment from now on, and nothing can be read without blocking.
    pub(super) fn slow_down(&self, seed: u64) {
        self.lock().slow = Some(seed);
    }

    pub(super) fn is_paused(&self, operation: u32) -> bool {
        self.lock().paused.contains(&operation)
    }

    pub(super) fn release(&self, operation: u32) {
        self.lock().paused.remove(&operation);
        self.released.notify_all();
    }

    pub(super) fn release_all(&self) {
        let mut state = self.lock();
        (state.armed, state.paused) = (None, BTreeSet::new());
        drop(state);
        self.released.notify_all();
    }

    /// The power is gone: every call fails from now on. By which error shows, so that no read passes for a bad record.
    pub(super) fn kill(&self) {
        self.lock().dead = true;
        self.release_all();
    }

    /// Returns when an operation has stopped.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn check(&self) -> io::Result<()> {
        self.lock().check()
    }

    fn pass(&self) -> io::Result<()> {
        let mut state = self.lock();
        match state.armed {
            Some((operation, 0)) => {
                state.armed = None;
                state.paused.insert(operation);
                self.arrived.notify_one();
                while state.paused.contains(&operation) {
                    state = self.released.wait(state).unwrap();
                }
            }
            Some((operation, calls)) => state.armed = Some((operation, calls - 1)),
            None => {}
        }
        state.check()?;
        if let Some(seed) = &mut state.slow {
            let mut random = Random(*seed);
            let moment = Duration::from_micros(random.below(400));
            *seed = random.0;
            drop(state);
            std::thread::sleep(moment);
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct PausingDisk {
    pub(super) memory: Arc<MemoryDisk>,
    pub(super) pauses: Arc<Pauses>,
}

impl PausingDisk {
    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let is_pack = path.starts_with("packs");
        Arc::new(PausingFile { file, pauses: Arc::clone(&self.pauses), is_pack })
    }
}

impl Disk for PausingDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.pauses.check()?;
        Ok(self.file(path, self.memory.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.pauses.check()?;
        Ok(self.file(path, self.memory.open(path)?))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        self.pauses.check()?;
        self.memory.list(folder)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.pauses.check()?;
        self.memory.create_folder(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pauses.check()?;
        self.memory.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.pauses.check()?;
        self.memory.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.pauses.check()?;
        self.memory.sync_folder(folder)
    }

    fn space(&self) -> io::Result<DiskSpace> {
        self.memory.space()
    }
}

#[derive(Debug)]
struct PausingFile {
    file: Arc<dyn DiskFile>,
    pauses: Arc<Pauses>,
    is_pack: bool,
}

impl PausingFile {
    fn pass(&self) -> io::Result<()> {
        if self.is_pack { self.pauses.pass() } else { self.pauses.check() }
    }
}

impl DiskFile for PausingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.pass()?;
        self.file.read_at(buffer, offset)
    }

    /// What may stop is read where it may block.
    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.pauses.check()?;
        if self.is_pack && self.pauses.lock().may_block() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.file.try_read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.pauses.check()?;
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.pass()?;
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn allocated(&self) -> io::Result<u64> {
        self.file.allocated()
    }

    fn drop_cache(&self) {
        self.file.drop_cache();
    }
}
