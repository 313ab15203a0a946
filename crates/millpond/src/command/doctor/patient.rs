//! What is looked at: the settings, the server if one runs, and what that says of itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use millpond_bench::Target;
use millpond_proto::admin::{GetStatusRequest, ServerStatus, Volume};
use tokio::time::timeout;

use super::finding::Finding;
use crate::command::ask;
use crate::config::{Flags, Settings};
use crate::exit::{Code, Failure};
use crate::options;

/// How long a server may take to say how it is.
const ANSWER: Duration = Duration::from_secs(5);
/// And how long all of it may take: the directory in which its socket is may hang.
const ASKING: Duration = Duration::from_secs(8);

/// What is looked at.
pub(super) struct Patient {
    pub(super) settings: Arc<Settings>,
    /// What the server says of itself, if one runs and answers.
    pub(super) status: Option<ServerStatus>,
    /// Where clients find it.
    pub(super) urls: Vec<Target>,
    /// Why it says nothing, if there may be one.
    silent: Option<Silence>,
}

/// Why nothing is said.
enum Silence {
    /// A server is there and does not answer.
    OfServer,
    /// Nobody knows whether there is one.
    OfDirectory,
    /// This user may not ask.
    NotAllowed(Failure),
}

impl Patient {
    /// Reads the configuration, and asks the server how it is.
    pub(super) fn look_at(flags: Flags, urls: Vec<Target>) -> Result<Self, Failure> {
        let settings = Arc::new(Settings::load(flags)?);
        let (tell, told) = channel();
        let asked = Arc::clone(&settings);
        thread::spawn(move || {
            // Nobody waits any more if it comes too late.
            let _ = tell.send(ask_how_it_is(&asked));
        });
        let (status, silent) = match told.recv_timeout(ASKING) {
            Ok(Ok(status)) => (status, None),
            Ok(Err(silence)) => (None, Some(silence)),
            Err(_) => (None, Some(Silence::OfDirectory)),
        };
        Ok(Self { settings, status, urls, silent })
    }

    /// The data directory, wherever this was started.
    pub(super) fn data(&self) -> PathBuf {
        options::absolute(&self.settings.data.value)
    }

    /// The nearest directory that is there, from the data directory upwards.
    pub(super) fn data_or_above(&self) -> PathBuf {
        let data = std::path::absolute(&self.settings.data.value).unwrap_or_else(|_| self.data());
        let there = data.ancestors().find(|place| place.is_dir()).unwrap_or(Path::new("/"));
        options::absolute(there)
    }

    /// What the server says of its volume.
    pub(super) fn volume(&self) -> Option<&Volume> {
        self.status.as_ref()?.volume.as_ref()
    }

    /// The process that serves.
    pub(super) fn process(&self) -> Option<u32> {
        Some(self.status.as_ref()?.process_id)
    }

    /// Whether a server runs, in a line of its own.
    pub(super) fn server_is_there(&self) -> Option<Finding> {
        const CHECK: &str = "server";
        match &self.silent {
            Some(Silence::OfServer) => {
                let says = format!("one runs, and has not said within {} s how it is", ANSWER.as_secs());
                return Some(Finding::bad(CHECK, says, "its log may say why; if it hangs, restart it"));
            }
            Some(Silence::OfDirectory) => {
                let says = format!(
                    "whether one runs could not be found out within {} s: the data directory does not answer",
                    ASKING.as_secs()
                );
                return Some(Finding::bad(CHECK, says, "see what the system's log says of its disk"));
            }
            Some(Silence::NotAllowed(failure)) => {
                let says = format!("whether one runs cannot be told: {}", failure.sentence());
                return Some(Finding::bad(CHECK, says, "run this as the user that the server runs as"));
            }
            None => {}
        }
        Some(match &self.status {
            None => Finding::good(CHECK, "none runs there: what a start needs is looked at"),
            Some(status) if !status.poisoned.is_empty() => Finding::bad(
                CHECK,
                format!("it takes nothing in since a fault of its disk: {}", status.poisoned),
                "look after the disk, then restart the server; pulls go on meanwhile",
            ),
            Some(status) => Finding::good(
                CHECK,
                format!("millpond {} runs in process {}", status.version, status.process_id),
            ),
        })
    }
}

/// What a server says of itself, if one runs; that it says nothing.
fn ask_how_it_is(settings: &Settings) -> Result<Option<ServerStatus>, Silence> {
    let asked = ask::ask_server_of(settings, async |mut server| {
        Ok(timeout(ANSWER, server.get_status(GetStatusRequest {})).await)
    });
    match asked {
        Ok(Ok(Ok(status))) => Ok(Some(status.into_inner())),
        Ok(Ok(Err(_)) | Err(_)) => Err(Silence::OfServer),
        Err(failure) if failure.is(Code::Failed) => Err(Silence::NotAllowed(failure)),
        Err(_) => Ok(None),
    }
}
