//! The command line: one file a subcommand.

use std::io::{self, Write};

use clap::{Parser, Subcommand};

use crate::exit::{self, Code, Failure};

mod ask;
mod audit;
mod backup;
mod bench;
mod cat;
mod config;
mod copy;
mod copying;
mod digest;
mod doctor;
mod du;
mod fsck;
mod grant;
mod hand_over;
mod health;
mod import;
mod job;
mod keys;
mod listed;
mod log_level;
mod ls;
mod moment;
mod names;
mod other;
#[cfg(test)]
mod pages;
mod progress;
mod restore;
mod retention;
mod serve;
mod setup;
mod status;
mod taken;
mod tokens;
mod verify;
mod waterline;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "millpond",
    version,
    about = "An artifact cache server for BuildStream and REAPI clients",
    long_about = "An artifact cache server for BuildStream and REAPI clients.\n\n\
                  Without a command it serves, with the flags of `millpond serve`.",
    after_help = exit::help(),
    args_conflicts_with_subcommands = true
)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: serve::ServeFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients from one data directory, in the foreground, until SIGTERM or SIGINT
    #[command(after_help = serve::after_help())]
    Serve(serve::ServeFlags),
    /// Say what a server that runs is, and how it is
    #[command(after_help = exit::help())]
    Status(ask::AskFlags),
    /// Say whether a server that runs serves, by the exit code as well
    #[command(after_help = health::AFTER_HELP)]
    Health(health::HealthFlags),
    /// Look at machine, disk, keys and network as a server needs them, and say what to do about what is not well
    #[command(after_help = doctor::after_help())]
    Doctor(Box<doctor::DoctorFlags>),
    /// Say what a server that runs logs, or have it log something else until its next start
    #[command(after_help = exit::help())]
    LogLevel(log_level::LogLevelFlags),
    /// Say what the rules of [[retention]] come to on a server that runs, and give back what nothing keeps
    #[command(subcommand, after_help = exit::help())]
    Retention(retention::Command),
    /// Say how far back the cache reaches, when it will be full, and whether more disk would help
    #[command(after_help = exit::help())]
    Waterline(ask::AskFlags),
    /// Say what takes the room: bytes by project, element, kind, instance or age, and what lies beside them
    #[command(after_help = exit::help())]
    Du(du::DuFlags),
    /// Print the bytes of a blob
    #[command(after_help = exit::help())]
    Cat(cat::CatFlags),
    /// List what is in a tree
    #[command(after_help = exit::help())]
    Ls(ls::LsFlags),
    /// List names, say what is known of them, remove them and bring them back, and pin them
    #[command(subcommand, after_help = exit::help())]
    Names(names::Command),
    /// Say who did what, from the audit logs of the data directory and of the directory of keys
    #[command(after_help = exit::help())]
    Audit(audit::AuditFlags),
    /// Read everything and say what is bad, of a server that runs or of a data directory that nobody serves
    #[command(after_help = exit::help())]
    Fsck(fsck::FsckFlags),
    /// Take over what another server has in its directory: names, and the blobs that they need
    #[command(subcommand, after_help = exit::help())]
    Import(import::Command),
    /// Take over names of another server that runs, whatever it is, with the blobs that they need
    #[command(after_help = copy::after_help())]
    Copy(copy::CopyFlags),
    /// Compare the names here with those of another server that runs, and whether their blobs are here and there
    #[command(after_help = verify::after_help())]
    Verify(verify::VerifyFlags),
    /// Copy the whole volume to another directory, of a server that runs or of a data directory that nobody serves
    #[command(after_help = exit::help())]
    Backup(backup::BackupFlags),
    /// Make a data directory of a backup
    #[command(after_help = exit::help())]
    Restore(restore::RestoreFlags),
    /// Measure a server with workloads of builds: Millpond, or any other that speaks the Remote Execution API
    #[command(after_help = bench::after_help())]
    Bench(bench::Flags),
    /// Make keys, a configuration and a first client's key, so that `serve` speaks TLS to whoever has them
    #[command(after_help = setup::after_help())]
    Setup(setup::SetupFlags),
    /// Write, judge and show the configuration
    #[command(subcommand, after_help = exit::help())]
    Config(config::Command),
    /// Make, list and revoke the certificates that server and clients know each other by
    #[command(subcommand, after_help = exit::help())]
    Keys(keys::Command),
    /// Make, list and revoke the tokens that clients may show instead of a certificate
    #[command(subcommand, after_help = exit::help())]
    Tokens(tokens::Command),
}

