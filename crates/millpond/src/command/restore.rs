//! `millpond restore`: makes a data directory of a backup, or brings some of its names back into a server that runs.

use std::path::{Path, PathBuf};

use millpond_cache::Pattern;
use millpond_proto::admin::brought::Outcome;
use millpond_proto::admin::{BringFromBackupRequest, Brought, NamesWanted};
use serde_json::json;

use super::ask::ServerFlags;
use super::backup::{absolute, path_text};
use super::copying::{self, Direction, Report};
use super::names::wanted;
use super::{counted, print};
use crate::config::{Flags, Settings};
use crate::exit::{Code, Failure};
use crate::size::Size;

/// What to restore, and where to.
#[derive(Debug, clap::Args)]
pub(super) struct RestoreFlags {
    /// The backup; with --names a path on the machine of the server, which reads it
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Bring names like this back into the server that runs, * standing for anything, with the blobs that it lacks. Without
    /// this all is restored, into --data: an empty directory, nothing yet, or what an earlier restoration has not come to the
    /// end of
    #[arg(long, value_name = "PATTERN", value_parser = wanted::pattern)]
    names: Option<Pattern>,
    /// Also names that point to something else there
    #[arg(long, requires = "names")]
    replace: bool,
    #[command(flatten)]
    server: ServerFlags,
    /// Only say what would be restored
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Restores, and says what that came to.
pub(super) fn run(flags: &RestoreFlags) -> Result<(), Failure> {
    let from = absolute(&flags.directory)?;
    match &flags.names {
        Some(names) => bring(flags, &from, names),
        None => whole(flags, &from),
    }
}

fn whole(flags: &RestoreFlags, from: &Path) -> Result<(), Failure> {
    let Some(to) = flags.server.data() else {
        let sentence = "where to is not said";
        return Err(Failure::new(Code::Usage, sentence, "give the new data directory as --data, or --names"));
    };
    let to = absolute(to)?;
    let settings = Settings::load(Flags { data: Some(from.to_owned()), ..Flags::default() })?;
    let mut report = Report::new(Direction::Restoration, flags.json, flags.dry_run);
    let totals = copying::unserved(&settings, from, (&to, flags.dry_run), &mut report)?;
    report.end(&totals, &to, None)
}

/// Has the server bring names back. That one is not is a finding, and that there is none.
fn bring(flags: &RestoreFlags, from: &Path, names: &Pattern) -> Result<(), Failure> {
    let question = BringFromBackupRequest {
        directory: path_text(from)?,
        wanted: Some(NamesWanted { pattern: Some(names.to_string()), ..NamesWanted::default() }),
        replace: flags.replace,
        dry_run: flags.dry_run,
    };
    let mut counts = Counts::default();
    flags.server.ask(async |mut server| {
        let mut pages = server.bring_from_backup(question).await?.into_inner();
        while let Some(page) = pages.message().await? {
            for brought in &page.names {
                counts.add(brought);
                print(&if flags.json { as_json(brought) } else { as_text(brought, flags.dry_run) })?;
            }
        }
        Ok(())
    })?;
    let Counts { back, same, other, refused, bytes } = counts;
    if back + same + other + refused == 0 {
        let sentence = format!("the backup has no name like {names}");
        return Err(Failure::new(Code::Findings, sentence, "names are as `millpond names list` prints them"));
    }
    if !flags.json {
        let is = match (back, flags.dry_run) {
            (_, true) => "would be",
            (1, false) => "is",
            (_, false) => "are",
        };
        let names = format!("{} {is}", counted(back, "name"));
        let bytes = Size(bytes);
        print(&format!(
            "{names} back with {bytes} that were not there, {same} were there, {other} left alone, {refused} refused\n"
        ))?;
    }
    if refused > 0 {
        let sentence = format!("{} did not come back", counted(refused, "name"));
        return Err(Failure::new(Code::Findings, sentence, "what is printed of each says why"));
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Counts {
    back: u64,
    same: u64,
    other: u64,
    refused: u64,
    bytes: u64,
}

impl Counts {
    fn add(&mut self, brought: &Brought) {
        self.bytes += brought.bytes;
        *match brought.outcome() {
            Outcome::Back => &mut self.back,
            Outcome::Same => &mut self.same,
            Outcome::Other => &mut self.other,
            Outcome::Refused => &mut self.refused,
        } += 1;
    }
}

fn as_json(brought: &Brought) -> String {
    let outcome = match brought.outcome() {
        Outcome::Back => "back",
        Outcome::Same => "same",
        Outcome::Other => "left_alone",
        Outcome::Refused => "refused",
    };
    let name = brought.name.clone().unwrap_or_default();
    let refused = Some(&brought.refused).filter(|why| !why.is_empty());
    let more = json!({
        "outcome": outcome,
        "copied_blobs": brought.blobs,
        "copied_bytes": brought.bytes,
        "refused": refused,
    });
    format!("{}\n", wanted::to_json_with(&name, more))
}

fn as_text(brought: &Brought, dry_run: bool) -> String {
    let name = wanted::titled(&brought.name.clone().unwrap_or_default());
    match brought.outcome() {
        Outcome::Back if dry_run => {
            format!("{name} would be back, {} blobs of it are not there\n", brought.blobs)
        }
        Outcome::Back => format!("{name} is back, {} blobs of it were not there\n", brought.blobs),
        Outcome::Same => String::new(),
        Outcome::Other => format!("{name} is left alone: it points to something else there\n"),
        Outcome::Refused => format!("{name} is not back: {}\n", brought.refused),
    }
}
