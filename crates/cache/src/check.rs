//! Checking everything: all records against checksums and hashes, catalog and journal against theirs, and every name
//! against what it needs. What is found bad is missing from then on, as if a client had come across it.
//!
//! Of a data directory that nobody serves the same is done on a copy of its catalog, and with every other change kept in
//! memory: it stays as it is, unless it is to be repaired, which is what a start does.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, TryLockError};
use std::time::Duration;

use millpond_store::blobs::{BadRecord, Scrub, become_volume};
use millpond_store::catalog::Value;
use millpond_store::disk::{OverlayDisk, RealDisk};
use millpond_store::{Clock, Digest, Level};

use crate::cache::Inner;
use crate::closure::Walked;
use crate::start::Begun;
use crate::{
    Admin, AuditKeep, Cache, CacheOptions, Error, InstanceOptions, MaxSize, OpenError, Permit, Result,
};

/// What a volume has, and an empty directory does not: one of them is enough to look at the rest.
const VOLUME_PARTS: [&str; 4] = ["format", "format.copy", "packs", "catalog.db"];
/// Files of the catalog that are copied to be looked at.
const CATALOG_FILES: [&str; 3] = ["catalog.db", "catalog.db-wal", "catalog.db.rebuilt"];
/// What the folder of a copy is called, before the number of the process that made it.
const COPY: &str = "millpond-check-";

/// So often a name is walked that cannot be walked for now, ...
const READ_TRIES: u32 = 3;
/// ... and after so long again.
const READ_PAUSE: Duration = Duration::from_millis(100);

/// What a check comes across.
#[derive(Clone, Debug)]
pub enum Finding {
    /// So many bytes of blobs were read, of about so many. Nothing is wrong.
    Read {
        /// Bytes that were read.
        bytes: u64,
        /// Bytes that there are.
        of: u64,
    },
    /// Names are being looked at, so many by now. Nothing is wrong.
    Names(u64),
    /// Something else than a blob or a name is damaged: a sentence, with what was made of it.
    Damaged(String),
    /// A record that cannot be read back.
    Bad(BadRecord),
    /// A name that is not served any more, since not all is there that it needs.
    Affected {
        /// Of the name.
        instance: String,
        /// The name.
        name: String,
        /// A blob that it lacks, where that is why.
        missing: Option<Digest>,
    },
}

/// What a check came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Blobs that were read, and the bytes they take.
    pub blobs: u64,
    /// See `blobs`.
    pub bytes: u64,
    /// Names that were looked at.
    pub names: u64,
    /// Records that cannot be read back.
    pub bad: u64,
    /// Names that lack something.
    pub affected: u64,
    /// Everything else that is damaged.
    pub damaged: u64,
}

impl Checked {
    /// Whether all is well.
    pub fn is_well(&self) -> bool {
        self.bad + self.affected + self.damaged == 0
    }
}

/// Hears what is found; false ends the check.
pub type Hear<'a> = dyn FnMut(Finding) -> bool + Send + 'a;

impl Cache {
    /// Checks everything beside serving, as fast as the disk allows, one check at a time. Blocks.
    ///
    /// # Errors
    /// [`Error::Busy`] while another one is under way, while the cache is being closed, or when `hear` ended it.
    pub fn check(&self, _permit: &Permit<Admin>, hear: &mut Hear<'_>) -> Result<Checked> {
        self.inner.check(hear)
    }

