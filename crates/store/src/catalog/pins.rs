//! Pins: what an operator wants kept, by name or pattern, until when and why. What a pattern fits is the domain's to say.
//!
//! Few, so all of them are read at one go. A row is a number, which is that of the change that made it, and an image, whose
//! checksum covers both and is counted in the [`Head`]'s sum.

use rusqlite::Connection;
use twox_hash::XxHash3_64;

use super::change::{Outcome, Request};
use super::head::Head;
use super::image::Fields;
use super::sqlite::sql_error;
use super::{By, Catalog};
use crate::{Error, Result};

/// The most bytes that the texts of a pin hold together.
const TEXT_MAX: usize = 16 << 10;

/// What is kept, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinTerms {
    /// A name, or a pattern of names; opaque here.
    pub pattern: Box<str>,
    /// Of this instance; of all if there is none.
    pub instance: Option<Box<str>>,
    /// Why.
    pub reason: Box<str>,
    /// Who wants it.
    pub owner: Box<str>,
    /// When it was made, in seconds since the Unix epoch.
    pub made: u64,
    /// Until when it holds, in seconds since the Unix epoch; for ever if there is none.
    pub until: Option<u64>,
    /// How many values of a name that is pushed again are kept, the one in force among them.
    pub revisions: u32,
}

/// A pin that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Its number, rising over the whole catalog.
    pub id: u64,
    /// What it says.
    pub terms: PinTerms,
}

impl PinTerms {
    fn check_size(&self) -> Result<()> {
        let instance = self.instance.as_ref().map_or(0, |instance| instance.len());
        let size = self.pattern.len() + instance + self.reason.len() + self.owner.len();
        if size > TEXT_MAX {
            return Err(Error::TooLarge { size: size as u64, limit: TEXT_MAX as u64 });
        }
        Ok(())
    }
}

/// The image of a pin: what its row checksum is taken over, and what the journal holds.
pub(super) fn encode(pin: &Pin) -> Vec<u8> {
    let Pin { id, terms } = pin;
    let mut image = Vec::with_capacity(128);
    image.extend_from_slice(&id.to_le_bytes());
    image.extend_from_slice(&terms.made.to_le_bytes());
    image.extend_from_slice(&terms.until.unwrap_or(0).to_le_bytes());
    image.extend_from_slice(&terms.revisions.to_le_bytes());
    image.extend_from_slice(&[u8::from(terms.until.is_some()), u8::from(terms.instance.is_some()), 0, 0]);
    let instance = terms.instance.as_deref().unwrap_or_default();
    for part in [&*terms.pattern, instance, &*terms.reason, &*terms.owner] {
        image.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        image.extend_from_slice(part.as_bytes());
    }
    image
}

/// The pin of an image; `None` if it is none.
pub(super) fn decode(image: &[u8]) -> Option<Pin> {
    let mut fields = Fields(image);
    let (id, made, until, revisions) = (fields.u64()?, fields.u64()?, fields.u64()?, fields.u32()?);
    let [ends, of_instance, 0, 0] = fields.array()? else { return None };
    let until = match (ends, until) {
        (0, 0) => None,
        (1, until) => Some(until),
        _ => return None,
    };
    let pattern = fields.text()?.into();
    let instance = match (of_instance, fields.text()?) {
        (0, "") => None,
        (1, instance) => Some(instance.into()),
        _ => return None,
    };
    let (reason, owner) = (fields.text()?.into(), fields.text()?.into());
    let terms = PinTerms { pattern, instance, reason, owner, made, until, revisions };
    fields.0.is_empty().then_some(Pin { id, terms })
}

/// Puts it in force; nothing if there is one with its number.
pub(super) fn insert(connection: &Connection, head: &mut Head, pin: &Pin) -> Result<()> {
    let image = encode(pin);
    let checksum = XxHash3_64::oneshot(&image);
    let inserted = connection
        .prepare_cached("INSERT OR IGNORE INTO pin (id, image, checksum) VALUES (?1, ?2, ?3)")
        .and_then(|mut statement| statement.execute((pin.id.cast_signed(), image, checksum.cast_signed())))
        .map_err(|error| sql_error("writing to the table of pins", error))?;
    if inserted == 1 {
        head.sum = head.sum.wrapping_add(checksum);
    }
    Ok(())
}

/// Takes it out; `None` if there was none with this number.
pub(super) fn remove(connection: &Connection, head: &mut Head, id: u64) -> Result<Option<Pin>> {
    let failed = |error| sql_error("removing from the table of pins", error);
    let mut statement = connection
        .prepare_cached("DELETE FROM pin WHERE id = ?1 RETURNING image, checksum")
        .map_err(failed)?;
    let mut rows = statement.query([id.cast_signed()]).map_err(failed)?;
    let mut removed = None;
    while let Some(row) = rows.next().map_err(failed)? {
        let read = || Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?.cast_unsigned()));
        let (image, checksum) = read().map_err(failed)?;
        head.sum = head.sum.wrapping_sub(checksum);
        removed = decode(&image);
    }
    Ok(removed)
}

