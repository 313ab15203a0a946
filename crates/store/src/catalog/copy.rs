//! Copies what is live into a new journal file, in portions between the writer's groups.
//!
//! **Invariant:** what was there when the file was begun, and is there still when its turn comes, is copied as it is
//! then; what changed meanwhile stands in the file as a change.

use rusqlite::Connection;

use super::head::Head;
use super::journal::{Change, Journal};
use super::{damage, names, pins};
use crate::{Level, Result};

/// Rows of one portion.
const ROWS: u32 = 128;

/// How far copying has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copying {
    /// Rows up to this number are done.
    done: u64,
    /// Rows beyond this number came after the file was begun.
    base: u64,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    More,
    Done,
}

impl Copying {
    /// Begins, in the state that `head` describes.
    pub(super) fn new(head: &Head) -> Self {
        Self { done: 0, base: head.last_seq }
    }

    /// Copies the next portion.
    pub(super) fn step(
        &mut self,
        connection: &Connection,
        head: &Head,
        journal: &mut Journal,
    ) -> Result<Step> {
        let end = names::portion_end(connection, self.done, ROWS)?.filter(|_| self.done < self.base);
        if let Some(end) = end {
            let end = end.min(self.base);
            let mut rows = Vec::new();
            let range = (self.done.cast_signed(), end.cast_signed());
            names::read(connection, "WHERE seq > ?1 AND seq <= ?2 ORDER BY seq", range, |value| {
                rows.push((value.seq, Change::Value(value.into())));
                Ok(())
            })?;
            journal.append(&rows)?;
            self.done = end;
            return Ok(Step::More);
        }
        let damage = damage::all(connection)?.into_iter();
        let mut rest: Vec<_> =
            damage.map(|(pack, offset)| (self.base, Change::Damage { pack, offset })).collect();
        rest.extend(pins::all(connection)?.into_iter().map(|pin| (self.base, Change::Pinned(pin))));
        if head.waterline > Level::ZERO {
            rest.push((self.base, Change::Waterline(head.waterline)));
        }
        journal.append(&rest)?;
        journal.complete()?;
        Ok(Step::Done)
    }
}
