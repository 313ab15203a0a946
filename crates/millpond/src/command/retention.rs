//! `millpond retention`: what the rules of a server that runs come to, and the pass that gives back what nothing keeps.

use clap::Subcommand;
use millpond_proto::admin::{PlanRetentionRequest, RelevelRequest, Releveled, RetentionPlan, Tally};
use serde_json::{Value, json};

use super::ask::AskFlags;
use super::{counted, print, print_json};
use crate::exit::{self, Failure};
use crate::greeting::share;
use crate::size::Size;

/// What is asked.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say what each rule keeps, what would go now, and what is left to go when space is needed; changes nothing
    #[command(after_help = exit::help())]
    Plan(AskFlags),
    /// Have the rules applied now, and give back what no name needs any more; the server does so daily by itself
    #[command(after_help = exit::help())]
    Apply(AskFlags),
}

/// Asks, and prints the answer.
pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Plan(flags) => {
            let plan = flags.ask(async |mut server| {
                Ok(server.plan_retention(PlanRetentionRequest {}).await?.into_inner())
            })?;
            if flags.json { print_json(&plan_to_json(&plan)) } else { print(&plan_text(&plan)) }
        }
        Command::Apply(flags) => {
            let done =
                flags.ask(async |mut server| Ok(server.relevel(RelevelRequest {}).await?.into_inner()))?;
            if flags.json { print_json(&applied_to_json(&done)) } else { print(&applied_text(&done)) }
        }
    }
}

fn names(tally: Option<Tally>) -> String {
    let Tally { names, bytes } = tally.unwrap_or_default();
    format!("{} of {}", counted(names, "name"), Size(bytes))
}

fn plan_text(plan: &RetentionPlan) -> String {
    let mut text = String::new();
    for (number, rule) in (1..).zip(&plan.rules) {
        text += &format!("rule {number}: {}\n", rule.rule);
        text += &format!("  keeps {}\n", names(rule.keeps));
        if rule.goes.unwrap_or_default().names > 0 {
            text += &format!("  lets go of {}\n", names(rule.goes));
        }
        if rule.leaves.unwrap_or_default().names > 0 {
            text += &format!("  leaves {}, to go when space is needed\n", names(rule.leaves));
        }
    }
    if plan.pinned.unwrap_or_default().names > 0 {
        text += &format!("pins: keep {}\n", names(plan.pinned));
    }
    text += &format!("no rule: {}, to go when space is needed\n", names(plan.unmatched));
    let (kept, room) = (Size(plan.kept.unwrap_or_default().bytes), Size(plan.room_bytes));
    text += &format!(
        "kept in all: {} ({} of the {room} of blobs at which letting go begins)\n",
        names(plan.kept),
        share(kept, room)
    );
    if plan.paused {
        text += "paused: the wall clock is more than a day from the time that the cache has\n";
    }
    if !plan.going.is_empty() {
        text += "would go now:\n";
        text.extend(plan.going.iter().map(|name| format!("  {}\n", name.escape_debug())));
    }
    text
}

fn plan_to_json(plan: &RetentionPlan) -> Value {
    let rule = |rule: &millpond_proto::admin::RetentionRule| {
        json!({
            "rule": rule.rule,
            "keeps": tally(rule.keeps),
            "goes": tally(rule.goes),
            "leaves": tally(rule.leaves),
        })
    };
    json!({
        "rules": plan.rules.iter().map(rule).collect::<Vec<_>>(),
        "pinned": tally(plan.pinned),
        "unmatched": tally(plan.unmatched),
        "kept": tally(plan.kept),
        "room_bytes": plan.room_bytes,
        "going": plan.going,
        "paused": plan.paused,
    })
}

fn tally(tally: Option<Tally>) -> Value {
    let Tally { names, bytes } = tally.unwrap_or_default();
    json!({ "names": names, "bytes": bytes })
}

fn applied_text(done: &Releveled) -> String {
    let mut text = format!("names: {}, of which {} are kept\n", done.names, done.kept_names);
    if done.ended_names > 0 {
        text += &format!("let go by a rule: {}\n", counted(done.ended_names, "name"));
        text.extend(done.ended.iter().map(|name| format!("  {}\n", name.escape_debug())));
        let listed = done.ended.len() as u64;
        if listed < done.ended_names {
            text += &format!("  and {} more\n", done.ended_names - listed);
        }
    }
    if done.lowered_names > 0 {
        text += &format!("kept no longer, or for less long: {}\n", counted(done.lowered_names, "name"));
    }
    text += &format!("given back: {} of {}\n", counted(done.blobs, "blob"), Size(done.bytes));
    if done.leased_bytes > 0 {
        text += &format!("no name needs {}, which stay for a lease\n", Size(done.leased_bytes));
    }
    text
}

fn applied_to_json(done: &Releveled) -> Value {
    json!({
        "names": done.names,
        "kept_names": done.kept_names,
        "lowered_names": done.lowered_names,
        "ended_names": done.ended_names,
        "ended": done.ended,
        "blobs": done.blobs,
        "bytes": done.bytes,
        "leased_bytes": done.leased_bytes,
    })
}
