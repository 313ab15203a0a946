//! Stands before another disk and lets calls go wrong: the n-th of a kind fails, is cut short, or reads a flipped bit; or
//! all of a kind hang for a while.
//!
//! **Fault model.** A call that fails was not made; one cut short was made for the first half of its bytes and then
//! failed (a sync cut short was made, but says that it failed). With [`Fault::lasting`] every later call fails
//! too, whatever its kind: the device is gone, or the power, and the disk below is as that moment left it. Names are
//! changed whole or not at all. Counting starts at 1, over all files and folders.
//!
//! To try a procedure at every call: let n rise from 1 until a run ends with [`FaultyDisk::has_struck`] false.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;

use super::{Disk, DiskFile, DiskSpace, Entry};

/// The kinds of calls that can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// [`Disk::create`].
    Create,
    /// [`Disk::open`].
    Open,
    /// [`Disk::list`].
    List,
    /// [`Disk::create_folder`].
    CreateFolder,
    /// [`Disk::rename`].
    Rename,
    /// [`Disk::remove`].
    Remove,
    /// [`Disk::sync_folder`].
    SyncFolder,
    /// [`DiskFile::read_at`] and [`DiskFile::try_read_at`].
    Read,
    /// [`DiskFile::write_at`].
    Write,
    /// [`DiskFile::sync`].
    Sync,
}

impl Call {
    /// Whether it changes what the disk holds, or makes it last.
    pub fn changes(self) -> bool {
        !matches!(self, Self::Open | Self::List | Self::Read)
    }
}

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is not made and fails.
    Fail(Errno),
    /// It is not made and fails, but says so only after a while.
    FailAfter(Errno, Duration),
    /// Half of it is made, and it fails.
    CutShort(Errno),
    /// One bit of what it reads is flipped: this one of the first byte and counted on from there. Other calls than
    /// reads are made as they are.
    FlipBit(usize),
    /// It is not made, and the thread unwinds as after a panic.
    Unwind,
}

/// Which calls go wrong.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Only calls of this kind count; without it, all that change something.
    pub call: Option<Call>,
    /// The n-th that counts, from 1.
    pub nth: u64,
    /// How it goes wrong.
    pub effect: Effect,
    /// Whether every call after it fails, with `EIO`.
    pub lasting: bool,
}

/// A disk with a fault before another disk.
#[derive(Debug)]
pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    faults: Arc<Faults>,
}

#[derive(Debug)]
struct Faults {
    fault: Option<Fault>,
    count: Mutex<Count>,
    /// Calls of this kind do not come back.
    hangs: Mutex<Option<Call>>,
    answers: Condvar,
}

/// While it is kept, calls of a kind do not come back.
#[derive(Debug)]
pub struct Hanging(Arc<Faults>);

impl Drop for Hanging {
    fn drop(&mut self) {
        *self.0.hangs() = None;
        self.0.answers.notify_all();
    }
}

#[derive(Debug, Default)]
struct Count {
    calls: u64,
    struck: bool,
}

impl FaultyDisk {
    /// Puts a fault before a disk.
    pub fn new(inner: Arc<dyn Disk>, fault: Fault) -> Self {
        Self { inner, faults: Arc::new(Faults::new(Some(fault))) }
    }

    /// A disk that fails nothing, and hangs where it is told to.
    pub fn without_fault(inner: Arc<dyn Disk>) -> Self {
        Self { inner, faults: Arc::new(Faults::new(None)) }
    }

    /// Lets no call of this kind come back until what this returns is dropped; what can be read without waiting cannot be
    /// meanwhile.
    pub fn hang(&self, call: Call) -> Hanging {
        *self.faults.hangs() = Some(call);
        Hanging(Arc::clone(&self.faults))
    }

    /// How many calls there were that count.
    pub fn calls(&self) -> u64 {
        self.faults.count.lock().unwrap_or_else(PoisonError::into_inner).calls
    }