/// Visits each in order, with an error for one that fails its checksum.
pub(super) fn each(connection: &Connection, mut visit: impl FnMut(Result<Pin>) -> Result<()>) -> Result<()> {
    let failed = |error| sql_error("reading the table of pins", error);
    let mut statement =
        connection.prepare_cached("SELECT id, image, checksum FROM pin ORDER BY id").map_err(failed)?;
    let mut rows = statement.query(()).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let read = || Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, i64>(2)?));
        let (id, image, checksum) = read().map_err(failed)?;
        let whole = XxHash3_64::oneshot(&image) == checksum.cast_unsigned();
        let pin = decode(&image).filter(|pin| whole && pin.id == id.cast_unsigned());
        visit(pin.ok_or_else(|| Error::Damaged("a row of the table of pins fails its checksum".into())))?;
    }
    Ok(())
}

/// All of them, in order. [`Error::Damaged`] if one fails its checksum.
pub(super) fn all(connection: &Connection) -> Result<Vec<Pin>> {
    let mut pins = Vec::new();
    each(connection, |pin| {
        pins.push(pin?);
        Ok(())
    })?;
    Ok(pins)
}

/// Whether the database is of a format that has pins.
pub(super) fn has_table(connection: &Connection) -> Result<bool> {
    connection
        .prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'pin'")
        .and_then(|mut statement| statement.exists(()))
        .map_err(|error| sql_error("looking for the table of pins", error))
}

/// The sum of their checksums, as the head counts it.
pub(super) fn sum(pins: &[Pin]) -> u64 {
    pins.iter().fold(0, |sum, pin| sum.wrapping_add(XxHash3_64::oneshot(&encode(pin))))
}

impl Catalog {
    /// Puts these pins in force, all or none, and answers once they survive a power cut. They are made by `by`.
    ///
    /// # Errors
    /// As [`Catalog::publish`].
    pub async fn pin(&self, terms: Vec<PinTerms>, by: By) -> Result<Vec<Pin>> {
        terms.iter().try_for_each(PinTerms::check_size)?;
        match self.request(Request::Pin(terms, by)).await? {
            Outcome::Pins(pins) => Ok(pins),
            _ => Ok(Vec::new()),
        }
    }

    /// Takes the pins with these numbers out, as far as they are there, and returns them. Answers once they cannot come back
    /// from the journal either.
    ///
    /// # Errors
    /// As [`Catalog::publish`].
    pub async fn unpin(&self, ids: Vec<u64>, by: By) -> Result<Vec<Pin>> {
        match self.request(Request::Unpin(ids, by)).await? {
            Outcome::Pins(pins) => Ok(pins),
            _ => Ok(Vec::new()),
        }
    }

    /// All pins, in the order in which they were made. Blocks.
    ///
    /// # Errors
    /// As [`Catalog::look_up`].
    pub fn pins(&self) -> Result<Vec<Pin>> {
        self.report(self.inner.shared.readers.with(all))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::catalog::migrations;

    pub(in crate::catalog) fn example(pattern: &str) -> PinTerms {
        PinTerms {
            pattern: pattern.into(),
            instance: Some("main".into()),
            reason: "release 1".into(),
            owner: "ada".into(),
            made: 55,
            until: Some(99),
            revisions: 1,
        }
    }

    #[test]
    fn pin_comes_back_from_its_image_and_no_cut_image_is_one() {
        let mut terms = example("artifact:sdk/*");
        for instance in [None, Some("".into()), Some("main".into())] {
            for until in [None, Some(0), Some(7)] {
                terms = PinTerms { instance: instance.clone(), until, ..terms };
                let pin = Pin { id: 7, terms: terms.clone() };
                let image = encode(&pin);
                assert_eq!(decode(&image).as_ref(), Some(&pin));
                assert!((0..image.len()).all(|length| decode(&image[..length]).is_none()));
            }
        }
    }

    #[test]
    fn row_that_was_changed_is_damage_and_hides_no_other() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrations::migrate(&mut connection).unwrap();
        let mut head = Head::default();
        for id in 1..=3 {
            insert(&connection, &mut head, &Pin { id, terms: example("a") }).unwrap();
        }
        assert_eq!(head.sum, sum(&all(&connection).unwrap()));
        assert_eq!(remove(&connection, &mut head, 1).unwrap().unwrap().id, 1);
        assert!(remove(&connection, &mut head, 1).unwrap().is_none());
        assert_eq!(head.sum, sum(&all(&connection).unwrap()));
        connection.execute_batch("UPDATE pin SET id = 4 WHERE id = 2").unwrap();
        assert!(matches!(all(&connection), Err(Error::Damaged(_))));
        let mut readable = Vec::new();
        each(&connection, |pin| {
            readable.extend(pin.ok().map(|pin| pin.id));
            Ok(())
        })
        .unwrap();
        assert_eq!(readable, [3]);
    }
}
