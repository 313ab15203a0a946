//! `millpond names unpin`.

use clap::Args;
use millpond_cache::Pattern;
use millpond_proto::admin::UnpinNamesRequest;

use super::{pins, wanted};
use crate::command::ask::AskFlags;
use crate::command::print;
use crate::exit::{Code, Failure};

/// Which pins.
#[derive(Debug, Args)]
pub(in crate::command) struct UnpinFlags {
    #[command(flatten)]
    ask: AskFlags,
    /// The number of a pin, its name or pattern as it was pinned, or a pattern of those
    #[arg(value_name = "PIN", value_parser = wanted::pattern)]
    pin: Pattern,
    /// Only pins of this instance; '' is the one without a name
    #[arg(long, value_name = "INSTANCE")]
    instance: Option<String>,
    /// Only pins that were made for this reason
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Does it, and says which pins were taken out. That there are none is a finding.
pub(super) fn run(flags: &UnpinFlags) -> Result<(), Failure> {
    let text = flags.pin.to_string();
    let id = text.parse().ok();
    let question = UnpinNamesRequest {
        id,
        pattern: id.is_none().then_some(text),
        instance: flags.instance.clone(),
        reason: flags.reason.clone(),
    };
    let answer = flags.ask.ask(async |mut server| Ok(server.unpin_names(question).await?.into_inner()))?;
    if answer.pins.is_empty() {
        let sentence = format!("there is no pin {}", flags.pin);
        return Err(Failure::new(Code::Findings, sentence, "`millpond names pins` lists them"));
    }
    pins::print_all(&answer.pins, flags.ask.json)?;
    if flags.ask.json {
        return Ok(());
    }
    let count = if answer.pins.len() == 1 { "1 pin".into() } else { format!("{} pins", answer.pins.len()) };
    print(&format!("taken out: {count}; the space of what nothing else keeps comes back\n"))
}
