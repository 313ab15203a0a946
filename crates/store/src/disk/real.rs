//! A directory of a real file system, held by this process alone.
//!
//! The lock is on an open file (`flock`), so the kernel lets go of it when the process ends, however it ends; what the
//! file `lock` says is only to name the holder. The directory is held by its descriptor: moved elsewhere, it stays the
//! same volume.
//!
//! **What is believed of the medium**: a completed `fdatasync` or `fsync` survives a power cut; a rename is seen whole
//! or not at all. Nothing is believed of a write or a name before that.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::{Advice, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

use super::{Disk, DiskFile, DiskSpace, Entry, is_no_space};
use crate::{Error, Result};

const LOCK: &str = "lock";
/// A killed process holds its lock until the kernel has taken it down, which a sync in progress may delay.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// How many pieces the kernel takes at once (`IOV_MAX`).
const PIECES_MAX: usize = 1024;
const FILE_MODE: Mode = Mode::from_raw_mode(0o600);
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o700);
/// What is above the data directory is not ours to close.
const PARENT_MODE: Mode = Mode::from_raw_mode(0o755);

/// A data directory.
#[derive(Debug)]
pub struct RealDisk {
    directory: OwnedFd,
    /// How files are opened.
    access: OFlags,
    _lock: Option<File>,
}

impl RealDisk {
    /// Makes the directory if it is not there, and locks it.
    ///
    /// # Errors
    /// [`Error::NotWritable`] if it cannot be made or written, [`Error::InUse`] if another process holds it.
    pub fn open(path: &Path) -> Result<Self> {
        make_durably(path, FOLDER_MODE).map_err(Error::NotWritable)?;
        let directory = open_directory(path).map_err(Error::NotWritable)?;
        let lock = take_lock(&directory)?;
        Ok(Self { directory, access: OFlags::RDWR, _lock: Some(lock) })
    }

    /// Locks a directory that is to stay as it is, and may lie on a file system that cannot be written.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process holds it; what the operating system says of a directory that cannot be read.
    pub fn open_to_read(path: &Path) -> Result<Self> {
        let directory = open_directory(path).map_err(|error| Error::io("opening the volume", error))?;
        let lock = match rustix::fs::openat(&directory, LOCK, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        {
            Ok(file) => Some(File::from(file)),
            // Nobody has ever served it where it lies now.
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(Error::io("opening the volume's lock", errno.into())),
        };
        if let Some(file) = &lock {
            hold(file)?;
        }
        Ok(Self { directory, access: OFlags::RDONLY, _lock: lock })
    }

    /// The directory once more, for who knows that this process holds its lock.
    pub(crate) fn of_held(path: &Path) -> io::Result<Self> {
        Ok(Self { directory: open_directory(path)?, access: OFlags::RDWR, _lock: None })
    }
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Makes the directory and what is missing above it, each known to its parent for good.
fn make_durably(path: &Path, mode: Mode) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    make_durably(&parent, PARENT_MODE)?;
    match rustix::fs::mkdir(path, mode) {
        Ok(()) => {}
        Err(Errno::EXIST) if path.is_dir() => {}
        Err(errno) => return Err(errno.into()),
    }
    File::open(parent)?.sync_all()
}

fn take_lock(directory: &OwnedFd) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let file: File = rustix::fs::openat(directory, LOCK, flags, FILE_MODE)
        .map_err(|errno| Error::NotWritable(io::Error::from(errno)))?
        .into();
    hold(&file)?;
    // Always as long as any other process wrote it. On a full disk the name of the holder is not worth a start.
    match file.write_all_at(format!("{:<10}\n", std::process::id()).as_bytes(), 0) {
        Err(error) if !is_no_space(&error) => Err(Error::NotWritable(error)),
        _ => Ok(file),
    }
}

/// Takes the lock, as soon as whoever has it lets go.
fn hold(file: &File) -> Result<()> {
    let since = Instant::now();
    while let Err(errno) = rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        match errno {
            Errno::WOULDBLOCK if since.elapsed() < LOCK_PATIENCE => std::thread::sleep(LOCK_PAUSE),
            Errno::WOULDBLOCK => return Err(Error::InUse { pid: read_holder(file) }),
            Errno::INTR => {}
            _ => return Err(Error::io("locking the volume", io::Error::from(errno))),
        }
    }
    Ok(())
}

fn read_holder(file: &File) -> Option<u32> {
    let mut text = [0; 16];
    let len = file.read_at(&mut text, 0).ok()?;
    std::str::from_utf8(text.get(..len)?).ok()?.trim().parse().ok()
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, path, flags, FILE_MODE)?;
        Ok(Arc::new(RealFile(file.into())))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let flags = self.access | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, path, flags, Mode::empty())?;
        Ok(Arc::new(RealFile(file.into())))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let folder = self.open_folder(folder)?;
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if name == "." || name == ".." {
                continue;
            }
            match rustix::fs::statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => entries.push(Entry {
                    name: name.into_owned(),
                    len: u64::try_from(stat.st_size).unwrap_or(0),
                    allocated: blocks_to_bytes(stat.st_blocks),
                }),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(entries)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.directory, folder, FOLDER_MODE)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.directory, from, &self.directory, to)?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.directory, path, AtFlags::empty())?)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let folder = self.open_folder(folder)?;
        Ok(rustix::io::retry_on_intr(|| rustix::fs::fsync(&folder))?)
    }

    fn space(&self) -> io::Result<DiskSpace> {
        Ok(space(&rustix::fs::fstatvfs(&self.directory)?))
    }
}

impl DiskSpace {
    /// That of the file system that this directory is on, which nobody has opened.
    ///
    /// # Errors
    /// What the operating system says of the directory.
    pub fn of(directory: &Path) -> io::Result<Self> {
        Ok(space(&rustix::fs::statvfs(directory)?))
    }
}

