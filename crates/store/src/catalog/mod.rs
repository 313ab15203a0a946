//! The catalog: names and their values, pins, damage found in packs, waterline and time. SQLite, with a journal of all that
//! was committed as the second copy.
//!
//! **Invariant:** what [`Catalog::publish`] has answered is on the disk in the database, and written to the journal.
//! One thread writes; whoever waits for it shares its COMMIT. A value is served from the cache only if it is the one
//! last committed.
//!
//! The catalog knows no blobs: whether a value is whole, and whether its level is above the waterline, is the
//! domain's to say.

mod backup;
mod cache;
mod change;
mod check;
mod copy;
mod damage;
mod exchange;
mod head;
mod image;
mod journal;
mod letting_go;
mod listing;
mod migrations;
mod name;
mod names;
mod options;
mod pins;
mod readers;
mod rebuild;
mod removing;
mod salvage;
mod shared;
mod sqlite;
mod start;
#[cfg(test)]
mod tests;
mod value;
mod witness;
mod writer;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{Semaphore, oneshot};

pub use backup::{CatalogCopied, put_in_place};
pub use letting_go::Portion;
pub use listing::{Page, Pages};
pub use name::{Name, NameKind};
pub use options::{CatalogChecked, CatalogFigures, CatalogOptions, CatalogStarted};
pub use pins::{Pin, PinTerms};
pub use value::{NewLevel, NewValue, Promoted, Replaces, State, Target, UseOf, Value};
pub use witness::{By, Changed, Revisions, Witness};

use self::cache::Entry;
use self::change::{Outcome, Request};
use self::shared::Shared;
use self::writer::{Answer, Command};
use crate::disk::{Disk, with_space};
use crate::{Error, Held, Level, Result};

/// Reads a row and a record of the journal: what a row says is written as it was read.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_as_everything(data: &[u8]) {
    if let Some(value) = image::decode(data) {
        assert_eq!(image::encode(&value), data);
    }
    journal::read_as_record(data);
}

/// The largest content of a [`Target::Inline`], in bytes.
pub const INLINE_MAX: usize = 64 << 10;

/// The most that a value holds with its name, and all values of one [`Catalog::publish`] together, in bytes.
pub const VALUE_MAX: usize = 16 << 20;
/// Requests that wait for the writer at most; whoever comes then waits for a place first.
const WAITING_MAX: usize = 4096;
/// Rows that [`Catalog::portion_touched_after`] reads in one short transaction.
const VISITED_AT_ONCE: u32 = 256;

