//! Reading everything again and again, slowly: what has gone bad on the disk is found before a client asks for it, and the
//! next push heals it. One task, at the rate that takes it through all that there is in the time that was set.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use millpond_store::blobs::{Scrub, ScrubPosition};
use millpond_store::{Clock, Digest, now_and_then};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cache::Inner;
use crate::check::Finding;

/// The least that is read in a second, in bytes.
const RATE_LEAST: u64 = 256 << 10;
/// Names that lack something are looked for at most so often before a pass ends: that walks all of them.
const NAMES_PERIOD: Duration = Duration::from_secs(3600);
/// How far it has come is kept so often, and when it is stopped.
const KEEP_PERIOD: Duration = Duration::from_secs(60);
/// Names that are told of in the log.
const NAMED_MAX: u64 = 20;

/// What reading has come to since the start.
#[derive(Debug, Default)]
pub(crate) struct Scrubbing {
    /// Bytes that records took which were read.
    pub bytes: AtomicU64,
    /// Bad records that it found.
    pub bad: AtomicU64,
    /// When a pass last came to its end, in Unix seconds, before the start too; 0 if that is not known.
    pub last_pass: AtomicU64,
    /// The highest pack of the pass under way; 0 before there is one.
    newest: AtomicU32,
    /// The pack at hand: packs are read from the highest number down.
    at: AtomicU32,
}

impl Scrubbing {
    fn is_at(&self, position: &ScrubPosition) {
        self.newest.store(position.newest, Ordering::Relaxed);
        self.at.store(position.at, Ordering::Relaxed);
    }

    /// How much of the pass under way has been read, from 0 to 1, as numbers of packs say it.
    pub(crate) fn share(&self) -> f64 {
        let (newest, at) = (self.newest.load(Ordering::Relaxed), self.at.load(Ordering::Relaxed));
        if newest == 0 { 0.0 } else { f64::from(newest.saturating_sub(at)) / f64::from(newest) }
    }
}

/// Reads everything over and over, until it is stopped: a pass takes so long. One that a stop broke off goes on where it was.
pub(crate) async fn run(inner: Arc<Inner>, pass: Duration, mut stopped: watch::Receiver<bool>) {
    let blobs = inner.blobs.clone();
    let known = tokio::task::spawn_blocking(move || blobs.scrub_position()).await.ok().flatten();
    let mut position = known.unwrap_or_default();
    inner.scrubbing.last_pass.store(position.finished, Ordering::Relaxed);
    loop {
        let begun = Instant::now();
        tokio::select! {
            () = one_pass(&inner, pass, &mut position) => {}
            _ = stopped.changed() => {}
        }
        let (blobs, kept) = (inner.blobs.clone(), position);
        // A position that is lost costs time alone.
        let _ = tokio::task::spawn_blocking(move || blobs.keep_scrub_position(&kept)).await;
        if *stopped.borrow() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep_until(begun + pass) => {}
            _ = stopped.changed() => return,
        }
    }
}

/// Reads what `position` does not say was read, and has it say how far it has come.
async fn one_pass(inner: &Arc<Inner>, pass: Duration, position: &mut ScrubPosition) {
    let rate = (inner.blobs.figures().live / pass.as_secs().max(1)).max(RATE_LEAST);
    if position.at == 0 {
        position.begun = Clock::unix_seconds();
    }
    let (blobs, from) = (inner.blobs.clone(), *position);
    let Ok(mut scrub) = tokio::task::spawn_blocking(move || Scrub::resume(blobs, &from)).await else {
        return;
    };
    let (mut names_due, mut names_after) = (false, Instant::now());
    let mut keep_after = Instant::now() + KEEP_PERIOD;
    loop {
        let keep = (keep_after <= Instant::now()).then(|| {
            keep_after = Instant::now() + KEEP_PERIOD;
            *position
        });
        let reader = Arc::clone(inner);
        let read = move || {
            if let Some(position) = keep {
                reader.blobs.keep_scrub_position(&position);
            }
            let step = reader.scrub_step(&mut scrub, rate);
            (scrub, step)
        };
        let Ok((back, step)) = tokio::task::spawn_blocking(read).await else { return };
        scrub = back;
        (position.newest, position.at) = scrub.place();
        inner.scrubbing.is_at(position);
        names_due |= step.bad > 0;
        if names_due && (step.ended || names_after <= Instant::now()) {
            (names_due, names_after) = (false, Instant::now() + NAMES_PERIOD);
            let inner = Arc::clone(inner);
            // What it finds is in the log; a panic is, too.
            let _ = tokio::task::spawn_blocking(move || inner.tell_of_affected_names()).await;
        }
        if step.ended {
            (position.finished, position.at) = (Clock::unix_seconds(), 0);
            inner.scrubbing.last_pass.store(position.finished, Ordering::Relaxed);
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
