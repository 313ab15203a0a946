//! The one thread that changes the catalog. Whoever waits for it shares a transaction and its COMMIT.
//!
//! **Invariant:** COMMIT, then journal, then cache, then the witness, then answer. Once a write or sync failed for another reason than
//! lack of space nothing is changed any more: what the disk holds then only a restart can tell.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::change::{Batch, Committed, Outcome, Request};
use super::head::Head;
use super::journal::{File, Journal};
use super::shared::{Shared, another};
use super::sqlite::{self, DATABASE, Durability, beside, is_damage, is_fault, sql_error};
use super::{CatalogOptions, Revisions, Witness, copy, exchange, rebuild};
use crate::disk::{DiskDeed, DiskWatch};
use crate::{Error, Result};

/// Requests that share one COMMIT at most.
const GROUP_MAX: usize = 512;
/// Pages of the database that are given back at a time.
const VACUUM_PAGES: u32 = 512;
/// The journal is synced so often.
const JOURNAL_SYNC: Duration = Duration::from_secs(5);
/// What failed for lack of space, or for a reader in the way, is tried again after so long.
const RETRY: Duration = Duration::from_secs(1);
/// A rebuild that failed is tried again after so long.
const REBUILD_RETRY: Duration = Duration::from_secs(60);

/// Hears what a request came to.
pub(super) type Answer<T> = Box<dyn FnOnce(Result<T>) + Send>;

/// What the writer does.
pub(super) enum Command {
    /// Change the catalog.
    Change(Request, Answer<Outcome>),
    /// Hand out the journal files with their lengths.
    Files(Answer<Vec<(File, u64)>>),
    /// Copy the journal anew, since it was found damaged.
    Rewrite(Answer<()>),
    /// Make the database anew, since it was found damaged.
    Rebuild(Answer<()>),
    /// Leave the mark of a clean stop, and end.
    Close(Answer<()>),
}

/// The writer's state.
#[derive(Debug)]
pub(super) struct Writer {
    /// None only if a rebuild failed between closing the old database and opening the new one.
    connection: Option<Connection>,
    head: Head,
    journal: Journal,
    shared: Arc<Shared>,
    poisoned: Option<String>,
    copying: Option<copy::Copying>,
    synced: Instant,
    checkpoint_after: Instant,
    rewrite_after: Instant,
    rebuild_after: Option<Instant>,
    /// Rows went, and what they took is given back to the file system, some of it between two groups.
    pages_to_give_back: bool,
    witness: Option<Arc<dyn Witness>>,
    revisions: Option<Arc<dyn Revisions>>,
    disk_watch: Arc<DiskWatch>,
}

impl Writer {
    pub(super) fn new(connection: Connection, head: Head, journal: Journal, shared: Arc<Shared>) -> Self {
        shared.count(&head);
        let now = Instant::now();
        Self {
            connection: Some(connection),
            head,
            journal,
            shared,
            poisoned: None,
            copying: None,
            synced: now,
            checkpoint_after: now,
            rewrite_after: now,
            rebuild_after: None,
            pages_to_give_back: false,
            witness: None,
            revisions: None,
            disk_watch: Arc::default(),
        }
    }

    /// The same, with those whom it tells and asks.
    pub(super) fn with(self, options: &CatalogOptions) -> Self {
        let CatalogOptions { witness, revisions, disk_watch, .. } = options.clone();
        Self { witness, revisions, disk_watch, ..self }
    }

