//! The table of values: find, put in force, remove, raise.
//!
//! **Invariant:** a row that is handed out has passed its checksum and bears the name it was asked for; anything else
//! is [`Error::Damaged`]. Every change goes with the same change of the [`Head`] it is counted in.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Params, Row};
use twox_hash::XxHash3_64;

use super::head::Head;
use super::sqlite::sql_error;
use super::{Name, NameKind, NewValue, State, Value, image};
use crate::{Error, Level, Result};

/// What a name points to.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The value in force.
    pub(super) in_force: Option<Value>,
    /// The one that waits for a blob.
    pub(super) pending: Option<Value>,
}

/// Both values of a name.
pub(super) fn find(connection: &Connection, name: &Name) -> Result<Found> {
    let mut found = Found::default();
    let key = name.key();
    let params = (&key[..], image::FIRST_REMOVED);
    read(connection, "WHERE key = ?1 AND pending < ?2", params, |value| {
        if value.name != *name {
            return Err(Error::Damaged(format!("row {} of the catalog has another row's key", value.seq)));
        }
        if value.is_whole() {
            found.in_force = Some(value);
        } else {
            found.pending = Some(value);
        }
        Ok(())
    })?;
    Ok(found)
}

/// The number and the pusher of the value in force.
pub(super) fn in_force(connection: &Connection, name: &Name) -> Result<Option<(u64, Box<str>)>> {
    connection
        .prepare_cached("SELECT seq, pusher FROM name WHERE key = ?1 AND pending = 0")
        .and_then(|mut statement| {
            let read =
                |row: &Row<'_>| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get_ref(1)?.as_str()?.into()));
            statement.query_row([&name.key()[..]], read).optional()
        })
        .map_err(|error| sql_error("reading the catalog", error))
}

/// The numbers of the earlier values of a name that are kept, but for the last so many.
pub(super) fn earlier_beyond(connection: &Connection, name: &Name, last: u32) -> Result<Vec<u64>> {
    let failed = |error| sql_error("reading the catalog", error);
    let mut statement = connection
        .prepare_cached(
            "SELECT seq FROM name WHERE key = ?1 AND pending >= ?2 AND missing = ?3 \
             ORDER BY seq DESC LIMIT -1 OFFSET ?4",
        )
        .map_err(failed)?;
    let earlier = image::missing_part(&State::EARLIER);
    let params = (&name.key()[..], image::FIRST_REMOVED, earlier, last);
    let numbers = statement.query_map(params, |row| row.get::<_, i64>(0)).map_err(failed)?;
    numbers.map(|number| number.map(i64::cast_unsigned).map_err(failed)).collect()
}

/// How many values in force, from behind one number to another, have a level above this one.
pub(super) fn count_above(connection: &Connection, from: u64, end: u64, level: Level) -> Result<u64> {
    connection
        .prepare_cached(
            "SELECT count(*) FROM name WHERE seq > ?1 AND seq <= ?2 AND pending = 0 AND level > ?3",
        )
        .and_then(|mut statement| {
            let range = (from.cast_signed(), end.cast_signed(), level.seconds());
            statement.query_row(range, |row| row.get::<_, i64>(0))
        })
        .map(i64::cast_unsigned)
        .map_err(|error| sql_error("counting in the catalog", error))
}

/// The value with this number.
pub(super) fn with_number(connection: &Connection, seq: u64) -> Result<Option<Value>> {
    let mut found = None;
    read(connection, "WHERE seq = ?1", [seq.cast_signed()], |value| {
        found = Some(value);
        Ok(())
    })?;
    Ok(found)
}

/// Visits the rows that a condition selects; the first bad row ends it with [`Error::Damaged`].
pub(super) fn read(
    connection: &Connection,
    condition: &str,
    params: impl Params,
    mut visit: impl FnMut(Value) -> Result<()>,
) -> Result<()> {
    const COLUMNS: &str = "seq, pending, kind, instance, text, qualifiers, target, content, refs, missing, expires, \
                           pushed, pusher, address, checksum, level, touched";
    let failed = |error| sql_error("reading the catalog", error);
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM name {condition}")).map_err(failed)?;
    let mut rows = statement.query(params).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        visit(verified(row)?)?;
    }
    Ok(())
}