    /// Whether the fault has come to pass.
    pub fn has_struck(&self) -> bool {
        self.faults.count.lock().unwrap_or_else(PoisonError::into_inner).struck
    }
}

impl Faults {
    fn new(fault: Option<Fault>) -> Self {
        Self { fault, count: Mutex::default(), hangs: Mutex::default(), answers: Condvar::new() }
    }

    fn hangs(&self) -> MutexGuard<'_, Option<Call>> {
        self.hangs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes wrong with this call, if anything does.
    fn strike(&self, call: Call) -> Option<Effect> {
        let hangs = |hangs: &mut Option<Call>| *hangs == Some(call);
        drop(self.answers.wait_while(self.hangs(), hangs).unwrap_or_else(PoisonError::into_inner));
        match self.count(call) {
            Some(Effect::FailAfter(errno, pause)) => {
                std::thread::sleep(pause);
                Some(Effect::Fail(errno))
            }
            Some(Effect::Unwind) => std::panic::resume_unwind(Box::new("a fault that was asked for")),
            effect => effect,
        }
    }

    fn count(&self, call: Call) -> Option<Effect> {
        let fault = self.fault?;
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        if count.struck && fault.lasting {
            return Some(Effect::Fail(Errno::IO));
        }
        if fault.call.map_or(!call.changes(), |only| only != call) {
            return None;
        }
        count.calls += 1;
        if count.calls != fault.nth {
            return None;
        }
        count.struck = true;
        Some(fault.effect)
    }

    /// For calls that are made whole or not at all.
    fn whole(&self, call: Call) -> io::Result<()> {
        match self.strike(call) {
            Some(Effect::Fail(errno) | Effect::FailAfter(errno, _) | Effect::CutShort(errno)) => {
                Err(errno.into())
            }
            Some(Effect::FlipBit(_) | Effect::Unwind) | None => Ok(()),
        }
    }

