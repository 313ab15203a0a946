//! Where log lines go: standard error, with colours only on a terminal that wants them.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::exit::{Code, Failure};

/// The variable that says what is logged: `warn`, `debug`, or `info,millpond_store=debug`.
const VARIABLE: &str = "MILLPOND_LOG";

/// The part of a command's `--help` that names what it reads from the environment.
pub(crate) const HELP: &str = "\
Environment:
  MILLPOND_LOG  what is logged: error, warn, info, debug, trace, or a list such as info,millpond_store=debug
  NO_COLOR      if it is set to anything, no colours";

/// Refuses what the environment says of logging where it cannot be followed.
pub(crate) fn check() -> Result<(), Failure> {
    wanted().map(drop)
}

/// Starts logging for the process.
pub(crate) fn start() -> Result<(), Failure> {
    let filter = wanted()?;
    let wants_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(wants_colour && stderr().is_terminal())
        .init();
    Ok(())
}

fn wanted() -> Result<EnvFilter, Failure> {
    // Empty is how files for services and containers leave a variable out.
    let given = std::env::var(VARIABLE).ok().filter(|given| !given.trim().is_empty());
    let directives = given.unwrap_or_else(|| "info".into());
    filter(&directives).map_err(|error| {
        Failure::new(
            Code::Usage,
            format!("{VARIABLE}=\"{directives}\" is no log filter: {error}"),
            "write a level (error, warn, info, debug, trace), or a list such as info,millpond_store=debug",
        )
    })
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