    /// Checks a data directory that nobody serves. With `repair` it is opened as a start opens it, and what is bad is
    /// remembered; without, it is left as it is.
    pub async fn check_volume(
        options: CacheOptions,
        repair: bool,
        mut hear: impl FnMut(Finding) -> bool + Send + 'static,
    ) -> Result<Checked, OpenError> {
        let options = CacheOptions { audit: AuditKeep::Off, ..options };
        let (begun, copy) = if repair {
            let open = |data: &Path| -> millpond_store::Result<Arc<dyn millpond_store::disk::Disk>> {
                let disk = RealDisk::open(data)?;
                become_volume(&disk)?;
                Ok(Arc::new(disk))
            };
            (Begun::open(options, open, Clock::start).await?, None)
        } else {
            let (begun, copy) = Begun::open_to_look(options).await?;
            (begun, Some(copy))
        };
        let check = move || {
            let mut damaged = 0;
            for sentence in &begun.opened.findings {
                damaged += 1;
                hear(Finding::Damaged(sentence.clone()));
            }
            if repair && !begun.opened.clean {
                begun.restore();
            }
            let checked = begun.inner.check(&mut hear);
            checked.map(|checked| (begun, Checked { damaged: checked.damaged + damaged, ..checked }))
        };
        let checked =
            tokio::task::spawn_blocking(check).await.map_err(|error| OpenError::Other(error.into()))?;
        let (begun, checked) = checked.map_err(|error| OpenError::Other(error.into()))?;
        if repair {
            Self { inner: Arc::clone(&begun.inner) }.close().await;
        }
        drop(copy);
        Ok(checked)
    }
}

impl Cache {
    /// Whether anything of a volume is in this directory, as far as names say.
    pub fn is_volume(data: &Path) -> bool {
        VOLUME_PARTS.iter().any(|part| data.join(part).exists())
    }
}

impl CacheOptions {
    /// To check this data directory, with the instances that it is served with: names of some lie elsewhere.
    pub fn to_check(data: PathBuf, max_size: Option<MaxSize>, instances: Vec<InstanceOptions>) -> Self {
        Self { data, max_size, instances, ..Self::default() }
    }
}

impl Begun {
    /// Opens a data directory that nobody serves, and leaves it as it is: for as long as the copy of its catalog is kept.
    pub(crate) async fn open_to_look(
        mut options: CacheOptions,
    ) -> std::result::Result<(Self, Copy), OpenError> {
        let data = options.data.clone();
        let copy = move || {
            let disk = RealDisk::open_to_read(&data).map_err(crate::start::open_error)?;
            let copied = Copy::of(&data).map_err(|error| OpenError::Other(error.into()))?;
            Ok::<_, OpenError>((disk, copied))
        };
        let copied = tokio::task::spawn_blocking(copy).await;
        let (disk, copied) = copied.map_err(|error| OpenError::Other(error.into()))??;
        options.data.clone_from(&copied.0);
        let open = |_: &Path| -> millpond_store::Result<Arc<dyn millpond_store::disk::Disk>> {
            Ok(Arc::new(OverlayDisk::new(Arc::new(disk))))
        };
        Ok((Self::open(options, open, Clock::start).await?, copied))
    }
}

/// A copy of the catalog, which goes with its value.
#[derive(Debug)]
pub(crate) struct Copy(PathBuf);

/// Tells the copies of one process apart.
static COPIES: AtomicU64 = AtomicU64::new(0);

impl Copy {
    fn of(data: &Path) -> io::Result<Self> {
        let temporary = std::env::temp_dir();
        remove_left(&temporary);
        let place = temporary.join(format!(
            "{COPY}{}-{}",
            std::process::id(),
            COPIES.fetch_add(1, Ordering::Relaxed)
        ));
        let in_place = |error: io::Error| {
            let sentence = format!("copying the catalog to {} (TMPDIR says where): {error}", place.display());
            io::Error::new(error.kind(), sentence)
        };
        fs::DirBuilder::new().mode(0o700).create(&place).map_err(in_place)?;
        let copy = Self(place.clone());
        for name in CATALOG_FILES {
            match fs::copy(data.join(name), copy.0.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(in_place(error)),
                _ => {}
            }
        }
        Ok(copy)
    }
}

/// Removes copies of checks that were killed.
fn remove_left(temporary: &Path) {
    let Ok(entries) = fs::read_dir(temporary) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process: Option<u32> =
            name.to_str().and_then(|name| name.strip_prefix(COPY)?.split('-').next()?.parse().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            // That of somebody else stays, and is not in the way.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "{} stays: remove it", self.0.display());
        }
    }
}

