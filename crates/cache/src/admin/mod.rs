//! What is done with the right to administer: one file for each kind of question.

pub(crate) mod directory;
pub(crate) mod horizon;
pub(crate) mod names;
pub(crate) mod pins;
pub(crate) mod remove;

use crate::{Admin, Cache, Figures, Permit};

impl Cache {
    /// How things stand. Asks the file system for sizes.
    pub fn status(&self, _permit: &Permit<Admin>) -> Figures {
        self.figures()
    }
}
