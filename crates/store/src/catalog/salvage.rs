//! What can still be read of a damaged database, taken over into the one that is made anew.
//!
//! The old database is a state of the catalog after some change, its *reach*. Up to there it knows more than a journal
//! with gaps, or one that ends early: rows, levels, and what is gone. What came later only the journal knows. So it is
//! merged in between: after the changes up to its reach, before those beyond.
//!
//! **Invariant:** a row is taken over only if it passes its checksum. A value counts as gone only if neither the table
//! nor the index knows its number, and both could be asked.

use rusqlite::Connection;

use super::head::Head;
use super::sqlite::{self, sql_error};
use super::{Value, damage, names, pins};
use crate::Result;

/// Values looked for at a time.
const PORTION: u32 = 256;

/// The damaged database.
#[derive(Debug)]
pub(super) struct Salvage {
    old: Connection,
    /// What its head says, if that can be read.
    pub(super) head: Head,
    /// Every change up to this number is in it, unless it was hit itself.
    pub(super) reach: u64,
}

impl Salvage {
    pub(super) fn new(old: Connection) -> Result<Self> {
        let head = unless_damaged(Head::read(&old))?.flatten();
        let reach = match &head {
            Some(head) => head.last_seq,
            None => outermost(&old, "max", -1, i64::MAX)?.map_or(0, i64::cast_unsigned),
        };
        Ok(Self { old, head: head.unwrap_or_default(), reach })
    }

    /// Takes over what it has and the new database has not, and takes out what it knows to be gone.
    pub(super) fn merge(
        &self,
        connection: &Connection,
        head: &mut Head,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        let rows = self.take_over(connection, head, go_on)?;
        let gone = self.take_out(connection, head, go_on)?;
        // Losing one costs that a bad record is found again when it is next read.
        for (pack, offset) in unless_damaged(damage::all(&self.old))?.unwrap_or_default() {
            damage::insert(connection, head, pack, offset)?;
        }
        self.merge_pins(connection, head)?;
        if rows + gone > 0 {
            tracing::warn!(
                rows,
                gone,
                "rows were taken over from the damaged catalog, and such as it had no more left out, since its \
                 journal does not hold all"
            );
        }
        Ok(())
    }

    /// Takes over each pin that can be read, and takes out such as the old database had no more, if all of it can be read.
    fn merge_pins(&self, connection: &Connection, head: &mut Head) -> Result<()> {
        if unless_damaged(pins::has_table(&self.old))? != Some(true) {
            return Ok(());
        }
        let (mut readable, mut whole) = (Vec::new(), true);
        let read = pins::each(&self.old, |pin| {
            match pin {
                Ok(pin) => readable.push(pin),
                Err(_) => whole = false,
            }
            Ok(())
        });
        whole &= unless_damaged(read)?.is_some();
        for pin in pins::all(connection)?.iter().filter(|pin| whole && pin.id <= self.reach) {
            if !readable.contains(pin) {
                pins::remove(connection, head, pin.id)?;
            }
        }
        readable.iter().try_for_each(|pin| pins::insert(connection, head, pin))
    }

    /// Each row that can be reached, from the front as far as that goes, then from the end. Returns how many were new.
    fn take_over(
        &self,
        connection: &Connection,
        head: &mut Head,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<u64> {
        let (mut rows, mut after, mut before) = (0, -1, i64::MAX);
        for (end, forward) in [("min", true), ("max", false)] {
            while let Some(seq) = outermost(&self.old, end, after, before)? {
                go_on()?;
                if let Some(value) = self.row(seq)? {
                    head.last_seq = head.last_seq.max(value.seq);
                    head.last_time = head.last_time.max(value.touched());
                    if names::raise(connection, head, value.seq, value.level(), value.touched())?.is_none() {
                        names::apply(connection, head, &value)?;
                        rows += 1;
                    }
                }
                *if forward { &mut after } else { &mut before } = seq;
            }
        }
        Ok(rows)
    }

    fn row(&self, seq: i64) -> Result<Option<Value>> {
        Ok(unless_damaged(names::with_number(&self.old, seq.cast_unsigned()))?.flatten())
    }

    fn take_out(
        &self,
        connection: &Connection,
        head: &mut Head,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<u64> {
        let (mut gone, mut done) = (0, 0);
        while let Some(end) = names::portion_end(connection, done, PORTION)?.filter(|_| done < self.reach) {
            go_on()?;
            let mut values = Vec::new();
            let range = (done.cast_signed(), end.min(self.reach).cast_signed());
            names::read(connection, "WHERE seq > ?1 AND seq <= ?2", range, |value| {
                values.push(value);
                Ok(())
            })?;
            for value in values {
                if unless_damaged(names::knows(&self.old, &value))? == Some(false) {
                    names::remove(connection, head, value.seq)?;
                    gone += 1;
                }
            }
            done = end;
        }
        Ok(gone)
    }
}

/// The first or last number between two others; `None` if there is none, or where damage ends the search.
fn outermost(old: &Connection, end: &str, after: i64, before: i64) -> Result<Option<i64>> {
    let read = || {
        let query = format!("SELECT {end}(seq) FROM name WHERE seq > ?1 AND seq < ?2");
        let mut statement = old.prepare_cached(&query)?;
        statement.query_row((after, before), |row| row.get::<_, Option<i64>>(0))
    };
    Ok(unless_damaged(read().map_err(|error| sql_error("reading the damaged catalog", error)))?.flatten())
}

/// Nothing where damage was met, which is to be expected here.
pub(super) fn unless_damaged<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if sqlite::is_damage(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
