//! What the writer is asked for, and how each becomes rows, journal records and cache entries.
//!
//! **Invariant:** rows and records of a request are made together and from one number each; the cache learns of them
//! only after COMMIT.

use std::sync::Arc;

use rusqlite::Connection;

use super::cache::{Cache, Entry};
use super::head::Head;
use super::journal::Change;
use super::{
    By, Changed, Name, NewLevel, NewValue, Pin, PinTerms, Replaces, Revisions, State, UseOf, Value, damage,
    names, pins,
};
use crate::{Level, Result};

/// Uses that one journal record holds at most.
const USES_PER_RECORD: usize = 1 << 16;

/// A request to change the catalog.
#[derive(Debug)]
pub(super) enum Request {
    Publish(Vec<NewValue>, Replaces),
    /// The same of a value that somebody brings back from elsewhere.
    Bring(Box<NewValue>, Replaces, By),
    Promote {
        pending: u64,
        value: Box<NewValue>,
        replaces: Replaces,
    },
    Remove {
        name: Name,
        seq: u64,
    },
    Uses(Vec<UseOf>),
    Levels(Vec<NewLevel>),
    Damage {
        pack: u32,
        offset: u32,
    },
    ForgetDamage(u32),
    Time(Level),
    Waterline(Level, Vec<UseOf>),
    /// Values to be forgotten, as far as they lie below the waterline.
    LetGo(Vec<(Name, u64)>),
    /// Values to be forgotten, wherever they lie.
    Forget(Vec<(Name, u64)>),
    /// Values to be removed, those in force until then if that is given.
    TakeOut {
        values: Vec<(Name, u64)>,
        until: Option<u64>,
        by: Option<By>,
    },
    Restore {
        removed: u64,
        value: Box<NewValue>,
        by: By,
    },
    Pin(Vec<PinTerms>, By),
    Unpin(Vec<u64>, By),
    Opened,
}

impl Request {
    /// Whether it may change a name or a pin, which the witness must be able to write down.
    pub(super) fn changes_names(&self) -> bool {
        matches!(
            self,
            Self::TakeOut { .. }
                | Self::Restore { .. }
                | Self::Publish(..)
                | Self::Bring(..)
                | Self::Promote { .. }
                | Self::Remove { .. }
                | Self::Pin(..)
                | Self::Unpin(..)
        )
    }
}

/// What a request came to.
#[derive(Debug)]
pub(super) enum Outcome {
    Published(Vec<Arc<Value>>),
    /// Nothing: a name has a value whose place may not be taken.
    Occupied,
    Removed(bool),
    /// So many values were forgotten.
    LetGo(u64),
    /// The values with these numbers were removed.
    TakenOut(Vec<u64>),
    /// These were made, or taken out.
    Pins(Vec<Pin>),
    Done,
}

/// What the cache is to learn after COMMIT.
#[derive(Debug)]
enum News {
    Published(Arc<Value>),
    Removed(Name, u64),
    /// As removed, but nothing is lost if it comes back: it lies below the waterline, or goes again.
    LetGo(Name, u64),
    Raised(UseOf),
    Level(NewLevel),
}

/// Everything that one transaction changes.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    connection: &'a Connection,
    revisions: Option<&'a dyn Revisions>,
    head: Head,
    news: Vec<News>,
    log: Vec<(u64, Change)>,
    changed: Vec<Changed>,
}

/// A batch that was committed.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) head: Head,
    /// For the journal.
    pub(super) log: Vec<(u64, Change)>,
    changed: Vec<Changed>,
    news: Vec<News>,
}

impl<'a> Batch<'a> {
    /// A batch in the transaction that `connection` is in.
    pub(super) fn new(connection: &'a Connection, revisions: Option<&'a dyn Revisions>, head: Head) -> Self {
        Self {
            connection,
            revisions,
            head: Head { clean: false, ..head },
            news: Vec::new(),
            log: Vec::new(),
            changed: Vec::new(),
        }
    }

