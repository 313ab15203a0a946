//! What an import or a copy tells: names that are left out as they come, how far it is, and what it came to.

use millpond_proto::admin::import_answer::Answer;
use millpond_proto::admin::{BrokenName, ImportAnswer, ImportTotals};
use serde_json::json;
use tonic::Streaming;

use super::progress::Progress;
use super::{counted, print, print_json, printable};
use crate::exit::{Code, Failure};
use crate::size::Size;

/// What is printed: what is left out as it comes, or all of it as JSON at the end.
pub(super) struct Report {
    json: bool,
    dry_run: bool,
    progress: Progress,
    broken: Vec<BrokenName>,
    done: ImportTotals,
}

impl Report {
    pub(super) fn new(json: bool, dry_run: bool) -> Self {
        let progress = Progress::new();
        Self { json, dry_run, progress, broken: Vec::new(), done: ImportTotals::default() }
    }

    /// Hears one import to its end; several may follow each other.
    pub(super) async fn hear(&mut self, mut answers: Streaming<ImportAnswer>) -> Result<(), Failure> {
        while let Some(answer) = answers.message().await? {
            match answer.answer {
                Some(Answer::Progress(now)) => self.progress.show(&so_far(&sum(&self.done, &now))),
                Some(Answer::Broken(name)) if self.json => self.broken.push(name),
                Some(Answer::Broken(BrokenName { name, why })) => {
                    self.progress.show("");
                    print(&format!("left out: {}: {}\n", printable(&name), printable(&why)))?;
                }
                Some(Answer::Totals(totals)) => {
                    self.done = sum(&self.done, &totals);
                    return Ok(());
                }
                None => {}
            }
        }
        Err(Failure::new(Code::Failed, "the server ended it before it was through", "its log says why"))
    }

    /// Says what it came to. Names that are left out are findings.
    pub(super) fn end(self) -> Result<(), Failure> {
        self.progress.show("");
        if self.json {
            print_json(&to_json(&self.done, &self.broken))
        } else {
            print(&text(&self.done, self.dry_run))
        }?;
        let names = match self.done.broken {
            0 => return Ok(()),
            1 => "1 name was",
            count => &format!("{count} names were"),
        };
        Err(Failure::new(
            Code::Findings,
            format!("{names} left out: broken there, not to be had, or refused here"),
            "what is told of each says why; what is broken there has to be pushed there again, or built",
        ))
    }
}

fn sum(one: &ImportTotals, other: &ImportTotals) -> ImportTotals {
    ImportTotals {
        of_names: one.of_names + other.of_names,
        names: one.names + other.names,
        present: one.present + other.present,
        kept: one.kept + other.kept,
        broken: one.broken + other.broken,
        blobs: one.blobs + other.blobs,
        bytes: one.bytes.saturating_add(other.bytes),
    }
}

fn so_far(done: &ImportTotals) -> String {
    let looked_at = done.names + done.present + done.kept + done.broken;
    format!("{looked_at} of {} names, {} taken in", done.of_names, Size(done.bytes))
}

fn text(done: &ImportTotals, dry_run: bool) -> String {
    let would = if dry_run { "would be taken over" } else { "taken over" };
    let mut text = format!(
        "{would}: {} of {}, {} of {}\n",
        done.names,
        counted(done.of_names, "name"),
        counted(done.blobs, "blob"),
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
