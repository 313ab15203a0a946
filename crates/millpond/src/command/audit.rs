//! `millpond audit`: who did what, read from the files of the audit logs, whether a server runs or not.
//!
//! There are two: that of the data directory, and that of the directory of keys, whose commands need no server.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use millpond_cache::{
    AUDIT_FOLDER, AuditEntry, Clock, Deed, Pattern, audit_entries, verify_audit, write_down_apart,
};
use millpond_identity::Keys;
use serde_json::json;

use super::moment::{self, Moment};
use super::{print, print_json};
use crate::config::{Flags, Settings};
use crate::exit::{self, Code, Failure};

/// What is looked for, and where.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct AuditFlags {
    #[command(subcommand)]
    command: Option<AuditCommand>,
    #[command(flatten)]
    place: PlaceFlags,
    /// Only what was done by those whose names are like this, * standing for anything
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    who: Option<Pattern>,
    /// Only what was done from IP addresses like this, as in '192.0.2.*'
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    address: Option<Pattern>,
    /// Only what was done to names like this, as in 'artifact:team/*'
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    name: Option<Pattern>,
    /// Only what was done from then on: 2026-01-31, 2026-01-31T12:00 (UTC), or 3h for so long ago
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Only what was done before then
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check that every entry is there as it was written
    #[command(after_help = exit::help())]
    Verify(PlaceFlags),
}

/// Which logs, and how they are printed.
#[derive(Debug, Args)]
struct PlaceFlags {
    /// Find the directories as this TOML file configures them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory [default: millpond-data in the current directory]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The directory of keys [default: millpond-keys in the current directory]
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Print JSON, an entry a line
    #[arg(long)]
    json: bool,
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::new(text).map_err(|error| error.to_string())
}

impl PlaceFlags {
    /// The folders of both logs.
    fn folders(&self) -> Result<[PathBuf; 2], Failure> {
        let (config, data, keys) = (self.config.clone(), self.data.clone(), self.keys.clone());
        let settings = Settings::load(Flags { config, data, keys, ..Flags::default() })?;
        let of_keys = Keys::at(&settings.keys.value);
        let keys_are_there = of_keys.register().is_file() || of_keys.ca_certificate().is_file();
        let data_is_there = settings.data.value.is_dir();
        let (data, keys) = (settings.data.value.display(), settings.keys.value.display());
        // Of a directory that was named it is never said that nothing was done there if it is another one.
        let missing = match (self.data.is_some() && !data_is_there, self.keys.is_some() && !keys_are_there) {
            (true, _) => format!("there is no data directory {data}"),
            (_, true) => format!("{keys} is no directory of keys in which anything was issued"),
            _ if !data_is_there && !keys_are_there => {
                format!("there is neither a data directory {data} nor a directory of keys {keys}")
            }
            _ => String::new(),
        };
        if !missing.is_empty() {
            return Err(Failure::new(Code::NoVolume, missing, "give them as --data and --keys"));
        }
        if !data_is_there {
            // Beside the answer: that it cannot be said is no reason to end.
            let _ = writeln!(
                io::stderr(),
                "there is no data directory {data}: only what was done with keys is looked at"
            );
        }
        Ok([settings.data.value.join(AUDIT_FOLDER), apart(&settings.keys.value).join(AUDIT_FOLDER)])
    }
}

/// Where the log of a directory of keys has its lock and its folder.
fn apart(keys: &Path) -> PathBuf {
    keys.join("audit")
}

/// Does it.
pub(super) fn run(flags: AuditFlags) -> Result<(), Failure> {
    match &flags.command {
        Some(AuditCommand::Verify(place)) => verify(place),
        None => search(&flags),
    }
}

/// Writes down what somebody at this machine did with keys or tokens.
pub(super) fn write_down(keys: &Keys, what: Deed, name: &str) -> Result<(), Failure> {
    let who = format!("local:{}", rustix::process::getuid().as_raw());
    write_down_apart(&apart(keys.folder()), what, &who, name).map_err(|error| {
        Failure::new(
            Code::Failed,
            format!("it is done, but could not be written into the audit log: {error}"),
            format!("make {} writable for this user", apart(keys.folder()).display()),
        )
    })
}

