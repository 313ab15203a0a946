//! Work in the background: packs synced ahead of need, uses and time written down, sizes told.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millpond_store::catalog::UseOf;
use millpond_store::{Error, now_and_then};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::cache::Inner;

/// How long a step may try again to tell the catalog of bad records.
const BAD_RECORDS_TIME: Duration = Duration::from_secs(5);
/// Packs are synced so often, so that a publish finds little to do.
const SYNC_PERIOD: Duration = Duration::from_secs(1);
/// Uses, time and the catalog's size are written down each so many sync periods.
const FLUSH_PERIODS: u32 = 5;
/// Names that lacked something are looked at again each so many sync periods.
const LACKING_PERIODS: u32 = 60;
/// What was removed and may not come back any more is looked for each so many sync periods.
const REMOVED_PERIODS: u32 = 600;

/// Does it until it is stopped.
pub(crate) async fn run(inner: Arc<Inner>, mut stopped: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(SYNC_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let noted = Arc::clone(&inner);
    // So that what comes in from now on counts. If it cannot be noted, a later step does.
    let _ = tokio::task::spawn_blocking(move || noted.note_inflow()).await;
    for period in 1_u32.. {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.changed() => return,
        }
        let flush = period.is_multiple_of(FLUSH_PERIODS);
        if flush {
            inner.flush_uses().await;
        }
        if period % REMOVED_PERIODS == 1
            && let Err(error) = inner.forget_removed().await
        {
            now_and_then!(warn, %error, "names that were removed stay in the catalog for now");
        }
        if period.is_multiple_of(LACKING_PERIODS) {
            inner.look_at_lacking_names().await;
        }
        let inner = Arc::clone(&inner);
        let step = tokio::task::spawn_blocking(move || inner.step(flush));
        if let Err(error) = step.await {
            tracing::error!(%error, "a step of the background work failed");
        }
    }
}

impl Inner {
    fn step(&self, sizes: bool) {
        self.blobs.background_sync();
        if sizes {
            self.bad_records.retry(BAD_RECORDS_TIME);
            self.note_inflow();
            let catalog = self.catalog.figures();
            let bytes = catalog.database_bytes + catalog.journal_bytes;
            self.names_bytes.store(bytes, Ordering::Relaxed);
            self.sync_audit();
            let audit = self.auditor.as_ref().map_or(0, |auditor| auditor.log.allocated());
            self.blobs.set_other_bytes(bytes + catalog.aside_bytes + audit);
        }
    }

    /// Makes durable what the audit log has.
    pub(crate) fn sync_audit(&self) {
        if let Some(auditor) = &self.auditor
            && let Err(error) = auditor.log.sync()
        {
            now_and_then!(error, %error, "the audit log takes nothing in, and so no push is");
        }
    }

    /// Writes uses and the time into the catalog, and says whether it took them in. A use leaves memory only once it is
    /// committed, or a value's level would dip for a moment.
    pub(crate) async fn flush_uses(&self) -> bool {
        let uses: Vec<UseOf> = self.gate.uses();
        let recorded = if uses.is_empty() { Ok(()) } else { self.catalog.record_uses(uses.clone()).await };
        let recorded = match recorded {
            Ok(()) => self.catalog.record_time(self.clock.now()).await,
            Err(error) => Err(error),
        };
        let took_in = recorded.is_ok();
        match recorded {
            Ok(()) => self.gate.uses_committed(&uses),
            Err(Error::Poisoned(_)) if self.catalog.figures().poisoned => self.gate.keep_no_uses(),
            Err(error) => now_and_then!(warn, %error, "uses stay in memory: the catalog takes nothing in"),
        }
        took_in
    }
}
