//! `millpond copy`: takes over names of another server that runs, whatever it is.

use millpond_proto::admin::CopyRequest;

use super::ask::AskFlags;
use super::other::OtherFlags;
use super::taken::Report;
use crate::exit::{self, Code, Failure};

/// What stands below the flags in `millpond copy --help`.
pub(super) fn after_help() -> String {
    format!(
        "Examples:\n  \
         millpond copy http://127.0.0.1:11001 sdk/base/KEY --with-dependencies --dry-run\n  \
         millpond copy grpcs://cache.example.org:11001 --from-file names --rate 20MB --token-file token\n\n{}",
        exit::help()
    )
}

/// From where, what, and how.
#[derive(Debug, clap::Args)]
pub(super) struct CopyFlags {
    #[command(flatten)]
    ask: AskFlags,
    #[command(flatten)]
    other: OtherFlags,
    /// Also names that have another value here, which goes
    #[arg(long)]
    replace: bool,
    /// Only say what would be taken over, and what is not to be had
    #[arg(long)]
    dry_run: bool,
}

/// Does it. Names that are not to be had are findings.
pub(super) fn run(flags: &CopyFlags) -> Result<(), Failure> {
    let (from, parts) = (flags.other.server()?, flags.other.names()?);
    if parts.is_empty() {
        let hint = "give them behind the URL, or in a file by --from-file";
        return Err(Failure::new(Code::Usage, "there are no names to be copied", hint));
    }
    let mut report = Report::new(flags.ask.json, flags.dry_run);
    flags.ask.ask(async |mut server| {
        for names in parts {
            let question = CopyRequest {
                from: Some(from.clone()),
                instance: flags.other.to_instance.clone(),
                names,
                with_dependencies: flags.other.with_dependencies,
                replace: flags.replace,
                dry_run: flags.dry_run,
            };
            report.hear(server.copy(question).await?.into_inner()).await?;
        }
        Ok(())
    })?;
    report.end()
}
