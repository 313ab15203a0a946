//! Values that were removed by somebody: set aside for a time, from where they can come back, or for good.
//!
//! What is set aside is not served and is no use of anything. It is let go as it would have been.

use super::change::{Outcome, Request};
use super::{By, Catalog, Name, NewValue, Promoted, Value, image, names};
use crate::{Error, Result};

impl Catalog {
    /// Removes these values, as far as they are there, and returns the numbers of those that were: such as are in force are set
    /// aside until `until`, in seconds since the Unix epoch, if that is given; all others go for good. Without `by` it is the
    /// server that wants it. Answers once none can come back from the journal either.
    ///
    /// # Errors
    /// As [`Catalog::publish`].
    pub async fn remove_all(
        &self,
        values: Vec<(Name, u64)>,
        until: Option<u64>,
        by: Option<By>,
    ) -> Result<Vec<u64>> {
        match self.request(Request::TakeOut { values, until, by }).await? {
            Outcome::TakenOut(numbers) => Ok(numbers),
            _ => Ok(Vec::new()),
        }
    }

    /// All values of a name that were set aside.
    ///
    /// # Errors
    /// As [`Catalog::look_up`].
    pub async fn removed_values(&self, name: &Name) -> Result<Vec<Value>> {
        let (catalog, name) = (self.clone(), name.clone());
        let read = move || {
            catalog.report(catalog.inner.shared.readers.with(|connection| {
                let (mut found, key) = (Vec::new(), name.key());
                let params = (&key[..], image::FIRST_REMOVED);
                names::read(connection, "WHERE key = ?1 AND pending >= ?2", params, |value| {
                    found.push(value);
                    Ok(())
                })?;
                Ok(found)
            }))
        };
        tokio::task::spawn_blocking(read)
            .await
            .unwrap_or_else(|_| Err(Error::Busy("a look into the catalog was broken off".into())))
    }

    /// Puts what has become of the value with this number, which was set aside, in force again, if no other one is by now.
    ///
    /// # Errors
    /// As [`Catalog::publish`].
    pub async fn restore(&self, removed: u64, value: NewValue, by: By) -> Result<Promoted> {
        value.check_size()?;
        let restore = Request::Restore { removed, value: Box::new(value), by };
        Ok(match self.request(restore).await? {
            Outcome::Published(mut values) => values.pop().map_or(Promoted::Gone, Promoted::Whole),
            Outcome::Occupied => Promoted::Occupied,
            _ => Promoted::Gone,
        })
    }
}
