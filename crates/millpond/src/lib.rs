//! Millpond: an artifact cache server for BuildStream and REAPI clients.
//!
//! What the program `millpond` does: it reads the command line and the configuration, starts the server and ends it; what is
//! served and what is promised stands in the crates below it. A library only so that what reads a configuration can be
//! fuzzed; nothing else calls it.

mod admin_socket;
mod bind;
mod command;
mod config;
mod credentials;
mod directory;
mod exit;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod greeting;
mod logging;
mod memory;
mod names;
mod notify;
mod open_files;
mod options;
mod otlp;
mod panic_report;
mod passed;
mod reload;
mod size;
mod span;
mod start;
mod stop;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::command::CommandLine;

/// The whole program, from its arguments to its exit code.
pub fn main() -> ExitCode {
    panic_report::install();
    match CommandLine::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Whether anybody reads it changes nothing about the code.
            let _ = writeln!(std::io::stderr(), "{failure}");
            failure.exit_code()
        }
    }
}
