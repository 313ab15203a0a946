//! What `millpond backup` and `millpond restore` have in common: copying a volume that nobody serves, and saying what copying
//! came to.

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use millpond_cache::BackupWanted;
use millpond_cache::{Cache, CacheOptions};
use millpond_identity::copy_keys;
use millpond_proto::admin::back_up_answer::Answer;
use millpond_proto::admin::{BackUpProgress, BackUpTotals, BadRecord};
use millpond_server::{backup_steps, backup_totals};
use serde_json::{Value, json};

use super::grant::failure;
use super::progress::Progress;
use super::{counted, print, print_json};
use crate::config::{Instance, Settings};
use crate::exit::{Code, Failure};
use crate::size::Size;
use crate::start;

/// Which way is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From a data directory to a backup.
    Backup,
    /// From a backup to a data directory.
    Restoration,
}

/// Opens the directory to be copied here, and copies it.
pub(super) fn unserved(
    settings: &Settings,
    from: &Path,
    (to, dry_run): (&Path, bool),
    report: &mut Report,
) -> Result<BackUpTotals, Failure> {
    if !from.is_dir() {
        let sentence = format!("there is no directory {}", from.display());
        return Err(Failure::new(Code::NoVolume, sentence, report.direction.which_to_give()));
    }
    if !Cache::is_volume(from) {
        let sentence = format!("{} is no data directory: nothing of a volume is in it", from.display());
        return Err(Failure::new(Code::NoVolume, sentence, report.direction.which_to_give()));
    }
    let instances = settings.instances.iter().map(Instance::options).collect();
    let options = CacheOptions::to_check(from.to_owned(), None, instances);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(start::no_runtime)?;
    let (sender, answers) = channel();
    let hear = backup_steps(move |answer| sender.send(answer).is_ok());
    let wanted = BackupWanted { directory: to.to_owned(), dry_run };
    let copy = match report.direction {
        Direction::Backup => runtime.spawn(Cache::back_up_unserved(options, wanted, hear)),
        Direction::Restoration => runtime.spawn(Cache::restore_volume(options, wanted, hear)),
    };
    for answer in answers {
        report.hear(answer)?;
    }
    let done = runtime.block_on(copy).map_err(|error| Failure::new(Code::Failed, error.to_string(), ""))?;
    let done = done.map_err(|error| start::not_opened(settings, &error))?;
    done.map(|done| backup_totals(&done)).map_err(|error| Failure::new(Code::Failed, error.to_string(), ""))
}

impl Direction {
    fn which_to_give(self) -> &'static str {
        match self {
            Self::Backup => "give the data directory of the server as --data",
            Self::Restoration => "give a directory that `millpond backup` has written",
        }
    }
}

/// Where the keys lie, and where they were copied to.
#[derive(Debug)]
pub(super) struct Keys {
    from: PathBuf,
    to: Option<PathBuf>,
}

/// Copies the directory of keys, if that is wanted and there is one.
pub(super) fn keys(settings: &Settings, directory: &Path, wanted: bool) -> Result<Keys, Failure> {
    let from = std::path::absolute(&settings.keys.value).unwrap_or_else(|_| settings.keys.value.clone());
    let to = directory.join("keys");
    if !wanted {
        return Ok(Keys { from, to: None });
    }
    if !from.is_dir() {
        let sentence = format!("there is no directory of keys {}", from.display());
        return Err(Failure::new(Code::Usage, sentence, "give the configuration of the server as --config"));
    }
    copy_keys(&from, &to).map_err(failure)?;
    Ok(Keys { from, to: Some(to) })
}

/// What is printed: findings as they come, or all of them as JSON at the end.
#[derive(Debug)]
pub(super) struct Report {
    direction: Direction,
    json: bool,
    dry_run: bool,
    progress: Progress,
    bad: Vec<Value>,
    damaged: Vec<Value>,
}

impl Report {
    pub(super) fn new(direction: Direction, json: bool, dry_run: bool) -> Self {
        let progress = Progress::new();
        Self { direction, json, dry_run, progress, bad: Vec::new(), damaged: Vec::new() }
    }

