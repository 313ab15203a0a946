//! A volume in memory that knows what a power cut would leave of it.
//!
//! **Fault model.** A cut may do to each write since the file's last sync, on its own: keep it, lose it, or tear it at
//! sectors of 512 bytes, of which any may have reached the disk and any not, in any order. A file is then as long as
//! what was kept of it, or as it was when written, zeros between. A name that was made, taken over or removed since
//! the folder's last sync may be so or as it was before, each on its own (as file systems without a journal do) or the
//! first few of them (as those with one do); a rename happens as a whole or not at all. A file whose name is lost is
//! gone whatever was synced in it. After a sync that failed, as told by [`MemoryDisk::fail_next_sync`], what was
//! written is left to chance the same way *at once*, but goes on being shown until [`DiskFile::drop_cache`], and a
//! later sync returns well without writing it: so does Linux.
//!
//! What does not happen: bytes that were synced change; names that were synced go; a sector holds half of a write;
//! sectors of one file turn up in another. Flipped bits and errors are [`super::FaultyDisk`]'s.

mod file;
mod folder;
mod handle;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use self::file::Content;
use self::folder::{Change, Folder};
use self::handle::MemoryFile;
use super::{Disk, DiskFile, DiskSpace, Entry};
use crate::random::Random;

const BLOCK: u64 = 4096;
/// What a volume holds unless it is told.
const CAPACITY: u64 = 1 << 40;

type Number = u64;

/// A volume in memory.
#[derive(Debug)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    capacity: u64,
    next: Number,
    files: BTreeMap<Number, Content>,
    folders: BTreeMap<PathBuf, Folder>,
    failing: Vec<Failure>,
}

/// A sync that is going to fail.
#[derive(Debug)]
struct Failure {
    suffix: String,
    errno: Errno,
    seed: u64,
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

impl MemoryDisk {
    /// An empty volume of so many bytes: beyond them a write says that there is no space.
    pub fn with_capacity(capacity: u64) -> Self {
        let folders = BTreeMap::from([(PathBuf::new(), Folder::default())]);
        Self { state: Arc::new(Mutex::new(State { capacity, folders, ..State::default() })) }
    }

    /// Makes the volume larger or smaller.
    pub fn set_capacity(&self, capacity: u64) {
        self.lock().capacity = capacity;
    }

    /// The next sync of a file or folder whose path ends with `suffix` fails. What it should have made durable is left
    /// to chance as in [`MemoryDisk::crash`], with seed 0 it is lost, and no later sync mends it.
    pub fn fail_next_sync(&self, suffix: &str, errno: Errno, seed: u64) {
        self.lock().failing.push(Failure { suffix: suffix.to_owned(), errno, seed });
    }

    /// The volume as a power cut now might leave it, and another seed another way. Seed 0 loses all that it may, seed
    /// 1 keeps it all. This volume goes on as it is.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let state = self.lock();
        let mut image = State { capacity: state.capacity, next: state.next, ..State::default() };
        state.settle_folder(&PathBuf::new(), &mut image, &mut chance);
        Self { state: Arc::new(Mutex::new(image)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Copies a folder with all below it into the image.
    fn settle_folder(&self, path: &PathBuf, image: &mut Self, chance: &mut Chance) {
        let Some(folder) = self.folders.get(path) else { return };
        let names = folder.settle(chance);
        for (name, node) in &names {
            match node {
                Some(number) => {
                    if let Some(content) = self.files.get(number) {
                        image.files.insert(*number, Content::durable(content.settle(chance)));
                    }
                }
                None => self.settle_folder(&path.join(name), image, chance),
            }
        }
        image.folders.insert(path.clone(), Folder::durable(names));
    }

    fn folder(&mut self, path: &Path) -> io::Result<&mut Folder> {
        self.folders.get_mut(path).ok_or_else(not_found)
    }

    /// The folder of a path, and the last part of the path.
    fn parent<'a>(&mut self, path: &'a Path) -> io::Result<(&mut Folder, &'a str)> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok((self.folder(path.parent().unwrap_or(Path::new("")))?, name))
    }

    /// What has no name any more counts until nobody has it open, as file systems do.
    fn used(&self) -> u64 {
        let kept = self.files.values().filter(|content| !content.unlinked || content.handles > 0);
        kept.map(|content| allocated(content.len())).sum()
    }

    /// No look-up finds this file any more.
    fn unlink(&mut self, number: Number) {
        if let Some(content) = self.files.get_mut(&number) {
            content.unlinked = true;
        }
        self.forget(number);
    }

    fn take_failure(&mut self, path: &Path) -> Option<Failure> {
        let path = path.to_string_lossy();
        let index = self.failing.iter().position(|failure| path.ends_with(failure.suffix.as_str()))?;
        Some(self.failing.remove(index))
    }

    /// Gives the space of a file back that has no name; who has it open goes on with it all the same, so it is
    /// forgotten only when nobody has.
    fn forget(&mut self, number: Number) {
        let named = self.folders.values().any(|folder| folder.mentions(number));
        if !named && self.files.get(&number).is_some_and(|content| content.handles == 0) {
            self.files.remove(&number);
        }
    }
}

fn not_found() -> io::Error {
    io::Error::from(Errno::NOENT)
}

fn allocated(len: u64) -> u64 {
    len.next_multiple_of(BLOCK)
}

/// What a power cut decides.
#[derive(Debug)]
struct Chance {
    seed: u64,
    random: Random,
}

impl Chance {
    fn new(seed: u64) -> Self {
        Self { seed, random: Random::new(seed) }
    }

