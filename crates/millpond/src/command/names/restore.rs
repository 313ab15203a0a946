//! `millpond names restore`.

use clap::Args;
use millpond_cache::Pattern;
use millpond_proto::admin::RestoreNamesRequest;
use serde_json::json;

use super::wanted::{self, WantedFlags};
use crate::command::ask::AskFlags;
use crate::command::print;
use crate::exit::{Code, Failure};

/// Which names.
#[derive(Debug, Args)]
pub(in crate::command) struct RestoreFlags {
    #[command(flatten)]
    ask: AskFlags,
    /// The name, or a pattern of names, * standing for anything
    #[arg(value_name = "NAME", value_parser = wanted::pattern)]
    name: Pattern,
    #[command(flatten)]
    wanted: WantedFlags,
}

/// Does it, and says which names are back. That one is not is a finding.
pub(super) fn run(flags: &RestoreFlags) -> Result<(), Failure> {
    let question = RestoreNamesRequest { wanted: Some(flags.wanted.wanted(Some(&flags.name))) };
    let (mut back, mut refused) = (0_u64, 0_u64);
    flags.ask.ask(async |mut server| {
        let mut pages = server.restore_names(question).await?.into_inner();
        while let Some(page) = pages.message().await? {
            for restored in &page.names {
                let name = restored.name.clone().unwrap_or_default();
                let is_back = restored.refused.is_empty();
                *if is_back { &mut back } else { &mut refused } += 1;
                print(&if flags.ask.json {
                    let refused = (!is_back).then_some(&restored.refused);
                    format!("{}\n", wanted::to_json_with(&name, json!({ "refused": refused })))
                } else if is_back {
                    format!("{} is back\n", wanted::titled(&name))
                } else {
                    format!("{} is not: {}\n", wanted::titled(&name), restored.refused)
                })?;
            }
        }
        Ok(())
    })?;
    if back + refused == 0 {
        return Err(Failure::new(
            Code::Findings,
            format!("nothing was removed that is like {} and may come back", flags.name),
            "`millpond names list --removed` says what may",
        ));
    }
    if refused > 0 {
        let sentence = format!("{refused} of {} names did not come back", back + refused);
        return Err(Failure::new(
            Code::Findings,
            sentence,
            "what is printed of each says why; what is not there can be pushed or built again",
        ));
    }
    Ok(())
}
