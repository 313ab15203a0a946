//! How many bytes a second are read of another server.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Holds back whoever reads.
#[derive(Debug)]
pub(super) struct Rate {
    /// 0 for as many as come.
    bytes_a_second: u64,
    /// When the bytes that were taken by now are paid for.
    paid: Mutex<Instant>,
}

impl Rate {
    pub(super) fn new(bytes_a_second: u64) -> Self {
        Self { bytes_a_second, paid: Mutex::new(Instant::now()) }
    }

    /// Takes so many bytes, once those of before are paid for.
    pub(super) async fn take(&self, bytes: u64) {
        if self.bytes_a_second == 0 {
            return;
        }
        let begins = {
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            let begins = (*paid).max(Instant::now());
            let micros = u128::from(bytes) * 1_000_000 / u128::from(self.bytes_a_second);
            *paid = begins + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX >> 12));
            begins
        };
        sleep_until(begins).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_come_at_the_rate_whoever_takes_them() {
        let (rate, begun) = (Rate::new(1000), Instant::now());
        for _ in 0..5 {
            tokio::join!(rate.take(500), rate.take(1500));
        }
        // The last ones are not paid for yet.
        let taken = begun.elapsed();
        assert!(taken >= Duration::from_secs(8) && taken < Duration::from_secs(10), "{taken:?}");
        Rate::new(0).take(u64::MAX).await;
    }
}