impl CommandLine {
    /// Does what it says.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.command.unwrap_or(Command::Serve(self.flags)) {
            Command::Serve(flags) => serve::run(flags),
            Command::Status(flags) => status::run(flags),
            Command::Health(flags) => health::run(&flags),
            Command::Doctor(flags) => doctor::run(*flags),
            Command::LogLevel(flags) => log_level::run(flags),
            Command::Retention(command) => retention::run(command),
            Command::Waterline(flags) => waterline::run(flags),
            Command::Du(flags) => du::run(&flags),
            Command::Cat(flags) => cat::run(&flags),
            Command::Ls(flags) => ls::run(&flags),
            Command::Names(command) => names::run(command),
            Command::Audit(flags) => audit::run(flags),
            Command::Fsck(flags) => fsck::run(flags),
            Command::Import(command) => import::run(&command),
            Command::Copy(flags) => copy::run(&flags),
            Command::Verify(flags) => verify::run(&flags),
            Command::Backup(flags) => backup::run(&flags),
            Command::Restore(flags) => restore::run(&flags),
            Command::Bench(flags) => bench::run(flags),
            Command::Setup(flags) => setup::run(flags),
            Command::Config(command) => config::run(command),
            Command::Keys(command) => keys::run(command),
            Command::Tokens(command) => tokens::run(command),
        }
    }
}

/// So many of these, as in 1 name or 2 names.
fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Words of others, with nothing in them that moves a cursor; quotation marks stay as they are.
fn printable(text: &str) -> String {
    let escaped = |character: char| match character {
        '\'' | '"' => character.to_string(),
        other => other.escape_debug().to_string(),
    };
    text.chars().map(escaped).collect()
}

fn print(text: &str) -> Result<(), Failure> {
    print_to_reader(text.as_bytes()).map(drop)
}

/// For what goes on for long and only tells: false once nobody reads any more.
fn print_to_reader(bytes: &[u8]) -> Result<bool, Failure> {
    match io::stdout().write_all(bytes) {
        Ok(()) => Ok(true),
        // Whoever closed the pipe has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => {
            Err(Failure::new(Code::Failed, format!("standard output cannot be written: {error}"), ""))
        }
    }
}

fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    print(&format!("{value:#}\n"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_command_names_its_exit_codes() {
        for command in CommandLine::command().get_subcommands_mut() {
            assert!(command.render_help().to_string().contains("Exit codes:"), "{}", command.get_name());
        }
    }

    #[test]
    fn help_names_the_environment_and_quotes_what_shells_take_for_a_pattern() {
        let mut command = CommandLine::command();
        let serve = command.find_subcommand_mut("serve").unwrap();
        for help in [serve.render_help().to_string(), serve.render_long_help().to_string()] {
            for part in ["MILLPOND_LOG", "NO_COLOR", "--listen '[::]:11001'", "0s"] {
                assert!(help.contains(part), "{part}: {help}");
            }
        }
    }

    #[test]
    fn words_of_others_move_no_cursor_and_keep_their_quotation_marks() {
        assert_eq!(printable("the remote's \"auth\"\u{1b}[2J\n"), "the remote's \"auth\"\\u{1b}[2J\\n");
    }

    #[test]
    fn flags_are_those_of_serve_when_no_command_is_given() {
        let line = CommandLine::try_parse_from(["millpond", "--data", "pond"]).unwrap();
        assert_eq!(line.flags.settings.data, Some("pond".into()));
        assert!(CommandLine::try_parse_from(["millpond", "--data", "pond", "serve"]).is_err());
    }
}
