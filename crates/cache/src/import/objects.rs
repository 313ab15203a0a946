//! The blobs of a content-addressed directory, `objects/HH/REST`: as both servers lay them out.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use millpond_store::Digest;

/// Where they lie.
#[derive(Clone, Debug)]
pub(super) struct Objects(Arc<Path>);

impl Objects {
    /// Those of a server's directory; `None` if there are none.
    pub(super) fn below(directory: &Path) -> Option<Self> {
        let objects = directory.join("cas/objects");
        objects.is_dir().then(|| Self(objects.into()))
    }

    fn path(&self, hash: &str) -> Option<PathBuf> {
        Some(self.0.join(hash.get(..2)?).join(hash.get(2..)?))
    }

    /// The size of the blob with this hash; `None` if it is not there.
    pub(super) fn size(&self, hash: &str) -> Option<u64> {
        Some(fs::metadata(self.path(hash)?).ok().filter(fs::Metadata::is_file)?.len())
    }

    /// Opens a blob, if there is a file for it that has its size.
    pub(super) fn open(&self, digest: &Digest) -> io::Result<Option<File>> {
        let hash = digest.to_string();
        let path = hash.split_once('/').and_then(|(hash, _)| self.path(hash));
        let Some(path) = path else { return Ok(None) };
        match File::open(path) {
            Ok(file) if file.metadata()?.len() == digest.size() => Ok(Some(file)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a small blob whole; its hash is not looked at.
    pub(super) fn read(&self, digest: &Digest) -> io::Result<Option<Bytes>> {
        let Some(file) = self.open(digest)? else { return Ok(None) };
        let mut content = Vec::new();
        file.take(digest.size().saturating_add(1)).read_to_end(&mut content)?;
        Ok(Some(content.into()))
    }
}
