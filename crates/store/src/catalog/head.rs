//! The head row: what is true of the whole catalog, written anew with every transaction.
//!
//! **Invariant:** `names`, `pending` and `sum` are those of the rows in the same transaction. The sum (of the row
//! checksums, and of hashes of the levels, wrapping) is how a check finds out that rows are missing, whatever took
//! them, and that a level has changed, which no row checksum covers.
//!
//! The image begins with the format in all formats to come: the second copy of `user_version`, so that a flipped bit
//! there is not taken for a newer release's catalog.

use rusqlite::{Connection, OptionalExtension};
use twox_hash::XxHash3_64;

use super::image::Fields;
use super::migrations;
use super::sqlite::sql_error;
use crate::{Error, Level, Result};

/// What the head row says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Whether nothing was committed since the mark of a clean stop.
    pub(super) clean: bool,
    /// The waterline.
    pub(super) waterline: Level,
    /// The last cache time written.
    pub(super) last_time: Level,
    /// The number of the last change, of a value or of anything else that the journal holds.
    pub(super) last_seq: u64,
    /// Rows with a value in force.
    pub(super) names: u64,
    /// Rows with a pending value.
    pub(super) pending: u64,
    /// The sum of what all rows add to it.
    pub(super) sum: u64,
    /// At a clean stop: the newest journal file,
    pub(super) journal_number: u64,
    /// its length,
    pub(super) journal_length: u64,
    /// and the part of it that held the live rows when it was begun.
    pub(super) journal_live: u64,
    /// Not written: how many values went since the start that were kept beyond their last use.
    pub(super) kept_gone: u64,
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut image = Vec::with_capacity(72);
        image.extend_from_slice(&migrations::KNOWN.to_le_bytes());
        image.extend_from_slice(&u32::from(self.clean).to_le_bytes());
        image.extend_from_slice(&self.waterline.seconds().to_le_bytes());
        image.extend_from_slice(&self.last_time.seconds().to_le_bytes());
        for number in [
            self.last_seq,
            self.names,
            self.pending,
            self.sum,
            self.journal_number,
            self.journal_length,
            self.journal_live,
        ] {
            image.extend_from_slice(&number.to_le_bytes());
        }
        image
    }

    fn decode(image: &[u8]) -> Option<Self> {
        let mut fields = Fields(image);
        fields.u32()?;
        Some(Self {
            clean: fields.u32()? == 1,
            waterline: Level::from_seconds(fields.u32()?),
            last_time: Level::from_seconds(fields.u32()?),
            last_seq: fields.u64()?,
            names: fields.u64()?,
            pending: fields.u64()?,
            sum: fields.u64()?,
            journal_number: fields.u64()?,
            journal_length: fields.u64()?,
            journal_live: fields.u64()?,
            kept_gone: 0,
        })
    }

    /// The next number.
    pub(super) fn next_seq(&mut self) -> u64 {
        self.last_seq += 1;
        self.last_seq
    }

    /// Counts a row in this place in, with what it adds to the sum.
    pub(super) fn add(&mut self, place: i64, share: u64) {
        if let Some(count) = self.count_of(place) {
            *count += 1;
        }
        self.sum = self.sum.wrapping_add(share);
    }

    /// Counts a row out.
    pub(super) fn subtract(&mut self, place: i64, share: u64) {
        if let Some(count) = self.count_of(place) {
            *count = count.saturating_sub(1);
        }
        self.sum = self.sum.wrapping_sub(share);
    }

    fn count_of(&mut self, place: i64) -> Option<&mut u64> {
        match place {
            0 => Some(&mut self.names),
            1 => Some(&mut self.pending),
            _ => None,
        }
    }

    /// Writes the head row.
    pub(super) fn write(&self, connection: &Connection) -> Result<()> {
        let image = self.encode();
        let checksum = XxHash3_64::oneshot(&image).cast_signed();
        connection
            .prepare_cached("INSERT OR REPLACE INTO head (id, image, checksum) VALUES (1, ?1, ?2)")
            .and_then(|mut statement| statement.execute((image, checksum)))
            .map(drop)
            .map_err(|error| sql_error("writing the catalog's head", error))
    }

    /// The head row; `None` if there is none, as right after the first migration.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it fails its checksum, [`Error::NewerFormat`] if both copies of the format say so.
    pub(super) fn read(connection: &Connection) -> Result<Option<Self>> {
        let claimed = migrations::format(connection)?;
        if claimed == 0 {
            return Ok(None);
        }
        let row: Option<(Vec<u8>, i64)> = connection
            .query_row("SELECT image, checksum FROM head", (), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(|error| sql_error("reading the catalog's head", error))?;
        let Some((image, checksum)) = row else { return Ok(None) };
        let damaged = || Error::Damaged("the catalog's head fails its checksum".into());
        if XxHash3_64::oneshot(&image).cast_signed() != checksum {
            return Err(damaged());
        }
        let written = Fields(&image).u32().ok_or_else(damaged)?;
        match (claimed > migrations::KNOWN, written > migrations::KNOWN) {
            (true, true) => Err(Error::NewerFormat { found: written, known: migrations::KNOWN }),
            (false, false) => Self::decode(&image).map(Some).ok_or_else(damaged),
            _ => Err(Error::Damaged("the catalog's two copies of its format disagree".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrations::migrate(&mut connection).unwrap();
        connection
    }

    fn head() -> Head {
        Head {
            clean: true,
            waterline: Level::from_seconds(1),
            last_time: Level::from_seconds(2),
            last_seq: 3,
            names: 4,
            pending: 5,
            sum: u64::MAX,
            journal_number: 7,
            journal_length: 8,
            journal_live: 9,
            kept_gone: 0,
        }
    }

    #[test]
    fn head_reads_back_as_written() {
        let connection = database();
        assert_eq!(Head::read(&connection).unwrap(), None);
        head().write(&connection).unwrap();
        assert_eq!(Head::read(&connection).unwrap(), Some(head()));
    }

    #[test]
    fn flipped_bit_in_user_version_is_damage_and_not_a_newer_release() {
        let connection = database();
        head().write(&connection).unwrap();
        connection.pragma_update(None, "user_version", migrations::KNOWN | 64).unwrap();
        assert!(matches!(Head::read(&connection), Err(Error::Damaged(_))));
    }

    #[test]
    fn newer_format_in_both_copies_is_named() {
        let connection = database();
        let mut image = head().encode();
        image[0] = 9;
        let checksum = XxHash3_64::oneshot(&image).cast_signed();
        connection.execute("INSERT INTO head VALUES (1, ?1, ?2)", (image, checksum)).unwrap();
        connection.pragma_update(None, "user_version", 9).unwrap();
        let error = Head::read(&connection).unwrap_err();
        assert!(matches!(error, Error::NewerFormat { found: 9, known: migrations::KNOWN }));
    }
}
