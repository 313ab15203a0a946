//! `millpond health`: whether a server serves, for whoever looks after the process and has no shell.
//!
//! It asks the server's own health service over the administration socket, so that no listener's TLS, address or rights
//! matter. **Invariant:** it ends with 0 or 1 alone, since container engines keep other codes for themselves.

use std::thread;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::ask::ServerFlags;
use super::print;
use crate::exit::{Code, Failure};
use crate::span::Span;

/// How long an answer may take: a server that is well has it in memory.
const ANSWER: Duration = Duration::from_secs(5);
/// How often one that is waited for is asked.
const PERIOD: Duration = Duration::from_millis(200);

/// What stands below the flags in `millpond health --help`.
pub(crate) const AFTER_HELP: &str = "\
A server listens only once its index is loaded, so one that answers is ready: nobody listens before.

Exit codes:
   0  the server serves
   1  it does not, or there is none";

/// Which server, and whether it is waited for.
#[derive(Debug, clap::Args)]
pub(crate) struct HealthFlags {
    #[command(flatten)]
    server: ServerFlags,

    /// Wait until the server serves, which it does once its index is loaded
    #[arg(long)]
    ready: bool,

    /// How long to wait with --ready
    #[arg(long, value_name = "TIME", default_value = "1m", requires = "ready")]
    within: Span,
}

/// Asks, and says how the server is.
pub(crate) fn run(flags: &HealthFlags) -> Result<(), Failure> {
    let wait = if flags.ready { flags.within.seconds } else { 0 };
    let deadline = Instant::now() + Duration::from_secs(wait.into());
    loop {
        match flags.server.ask_otherwise(async |channel| serves(HealthClient::new(channel)).await) {
            Ok(()) => return print("the server serves: its index is loaded, and its disk answers\n"),
            Err(failure) if failure.is(Code::Usage) || Instant::now() >= deadline => {
                return Err(unhealthy(failure, flags));
            }
            Err(_) => thread::sleep(PERIOD),
        }
    }
}

async fn serves(mut client: HealthClient<tonic::transport::Channel>) -> Result<(), Failure> {
    let answer = timeout(ANSWER, client.check(HealthCheckRequest::default())).await;
    let late = |_| {
        let sentence = format!("the server has not answered for {} s", ANSWER.as_secs());
        Failure::new(Code::Failed, sentence, "its log may say why; if it hangs, restart it")
    };
    if answer.map_err(late)??.into_inner().status() == ServingStatus::Serving {
        return Ok(());
    }
    Err(Failure::new(
        Code::Failed,
        "the server does not serve: it is about to end, or its disk does not answer",
        "its log says which",
    ))
}

/// The same with a code that container engines know, and for what is not there yet with what that may mean.
fn unhealthy(failure: Failure, flags: &HealthFlags) -> Failure {
    if !failure.is(Code::NotRunning) && !failure.is(Code::NoVolume) {
        return failure.with_code(Code::Failed);
    }
    let waited = if flags.ready { format!(" after {}", flags.within) } else { String::new() };
    Failure::new(
        Code::Failed,
        format!("{}{waited}", failure.sentence()),
        "a server listens once its index is loaded, so it may be about to: --ready waits for it",
    )
}
