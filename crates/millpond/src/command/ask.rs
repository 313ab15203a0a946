//! How a command asks a server that runs: over its administration socket, which is found as `serve` would make it.
//!
//! Each command that asks has one file, makes its question of the generated client, and prints the answer as text or JSON.

use std::error::Error;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{fs, future, io};

use hyper_util::rt::TokioIo;
use millpond_proto::admin::admin_client::AdminClient;
use tokio::net::UnixStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::admin_socket;
use crate::config::{Flags, Settings, Socket};
use crate::exit::{Code, Failure};
use crate::start;

/// Which server, and how its answer is printed.
#[derive(Debug, clap::Args)]
pub(super) struct AskFlags {
    #[command(flatten)]
    server: ServerFlags,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Which server.
#[derive(Debug, clap::Args)]
pub(super) struct ServerFlags {
    /// Find the server as this TOML file configures it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The data directory of the server [default: millpond-data in the current directory]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// The administration socket of the server [default: admin.sock in the data directory]
    #[arg(long, value_name = "PATH")]
    admin_socket: Option<Socket>,
}

/// How often a server that says nothing is asked whether it is still there, and how long it may take to say so: one that is stopped,
/// or whose machine is, never does.
const STILL_THERE: Duration = Duration::from_secs(10);
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);

/// A page of names may be of the longest names that there are.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The client that questions are asked with.
pub(super) type Server = AdminClient<Channel>;

impl AskFlags {
    /// As [`ServerFlags::ask`].
    pub(super) fn ask<T>(
        &self,
        question: impl AsyncFnOnce(Server) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.server.ask(question)
    }
}

impl ServerFlags {
    /// Connects to the server, and lets `question` ask it.
    pub(super) fn ask<T>(
        &self,
        question: impl AsyncFnOnce(Server) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let client = |channel| AdminClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        self.ask_otherwise(async |channel| question(client(channel)).await)
    }

    /// The same, for questions of another service of the socket.
    pub(super) fn ask_otherwise<T>(
        &self,
        question: impl AsyncFnOnce(Channel) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        ask_over(self.connect()?, question)
    }

    /// The data directory, where it was given.
    pub(super) fn data(&self) -> Option<&Path> {
        self.data.as_deref()
    }

    /// What configures it.
    pub(super) fn settings(&self) -> Result<Settings, Failure> {
        let (config, data, admin_socket) =
            (self.config.clone(), self.data.clone(), self.admin_socket.clone());
        Settings::load(Flags { config, data, admin_socket, ..Flags::default() }).map_err(|failure| {
            if self.config.is_none() {
                return failure;
            }
            let sentence =
                format!("the configuration that the server is to be found by: {}", failure.sentence());
            let hint = format!("{}; --data DIR without --config finds it without the file", failure.remedy());
            Failure::new(Code::Usage, sentence, hint)
        })
    }

    /// The connection to it.
    pub(super) fn connect(&self) -> Result<std::os::unix::net::UnixStream, Failure> {
        connect(&self.settings()?)
    }
}

/// Lets `question` ask the server of these settings.
pub(super) fn ask_server_of<T>(
    settings: &Settings,
    question: impl AsyncFnOnce(Server) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let client = |channel| AdminClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    ask_over(connect(settings)?, async |channel| question(client(channel)).await)
}

fn ask_over<T>(
    stream: std::os::unix::net::UnixStream,
    question: impl AsyncFnOnce(Channel) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(start::no_runtime)?;
    runtime.block_on(async { question(channel(stream).await?).await })
}

fn connect(settings: &Settings) -> Result<std::os::unix::net::UnixStream, Failure> {
    let Some(path) = admin_socket::path(settings) else {
        let sentence = "the server has no administration socket: it is set to off";
        return Err(Failure::new(Code::Usage, sentence, "give its path as --admin-socket"));
    };
    if settings.admin_socket.is_none() {
        match fs::metadata(&settings.data.value) {
            Ok(found) if found.is_dir() => {}
            // It may be there, below a directory that this user may not look into.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(not_connected(&path, &error));
            }
            _ => {
                let sentence = format!("there is no data directory {}", settings.data.value.display());
                return Err(Failure::new(Code::NoVolume, sentence, "give that of the server as --data"));
            }
        }
    }
    admin_socket::connect(&path).map_err(|error| not_connected(&path, &error))
}

async fn channel(stream: std::os::unix::net::UnixStream) -> Result<Channel, Failure> {
    stream.set_nonblocking(true).map_err(|error| lost(&error.to_string()))?;
    let stream = UnixStream::from_std(stream).map_err(|error| lost(&error.to_string()))?;
    let only = Mutex::new(Some(stream));
    let connector = service_fn(move |_| {
        let stream = only.lock().unwrap_or_else(PoisonError::into_inner).take();
        future::ready(stream.map(TokioIo::new).ok_or_else(|| io::Error::from(ErrorKind::NotConnected)))
    });
    // The address goes into a header, and nowhere else.
    let endpoint = Endpoint::from_static("http://localhost")
        .http2_keep_alive_interval(STILL_THERE)
        .keep_alive_timeout(ANSWERED_WITHIN);
    endpoint.connect_with_connector(connector).await.map_err(|error| lost(&error.to_string()))
}

fn not_connected(path: &Path, error: &io::Error) -> Failure {
    let shown = path.display();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => Failure::new(
            Code::NotRunning,
            format!("no server runs there: nobody listens on {shown}"),
            "start it with `millpond serve`, or give the data directory of another one as --data",
        ),
        ErrorKind::PermissionDenied => Failure::new(
            Code::Failed,
            format!("this user may not administer the server: {shown} is not theirs"),
            "run the command as root or as the user that the server runs as",
        ),
        _ => Failure::new(Code::Failed, format!("{shown} cannot be connected to: {error}"), ""),
    }
}

fn lost(reason: &str) -> Failure {
    let hint = "its log says why; `millpond serve` starts it if it has ended";
    Failure::new(Code::Failed, format!("the connection to the server was lost: {reason}"), hint)
}

/// What a server says to a question that it does not answer. Its sentences have the remedy in them.
impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        // One that the server sent has none.
        if status.source().is_some() {
            return lost("it ended, or has not answered for half a minute");
        }
        match status.code() {
            tonic::Code::Unimplemented => Self::new(
                Code::Failed,
                "the server there does not know that command",
                "use the version of `millpond` that it runs",
            ),
            tonic::Code::Unknown | tonic::Code::Unavailable if status.message().is_empty() => {
                lost("it did not answer")
            }
            _ => Self::new(Code::Failed, status.message(), ""),
        }
    }
}
