//! `millpond ls`: what is in a tree.

use clap::Args;
use millpond_proto::admin::{DirectoryEntry, ListDirectoryRequest};
use serde_json::{Value, json};

use super::ask::AskFlags;
use super::digest::{self, Digest};
use super::print_to_reader;
use crate::exit::Failure;

/// Which tree, and what of it.
#[derive(Debug, Args)]
pub(super) struct LsFlags {
    #[command(flatten)]
    ask: AskFlags,
    /// The root of the tree, or an artifact or source, and what is to be listed of it
    #[arg(value_name = "HASH/SIZE[:/PATH]", value_parser = place)]
    place: Place,
    /// With all that is below
    #[arg(long, short = 'R')]
    recursive: bool,
}

/// A tree, and what of it.
#[derive(Clone, Debug)]
struct Place {
    root: Digest,
    path: String,
}

fn place(text: &str) -> Result<Place, String> {
    let (root, path) = text.split_once(':').unwrap_or((text, ""));
    Ok(Place { root: digest::parse(root)?, path: path.to_owned() })
}

/// Does it: an entry a line.
pub(super) fn run(flags: &LsFlags) -> Result<(), Failure> {
    let Place { root, path } = flags.place.clone();
    let question = ListDirectoryRequest { digest: root.to_string(), path, recursive: flags.recursive };
    flags.ask.ask(async |mut server| {
        let mut pages = server.list_directory(question).await?.into_inner();
        while let Some(page) = pages.message().await? {
            for entry in &page.entries {
                let line = if flags.ask.json { format!("{}\n", to_json(entry)) } else { line(entry) };
                if !print_to_reader(line.as_bytes())? {
                    return Ok(());
                }
            }
        }
        Ok(())
    })
}

fn line(entry: &DirectoryEntry) -> String {
    let path = entry.path.escape_debug();
    if let Some(target) = &entry.target {
        return format!("lrwxrwxrwx {:>12}  {path} -> {}\n", "-", target.escape_debug());
    }
    if entry.is_directory {
        return format!("drwxr-xr-x {:>12}  {path}  {}\n", "-", entry.digest);
    }
    let mode = if entry.is_executable { "-rwxr-xr-x" } else { "-rw-r--r--" };
    let size = entry.digest.split_once('/').map_or("-", |(_, size)| size);
    format!("{mode} {size:>12}  {path}  {}\n", entry.digest)
}

fn to_json(entry: &DirectoryEntry) -> Value {
    let kind = match (&entry.target, entry.is_directory) {
        (Some(_), _) => "link",
        (None, true) => "directory",
        (None, false) => "file",
    };
    json!({
        "path": entry.path,
        "kind": kind,
        "digest": (!entry.digest.is_empty()).then_some(&entry.digest),
        "executable": entry.is_executable,
        "target": entry.target,
    })
}
