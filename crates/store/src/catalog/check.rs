//! The whole database against all its checksums: for beside serving.
//!
//! SQLite's own check finds what is wrong with the pages, but neither a row whose content has changed, nor an index
//! that leads astray, nor rows that are gone together with all that led to them. The row checksums find the first,
//! looking each row up by its key the second, and the sum in the head the third, and levels that have changed.

use rusqlite::Connection;

use super::head::Head;
use super::sqlite::{is_damage, sql_error};
use super::{damage, image, names, pins};
use crate::{Error, Result};

/// Sentences of SQLite's own check that are passed on at most.
const SENTENCES_MAX: u32 = 10;

/// Checks the database in one transaction, so against one state. Returns the rows read and what is wrong.
///
/// # Errors
/// What does not say that the database is damaged.
pub(super) fn database(connection: &Connection) -> Result<(u64, Vec<String>)> {
    let failed = |error| sql_error("checking the catalog", error);
    let mut rows = 0;
    let mut check = || {
        let transaction = connection.unchecked_transaction().map_err(failed)?;
        let mut wrong = pages(&transaction)?;
        if wrong.is_empty() {
            wrong.extend(contents(&transaction, &mut rows)?);
        }
        Ok(wrong)
    };
    match check() {
        Ok(wrong) => Ok((rows, wrong)),
        Err(error) if is_damage(&error) => Ok((rows, vec![error.to_string()])),
        Err(error) => Err(error),
    }
}

/// Counts the rows of names, but for those that were removed, against what the head says.
///
/// # Errors
/// [`Error::Damaged`] if there are others.
pub(super) fn rows(connection: &Connection) -> Result<()> {
    let failed = |error| sql_error("counting the rows of the catalog", error);
    let transaction = connection.unchecked_transaction().map_err(failed)?;
    let head = Head::read(&transaction)?.ok_or_else(|| Error::Damaged("the catalog has no head".into()))?;
    let rows: i64 = transaction
        .query_row(
            "SELECT count(*) FROM name NOT INDEXED WHERE pending < ?1",
            [image::FIRST_REMOVED],
            |row| row.get(0),
        )
        .map_err(failed)?;
    let expected = head.names.saturating_add(head.pending);
    if rows.cast_unsigned() == expected {
        return Ok(());
    }
    Err(Error::Damaged(format!("the catalog holds {rows} rows, and its head says {expected}")))
}

fn pages(connection: &Connection) -> Result<Vec<String>> {
    let failed = |error| sql_error("checking the catalog's pages", error);
    let mut statement =
        connection.prepare(&format!("PRAGMA quick_check({SENTENCES_MAX})")).map_err(failed)?;
    let sentences = statement.query_map((), |row| row.get::<_, String>(0)).map_err(failed)?;
    let sentences: rusqlite::Result<Vec<_>> = sentences.collect();
    Ok(sentences.map_err(failed)?.into_iter().filter(|sentence| sentence != "ok").collect())
}

fn contents(connection: &Connection, rows: &mut u64) -> Result<Option<String>> {
    let Some(head) = Head::read(connection)? else { return Ok(Some("the catalog has no head".into())) };
    let mut found = Head::default();
    names::read(connection, "NOT INDEXED", (), |value| {
        *rows += 1;
        found.add(image::place(&value), names::share(&value));
        if names::led_to(connection, &value)? {
            Ok(())
        } else {
            Err(Error::Damaged(format!("the index does not lead to row {} of the catalog", value.seq)))
        }
    })?;
    found.sum = found.sum.wrapping_add(damage::sum(&damage::all(connection)?));
    found.sum = found.sum.wrapping_add(pins::sum(&pins::all(connection)?));
    let same = (found.names, found.pending, found.sum) == (head.names, head.pending, head.sum);
    Ok((!same).then(|| {
        format!(
            "the catalog holds {} names and {} pending, its head says {} and {}, or the sums differ",
            found.names, found.pending, head.names, head.pending
        )
    }))
}
