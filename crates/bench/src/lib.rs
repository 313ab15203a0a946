//! Workloads that measure a server of the Remote Execution API: what it carries, how long its answers take, and what
//! they cost it.
//!
//! **Invariant:** while the clock runs the client sends requests that were encoded before, and reads answers no further
//! than it takes to count them: client and server often share a machine.

mod artifact;
mod blob;
mod credentials;
mod failure;
mod measure;
mod percentiles;
mod plan;
mod probe;
mod process;
mod progress;
mod random;
mod report;
mod rows;
mod run;
mod setup;
mod table;
mod wire;

use std::time::Duration;

use millpond_proto::reapi::{GetCapabilitiesRequest, ServerCapabilities};
use prost::Message;

pub use credentials::{CredentialError, Credentials};
pub use failure::Errors;
pub use percentiles::Percentiles;
pub use probe::{Probed, probe};
pub use process::Watched;
pub use report::{Report, RowReport, ServerCost};
pub use wire::Target;

use crate::progress::Progress;
use crate::random::Random;
use crate::rows::Row;
use crate::run::Pool;
use crate::setup::{BATCH_BYTES, Setup};
use crate::wire::{Call, Expect, Server, method};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub against: Target,
    /// What the server is known by and what it is shown.
    pub credentials: Credentials,
    /// Its instance, empty for the one without a name.
    pub instance: String,
    /// Rows whose names hold one of these words; all if there are none.
    pub rows: Vec<String>,
    /// No operation of a row begins later than this after the first.
    pub seconds: Duration,
    /// How many operations a row makes at most; each row has its own number otherwise.
    pub count: Option<usize>,
    /// How many connections make one call at a time each.
    pub connections: usize,
    /// How many connections are open beside them and ask nothing.
    pub idle: usize,
    /// The server's process, if it is on this machine.
    pub server: Watched,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options ask for what is not there.
    #[error("no row's name holds \"{0}\"")]
    NoSuchRow(String),
    /// There is no process with the number that was given.
    #[error("there is no process {0} on this machine")]
    NoSuchProcess(u32),
    /// What was given to know the server by, or to show it, cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The server did not take the first call from us.
    #[error("{url} refuses the first call: {message}")]
    Refused {
        /// Scheme, host and port.
        url: String,
        /// What the server said.
        message: String,
    },
    /// The server did not answer its first call.
    #[error("{url} does not answer: {message}")]
    Unreachable {
        /// Scheme, host and port.
        url: String,
        /// What the attempt ended with.
        message: String,
    },
    /// The machine has no threads left.
    #[error("threads cannot be started: {0}")]
    Threads(#[from] std::io::Error),
}

/// The names of all rows, with what each does.
pub fn row_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    rows::ROWS.iter().map(|row| (row.name, row.what))
}

/// Measures, and shows how far it is on a terminal's standard error.
///
/// # Errors
/// If nothing could be measured. What goes wrong later stands in the report.
pub fn run(options: &Options) -> Result<Report, Error> {
    let rows = Row::chosen(&options.rows).map_err(Error::NoSuchRow)?;
    if let Some(pid) = options.server.pid
        && options.server.cpu_ticks().is_none()
    {
        return Err(Error::NoSuchProcess(pid));
    }
    // Half of the processors are the server's; with one thread nobody waits for another.
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get().div_ceil(2));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(all(options, rows))
}

async fn all(options: &Options, rows: Vec<&'static Row>) -> Result<Report, Error> {
    let greeting = GetCapabilitiesRequest { instance_name: options.instance.clone() };
    let greeting = Call::new(method::CAPABILITIES, &greeting, Expect::Done);
    let server = Server::new(&options.against, &options.credentials)?;
    let opened = Pool::open(&server, options.connections, options.idle, &greeting).await;
    let (mut pool, answer) = opened.map_err(|failure| {
        let (url, refused, message) = (options.against.to_string(), failure.is_refused(), failure.message);
        if refused { Error::Refused { url, message } } else { Error::Unreachable { url, message } }
    })?;
    let batch_bytes = batch_bytes(&answer);
    let mut progress = Progress::new();
    let mut report = Report::new(options);
    for row in rows {
        let setup = Setup {
            pool: &mut pool,
            progress: &mut progress,
            instance: &options.instance,
            batch_bytes,
            random: Random::fresh(),
            count: options.count.unwrap_or(row.count),
            part_max: row.count,
        };
        report.rows.push(measure::row(row, setup, options).await);
    }
    progress.end();
    Ok(report)
}

/// What the server takes in a batch, and no more than everybody does.
fn batch_bytes(capabilities: &[bytes::Bytes]) -> usize {
    let answer = capabilities.first().and_then(|answer| ServerCapabilities::decode(answer.clone()).ok());
    let told = answer.and_then(|answer| answer.cache_capabilities);
    let told = told.and_then(|cache| usize::try_from(cache.max_batch_total_size_bytes).ok());
    told.filter(|bytes| *bytes > 0).map_or(BATCH_BYTES, |bytes| bytes.min(BATCH_BYTES))
}
