//! Reading everything again and again, slowly: what has gone bad on the disk is found before a client asks for it, and the
//! next push heals it. One task, at the rate that takes it through all that there is in the time that was set.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millpond_store::blobs::Scrub;
use millpond_store::{Clock, Digest, now_and_then};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cache::Inner;
use crate::check::Finding;

/// The least that is read in a second, in bytes.
const RATE_LEAST: u64 = 256 << 10;
/// Names that lack something are looked for at most so often before a pass ends: that walks all of them.
const NAMES_PERIOD: Duration = Duration::from_secs(3600);
/// Names that are told of in the log.
const NAMED_MAX: u64 = 20;

/// What reading has come to since the start.
#[derive(Debug, Default)]
pub(crate) struct Scrubbing {
    /// Bytes that records took which were read.
    pub bytes: AtomicU64,
    /// Bad records that it found.
    pub bad: AtomicU64,
    /// When a pass last came to its end, in Unix seconds; 0 if none did.
    pub last_pass: AtomicU64,
}

/// The running task.
#[derive(Debug)]
pub(crate) struct Task {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Task {
    /// Starts it: a pass takes so long.
    pub(crate) fn start(inner: Arc<Inner>, pass: Duration) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { stop, task: tokio::spawn(run(inner, pass, stopped)) }
    }

    /// Ends it after the record at hand.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        if self.task.await.is_err() {
            tracing::error!("reading all blobs again had stopped before its time");
        }
    }
}

async fn run(inner: Arc<Inner>, pass: Duration, mut stopped: watch::Receiver<bool>) {
    loop {
        let begun = Instant::now();
        tokio::select! {
            () = one_pass(&inner, pass) => {}
            _ = stopped.changed() => return,
        }
        tokio::select! {
            () = tokio::time::sleep_until(begun + pass) => {}
            _ = stopped.changed() => return,
        }
    }
}

/// Reads everything once.
async fn one_pass(inner: &Arc<Inner>, pass: Duration) {
    let rate = (inner.blobs.figures().live / pass.as_secs().max(1)).max(RATE_LEAST);
    let blobs = inner.blobs.clone();
    let Ok(mut scrub) = tokio::task::spawn_blocking(move || Scrub::new(blobs)).await else { return };
    let (mut names_due, mut names_after) = (false, Instant::now());
    loop {
        let reader = Arc::clone(inner);
        let read = move || {
            let step = reader.scrub_step(&mut scrub, rate);
            (scrub, step)
        };
        let Ok((back, step)) = tokio::task::spawn_blocking(read).await else { return };
        scrub = back;
        names_due |= step.bad > 0;
        if names_due && (step.ended || names_after <= Instant::now()) {
            (names_due, names_after) = (false, Instant::now() + NAMES_PERIOD);
            let inner = Arc::clone(inner);
            // What it finds is in the log; a panic is, too.
            let _ = tokio::task::spawn_blocking(move || inner.tell_of_affected_names()).await;
        }
        if step.ended {
            inner.scrubbing.last_pass.store(Clock::unix_seconds(), Ordering::Relaxed);
            return;
        }
        // Larger records take their time afterwards.
        let millis = step.bytes.saturating_mul(1000) / rate;
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}

/// What a step read.
#[derive(Debug, Default)]
struct Step {
    bytes: u64,
    bad: u64,
    ended: bool,
}

impl Inner {
    /// Reads records of about so many bytes.
    fn scrub_step(&self, scrub: &mut Scrub, bytes: u64) -> Step {
        let mut step = Step::default();
        while step.bytes < bytes && !self.gate.is_closed() {
            match scrub.next() {
                None => {
                    step.ended = true;
                    break;
                }
                Some(Ok(scrubbed)) => {
                    step.bytes += scrubbed.bytes;
                    if let Some(bad) = scrubbed.bad {
                        step.bad += 1;
                        let digest = bad.digest.as_ref().map(Digest::to_string);
                        now_and_then!(
                            error,
                            digest,
                            what = bad.what,
                            "reading all blobs again found a bad one"
                        );
                    }
                }
                Some(Err(error)) => {
                    now_and_then!(warn, %error, "a blob could not be read again, and is left for later");
                    break;
                }
            }
        }
        self.scrubbing.bytes.fetch_add(step.bytes, Ordering::Relaxed);
        self.scrubbing.bad.fetch_add(step.bad, Ordering::Relaxed);
        step
    }

    /// Writes into the log which names bad records have taken with them.
    fn tell_of_affected_names(&self) {
        let mut told = 0;
        let counted = self.check_names(&mut |finding| {
            if let Finding::Affected { instance, name, missing } = finding
                && told < NAMED_MAX
            {
                told += 1;
                let missing = missing.as_ref().map(Digest::to_string);
                tracing::error!(
                    instance,
                    name,
                    missing,
                    "a name is not whole, and is a miss until it is pushed again"
                );
            }
            true
        });
        match counted {
            Ok((names, affected)) => {
                tracing::error!(names, affected, "names that lack something were counted")
            }
            Err(error) => tracing::warn!(%error, "names that lack something were not counted"),
        }
    }
}
