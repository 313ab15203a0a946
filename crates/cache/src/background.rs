//! A task that runs beside serving until it is told to stop.

use std::future::Future;

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The running task.
#[derive(Debug)]
pub(crate) struct Task {
    /// What it does, for the log.
    what: &'static str,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Task {
    /// Starts it. It ends by itself when what it is given changes.
    pub(crate) fn start<F>(what: &'static str, run: impl FnOnce(watch::Receiver<bool>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        Self { what, stop, task: tokio::spawn(run(stopped)) }
    }

    /// Ends it where it next looks, and waits for that.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        if self.task.await.is_err() {
            tracing::error!("{} had stopped before its time", self.what);
        }
    }
}
