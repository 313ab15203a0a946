//! `millpond import`: takes over what another server has in its directory.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use millpond_proto::admin::ImportRequest;
use millpond_proto::admin::import_request::Kind;

use super::ask::AskFlags;
use super::taken::Report;
use crate::exit::{Code, Failure};

/// Whose directory.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Take over the directory of a bst-artifact-server of BuildStream 1: its objects and refs
    Bst1(ImportFlags),
    /// Take over the directory of a buildbox-casd: its objects, assets and action results
    Casd(ImportFlags),
}

/// Which directory, and how.
#[derive(Debug, Args)]
pub(super) struct ImportFlags {
    #[command(flatten)]
    ask: AskFlags,
    /// The directory that the other server had, on the machine of this one; it is only read
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Into this instance; '' is the one without a name
    #[arg(long, value_name = "INSTANCE", default_value = "", hide_default_value = true)]
    instance: String,
    /// Only say what would be taken over, and what is broken
    #[arg(long)]
    dry_run: bool,
}

/// Does it. Names that are broken there are findings.
pub(super) fn run(command: &Command) -> Result<(), Failure> {
    let (kind, flags) = match command {
        Command::Bst1(flags) => (Kind::Bst1, flags),
        Command::Casd(flags) => (Kind::Casd, flags),
    };
    let directory = std::path::absolute(&flags.directory);
    let directory = directory.ok().and_then(|directory| directory.into_os_string().into_string().ok());
    let Some(directory) = directory else {
        let sentence = format!("{} is no path in UTF-8", flags.directory.display());
        return Err(Failure::new(Code::Usage, sentence, "give it another name"));
    };
    let question = ImportRequest {
        kind: kind.into(),
        directory,
        instance: flags.instance.clone(),
        dry_run: flags.dry_run,
    };
    let mut report = Report::new(flags.ask.json, flags.dry_run);
    flags.ask.ask(async |mut server| report.hear(server.import(question).await?.into_inner()).await)?;
    report.end()
}
