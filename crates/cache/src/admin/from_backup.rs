//! Names brought back from a backup into a cache that serves: the blobs that it lacks, and then the name, as a push does it.
//!
//! The backup is opened as a check opens it, and stays as it is. What is pushed to a name meanwhile is never replaced: what
//! takes its place is decided before its blobs are copied, and holds in the transaction or not at all.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use millpond_store::blobs::Mark;
use millpond_store::catalog::{By, NewValue, Replaces, State, Value};
use tokio::sync::OwnedSemaphorePermit;

use super::names::{NameEntry, NamesWalk, NamesWanted};
use super::remove::by;
use crate::backup::elsewhere;
use crate::cache::Inner;
use crate::check::Copy;
use crate::closure::AtOne;
use crate::start::Begun;
use crate::{Admin, AuditKeep, Cache, CacheOptions, Digest, Error, OpenError, Permit, Result};

/// Blobs up to this size, in bytes, are copied together.
const SMALL_BYTES: u64 = 64 << 10;
/// So many bytes of them at a time.
const BATCH_BYTES: u64 = 2 << 20;

/// What is to come back.
#[derive(Clone, Debug)]
pub struct FromBackup {
    /// The backup, as an absolute path.
    pub directory: PathBuf,
    /// Which names.
    pub names: NamesWanted,
    /// Also such as point to something else here.
    pub replace: bool,
    /// Nothing is brought back: only told what would be.
    pub dry_run: bool,
}

/// What became of a name, or would.
#[derive(Debug)]
pub enum Brought {
    /// It is back, for which so many blobs were copied, of so many bytes.
    Back {
        /// Blobs that were not there.
        blobs: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// It is as in the backup.
    Same,
    /// It points to something else, and was left alone.
    Other,
    /// It could not be brought back.
    Refused(Error),
}

/// Brings names back, page by page.
#[derive(Debug)]
pub struct Bringing {
    inner: Arc<Inner>,
    walk: NamesWalk,
    backup: Arc<Inner>,
    replace: bool,
    dry_run: bool,
    by: By,
    _turn: OwnedSemaphorePermit,
    /// Goes last: the backup's catalog is read in it.
    _copy: Copy,
}

impl Cache {
    /// Opens the backup, and looks out what is to come back.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is none, or is not whole; [`Error::Elsewhere`] if it cannot be opened; [`Error::Busy`] while
    /// somebody else does it.
    pub async fn bring_from_backup(&self, permit: &Permit<Admin>, from: FromBackup) -> Result<Bringing> {
        let FromBackup { directory, names, replace, dry_run } = from;
        let shown = directory.display();
        if let Err(error) = std::fs::read_dir(&directory) {
            return Err(Error::Elsewhere(format!("{shown} cannot be read by the server's user: {error}")));
        }
        if !directory.is_absolute() || !Self::is_volume(&directory) {
            return Err(Error::Invalid(format!("{shown} is no backup")));
        }
        let turn = Arc::clone(&self.inner.bringing_back).try_acquire_owned().map_err(|_| {
            Error::Busy("names are being brought back from a backup already: wait until that ends".into())
        })?;
        let options = CacheOptions::to_check(directory.clone(), None, Vec::new());
        let options = CacheOptions { audit: AuditKeep::Off, ..options };
        let (begun, copy) = Begun::open_to_look(options).await.map_err(|error| match error {
            OpenError::InUse { .. } => Error::Invalid(format!("{shown} is in use by another process")),
            error => Error::Elsewhere(format!("{shown} cannot be opened: {error}")),
        })?;
        let backup = Arc::clone(&begun.inner);
        match Mark::read(&*backup.disk).map_err(|error| elsewhere(&directory, error))? {
            Some(mark) if mark.is_whole() => {}
            _ => return Err(Error::Invalid(format!("{shown} is no backup, or one that was never finished"))),
        }
        let walk = NamesWalk::new(&backup, NamesWanted { removed: false, ..names }, usize::MAX);
        Ok(Bringing {
            inner: Arc::clone(&self.inner),
            walk,
            backup,
            replace,
            dry_run,
            by: by(permit),
            _turn: turn,
            _copy: copy,
        })
    }
}

impl Bringing {
    /// Brings the next names back, as far as it goes; `None` at the end.
    pub async fn next_page(&mut self) -> Result<Option<Vec<(NameEntry, Brought)>>> {
        let Some(values) = self.walk.next_values().await? else { return Ok(None) };
        let mut brought = Vec::with_capacity(values.len());
        for value in values {
            // What was let go there is none of it.
            if !value.is_whole() || value.level() < self.backup.blobs.waterline() {
                continue;
            }
            let entry = self.backup.entry_of(&value);
            brought.push((entry, self.bring(value).await.unwrap_or_else(Brought::Refused)));
        }
        Ok(Some(brought))
    }

    async fn bring(&self, value: Value) -> Result<Brought> {
        self.inner.instances.now().find(&value.name.instance)?;
        let there = self.inner.catalog.look_up(&value.name).await?;
        let waterline = self.inner.blobs.waterline();
        let there = there.filter(|there| self.inner.gate.level_of(there) >= waterline);
        let is_same = there.as_ref().is_some_and(|there| {
            // What was copied from another server has the digest, and no more, of what was pushed.
            let all = there.references == value.references && there.expires == value.expires;
            there.target == value.target && (all || !self.replace)
        });
        if there.is_some() && !is_same && !self.replace {
            return Ok(Brought::Other);
        }
        let missing = self.missing(&value).await?;
        let (blobs, bytes) = (missing.len() as u64, missing.iter().map(Digest::size).sum());
        if is_same && missing.is_empty() {
            return Ok(Brought::Same);
        }
        if !self.dry_run {
            self.copy(&missing).await?;
            // In a task of its own: whoever goes away must not leave a name without what holds its blobs.
            let publish =
                Arc::clone(&self.inner).bring_value(value, there.map(|there| there.seq), self.by.clone());
            tokio::spawn(publish).await.map_err(Error::internal)??;
        }
        Ok(Brought::Back { blobs, bytes })
    }

