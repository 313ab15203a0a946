//! `millpond names list`.

use clap::{Args, ValueEnum};
use millpond_cache::Pattern;
use millpond_proto::admin::{ListNamesRequest, NamesWanted, list_names_request};

use super::wanted::{self, WantedFlags};
use crate::command::ask::AskFlags;
use crate::command::print_to_reader;
use crate::exit::Failure;

/// Which names, and in which order.
#[derive(Debug, Args)]
pub(in crate::command) struct ListFlags {
    #[command(flatten)]
    ask: AskFlags,
    /// Only names like this, as in 'artifact:sdk/*', * standing for anything
    #[arg(value_name = "PATTERN", value_parser = wanted::pattern)]
    pattern: Option<Pattern>,
    #[command(flatten)]
    wanted: WantedFlags,
    /// Those that were removed and may come back, instead of those that are there
    #[arg(long)]
    removed: bool,
    /// The largest, or what was used or pushed last, first; size counts all that a name reaches
    #[arg(long, value_name = "ORDER")]
    sort: Option<Order>,
    /// At most so many [default: all, or 100 where they are sorted]
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Order {
    Size,
    Used,
    Pushed,
}

/// Does it: a name a line.
pub(super) fn run(flags: &ListFlags) -> Result<(), Failure> {
    let order = match flags.sort {
        None => list_names_request::Order::Catalog,
        Some(Order::Size) => list_names_request::Order::Size,
        Some(Order::Used) => list_names_request::Order::Used,
        Some(Order::Pushed) => list_names_request::Order::Pushed,
    };
    let question = ListNamesRequest {
        wanted: Some(NamesWanted { removed: flags.removed, ..flags.wanted.wanted(flags.pattern.as_ref()) }),
        order: order.into(),
        limit: flags.limit.unwrap_or_default(),
    };
    flags.ask.ask(async |mut server| {
        let mut pages = server.list_names(question).await?.into_inner();
        while let Some(page) = pages.message().await? {
            for name in &page.names {
                let as_json = flags.ask.json.then(|| format!("{}\n", wanted::to_json(name)));
                let line = as_json.unwrap_or_else(|| wanted::line(name));
                if !print_to_reader(line.as_bytes())? {
                    return Ok(());
                }
            }
        }
        Ok(())
    })
}
