//! `millpond fsck`: reads everything and says what is bad, of a server that runs or of a data directory that nobody serves.

use std::sync::mpsc::channel;

use millpond_cache::{Cache, CacheOptions};
use millpond_proto::admin::check_answer::Answer;
use millpond_proto::admin::{AffectedName, BadRecord, CheckProgress, CheckRequest, CheckTotals};
use millpond_server::{check_findings, check_totals};
use serde_json::{Value, json};

use super::ask::ServerFlags;
use super::progress::Progress;
use super::{counted, print, print_json};
use crate::config::{Instance, Settings};
use crate::exit::{Code, Failure};
use crate::size::Size;
use crate::start;

/// What to check, and how.
#[derive(Debug, clap::Args)]
pub(super) struct FsckFlags {
    #[command(flatten)]
    server: ServerFlags,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Where no server runs: also do what its start would do, and remember what is bad, so that it is asked for anew
    #[arg(long)]
    repair: bool,
}

/// Checks, and prints what was found. Whatever is wrong is a finding.
pub(super) fn run(flags: FsckFlags) -> Result<(), Failure> {
    let mut report = Report::new(flags.json);
    let totals = match flags.server.connect() {
        Ok(_) if flags.repair => {
            let sentence = "a server runs there, which repairs what it can by itself";
            return Err(Failure::new(Code::Usage, sentence, "leave --repair out, or stop the server first"));
        }
        Ok(_) => ask(&flags.server, &mut report)?,
        Err(failure) if failure.is(Code::NotRunning) => {
            offline(&flags.server.settings()?, flags.repair, &mut report)?
        }
        Err(failure) => return Err(failure),
    };
    report.end(&totals)?;
    if totals.bad + totals.affected + totals.damaged == 0 {
        return Ok(());
    }
    Err(Failure::new(
        Code::Findings,
        found(&totals),
        "push the names again, or let them be built: what is bad is asked for anew once a server has come across it, as it \
         has by a check while it runs or by --repair",
    ))
}

/// Lets a server that runs check itself.
fn ask(flags: &ServerFlags, report: &mut Report) -> Result<CheckTotals, Failure> {
    flags.ask(async |mut server| {
        let mut answers = server.check(CheckRequest {}).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            match answer.answer {
                Some(Answer::Totals(totals)) => return Ok(totals),
                Some(answer) => report.hear(answer)?,
                None => {}
            }
        }
        Err(Failure::new(
            Code::Failed,
            "the server ended the check before it was through",
            "its log says why",
        ))
    })
}

/// Opens the data directory here.
fn offline(settings: &Settings, repair: bool, report: &mut Report) -> Result<CheckTotals, Failure> {
    let data = &settings.data.value;
    if !data.is_dir() {
        let sentence = format!("there is no data directory {}", data.display());
        return Err(Failure::new(Code::NoVolume, sentence, "give that of the server as --data"));
    }
    if !Cache::is_volume(data) {
        let sentence = format!("{} is no data directory: nothing of a volume is in it", data.display());
        let remedy =
            "give that of the server as --data; if this is it, look whether its file system is mounted";
        return Err(Failure::new(Code::NoVolume, sentence, remedy));
    }
    let options = CacheOptions {
        keep_free: settings.keep_free.as_ref().map(|size| size.value.0),
        ..CacheOptions::to_check(
            settings.data.value.clone(),
            settings.max_size.as_ref().map(|limit| limit.value.max_size()),
            settings.instances.iter().map(Instance::options).collect(),
        )
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(start::no_runtime)?;
    let (sender, answers) = channel();
    let check = runtime.spawn(Cache::check_volume(
        options,
        repair,
        check_findings(move |answer| sender.send(answer).is_ok()),
    ));
    for answer in answers {
        report.hear(answer)?;
    }
    let checked =
        runtime.block_on(check).map_err(|error| Failure::new(Code::Failed, error.to_string(), ""))?;
    checked.map(|checked| check_totals(&checked)).map_err(|error| start::not_opened(settings, &error))
}

/// What is printed: findings as they come, or all of them as JSON at the end.
#[derive(Debug)]
struct Report {
    json: bool,
    progress: Progress,
    bad: Vec<Value>,
    affected: Vec<Value>,
    damaged: Vec<Value>,
}

impl Report {
    fn new(json: bool) -> Self {
        let progress = Progress::new();
        Self { json, progress, bad: Vec::new(), affected: Vec::new(), damaged: Vec::new() }
    }

    fn hear(&mut self, answer: Answer) -> Result<(), Failure> {
        let line = match answer {
            Answer::Progress(CheckProgress { bytes, of_bytes, names }) => {
                let line = match names {
                    0 => format!("{} of {} read", Size(bytes), Size(of_bytes)),
                    names => format!("all blobs read, {names} names looked at"),
                };
                self.progress.show(&line);
                return Ok(());
            }
            Answer::Totals(_) => return Ok(()),
            Answer::Damaged(sentence) => {
                let line = format!("damaged: {sentence}");
                self.damaged.push(sentence.into());
                line
            }
            Answer::Bad(BadRecord { digest, pack, offset, what }) => {
                let blob = if digest.is_empty() { "a blob" } else { &digest };
                let line = format!("bad: {blob}: {what}");
                self.bad
                    .push(json!({ "digest": said(&digest), "pack": pack, "offset": offset, "what": what }));
                line
            }
            Answer::Affected(AffectedName { instance, name, missing }) => {
                let lacks = if missing.is_empty() { "cannot be made out" } else { "lacks" };
                // Clients choose names: what would move the cursor is written out.
                let (shown, within) = (name.escape_debug(), instance.escape_debug());
                let within =
                    if instance.is_empty() { String::new() } else { format!(" of instance {within}") };
                let line = format!("not whole: {shown}{within} {lacks} {missing}").trim_end().to_owned();
                self.affected.push(json!({ "instance": instance, "name": name, "missing": said(&missing) }));
                line
            }
        };
        if self.json {
            return Ok(());
        }
        self.progress.show("");
        // They are printed already.
        [&mut self.bad, &mut self.affected, &mut self.damaged].into_iter().for_each(Vec::clear);
        print(&format!("{line}\n"))
    }

    fn end(self, totals: &CheckTotals) -> Result<(), Failure> {
        self.progress.show("");
        let CheckTotals { blobs, bytes, names, .. } = *totals;
        if self.json {
            return print_json(&json!({
                "blobs": blobs,
                "bytes": bytes,
                "names": names,
                "bad": self.bad,
                "not_whole": self.affected,
                "damaged": self.damaged,
            }));
        }
        let size = Size(bytes);
        let (blobs, names) = (counted(blobs, "blob"), counted(names, "name"));
        print(&format!("{blobs} of {size} read, {names} looked at: {}\n", found(totals)))
    }
}

fn found(totals: &CheckTotals) -> String {
    let [bad, names] =
        [(totals.bad, "bad record"), (totals.affected, "name")].map(|(count, of)| counted(count, of));
    format!("{bad}, {names} not whole, {}", counted(totals.damaged, "other damage"))
}

fn said(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