fn space(stat: &rustix::fs::StatVfs) -> DiskSpace {
    DiskSpace {
        total: stat.f_blocks.saturating_mul(stat.f_frsize),
        available: stat.f_bavail.saturating_mul(stat.f_frsize),
    }
}

impl RealDisk {
    fn open_folder(&self, folder: &Path) -> io::Result<OwnedFd> {
        let folder = if folder == Path::new("") { Path::new(".") } else { folder };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.directory, folder, flags, Mode::empty())?)
    }
}

/// `st_blocks` counts 512 bytes whatever the file system's blocks are.
fn blocks_to_bytes(blocks: i64) -> u64 {
    u64::try_from(blocks).unwrap_or(0).saturating_mul(512)
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut buffers = [io::IoSliceMut::new(buffer)];
        match rustix::io::preadv2(&self.0, &mut buffers, offset, ReadWriteFlags::NOWAIT) {
            Ok(len) => Ok(len),
            // File systems that cannot tell say so; the caller then reads where it may wait.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => Err(io::ErrorKind::WouldBlock.into()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn write_pieces_at(&self, pieces: &[Bytes], mut offset: u64) -> io::Result<()> {
        for some in pieces.chunks(PIECES_MAX) {
            let mut slices: Vec<_> = some.iter().map(|piece| IoSlice::new(piece)).collect();
            let mut rest = slices.as_mut_slice();
            // Empty ones go, so that a write of nothing means that the device takes nothing.
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                match rustix::io::pwritev(&self.0, rest, offset) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(len) => {
                        offset += len as u64;
                        IoSlice::advance_slices(&mut rest, len);
                    }
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn allocated(&self) -> io::Result<u64> {
        Ok(blocks_to_bytes(rustix::fs::fstat(&self.0)?.st_blocks))
    }

    fn drop_cache(&self) {
        // Advice only: if it is not taken, the next read may show the same bytes again. No length: to the file's end.
        let _ = rustix::fs::fadvise(&self.0, 0, None, Advice::DontNeed);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    const HOLDER: &str = "MILLPOND_TEST_HOLDS_VOLUME";

    /// The test starts itself as the process that holds the volume.
    #[test]
    fn volume_held_by_a_killed_process_is_free_at_once() {
        if let Some(path) = std::env::var_os(HOLDER) {
            let _held = RealDisk::open(Path::new(&path)).unwrap();
            println!("\nheld");
            std::thread::sleep(Duration::from_secs(60));
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let name = "disk::real::tests::volume_held_by_a_killed_process_is_free_at_once";
        let mut holder = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(HOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "held"));
        match RealDisk::open(folder.path()) {
            Err(Error::InUse { pid }) => assert_eq!(pid, Some(holder.id())),
            other => panic!("{other:?}"),
        }
        holder.kill().unwrap();
        RealDisk::open(folder.path()).unwrap();
        holder.wait().unwrap();
    }

    #[test]
    fn pieces_are_written_one_after_the_other_however_many() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(folder.path()).unwrap();
        let file = disk.create(Path::new("f")).unwrap();
        let pieces: Vec<_> = (0..3 * PIECES_MAX).map(|n| Bytes::from(vec![n as u8; n % 3])).collect();
        file.write_pieces_at(&pieces, 5).unwrap();
        file.write_pieces_at(&[Bytes::new()], 0).unwrap();
        let mut read = vec![0; 4 * PIECES_MAX];
        let len = file.read_at(&mut read, 0).unwrap();
        assert_eq!(read[..len], [&[0; 5], &*pieces.concat()].concat());
    }

    #[test]
    fn directory_is_made_with_all_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c");
        drop(RealDisk::open(&path).unwrap());
        assert!(path.join(LOCK).is_file());
    }

    #[test]
    fn directory_that_cannot_be_made_is_not_writable() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let error = RealDisk::open(&folder.path().join("file/data")).unwrap_err();
        assert!(matches!(error, Error::NotWritable(_)), "{error}");
    }

    #[test]
    fn files_are_written_read_listed_renamed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(folder.path()).unwrap();
        disk.create_folder(Path::new("f")).unwrap();
        let (a, b) = (Path::new("f/a"), Path::new("f/b"));
        let file = disk.create(a).unwrap();
        assert_eq!(disk.create(a).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        file.write_at(b"world", 6).unwrap();
        file.write_at(b"hello ", 0).unwrap();
        file.sync().unwrap();
        disk.rename(a, b).unwrap();
        disk.sync_folder(Path::new("f")).unwrap();
        disk.sync_folder(Path::new("")).unwrap();
        let entries = disk.list(Path::new("f")).unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].name.as_str(), entries[0].len), ("b", 11));
        assert_eq!(disk.open(a).unwrap_err().kind(), io::ErrorKind::NotFound);
        let again = disk.open(b).unwrap();
        disk.remove(b).unwrap();
        assert!(disk.list(Path::new("f")).unwrap().is_empty());
        let mut buffer = [0; 20];
        assert_eq!(again.read_at(&mut buffer, 6).unwrap(), 5);
        assert_eq!(&buffer[..5], b"world");
        assert_eq!(again.read_at(&mut buffer, 11).unwrap(), 0);
        match again.try_read_at(&mut buffer, 0) {
            Ok(len) => assert_eq!(&buffer[..len], b"hello world"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        assert!(again.allocated().unwrap() >= 11);
        again.drop_cache();
        assert_eq!((again.len().unwrap(), again.is_empty().unwrap()), (11, false));
        let space = disk.space().unwrap();
        assert!(0 < space.available && space.available <= space.total);
    }
}
