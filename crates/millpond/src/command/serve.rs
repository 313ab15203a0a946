//! `millpond serve`: the server, in the foreground.

use super::setup::{self, SetUpFlags};
use crate::config::{Flags, Settings};
use crate::exit::{self, Failure};
use crate::passed::Passed;
use crate::{logging, notify, start};

/// The flags of `serve`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct ServeFlags {
    #[command(flatten)]
    pub(super) settings: Flags,

    /// Do what `millpond setup` does where it is not done yet, before anything else: for a container on empty volumes
    #[arg(long)]
    setup: bool,

    #[command(flatten)]
    set_up: SetUpFlags,
}

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
pub(crate) fn run(flags: ServeFlags) -> Result<(), Failure> {
    serve(flags).inspect_err(|failure| notify::failed(failure.sentence()))
}

fn serve(flags: ServeFlags) -> Result<(), Failure> {
    let log = logging::start()?;
    let flags =
        if flags.setup { setup::before_serving(&flags.set_up, flags.settings)? } else { flags.settings };
    let settings = Settings::load(flags.clone())?;
    logging::follow(&log, &settings)?;
    let passed = Passed::take(&settings)?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(start::no_runtime)?;
    let ended = runtime.block_on(start::serve(flags, settings, passed, log));
    // What is still at work on the volume after its time must not keep the process.
    runtime.shutdown_background();
    ended
}
