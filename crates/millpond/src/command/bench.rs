//! `millpond bench`: measures a server, this one or another.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::time::Duration;

use millpond_bench::{Error, Options, Report, Target, Watched};

use crate::exit::{Code, Failure};
use crate::open_files;

/// What stands below the flags in `millpond bench --help`.
pub(crate) fn after_help() -> String {
    let rows: String =
        millpond_bench::row_names().map(|(name, what)| format!("  {name:<17} {what}\n")).collect();
    format!(
        "Rows:\n{rows}\n\
         Examples:\n  \
         millpond bench --against http://127.0.0.1:11001\n  \
         millpond bench --against http://127.0.0.1:11001 --rows asset,build --pid $(pidof millpond)\n\n\
         Exit codes:\n   \
         0  measured, without an error\n   \
         1  nothing was measured\n   \
         2  the command line asks for what is not to be had\n   \
         3  measured, and there were errors"
    )
}

/// The flags of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Measure this server, which is filled with some gigabytes of noise
    #[arg(long, value_name = "URL")]
    against: Target,

    /// Run only rows whose names hold one of these words, as in build,small-read
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    rows: Vec<String>,

    /// Begin no operation of a row later than so many seconds after the first
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    seconds: u32,

    /// Make at most so many operations in each row, prepared in parts that fit into memory [default: each row's own number]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,

    /// Use so many connections, with one call at a time on each
    #[arg(long, value_name = "COUNT", default_value = "8", value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,

    /// Keep so many connections open beside them that ask nothing
    #[arg(long, value_name = "COUNT", default_value = "0")]
    idle: u32,

    /// Use this instance of the server
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    instance: String,

    /// Measure CPU and memory of this process and its children: the server, on this machine
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,

    /// Measure what this directory takes: the server's data, on this machine
    #[arg(long, value_name = "DIR")]
    server_data: Option<PathBuf>,

    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Measures and prints what came of it.
pub(crate) fn run(flags: Flags) -> Result<(), Failure> {
    let json = flags.json;
    open_files::allow_all_that_may_be_had();
    let report = millpond_bench::run(&flags.into()).map_err(failure)?;
    print(&report, json).map_err(|error| {
        Failure::new(Code::Failed, format!("the report cannot be printed: {error}"), "look at where it goes")
    })?;
    if report.is_clean() {
        return Ok(());
    }
    let count = report.rows.iter().filter(|row| !row.errors.is_empty()).count();
    Err(Failure::new(
        Code::Findings,
        format!("{count} of {} rows had errors", report.rows.len()),
        "they stand below the table, and in the server's log",
    ))
}

fn print(report: &Report, json: bool) -> std::io::Result<()> {
    let mut out = stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, report)?;
        writeln!(out)
    } else {
        write!(out, "{report}")
    }
}

fn failure(error: Error) -> Failure {
    let (code, hint) = match error {
        Error::NoSuchRow(_) => (Code::Usage, "millpond bench --help names the rows"),
        Error::NoSuchProcess(_) => (Code::Usage, "--pid is for a server on this machine"),
        Error::Unreachable { .. } => (Code::Failed, "start the server, or name another with --against"),
        Error::Threads(_) => (Code::Failed, "raise the limit of processes (ulimit -u)"),
    };
    Failure::new(code, error.to_string(), hint)
}

impl From<Flags> for Options {
    fn from(flags: Flags) -> Self {
        Self {
            against: flags.against,
            instance: flags.instance,
            rows: flags.rows,
            seconds: Duration::from_secs(flags.seconds.into()),
            count: flags.count.map(|count| count as usize),
            connections: flags.connections as usize,
            idle: flags.idle as usize,
            server: Watched { pid: flags.pid, data: flags.server_data },
        }
    }
}