/// The catalog of one volume. Cheap to clone. When the last clone goes without [`Catalog::close`], the next start
/// takes it for an unclean stop.
#[derive(Clone, Debug)]
pub struct Catalog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    commands: Sender<Command>,
    places: Arc<Semaphore>,
    /// As many as there are connections that read: more would only keep threads waiting that others need.
    look_ups: Arc<Semaphore>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Catalog {
    /// Opens the catalog in `folder`, the data directory, which is also what paths of `disk` are relative to. Makes it
    /// if there is none; makes it anew from the journal if it is damaged.
    ///
    /// # Errors
    /// [`Error::NewerFormat`]; [`Error::NoSpace`]; what the operating system says of a disk that cannot be written.
    pub fn open(
        folder: &Path,
        disk: Arc<dyn Disk>,
        options: &CatalogOptions,
    ) -> Result<(Self, CatalogStarted)> {
        let started = start::start(folder, Arc::clone(&disk), options);
        let (writer, shared, started) = started.map_err(|error| with_space(&*disk, error))?;
        let (commands, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("catalog".into())
            .spawn(move || writer.run(&receiver))
            .map_err(|error| Error::io("starting the catalog's thread", error))?;
        let places = Arc::new(Semaphore::new(WAITING_MAX));
        let look_ups = Arc::new(Semaphore::new(options.readers.max(1)));
        let inner = Inner { shared, commands, places, look_ups, thread: Mutex::new(Some(thread)) };
        Ok((Self { inner: Arc::new(inner) }, started))
    }

    /// Commits these values, all or none, and answers once they survive a power cut. A whole value replaces the value
    /// in force and removes a pending one of its name; a pending one is kept beside the value in force. Once begun it
    /// is decided even if nobody waits for it any more.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::NoSpace`], [`Error::Poisoned`]; [`Error::Busy`] after [`Catalog::close`].
    pub async fn publish(&self, values: Vec<NewValue>) -> Result<Vec<Arc<Value>>> {
        Ok(self.publish_over(values, Replaces::Anything).await?.unwrap_or_default())
    }

    /// The same, if every one of them may take the place that it wants; else `None`, and nothing has changed.
    pub async fn publish_over(
        &self,
        values: Vec<NewValue>,
        replaces: Replaces,
    ) -> Result<Option<Vec<Arc<Value>>>> {
        for value in &values {
            value.check_size()?;
        }
        // The writer keeps all of it in memory, once more for the journal, and commits it at one go.
        let size: usize = values.iter().map(NewValue::size).sum();
        if size > VALUE_MAX {
            return Err(Error::NoSpace { held: Held::Names, used: size as u64, limit: VALUE_MAX as u64 });
        }
        match self.request(Request::Publish(values, replaces)).await? {
            Outcome::Published(values) => Ok(Some(values)),
            _ => Ok(None),
        }
    }

    /// As [`Catalog::publish_over`], of one value that somebody brings back from elsewhere; the witness hears that it is back.
    ///
    /// # Errors
    /// As there.
    pub async fn bring_over(
        &self,
        value: NewValue,
        replaces: Replaces,
        by: By,
    ) -> Result<Option<Vec<Arc<Value>>>> {
        value.check_size()?;
        match self.request(Request::Bring(Box::new(value), replaces, by)).await? {
            Outcome::Published(values) => Ok(Some(values)),
            _ => Ok(None),
        }
    }

    /// The value in force.
    ///
    /// # Errors
    /// [`Error::Damaged`] if what the database holds is bad: the rebuild has then been started.
    pub async fn look_up(&self, name: &Name) -> Result<Option<Arc<Value>>> {
        self.entry(name).await.map(|entry| entry.in_force)
    }

    /// Publishes what has become of the pending value with this number, as [`Catalog::publish_over`] does. Nothing has
    /// changed if that is no longer there, since a later push has replaced it.
    pub async fn promote(&self, pending: u64, value: NewValue, replaces: Replaces) -> Result<Promoted> {
        value.check_size()?;
        let promote = Request::Promote { pending, value: Box::new(value), replaces };
        Ok(match self.request(promote).await? {
            Outcome::Published(mut values) => values.pop().map_or(Promoted::Gone, Promoted::Whole),
            Outcome::Occupied => Promoted::Occupied,
            _ => Promoted::Gone,
        })
    }

    /// What the cache knows, without I/O: `Some(None)` if it knows that the name has no value in force.
    pub fn cached(&self, name: &Name) -> Option<Option<Arc<Value>>> {
        self.inner.shared.cache.get(name).map(|entry| entry.in_force)
    }

    /// Whether the cache knows of a pending value, without I/O. What the cache does not know is looked up by
    /// [`Catalog::pending`].
    pub fn has_pending(&self, name: &Name) -> bool {
        self.inner.shared.cache.get(name).is_some_and(|entry| entry.pending.is_some())
    }

    /// The pending value. Errors as [`Catalog::look_up`].
    pub async fn pending(&self, name: &Name) -> Result<Option<Arc<Value>>> {
        self.entry(name).await.map(|entry| entry.pending)
    }

    /// Removes this value; false if the name has another one by now, or none. Answers once it cannot come back from the journal either. Errors as [`Catalog::publish`].
    pub async fn remove(&self, name: &Name, seq: u64) -> Result<bool> {
        let outcome = self.request(Request::Remove { name: name.clone(), seq }).await?;
        Ok(matches!(outcome, Outcome::Removed(true)))
    }

    /// Raises level and touched of each value that is still there. Errors as [`Catalog::publish`].
    pub async fn record_uses(&self, uses: Vec<UseOf>) -> Result<()> {
        self.request(Request::Uses(uses)).await.map(drop)
    }

    /// Gives these values other levels, each that is still there and has the level that it is said to have; when they were
    /// last used stays. Errors as [`Catalog::publish`].
    pub async fn change_levels(&self, levels: Vec<NewLevel>) -> Result<()> {
        self.request(Request::Levels(levels)).await.map(drop)
    }

    /// Remembers a bad record in a pack. Blocks until it is committed. Errors as [`Catalog::publish`].
    pub fn record_damage(&self, pack: u32, offset: u32) -> Result<()> {
        self.blocking(|answer| {
            Command::Change(Request::Damage { pack, offset }, Box::new(|outcome| answer(outcome.map(drop))))
        })
    }

    /// All bad records remembered, as (pack, offset). Blocks. Errors as [`Catalog::look_up`].
    pub fn damage(&self) -> Result<Vec<(u32, u32)>> {
        self.report(self.inner.shared.readers.with(damage::all))
    }

    /// Forgets the bad records of a pack that is gone. Errors as [`Catalog::publish`].
    pub async fn forget_damage(&self, pack: u32) -> Result<()> {
        self.request(Request::ForgetDamage(pack)).await.map(drop)
    }

    /// Commits the cache time, for [`CatalogStarted::last_time`]. Never moves it back. Errors as
    /// [`Catalog::publish`].
    pub async fn record_time(&self, time: Level) -> Result<()> {
        self.request(Request::Time(time)).await.map(drop)
    }

    /// Commits the waterline and these uses in one transaction. Never moves the waterline back. Errors as
    /// [`Catalog::publish`].
    pub async fn commit_waterline(&self, waterline: Level, uses: Vec<UseOf>) -> Result<()> {
        self.request(Request::Waterline(waterline, uses)).await.map(drop)
    }

    /// Visits every value in force, and every one that was removed and may come back, that was touched later than `after`, in portions, none while the database is held.
    /// Blocks. Values published meanwhile may be visited too.
    ///
    /// # Errors
    /// As [`Catalog::look_up`]; some values were visited then, and it is to be begun again after the rebuild.
    pub fn for_each_touched_after(&self, after: Level, visit: &mut dyn FnMut(Value)) -> Result<()> {
        let mut from = Some(0);
        while let Some(begin) = from {
            let (values, next) = self.portion_touched_after(begin, after)?;
            values.into_iter().for_each(&mut *visit);
            from = next;
        }
        Ok(())
    }

    /// A portion of the values in force that were touched later than `after`, from `from` on (0 at first), and where the
    /// next one begins; `None` if this was the last. Blocks. Errors as [`Catalog::look_up`].
    pub fn portion_touched_after(&self, from: u64, after: Level) -> Result<(Vec<Value>, Option<u64>)> {
        self.report(self.inner.shared.readers.with(|connection| {
            let mut values = Vec::new();
            let end = names::portion_end(connection, from, VISITED_AT_ONCE)?;
            if let Some(end) = end {
                let range = (from.cast_signed(), end.cast_signed(), after.seconds());
                let condition = "WHERE seq > ?1 AND seq <= ?2 AND touched > ?3 AND pending <> 1 ORDER BY seq";
                names::read(connection, condition, range, |value| {
                    values.push(value);
                    Ok(())
                })?;
            }
            Ok((values, end))
        }))
    }

    /// The value with this number, whatever its state. Blocks. Errors as [`Catalog::look_up`].
    pub fn value_numbered(&self, seq: u64) -> Result<Option<Value>> {
        self.report(self.inner.shared.readers.with(|connection| {
            let mut found = None;
            names::read(connection, "WHERE seq = ?1", [seq.cast_signed()], |value| {
                found = Some(value);
                Ok(())
            })?;
            Ok(found)
        }))
    }

    /// Reads the whole catalog and the journal, and cures what is damaged: for a background thread, beside serving,
    /// after an unclean stop. Until it has come to its end, no stop is a clean one. Blocks.
    ///
    /// # Errors
    /// What kept it from reading or from curing: [`Error::Busy`] if that is [`Catalog::break_off`].
    pub fn check(&self) -> Result<CatalogChecked> {
        let shared = &self.inner.shared;
        let (rows, database) = loop {
            shared.go_on()?;
            match shared.readers.with_long(check::database) {
                // Broken off since another database has taken the place of this one.
                Err(Error::Busy(_)) => {}
                result => break result?,
            }
        };
        let files = self.blocking(Command::Files)?;
        let seen = journal::survey(&files, |_, _| shared.go_on())?;
        let rebuilt = !database.is_empty();
        if rebuilt {
            tracing::error!(wrong = ?database, "the catalog is damaged");
            self.blocking(Command::Rebuild)?;
        } else if seen.bad > 0 {
            tracing::error!(places = seen.bad, "the catalog's journal is damaged");
            self.blocking(Command::Rewrite)?;
        }
        shared.unchecked.store(false, Ordering::Release);
        Ok(CatalogChecked { rows, database, journal_bad: seen.bad, rebuilt })
    }

    /// Breaks off a check or a rebuild that is under way, and lets none begin: before [`Catalog::close`], by whoever
    /// has something to write until then. The next start does it again.
    pub fn break_off(&self) {
        self.inner.shared.closing.store(true, Ordering::Release);
    }

    /// How many values went since the start (removed, replaced, let go) that had been kept beyond their last use.
    pub fn kept_gone(&self) -> u64 {
        self.inner.shared.kept_gone.load(Ordering::Relaxed)
    }

    /// Whether its rows can be counted on to be all there are: no damage is known, and no check is due.
    pub fn is_in_order(&self) -> bool {
        let Shared { damaged, poisoned, unchecked, .. } = &*self.inner.shared;
        ![damaged, poisoned, unchecked].iter().any(|wrong| wrong.load(Ordering::Acquire))
    }

    /// Whether as many rows are met as there should be. If not, the rebuild has been started. Reads every page of the table.
    /// Blocks. Errors as [`Catalog::look_up`].
    pub fn has_all_rows(&self) -> Result<bool> {
        match self.report(self.inner.shared.readers.with_long(check::rows)) {
            Ok(()) => Ok(true),
            Err(Error::Damaged(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Figures now. Asks the file system for sizes.
    pub fn figures(&self) -> CatalogFigures {
        self.inner.shared.figures()
    }

    /// Ends writing, and leaves the mark of a clean stop, unless there is damage to be cured or a check to be done.
    /// Blocks, but not for a check or a rebuild. Whatever is asked for afterwards is refused as busy.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::NoSpace`] and whatever else left no mark; it is closed all the same.
    pub fn close(&self) -> Result<()> {
        self.break_off();
        let result = self.blocking(Command::Close);
        let thread = self.inner.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the catalog's thread ended in a panic");
        }
        result
    }

    async fn entry(&self, name: &Name) -> Result<Entry> {
        if let Some(entry) = self.inner.shared.cache.get(name) {
            return Ok(entry);
        }
        let (shared, name) = (Arc::clone(&self.inner.shared), name.clone());
        let Ok(turn) = Arc::clone(&self.inner.look_ups).acquire_owned().await else { return shared.ended() };
        let read = move || {
            let _turn = turn;
            let before = shared.cache.generation(&name);
            let found = shared.readers.with(|connection| names::find(connection, &name))?;
            Ok(shared.cache.fill(&name, before, found))
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(result) => self.report(result),
            Err(_) => Err(Error::Busy("the look-up was broken off".into())),
        }
    }

    async fn request(&self, request: Request) -> Result<Outcome> {
        let Ok(place) = Arc::clone(&self.inner.places).acquire_owned().await else {
            return self.inner.shared.ended();
        };
        let (sender, receiver) = oneshot::channel();
        let answer: Answer<Outcome> = Box::new(move |outcome| {
            drop(place);
            // Nobody waits any more: it is decided all the same.
            let _ = sender.send(outcome);
        });
        self.inner.commands.send(Command::Change(request, answer)).or_else(|_| self.inner.shared.ended())?;
        receiver.await.unwrap_or_else(|_| self.inner.shared.ended())
    }

    fn blocking<T: Send + 'static>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let answer: Answer<T> = Box::new(move |result| drop(sender.send(result)));
        self.inner.commands.send(command(answer)).or_else(|_| self.inner.shared.ended())?;
        receiver.recv().unwrap_or_else(|_| self.inner.shared.ended())
    }

    /// Starts the rebuild if this says that the database is damaged, and if it was not known.
    fn report<T>(&self, result: Result<T>) -> Result<T> {
        let Err(error) = result else { return result };
        if !sqlite::is_damage(&error) {
            return Err(error);
        }
        if !self.inner.shared.damaged.swap(true, Ordering::AcqRel) {
            tracing::error!(%error, "the catalog is damaged");
            // If the writer has ended, the next start finds the damage.
            let _ = self.inner.commands.send(Command::Rebuild(Box::new(|_| {})));
        }
        Err(Error::Damaged(error.to_string()))
    }
}
