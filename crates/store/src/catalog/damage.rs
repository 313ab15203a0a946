//! The table of records found bad, so that a restart does not bring them back as present.

use rusqlite::Connection;
use twox_hash::XxHash3_64;

use super::head::Head;
use super::sqlite::sql_error;
use crate::{Error, Result};

fn checksum(pack: u32, offset: u32) -> u64 {
    XxHash3_64::oneshot(&(u64::from(pack) << 32 | u64::from(offset)).to_le_bytes())
}

/// Remembers one; false if it was known.
pub(super) fn insert(connection: &Connection, head: &mut Head, pack: u32, offset: u32) -> Result<bool> {
    let checksum = checksum(pack, offset);
    let inserted = connection
        .prepare_cached("INSERT OR IGNORE INTO damage (pack, pack_offset, checksum) VALUES (?1, ?2, ?3)")
        .and_then(|mut statement| statement.execute((pack, offset, checksum.cast_signed())))
        .map_err(|error| sql_error("writing to the table of damage", error))?;
    if inserted == 1 {
        head.sum = head.sum.wrapping_add(checksum);
    }
    Ok(inserted == 1)
}

/// Forgets those of a pack.
pub(super) fn forget(connection: &Connection, head: &mut Head, pack: u32) -> Result<()> {
    let failed = |error| sql_error("removing from the table of damage", error);
    let mut statement =
        connection.prepare_cached("DELETE FROM damage WHERE pack = ?1 RETURNING checksum").map_err(failed)?;
    let mut rows = statement.query([pack]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        head.sum = head.sum.wrapping_sub(row.get::<_, i64>(0).map_err(failed)?.cast_unsigned());
    }
    Ok(())
}

/// All of them, as (pack, offset), in order. [`Error::Damaged`] if one fails its checksum.
pub(super) fn all(connection: &Connection) -> Result<Vec<(u32, u32)>> {
    let failed = |error| sql_error("reading the table of damage", error);
    let mut statement = connection
        .prepare_cached("SELECT pack, pack_offset, checksum FROM damage ORDER BY pack, pack_offset")
        .map_err(failed)?;
    let mut rows = statement.query(()).map_err(failed)?;
    let mut damage = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let read = || Ok(((row.get(0)?, row.get(1)?), row.get::<_, i64>(2)?));
        let (place, written) = read().map_err(failed)?;
        if checksum(place.0, place.1) != written.cast_unsigned() {
            return Err(Error::Damaged("a row of the table of damage fails its checksum".into()));
        }
        damage.push(place);
    }
    Ok(damage)
}

/// The sum of their checksums, as the head counts it.
pub(super) fn sum(damage: &[(u32, u32)]) -> u64 {
    damage.iter().fold(0, |sum, &(pack, offset)| sum.wrapping_add(checksum(pack, offset)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::migrations;

    #[test]
    fn damage_is_remembered_once_and_forgotten_by_pack() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrations::migrate(&mut connection).unwrap();
        let mut head = Head::default();
        for (pack, offset, new) in [(2, 8, true), (1, 9, true), (2, 1, true), (2, 8, false)] {
            assert_eq!(insert(&connection, &mut head, pack, offset).unwrap(), new);
        }
        let rows = all(&connection).unwrap();
        assert_eq!(rows, [(1, 9), (2, 1), (2, 8)]);
        assert_eq!(head.sum, sum(&rows));
        forget(&connection, &mut head, 2).unwrap();
        assert_eq!(all(&connection).unwrap(), [(1, 9)]);
        connection.execute_batch("UPDATE damage SET pack = 3").unwrap();
        assert!(matches!(all(&connection), Err(Error::Damaged(_))));
    }
}
