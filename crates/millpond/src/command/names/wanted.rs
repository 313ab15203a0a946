//! Which names are meant, and how one is printed.

use clap::{Args, ValueEnum};
use millpond_cache::{Clock, Pattern};
use millpond_proto::admin::{Name, NamesWanted, names_wanted};
use serde_json::{Value, json};

use crate::command::moment::{self, Moment};
use crate::size::Size;

/// What a name is of.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Artifact,
    Source,
    Asset,
    ActionResult,
}

/// Narrows names down, beside the pattern.
#[derive(Debug, Args)]
pub(in crate::command) struct WantedFlags {
    /// Only names of this instance; '' is the one without a name
    #[arg(long, value_name = "INSTANCE")]
    instance: Option<String>,
    /// Only names of this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// Only artifacts of this project
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Only what was pushed by those whose names are like this, * standing for anything
    #[arg(long, value_name = "WHO", value_parser = pattern)]
    pushed_by: Option<Pattern>,
    /// Only what was pushed from then on: 2026-01-31, 2026-01-31T12:00 (UTC), or 3h for so long ago
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Only what was pushed before then
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
}

/// Reads a pattern of names.
pub(in crate::command) fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::new(text).map_err(|error| error.to_string())
}

impl WantedFlags {
    /// As the server is asked.
    pub(in crate::command) fn wanted(&self, pattern: Option<&Pattern>) -> NamesWanted {
        let now = Clock::unix_seconds();
        let sort = self.kind.map(|kind| match kind {
            Kind::Artifact => names_wanted::Sort::Artifact,
            Kind::Source => names_wanted::Sort::Source,
            Kind::Asset => names_wanted::Sort::Asset,
            Kind::ActionResult => names_wanted::Sort::ActionResult,
        });
        NamesWanted {
            pattern: pattern.map(ToString::to_string),
            instance: self.instance.clone(),
            sort: sort.map(Into::into),
            project: self.project.clone(),
            pushed_by: self.pushed_by.as_ref().map(ToString::to_string),
            pushed_since: self.since.map(|since| since.at(now)),
            pushed_before: self.until.map(|until| until.at(now)),
            removed: false,
        }
    }
}

/// The word for what a name is of.
pub(super) fn kind(name: &Name) -> &'static str {
    word(name.sort())
}

/// The word for what names are of.
pub(in crate::command) fn word(sort: names_wanted::Sort) -> &'static str {
    match sort {
        names_wanted::Sort::Artifact => "artifact",
        names_wanted::Sort::Source => "source",
        names_wanted::Sort::Asset => "asset",
        names_wanted::Sort::ActionResult => "action-result",
        names_wanted::Sort::Unknown => "unknown",
    }
}

/// A name in one line.
pub(super) fn line(name: &Name) -> String {
    let pusher = if name.pusher.is_empty() { "-" } else { &name.pusher };
    let (pushed, used) = (moment::written(name.pushed), moment::written(name.used));
    let mut line = format!("{pushed}  {used}  {pusher}  ");
    if let Some(bytes) = name.bytes {
        line += &format!("{}  ", Size(bytes));
    }
    line += &format!("{}  {}", titled(name), name.digest);
    if name.pinned {
        line += "  (pinned)";
    }
    line += &match (name.removed_until, name.whole) {
        (Some(0), _) => "  (an earlier value, kept by a pin)".to_owned(),
        (Some(until), _) => format!("  (removed, may come back until {})", moment::written(until)),
        (None, false) => "  (waits for its blobs)".to_owned(),
        (None, true) => String::new(),
    };
    line + "\n"
}

/// A name with its instance.
pub(in crate::command) fn titled(name: &Name) -> String {
    let instance = if name.instance.is_empty() { String::new() } else { format!("in {}: ", name.instance) };
    let qualifiers =
        if name.qualifiers.is_empty() { String::new() } else { format!(" ({})", name.qualifiers) };
    format!("{instance}{}{}", name.name.escape_debug(), qualifiers.escape_debug())
}

/// A name as JSON. Times are Unix seconds.
pub(super) fn to_json(name: &Name) -> Value {
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "instance": name.instance,
        "name": name.name,
        "uri": name.uri,
        "qualifiers": said(&name.qualifiers),
        "kind": kind(name),
        "digest": name.digest,
        "pushed": name.pushed,
        "pusher": said(&name.pusher),
        "address": said(&name.address),
        "used": name.used,
        "expires": name.expires,
        "whole": name.whole,
        "bytes": name.bytes,
        "removed_until": name.removed_until.filter(|until| *until > 0),
        "earlier": name.removed_until == Some(0),
        "pinned": name.pinned,
    })
}

/// The same with more about it.
pub(in crate::command) fn to_json_with(name: &Name, more: Value) -> Value {
    let mut shown = to_json(name);
    if let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) {
        shown.extend(more);
    }
    shown
}
