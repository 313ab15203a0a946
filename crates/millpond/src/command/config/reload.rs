//! `millpond config reload`: a server that runs reads its configuration anew.

use millpond_proto::admin::{ChangedSetting, ReloadConfigurationRequest, ReloadedConfiguration};
use serde_json::{Value, json};

use crate::command::ask::AskFlags;
use crate::command::{print, print_json};
use crate::exit::{Code, Failure};

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct ReloadFlags {
    /// Take nothing up, and only say what would be
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    ask: AskFlags,
}

/// Asks for it, and prints what came of it. What is refused has changed nothing.
pub(super) fn run(flags: &ReloadFlags) -> Result<(), Failure> {
    let request = ReloadConfigurationRequest { dry_run: flags.dry_run };
    let reloaded = flags.ask.ask(async |mut server| match server.reload_configuration(request).await {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) if status.code() == tonic::Code::InvalidArgument => {
            let hint = "nothing has changed; correct that, and ask once more";
            Err(Failure::new(Code::Usage, status.message(), hint))
        }
        Err(status) => Err(status.into()),
    })?;
    if flags.ask.json { print_json(&to_json(&reloaded)) } else { print(&text(&reloaded, flags.dry_run)) }
}

fn text(reloaded: &ReloadedConfiguration, dry_run: bool) -> String {
    let ReloadedConfiguration { taken_up, at_next_start, warnings } = reloaded;
    let mut text = String::new();
    let verb = if dry_run { "would be taken up" } else { "taken up" };
    for setting in taken_up {
        text += &format!("{verb}: {}\n", line(setting));
    }
    for setting in at_next_start {
        text += &format!("from the next start on: {}\n", line(setting));
    }
    for warning in warnings {
        text += &format!("warning: {warning}\n");
    }
    if taken_up.is_empty() && at_next_start.is_empty() {
        text += "nothing has changed\n";
    }
    text
}

fn line(setting: &ChangedSetting) -> String {
    let ChangedSetting { section, key, before, after } = setting;
    if key.is_empty() {
        let after = if after.is_empty() { "none" } else { after };
        return format!("{section}, now {after}");
    }
    let said = |value: &str| if value.is_empty() { "nothing".to_owned() } else { value.to_owned() };
    format!("{key} in {section}, before {}, now {}", said(before), said(after))
}

fn to_json(reloaded: &ReloadedConfiguration) -> Value {
    let settings = |settings: &[ChangedSetting]| -> Vec<Value> {
        let setting = |setting: &ChangedSetting| {
            let ChangedSetting { section, key, before, after } = setting;
            json!({ "section": section, "key": key, "before": before, "after": after })
        };
        settings.iter().map(setting).collect()
    };
    json!({
        "taken_up": settings(&reloaded.taken_up),
        "at_next_start": settings(&reloaded.at_next_start),
        "warnings": reloaded.warnings,
    })
}
