//! `millpond du`: what takes the room of a server that runs.

use clap::{Args, ValueEnum};
use millpond_cache::Pattern;
use millpond_proto::admin::get_usage_request::By;
use millpond_proto::admin::usage_answer::Answer;
use millpond_proto::admin::usage_group::Group;
use millpond_proto::admin::{
    GetUsageRequest, HeldByNames, InUse, UsageGroup, UsageProgress, UsageTotals, names_wanted,
};
use serde_json::{Value, json};

use super::ask::AskFlags;
use super::names::wanted::{self, WantedFlags};
use super::progress::Progress;
use super::{print, print_json};
use crate::exit::{Code, Failure};
use crate::size::Size;

/// Groups that are printed where nothing else is asked for.
const LIMIT: u64 = 50;
/// In seconds.
const DAY: u64 = 24 * 3600;

/// Which names, and by what.
#[derive(Debug, Args)]
pub(super) struct DuFlags {
    #[command(flatten)]
    ask: AskFlags,
    /// Only groups of names like this, as in 'artifact:sdk/*', * standing for anything; all others are one group
    #[arg(value_name = "PATTERN", value_parser = wanted::pattern)]
    pattern: Option<Pattern>,
    #[command(flatten)]
    wanted: WantedFlags,
    /// What the groups are; age is the time since a name was last used, pushed that since it was pushed
    #[arg(long, value_name = "WHAT", default_value = "project")]
    by: Grouping,
    /// At most so many groups, those with the most bytes of their own first; 0 for all
    #[arg(long, value_name = "COUNT", default_value_t = LIMIT)]
    limit: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Grouping {
    Project,
    Element,
    Kind,
    Instance,
    Age,
    Pushed,
}

impl Grouping {
    fn word(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Element => "element",
            Self::Kind => "kind",
            Self::Instance => "instance",
            Self::Age => "age",
            Self::Pushed => "pushed",
        }
    }
}

/// Does it.
pub(super) fn run(flags: &DuFlags) -> Result<(), Failure> {
    let by = match flags.by {
        Grouping::Project => By::Project,
        Grouping::Element => By::Element,
        Grouping::Kind => By::Sort,
        Grouping::Instance => By::Instance,
        Grouping::Age => By::Used,
        Grouping::Pushed => By::Pushed,
    };
    let wanted = flags.wanted.wanted(flags.pattern.as_ref());
    let question = GetUsageRequest { wanted: Some(wanted), by: by.into(), limit: flags.limit };
    let (groups, totals) = flags.ask.ask(async |mut server| {
        let progress = Progress::new();
        let mut answers = server.get_usage(question).await?.into_inner();
        let mut groups = Vec::new();
        while let Some(answer) = answers.message().await? {
            match answer.answer {
                Some(Answer::Progress(UsageProgress { names, of_names })) => {
                    progress.show(&match of_names {
                        0 => format!("{names} names found"),
                        of_names => format!("{names} of {of_names} names walked"),
                    });
                }
                Some(Answer::Groups(some)) => groups.extend(some.groups),
                Some(Answer::Totals(totals)) => return Ok((groups, totals)),
                None => {}
            }
        }
        Err(Failure::new(Code::Failed, "the server ended counting before it was through", "its log says why"))
    })?;
    if flags.ask.json {
        print_json(&to_json(flags.by, &groups, &totals))
    } else {
        print(&text(flags.by, &groups, &totals))
    }
}

fn text(by: Grouping, groups: &[UsageGroup], totals: &UsageTotals) -> String {
    let mut text =
        format!("{:>10} {:>10} {:>10} {:>9} {:>9}  {}\n", "own", "shared", "all", "names", "kept", by.word());
    for group in groups {
        text += &line(group.held.unwrap_or_default(), &called(by, group));
    }
    if totals.more_groups > 0 {
        let HeldByNames { names, kept_names, unique_bytes, .. } = totals.more.unwrap_or_default();
        let (own, more) = (Size(unique_bytes), totals.more_groups);
        let which = if more == 1 { "1 group more".to_owned() } else { format!("{more} groups more") };
        text += &format!("{own:>10} {:>10} {:>10} {names:>9} {kept_names:>9}  ({which})\n", "", "");
    }
    for (which, held) in [
        ("(all other names)", totals.rest),
        ("(names that wait for their blobs)", totals.pending),
        ("(removed names that may come back)", totals.removed),
    ] {
        let held = held.unwrap_or_default();
        if held.names > 0 {
            text += &line(held, which);
        }
    }
    let InUse { blobs, .. } = totals.in_use.unwrap_or_default();
    let reached = blobs.saturating_sub(totals.unreached_bytes);
    text += &format!(
        "blobs: {}; {} of one group each, {} of several groups, {} of no name, in {} blobs\n",
        Size(blobs),
        Size(reached.saturating_sub(totals.shared_bytes)),
        Size(totals.shared_bytes),
        Size(totals.unreached_bytes),
        totals.unreached_blobs,
    );
    if totals.unread_names > 0 {
        text += &format!("names that could not be walked to their end: {}\n", totals.unread_names);
    }
    let parts = parts(&totals.in_use.unwrap_or_default());
    let total = Size(parts.iter().map(|(_, _, bytes)| bytes).sum());
    let parts: Vec<_> = (parts.iter().filter(|(_, _, bytes)| *bytes > 0))
        .map(|(words, _, bytes)| format!("{words} {}", Size(*bytes)))
        .collect();
    text + &format!("in use: {total}; {}\n", parts.join(", "))
}

