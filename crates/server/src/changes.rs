//! What of a running server becomes another while it runs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millpond_cache::Changing;
use tokio::sync::{Semaphore, watch};

use crate::Options;
use crate::layers::pace::Slowest;
use crate::listener::addresses::Addresses;
use crate::listener::connection::Settings;
use crate::memory::{MESSAGE_BYTES_MAX, Memory, RequestLimits};
use crate::quota::Quotas;

/// What its parts are held to.
pub(crate) struct Changes {
    pub(crate) settings: Arc<Changing<Settings>>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) addresses: Arc<Addresses>,
    pub(crate) stopped: watch::Receiver<bool>,
    connections_max: Mutex<usize>,
}

impl Changes {
    /// For a server with these limits, of whose look-ups each may take so long.
    pub(crate) fn new(options: &Options, look_up_time: Duration, stopped: watch::Receiver<bool>) -> Self {
        Self {
            settings: Arc::new(Changing::new(Settings::new(options, stopped.clone()))),
            memory: Arc::new(Memory::new(options.request_memory, limits(options, look_up_time))),
            quotas: Arc::new(Quotas::new(options.quotas.clone())),
            permits: Arc::new(Semaphore::new(options.connections_max)),
            addresses: Addresses::new(options.connections_per_address),
            stopped,
            connections_max: Mutex::new(options.connections_max),
        }
    }

    /// Others from now on, but for the memory of requests. Needs a tokio runtime.
    pub(crate) fn change(&self, options: &Options, look_up_time: Duration) {
        self.settings.change(Settings::new(options, self.stopped.clone()));
        self.memory.change(limits(options, look_up_time));
        self.quotas.change(options.quotas.clone());
        self.addresses.change(options.connections_per_address);
        self.permit(options.connections_max);
    }

    /// So many connections: if there are more, no new one comes in until that many have ended.
    fn permit(&self, most: usize) {
        let mut before = self.connections_max.lock().unwrap_or_else(PoisonError::into_inner);
        self.permits.add_permits(most.saturating_sub(*before));
        let less = before.saturating_sub(most);
        let in_use = less - self.permits.forget_permits(less);
        if let Some(in_use) = u32::try_from(in_use).ok().filter(|count| *count > 0) {
            let permits = Arc::clone(&self.permits);
            tokio::spawn(async move {
                // Whoever waits for one waits behind this.
                if let Ok(given_back) = permits.acquire_many_owned(in_use).await {
                    given_back.forget();
                }
            });
        }
        *before = most;
    }
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Changes").field("connections_max", &self.connections_max).finish_non_exhaustive()
    }
}

fn limits(options: &Options, look_up_time: Duration) -> RequestLimits {
    RequestLimits {
        look_up_time,
        message: options.message_size.min(MESSAGE_BYTES_MAX),
        slowest: Slowest { quiet: options.upload_quiet, rate: options.upload_rate },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fewer_connections_wait_for_those_that_are_there_to_end() {
        let options = Options { connections_max: 3, ..Options::default() };
        let changes = Changes::new(&options, Duration::from_secs(1), watch::channel(false).1);
        let connect = || Arc::clone(&changes.permits).try_acquire_owned();
        let connected = [connect().unwrap(), connect().unwrap()];
        changes.change(&Options { connections_max: 1, ..options.clone() }, Duration::from_secs(1));
        tokio::task::yield_now().await;
        assert!(connect().is_err());
        let [one, other] = connected;
        drop(one);
        tokio::task::yield_now().await;
        assert!(connect().is_err(), "one is there still");
        drop(other);
        let again = connect().unwrap();
        assert!(connect().is_err());
        changes.change(&options, Duration::from_secs(1));
        let more = [connect().unwrap(), connect().unwrap()];
        assert!(connect().is_err());
        drop((again, more));
    }
}