    pub(super) fn hear(&mut self, answer: Answer) -> Result<(), Failure> {
        let line = match answer {
            Answer::Progress(BackUpProgress { packs, of_packs, bytes, of_bytes, broken_off }) => {
                let again = match broken_off {
                    0 => String::new(),
                    times => format!(", begun anew {times} times to make room for pushes"),
                };
                let (done, all) = (Size(bytes), Size(of_bytes));
                self.progress
                    .show(&format!("{packs} of {of_packs} packs are there, {done} of {all} copied{again}"));
                return Ok(());
            }
            Answer::Totals(_) => return Ok(()),
            Answer::Damaged(sentence) => {
                let line = format!("damaged: {sentence}");
                self.damaged.push(sentence.into());
                line
            }
            Answer::Bad(BadRecord { digest, pack, offset, what }) => {
                let line = format!("left out: {digest}: {what}");
                self.bad.push(json!({ "digest": digest, "pack": pack, "offset": offset, "what": what }));
                line
            }
        };
        if self.json {
            return Ok(());
        }
        self.progress.show("");
        // They are printed already.
        [&mut self.bad, &mut self.damaged].into_iter().for_each(Vec::clear);
        print(&format!("{line}\n"))
    }

    /// Says what it came to; what could not be copied is a finding.
    pub(super) fn end(
        self,
        totals: &BackUpTotals,
        directory: &Path,
        keys: Option<&Keys>,
    ) -> Result<(), Failure> {
        self.progress.show("");
        if self.json {
            print_json(&self.to_json(totals, directory, keys))?;
        } else {
            print(&self.text(totals, directory, keys))?;
        }
        if totals.bad + totals.damaged == 0 {
            return Ok(());
        }
        Err(Failure::new(
            Code::Findings,
            format!("{} records could not be copied, {} other damages", totals.bad, totals.damaged),
            "`millpond fsck` says which names that costs; what is missing heals with the next push",
        ))
    }

    fn to_json(&self, totals: &BackUpTotals, directory: &Path, keys: Option<&Keys>) -> Value {
        let mut value = json!({
            "directory": directory.display().to_string(),
            "volume": totals.volume,
            "dry_run": self.dry_run,
            "taken": Some(totals.taken).filter(|taken| *taken > 0),
            "earlier": Some(totals.earlier).filter(|earlier| *earlier > 0),
            "names": totals.names,
            "packs": totals.packs,
            "bytes": totals.bytes,
            "copied_packs": totals.copied_packs,
            "copied_bytes": totals.copied_bytes,
            "removed_packs": totals.removed_packs,
            "broken_off": totals.broken_off,
            "bad": self.bad,
            "damaged": self.damaged,
        });
        if let (Some(Keys { from, to }), Value::Object(fields)) = (keys, &mut value) {
            fields.insert("keys".into(), from.display().to_string().into());
            fields.insert("keys_copied_to".into(), to.as_ref().map(|to| to.display().to_string()).into());
        }
        value
    }

    fn text(&self, totals: &BackUpTotals, directory: &Path, keys: Option<&Keys>) -> String {
        let BackUpTotals { names, packs, bytes, copied_packs, copied_bytes, removed_packs, .. } = *totals;
        let (shown, all, copied) = (directory.display(), Size(bytes), Size(copied_bytes));
        let there = packs.saturating_sub(copied_packs);
        let was = |packs| if packs == 1 { "was" } else { "were" };
        let was_there = was(there);
        let was_copied = was(copied_packs);
        let (names, packs) = (counted(names, "name"), counted(packs, "pack"));
        let copied_packs = counted(copied_packs, "pack");
        if self.dry_run {
            let is = if there == 1 { "is" } else { "are" };
            return format!(
                "{shown} would hold {names} in {packs} of {all}: {copied_packs} of {copied} would be copied, {there} {is} there \
                 already, {removed_packs} would go\n"
            );
        }
        let mut text = format!(
            "{shown} holds {names} in {packs} of {all}: {copied_packs} of {copied} {was_copied} copied, {there} {was_there} there \
             already, {removed_packs} went\n"
        );
        if totals.broken_off > 0 {
            text += &format!("begun anew {} times, to make room for pushes\n", totals.broken_off);
        }
        match keys {
            Some(Keys { to: Some(to), .. }) => {
                text += &format!("the keys, private ones included, are in {}\n", to.display());
            }
            Some(Keys { from, to: None }) if from.is_dir() => {
                text +=
                    &format!("not copied: the keys in {} (--with-keys takes them along)\n", from.display());
            }
            _ => {}
        }
        text
    }
}
