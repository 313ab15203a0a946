//! Log lines that a client can cause as often as it likes: one of a kind each ten seconds, with the number of those that
//! were left out.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines of a kind.
const PERIOD: Duration = Duration::from_secs(10);

/// Lets one line of a kind through in ten seconds. Used by [`now_and_then`](crate::now_and_then).
#[derive(Debug)]
pub struct Throttle(Mutex<State>);

#[derive(Debug)]
struct State {
    next: Option<Instant>,
    left_out: u64,
}

impl Throttle {
    /// Lets the first line through.
    #[expect(clippy::new_without_default, reason = "it stands in a static")]
    pub const fn new() -> Self {
        Self(Mutex::new(State { next: None, left_out: 0 }))
    }

    /// How many lines were left out before this one; `None` if this one is to be left out too.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    /// Whether the next line would be let through.
    pub fn is_quiet(&self) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.next.is_none_or(|next| next <= Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.next.is_some_and(|next| now < next) {
            state.left_out += 1;
            return None;
        }
        state.next = Some(now + PERIOD);
        Some(std::mem::take(&mut state.left_out))
    }
}

/// Writes a line to the log, as `tracing`'s macro of that level does, unless one of the same place was written within
/// ten seconds. `left_out` says how many were not.
#[macro_export]
macro_rules! now_and_then {
    ($level:ident, $($line:tt)+) => {{
        static THROTTLE: $crate::Throttle = $crate::Throttle::new();
        if let Some(left_out) = THROTTLE.pass() {
            tracing::$level!(left_out = (left_out > 0).then_some(left_out), $($line)+);
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_passes_in_ten_seconds_and_tells_of_the_others() {
        let throttle = Throttle::new();
        let start = Instant::now();
        let at = |seconds| throttle.pass_at(start + Duration::from_secs(seconds));
        assert_eq!([0, 1, 9, 10, 11, 30].map(at), [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
