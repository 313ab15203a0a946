//! `millpond doctor`: looks at the machine, the volume, the keys and the network as a server needs them, and says what to do.
//!
//! One file a kind of check. **Invariant:** nothing is changed: all that is written is a file without a name in the data directory,
//! which the kernel takes away with the process. **Invariant:** each check has its time; one that hangs is told as such.

mod clock;
mod directory;
mod disk;
mod file_system;
mod finding;
mod keys;
mod machine;
mod network;
mod patient;
mod sizing;
mod space;
mod timed;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use self::finding::{Finding, Verdict};
use self::patient::Patient;
use self::timed::Timed;
use super::{print, print_json};
use crate::config::Flags;
use crate::exit::{Code, Failure};

/// How long a check may take that measures nothing.
const TIME: Duration = Duration::from_secs(12);
/// How long one may take that measures.
const TIME_TO_MEASURE: Duration = Duration::from_secs(30);

/// What is looked at, and how it is printed.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorFlags {
    #[command(flatten)]
    settings: Flags,

    /// Where clients find the server, as in grpcs://cache.example.org:11001; may be given several times [default: the names
    /// in its certificate, at the ports where it listens]
    #[arg(long, value_name = "URL")]
    url: Vec<millpond_bench::Target>,

    /// Measure neither the disk nor the processor
    #[arg(long)]
    quick: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What stands below the flags in `millpond doctor --help`.
pub(crate) fn after_help() -> String {
    format!(
        "With the flags of `serve` it looks at what that would run with. It takes up to a minute, changes nothing, and may run \
         beside a server, best as the same user.\n\n{}",
        crate::exit::help()
    )
}

/// A check, and under which name it is told if it does not come back.
type Check = (&'static str, fn(&Patient) -> Vec<Finding>);

/// Those that measure nothing, which wait for nobody else.
const CHECKS: [Check; 11] = [
    ("configuration", machine::configuration),
    ("clock", clock::check),
    ("memory", machine::memory),
    ("open files", machine::open_files),
    ("directory", directory::data),
    ("file system", file_system::check),
    ("space", space::check),
    ("keys", keys::check),
    ("ports", network::ports),
    ("names", network::of_names),
    ("clients", network::clients),
];

/// Those that measure, one after the other.
const MEASURING: [Check; 2] = [("processor", machine::processor), ("disk", disk::check)];

/// Looks at everything. Something bad is a finding.
pub(super) fn run(flags: DoctorFlags) -> Result<(), Failure> {
    let DoctorFlags { settings, url, quick, json } = flags;
    let patient = Arc::new(Patient::look_at(settings, url)?);
    let begun: Vec<_> = CHECKS.iter().map(|check| begin(check, &patient, TIME)).collect();
    let mut findings: Vec<_> = patient.server_is_there().into_iter().collect();
    findings.extend(begun.into_iter().flat_map(Timed::wait));
    for check in MEASURING.iter().filter(|_| !quick) {
        findings.extend(begin(check, &patient, TIME_TO_MEASURE).wait());
    }
    let sizing = sizing::advice(&patient, &findings);
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (bad, look) = (count(Verdict::Bad), count(Verdict::Look));
    if json {
        let checks: Vec<_> = findings.iter().map(Finding::to_json).collect();
        print_json(&json!({ "checks": checks, "sizing": sizing, "bad": bad, "look": look }))?;
    } else {
        let lines: String = findings.iter().map(ToString::to_string).collect();
        print(&format!("{lines}\n{}\n", sizing.join("\n")))?;
    }
    if bad == 0 {
        return Ok(());
    }
    let mut names: Vec<_> = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Bad)
        .map(|finding| finding.check)
        .collect();
    names.dedup();
    Err(Failure::new(
        Code::Findings,
        format!("bad: {}", names.join(", ")),
        "what to do about it stands with each of them",
    ))
}

fn begin(check: &Check, patient: &Arc<Patient>, time: Duration) -> Timed {
    let (name, look) = *check;
    let patient = Arc::clone(patient);
    Timed::begin(name, time, move || look(&patient))
}
