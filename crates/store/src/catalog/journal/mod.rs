//! The journal: every change that was committed, once more, in files of our own format. From it the catalog is made
//! anew when SQLite's files are damaged.
//!
//! Files are `journal/N.log`. When the newest has grown to twice what was live in it, another is begun: changes go
//! there from then on, and what is live is copied there in portions; once it is all there, older files go.
//!
//! **Invariant:** a change is appended right after its COMMIT and before anybody is told, in the order of the numbers.
//! If one could not be appended, none is until a new file has been begun, so that the gap shows in the numbers.

#[cfg(test)]
mod document;
mod format;
mod scan;
mod survey;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) use format::Change;
pub(super) use survey::{Seen, survey};

use rustix::io::Errno;

use self::format::{FIRST_RECORD, FileHeader, VERSION};
use self::scan::Scan;
use crate::disk::{Disk, DiskFile, write_error};
use crate::{Error, Result};

/// Reads a record whatever its checksum is.
#[cfg(any(test, fuzzing))]
pub(super) fn read_as_record(data: &[u8]) {
    if let Some((kind, payload)) = data.split_first() {
        let _ = format::Change::decode(*kind, payload);
    }
    let _ = format::announced(data);
    let _ = format::decode_record(data, &[0; 16]);
}

/// The folder of the journal files.
const FOLDER: &str = "journal";
/// A journal is rewritten at twice its live rows and this much.
const GARBAGE_MIN: u64 = 1 << 20;

/// An open journal file.
#[derive(Clone, Debug)]
pub(super) struct File {
    header: FileHeader,
    file: Arc<dyn DiskFile>,
}

impl File {
    fn scan(&self, end: u64) -> Scan {
        Scan::new(Arc::clone(&self.file), self.header.salt, end)
    }
}

/// The journal as its only writer has it.
#[derive(Debug)]
pub(super) struct Journal {
    disk: Arc<dyn Disk>,
    /// Oldest first; changes go to the last.
    files: Vec<File>,
    /// Where the next record of the newest file goes.
    end: u64,
    /// The bytes that the live rows took in it.
    live: u64,
    /// The highest number that any file ever had, taken or not.
    last_number: u64,
    unsynced: bool,
    behind: bool,
    copying: bool,
}

/// What a clean stop noted about the newest file.
#[derive(Clone, Copy, Debug)]
pub(super) struct CleanEnd {
    /// Its number.
    pub(super) number: u64,
    /// Its length.
    pub(super) length: u64,
    /// The bytes that the live rows took in it.
    pub(super) live: u64,
}

/// What opening the journal found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) journal: Journal,
    /// Nothing if the files are as a clean stop left them, and were not read.
    pub(super) seen: Option<Seen>,
    pub(super) set_aside: Vec<String>,
}

