//! Taking over what another server has, in its directory or by its protocol: its names, and the blobs that they need.
//!
//! A directory is read and never changed. What is there already is not read again, so an import that was broken off goes on
//! where it was. Names of a directory come in the order in which they were last written, so that where not all fit the oldest
//! go first, and count as pushed then.
//!
//! **Invariant:** a name is taken in only when its closure is here, each blob of it hashed; what is broken there is told and
//! left out.

mod ahead;
mod bring;
mod bst1;
mod casd;
mod coming;
mod compare;
pub(crate) mod copy;
pub(crate) mod difference;
mod intake;
mod lacking;
mod objects;
mod source;
mod take_over;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cache::Inner;
use crate::{Admin, Cache, Client, Error, InstanceName, Permit, Result};
use bring::Bringing;
use objects::Objects;
use source::Source;
use take_over::{Foreign, Over, Took};
use tokio::sync::mpsc;

/// How far it is, is told so often.
const PROGRESS: Duration = Duration::from_millis(250);

/// Whose directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportKind {
    /// That of `bst-artifact-server` of BuildStream 1: objects and refs.
    Bst1,
    /// That of `buildbox-casd`: objects, assets and action results.
    Casd,
}

/// What is to be taken over.
#[derive(Clone, Debug)]
pub struct ImportWanted {
    /// Whose directory it is.
    pub kind: ImportKind,
    /// The directory, on this machine.
    pub directory: PathBuf,
    /// Nothing is taken in: only told what would be.
    pub dry_run: bool,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportStep {
    /// So many names of so many were looked at, and so many bytes of blobs taken in.
    Progress(Imported),
    /// A name that is left out.
    Broken {
        /// What it is called there.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// What it came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Names that there are.
    pub of_names: u64,
    /// Names taken in, or that would be.
    pub names: u64,
    /// Names that were here already, with the same value.
    pub present: u64,
    /// Names that keep the other value which they have here.
    pub kept: u64,
    /// Names left out, since they or their blobs are broken there.
    pub broken: u64,
    /// Blobs taken in, or that would be.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Imported {
    /// Names that were looked at.
    pub fn looked_at(&self) -> u64 {
        self.names + self.present + self.kept + self.broken
    }

    /// Counts a name; why it is left out, if so.
    fn count(&mut self, outcome: Found<Took>) -> Found<()> {
        match outcome {
            Ok(Took::New) => self.names += 1,
            Ok(Took::Present) => self.present += 1,
            Ok(Took::Kept) => self.kept += 1,
            Err(why) => {
                self.broken += 1;
                return Err(why);
            }
        }
        Ok(())
    }
}

/// A file that says what a name points to.
#[derive(Debug)]
struct Entry {
    /// Below the directory that was given.
    path: PathBuf,
    /// When it was last written, in Unix seconds.
    written: u64,
}

/// Why a name is left out: a part of a sentence.
type Broken = String;
/// What can be had there, or why not.
type Found<T> = std::result::Result<T, Broken>;

impl ImportKind {
    fn entries(self, directory: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = match self {
            Self::Bst1 => bst1::entries(directory)?,
            Self::Casd => casd::entries(directory)?,
        };
        entries.sort_by(|one, other| (one.written, &one.path).cmp(&(other.written, &other.path)));
        Ok(entries)
    }

    fn read(
        self,
        objects: &Objects,
        directory: &Path,
        path: &Path,
        instance: &InstanceName,
    ) -> Found<Foreign> {
        match self {
            Self::Bst1 => bst1::read(directory, path, instance),
            Self::Casd => casd::read(objects, directory, path, instance),
        }
    }
}

impl Inner {
    async fn import(
        self: &Arc<Self>,
        instance: &InstanceName,
        client: &Client,
        wanted: ImportWanted,
        steps: mpsc::Sender<ImportStep>,
    ) -> Result<Imported> {
        instance.takes_names()?;
        instance.takes_blobs()?;
        let ImportWanted { kind, directory, dry_run } = wanted;
        let objects = Objects::below(&directory).ok_or_else(|| no_directory(kind, &directory))?;
        let list = directory.clone();
        let entries = blocking(move || kind.entries(&list)).await?;
        let entries = entries.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => no_directory(kind, &directory),
            _ => Error::Invalid(format!("{}: {error}", directory.display())),
        })?;
        let bringing = Bringing::new(Arc::clone(self), Source::Directory(objects.clone()), dry_run);
        let mut told = Instant::now();
        let mut done = Imported { of_names: entries.len() as u64, ..Imported::default() };
        for Entry { path, written } in entries {
            self.go_on()?;
            let (objects, at, instance) = (objects.clone(), directory.clone(), instance.clone());
            let shown = path.display().to_string();
            let read = blocking(move || kind.read(&objects, &at, &path, &instance)).await?;
            let outcome = match read {
                Ok(foreign) => self.take_over(foreign, Over::Older(written), client, &bringing).await?,
                Err(why) => Err(why),
            };
            if let Err(why) = done.count(outcome) {
                heard(steps.send(ImportStep::Broken { name: shown, why }).await)?;
            }
            (done.blobs, done.bytes) = bringing.brought();
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                heard(steps.send(ImportStep::Progress(done)).await)?;
            }
        }
        Ok(done)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)
}

fn heard<T>(told: std::result::Result<(), T>) -> Result<()> {
    told.map_err(|_| Error::Busy("the import was broken off".into()))
}

fn no_directory(kind: ImportKind, directory: &Path) -> Error {
    let parts = match kind {
        ImportKind::Bst1 => "cas/objects and cas/refs/heads, as bst-artifact-server has them",
        ImportKind::Casd => "cas/objects and assets/objects, as buildbox-casd has them",
    };
    let shown = directory.display();
    Error::Invalid(format!("{shown} lacks {parts}: give the directory that the server was given"))
}

impl Cache {
    /// Takes over names and blobs of another server from its directory, into this instance.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is no such directory; what an upload or a push is refused with, and all that came before is here
    /// then; `Busy` while the cache is being closed, or once nobody hears `steps`.
    pub async fn import(
        &self,
        permit: &Permit<Admin>,
        instance: &InstanceName,
        wanted: ImportWanted,
        steps: mpsc::Sender<ImportStep>,
    ) -> Result<Imported> {
        self.inner.import(instance, permit.client(), wanted, steps).await
    }
}
