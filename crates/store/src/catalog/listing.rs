//! All values, page by page, for whoever looks through the whole catalog beside serving.
//!
//! A page is read in one short transaction, so that a look through millions of rows keeps neither the log from being written
//! back nor memory.

use super::{Catalog, Value, image, names};
use crate::{Level, Result};

/// Rows of a page.
const ROWS: u32 = 256;
/// Rows that are counted in one short transaction.
const ROWS_COUNTED: u32 = 4096;

/// Some values, in the order in which they were published.
#[derive(Debug)]
pub struct Page {
    /// Those that are asked for, which may be none.
    pub values: Vec<Value>,
    /// Behind which number the next page begins.
    pub next: u64,
}

/// Which values are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Those in force, and such as wait for their blobs.
    Names,
    /// Those that were removed and may come back.
    Removed,
}

impl Catalog {
    /// The values with these numbers, those left out that are not there any more. They are read in one transaction: ask for
    /// a page of them. Blocks.
    ///
    /// # Errors
    /// As [`Catalog::look_up`].
    pub fn with_numbers(&self, numbers: &[u64]) -> Result<Vec<Value>> {
        self.report(self.inner.shared.readers.with(|connection| {
            let found = numbers.iter().map(|number| names::with_number(connection, *number));
            found.filter_map(Result::transpose).collect()
        }))
    }

    /// How many values in force have a level above this one: what is kept beyond now. Reads every row, in portions. Blocks.
    ///
    /// # Errors
    /// As [`Catalog::look_up`].
    pub fn count_above(&self, level: Level) -> Result<u64> {
        let (mut count, mut from) = (0, 0);
        loop {
            let portion = self.report(self.inner.shared.readers.with(|connection| {
                let Some(end) = names::portion_end(connection, from, ROWS_COUNTED)? else { return Ok(None) };
                let found = names::count_above(connection, from, end, level)?;
                Ok(Some((end, found)))
            }))?;
            let Some((end, found)) = portion else { return Ok(count) };
            (from, count) = (end, count + found);
        }
    }

    /// The page behind the value with this number, 0 for the first; `None` behind the last. What is published or replaced
    /// meanwhile may be met again, with another number.
    ///
    /// # Errors
    /// As [`Catalog::look_up`].
    pub async fn page_after(&self, after: u64, of: Pages) -> Result<Option<Page>> {
        let catalog = self.clone();
        let read = move || {
            catalog.report(catalog.inner.shared.readers.with(|connection| {
                let Some(end) = names::portion_end(connection, after, ROWS)? else { return Ok(None) };
                let mut values = Vec::new();
                let (first, last) = match of {
                    Pages::Names => (0, image::FIRST_REMOVED - 1),
                    Pages::Removed => (image::FIRST_REMOVED, i64::MAX),
                };
                let range = (after.cast_signed(), end.cast_signed(), first, last);
                let condition = "WHERE seq > ?1 AND seq <= ?2 AND pending BETWEEN ?3 AND ?4 ORDER BY seq";
                names::read(connection, condition, range, |value| {
                    values.push(value);
                    Ok(())
                })?;
                Ok(Some(Page { values, next: end }))
            }))
        };
        tokio::task::spawn_blocking(read)
            .await
            .unwrap_or_else(|_| Err(crate::Error::Busy("a look through the catalog was broken off".into())))
    }
}
