//! Millpond: an artifact cache server for BuildStream and REAPI clients.
//!
//! The binary reads the command line and the configuration, starts the server and ends it; what is served and what is
//! promised stands in the crates below it.

mod admin_socket;
mod bind;
mod command;
mod config;
mod credentials;
mod directory;
mod exit;
mod greeting;
mod logging;
mod memory;
mod names;
mod open_files;
mod panic_report;
mod size;
mod span;
mod start;
mod stop;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::command::CommandLine;

/// Serves many small messages on many threads: the system's allocator would wait for itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
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
