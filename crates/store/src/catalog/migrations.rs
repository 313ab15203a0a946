//! The tables, by version: migration N makes format N of format N − 1.
//!
//! **Invariant:** a migration that has been released is never edited; each runs in one transaction with the
//! `user_version` that says so, hence a crash leaves the format before or the format after.

use rusqlite::Connection;

use super::sqlite::sql_error;
use crate::Result;

const MIGRATIONS: [&str; 3] = [
    include_str!("migrations/001_names.sql"),
    include_str!("migrations/002_damage.sql"),
    include_str!("migrations/003_pin.sql"),
];

/// The newest format known here.
pub(super) const KNOWN: u32 = MIGRATIONS.len() as u32;

/// The format that the database itself claims; 0 for one without tables.
pub(super) fn format(connection: &Connection) -> Result<u32> {
    connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| sql_error("reading the catalog's format", error))
}

/// Brings the database from its format to the newest. It must not be newer.
pub(super) fn migrate(connection: &mut Connection) -> Result<()> {
    migrate_to(connection, KNOWN)
}

fn migrate_to(connection: &mut Connection, to: u32) -> Result<()> {
    let from = format(connection)?;
    for (version, migration) in (1..=to).zip(MIGRATIONS).skip(usize::try_from(from).unwrap_or(usize::MAX)) {
        let run = || -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            transaction.execute_batch(migration)?;
            transaction.pragma_update(None, "user_version", version)?;
            transaction.commit()
        };
        let mut run = run;
        run().map_err(|error| sql_error(format!("migrating the catalog to format {version}"), error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::image::tests::{assert_same, example};
    use crate::catalog::{Value, head::Head, names};

    #[test]
    fn row_of_each_older_format_is_there_after_the_migrations() {
        for from in 1..KNOWN {
            let mut connection = Connection::open_in_memory().unwrap();
            migrate_to(&mut connection, from).unwrap();
            let value = Value::new(example(), 1);
            names::apply(&connection, &mut Head::default(), &value).unwrap();
            migrate(&mut connection).unwrap();
            assert_eq!(format(&connection).unwrap(), KNOWN);
            let rows = names::find(&connection, &value.name).unwrap();
            assert_same(&rows.in_force.unwrap(), &value);
        }
    }

    #[test]
    fn interrupted_migration_leaves_the_format_before() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE damage (x)").unwrap();
        migrate(&mut connection).unwrap_err();
        assert_eq!(format(&connection).unwrap(), 1);
    }
}
