//! The program `millpond`.

use std::process::ExitCode;

/// Serves many small messages on many threads: the system's allocator would wait for itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    millpond::main()
}