fn verified(row: &Row<'_>) -> Result<Value> {
    let (value, checksum) =
        read_row(row).map_err(|error| sql_error("reading a row of the catalog", error))?;
    match value {
        Some(value) if self::checksum(&value) == checksum => Ok(value),
        _ => Err(Error::Damaged(format!(
            "row {} of the catalog fails its checksum",
            row.get::<_, i64>(0).unwrap_or_default()
        ))),
    }
}

/// The value of a row, `None` if its columns are no value, and its checksum.
fn read_row(row: &Row<'_>) -> rusqlite::Result<(Option<Value>, u64)> {
    let missing: Option<Vec<u8>> = row.get(9)?;
    let level = |at| row.get::<_, u32>(at).map(Level::from_seconds);
    let parts = (
        NameKind::from_number(row.get(2)?),
        image::target_of(row.get(6)?, row.get_ref(7)?.as_blob()?),
        image::state_in(row.get(1)?, &missing.unwrap_or_default()),
    );
    let checksum = row.get::<_, i64>(14)?.cast_unsigned();
    let (Some(kind), Some(target), Some(state)) = parts else { return Ok((None, checksum)) };
    let name = Name {
        instance: row.get_ref(3)?.as_str()?.into(),
        kind,
        text: row.get_ref(4)?.as_str()?.into(),
        qualifiers: row.get_ref(5)?.as_str()?.into(),
    };
    let new = NewValue {
        name,
        target,
        references: Bytes::copy_from_slice(row.get_ref(8)?.as_blob()?),
        level: level(15)?,
        touched: level(16)?,
        expires: row.get::<_, Option<i64>>(10)?.map(i64::cast_unsigned),
        pushed: row.get::<_, i64>(11)?.cast_unsigned(),
        pusher: row.get_ref(12)?.as_str()?.into(),
        address: row.get_ref(13)?.as_str()?.into(),
        state,
    };
    Ok((Some(Value::new(new, row.get::<_, i64>(0)?.cast_unsigned())), checksum))
}

/// Makes `value` the one in force, the pending one, or one that was removed. A whole value takes the place of the first two, a
/// pending one that of an earlier pending one, a removed one that of the one in force, which it was; except of those with a higher number, which only a rebuild meets; nor does it then put a
/// pending value beside a whole one that came after it.
pub(super) fn apply(connection: &Connection, head: &mut Head, value: &Value) -> Result<()> {
    let key = value.name.key();
    let place = image::place(value);
    let seq = value.seq.cast_signed();
    let (first, last) = match value.state {
        State::Whole => (0, 1),
        State::Pending(_) => (1, 1),
        State::Removed { .. } => (0, 0),
    };
    let condition = "key = ?1 AND pending BETWEEN ?2 AND ?3 AND seq <= ?4";
    delete(connection, head, condition, (&key[..], first, last, seq))?;
    if matches!(value.state, State::Pending(_)) && has_later_whole(connection, &key, seq)? {
        return Ok(());
    }
    let checksum = checksum(value);
    let (target, content) = image::target_parts(&value.target);
    let inserted = connection
        .prepare_cached(
            "INSERT OR IGNORE INTO name (seq, key, pending, kind, instance, text, qualifiers, target, content, refs, \
             missing, expires, pushed, pusher, address, checksum, level, touched) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
        )
        .and_then(|mut statement| {
            statement.execute(rusqlite::params![
                seq,
                &key[..],
                place,
                value.name.kind as u8,
                &*value.name.instance,
                &*value.name.text,
                &*value.name.qualifiers,
                target,
                content,
                &*value.references,
                image::missing_part(&value.state),
                value.expires.map(u64::cast_signed),
                value.pushed.cast_signed(),
                &*value.pusher,
                &*value.address,
                checksum.cast_signed(),
                value.level().seconds(),
                value.touched().seconds(),
            ])
        })
        .map_err(|error| sql_error("writing a row of the catalog", error))?;
    if inserted == 1 {
        head.add(place, share(value));
    }
    Ok(())
}

fn has_later_whole(connection: &Connection, key: &[u8], seq: i64) -> Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM name WHERE key = ?1 AND pending = 0 AND seq > ?2")
        .and_then(|mut statement| statement.exists((key, seq)))
        .map_err(|error| sql_error("reading the catalog", error))
}

/// Removes the value with this number; false if there is none.
pub(super) fn remove(connection: &Connection, head: &mut Head, seq: u64) -> Result<bool> {
    delete(connection, head, "seq = ?1", [seq.cast_signed()]).map(|deleted| deleted > 0)
}

