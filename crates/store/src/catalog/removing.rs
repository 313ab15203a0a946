//! Values that were removed by somebody: set aside for a time, from where they can come back, or for good.
//!
//! What is set aside is not served and is no use of anything. It is let go as it would have been.

use super::change::{Outcome, Request};
use super::{By, Catalog, Name, NewValue, Promoted};
use crate::Result;

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
