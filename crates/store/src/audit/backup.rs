//! The audit log copied to another volume: segments that grew or are new, up to their last whole line.

use std::io;
use std::path::{Path, PathBuf};

use super::FOLDER;
use crate::disk::{Disk, write_error};
use crate::{Error, Result};

/// A segment until it takes its name.
const NEXT: &str = "next.copy";

/// Copies the segments, if there are any, and removes those that are there no more. Blocks.
///
/// # Errors
/// [`Error::NoSpace`], [`Error::Io`].
pub fn copy(source: &dyn Disk, target: &dyn Disk) -> Result<()> {
    let reading = |error| Error::io("reading the audit log to copy it", error);
    let writing = |error| write_error(target, "copying the audit log", error);
    let segments = match source.list(Path::new(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(reading)?,
    };
    match target.create_folder(Path::new(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other.and_then(|()| target.sync_folder(Path::new(""))).map_err(writing)?,
    }
    let path = |name: &str| -> PathBuf { Path::new(FOLDER).join(name) };
    let is_segment = |name: &str| name.ends_with(".log");
    for segment in segments.iter().filter(|segment| is_segment(&segment.name)) {
        let mut bytes = match read(source, &path(&segment.name)) {
            // It was the oldest, and left meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(reading)?,
        };
        // What is just being written is not whole, and would pass for torn off.
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1));
        if read(target, &path(&segment.name)).is_ok_and(|there| there == bytes) {
            continue;
        }
        let write = || -> io::Result<()> {
            match target.remove(&path(NEXT)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = target.create(&path(NEXT))?;
            file.write_at(&bytes, 0)?;
            file.sync()?;
            target.rename(&path(NEXT), &path(&segment.name))
        };
        write().map_err(writing)?;
    }
    for entry in target.list(Path::new(FOLDER)).map_err(writing)? {
        if !segments.iter().any(|segment| segment.name == entry.name) {
            target.remove(&path(&entry.name)).map_err(writing)?;
        }
    }
    target.sync_folder(Path::new(FOLDER)).map_err(writing)
}

fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(0)];
    let len = file.read_at(&mut bytes, 0)?;
    bytes.truncate(len);
    Ok(bytes)
}
