//! What a connection is busy with, and since when with nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long after connecting the first request may come.
const FIRST_REQUEST: Duration = Duration::from_secs(60);

/// One connection's calls.
#[derive(Debug)]
pub(crate) struct Activity {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    calls: usize,
    asked: bool,
    quiet_since: Instant,
}

impl Activity {
    /// Nothing so far.
    pub(crate) fn new() -> Arc<Self> {
        let state = State { calls: 0, asked: false, quiet_since: Instant::now() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins, and ends when this is dropped.
    pub(crate) fn call(self: &Arc<Self>) -> Busy {
        let mut state = self.state();
        state.calls += 1;
        state.asked = true;
        Busy(Arc::clone(self))
    }

    /// Whether a call is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.state().calls > 0
    }

    /// Until when the connection may stay if nothing comes; at the earliest, if a call is under way.
    pub(crate) fn may_stay_until(&self, idle: Duration) -> Instant {
        let state = self.state();
        match (state.calls, state.asked) {
            (0, false) => state.quiet_since + FIRST_REQUEST.min(idle),
            (0, true) => state.quiet_since + idle,
            _ => Instant::now() + idle,
        }
    }
}

/// A call that has not ended.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.calls -= 1;
        state.quiet_since = Instant::now();
    }
}
