//! The directory of `bst-artifact-server` of BuildStream 1: `cas/refs/heads/PROJECT/ELEMENT/KEY` holds the digest of a tree.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use millpond_proto::reapi;
use prost::Message;

use super::{Entry, Foreign, Found};
use crate::asset::reference_uri;
use crate::closure::wire_digest;
use crate::{AssetKind, InstanceName};

/// Where its names lie.
const HEADS: &str = "cas/refs/heads";
/// A digest in a file is never longer, in bytes.
const REF_BYTES_MAX: u64 = 1024;

/// All names.
pub(super) fn entries(directory: &Path) -> io::Result<Vec<Entry>> {
    files(directory, Path::new(HEADS))
}

/// All files below a folder of a directory, in no order. Links are not followed.
pub(super) fn files(directory: &Path, folder: &Path) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    let mut first = true;
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(directory.join(&folder)) {
            Ok(entries) => entries,
            // A server that still runs may have removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !first => continue,
            Err(error) => return Err(error),
        };
        first = false;
        for entry in entries {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let (kind, metadata) = match (entry.file_type(), entry.metadata()) {
                (Ok(kind), Ok(metadata)) => (kind, metadata),
                (Err(error), _) | (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => continue,
                (Err(error), _) | (_, Err(error)) => return Err(error),
            };
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let written = metadata.modified().ok();
                let written = written.and_then(|written| written.duration_since(UNIX_EPOCH).ok());
                found.push(Entry { path, written: written.map_or(0, |written| written.as_secs()) });
            }
        }
    }
    Ok(found)
}

/// Reads a small file that says what a name points to.
pub(super) fn small_file(directory: &Path, path: &Path, most: u64) -> Found<Vec<u8>> {
    let path: PathBuf = directory.join(path);
    let size = fs::metadata(&path).map_err(|error| error.to_string())?.len();
    if size > most {
        return Err(format!("it has {size} bytes, more than any name takes"));
    }
    fs::read(path).map_err(|error| error.to_string())
}

/// The name that a file stands for.
pub(super) fn read(directory: &Path, path: &Path, instance: &InstanceName) -> Found<Foreign> {
    let content = small_file(directory, path, REF_BYTES_MAX)?;
    let digest = reapi::Digest::decode(&*content).map_err(|error| error.to_string())?;
    let digest = wire_digest(Some(&digest))?.ok_or("it points to nothing")?;
    let key = path.strip_prefix(HEADS).ok().and_then(Path::to_str).ok_or("its name is not in UTF-8")?;
    let uri = reference_uri(key).map_err(|error| error.to_string())?;
    Ok(Foreign::asset(instance, (AssetKind::Directory, &uri, ""), digest, None))
}
