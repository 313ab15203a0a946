//! `millpond serve`: the server, in the foreground.

use crate::config::{Flags, Settings};
use crate::exit::Failure;
use crate::{logging, start};

/// What stands below the flags in `millpond serve --help`.
pub(crate) const AFTER_HELP: &str = "\
Examples:
  millpond serve
  millpond serve --data /srv/millpond --max-size 500GB
  millpond serve --data /srv/millpond --listen [::]:11001 --insecure

Exit codes:
   0  ended as asked
   1  failed, or was ended by a second signal before it was through
   2  the command line or the configuration asks for what is not to be had
  11  another process has the volume open
  12  the volume was written by a newer version
  13  the data directory cannot be made or written
  14  an address is in use";

/// Serves until a signal ends it.
pub(crate) fn run(flags: Flags) -> Result<(), Failure> {
    logging::start()?;
    let settings = Settings::load(flags)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(start::no_runtime)?;
    let ended = runtime.block_on(start::serve(settings));
    // What is still at work on the volume after its time must not keep the process.
    runtime.shutdown_background();
    ended
}
