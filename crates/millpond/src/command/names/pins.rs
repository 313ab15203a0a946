//! `millpond names pins`, and how a pin is printed.

use millpond_cache::Clock;
use millpond_proto::admin::{ListPinsRequest, Pin};
use serde_json::{Value, json};

use crate::command::ask::AskFlags;
use crate::command::{moment, print};
use crate::exit::Failure;

/// Lists them: a pin a line.
pub(super) fn run(flags: &AskFlags) -> Result<(), Failure> {
    let answer =
        flags.ask(async |mut server| Ok(server.list_pins(ListPinsRequest {}).await?.into_inner()))?;
    print_all(&answer.pins, flags.json)
}

/// Prints pins, one a line.
pub(super) fn print_all(pins: &[Pin], as_json: bool) -> Result<(), Failure> {
    for pin in pins {
        print(&if as_json { format!("{}\n", to_json(pin)) } else { format!("{}\n", line(pin)) })?;
    }
    Ok(())
}

/// A pin in one line. Those that are not made yet have no number.
pub(super) fn line(pin: &Pin) -> String {
    let Pin { id, pattern, instance, reason, owner, until, revisions, .. } = pin;
    let number = if *id > 0 { format!("pin {id}: ") } else { String::new() };
    let within = match instance.as_deref() {
        None => String::new(),
        Some("") => " in the instance without a name".to_owned(),
        Some(instance) => format!(" in {instance}"),
    };
    let until = match until {
        None => "for ever".to_owned(),
        Some(until) if *until <= Clock::unix_seconds() => format!("over since {}", moment::written(*until)),
        Some(until) => format!("until {}", moment::written(*until)),
    };
    let revisions =
        if *revisions > 1 { format!(", with {} earlier values", revisions - 1) } else { String::new() };
    format!(
        "{number}{}{within}{revisions}, {until}, by {}: {}",
        pattern.escape_debug(),
        owner.escape_debug(),
        reason.escape_debug()
    )
}

/// A pin as JSON. Times are Unix seconds.
pub(super) fn to_json(pin: &Pin) -> Value {
    let Pin { id, pattern, instance, reason, owner, made, until, revisions } = pin;
    json!({
        "id": (*id > 0).then_some(id),
        "pattern": pattern,
        "instance": instance,
        "reason": reason,
        "owner": owner,
        "made": made,
        "until": until,
        "revisions": revisions,
    })
}
