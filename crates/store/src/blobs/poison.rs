//! Whether the store still takes anything in. After a write or a sync failed, other than for lack of space, nobody
//! knows what the disk holds of what was written since the last sync: nothing more is promised until a restart has
//! read it back. So does a panic on the way of a write.
//!
//! **Invariant:** once set it stays set, with the first cause.

use std::io;
use std::sync::OnceLock;

use rustix::io::Errno;

use crate::{Error, Result};

/// Set by the first fault.
#[derive(Debug, Default)]
pub(super) struct Poison(OnceLock<String>);

impl Poison {
    /// [`Error::Poisoned`] if it is set.
    pub(super) fn check(&self) -> Result<()> {
        self.0.get().map_or(Ok(()), |cause| Err(Error::Poisoned(cause.clone())))
    }

    /// The first cause, if it is set.
    pub(super) fn cause(&self) -> Option<String> {
        self.0.get().cloned()
    }

    /// Sets it. False if it was set before.
    pub(super) fn set(&self, cause: &str) -> bool {
        self.0.set(cause.to_owned()).is_ok()
    }

    /// The error that says it, or `otherwise` if it is not set.
    pub(super) fn error(&self, otherwise: &str) -> Error {
        Error::Poisoned(self.cause().unwrap_or_else(|| otherwise.to_owned()))
    }
}

/// Poisons the store if the work it stands over panics: nobody knows then what of it was written and what was noted.
#[derive(Debug)]
pub(super) struct PoisonOnPanic<'a> {
    poison: &'a Poison,
    work: &'static str,
}

impl<'a> PoisonOnPanic<'a> {
    /// To be held for as long as the work goes on, which is named for the log.
    pub(super) fn during(poison: &'a Poison, work: &'static str) -> Self {
        Self { poison, work }
    }
}

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.poison.set(&format!("this program failed while {}", self.work));
        }
    }
}

/// Whether the process or the system ran out of something for a moment: that says nothing about the disk.
pub(super) fn is_passing(error: &io::Error) -> bool {
    let passing = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR, Errno::AGAIN];
    Errno::from_io_error(error).is_some_and(|errno| passing.contains(&errno))
}
