//! `millpond names remove`.

use clap::Args;
use millpond_cache::Pattern;
use millpond_proto::admin::RemoveNamesRequest;
use millpond_proto::admin::remove_names_request::Removal;

use super::show::none_such;
use super::wanted::{self, WantedFlags};
use crate::command::ask::AskFlags;
use crate::command::{counted, print};
use crate::exit::Failure;
use crate::span::Span;

/// Which names, and how.
#[derive(Debug, Args)]
pub(in crate::command) struct RemoveFlags {
    #[command(flatten)]
    ask: AskFlags,
    /// The name, or a pattern of names, * standing for anything
    #[arg(value_name = "NAME", value_parser = wanted::pattern)]
    name: Pattern,
    #[command(flatten)]
    wanted: WantedFlags,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// For good, and what was removed before for a time with it
    #[arg(long)]
    for_good: bool,
    /// For how long `names restore` can bring back what is removed now
    #[arg(long, value_name = "SPAN", default_value = "7d", conflicts_with = "for_good")]
    keep: Span,
}

/// Does it, and says which names were removed. That there are none is a finding.
pub(super) fn run(flags: &RemoveFlags) -> Result<(), Failure> {
    let removal = match (flags.dry_run, flags.for_good) {
        (true, _) => Removal::DryRun(true),
        (false, true) => Removal::ForGood(true),
        (false, false) => Removal::SetAsideSeconds(flags.keep.seconds.into()),
    };
    let wanted = flags.wanted.wanted(Some(&flags.name));
    let question = RemoveNamesRequest { wanted: Some(wanted), removal: Some(removal) };
    let mut count = 0_u64;
    flags.ask.ask(async |mut server| {
        let mut pages = server.remove_names(question).await?.into_inner();
        while let Some(page) = pages.message().await? {
            for name in &page.names {
                count += 1;
                let line = || wanted::line(name);
                print(&if flags.ask.json { format!("{}\n", wanted::to_json(name)) } else { line() })?;
            }
        }
        Ok(())
    })?;
    if count == 0 {
        return Err(none_such(&flags.name));
    }
    if flags.ask.json {
        return Ok(());
    }
    let names = counted(count, "name");
    print(&match (flags.dry_run, flags.for_good) {
        (true, _) => format!("would be removed: {names}\n"),
        (false, true) => format!("removed for good: {names}\n"),
        (false, false) => {
            format!("removed: {names}; `millpond names restore` brings back within {}\n", flags.keep)
        }
    })
}