impl Inner {
    pub(crate) fn check(&self, hear: &mut Hear<'_>) -> Result<Checked> {
        let _one = match self.checking.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Busy("another check is under way: wait until it ends".into()));
            }
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Ok(guard) => guard,
        };
        let mut checked = Checked::default();
        self.check_records(&mut checked, hear)?;
        let catalog = self.catalog.check()?;
        let places = catalog.journal_bad;
        let journal = (places > 0).then(|| format!("{places} places of the catalog's journal are damaged"));
        for sentence in catalog.database.into_iter().chain(journal) {
            checked.damaged += 1;
            go_on(hear(Finding::Damaged(sentence)))?;
        }
        (checked.names, checked.affected) = self.check_names(hear)?;
        Ok(checked)
    }

    fn check_records(&self, checked: &mut Checked, hear: &mut Hear<'_>) -> Result<()> {
        let of = self.blobs.figures().live;
        let scrub = Scrub::new(self.blobs.clone());
        let mut sentences = Vec::new();
        scrub.footers(|sentence| sentences.push(sentence))?;
        for sentence in sentences {
            checked.damaged += 1;
            go_on(hear(Finding::Damaged(sentence)))?;
        }
        for scrubbed in scrub {
            let scrubbed = scrubbed?;
            checked.blobs += u64::from(scrubbed.bytes > 0);
            checked.bytes += scrubbed.bytes;
            go_on(hear(Finding::Read { bytes: checked.bytes, of: of.max(checked.bytes) }))?;
            if self.gate.is_closed() {
                return Err(Error::Busy("the cache is being closed".into()));
            }
            if let Some(bad) = scrubbed.bad {
                checked.bad += 1;
                go_on(hear(Finding::Bad(bad)))?;
            }
        }
        Ok(())
    }

    /// Tells of each name that is served but for what it lacks; says how many names there are and how many lack something.
    pub(crate) fn check_names(&self, hear: &mut Hear<'_>) -> Result<(u64, u64)> {
        let (mut names, mut affected) = (0, 0);
        let mut ended = false;
        self.catalog.for_each_touched_after(Level::ZERO, &mut |value| {
            let served = value.is_whole() && self.gate.level_of(&value) >= self.blobs.waterline();
            if ended || self.gate.is_closed() || !served {
                return;
            }
            names += 1;
            let walked = self.walk_to_check(&value);
            // It may have been let go meanwhile.
            if self.is_let_go(&value) {
                return;
            }
            let missing = match walked {
                Ok(walked) if walked.is_whole() => {
                    self.lacking.lacks(&value.name, 0);
                    ended = !hear(Finding::Names(names));
                    return;
                }
                Ok(walked) => {
                    self.lacking.lacks(&value.name, walked.missing_count);
                    walked.missing.first().copied()
                }
                Err(error) => {
                    if matches!(error, Error::Invalid(_)) {
                        self.lacking.lacks(&value.name, 1);
                    }
                    None
                }
            };
            affected += 1;
            let (instance, name) = (value.name.instance.to_string(), value.name.text.to_string());
            ended = !hear(Finding::Affected { instance, name, missing });
        })?;
        go_on(!ended)?;
        Ok((names, affected))
    }
}

impl Inner {
    /// Raises what a name needs. What cannot be read for now is tried again a few times.
    fn walk_to_check(&self, value: &Value) -> Result<Walked> {
        let mut tries = READ_TRIES;
        loop {
            tries -= 1;
            let subject = self.subject(value);
            match subject.and_then(|subject| self.walker.raise_only(&subject, value.level())) {
                Err(error) if tries > 0 && !matches!(error, Error::Invalid(_)) => {
                    std::thread::sleep(READ_PAUSE);
                }
                walked => return walked,
            }
        }
    }
}

fn go_on(goes_on: bool) -> Result<()> {
    if goes_on { Ok(()) } else { Err(Error::Busy("the check was broken off".into())) }
}