    /// Does what is asked for.
    pub(super) fn apply(&mut self, request: &Request) -> Result<Outcome> {
        match request {
            Request::Publish(values, replaces) => return self.publish(values, replaces),
            Request::Bring(value, replaces, by) => return self.bring(value, replaces, by),
            Request::Promote { pending, value, replaces } => {
                if names::has(self.connection, &value.name, *pending)? {
                    return self.publish(std::slice::from_ref(&**value), replaces);
                }
            }
            Request::Remove { name, seq } => return self.remove(name, *seq),
            Request::Uses(uses) => self.uses(uses)?,
            Request::Levels(levels) => self.levels(levels)?,
            Request::Damage { pack, offset } => {
                if damage::insert(self.connection, &mut self.head, *pack, *offset)? {
                    self.log(Change::Damage { pack: *pack, offset: *offset });
                }
            }
            Request::ForgetDamage(pack) => {
                damage::forget(self.connection, &mut self.head, *pack)?;
                self.log(Change::DamageForgotten(*pack));
            }
            Request::Time(time) => self.head.last_time = self.head.last_time.max(*time),
            Request::Waterline(waterline, uses) => {
                self.uses(uses)?;
                self.head.waterline = self.head.waterline.max(*waterline);
                self.log(Change::Waterline(self.head.waterline));
            }
            Request::LetGo(values) => return self.let_go(values, names::remove_below),
            Request::Forget(values) => return self.let_go(values, names::remove),
            Request::TakeOut { values, until, by } => return self.take_out(values, *until, by.as_ref()),
            Request::Restore { removed, value, by } => return self.restore(*removed, value, by),
            Request::Pin(terms, by) => return self.pin(terms, by),
            Request::Unpin(ids, by) => return self.unpin(ids, by),
            Request::Opened => self.log(Change::Opened),
        }
        Ok(Outcome::Done)
    }

    /// Writes the head, last in the transaction.
    pub(super) fn finish(self) -> Result<Committed> {
        self.head.write(self.connection)?;
        Ok(Committed { head: self.head, log: self.log, changed: self.changed, news: self.news })
    }

    fn log(&mut self, change: Change) {
        let seq = self.head.next_seq();
        self.log.push((seq, change));
    }

    fn publish(&mut self, values: &[NewValue], replaces: &Replaces) -> Result<Outcome> {
        for (position, new) in values.iter().enumerate() {
            if !self.may_take_place(new, position, replaces)? {
                return Ok(Outcome::Occupied);
            }
        }
        let mut published = Vec::with_capacity(values.len());
        for new in values {
            let before = self.head.names;
            self.keep_earlier(new)?;
            let value = self.put(new.clone())?;
            self.news.push(News::Published(Arc::clone(&value)));
            let replaced = value.is_whole() && self.head.names == before;
            self.changed.push(Changed::Published { value: Arc::clone(&value), replaced });
            published.push(value);
        }
        Ok(Outcome::Published(published))
    }

    /// It is who brings it that changes the name, and not who pushed it once.
    fn bring(&mut self, value: &NewValue, replaces: &Replaces, by: &By) -> Result<Outcome> {
        let before = self.changed.len();
        let outcome = self.publish(std::slice::from_ref(value), replaces)?;
        for changed in self.changed.iter_mut().skip(before) {
            if let Changed::Published { value, .. } = changed {
                *changed = Changed::Restored { value: Arc::clone(value), by: by.clone() };
            }
        }
        Ok(outcome)
    }

    /// Sets the value aside whose place this one takes, where earlier ones are kept, and removes those that are too many.
    fn keep_earlier(&mut self, new: &NewValue) -> Result<()> {
        let kept = self.revisions.map_or(1, |revisions| revisions.kept_of(&new.name));
        if kept <= 1 || new.state != State::Whole {
            return Ok(());
        }
        let Some(old) = names::find(self.connection, &new.name)?.in_force else { return Ok(()) };
        if old.target == new.target && old.references == new.references {
            return Ok(());
        }
        self.put(old.in_state(State::EARLIER))?;
        for seq in names::earlier_beyond(self.connection, &new.name, kept - 1)? {
            names::remove(self.connection, &mut self.head, seq)?;
            self.log(Change::Removed(seq));
        }
        Ok(())
    }

