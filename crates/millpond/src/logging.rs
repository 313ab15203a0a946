//! Where log lines go: standard error, for people where that is a terminal and as JSON where it is not, with colours only on a
//! terminal that wants them. What is logged may change while the server runs.

use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, PoisonError};

use millpond_server::LogControl;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::Settings;
use crate::exit::{Code, Failure};

/// The variable that says what is logged: `warn`, `debug`, or `info,millpond_store=debug`.
const VARIABLE: &str = "MILLPOND_LOG";
/// The variable that says how: `text` or `json`.
const FORMAT: &str = "MILLPOND_LOG_FORMAT";

/// The part of a command's `--help` that names what it reads from the environment.
pub(crate) const HELP: &str = "\
Environment:
  MILLPOND_LOG  what is logged: error, warn, info, debug, trace, or a list such as info,millpond_store=debug
  MILLPOND_LOG_FORMAT  how: text, or json, a line an object [default: text on a terminal, else json]
  NO_COLOR      if it is set to anything, no colours";

/// What is logged where nobody says.
const DEFAULT: &str = "info";

/// What a filter may be.
const FILTERS: &str =
    "write a level (error, warn, info, debug, trace), or a list such as info,millpond_store=debug";

/// Refuses what the environment says of logging where it cannot be followed.
pub(crate) fn check() -> Result<(), Failure> {
    wanted().map(drop)
}

/// Whether this could be what is logged; if not, a sentence with the remedy.
pub(crate) fn is_filter(directives: &str) -> Result<(), String> {
    filter(directives)
        .map(drop)
        .map_err(|error| format!("{directives:?} is no log filter: {error}; {FILTERS}"))
}

/// Has that logged which the settings say, unless the environment says what is.
pub(crate) fn follow(log: &LogControl, settings: &Settings) -> Result<(), Failure> {
    if variable(VARIABLE).is_some() {
        return Ok(());
    }
    let wanted = settings.log_filter.as_ref().map_or(DEFAULT, |filter| filter.value.0.as_str());
    let failed = |sentence| Failure::new(Code::Usage, sentence, FILTERS);
    log.change(wanted).map(drop).map_err(failed)
}

/// Starts logging for the process, and says how what is logged is changed.
pub(crate) fn start() -> Result<LogControl, Failure> {
    let Wanted { directives, filter, as_json } = wanted()?;
    let wants_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(wants_colour && stderr().is_terminal());
    Ok(if as_json {
        // Fields lie beside the message: there are no spans whose fields could bear the same names.
        let builder = builder.json().flatten_event(true).with_current_span(false).with_span_list(false);
        let builder = builder.with_filter_reloading();
        let handle = builder.reload_handle();
        builder.init();
        control(directives, move |filter| handle.reload(filter).map_err(|error| error.to_string()))
    } else {
        let builder = builder.with_filter_reloading();
        let handle = builder.reload_handle();
        builder.init();
        control(directives, move |filter| handle.reload(filter).map_err(|error| error.to_string()))
    })
}

/// Empty is how files for services and containers leave a variable out.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|given| !given.trim().is_empty())
}

/// The way to another filter, which knows the one that holds.
fn control(
    directives: String,
    reload: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static,
) -> LogControl {
    let now = Mutex::new(directives);
    LogControl::new(move |wanted| {
        let mut now = now.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(wanted) = wanted else { return Ok(now.clone()) };
        let filter =
            filter(wanted).map_err(|error| format!("{wanted:?} is no log filter: {error}; {FILTERS}"))?;
        reload(filter)?;
        Ok(std::mem::replace(&mut *now, wanted.to_owned()))
    })
}

/// What the environment says of logging.
struct Wanted {
    directives: String,
    filter: EnvFilter,
    as_json: bool,
}

fn wanted() -> Result<Wanted, Failure> {
    let directives = variable(VARIABLE).unwrap_or_else(|| DEFAULT.into());
    let filter = filter(&directives).map_err(|error| {
        Failure::new(Code::Usage, format!("{VARIABLE}=\"{directives}\" is no log filter: {error}"), FILTERS)
    })?;
    let as_json = match variable(FORMAT).as_deref() {
        Some("json") => true,
        Some("text") => false,
        None => !stderr().is_terminal(),
        Some(other) => {
            let sentence = format!("{FORMAT}=\"{other}\" is no format of a log");
            return Err(Failure::new(Code::Usage, sentence, "write text or json"));
        }
    };
    Ok(Wanted { directives, filter, as_json })
}

fn filter(directives: &str) -> Result<EnvFilter, String> {
    // A word by itself would be a target, and with it alone nothing else would be logged: a level was meant.
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    let is_ours = |word: &str| word.starts_with(env!("CARGO_PKG_NAME"));
    let mut words = directives.split(',').map(str::trim).filter(|word| !word.contains(['=', '[']));
    if let Some(word) = words.find(|word| !word.is_empty() && !is_level(word) && !is_ours(word)) {
        return Err(format!("\"{word}\" is no level"));
    }
    EnvFilter::try_new(directives).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_lists_are_filters_and_other_words_are_not() {
        for good in
            ["info", "WARN", "off", "info,millpond_store=debug", "warn,h2=trace", "millpond_cache", "info,"]
        {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["verbose", "info,chatty", "millpond_store=loud", "info,=,"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
