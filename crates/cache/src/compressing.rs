//! Compressing what is cold, beside serving: one task, which leaves the processor to others three quarters of the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millpond_store::blobs::{CompressStep, Compressed, Compressing};
use millpond_store::now_and_then;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cache::{Compression, Inner};

/// It rests for so many times as long as it worked, ...
const REST: u32 = 3;
/// ... and at least for so long.
const REST_LEAST: Duration = Duration::from_millis(50);
/// When nothing is cold, or to be compressed for that, or there is no room, it looks again after so long.
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

/// Compresses what is cold, for as long as that is set, until it is stopped.
pub(crate) async fn run(inner: Arc<Inner>, mut stopped: watch::Receiver<bool>) {
    let (mut at_hand, mut wanted) = (None, inner.compression.subscribe());
    let (mut no_room, mut keep_after) = (0, Instant::now() + LOOK_AGAIN);
    loop {
        let mut rest = LOOK_AGAIN;
        let when = *wanted.borrow_and_update();
        if let Compression::Cold(after) = when {
            let begun = Instant::now();
            let keep = keep_after <= begun;
            if keep {
                keep_after = begun + LOOK_AGAIN;
            }
            let (blobs, resumed) = (inner.blobs.clone(), at_hand.take());
            let work = move || {
                let mut compressing = resumed.unwrap_or_else(|| Compressing::resume(blobs));
                let step = compressing.step(u32::try_from(after.as_secs()).unwrap_or(u32::MAX));
                if keep {
                    compressing.keep();
                }
                (compressing, step)
            };
            let Ok((mut compressing, step)) = tokio::task::spawn_blocking(work).await else { return };
            no_room = if matches!(step, Ok(CompressStep::NoRoom)) { no_room + 1 } else { 0 };
            if no_room == NO_ROOM_MAX {
                no_room = 0;
                compressing.pass_over();
            }
            at_hand = Some(compressing);
            match step {
                Ok(CompressStep::Did(compressed)) => {
                    inner.count_compressed(&compressed);
                    rest = (begun.elapsed() * REST).max(REST_LEAST);
                }
                Ok(CompressStep::Ended | CompressStep::NoRoom) => {}
                Err(error) => now_and_then!(warn, %error, "what is cold could not be compressed now"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            Ok(()) = wanted.changed() => {}
            _ = stopped.changed() => break,
        }
    }
    if let Some(compressing) = at_hand {
        // If it is lost, some packs are looked at again.
        let _ = tokio::task::spawn_blocking(move || compressing.keep()).await;
    }
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