    /// A number below `bound`: always the lowest with seed 0, always the highest with seed 1.
    fn below(&mut self, bound: u64) -> u64 {
        match self.seed {
            0 => 0,
            1 => bound.saturating_sub(1),
            _ => self.random.below(bound),
        }
    }

    fn keeps(&mut self) -> bool {
        self.below(2) == 1
    }
}

impl Disk for MemoryDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        let number = state.next;
        let (folder, name) = state.parent(path)?;
        if folder.get(name).is_some() {
            return Err(io::Error::from(Errno::EXIST));
        }
        folder.change(Change::Add { name: name.to_owned(), node: Some(number) });
        state.next += 1;
        state.files.insert(number, Content::default());
        Ok(self.handle(&mut state, number, path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        let (folder, name) = state.parent(path)?;
        match folder.get(name) {
            Some(Some(number)) => Ok(self.handle(&mut state, number, path)),
            Some(None) => Err(io::Error::from(Errno::ISDIR)),
            None => Err(not_found()),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut state = self.lock();
        let names = state.folder(path)?.names();
        let entry = |(name, node): (String, Option<Number>)| {
            let len = node.and_then(|number| state.files.get(&number)).map_or(0, Content::len);
            Entry { name, len, allocated: allocated(len) }
        };
        Ok(names.into_iter().map(entry).collect())
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let (folder, name) = state.parent(path)?;
        if folder.get(name).is_some() {
            return Err(io::Error::from(Errno::EXIST));
        }
        folder.change(Change::Add { name: name.to_owned(), node: None });
        state.folders.insert(path.to_owned(), Folder::default());
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        // Across folders a cut could leave both names or none; nobody here needs it.
        if from.parent() != to.parent() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut state = self.lock();
        let (_, new) = state.parent(to)?;
        let (folder, old) = state.parent(from)?;
        let Some(node) = folder.get(old) else { return Err(not_found()) };
        let replaced = folder.get(new);
        if node.is_none() || replaced == Some(None) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        folder.change(Change::Rename { from: old.to_owned(), to: new.to_owned(), node });
        if let Some(replaced) = replaced.flatten().filter(|number| Some(*number) != node) {
            state.unlink(replaced);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let (folder, name) = state.parent(path)?;
        match folder.get(name) {
            Some(Some(number)) => {
                folder.change(Change::Remove { name: name.to_owned() });
                state.unlink(number);
                Ok(())
            }
            Some(None) => Err(io::Error::from(Errno::ISDIR)),
            None => Err(not_found()),
        }
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let failure = state.take_failure(path);
        let folder = state.folder(path)?;
        if let Some(failure) = failure {
            folder.fail_sync(&mut Chance::new(failure.seed));
            return Err(failure.errno.into());
        }
        let gone = folder.sync();
        for number in gone {
            state.forget(number);
        }
        Ok(())
    }

    fn space(&self) -> io::Result<DiskSpace> {
        let state = self.lock();
        Ok(DiskSpace { total: state.capacity, available: state.capacity.saturating_sub(state.used()) })
    }
}

impl MemoryDisk {
    fn handle(&self, state: &mut State, number: Number, path: &Path) -> Arc<dyn DiskFile> {
        if let Some(content) = state.files.get_mut(&number) {
            content.handles += 1;
        }
        Arc::new(MemoryFile { state: Arc::clone(&self.state), number, path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests;
