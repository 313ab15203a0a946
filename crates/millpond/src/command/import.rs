//! `millpond import`: takes over what another server has in its directory.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use millpond_proto::admin::import_answer::Answer;
use millpond_proto::admin::import_request::Kind;
use millpond_proto::admin::{BrokenName, ImportRequest, ImportTotals};
use serde_json::json;

use super::ask::AskFlags;
use super::progress::Progress;
use super::{print, print_json};
use crate::exit::{Code, Failure};
use crate::size::Size;

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
    let mut broken = Vec::new();
    let totals = flags.ask.ask(async |mut server| {
        let progress = Progress::new();
        let mut answers = server.import(question).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            match answer.answer {
                Some(Answer::Progress(done)) => progress.show(&so_far(&done)),
                Some(Answer::Broken(name)) if flags.ask.json => broken.push(name),
                Some(Answer::Broken(BrokenName { name, why })) => {
                    progress.show("");
                    print(&format!("left out: {}: {}\n", name.escape_debug(), why.escape_debug()))?;
                }
                Some(Answer::Totals(totals)) => return Ok(totals),
                None => {}
            }
        }
        Err(Failure::new(
            Code::Failed,
            "the server ended the import before it was through",
            "its log says why",
        ))
    })?;
    if flags.ask.json {
        print_json(&to_json(&totals, &broken))
    } else {
        print(&text(&totals, flags.dry_run))
    }?;
    if totals.broken == 0 {
        return Ok(());
    }
    let names = if totals.broken == 1 { "1 name is".into() } else { format!("{} names are", totals.broken) };
    Err(Failure::new(
        Code::Findings,
        format!("{names} broken there"),
        "push them again, or let them be built",
    ))
}

fn so_far(done: &ImportTotals) -> String {
    let looked_at = done.names + done.present + done.kept + done.broken;
    format!("{looked_at} of {} names, {} taken in", done.of_names, Size(done.bytes))
}

fn text(done: &ImportTotals, dry_run: bool) -> String {
    let would = if dry_run { "would be taken over" } else { "taken over" };
    let mut text = format!(
        "{would}: {} of {} names, {} blobs of {}\n",
        done.names,
        done.of_names,
        done.blobs,
        Size(done.bytes)
    );
    if done.present > 0 {
        text += &format!("here already: {}\n", done.present);
    }
    if done.kept > 0 {
        text += &format!("keep the other value that they have here: {}\n", done.kept);
    }
    if done.broken > 0 {
        text += &format!("left out: {}\n", done.broken);
    }
    text
}

fn to_json(done: &ImportTotals, broken: &[BrokenName]) -> serde_json::Value {
    json!({
        "of_names": done.of_names,
        "names": done.names,
        "present": done.present,
        "kept": done.kept,
        "broken": broken.iter().map(|name| json!({ "name": name.name, "why": name.why })).collect::<Vec<_>>(),
        "blobs": done.blobs,
        "bytes": done.bytes,
    })
}