    /// Gives a value its number, its row and its record.
    fn put(&mut self, new: NewValue) -> Result<Arc<Value>> {
        let value = Arc::new(Value::new(new, self.head.next_seq()));
        names::apply(self.connection, &mut self.head, &value)?;
        self.log.push((value.seq, Change::Value(Arc::clone(&value))));
        Ok(value)
    }

    fn may_take_place(&self, new: &NewValue, position: usize, replaces: &Replaces) -> Result<bool> {
        // A value that waits for its blobs stands beside the one in force.
        if matches!(replaces, Replaces::Anything) || new.state != State::Whole {
            return Ok(true);
        }
        let in_force = names::in_force(self.connection, &new.name)?;
        Ok(match (in_force, replaces) {
            (None, _) | (_, Replaces::Anything) => true,
            (Some((_, pusher)), Replaces::NothingOfOthers) => pusher.is_empty() || *pusher == *new.pusher,
            (Some((seq, _)), Replaces::Exactly(numbers)) => numbers.get(position) == Some(&Some(seq)),
        })
    }

    fn remove(&mut self, name: &Name, seq: u64) -> Result<Outcome> {
        let removed =
            names::has(self.connection, name, seq)? && names::remove(self.connection, &mut self.head, seq)?;
        if removed {
            self.log(Change::Removed(seq));
            self.changed.push(Changed::Removed { name: name.clone(), seq, by: None });
            self.news.push(News::Removed(name.clone(), seq));
        }
        Ok(Outcome::Removed(removed))
    }

    fn take_out(&mut self, values: &[(Name, u64)], until: Option<u64>, by: Option<&By>) -> Result<Outcome> {
        let mut numbers = Vec::with_capacity(values.len());
        for (name, seq) in values {
            let (name, seq, by) = (name.clone(), *seq, by.cloned());
            if !names::has(self.connection, &name, seq)? {
                continue;
            }
            numbers.push(seq);
            self.news.push(News::Removed(name.clone(), seq));
            let in_force = names::in_force(self.connection, &name)?.is_some_and(|(number, _)| number == seq);
            match until.filter(|_| in_force) {
                Some(until) => {
                    if let Some(value) = names::with_number(self.connection, seq)? {
                        self.put(value.in_state(State::Removed { until }))?;
                    }
                    self.changed.push(Changed::SetAside { name, seq, by });
                }
                None => {
                    names::remove(self.connection, &mut self.head, seq)?;
                    self.log(Change::Removed(seq));
                    self.changed.push(Changed::Removed { name, seq, by });
                }
            }
        }
        Ok(Outcome::TakenOut(numbers))
    }

    fn restore(&mut self, removed: u64, new: &NewValue, by: &By) -> Result<Outcome> {
        if !names::has(self.connection, &new.name, removed)? {
            return Ok(Outcome::Done);
        }
        if names::in_force(self.connection, &new.name)?.is_some() {
            return Ok(Outcome::Occupied);
        }
        names::remove(self.connection, &mut self.head, removed)?;
        self.log(Change::Removed(removed));
        let value = self.put(new.clone())?;
        self.news.push(News::Published(Arc::clone(&value)));
        self.changed.push(Changed::Restored { value: Arc::clone(&value), by: by.clone() });
        Ok(Outcome::Published(vec![value]))
    }

    fn let_go(
        &mut self,
        values: &[(Name, u64)],
        remove: fn(&Connection, &mut Head, u64) -> Result<bool>,
    ) -> Result<Outcome> {
        let mut count = 0;
        for (name, seq) in values {
            if remove(self.connection, &mut self.head, *seq)? {
                self.log(Change::Removed(*seq));
                self.news.push(News::LetGo(name.clone(), *seq));
                count += 1;
            }
        }
        Ok(Outcome::LetGo(count))
    }

    fn pin(&mut self, terms: &[PinTerms], by: &By) -> Result<Outcome> {
        let mut made = Vec::with_capacity(terms.len());
        for terms in terms {
            let pin = Pin { id: self.head.next_seq(), terms: terms.clone() };
            pins::insert(self.connection, &mut self.head, &pin)?;
            self.log.push((pin.id, Change::Pinned(pin.clone())));
            self.changed.push(Changed::Pinned { pin: pin.clone(), by: by.clone() });
            made.push(pin);
        }
        Ok(Outcome::Pins(made))
    }

