//! Compressing what is cold, beside serving: one task, which leaves the processor to others three quarters of the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millpond_store::blobs::{CompressStep, Compressed, Compressing};
use millpond_store::now_and_then;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cache::Inner;

/// It rests for so many times as long as it worked, ...
const REST: u32 = 3;
/// ... and at least for so long.
const REST_LEAST: Duration = Duration::from_millis(50);
/// When nothing is cold, or there is no room, it looks again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// A pack for which there was no room so many times is passed over.
const NO_ROOM_MAX: u32 = 10;

/// What compressing has come to since the start.
#[derive(Debug, Default)]
pub(crate) struct CompressedSoFar {
    /// Bytes of records that were compressed.
    pub before: AtomicU64,
    /// What they take since.
    pub after: AtomicU64,
}

/// Compresses what was written so long ago, until it is stopped.
pub(crate) async fn run(inner: Arc<Inner>, cold_after: Duration, mut stopped: watch::Receiver<bool>) {
    let cold_after = u32::try_from(cold_after.as_secs()).unwrap_or(u32::MAX);
    let blobs = inner.blobs.clone();
    let resume = tokio::task::spawn_blocking(move || Compressing::resume(blobs, cold_after)).await;
    let Ok(mut compressing) = resume else { return };
    let (mut no_room, mut keep_after) = (0, Instant::now() + LOOK_AGAIN);
    loop {
        let begun = Instant::now();
        let keep = keep_after <= begun;
        if keep {
            keep_after = begun + LOOK_AGAIN;
        }
        let work = move || {
            let step = compressing.step();
            if keep {
                compressing.keep();
            }
            (compressing, step)
        };
        let Ok((back, step)) = tokio::task::spawn_blocking(work).await else { return };
        compressing = back;
        let mut rest = (begun.elapsed() * REST).max(REST_LEAST);
        match step {
            Ok(CompressStep::Did(compressed)) => {
                no_room = 0;
                inner.count_compressed(&compressed);
            }
            Ok(CompressStep::Ended) => rest = LOOK_AGAIN,
            Ok(CompressStep::NoRoom) => {
                no_room += 1;
                if no_room >= NO_ROOM_MAX {
                    no_room = 0;
                    compressing.pass_over();
                }
                rest = LOOK_AGAIN;
            }
            Err(error) => {
                now_and_then!(warn, %error, "what is cold could not be compressed now");
                rest = LOOK_AGAIN;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            _ = stopped.changed() => break,
        }
    }
    // If it is lost, some packs are looked at again.
    let _ = tokio::task::spawn_blocking(move || compressing.keep()).await;
}

impl Inner {
    fn count_compressed(&self, Compressed { packs, before, after }: &Compressed) {
        if *packs > 0 {
            tracing::debug!(packs, before, after, "compressed what was cold");
        }
        self.compressed.before.fetch_add(*before, Ordering::Relaxed);
        self.compressed.after.fetch_add(*after, Ordering::Relaxed);
    }
}