/// Entries of both logs by their time; of each they come segment by segment.
fn search(flags: &AuditFlags) -> Result<(), Failure> {
    let [data, keys] = flags.place.folders()?;
    let now = Clock::unix_seconds();
    let bounds = (flags.since.map(|since| since.at(now)), flags.until.map(|until| until.at(now)));
    // What can be read is told, whatever else cannot.
    let mut outcome = Ok(());
    let mut others = Vec::new();
    for found in audit_entries(&keys).map_err(|error| unreadable(&keys, &error))? {
        match found {
            Ok(found) => others.extend(found),
            Err(error) => outcome = outcome.and(Err(unreadable(&keys, &error))),
        }
    }
    let mut others = others.into_iter().peekable();
    let tell = |entry: &AuditEntry| if flags.matches(entry, bounds) { flags.print(entry) } else { Ok(()) };
    for found in audit_entries(&data).map_err(|error| unreadable(&data, &error))? {
        let found = found.unwrap_or_else(|error| {
            outcome = std::mem::replace(&mut outcome, Ok(())).and(Err(unreadable(&data, &error)));
            Vec::new()
        });
        for entry in found {
            while let Some(other) = others.next_if(|other| other.time <= entry.time) {
                tell(&other)?;
            }
            tell(&entry)?;
        }
    }
    others.try_for_each(|other| tell(&other))?;
    outcome
}

impl AuditFlags {
    fn matches(&self, entry: &AuditEntry, (since, until): (Option<u64>, Option<u64>)) -> bool {
        let like = |pattern: &Option<Pattern>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| pattern.matches(text))
        };
        like(&self.who, &entry.who)
            && like(&self.address, &entry.address)
            && like(&self.name, &entry.name)
            && since.is_none_or(|since| entry.time >= since)
            && until.is_none_or(|until| entry.time < until)
    }

    fn print(&self, entry: &AuditEntry) -> Result<(), Failure> {
        if self.place.json {
            return print(&format!("{}\n", json!(entry)));
        }
        let AuditEntry { seq: _, time, what, who, address, instance, name, digest, more } = entry;
        let what = json!(what);
        let who = if who.is_empty() { "-" } else { who };
        let address = if address.is_empty() { "-" } else { address };
        let mut line =
            format!("{}  {:<19} {who} {address}", moment::written(*time), what.as_str().unwrap_or_default());
        let instance = if instance.is_empty() { String::new() } else { format!("in {instance}: ") };
        line += &format!("  {instance}{}", name.escape_debug());
        if !digest.is_empty() {
            line += &format!("  {digest}");
        }
        if *more > 0 {
            line += &format!("  ({more} more before)");
        }
        print(&(line + "\n"))
    }
}

fn verify(place: &PlaceFlags) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    let mut reports = Vec::new();
    for folder in place.folders()? {
        let found = verify_audit(&folder).map_err(|error| unreadable(&folder, &error))?;
        let shown = folder.display();
        if let Some((entry, file)) = &found.broken {
            wrong.push(format!("entry {entry} is not there as it was written, see {}", file.display()));
        }
        if let Some(entry) = found.torn {
            wrong.push(format!("entry {entry} of {shown} and others behind it were torn off by a crash"));
        }
        let (last, hash) = found.last.clone().unwrap_or_default();
        if place.json {
            reports.push(json!({
                "folder": folder, "entries": found.entries, "first": found.first, "last": last, "hash": hash,
                "broken": found.broken.as_ref().map(|(entry, _)| entry), "torn": found.torn,
            }));
        } else if found.entries == 0 {
            print(&format!("{shown}: no entry\n"))?;
        } else {
            print(&format!(
                "{shown}: {} entries, from {} to {last}, with the hash\n  {hash}\n",
                found.entries, found.first
            ))?;
        }
    }
    if place.json {
        print_json(&json!({ "logs": reports }))?;
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let hint = "compare with a backup of the log; entries behind it may not be what was written either";
    Err(Failure::new(Code::Findings, wrong.join("; "), hint))
}

fn unreadable(folder: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Code::Failed,
        format!("the audit log in {} cannot be read: {error}", folder.display()),
        "run the command as root or as the user that the server runs as",
    )
}
