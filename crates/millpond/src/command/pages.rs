//! The pages of the guide that are made from the program: every command with its flags, every exit code and every refusal.
//! `just docs` writes them anew.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use clap::{Arg, Command, CommandFactory};
use millpond_cache::{Digest, Error, Held};
use millpond_identity::Refused;
use millpond_identity::jwt::Refusal;

use super::CommandLine;
use crate::exit;

const BEGIN: &str = "<!-- made by `just docs` from here on -->";
const END: &str = "<!-- until here -->";

/// Fails unless the page has this between its marks, or writes it there.
fn page_has(page: &str, wanted: &str) {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs")).join(page);
    let found = fs::read_to_string(&path).unwrap();
    let (before, rest) = found.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let wanted = format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", wanted.trim());
    if env::var_os("MILLPOND_WRITE_DOCS").is_some() {
        fs::write(path, wanted).unwrap();
    } else {
        assert!(found == wanted, "docs/{page} is stale: `just docs` writes it anew");
    }
}

/// Of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "\\<").replace('\n', " ")
}

fn flag(argument: &Arg) -> String {
    let value = || argument.get_value_names().map_or_else(String::new, |names| names.join(" "));
    let takes = argument.get_action().takes_values();
    let called = match (argument.get_long(), argument.get_short()) {
        (Some(long), Some(short)) => format!("-{short}, --{long}"),
        (Some(long), None) => format!("--{long}"),
        (None, Some(short)) => format!("-{short}"),
        (None, None) => return value(),
    };
    if takes { format!("{called} {}", value()) } else { called }
}

fn describe(text: &mut String, command: &Command, path: &str) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().bin_name(path).render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let _ = writeln!(text, "## {path}\n\n{}.\n\n```text\n{usage}\n```\n", about.replace('<', "\\<"));
    // Flags of every command are not told again.
    let own = |argument: &&Arg| !argument.is_hide_set() && argument.get_id() != "help";
    let arguments: Vec<_> = command.get_arguments().filter(own).collect();
    if !arguments.is_empty() {
        text.push_str("| | |\n| --- | --- |\n");
    }
    for argument in &arguments {
        let help = argument.get_long_help().or(argument.get_help());
        let mut help = help.map(ToString::to_string).unwrap_or_default();
        let defaults = argument.get_default_values().iter().filter_map(|value| value.to_str());
        let defaults: Vec<_> = defaults.filter(|value| !value.is_empty()).collect();
        if !defaults.is_empty()
            && argument.get_action().takes_values()
            && !argument.is_hide_default_value_set()
        {
            let _ = write!(help, " [default: {}]", defaults.join(" "));
        }
        let _ = writeln!(text, "| `{}` | {} |", flag(argument).replace('|', "\\|"), cell(&help));
    }
    if !arguments.is_empty() {
        text.push('\n');
    }
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        describe(text, below, &format!("{path} {}", below.get_name()));
    }
}

#[test]
fn commands_page_has_every_command() {
    let mut command = CommandLine::command();
    command.build();
    let mut text = String::new();
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        describe(&mut text, below, &format!("millpond {}", below.get_name()));
    }
    page_has("commands.md", &text);
}

/// What the cache refuses a call with: the gRPC code, and an example where the words depend on the case.
fn of_the_cache() -> Vec<(&'static str, Error)> {
    let no_space = |held| Error::NoSpace { held, used: 64_000_000, limit: 64_000_000 };
    vec![
        ("NOT_FOUND", Error::NotFound("the blob".into())),
        ("FAILED_PRECONDITION", Error::Incomplete { missing: vec![Digest::of(b"pond")], count: 2 }),
        ("RESOURCE_EXHAUSTED", no_space(Held::Limit)),
        ("RESOURCE_EXHAUSTED", no_space(Held::Lease)),
        ("RESOURCE_EXHAUSTED", no_space(Held::Uploads)),
        ("RESOURCE_EXHAUSTED", no_space(Held::Names)),
        ("RESOURCE_EXHAUSTED", no_space(Held::KeptFree)),
        ("RESOURCE_EXHAUSTED", no_space(Held::FileSystem)),
        (
            "RESOURCE_EXHAUSTED",
            Error::FullOfKept {
                used: 64_000_000,
                limit: 64_000_000,
                kept: 50_000_000,
                rules: "rule 1".into(),
            },
        ),
        ("RESOURCE_EXHAUSTED", Error::TooLarge { size: 40_000_000, limit: 29_898_752 }),
        ("RESOURCE_EXHAUSTED", Error::Poisoned),
        (
            "FAILED_PRECONDITION",
            Error::TooMuchToKeep { more: 2_000_000, kept: 9_000_000, most: 10_000_000, room: 14_000_000 },
        ),
        ("INTERNAL", Error::internal("told the log")),
    ]
}

/// What credentials are refused with.
fn of_credentials() -> Vec<String> {
    let since = 1_795_516_384;
    let ours = [
        Refused::Unknown,
        Refused::NotYetValid,
        Refused::Expired { since },
        Refused::Revoked,
        Refused::Malformed,
    ];
    let (found, issuer, name) = (String::from("FOUND"), String::from("ISSUER"), String::from("NAME"));
    let issued = [
        Refusal::TooLong { bytes: 9000 },
        Refusal::Unsigned,
        Refusal::Algorithm { allowed: "ES256".into() },
        Refusal::Issuer { found: found.clone() },
        Refusal::Audience { found, wanted: "WANTED".into() },
        Refusal::NotYetValid,
        Refusal::Expired { since },
        Refusal::ExpiredForGood { since, name: name.clone() },
        Refusal::Lacks("sub"),
        Refusal::UnknownKey { issuer: issuer.clone() },
        Refusal::UnfitKey,
        Refusal::NoKeys { issuer },
        Refusal::Signature,
        Refusal::Revoked { name },
    ];
    ours.iter().map(ToString::to_string).chain(issued.iter().map(ToString::to_string)).collect()
}

#[test]
fn errors_page_has_every_code_and_refusal() {
    let mut text = "## Exit codes\n\n| code | of a command |\n| ---: | --- |\n".to_owned();
    for (code, meaning) in exit::MEANINGS {
        let _ = writeln!(text, "| {code} | {meaning} |");
    }
    text += "\n## Refused calls\n\n| gRPC | what is wrong, and what to do |\n| --- | --- |\n";
    for (code, error) in of_the_cache() {
        let _ = writeln!(text, "| `{code}` | {} |", cell(&error.to_string()));
    }
    text += "\n## Refused credentials\n\nAll of them `UNAUTHENTICATED`.\n\n| what is wrong, and what to do |\n| --- |\n";
    for words in of_credentials() {
        let _ = writeln!(text, "| {} |", cell(&words));
    }
    page_has("errors.md", &text);
}