impl Journal {
    /// Opens what is there; reads it all unless it is as `clean` says. Writes nothing yet.
    pub(super) fn open(disk: Arc<dyn Disk>, clean: Option<CleanEnd>) -> Result<Found> {
        make_folder(&*disk)?;
        let mut numbers = Vec::new();
        for entry in disk.list(Path::new(FOLDER)).map_err(|error| Error::io("listing the journal", error))? {
            numbers.extend(entry.name.strip_suffix(".log").and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        let last_number = numbers.last().copied().unwrap_or(0);
        let (mut files, mut set_aside) = (Vec::new(), Vec::new());
        for number in numbers {
            match open_file(&*disk, number)? {
                Some(file) => files.push(file),
                None => set_aside.extend(lay_aside(&*disk, number)),
            }
        }
        let mut journal = Self {
            disk,
            files,
            end: 0,
            live: 0,
            last_number,
            unsynced: false,
            behind: false,
            copying: false,
        };
        journal.end = journal.newest_len()?.next_multiple_of(format::ALIGNMENT as u64);
        let as_left = clean.filter(|clean| {
            let [file] = &*journal.files else { return false };
            file.header.number == clean.number && journal.end == clean.length
        });
        if let Some(clean) = as_left {
            journal.live = clean.live;
            return Ok(Found { journal, seen: None, set_aside });
        }
        let seen = survey(&journal.snapshot()?, |_, _| Ok::<(), Error>(()))?;
        journal.live = seen.live;
        journal.drop_before(seen.first);
        // An unfinished copy is not gone on with, but begun again.
        journal.behind = !seen.complete || seen.bad > 0 || journal.files.len() > 1;
        Ok(Found { journal, seen: Some(seen), set_aside })
    }

    /// The files with their lengths now, to be read beside the writer.
    pub(super) fn snapshot(&self) -> Result<Vec<(File, u64)>> {
        let with_len = |file: &File| Ok((file.clone(), file.file.len()?));
        self.files
            .iter()
            .map(with_len)
            .collect::<io::Result<_>>()
            .map_err(|error| Error::io("measuring the journal", error))
    }

    /// Appends committed changes. An error means that the journal is behind from now on; the changes stay committed.
    pub(super) fn append(&mut self, changes: &[(u64, Change)]) -> Result<()> {
        if self.behind || changes.is_empty() {
            return Ok(());
        }
        let Some(newest) = self.files.last() else {
            self.behind = true;
            return Ok(());
        };
        let mut buffer = Vec::with_capacity(changes.iter().map(|(_, change)| change.len()).sum());
        for (seq, change) in changes {
            format::encode_record(&mut buffer, &newest.header.salt, *seq, change);
        }
        if let Err(error) = newest.file.write_at(&buffer, self.end) {
            self.behind = true;
            return Err(write_error(&*self.disk, "writing the journal", error));
        }
        self.end += buffer.len() as u64;
        self.unsynced = true;
        Ok(())
    }

    /// Makes durable what was appended.
    pub(super) fn sync(&mut self) -> Result<()> {
        if let (true, Some(newest)) = (self.unsynced, self.files.last()) {
            newest.file.sync().map_err(|error| write_error(&*self.disk, "syncing the journal", error))?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// The catalog has so many rows now: with fewer of them, less of the newest file is live.
    pub(super) fn rows_changed(&mut self, before: u64, after: u64) {
        if after < before {
            let live = u128::from(self.live) * u128::from(after) / u128::from(before);
            self.live = u64::try_from(live).unwrap_or(self.live);
        }
    }

    /// Whether there is something to be synced.
    pub(super) fn is_unsynced(&self) -> bool {
        self.unsynced
    }

    /// From now on the files do not hold all: a new one is due.
    pub(super) fn set_behind(&mut self) {
        self.behind = true;
        self.copying = false;
    }

    /// Whether changes are known to be missing from the files.
    pub(super) fn is_behind(&self) -> bool {
        self.behind
    }

    /// Whether the files hold all that was committed.
    pub(super) fn is_complete(&self) -> bool {
        !self.behind && !self.copying
    }

    /// Whether a new file should be begun and the live rows copied to it.
    pub(super) fn is_rewrite_due(&self) -> bool {
        self.behind || (!self.copying && self.end > 2 * self.live + GARBAGE_MIN)
    }

    /// Begins a new file, after change number `base`. Without room for it all stays as it was.
    ///
    /// # Errors
    /// [`Error::NoSpace`]; [`Error::Busy`] if no file could be opened just now; else a write or sync failed.
    pub(super) fn begin_file(&mut self, base: u64) -> Result<()> {
        self.sync()?;
        let number = self.last_number + 1;
        let salt = random_salt().map_err(|error| Error::Busy(format!("reading random bytes: {error}")))?;
        let header = FileHeader { version: VERSION, number, base, salt };
        self.last_number = number;
        let path = path(number);
        let made = make_file(&*self.disk, &path, &header);
        let file = made.map_err(|error| {
            // What lies there is of no use, and at the next start would only be set aside.
            let _ = self.disk.remove(&path);
            if may_pass(&error) {
                return Error::Busy(format!("beginning a journal file: {error}"));
            }
            write_error(&*self.disk, "beginning a journal file", error)
        })?;
        self.files.push(File { header, file });
        self.end = FIRST_RECORD;
        self.behind = false;
        self.copying = base > 0;
        self.live = 0;
        Ok(())
    }

    /// Says that all that was there when the newest file was begun has been copied, and removes the older files.
    pub(super) fn complete(&mut self) -> Result<()> {
        let Some(base) = self.files.last().map(|newest| newest.header.base) else { return Ok(()) };
        self.append(&[(base, Change::Complete)])?;
        self.sync()?;
        self.live = self.end;
        self.copying = false;
        self.drop_before(self.files.len() - 1);
        Ok(())
    }

    /// Where the newest file stands, for a clean stop.
    pub(super) fn clean_end(&self) -> Option<CleanEnd> {
        let newest = self.files.last().filter(|_| !self.behind)?;
        Some(CleanEnd { number: newest.header.number, length: self.end, live: self.live })
    }

    /// Removes files that later ones make needless. One that stays is removed at another time.
    fn drop_before(&mut self, first: usize) {
        for file in self.files.drain(..first.min(self.files.len())) {
            if let Err(error) = self.disk.remove(&path(file.header.number)) {
                tracing::warn!(%error, number = file.header.number, "a journal file could not be removed");
            }
        }
    }

    fn newest_len(&self) -> Result<u64> {
        self.files
            .last()
            .map_or(Ok(0), |newest| newest.file.len())
            .map_err(|error| Error::io("measuring the journal", error))
    }
}

/// Bytes allocated for the journal.
pub(super) fn allocated(disk: &dyn Disk) -> u64 {
    disk.list(Path::new(FOLDER)).map_or(0, |entries| entries.iter().map(|entry| entry.allocated).sum())
}

fn path(number: u64) -> PathBuf {
    Path::new(FOLDER).join(format!("{number}.log"))
}

fn make_folder(disk: &dyn Disk) -> Result<()> {
    match disk.create_folder(Path::new(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(write_error(disk, "making the journal's folder", error)),
        Ok(()) => disk
            .sync_folder(Path::new(""))
            .map_err(|error| write_error(disk, "making the journal's folder durable", error)),
    }
}

fn make_file(disk: &dyn Disk, path: &Path, header: &FileHeader) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.create(path)?;
    file.write_at(&header.encode(), 0)?;
    file.sync()?;
    disk.sync_folder(Path::new(FOLDER))?;
    Ok(file)
}

/// Whether a file could not be opened for a reason that says nothing about it: too many open ones, lack of memory.
fn may_pass(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(
        errno,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR | Errno::ACCESS | Errno::PERM)
    )
}

/// Opens a file; `None` if neither copy of its header can be read. An error that may pass is one: set aside, the file
/// would be lost to the next start too.
fn open_file(disk: &dyn Disk, number: u64) -> Result<Option<File>> {
    let file = match disk.open(&path(number)) {
        Ok(file) => file,
        Err(error) if may_pass(&error) => return Err(Error::io("opening a journal file", error)),
        Err(error) => {
            tracing::warn!(%error, number, "a journal file cannot be opened");
            return Ok(None);
        }
    };
    let mut bytes = vec![0; usize::try_from(FIRST_RECORD).unwrap_or(0)];
    let read = match file.read_at(&mut bytes, 0) {
        Ok(read) => read,
        Err(error) if may_pass(&error) => return Err(Error::io("reading a journal file's header", error)),
        Err(error) => {
            tracing::warn!(%error, number, "the header of a journal file cannot be read");
            0
        }
    };
    let header = FileHeader::decode(bytes.get(..read).unwrap_or_default());
    match header {
        Some(header) if header.version > VERSION => {
            Err(Error::NewerFormat { found: header.version, known: VERSION })
        }
        Some(header) if header.number == number => Ok(Some(File { header, file })),
        _ => Ok(None),
    }
}

/// Gives an unreadable file a name that says so.
fn lay_aside(disk: &dyn Disk, number: u64) -> Option<String> {
    let from = path(number);
    let to = from.with_extension("log.damaged");
    if let Err(error) = disk.rename(&from, &to) {
        tracing::warn!(%error, number, "an unreadable journal file could not be set aside");
        return None;
    }
    Some(to.display().to_string())
}

fn random_salt() -> io::Result<format::Salt> {
    let mut salt = format::Salt::default();
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut salt)?;
    Ok(salt)
}
