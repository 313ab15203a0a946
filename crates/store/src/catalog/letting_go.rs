//! Values below the waterline: found in portions, forgotten in portions, and the room of their rows given back.
//!
//! They are not served any more once the waterline is committed, with or without a row; so nobody waits for this, and what
//! a crash brings back of it is found again.

use std::collections::BTreeMap;

use super::change::{Outcome, Request};
use super::{Catalog, Name, names};
use crate::{Level, Result};

/// Rows that are looked at in one short transaction.
const ROWS: u32 = 1000;
/// About what a row takes beside what is in it, with its index.
const ROW_BYTES: u64 = 300;

/// What a portion came to.
#[derive(Clone, Debug, Default)]
pub struct Portion {
    /// Where the next one begins; `None` if this was the last.
    pub next: Option<u64>,
    /// The names of those below the waterline.
    pub names: Vec<Name>,
    /// How many of them were forgotten; the others had another value by then.
    pub forgotten: u64,
}

impl Catalog {
    /// Looks at the next rows from `from` on (0 at first), and forgets those below the committed waterline.
    ///
    /// # Errors
    /// As [`Catalog::publish`].
    pub async fn let_go_portion(&self, from: u64, committed: Level) -> Result<Portion> {
        let catalog = self.clone();
        let read = move || {
            catalog.report(catalog.inner.shared.readers.with(|connection| {
                let Some(end) = names::portion_end(connection, from, ROWS)? else {
                    return Ok((None, Vec::new()));
                };
                names::below(connection, from, end, committed).map(|values| (Some(end), values))
            }))
        };
        let (next, values) = tokio::task::spawn_blocking(read)
            .await
            .unwrap_or_else(|_| Err(crate::Error::Busy("the look at old rows was broken off".into())))?;
        if values.is_empty() {
            return Ok(Portion { next, ..Portion::default() });
        }
        let names = values.iter().map(|(name, _)| name.clone()).collect();
        let forgotten = match self.request(Request::LetGo(values)).await? {
            Outcome::LetGo(forgotten) => forgotten,
            _ => 0,
        };
        Ok(Portion { next, names, forgotten })
    }

    /// Forgets these values, wherever they lie; says how many were still there. A crash may bring them back.
    ///
    /// # Errors
    /// As [`Catalog::publish`].
    pub async fn forget(&self, values: Vec<(Name, u64)>) -> Result<u64> {
        match self.request(Request::Forget(values)).await? {
            Outcome::LetGo(forgotten) => Ok(forgotten),
            _ => Ok(0),
        }
    }

    /// Bytes that the rows of all values take, and the lowest level below which the rows take at least as many as there
    /// are above `room`. Reads every row, in portions. Blocks.
    ///
    /// # Errors
    /// As [`Catalog::look_up`].
    pub fn level_above(&self, room: u64) -> Result<(u64, Option<Level>)> {
        let mut sums = BTreeMap::<Level, u64>::new();
        let mut from = 0;
        loop {
            let end = self.report(self.inner.shared.readers.with(|connection| {
                let end = names::portion_end(connection, from, ROWS)?;
                if let Some(end) = end {
                    names::bytes_by_level(connection, from, end, |level, bytes| {
                        *sums.entry(level).or_default() += bytes + ROW_BYTES;
                    })?;
                }
                Ok(end)
            }))?;
            let Some(end) = end else { break };
            from = end;
        }
        let total: u64 = sums.values().sum();
        let mut left = total.saturating_sub(room);
        let level = sums.into_iter().find_map(|(level, sum)| {
            let enough = left > 0 && sum >= left;
            left = left.saturating_sub(sum);
            enough.then(|| level.plus(1))
        });
        Ok((total, level))
    }
}
