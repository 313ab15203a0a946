//! The directory that a volume is copied to, which is a volume too: its mark, its keys, its folders and the packs in it.
//!
//! What is copied lies beside what an earlier copy left, under numbers that never mean another pack. So the catalog that
//! lies there, the earlier one until the new one has its name, finds all of its blobs at every moment.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::Access;

use super::mark::{FILE, Mark, Purpose};
use crate::blobs::Blobs;
use crate::blobs::format::{FooterEntry, FormatFile, PackId, PackState, VolumeKeys, pack_folder};
use crate::blobs::pack::PackFile;
use crate::blobs::volume::{FORMAT_FILES, Volume};
use crate::disk::{Disk, RealDisk};
use crate::{Error, Level, Result};

/// What an empty file system may have in it.
const NOTHING: [&str; 2] = ["lost+found", "lock"];

/// What to do about a directory that is not to be written to.
const GIVE_ANOTHER: &str = "give a directory that is empty or not there yet";

/// See the module.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    disk: Arc<RealDisk>,
    keys: VolumeKeys,
    purpose: Purpose,
    /// What was there.
    mark: Option<Mark>,
    packs: Mutex<HashMap<PackId, u64>>,
    /// Folders whose names are not durable.
    unsynced: Mutex<BTreeSet<PathBuf>>,
}

impl Target {
    /// Locks the directory, and makes it if it is not there. Nothing is written but the lock. Blocks.
    ///
    /// # Errors
    /// [`Error::Refused`] if it holds anything else than a copy of this volume for the same purpose, [`Error::InUse`],
    /// [`Error::NotWritable`], [`Error::Io`].
    pub fn open(path: &Path, purpose: Purpose, source: &Blobs) -> Result<Self> {
        check_contents(path, purpose)?;
        let disk = Arc::new(RealDisk::open(path)?);
        let mark = Mark::read(&*disk)?;
        let keys = source.shared.keys;
        if let Some(mark) = &mark {
            if mark.purpose != purpose {
                let is = match mark.purpose {
                    Purpose::Backup => "a backup",
                    Purpose::Restoration => "a data directory that is being restored",
                };
                return Err(refused(&format!("it is {is}: {GIVE_ANOTHER}")));
            }
            let volume = Mark::begun(purpose, &keys.id).volume;
            if mark.volume != volume {
                return Err(refused(&format!(
                    "it is a copy of the volume {}, and this is the volume {volume}",
                    mark.volume
                )));
            }
        }
        let packs = if mark.is_some() { list(&*disk)? } else { HashMap::new() };
        // Whoever copied what is there may have been killed before it synced them.
        let unsynced = Mutex::new(packs.keys().copied().map(PackId::folder).collect());
        let packs = Mutex::new(packs);
        Ok(Self { path: path.to_owned(), disk, keys, purpose, mark, packs, unsynced })
    }

    /// As [`Target::open`], without making anything: `None` if no earlier copy is there.
    ///
    /// # Errors
    /// Those that [`Target::open`] would have.
    pub fn look(path: &Path, purpose: Purpose, source: &Blobs) -> Result<Option<Self>> {
        if path.join(FILE).exists() {
            return Self::open(path, purpose, source).map(Some);
        }
        check_contents(path, purpose)?;
        rustix::fs::access(Self::there(path), Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|errno| Error::NotWritable(errno.into()))?;
        Ok(None)
    }

