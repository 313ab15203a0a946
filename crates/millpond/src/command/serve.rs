//! `millpond serve`: the server, in the foreground.

use crate::config::{Flags, Settings};
use crate::exit::{self, Failure};
use crate::{logging, start};

/// What stands below the flags in `millpond serve --help`.
pub(crate) fn after_help() -> String {
    format!("{EXAMPLES}\n\n{}\n\n{}", logging::HELP, exit::help())
}

const EXAMPLES: &str = "\
Examples:
  millpond serve
  millpond serve --data /srv/millpond --max-size 500GB
  millpond serve --data /srv/millpond --listen '[::]:11001' --insecure";

/// Serves until a signal ends it.
pub(crate) fn run(flags: Flags) -> Result<(), Failure> {
    logging::start()?;
    let settings = Settings::load(flags)?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(start::no_runtime)?;
    let ended = runtime.block_on(start::serve(settings));
    // What is still at work on the volume after its time must not keep the process.
    runtime.shutdown_background();
    ended
}
