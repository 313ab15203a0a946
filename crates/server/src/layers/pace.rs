//! How fast a request has to come: a slow client must not keep memory from others.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// How slow a request may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slowest {
    /// How long one that holds nothing may go on without a byte.
    pub(crate) quiet: Duration,
    /// What one that holds memory has to bring, in bytes a second.
    pub(crate) rate: u32,
}

/// One that holds memory is looked at this often.
const PERIOD: Duration = Duration::from_secs(5);
/// So many periods in a row may bring less, as long as nobody waits for the memory.
const POOR_MAX: u32 = 12;

/// Why a request is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// No byte came for so long.
    Idle(Duration),
    /// It holds memory, and brought too little for this long.
    Slow(Duration),
}

/// Measures the time that is spent waiting for the client, and what came in it.
#[derive(Debug)]
pub(crate) struct Pace {
    slowest: Slowest,
    timer: Option<Pin<Box<Sleep>>>,
    waits_since: Option<Instant>,
    waited: Duration,
    brought: usize,
    poor: u32,
}

impl Pace {
    /// Of a request that may be so slow.
    pub(crate) fn new(slowest: Slowest) -> Self {
        let (waits_since, waited) = (None, Duration::ZERO);
        Self { slowest, timer: None, waits_since, waited, brought: 0, poor: 0 }
    }

    /// The client brought something, to a request that `holds` memory already or may take some now.
    pub(crate) fn brought(&mut self, bytes: usize, holds: bool) {
        if !holds {
            self.begin_period();
            self.poor = 0;
        } else if let Some(since) = self.waits_since.take() {
            self.waited += since.elapsed();
        }
        self.brought += bytes;
    }

    fn begin_period(&mut self) {
        self.waits_since = None;
        self.waited = Duration::ZERO;
        self.brought = 0;
    }

    /// There is nothing to read: ready once the client was waited for too long. `holds` memory, or nothing; `wanted` by
    /// others.
    pub(crate) fn poll_late(&mut self, context: &mut Context<'_>, holds: bool, wanted: bool) -> Poll<Late> {
        loop {
            let since = *self.waits_since.get_or_insert_with(Instant::now);
            let end = since + if holds { PERIOD.saturating_sub(self.waited) } else { self.slowest.quiet };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
            if timer.deadline() != end {
                timer.as_mut().reset(end);
            }
            ready!(timer.as_mut().poll(context));
            if !holds {
                return Poll::Ready(Late::Idle(self.slowest.quiet));
            }
            let enough = u64::from(self.slowest.rate) * PERIOD.as_secs();
            self.poor = if (self.brought as u64) < enough { self.poor + 1 } else { 0 };
            if self.poor >= POOR_MAX || (self.poor > 0 && wanted) {
                return Poll::Ready(Late::Slow(PERIOD * self.poor));
            }
            self.begin_period();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::time::{sleep, timeout};

    const SLOWEST: Slowest = Slowest { quiet: Duration::from_secs(300), rate: 16 * 1024 };

    async fn late(pace: &mut Pace, holds: bool, wanted: bool) -> Late {
        poll_fn(|context| pace.poll_late(context, holds, wanted)).await
    }

    /// Brings `bytes` every second.
    async fn bring(pace: &mut Pace, bytes: usize, wanted: bool) -> Option<Late> {
        for _ in 0..1000 {
            if let Ok(late) = timeout(Duration::from_secs(1), late(pace, true, wanted)).await {
                return Some(late);
            }
            pace.brought(bytes, true);
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn who_brings_too_little_for_a_minute_is_late() {
        let start = Instant::now();
        let late = bring(&mut Pace::new(SLOWEST), 15_000, false).await;
        assert_eq!(late, Some(Late::Slow(Duration::from_secs(60))));
        assert!(start.elapsed() < Duration::from_secs(62), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn who_brings_enough_may_take_any_time() {
        assert_eq!(bring(&mut Pace::new(SLOWEST), 25_000, true).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn others_who_wait_cut_it_short() {
        let late = bring(&mut Pace::new(SLOWEST), 15_000, true).await;
        assert_eq!(late, Some(Late::Slow(Duration::from_secs(5))));
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_the_server_takes_does_not_count() {
        let mut pace = Pace::new(SLOWEST);
        for _ in 0..100 {
            let waiting = timeout(Duration::from_millis(10), late(&mut pace, true, true)).await;
            assert!(waiting.is_err());
            pace.brought(1, true);
            sleep(Duration::from_secs(60)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_nothing_may_be_quiet_for_longer() {
        let start = Instant::now();
        assert_eq!(late(&mut Pace::new(SLOWEST), false, false).await, Late::Idle(SLOWEST.quiet));
        assert_eq!(start.elapsed().as_secs(), SLOWEST.quiet.as_secs());
    }
}
