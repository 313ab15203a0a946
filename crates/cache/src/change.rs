//! Settings that become others while the cache serves.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::instance::Instances;
use crate::overwrite::ReplacementRules;
use crate::retention::Retention;
use crate::start::{limit, of_blobs};
use crate::{Cache, CacheOptions, Error, Result};

impl Cache {
    /// Takes up other options: all but the data directory, the time to wait for room, what is kept of the audit log, when
    /// blobs are read again, and whether an older format is raised, which count from the next start on.
    ///
    /// What is there becomes what the next start would have made of it: a smaller limit has something let go, and other rules of
    /// retention are asked at each push from now on, and of all that is there in a pass that begins at once.
    ///
    /// # Errors
    /// [`Error::Invalid`] says what cannot work, and nothing has changed.
    pub async fn change(&self, options: CacheOptions) -> Result<()> {
        let instances = Instances::new(&options.instances)?;
        let inner = Arc::clone(&self.inner);
        let (retention, other_rules) = {
            let retention = Retention::new(options.retention.clone());
            let other = retention != *inner.retention.now();
            (retention, other)
        };
        let take_up = move || -> millpond_store::Result<()> {
            let limit = limit(&options, &inner.disk)?;
            inner.blobs.change(&of_blobs(&options, limit))?;
            inner.compression.send_replace(options.compression);
            inner.limit_bytes.store(limit, Ordering::Relaxed);
            inner.gate.set_lease(options.lease);
            inner.look_up_time.change(options.look_up_time);
            inner.walks.change(options.look_ups_waiting);
            inner.walker.change(options.limits);
            inner.replacement.change(ReplacementRules(options.replacement));
            inner.instances.change(instances);
            Ok(())
        };
        // The file system is asked for its size, which may take its time.
        let taken_up = tokio::task::spawn_blocking(take_up).await.map_err(Error::internal)?;
        taken_up.map_err(|error| Error::Invalid(error.to_string()))?;
        if other_rules {
            self.inner.retention.change(retention);
            self.inner.relevels.ask();
        }
        Ok(())
    }

    /// How many bytes of blobs there are too many for the size of these options: they go once it is taken up, what was used least
    /// recently first.
    ///
    /// # Errors
    /// [`Error::Invalid`], as [`Cache::change`].
    pub async fn excess_with(&self, options: CacheOptions) -> Result<u64> {
        let inner = Arc::clone(&self.inner);
        let excess = move || inner.blobs.excess_with(&of_blobs(&options, limit(&options, &inner.disk)?));
        let excess = tokio::task::spawn_blocking(excess).await.map_err(Error::internal)?;
        excess.map_err(|error| Error::Invalid(error.to_string()))
    }
}