    /// Works until it is told to close, or until nobody is left who could ask for anything.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        let mut waiting = VecDeque::new();
        loop {
            self.guarded(Self::tidy_up);
            let next = match waiting.pop_front() {
                Some(command) => Some(command),
                None => match self.receive(commands) {
                    Ok(command) => Some(command),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                },
            };
            match next {
                Some(Command::Change(request, answer)) => {
                    let mut group = vec![(request, answer)];
                    while group.len() < GROUP_MAX
                        && let Ok(command) = commands.try_recv()
                    {
                        match command {
                            Command::Change(request, answer) => group.push((request, answer)),
                            other => {
                                waiting.push_back(other);
                                break;
                            }
                        }
                    }
                    self.change(group);
                }
                Some(Command::Files(answer)) => answer(self.guarded(|writer| writer.journal.snapshot())),
                Some(Command::Rewrite(answer)) => {
                    self.guarded(Self::rewrite_journal);
                    answer(Ok(()));
                }
                Some(Command::Rebuild(answer)) => answer(self.guarded(Self::rebuild)),
                Some(Command::Close(answer)) => return self.close(answer),
                None => {}
            }
        }
    }

    /// Work that poisons the catalog if it panics, before anybody who waits for it hears of that.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let _guard = PoisonOnPanic(Arc::clone(&self.shared));
        work(self)
    }

    /// The next command, or a time-out when there is something to do without one.
    fn receive(&self, commands: &Receiver<Command>) -> Result<Command, RecvTimeoutError> {
        if self.copying.is_some() || self.pages_to_give_back {
            return commands.try_recv().map_err(|error| match error {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            });
        }
        let now = Instant::now();
        let sync = self.journal.is_unsynced().then(|| self.synced + JOURNAL_SYNC);
        let rewrite =
            (self.poisoned.is_none() && self.journal.is_rewrite_due()).then_some(self.rewrite_after);
        match [sync, rewrite, self.rebuild_after].into_iter().flatten().min() {
            Some(until) => commands.recv_timeout(until.saturating_duration_since(now)),
            None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// What is to be done between groups, a bounded step of each.
    fn tidy_up(&mut self) {
        let now = Instant::now();
        if self.rebuild_after.is_some_and(|after| after <= now)
            && let Err(error) = self.rebuild()
        {
            tracing::error!(%error, "the damaged catalog could not be rebuilt");
        }
        if self.poisoned.is_some() {
            return;
        }
        if self.journal.is_unsynced() && self.synced + JOURNAL_SYNC <= now {
            self.sync_journal();
        }
        if self.journal.is_rewrite_due() && self.rewrite_after <= now {
            self.begin_journal_file();
        }
        self.copy_portion();
        if self.pages_to_give_back {
            self.give_back_pages();
        }
        self.show_journal();
        self.checkpoint();
    }

    fn show_journal(&self) {
        self.shared.journal_complete.store(self.journal.is_complete(), Ordering::Relaxed);
    }

    fn change(&mut self, group: Vec<(Request, Answer<Outcome>)>) {
        // Without the witness no name changes, and everything else does.
        let refused = self.witness.as_ref().and_then(|witness| witness.ready().err());
        let (group, changing): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|(request, _)| refused.is_none() || !request.changes_names());
        if let Some(error) = refused {
            changing.into_iter().for_each(|(_, answer)| answer(Err(another(&error))));
        }
        if group.is_empty() {
            return;
        }
        let (requests, answers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        match self.guarded(|writer| writer.commit(&requests)) {
            Ok(outcomes) => {
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    answer(Ok(outcome));
                }
            }
            Err(error) => {
                let error = self.shared.with_space(error);
                for answer in answers {
                    answer(Err(another(&error)));
                }
            }
        }
    }

    /// Does all of it in one transaction, and tells journal and cache. A damaged database is rebuilt, once.
    pub(super) fn commit(&mut self, requests: &[Request]) -> Result<Vec<Outcome>> {
        self.refuse_if_poisoned()?;
        if let Some(witness) = self.witness.as_ref().filter(|_| requests.iter().any(Request::changes_names)) {
            witness.ready()?;
        }
        let (committed, outcomes) = match self.transact(requests) {
            Err(error) if is_damage(&error) => {
                tracing::error!(%error, "the catalog is damaged");
                self.rebuild()?;
                self.transact(requests)
            }
            result => result,
        }
        .inspect_err(|error| {
            if is_fault(error) {
                self.poison(error);
            }
        })?;
        let rows = |head: &Head| head.names + head.pending;
        self.journal.rows_changed(rows(&self.head), rows(&committed.head));
        self.head = committed.head;
        self.shared.count(&self.head);
        if let Err(error) = self.journal.append(&committed.log) {
            self.journal_failed(&error);
        }
        if committed.removes() {
            self.sync_journal();
        }
        self.pages_to_give_back |= committed.lets_go();
        self.show_journal();
        let changed = committed.publish_to(&self.shared.cache);
        if let Some(witness) = self.witness.as_ref().filter(|_| !changed.is_empty()) {
            witness.changed(&changed)?;
        }
        Ok(outcomes)
    }

    /// Gives pages of the database that nothing is in any more back to the file system, a bounded number of them.
    fn give_back_pages(&mut self) {
        self.pages_to_give_back = false;
        let Ok(connection) = self.connection() else { return };
        let vacuum = || -> rusqlite::Result<u32> {
            let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
            let mut pages = statement.query(())?;
            while pages.next()?.is_some() {}
            connection.pragma_query_value(None, "freelist_count", |row| row.get(0))
        };
        match vacuum().map_err(|error| sql_error("shrinking the catalog", error)) {
            Ok(left) => self.pages_to_give_back = left > 0,
            Err(error) if is_fault(&error) => self.poison(&error),
            Err(error) => tracing::warn!(%error, "the catalog could not be made smaller"),
        }
    }

    fn transact(&self, requests: &[Request]) -> Result<(Committed, Vec<Outcome>)> {
        let connection = self.connection()?;
        let run = |statement| {
            connection.execute_batch(statement).map_err(|error| sql_error("committing to the catalog", error))
        };
        run("BEGIN IMMEDIATE")?;
        let _waits = self.disk_watch.begin(DiskDeed::Commit);
        let mut batch = Batch::new(connection, self.revisions.as_deref(), self.head);
        let mut outcomes = Vec::with_capacity(requests.len());
        let apply = || {
            for request in requests {
                outcomes.push(batch.apply(request)?);
            }
            let committed = batch.finish()?;
            run("COMMIT")?;
            Ok(committed)
        };
        let result = apply();
        if result.is_err() && !connection.is_autocommit() {
            // If this fails too, the next BEGIN does, and says so.
            let _ = connection.execute_batch("ROLLBACK");
        }
        result.map(|committed| (committed, outcomes))
    }

    fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or_else(|| Error::Damaged("the catalog could not be rebuilt".into()))
    }

    fn refuse_if_poisoned(&self) -> Result<()> {
        self.poisoned.as_ref().map_or(Ok(()), |why| Err(Error::Poisoned(why.clone())))
    }

    fn poison(&mut self, error: &Error) {
        tracing::error!(%error, "the catalog takes in nothing more until a restart");
        self.shared.poisoned.store(true, Ordering::Relaxed);
        self.poisoned.get_or_insert_with(|| error.to_string());
    }

    /// What is committed stays committed; the journal is behind until another file is begun. Only a write or sync that
    /// failed for good ends it all.
    fn journal_failed(&mut self, error: &Error) {
        self.rewrite_after = Instant::now() + RETRY;
        self.journal.set_behind();
        self.copying = None;
        let passes = match error {
            Error::NoSpace { .. } | Error::Busy(_) => true,
            // Met in reading what is to be copied.
            Error::Sql { .. } => !is_fault(error),
            _ => false,
        };
        if passes {
            tracing::warn!(%error, "the catalog's journal is behind");
        } else {
            self.poison(error);
        }
    }

    fn sync_journal(&mut self) {
        self.synced = Instant::now();
        if let Err(error) = self.journal.sync() {
            self.journal_failed(&error);
        }
    }

    fn rewrite_journal(&mut self) {
        self.journal.set_behind();
        self.show_journal();
        self.copying = None;
        self.rewrite_after = Instant::now();
    }

    fn begin_journal_file(&mut self) {
        match self.journal.begin_file(self.head.last_seq) {
            Ok(()) => self.copying = Some(copy::Copying::new(&self.head)),
            Err(error) => self.journal_failed(&error),
        }
    }

    fn copy_portion(&mut self) {
        let (Some(copying), Some(connection)) = (&mut self.copying, &self.connection) else { return };
        match copying.step(connection, &self.head, &mut self.journal) {
            Ok(copy::Step::More) => {}
            Ok(copy::Step::Done) => self.copying = None,
            Err(error) if is_damage(&error) => {
                tracing::error!(%error, "the catalog is damaged");
                self.shared.damaged.store(true, Ordering::Relaxed);
                self.copying = None;
                self.rebuild_after = Some(Instant::now());
            }
            Err(error) => self.journal_failed(&error),
        }
    }

    /// Writes SQLite's log back into the database when it has grown; as much as readers allow.
    fn checkpoint(&mut self) {
        let log = beside(&self.shared.folder.join(DATABASE), "-wal");
        let length = std::fs::metadata(log).map_or(0, |file| file.len());
        if length < self.shared.wal_bytes || self.checkpoint_after > Instant::now() {
            return;
        }
        let written_back = self.connection().and_then(truncate_log_without_waiting);
        // Counted from the end of the attempt, however long that took.
        self.checkpoint_after = Instant::now() + RETRY;
        match written_back {
            Ok(true) => self.checkpoint_after = Instant::now(),
            Ok(false) => {}
            Err(error) if is_fault(&error) => self.poison(&error),
            Err(error) => tracing::warn!(%error, "the catalog's log could not be written back"),
        }
    }

    /// Makes the database anew from the journal, while readers go on, and exchanges the two.
    fn rebuild(&mut self) -> Result<()> {
        self.rebuild_after = None;
        let result = self.rebuild_now();
        match &result {
            Ok(()) => self.shared.damaged.store(false, Ordering::Relaxed),
            Err(_) => self.rebuild_after = Some(Instant::now() + REBUILD_RETRY),
        }
        result
    }

    fn rebuild_now(&mut self) -> Result<()> {
        self.refuse_if_poisoned()?;
        let shared = Arc::clone(&self.shared);
        let (files, behind) = (self.journal.snapshot()?, self.journal.is_behind());
        let built = rebuild::build(&shared.folder, &shared.files, &files, behind, &|| shared.go_on())?;
        let suspended = shared.readers.suspend();
        let exchanged = self.exchange();
        drop(suspended);
        shared.cache.clear();
        exchanged.inspect_err(|error| self.poison(error))?;
        self.head = built.head;
        self.shared.count(&self.head);
        self.copying = None;
        if built.is_journal_behind() || self.journal.is_behind() {
            self.rewrite_journal();
        }
        tracing::warn!(records = built.seen.records, "the catalog was rebuilt from its journal");
        Ok(())
    }

    fn exchange(&mut self) -> Result<()> {
        drop(self.connection.take());
        exchange::exchange(&self.shared.files)?;
        let durability = Durability::Committed { wal_bytes: self.shared.wal_bytes };
        self.connection = Some(sqlite::open_writer(&self.shared.folder.join(DATABASE), durability)?);
        Ok(())
    }

    fn close(mut self, answer: Answer<()>) {
        // First, since the log cannot be written back while somebody reads.
        self.shared.readers.close();
        let result = self.guarded(|writer| writer.mark_clean());
        let closed = match self.connection.take().map(Connection::close) {
            Some(Err((_, error))) => Err(sql_error("closing the catalog", error)),
            _ => Ok(()),
        };
        answer(result.and(closed));
    }

    fn mark_clean(&mut self) -> Result<()> {
        self.refuse_if_poisoned()?;
        self.journal.sync()?;
        if [&self.shared.unchecked, &self.shared.damaged].iter().any(|due| due.load(Ordering::Acquire)) {
            return Ok(());
        }
        let Some(end) = self.journal.clean_end() else { return Ok(()) };
        let connection = self.connection()?;
        let head = Head {
            clean: true,
            journal_number: end.number,
            journal_length: end.length,
            journal_live: end.live,
            ..self.head
        };
        head.write(connection)?;
        truncate_log(connection).map(drop)
    }
}

