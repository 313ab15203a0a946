//! `millpond backup`: copies the whole volume to another directory, of a server that runs or of a data directory that nobody
//! serves.

use std::path::{Path, PathBuf};

use millpond_proto::admin::back_up_answer::Answer;
use millpond_proto::admin::{BackUpRequest, BackUpTotals};

use super::ask::ServerFlags;
use super::copying::{self, Direction, Report};
use crate::exit::{Code, Failure};

/// What to back up, and where to.
#[derive(Debug, clap::Args)]
pub(super) struct BackupFlags {
    /// Where the backup lies, on the machine of the server, which writes it: an earlier backup of the same volume, of which
    /// what is there already is not copied again, an empty directory, or nothing yet
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    server: ServerFlags,
    /// Also copy the directory of keys, private ones included, to DIR/keys
    #[arg(long)]
    with_keys: bool,
    /// Only say what would be copied
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Backs up, and says what that came to. What cannot be copied is a finding.
pub(super) fn run(flags: &BackupFlags) -> Result<(), Failure> {
    let directory = absolute(&flags.directory)?;
    let settings = flags.server.settings()?;
    let mut report = Report::new(Direction::Backup, flags.json, flags.dry_run);
    let totals = match flags.server.connect() {
        Ok(_) => ask(flags, &directory, &mut report)?,
        Err(failure) if failure.is(Code::NotRunning) => {
            copying::unserved(&settings, &settings.data.value, (&directory, flags.dry_run), &mut report)?
        }
        Err(failure) => return Err(failure),
    };
    let keys = copying::keys(&settings, &directory, flags.with_keys && !flags.dry_run)?;
    report.end(&totals, &directory, Some(&keys))
}

/// Lets a server that runs write it.
fn ask(flags: &BackupFlags, directory: &Path, report: &mut Report) -> Result<BackUpTotals, Failure> {
    let question = BackUpRequest { directory: path_text(directory)?, dry_run: flags.dry_run };
    flags.server.ask(async |mut server| {
        let mut answers = server.back_up(question).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            match answer.answer {
                Some(Answer::Totals(totals)) => return Ok(totals),
                Some(answer) => report.hear(answer)?,
                None => {}
            }
        }
        Err(Failure::new(
            Code::Failed,
            "the server ended the backup before it was through",
            "its log says why; back up again, which goes on from there",
        ))
    })
}

/// The server may have been started elsewhere.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        Failure::new(Code::Usage, format!("{} is no path: {error}", path.display()), "give an absolute path")
    })
}

pub(super) fn path_text(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let sentence = format!("{} is not in UTF-8", path.display());
        Failure::new(Code::Usage, sentence, "give a path that is")
    })
}
