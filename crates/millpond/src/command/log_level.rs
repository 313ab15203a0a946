//! `millpond log-level`: what a server that runs logs, seen and changed. A restart takes it back to what `MILLPOND_LOG` says.

use millpond_proto::admin::SetLogFilterRequest;
use serde_json::json;

use super::ask::AskFlags;
use super::{print, print_json};
use crate::exit::Failure;

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct LogLevelFlags {
    /// What is logged from now on: error, warn, info, debug, or a list such as info,millpond_store=debug; without it
    /// nothing is changed
    #[arg(value_name = "FILTER")]
    filter: Option<String>,

    #[command(flatten)]
    ask: AskFlags,
}

/// Sets it, and prints what it is and was.
pub(super) fn run(flags: LogLevelFlags) -> Result<(), Failure> {
    let filter = flags.filter.unwrap_or_default();
    let request = SetLogFilterRequest { filter: filter.clone() };
    let set = flags.ask.ask(async |mut server| Ok(server.set_log_filter(request).await?.into_inner()))?;
    if flags.ask.json {
        print_json(&json!({ "filter": set.filter, "before": set.before }))
    } else if filter.is_empty() {
        print(&format!("{}\n", set.filter))
    } else {
        print(&format!("{}, before: {}\n", set.filter, set.before))
    }
}
