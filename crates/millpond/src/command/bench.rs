//! `millpond bench`: measures a server, this one or another.

use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;

use millpond_bench::{CredentialError, Credentials, Error, Options, Report, Target, Watched};

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
         millpond bench --against http://127.0.0.1:11001 --rows asset,build --pid $(pidof millpond)\n  \
         millpond bench --against grpcs://cache.example.org:11002 --ca-cert ca.crt --token-file token\n\n\
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

    /// Take the server's certificate if one of these in PEM vouches for it [default: what this system trusts]
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<PathBuf>,

    /// Show the server this certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,

    /// The key of --client-cert, in PEM
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,

    /// Show the server the token in this file with each call
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

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
    let report = millpond_bench::run(&flags.try_into()?).map_err(failure)?;
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
    if let Error::Unreachable { url, .. } = &error
        && let Some(url) = with_tls(url)
    {
        let sentence = format!("{error}: this port speaks TLS");
        return Failure::new(Code::Failed, sentence, format!("give --against {url}"));
    }
    let (code, hint) = match error {
        Error::NoSuchRow(_) => (Code::Usage, "millpond bench --help names the rows"),
        Error::NoSuchProcess(_) => (Code::Usage, "--pid is for a server on this machine"),
        Error::Credentials(CredentialError::NoRoots) => {
            (Code::Usage, "say with --ca-cert who vouches for the server")
        }
        Error::Credentials(CredentialError::Name(_)) => {
            (Code::Usage, "name the server in --against as its certificate does")
        }
        Error::Credentials(_) => (Code::Usage, "millpond bench --help names what each flag takes"),
        Error::Refused { .. } => (
            Code::Failed,
            "show a key that may pull (--client-cert, --client-key), or a token (--token-file)",
        ),
        Error::Unreachable { ref url, .. } if url.starts_with("https:") => (
            Code::Failed,
            "name the server with --against as its certificate does, and who vouches for that with --ca-cert",
        ),
        Error::Unreachable { .. } => {
            (Code::Failed, "start the server, or name another with --against (grpcs:// if it speaks TLS)")
        }
        Error::Threads(_) => (Code::Failed, "raise the limit of processes (ulimit -u)"),
    };
    Failure::new(code, error.to_string(), hint)
}

/// The URL to give for a port that was spoken to without TLS, and speaks it.
fn with_tls(url: &str) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(millpond_server::url_with_tls(url))
}

impl TryFrom<Flags> for Options {
    type Error = Failure;

    fn try_from(flags: Flags) -> Result<Self, Failure> {
        let credentials = flags.credentials()?;
        Ok(Self {
            against: flags.against,
            credentials,
            instance: flags.instance,
            rows: flags.rows,
            seconds: Duration::from_secs(flags.seconds.into()),
            count: flags.count.map(|count| count as usize),
            connections: flags.connections as usize,
            idle: flags.idle as usize,
            server: Watched { pid: flags.pid, data: flags.server_data },
        })
    }
}

impl Flags {
    /// What the files hold.
    fn credentials(&self) -> Result<Credentials, Failure> {
        if !self.against.tls()
            && let Some(flag) = self.flag_of_tls()
        {
            let sentence = format!("{flag} is for TLS, and {} is without", self.against);
            return Err(Failure::new(Code::Usage, sentence, "name a port with TLS, as in grpcs://HOST:PORT"));
        }
        let ca_pem = self.ca_cert.as_deref().map(|path| read("--ca-cert", path)).transpose()?;
        let client_pem = match (&self.client_cert, &self.client_key) {
            (Some(cert), Some(key)) => Some((read("--client-cert", cert)?, read("--client-key", key)?)),
            _ => None,
        };
        let token = self.token_file.as_deref().map(|path| read("--token-file", path)).transpose()?;
        let token = token.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
        Ok(Credentials { ca_pem, client_pem, token })
    }

    /// The first of those that say something of TLS, or that nobody else on the network may see.
    fn flag_of_tls(&self) -> Option<&'static str> {
        let given = [
            ("--ca-cert", self.ca_cert.is_some()),
            ("--client-cert", self.client_cert.is_some()),
            ("--token-file", self.token_file.is_some() && !self.against.is_on_this_machine()),
        ];
        given.into_iter().find_map(|(flag, given)| given.then_some(flag))
    }
}

fn read(flag: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| {
        let sentence = format!("{flag}: {} cannot be read: {error}", path.display());
        Failure::new(Code::Usage, sentence, "name a file that this user may read")
    })
}