    /// The nearest directory that is there, from this one upwards.
    pub fn there(path: &Path) -> &Path {
        path.ancestors().find(|place| place.is_dir()).unwrap_or(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// It, for what belongs to no pack.
    pub fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// What was there when it was opened.
    pub fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    /// The mark of what it is to be.
    pub fn new_mark(&self) -> Mark {
        Mark::begun(self.purpose, &self.keys.id)
    }

    /// Marks it and makes the volume, as far as that was not done: before anything is copied. Blocks.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::NotWritable`], [`Error::Io`].
    pub fn begin(&self) -> Result<()> {
        if self.mark.is_none() {
            self.new_mark().write(&*self.disk)?;
        }
        // When the volume was made is told by the file alone, and nothing depends on it.
        Volume::make(&*self.disk, &FormatFile { keys: self.keys, created: Level::ZERO })
    }

    /// A pack that is there, with what is in it; `None` if there is none of that number that can be read.
    pub(super) fn pack(&self, id: PackId) -> Result<Option<(Arc<PackFile>, Vec<FooterEntry>)>> {
        if !self.packs().contains_key(&id) {
            return Ok(None);
        }
        let pack = Arc::new(PackFile::open(&*self.disk, &self.keys, id, PackState::Sealed)?);
        match pack.footer() {
            Ok(entries) => Ok(Some((pack, entries))),
            Err(Error::Damaged(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A pack of this length was copied to it.
    pub(super) fn has_now(&self, id: PackId, len: u64) {
        self.packs().insert(id, len);
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).insert(id.folder());
    }

    /// Makes the names of the packs durable that were copied. Blocks.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync_packs(&self) -> Result<()> {
        let folders = std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner));
        for folder in folders {
            let synced = self.disk.sync_folder(&folder);
            synced.map_err(|error| Error::io(format!("syncing {}", folder.display()), error))?;
        }
        Ok(())
    }

    /// Says that all is there: with the mark, or without it for what is no backup. Blocks.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`].
    pub fn finish(&self, mark: &Mark) -> Result<()> {
        match self.purpose {
            Purpose::Backup => mark.write(&*self.disk),
            Purpose::Restoration => Mark::remove(&*self.disk),
        }
    }

    /// Removes all packs but these, and what was never copied to its end; how many packs, and their bytes. Blocks.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn keep_only(&self, wanted: &BTreeSet<PackId>) -> Result<(u64, u64)> {
        let (mut packs, mut bytes) = (0, 0);
        for low_byte in 0..=u8::MAX {
            let folder = pack_folder(low_byte);
            let failed = |error| Error::io(format!("clearing {}", folder.display()), error);
            for entry in self.disk.list(&folder).map_err(failed)? {
                let pack = PackId::parse_file_name(&entry.name);
                let keeps =
                    pack.is_some_and(|(id, state)| state == PackState::Sealed && wanted.contains(&id));
                if !keeps && (pack.is_some() || entry.name.ends_with(".copy")) {
                    self.disk.remove(&folder.join(&entry.name)).map_err(failed)?;
                    packs += u64::from(pack.is_some());
                    bytes += entry.len;
                }
            }
        }
        Ok((packs, bytes))
    }

    /// How many packs [`Target::keep_only`] would remove.
    pub(super) fn count_without(&self, wanted: &BTreeSet<PackId>) -> u64 {
        self.packs().keys().filter(|id| !wanted.contains(id)).count() as u64
    }

    fn packs(&self) -> std::sync::MutexGuard<'_, HashMap<PackId, u64>> {
        self.packs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(why: &str) -> Error {
    Error::Refused(why.to_owned())
}

/// Nothing, or what is marked.
fn check_contents(path: &Path, purpose: Purpose) -> Result<()> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(refused("it is not a directory"));
        }
        other => other.map_err(Error::NotWritable)?,
    };
    let mut found = None;
    for entry in entries {
        let name = entry.map_err(Error::NotWritable)?.file_name().to_string_lossy().into_owned();
        match name.as_str() {
            FILE => return Ok(()),
            name if NOTHING.contains(&name) => {}
            _ => found = found.or(Some(name)),
        }
    }
    let Some(name) = found else { return Ok(()) };
    let holds = match (FORMAT_FILES.iter().any(|name| path.join(name).exists()), purpose) {
        (true, Purpose::Backup) => {
            "it is no backup but a data directory, with a volume of its own".to_owned()
        }
        (true, Purpose::Restoration) => {
            return Err(refused(&format!(
                "it is a data directory already, with a volume that holds names: {GIVE_ANOTHER}; into a server that runs on \
                 this one, `--names` brings names back"
            )));
        }
        (false, Purpose::Backup) => {
            format!("it holds something that is no backup, {name:?} to begin with")
        }
        (false, Purpose::Restoration) => format!("it holds something already, {name:?} to begin with"),
    };
    Err(refused(&format!("{holds}: {GIVE_ANOTHER}")))
}

fn list(disk: &dyn Disk) -> Result<HashMap<PackId, u64>> {
    let mut found = HashMap::new();
    for low_byte in 0..=u8::MAX {
        let entries = match disk.list(&pack_folder(low_byte)) {
            // The folders come after the mark.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(|error| Error::io("listing the packs of the backup", error))?,
        };
        let packs = entries.into_iter().filter_map(|entry| {
            let (id, state) = PackId::parse_file_name(&entry.name)?;
            (state == PackState::Sealed).then_some((id, entry.len))
        });
        found.extend(packs);
    }
    Ok(found)
}
