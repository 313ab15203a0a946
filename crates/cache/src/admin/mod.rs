//! What is done with the right to administer: one file for each kind of question.

mod artifact;
pub(crate) mod directory;
pub(crate) mod from_backup;
pub(crate) mod horizon;
pub(crate) mod names;
pub(crate) mod pins;
pub(crate) mod remove;
pub(crate) mod usage;

use crate::{Admin, Cache, Figures, Permit};

impl Cache {
    /// How things stand. Asks the file system for sizes.
    pub fn status(&self, _permit: &Permit<Admin>) -> Figures {
        self.figures()
    }
}