/// Poisons the catalog if the work it stands over panics: nobody knows then what of it was written.
struct PoisonOnPanic(Arc<Shared>);

impl Drop for PoisonOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poisoned.store(true, Ordering::Release);
        }
    }
}

/// As [`truncate_log`], but whoever waits for a COMMIT does not wait for a reader too.
fn truncate_log_without_waiting(connection: &Connection) -> Result<bool> {
    let wait = |time| {
        connection.busy_timeout(time).map_err(|error| sql_error("setting how long the catalog waits", error))
    };
    wait(Duration::ZERO)?;
    let result = truncate_log(connection);
    wait(sqlite::BUSY_TIMEOUT)?;
    result
}

/// Writes SQLite's log back and cuts it; false if a reader was in the way.
fn truncate_log(connection: &Connection) -> Result<bool> {
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get::<_, i64>(0))
        .map(|busy| busy == 0)
        .map_err(|error| sql_error("writing the catalog's log back", error))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::Level;
    use crate::catalog::image::tests::example;
    use crate::catalog::{CatalogOptions, NewValue, Replaces, names, start};
    use crate::disk::RealDisk;

    #[test]
    fn reader_in_the_way_does_not_keep_the_writer_from_going_on() {
        static WAITED: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(RealDisk::open(folder.path()).unwrap());
        let options = CatalogOptions { wal_bytes: 1, ..CatalogOptions::default() };
        let (mut writer, shared, _) = start::start(folder.path(), disk, &options).unwrap();
        let wait = |_| {
            WAITED.fetch_add(1, Ordering::Relaxed);
            false
        };
        let length = || std::fs::metadata(folder.path().join("catalog.db-wal")).unwrap().len();
        shared
            .readers
            .with(|reader| {
                reader.execute_batch("BEGIN; SELECT count(*) FROM name").unwrap();
                writer.commit(&[Request::Publish(vec![example()], Replaces::Anything)]).unwrap();
                writer.connection.as_mut().unwrap().busy_handler(Some(wait)).unwrap();
                writer.checkpoint();
                assert!(length() > 0 && writer.checkpoint_after > Instant::now());
                reader.execute_batch("COMMIT").unwrap();
                Ok(())
            })
            .unwrap();
        assert_eq!(WAITED.load(Ordering::Relaxed), 0);
        writer.commit(&[Request::Publish(vec![example()], Replaces::Anything)]).unwrap();
        writer.checkpoint_after = Instant::now();
        writer.checkpoint();
        assert_eq!(length(), 0);
    }

    #[test]
    fn everybody_is_answered_however_many_wait() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(RealDisk::open(folder.path()).unwrap());
        let (writer, ..) = start::start(folder.path(), disk, &CatalogOptions::default()).unwrap();
        let (commands, receiver) = std::sync::mpsc::channel();
        let (answers, answered) = std::sync::mpsc::channel();
        let count = 3 * GROUP_MAX;
        for number in 0..count {
            let mut new = example();
            new.name.text = number.to_string().into();
            let answers = answers.clone();
            let answer: Answer<Outcome> = Box::new(move |outcome| answers.send(outcome.is_ok()).unwrap());
            commands.send(Command::Change(Request::Publish(vec![new], Replaces::Anything), answer)).unwrap();
        }
        drop((commands, answers));
        writer.run(&receiver);
        assert_eq!(answered.into_iter().filter(|committed| *committed).count(), count);
    }

    #[test]
    fn full_database_refuses_that_transaction_whole_and_takes_the_next_when_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(RealDisk::open(folder.path()).unwrap());
        let (mut writer, ..) = start::start(folder.path(), disk, &CatalogOptions::default()).unwrap();
        let pages = |writer: &Writer, pages: u32| {
            let connection = writer.connection().unwrap();
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
        };
        let small =
            [Request::Time(Level::from_seconds(1)), Request::Publish(vec![example()], Replaces::Anything)];
        let mut new = example();
        new.name.text = "large".into();
        let large = Request::Publish(
            vec![NewValue { references: vec![1; 1 << 20].into(), ..new.clone() }],
            Replaces::Anything,
        );
        pages(&writer, 20);
        let [time, publish] = small;
        let error = writer.commit(&[publish, large]).unwrap_err();
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
        assert!(writer.poisoned.is_none());
        for name in [&example().name, &new.name] {
            assert!(names::find(writer.connection().unwrap(), name).unwrap().in_force.is_none());
        }
        writer.commit(&[time]).unwrap();
        pages(&writer, 1000);
        writer.commit(&[Request::Publish(vec![example()], Replaces::Anything)]).unwrap();
        assert_eq!((writer.head.names, writer.head.last_seq), (1, 2));
    }
}
