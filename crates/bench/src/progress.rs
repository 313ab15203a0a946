//! How far a run is, in one line on a terminal's standard error that is written over and over.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

/// How often the line is written.
const PAUSE: Duration = Duration::from_millis(250);

/// The line. Nothing is written where nobody watches.
pub(crate) struct Progress {
    shown: bool,
    title: String,
}

impl Progress {
    /// Shown if there is a terminal.
    pub(crate) fn new() -> Self {
        Self { shown: stderr().is_terminal(), title: String::new() }
    }

    /// Begins something else.
    pub(crate) fn begin(&mut self, title: String) {
        self.title = title;
        self.write(&self.title);
    }

    /// Shows how much of it is done.
    pub(crate) fn show(&self, done: usize, of: usize) {
        self.write(&format!("{}: {} of {of}", self.title, done.min(of)));
    }

    /// Wipes the line.
    pub(crate) fn end(&self) {
        self.write("");
    }

    /// Until it is worth showing again.
    pub(crate) async fn pause() {
        tokio::time::sleep(PAUSE).await;
    }

    fn write(&self, line: &str) {
        if self.shown {
            // That it cannot be shown is no reason to end.
            let _ = write!(stderr(), "\r\x1b[K{line}");
        }
    }
}
