//! Files of the directory of keys: written whole or not at all, readable by their owner alone, changed by one at a time.

use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::process::geteuid;
use tempfile::NamedTempFile;

use crate::{Error, Keys};

/// The right to change the directory of keys: nobody else changes it meanwhile.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "the lock ends with the file")] File);

impl Turn {
    /// Makes the directory if need be, and waits for whoever is changing it.
    pub(crate) fn take(keys: &Keys) -> Result<Self, Error> {
        make_folder(keys.folder())?;
        check_owner(keys.folder())?;
        let path = keys.lock();
        let file = File::options().create(true).append(true).mode(0o600).open(&path);
        let file = file.map_err(Error::io(&path, "opened"))?;
        file.lock().map_err(Error::io(&path, "locked"))?;
        Ok(Self(file))
    }

    /// Waits until nobody is changing the directory, if anybody ever did.
    pub(crate) fn to_read(keys: &Keys) -> Result<Option<Self>, Error> {
        let path = keys.lock();
        let Ok(file) = File::open(&path) else { return Ok(None) };
        file.lock_shared().map_err(Error::io(&path, "locked"))?;
        Ok(Some(Self(file)))
    }
}

/// Makes a folder that its owner alone may enter, with its parents. One that is there stays as it is.
pub(crate) fn make_folder(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io(path, "made"))?;
    sync_folder(parent(path))
}

/// Refuses whoever does not own the directory, root above all: its owner could lay a link in root's way, to have files
/// written or given away that are not theirs; and what root makes the server could not read.
fn check_owner(folder: &Path) -> Result<(), Error> {
    let owner = fs::metadata(folder).map_err(Error::io(folder, "looked at"))?.uid();
    if owner == geteuid().as_raw() {
        return Ok(());
    }
    Err(Error::unwanted(
        format!("{} belongs to the user with the number {owner}, and to nobody else", folder.display()),
        format!("run the command as that user, as in `sudo -u '#{owner}' millpond ...`"),
    ))
}

/// Copies a directory of keys into a new or an earlier copy, readable for its owner alone: all that is in it but links. What is
/// there is replaced, file by file.
///
/// # Errors
/// If either belongs to somebody else than whoever asks, or the copy is a link: its owner could lay links in root's way.
pub fn copy_keys(from: &Path, to: &Path) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(to) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Error::io(to, "made")(error));
        }
        _ => {}
    }
    let is_directory = fs::symlink_metadata(to).map_err(Error::io(to, "looked at"))?.is_dir();
    if !is_directory {
        let sentence = format!("{} is no directory", to.display());
        return Err(Error::unwanted(sentence, "move it away"));
    }
    check_owner(from)?;
    check_owner(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).map_err(Error::io(to, "given a mode"))?;
    for entry in fs::read_dir(from).map_err(Error::io(from, "read"))? {
        let entry = entry.map_err(Error::io(from, "read"))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(Error::io(&source, "looked at"))?;
        if kind.is_dir() {
            copy_keys(&source, &target)?;
        } else if kind.is_file() {
            write(&target, &read(&source)?, 0o600)?;
        }
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Replaces a file, or makes it: whoever reads it finds the old one or the new one, also after a power cut.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let folder = parent(path);
    let doing = || Error::io(path, "written");
    // Readable by its owner alone from its first moment.
    let mut file = NamedTempFile::new_in(folder).map_err(doing())?;
    file.write_all(content).map_err(doing())?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode)).map_err(doing())?;
    file.as_file().sync_all().map_err(doing())?;
    file.persist(path).map_err(|error| doing()(error.error))?;
    sync_folder(folder)
}

/// Writes what belongs to a directory of keys and is no secret, such as the configuration of its server: whole or not at
/// all. A folder that is not there is made, for its owner alone.
pub fn write_beside_keys(path: &Path, content: &[u8]) -> Result<(), Error> {
    make_folder(parent(path))?;
    write(path, content, 0o644)
}

/// Writes a secret, for its owner alone: whole or not at all. A folder that is not there is made, for its owner alone, too.
///
/// # Errors
/// That it cannot be written.
pub fn write_secret(path: &Path, content: &[u8]) -> Result<(), Error> {
    make_folder(parent(path))?;
    write(path, content, 0o600)
}

/// A file's content.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(Error::io(path, "read"))
}

fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io(folder, "synced"))
}