/// What is compared with the waterline: of a value that waits the time of its push, of any other its level.
const MATTERS_UNTIL: &str = "CASE pending WHEN 1 THEN touched ELSE level END";

/// Removes the value with this number if it lies below the waterline; false if it does not, or if there is none.
pub(super) fn remove_below(connection: &Connection, head: &mut Head, seq: u64) -> Result<bool> {
    let condition = format!("seq = ?1 AND {MATTERS_UNTIL} < ?2");
    let waterline = head.waterline.seconds();
    delete(connection, head, &condition, (seq.cast_signed(), waterline)).map(|deleted| deleted > 0)
}

/// Of the rows with numbers above `after` and up to `end`, those below this waterline.
pub(super) fn below(
    connection: &Connection,
    after: u64,
    end: u64,
    waterline: Level,
) -> Result<Vec<(Name, u64)>> {
    let failed = |error| sql_error("reading the catalog", error);
    let mut statement = connection
        .prepare_cached(&format!(
            "SELECT seq, instance, kind, text, qualifiers FROM name \
             WHERE seq > ?1 AND seq <= ?2 AND {MATTERS_UNTIL} < ?3"
        ))
        .map_err(failed)?;
    let range = (after.cast_signed(), end.cast_signed(), waterline.seconds());
    let mut rows = statement.query(range).map_err(failed)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let read = || {
            let kind = NameKind::from_number(row.get(2)?);
            let name = kind.map(|kind| -> rusqlite::Result<Name> {
                Ok(Name {
                    instance: row.get_ref(1)?.as_str()?.into(),
                    kind,
                    text: row.get_ref(3)?.as_str()?.into(),
                    qualifiers: row.get_ref(4)?.as_str()?.into(),
                })
            });
            Ok((name.transpose()?, row.get::<_, i64>(0)?.cast_unsigned()))
        };
        let (name, seq) = read().map_err(failed)?;
        let name = name.ok_or_else(|| Error::Damaged(format!("row {seq} of the catalog is of no kind")))?;
        found.push((name, seq));
    }
    Ok(found)
}

/// Bytes of the rows with numbers above `after` and up to `end`, by what is compared with the waterline.
pub(super) fn bytes_by_level(
    connection: &Connection,
    after: u64,
    end: u64,
    mut visit: impl FnMut(Level, u64),
) -> Result<()> {
    let failed = |error| sql_error("reading the catalog", error);
    let mut statement = connection
        .prepare_cached(&format!(
            "SELECT {MATTERS_UNTIL}, length(instance) + length(text) + length(qualifiers) + length(content) + \
             length(refs) + length(pusher) + length(address) FROM name WHERE seq > ?1 AND seq <= ?2"
        ))
        .map_err(failed)?;
    let mut rows = statement.query((after.cast_signed(), end.cast_signed())).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let read = || Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.unwrap_or(0).cast_unsigned()));
        let (level, bytes) = read().map_err(failed)?;
        visit(Level::from_seconds(level), bytes);
    }
    Ok(())
}

fn delete(connection: &Connection, head: &mut Head, condition: &str, params: impl Params) -> Result<u64> {
    let failed = |error| sql_error("removing a row of the catalog", error);
    let mut statement = connection
        .prepare_cached(&format!(
            "DELETE FROM name WHERE {condition} RETURNING pending, checksum, seq, level, touched"
        ))
        .map_err(failed)?;
    let mut rows = statement.query(params).map_err(failed)?;
    let mut deleted = 0;
    while let Some(row) = rows.next().map_err(failed)? {
        let read = || {
            let levels = (row.get(3)?, row.get(4)?);
            Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned(), row.get::<_, i64>(2)?, levels))
        };
        let (place, checksum, seq, levels) = read().map_err(failed)?;
        let (level, touched): (u32, u32) = levels;
        head.kept_gone += u64::from(level > touched);
        head.subtract(place, checksum.wrapping_add(mark(seq.cast_unsigned(), levels)));
        deleted += 1;
    }
    Ok(deleted)
}

/// The checksum of the value's row.
fn checksum(value: &Value) -> u64 {
    image::checksum(&image::encode(value))
}

