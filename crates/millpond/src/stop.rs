//! When to end: SIGTERM or SIGINT asks, a second one insists.

use std::process;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Code, Failure};

/// The signals that end the server.
#[derive(Debug)]
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// From here on the signals no longer end the process by themselves.
    pub(crate) fn catch() -> Result<Self, Failure> {
        let catch = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(Code::Failed, format!("signals cannot be waited for: {error}"), "")
            })
        };
        Ok(Self { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }

    /// Waits for the first signal and gives its name.
    pub(crate) async fn first(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Waits for `work`, and no longer than to the first signal, of which it gives the name.
    pub(crate) async fn unless<T>(&mut self, work: impl Future<Output = T>) -> Result<T, &'static str> {
        tokio::select! {
            done = work => Ok(done),
            name = self.first() => Err(name),
        }
    }

    /// From here on one more signal ends the process where it is. Nothing that was acknowledged is lost by that.
    pub(crate) fn insist(mut self) {
        tokio::spawn(async move {
            let name = self.first().await;
            tracing::warn!("{name} once more: ending at once");
            process::exit(i32::from(Code::Failed as u8));
        });
    }
}