fn line(held: HeldByNames, called: &str) -> String {
    let HeldByNames { names, kept_names, bytes, unique_bytes } = held;
    let (own, shared, all) = (Size(unique_bytes), Size(bytes.saturating_sub(unique_bytes)), Size(bytes));
    format!("{own:>10} {shared:>10} {all:>10} {names:>9} {kept_names:>9}  {called}\n")
}

/// What a group is called.
fn called(by: Grouping, group: &UsageGroup) -> String {
    match &group.group {
        Some(Group::Called(called)) if called.is_empty() => "(the one without a name)".to_owned(),
        Some(Group::Called(called)) => called.escape_debug().to_string(),
        Some(Group::Sort(_)) if by == Grouping::Kind => word(group).unwrap_or_default().to_owned(),
        Some(Group::Sort(_)) => format!("({} without one)", word(group).unwrap_or_default()),
        Some(Group::WithinSeconds(0)) => "older".to_owned(),
        Some(Group::WithinSeconds(DAY)) => "within a day".to_owned(),
        Some(Group::WithinSeconds(seconds)) => format!("within {} days", seconds / DAY),
        None => "(unknown)".to_owned(),
    }
}

fn word(group: &UsageGroup) -> Option<&'static str> {
    let Some(Group::Sort(sort)) = group.group else { return None };
    Some(wanted::word(names_wanted::Sort::try_from(sort).unwrap_or_default()))
}

/// What everything is used for: in words, as JSON has it, in bytes.
fn parts(in_use: &InUse) -> [(&'static str, &'static str, u64); 9] {
    let InUse { blobs, garbage, uploads, compacting, snapshots, ballast, folders, catalog, audit } = *in_use;
    [
        ("blobs", "blobs", blobs),
        ("garbage and ends of packs", "garbage", garbage),
        ("uploads under way", "uploads", uploads),
        ("copies under way", "compacting", compacting),
        ("snapshots of the index", "snapshots", snapshots),
        ("ballast", "ballast", ballast),
        ("catalog", "catalog", catalog),
        ("audit log", "audit", audit),
        ("folders", "folders", folders),
    ]
}

fn held_to_json(held: Option<HeldByNames>) -> Value {
    let HeldByNames { names, kept_names, bytes, unique_bytes } = held.unwrap_or_default();
    json!({
        "names": names,
        "kept_names": kept_names,
        "bytes": bytes,
        "unique_bytes": unique_bytes,
        "shared_bytes": bytes.saturating_sub(unique_bytes),
    })
}

fn group_to_json(by: Grouping, group: &UsageGroup) -> Value {
    let what = match &group.group {
        Some(Group::Called(called)) => json!({ by.word(): called }),
        Some(Group::WithinSeconds(seconds)) => {
            json!({ "within_seconds": Some(seconds).filter(|it| **it > 0) })
        }
        Some(Group::Sort(_)) | None if by == Grouping::Kind => json!({ "kind": word(group) }),
        Some(Group::Sort(_)) | None => json!({ by.word(): null, "kind": word(group) }),
    };
    let mut shown = held_to_json(group.held);
    if let (Value::Object(shown), Value::Object(what)) = (&mut shown, what) {
        shown.extend(what);
    }
    shown
}

fn to_json(by: Grouping, groups: &[UsageGroup], totals: &UsageTotals) -> Value {
    let mut in_use = serde_json::Map::new();
    for (_, key, bytes) in parts(&totals.in_use.unwrap_or_default()) {
        in_use.insert(key.to_owned(), bytes.into());
    }
    let more = totals.more.unwrap_or_default();
    json!({
        "by": by.word(),
        "groups": groups.iter().map(|group| group_to_json(by, group)).collect::<Vec<_>>(),
        "more_groups": {
            "groups": totals.more_groups,
            "names": more.names,
            "kept_names": more.kept_names,
            "unique_bytes": more.unique_bytes,
        },
        "other_names": held_to_json(totals.rest),
        "pending_names": held_to_json(totals.pending),
        "removed_names": held_to_json(totals.removed),
        "shared_bytes": totals.shared_bytes,
        "unreached_blobs": totals.unreached_blobs,
        "unreached_bytes": totals.unreached_bytes,
        "unread_names": totals.unread_names,
        "in_use": in_use,
    })
}
