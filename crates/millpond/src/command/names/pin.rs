//! `millpond names pin`.

use clap::Args;
use millpond_cache::{Clock, Pattern};
use millpond_proto::admin::{NotThere, PinNamesAnswer, PinNamesRequest};
use serde_json::json;

use super::{pins, wanted};
use crate::command::ask::AskFlags;
use crate::command::moment::Moment;
use crate::command::{counted, print, print_json};
use crate::config::KeptFor;
use crate::exit::{Code, Failure};
use crate::size::Size;

/// Which names, for how long and why.
#[derive(Debug, Args)]
pub(in crate::command) struct PinFlags {
    #[command(flatten)]
    ask: AskFlags,
    /// The name, or a pattern of names, * standing for anything
    #[arg(value_name = "NAME", value_parser = wanted::pattern)]
    name: Pattern,
    /// Why, for those who find it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Whose pin it is [default: who asks]
    #[arg(long, value_name = "WHO")]
    owner: Option<String>,
    /// For how long, as in 2y, "6 months" or 90d [default: for ever]
    #[arg(long = "for", value_name = "SPAN", conflicts_with = "until")]
    span: Option<KeptFor>,
    /// Until then: 2027-01-31 or 2027-01-31T12:00 (UTC)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<u64>,
    /// Only names of this instance; '' is the one without a name
    #[arg(long, value_name = "INSTANCE")]
    instance: Option<String>,
    /// How many values to keep of a name that is pushed again, the one in force among them
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    revisions: u32,
    /// With the artifacts that these were built with, and what those were, each by its name (BuildStream 2)
    #[arg(long)]
    with_dependencies: bool,
    /// With the sources of all these artifacts, as far as they say which those are (BuildStream 2)
    #[arg(long)]
    with_sources: bool,
    /// Only say what would be pinned
    #[arg(long)]
    dry_run: bool,
}

/// Reads a moment that is to come.
fn moment(text: &str) -> Result<u64, String> {
    match text.parse()? {
        Moment::At(seconds) => Ok(seconds),
        Moment::Ago(_) => Err(format!("\"{text}\" is no time: write 2027-01-31, or --for {text}")),
    }
}

/// Does it, and says what is pinned. That something of it is not there is a finding.
pub(super) fn run(flags: &PinFlags) -> Result<(), Failure> {
    let span = flags.span.and_then(KeptFor::seconds);
    let question = PinNamesRequest {
        pattern: flags.name.to_string(),
        instance: flags.instance.clone(),
        reason: flags.reason.clone(),
        owner: flags.owner.clone(),
        until: flags.until.or(span.map(|seconds| Clock::unix_seconds() + u64::from(seconds))),
        with_dependencies: flags.with_dependencies,
        with_sources: flags.with_sources,
        dry_run: flags.dry_run,
        revisions: Some(flags.revisions),
    };
    let answer = flags.ask.ask(async |mut server| Ok(server.pin_names(question).await?.into_inner()))?;
    if flags.ask.json { print_json(&to_json(&answer)) } else { print(&text(&answer, flags.dry_run)) }?;
    if answer.missing_count > 0 {
        let sentence = match (answer.missing_count, flags.dry_run) {
            (1, true) => "1 thing would not be kept, since it is not there".to_owned(),
            (count, true) => format!("{count} things would not be kept, since they are not there"),
            (1, false) => "1 thing is not kept, since it is not there".to_owned(),
            (count, false) => format!("{count} things are not kept, since they are not there"),
        };
        let says_nothing = |missing: &NotThere| missing.why.starts_with("it does not say");
        let pattern = flags.name.to_string();
        let remedy = if !pattern.contains([':', '*']) {
            "no artifact or source is called so: names are artifact:PROJECT/ELEMENT/KEY or source:KEY, as `millpond names list` prints \
             them; take this pin out with `millpond names unpin`"
        } else if answer.missing.iter().all(says_nothing) {
            "pin 'source:*', or build with `cache-buildtrees: always`: only then an artifact says what its sources are"
        } else {
            "push them: what is pinned is kept from its push on"
        };
        return Err(Failure::new(Code::Findings, sentence, remedy));
    }
    Ok(())
}

fn text(answer: &PinNamesAnswer, dry_run: bool) -> String {
    let kept = answer.kept.unwrap_or_default();
    let mut text: String = answer.names.iter().map(|name| format!("{}\n", name.escape_debug())).collect();
    let untold = kept.names - answer.names.len() as u64;
    if untold > 0 {
        text += &format!("and {untold} more\n");
    }
    for NotThere { name, why } in &answer.missing {
        text += &format!("{}: {why}\n", name.escape_debug());
    }
    let pins = match &*answer.pins {
        [pin] if pin.id > 0 => format!("by pin {}", pin.id),
        [first, .., last] if first.id > 0 => {
            format!("by {} pins, {} to {}", answer.pins.len(), first.id, last.id)
        }
        pins => {
            format!("by {}", if pins.len() == 1 { "1 pin".into() } else { format!("{} pins", pins.len()) })
        }
    };
    let names = counted(kept.names, "name");
    let is = if dry_run { "would be pinned" } else { "pinned" };
    let (bytes, more) = (Size(kept.bytes), Size(answer.more_bytes));
    text + &format!("{is}: {names} of {bytes}, {pins}; {more} of the volume that nothing kept before\n")
}

fn to_json(answer: &PinNamesAnswer) -> serde_json::Value {
    let kept = answer.kept.unwrap_or_default();
    let not_there = |missing: &NotThere| json!({ "name": missing.name, "why": missing.why });
    json!({
        "pins": answer.pins.iter().map(pins::to_json).collect::<Vec<_>>(),
        "kept": { "names": kept.names, "bytes": kept.bytes },
        "names": answer.names,
        "more_bytes": answer.more_bytes,
        "missing": answer.missing.iter().map(not_there).collect::<Vec<_>>(),
        "missing_count": answer.missing_count,
    })
}