/// Whether the index leads from the value's key to its row, and the row has that key too.
pub(super) fn led_to(connection: &Connection, value: &Value) -> Result<bool> {
    connection
        .prepare_cached(
            "SELECT 1 WHERE EXISTS \
             (SELECT 1 FROM name INDEXED BY name_by_key WHERE key = ?1 AND pending = ?2 AND seq = ?3) \
             AND EXISTS (SELECT 1 FROM name NOT INDEXED WHERE seq = ?3 AND key = ?1)",
        )
        .and_then(|mut statement| {
            statement.exists((&value.name.key()[..], image::place(value), value.seq.cast_signed()))
        })
        .map_err(|error| sql_error("reading the catalog's index", error))
}

/// Whether the table or the index knows of the value.
pub(super) fn knows(connection: &Connection, value: &Value) -> Result<bool> {
    connection
        .prepare_cached(
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM name NOT INDEXED WHERE seq = ?3) OR EXISTS \
             (SELECT 1 FROM name INDEXED BY name_by_key WHERE key = ?1 AND pending = ?2 AND seq = ?3)",
        )
        .and_then(|mut statement| {
            statement.exists((&value.name.key()[..], image::place(value), value.seq.cast_signed()))
        })
        .map_err(|error| sql_error("reading the catalog's index", error))
}

/// Whether the value with this number is still there under this name.
pub(super) fn has(connection: &Connection, name: &Name, seq: u64) -> Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM name WHERE seq = ?1 AND key = ?2")
        .and_then(|mut statement| statement.exists((seq.cast_signed(), &name.key()[..])))
        .map_err(|error| sql_error("reading the catalog", error))
}