    /// What of its closure is not here. Those that are stay for the lease.
    async fn missing(&self, value: &Value) -> Result<Vec<Digest>> {
        let subject = self.inner.subject(value)?;
        let (backup, inner, dry_run) = (Arc::clone(&self.backup), Arc::clone(&self.inner), self.dry_run);
        let look = move || {
            let mut gathered = AtOne::new(&backup.blobs);
            let contents = backup.walker.inspect_by(&subject, &mut gathered)?;
            if contents.missing_count > 0 {
                let sentence = format!("the backup lacks {} blobs of it", contents.missing_count);
                return Err(Error::Elsewhere(sentence));
            }
            let all = gathered.met.into_iter().filter(|digest| backup.blobs.contains(digest));
            if dry_run {
                return Ok(all.filter(|digest| !inner.blobs.contains(digest)).collect());
            }
            let (all, mut missing) = (all.collect::<Vec<_>>(), Vec::new());
            inner.blobs.missing(&all, inner.clock.now(), inner.gate.fresh_from(), &mut missing);
            Ok(missing)
        };
        tokio::task::spawn_blocking(look).await.map_err(Error::internal)?
    }

    async fn copy(&self, digests: &[Digest]) -> Result<()> {
        let (small, large): (Vec<&Digest>, Vec<&Digest>) =
            digests.iter().partition(|digest| digest.size() <= SMALL_BYTES);
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for digest in small {
            batch.push(*digest);
            bytes += digest.size();
            if bytes >= BATCH_BYTES {
                self.copy_batch(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
        }
        self.copy_batch(batch).await?;
        for digest in large {
            self.copy_large(digest).await?;
        }
        Ok(())
    }

    async fn copy_batch(&self, batch: Vec<Digest>) -> Result<()> {
        let contents: millpond_store::Result<Vec<Bytes>> =
            self.backup.blobs.read_many(&batch).await.into_iter().collect();
        let contents = contents.map_err(|error| lost(&error))?;
        let put = self.inner.blobs.put_many(batch.into_iter().zip(contents).collect()).await;
        put.into_iter().try_for_each(|put| put.map_err(|error| self.inner.refusal(error)))
    }

    async fn copy_large(&self, digest: &Digest) -> Result<()> {
        let refused = |error| self.inner.refusal(error);
        let mut reader = self.backup.blobs.open_blob(digest, 0, None).await.map_err(|error| lost(&error))?;
        let mut upload = self.inner.blobs.create(*digest).await.map_err(refused)?;
        while let Some(bytes) = reader.next().await.map_err(|error| lost(&error))? {
            upload.write(bytes).await.map_err(refused)?;
        }
        upload.finish().await.map_err(refused)
    }
}

fn lost(error: &millpond_store::Error) -> Error {
    Error::Elsewhere(format!("a blob of it cannot be read in the backup: {error}"))
}

impl Inner {
    /// The steps of a publish, in the place of the value with this number, or of none.
    async fn bring_value(self: Arc<Self>, value: Value, over: Option<u64>, by: By) -> Result<()> {
        let mut ticket = self.gate.ticket()?;
        let kept_until = self.kept_from_its_push(&value.name, &value.target, value.pushed).await;
        let turn = self.walks.turn().await?;
        let walked = self.walk_all(turn, vec![self.subject(&value)?], ticket.time().max(kept_until)).await?;
        if !walked.is_whole() {
            return Err(Error::Incomplete { missing: walked.missing, count: walked.missing_count });
        }
        if !ticket.hold(walked.raised_to, || self.blobs.waterline()) {
            return Err(Error::Busy("what this name needs is being let go: restore it again".into()));
        }
        self.blobs.sync(&walked.unsynced).await?;
        let new =
            NewValue { level: walked.raised_to, touched: ticket.time(), ..value.in_state(State::Whole) };
        self.claim_room_for(&new)?;
        let Some(values) = self.catalog.bring_over(new, Replaces::Exactly(vec![over]), by).await? else {
            return Err(Error::Denied(
                "it was pushed just now: restore it again if it is to be replaced".into(),
            ));
        };
        for value in &values {
            value.set_raised(walked.raised_to.min(ticket.time()), walked.epoch);
        }
        drop(ticket);
        self.verifier.verify_later(walked.unchecked);
        for value in &values {
            self.forget_same_removed(value).await?;
        }
        Ok(())
    }

    /// Forgets what was set aside of this name and points to the same: it is back, and so may not come back any more.
    async fn forget_same_removed(&self, value: &Value) -> Result<()> {
        let removed = self.catalog.removed_values(&value.name).await?.into_iter();
        let same = removed.filter(|removed| !removed.is_earlier() && removed.target == value.target);
        let same: Vec<_> = same.map(|removed| (removed.name, removed.seq)).collect();
        if !same.is_empty() {
            self.catalog.remove_all(same, None, None).await?;
        }
        Ok(())
    }
}
