//! The volume itself: its format, its keys, its folders. What lies in them is not known here.
//!
//! Opening makes what is missing, in an order that a power cut may end anywhere: first the folders, then the format
//! file, then its copy, each under a temporary name until it is durable. Until the first format file has its name
//! there is nothing else on the volume that depends on the keys, so new ones may be drawn; afterwards either file will
//! do, and if both are bad the keys stand in every pack.
//!
//! **Invariant:** when this returns well, both format files and all folders of packs are there and durable.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::format::{
    FORMAT_VERSION, FormatFile, PackHeader, PackId, PackState, Trailer, VersionFound, VolumeKeys, pack_folder,
};
use crate::disk::{Disk, is_device_error, write_error};
use crate::{Error, Level, Result};

/// The format file and its copy.
pub(super) const FORMAT_FILES: [&str; 2] = ["format", "format.copy"];
const PACKS: &str = "packs";
/// What is read of a format file; a later format may have more in it than this one.
const FORMAT_READ_MAX: usize = 4096;

/// An opened volume.
#[derive(Debug)]
pub struct Volume {
    /// Its keys.
    pub keys: VolumeKeys,
    /// When it was made.
    pub created: Level,
    /// Whether it was made just now.
    pub is_new: bool,
    /// What was found damaged and set aside or made good, for the log.
    pub repaired: Vec<String>,
}

impl Volume {
    /// Makes folders and format files, as far as they are not there: of a volume that is copied, with its keys.
    ///
    /// # Errors
    /// [`Error::NotWritable`], [`Error::NoSpace`], [`Error::Io`].
    pub fn make(disk: &dyn Disk, format: &FormatFile) -> Result<()> {
        make_folders(disk)?;
        for name in FORMAT_FILES.map(Path::new) {
            let found = read_format(disk, name);
            let has_keys =
                matches!(&found, Ok(Some(VersionFound::Known(known))) if known.keys == format.keys);
            if !has_keys {
                write_format(disk, name, format)?;
            }
        }
        Ok(())
    }

    /// Opens the volume on a disk, making it on an empty one.
    ///
    /// # Errors
    /// [`Error::NewerFormat`], [`Error::NotWritable`], [`Error::NoSpace`], [`Error::Io`].
    pub fn open(disk: &dyn Disk, now: Level) -> Result<Self> {
        let files = FORMAT_FILES.map(|name| read_format(disk, Path::new(name)));
        let mut found = None;
        let mut repaired = Vec::new();
        for (name, file) in FORMAT_FILES.into_iter().zip(&files) {
            match file {
                Ok(Some(VersionFound::Newer(version))) => {
                    return Err(Error::NewerFormat { found: *version, known: FORMAT_VERSION });
                }
                Ok(Some(VersionFound::Known(known))) => found = found.or(Some(*known)),
                Ok(Some(VersionFound::Damaged)) => repaired.push(format!("the file {name} was damaged")),
                Ok(None) => {}
                Err(error) if is_device_error(error) => {
                    repaired.push(format!("the file {name} could not be read: {error}"));
                }
                Err(error) => return Err(make_error(disk, "reading the format file", copy_of(error))),
            }
        }
        make_folders(disk)?;
        let (format, is_new) = match found {
            Some(known) => (known, false),
            None => match keys_from_packs(disk)? {
                Some((keys, created)) => {
                    repaired.push("the volume's keys were taken from a pack".to_owned());
                    (FormatFile { keys, created }, false)
                }
                None => (FormatFile { keys: draw_keys()?, created: now }, true),
            },
        };
        for (name, file) in FORMAT_FILES.into_iter().zip(files) {
            if file.ok().flatten() != Some(VersionFound::Known(format)) {
                write_format(disk, Path::new(name), &format)?;
            }
        }
        Ok(Self { keys: format.keys, created: format.created, is_new, repaired })
    }
}

