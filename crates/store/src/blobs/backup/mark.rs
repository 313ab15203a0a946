//! The file that says of a directory that it is a backup, or is being made one, and of which volume.
//!
//! It is written before anything else lies there, and anew when all does. **Invariant:** no server starts on a directory
//! whose mark says that it is not whole; and where one starts on a whole backup, the mark goes first: from then on that is
//! a volume of its own, which no backup is written over.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::disk::{Disk, write_error};
use crate::{Error, Result};

/// Its name.
pub(super) const FILE: &str = "backup";
const NEW: &str = "backup.new";
/// What is read of it.
const BYTES_MAX: usize = 4096;
const VERSION: u32 = 1;

/// What a directory is on its way to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A backup, which is brought up to date again and again.
    Backup,
    /// A volume made of a backup: nothing says so any more once it is whole.
    Restoration,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The version of this file.
    millpond_backup: u32,
    /// What it is to be.
    pub purpose: Purpose,
    /// The volume that it is a copy of, in hexadecimal digits.
    pub volume: String,
    /// When what it holds was begun to be copied, in Unix seconds; 0 if it is not whole.
    pub taken: u64,
    /// How many names it holds.
    pub names: u64,
    /// How many bytes the packs take.
    pub bytes: u64,
}

impl Mark {
    /// Of one that is not whole yet.
    pub fn begun(purpose: Purpose, volume: &[u8; 16]) -> Self {
        let volume = volume.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { millpond_backup: VERSION, purpose, volume, taken: 0, names: 0, bytes: 0 }
    }

    /// The same of one that is whole: taken then, with so many names, its packs taking so many bytes.
    pub fn whole(self, taken: u64, names: u64, bytes: u64) -> Self {
        Self { taken, names, bytes, ..self }
    }

    /// Whether all is there.
    pub fn is_whole(&self) -> bool {
        self.taken > 0
    }

    /// What the mark of a directory says; `None` if it has none.
    ///
    /// # Errors
    /// [`Error::Refused`] if it cannot be made out, [`Error::Io`].
    pub fn read(disk: &dyn Disk) -> Result<Option<Self>> {
        let file = match disk.open(Path::new(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(reading)?,
        };
        let mut bytes = vec![0; BYTES_MAX];
        let len = file.read_at(&mut bytes, 0).map_err(reading)?;
        let mark: Option<Self> = serde_json::from_slice(bytes.get(..len).unwrap_or_default()).ok();
        match mark.filter(|mark| mark.millpond_backup == VERSION) {
            Some(mark) => Ok(Some(mark)),
            None => Err(Error::Refused(
                "the file that says which volume it is a backup of cannot be made out, or is of a newer version".into(),
            )),
        }
    }

    /// Writes it, in place of the one before, durable.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`]: the one before stays.
    pub(super) fn write(&self, disk: &dyn Disk) -> Result<()> {
        let write = || -> io::Result<()> {
            match disk.remove(Path::new(NEW)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = disk.create(Path::new(NEW))?;
            let mut line = serde_json::to_vec(self)?;
            line.push(b'\n');
            file.write_at(&line, 0)?;
            file.sync()?;
            disk.rename(Path::new(NEW), Path::new(FILE))?;
            disk.sync_folder(Path::new(""))
        };
        write().map_err(|error| write_error(disk, "writing what says that this is a backup", error))
    }

    /// Takes it away, durable.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn remove(disk: &dyn Disk) -> Result<()> {
        let removed = disk.remove(Path::new(FILE)).and_then(|()| disk.sync_folder(Path::new("")));
        removed.map_err(|error| Error::io("removing what says that this is a backup", error))
    }
}

fn reading(error: io::Error) -> Error {
    Error::io("reading what says that this is a backup", error)
}

/// Before a volume is opened to be served: a whole backup becomes a volume of its own.
///
/// # Errors
/// [`Error::Refused`] if it is not whole yet, [`Error::Io`].
pub fn become_volume(disk: &dyn Disk) -> Result<()> {
    match Mark::read(disk)? {
        None => Ok(()),
        Some(mark) if mark.is_whole() => Mark::remove(disk),
        Some(Mark { purpose: Purpose::Backup, .. }) => Err(Error::Refused(
            "it is a backup that was never finished: `millpond backup` goes on with it".into(),
        )),
        Some(Mark { purpose: Purpose::Restoration, .. }) => {
            Err(Error::Refused("it was not restored to its end: `millpond restore` goes on with it".into()))
        }
    }
}
