//! How far a long command is, written over and over into one line of a terminal.

use std::io::{IsTerminal, Write, stderr};

/// The line; it is empty again in the end.
#[derive(Debug)]
pub(super) struct Progress {
    is_watched: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_watched: stderr().is_terminal() }
    }

    /// Writes over the last line of this kind, on a terminal.
    pub(super) fn show(&self, line: &str) {
        if self.is_watched {
            // That it cannot be shown is no reason to end.
            let _ = write!(stderr(), "\r\x1b[K{line}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.show("");
    }
}