/// The error of making something on the volume: what cannot be written is told apart from what failed once.
fn make_error(disk: &dyn Disk, doing: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Error::NotWritable(error),
        _ => write_error(disk, doing, error),
    }
}

fn copy_of(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// What a format file is; `None` if there is none.
fn read_format(disk: &dyn Disk, path: &Path) -> io::Result<Option<VersionFound>> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; FORMAT_READ_MAX];
    let len = file.read_at(&mut bytes, 0)?;
    Ok(Some(FormatFile::decode(bytes.get(..len).unwrap_or_default())))
}

/// Writes a format file beside its place, makes it durable, and puts it there; one that is there already is kept under
/// a name that says what it is.
fn write_format(disk: &dyn Disk, path: &Path, format: &FormatFile) -> Result<()> {
    let new = with_ending(path, ".new");
    let write = || -> io::Result<()> {
        match disk.remove(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.create(&new)?;
        file.write_at(&format.encode(), 0)?;
        file.sync()?;
        match disk.rename(path, &with_ending(path, ".damaged")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        disk.rename(&new, path)?;
        disk.sync_folder(Path::new(""))
    };
    write().map_err(|error| make_error(disk, "writing the format file", error))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Makes the folders that are missing; durable, those too that an earlier start made and could not sync.
fn make_folders(disk: &dyn Disk) -> Result<()> {
    let make = || -> io::Result<()> {
        let existing = match disk.create_folder(Path::new(PACKS)) {
            Ok(()) => Vec::new(),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.list(Path::new(PACKS))?,
            Err(error) => return Err(error),
        };
        disk.sync_folder(Path::new(""))?;
        for low_byte in 0..=u8::MAX {
            let folder = pack_folder(low_byte);
            let is_there = |name: &str| existing.iter().any(|entry| entry.name == name);
            if !folder.file_name().and_then(|name| name.to_str()).is_some_and(is_there) {
                disk.create_folder(&folder)?;
            }
        }
        disk.sync_folder(Path::new(PACKS))
    };
    make().map_err(|error| make_error(disk, "making the folders of packs", error))
}

/// The keys that the first readable pack has in its header or its trailer; `None` if there is no pack that has any.
fn keys_from_packs(disk: &dyn Disk) -> Result<Option<(VolumeKeys, Level)>> {
    let failed = |error| Error::io("looking for the volume's keys in packs", error);
    for low_byte in 0..=u8::MAX {
        for entry in disk.list(&pack_folder(low_byte)).map_err(failed)? {
            let Some((id, state)) = PackId::parse_file_name(&entry.name) else { continue };
            match keys_from_pack(disk, id, state) {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                Err(error) if is_device_error(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
    Ok(None)
}

fn keys_from_pack(disk: &dyn Disk, id: PackId, state: PackState) -> io::Result<Option<(VolumeKeys, Level)>> {
    let file = disk.open(&id.path(state))?;
    let mut bytes = [0; PackHeader::LEN];
    if file.read_at(&mut bytes, 0).is_ok()
        && let Some(header) = PackHeader::decode(&bytes).filter(|header| header.id == id)
    {
        return Ok(Some((header.keys, header.created)));
    }
    let mut bytes = [0; Trailer::LEN];
    file.read_at(&mut bytes, file.len()?.saturating_sub(Trailer::LEN as u64))?;
    let trailer = Trailer::decode(&bytes).filter(|trailer| trailer.id == id);
    Ok(trailer.map(|trailer| (trailer.keys, trailer.newest)))
}

fn draw_keys() -> Result<VolumeKeys> {
    let mut drawn = [0; 48];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut drawn))
        .map_err(|error| Error::io("drawing the volume's keys", error))?;
    let [id, secret, salt] = [0, 16, 32].map(|from| {
        let mut key = [0; 16];
        key.copy_from_slice(drawn.get(from..from + 16).unwrap_or(&[0; 16]));
        key
    });
    Ok(VolumeKeys { id, secret, salt })
}

#[cfg(test)]
mod tests;