    fn file(self: &Arc<Self>, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile { inner, faults: Arc::clone(self) })
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.faults.whole(Call::Create)?;
        self.inner.create(path).map(|file| self.faults.file(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.faults.whole(Call::Open)?;
        self.inner.open(path).map(|file| self.faults.file(file))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        self.faults.whole(Call::List)?;
        self.inner.list(folder)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.faults.whole(Call::CreateFolder)?;
        self.inner.create_folder(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.whole(Call::Rename)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.faults.whole(Call::Remove)?;
        self.inner.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.faults.whole(Call::SyncFolder)?;
        self.inner.sync_folder(folder)
    }

    fn space(&self) -> io::Result<DiskSpace> {
        self.inner.space()
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn DiskFile>,
    faults: Arc<Faults>,
}

impl FaultyFile {
    fn read(
        &self,
        buffer: &mut [u8],
        read: impl FnOnce(&dyn DiskFile, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        match self.faults.strike(Call::Read) {
            Some(Effect::Fail(errno) | Effect::FailAfter(errno, _)) => Err(errno.into()),
            Some(Effect::CutShort(_)) => {
                let half = buffer.len() / 2;
                read(self.inner.as_ref(), buffer.get_mut(..half).unwrap_or_default())
            }
            Some(Effect::FlipBit(bit)) => {
                let len = read(self.inner.as_ref(), buffer)?;
                if let Some(byte) = buffer.get_mut(..len).and_then(|read| read.get_mut(bit / 8)) {
                    *byte ^= 1 << (bit % 8);
                }
                Ok(len)
            }
            Some(Effect::Unwind) | None => read(self.inner.as_ref(), buffer),
        }
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read(buffer, |inner, buffer| inner.read_at(buffer, offset))
    }

    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if *self.faults.hangs() == Some(Call::Read) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.read(buffer, |inner, buffer| inner.try_read_at(buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.faults.strike(Call::Write) {
            Some(Effect::Fail(errno) | Effect::FailAfter(errno, _)) => Err(errno.into()),
            Some(Effect::CutShort(errno)) => {
                self.inner.write_at(bytes.get(..bytes.len() / 2).unwrap_or_default(), offset)?;
                Err(errno.into())
            }
            Some(Effect::FlipBit(_) | Effect::Unwind) | None => self.inner.write_at(bytes, offset),
        }
    }

    fn sync(&self) -> io::Result<()> {
        match self.faults.strike(Call::Sync) {
            Some(Effect::Fail(errno) | Effect::FailAfter(errno, _)) => Err(errno.into()),
            Some(Effect::CutShort(errno)) => {
                self.inner.sync()?;
                Err(errno.into())
            }
            Some(Effect::FlipBit(_) | Effect::Unwind) | None => self.inner.sync(),
        }
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
    use super::*;
    use crate::disk::MemoryDisk;

    fn path() -> &'static Path {
        Path::new("a")
    }

    fn faulty(call: Option<Call>, nth: u64, effect: Effect, lasting: bool) -> FaultyDisk {
        let fault = Fault { call, nth, effect, lasting };
        FaultyDisk::new(Arc::new(MemoryDisk::default()), fault)
    }

    fn errno<T>(result: io::Result<T>) -> Option<Errno> {
        result.err().and_then(|error| Errno::from_io_error(&error))
    }

    #[test]
    fn only_the_nth_call_of_its_kind_fails() {
        let disk = faulty(Some(Call::Write), 2, Effect::Fail(Errno::NOSPC), false);
        let file = disk.create(path()).unwrap();
        file.write_at(b"one", 0).unwrap();
        file.sync().unwrap();
        assert!(!disk.has_struck());
        assert_eq!(errno(file.write_at(b"two", 0)), Some(Errno::NOSPC));
        assert!(disk.has_struck());
        let mut buffer = [0; 3];
        file.read_at(&mut buffer, 0).unwrap();
        assert_eq!(&buffer, b"one");
        file.write_at(b"two", 0).unwrap();
    }

    #[test]
    fn write_cut_short_leaves_its_first_half() {
        let disk = faulty(Some(Call::Write), 1, Effect::CutShort(Errno::IO), false);
        let file = disk.create(path()).unwrap();
        assert_eq!(errno(file.write_at(b"abcdef", 0)), Some(Errno::IO));
        assert_eq!(file.len().unwrap(), 3);
    }

    #[test]
    fn flipped_bit_is_read_once_and_not_written() {
        let disk = faulty(Some(Call::Read), 2, Effect::FlipBit(9), false);
        let file = disk.create(path()).unwrap();
        file.write_at(&[0; 4], 0).unwrap();
        let reads = [(); 3].map(|()| {
            let mut buffer = [0; 4];
            file.read_at(&mut buffer, 0).unwrap();
            buffer
        });
        assert_eq!(reads, [[0; 4], [0, 2, 0, 0], [0; 4]]);
    }

    #[test]
    fn lasting_fault_counts_what_changes_and_then_fails_all() {
        let disk = faulty(None, 3, Effect::Fail(Errno::NOSPC), true);
        let file = disk.create(path()).unwrap();
        file.write_at(b"x", 0).unwrap();
        disk.list(Path::new("")).unwrap();
        assert_eq!(errno(file.sync()), Some(Errno::NOSPC));
        let mut buffer = [0];
        assert_eq!(errno(file.read_at(&mut buffer, 0)), Some(Errno::IO));
        assert_eq!(errno(disk.open(path())), Some(Errno::IO));
        assert_eq!(errno(disk.rename(path(), Path::new("b"))), Some(Errno::IO));
        assert_eq!(errno(disk.remove(path())), Some(Errno::IO));
        assert_eq!(errno(disk.sync_folder(Path::new(""))), Some(Errno::IO));
        assert_eq!(errno(disk.create_folder(Path::new("f"))), Some(Errno::IO));
    }
}
