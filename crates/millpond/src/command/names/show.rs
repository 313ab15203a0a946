//! `millpond names show`.

use clap::Args;
use millpond_cache::Pattern;
use millpond_proto::admin::{Name, NameDetails, ShowNamesRequest};
use serde_json::{Value, json};

use super::pins;
use super::wanted::{self, WantedFlags};
use crate::command::ask::AskFlags;
use crate::command::{moment, print_to_reader};
use crate::exit::{Code, Failure};
use crate::size::Size;

/// Which names.
#[derive(Debug, Args)]
pub(in crate::command) struct ShowFlags {
    #[command(flatten)]
    ask: AskFlags,
    /// The name, or a pattern of names, * standing for anything
    #[arg(value_name = "NAME", value_parser = wanted::pattern)]
    name: Pattern,
    #[command(flatten)]
    wanted: WantedFlags,
    /// At most so many [default: all]
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
}

/// Does it. That there is none, or that one is not whole, is a finding.
pub(super) fn run(flags: &ShowFlags) -> Result<(), Failure> {
    let question = ShowNamesRequest {
        wanted: Some(flags.wanted.wanted(Some(&flags.name))),
        limit: flags.limit.unwrap_or_default(),
    };
    let (mut shown, mut lacking) = (0_u64, 0_u64);
    flags.ask.ask(async |mut server| {
        let mut pages = server.show_names(question).await?.into_inner();
        while let Some(page) = pages.message().await? {
            for details in &page.names {
                shown += 1;
                lacking += u64::from(details.missing_count > 0);
                let text = || format!("{}{}", if shown > 1 { "\n" } else { "" }, text(details));
                let line = if flags.ask.json { format!("{}\n", to_json(details)) } else { text() };
                if !print_to_reader(line.as_bytes())? {
                    return Ok(());
                }
            }
        }
        Ok(())
    })?;
    if shown == 0 {
        return Err(none_such(&flags.name));
    }
    if lacking > 0 {
        let sentence = format!("{lacking} of {shown} names lack blobs, and are not served");
        return Err(Failure::new(Code::Findings, sentence, "push them again, or build them"));
    }
    Ok(())
}

/// That no name is like that.
pub(super) fn none_such(pattern: &Pattern) -> Failure {
    Failure::new(
        Code::Findings,
        format!("there is no name {pattern}"),
        "write it as `millpond names list` prints it, as in artifact:PROJECT/ELEMENT/KEY",
    )
}

fn text(details: &NameDetails) -> String {
    let empty = Name::default();
    let name = details.name.as_ref().unwrap_or(&empty);
    let by = if name.pusher.is_empty() { "by nobody who is known" } else { &format!("by {}", name.pusher) };
    let from = if name.address.is_empty() { String::new() } else { format!(" from {}", name.address) };
    let mut text = format!(
        "{}\n  kind: {}, {}\n  points to: {}\n  pushed: {} {by}{from}\n  last used: {}\n",
        wanted::titled(name),
        wanted::kind(name),
        name.uri.escape_debug(),
        name.digest,
        moment::written(name.pushed),
        moment::written(name.used),
    );
    if let Some(expires) = name.expires {
        text += &format!("  expires: {}, as its client wanted\n", moment::written(expires));
    }
    text += &format!("  closure: {} blobs of {}", details.blobs, Size(details.bytes));
    if details.missing_count > 0 {
        text +=
            &format!(", and {} missing, among them {}", details.missing_count, details.missing.join(", "));
    }
    text += "\n";
    text.extend(details.pins.iter().map(|pin| format!("  {}\n", pins::line(pin))));
    text.extend(details.rule.iter().map(|rule| format!("  rule {rule}\n")));
    text + &match (details.let_go, name.whole, details.stays_until) {
        (true, ..) => "  let go: it is not served any more\n".to_owned(),
        (_, false, _) => "  it waits for its blobs, and is not served\n".to_owned(),
        (.., None) if details.rule.is_some() => {
            "  it is kept for as long as its rule or a pin says so\n".to_owned()
        }
        (.., None) => "  it is kept for ever\n".to_owned(),
        (.., Some(until)) => format!("  may go at the earliest: {}\n", moment::written(until)),
    }
}

fn to_json(details: &NameDetails) -> Value {
    let more = json!({
        "let_go": details.let_go,
        "stays_until": details.stays_until,
        "blobs": details.blobs,
        "bytes": details.bytes,
        "missing": details.missing,
        "missing_count": details.missing_count,
        "rule": details.rule,
        "pins": details.pins.iter().map(pins::to_json).collect::<Vec<_>>(),
    });
    wanted::to_json_with(details.name.as_ref().unwrap_or(&Name::default()), more)
}