/// Changes level and touched of the value with this number, and says what they are then; `None` if it is not there.
pub(super) fn change_levels(
    connection: &Connection,
    head: &mut Head,
    seq: u64,
    change: impl FnOnce(Level, Level) -> (Level, Level),
) -> Result<Option<(Level, Level)>> {
    let failed = |error| sql_error("changing a level in the catalog", error);
    let number = seq.cast_signed();
    let before: Option<(u32, u32)> = connection
        .prepare_cached("SELECT level, touched FROM name WHERE seq = ?1")
        .and_then(|mut statement| {
            statement.query_row([number], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .map_err(failed)?;
    let Some(before) = before else { return Ok(None) };
    let changed = change(Level::from_seconds(before.0), Level::from_seconds(before.1));
    let after = (changed.0.seconds(), changed.1.seconds());
    if after != before {
        connection
            .prepare_cached("UPDATE name SET level = ?2, touched = ?3 WHERE seq = ?1")
            .and_then(|mut statement| statement.execute((number, after.0, after.1)))
            .map_err(failed)?;
        head.sum = head.sum.wrapping_sub(mark(seq, before)).wrapping_add(mark(seq, after));
    }
    Ok(Some(changed))
}

/// Raises level and touched of the value with this number, and says what they are then; `None` if it is not there.
pub(super) fn raise(
    connection: &Connection,
    head: &mut Head,
    seq: u64,
    level: Level,
    touched: Level,
) -> Result<Option<(Level, Level)>> {
    change_levels(connection, head, seq, |before, at| (before.max(level), at.max(touched)))
}

/// What level and touched, which the row checksum leaves out, add to the sum in the head.
fn mark(seq: u64, (level, touched): (u32, u32)) -> u64 {
    let levels = u64::from(level) << 32 | u64::from(touched);
    XxHash3_64::oneshot(&[seq.to_le_bytes(), levels.to_le_bytes()].concat())
}

/// What a row adds to the sum in the head.
pub(super) fn share(value: &Value) -> u64 {
    checksum(value).wrapping_add(mark(value.seq, (value.level().seconds(), value.touched().seconds())))
}

/// The number of the last row of the portion of `rows` rows that begins after `after`; `None` if there is none.
pub(super) fn portion_end(connection: &Connection, after: u64, rows: u32) -> Result<Option<u64>> {
    connection
        .prepare_cached("SELECT max(seq) FROM (SELECT seq FROM name WHERE seq > ?1 ORDER BY seq LIMIT ?2)")
        .and_then(|mut statement| {
            statement.query_row((after.cast_signed(), rows), |row| row.get::<_, Option<i64>>(0)).optional()
        })
        .map(|seq| seq.flatten().map(i64::cast_unsigned))
        .map_err(|error| sql_error("reading the catalog", error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;
    use crate::catalog::image::tests::example;
    use crate::catalog::migrations;

    fn database() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrations::migrate(&mut connection).unwrap();
        connection
    }

    fn whole(seq: u64) -> Value {
        Value::new(example(), seq)
    }

    fn pending(seq: u64) -> Value {
        Value::new(NewValue { state: State::Pending(Digest::EMPTY), ..example() }, seq)
    }

    fn numbers(connection: &Connection) -> (Option<u64>, Option<u64>) {
        let found = find(connection, &example().name).unwrap();
        (found.in_force.map(|value| value.seq), found.pending.map(|value| value.seq))
    }

    #[test]
    fn pending_value_stands_beside_the_one_in_force_until_a_whole_one_comes() {
        let (database, mut head) = (database(), Head::default());
        for (value, expected, counts) in [
            (whole(1), (Some(1), None), (1, 0)),
            (pending(2), (Some(1), Some(2)), (1, 1)),
            (pending(3), (Some(1), Some(3)), (1, 1)),
            (whole(4), (Some(4), None), (1, 0)),
        ] {
            apply(&database, &mut head, &value).unwrap();
            assert_eq!(numbers(&database), expected);
            assert_eq!((head.names, head.pending), counts);
        }
        assert!(remove(&database, &mut head, 4).unwrap());
        assert_eq!((head.names, head.pending, head.sum), (0, 0, 0));
    }

    #[test]
    fn removed_values_stand_beside_the_one_in_force_and_are_not_found_by_name() {
        let (database, mut head) = (database(), Head::default());
        let removed = |seq| Value::new(NewValue { state: State::Removed { until: 9 }, ..example() }, seq);
        for (value, expected, counts) in [
            (whole(1), (Some(1), None), (1, 0)),
            (removed(2), (None, None), (0, 0)),
            (pending(3), (None, Some(3)), (0, 1)),
            (whole(4), (Some(4), None), (1, 0)),
            (pending(5), (Some(4), Some(5)), (1, 1)),
            (removed(6), (None, Some(5)), (0, 1)),
            // Met later, as a rebuild may: the one that it was came before.
            (whole(7), (Some(7), None), (1, 0)),
            (removed(3), (Some(7), None), (1, 0)),
        ] {
            apply(&database, &mut head, &value).unwrap();
            assert_eq!(numbers(&database), expected, "{}", value.seq);
            assert_eq!((head.names, head.pending), counts, "{}", value.seq);
        }
        for seq in [2, 3, 6, 7] {
            assert!(remove(&database, &mut head, seq).unwrap());
        }
        assert_eq!((head.names, head.pending, head.sum), (0, 0, 0));
    }

    #[test]
    fn older_image_met_later_replaces_nothing() {
        let (database, mut head) = (database(), Head::default());
        apply(&database, &mut head, &whole(5)).unwrap();
        let before = head;
        apply(&database, &mut head, &whole(3)).unwrap();
        assert_eq!((numbers(&database), head), ((Some(5), None), before));
    }

    #[test]
    fn pending_image_met_after_the_whole_one_that_ended_it_does_not_come_back() {
        let (database, mut head) = (database(), Head::default());
        apply(&database, &mut head, &whole(5)).unwrap();
        apply(&database, &mut head, &pending(3)).unwrap();
        assert_eq!((numbers(&database), head.pending), ((Some(5), None), 0));
    }

    #[test]
    fn row_changed_in_any_column_but_level_and_touched_is_damage() {
        let (database, mut head) = (database(), Head::default());
        apply(&database, &mut head, &whole(1)).unwrap();
        let columns = "kind = 1, instance = 'x', qualifiers = '', target = 1, content = x'', refs = x'00', \
                       missing = x'00', expires = NULL, pushed = 4, pusher = 'eve', address = '', text = 5, \
                       checksum = 0, seq = 9";
        for change in columns.split(", ") {
            database.execute_batch(&format!("SAVEPOINT s; UPDATE name SET {change}")).unwrap();
            let result = find(&database, &example().name);
            assert!(matches!(result, Err(Error::Damaged(_))), "{change}: {result:?}");
            database.execute_batch("ROLLBACK TO s; RELEASE s").unwrap();
        }
        find(&database, &example().name).unwrap();
    }

    #[test]
    fn portions_cover_sparse_numbers() {
        let (database, mut head) = (database(), Head::default());
        for seq in [3, 10, 11, 500] {
            let mut new = example();
            new.name.text = seq.to_string().into();
            apply(&database, &mut head, &Value::new(new, seq)).unwrap();
        }
        let ends = [0, 10, 500].map(|after| portion_end(&database, after, 2).unwrap());
        assert_eq!(ends, [Some(10), Some(500), None]);
    }
}