    fn unpin(&mut self, ids: &[u64], by: &By) -> Result<Outcome> {
        let mut removed = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(pin) = pins::remove(self.connection, &mut self.head, *id)? else { continue };
            self.log(Change::Unpinned(*id));
            self.changed.push(Changed::Unpinned { pin: pin.clone(), by: by.clone() });
            removed.push(pin);
        }
        Ok(Outcome::Pins(removed))
    }

    fn uses(&mut self, uses: &[UseOf]) -> Result<()> {
        for portion in uses.chunks(USES_PER_RECORD) {
            let mut raised = Vec::with_capacity(portion.len());
            let mut kept = Vec::new();
            for used in portion {
                let UseOf { seq, level, touched, .. } = *used;
                let Some(after) = names::raise(self.connection, &mut self.head, seq, level, touched)? else {
                    continue;
                };
                if level == touched {
                    raised.push((seq, level));
                } else {
                    kept.push((seq, after.0, after.1));
                }
                self.news.push(News::Raised(used.clone()));
            }
            if !raised.is_empty() {
                self.log(Change::Uses(raised));
            }
            self.log_levels(kept);
        }
        Ok(())
    }

    fn levels(&mut self, levels: &[NewLevel]) -> Result<()> {
        for portion in levels.chunks(USES_PER_RECORD) {
            let mut changed = Vec::with_capacity(portion.len());
            for new in portion {
                let mut fits = false;
                let after =
                    names::change_levels(self.connection, &mut self.head, new.seq, |level, touched| {
                        fits = level == new.from;
                        (if fits { new.to } else { level }, touched)
                    })?;
                if let Some((level, touched)) = after.filter(|_| fits) {
                    changed.push((new.seq, level, touched));
                    self.news.push(News::Level(new.clone()));
                }
            }
            self.log_levels(changed);
        }
        Ok(())
    }

    fn log_levels(&mut self, levels: Vec<(u64, Level, Level)>) {
        if !levels.is_empty() {
            self.log(Change::Levels(levels));
        }
    }
}

impl Committed {
    /// Whether the answer has to wait until the journal is durable: what was removed must not come back from it.
    pub(super) fn removes(&self) -> bool {
        self.news.iter().any(|news| matches!(news, News::Removed(..)))
            || self.changed.iter().any(|changed| matches!(changed, Changed::Unpinned { .. }))
    }

    /// Whether rows went, so that there may be pages to be given back.
    pub(super) fn lets_go(&self) -> bool {
        self.news.iter().any(|news| matches!(news, News::LetGo(..)))
    }

    /// Tells the cache, and hands over what is for the witness.
    pub(super) fn publish_to(self, cache: &Cache) -> Vec<Changed> {
        for news in self.news {
            match news {
                News::Published(value) => {
                    let name = value.name.clone();
                    cache.change(&name, |entry| match (value.is_whole(), entry) {
                        (true, _) => Some(Entry { in_force: Some(value), pending: None }),
                        (false, Some(entry)) => Some(Entry { pending: Some(value), ..entry }),
                        (false, None) => None,
                    });
                }
                News::Removed(name, seq) | News::LetGo(name, seq) => cache.change(&name, |entry| {
                    let without = |value: Option<Arc<Value>>| value.filter(|value| value.seq != seq);
                    entry.map(|entry| Entry {
                        in_force: without(entry.in_force),
                        pending: without(entry.pending),
                    })
                }),
                News::Raised(used) => {
                    change_value(cache, &used.name, used.seq, |value| value.raise(used.level, used.touched));
                }
                News::Level(new) => {
                    change_value(cache, &new.name, new.seq, |value| value.set_level(new.to));
                }
            }
        }
        self.changed
    }
}

/// Changes the value in force in the cache, if it is the one with this number.
fn change_value(cache: &Cache, name: &Name, seq: u64, change: impl FnOnce(&Value)) {
    cache.change(name, |entry| {
        let value = entry.as_ref().and_then(|entry| entry.in_force.as_ref());
        if let Some(value) = value.filter(|value| value.seq == seq) {
            change(value);
        }
        entry
    });
}
