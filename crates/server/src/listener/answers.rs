//! Ends answers that their client does not read.
//!
//! HTTP/2 asks for more of an answer only when the client takes it, so an answer that is not read is not even looked
//! at. Each call runs in a task; here that task looks on while a piece of the answer has gone out and no other is asked
//! for. What it ends is the call alone: HTTP/2 resets its stream, and forgets what was to be sent.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use millpond_cache::Limit;
use tokio::time::{Instant, Sleep, sleep_until};

tokio::task_local! {
    static READER: Reader;
}

/// The client of an answer, as far as it reads. Odd while a piece went out and no other was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reader(Arc<AtomicU64>);

impl Reader {
    /// The reader of the call that runs here. Over HTTP/1 there is none who is looked after.
    pub(crate) fn of_this_call() -> Self {
        READER.try_with(Clone::clone).unwrap_or_default()
    }

    /// It wants more.
    pub(crate) fn asks(&self) {
        if self.has_piece() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It is given a piece.
    pub(crate) fn gets(&self) {
        if !self.has_piece() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn has_piece(&self) -> bool {
        self.0.load(Ordering::Relaxed) % 2 == 1
    }
}

/// Runs the calls of HTTP/2, and ends those whose client reads nothing for so long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Executor {
    pub(crate) patience: Duration,
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, call: F) {
        tokio::spawn(look_after(call, self.patience));
    }
}

async fn look_after(call: impl Future<Output = ()>, patience: Duration) {
    let reader = Reader::default();
    let mut call = pin!(READER.scope(reader.clone(), call));
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    let mut seen = 0;
    poll_fn(|context| {
        if call.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let pieces = reader.0.load(Ordering::Relaxed);
        if !reader.has_piece() {
            return Poll::Pending;
        }
        let end = Instant::now() + patience;
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if pieces != seen {
            seen = pieces;
            timer.as_mut().reset(end);
        }
        let ended = timer.as_mut().poll(context);
        if ended.is_ready() {
            Limit::Unread.met();
        }
        ended
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::time::sleep;

    const PATIENCE: Duration = Duration::from_secs(300);

    async fn seconds(call: impl Future<Output = ()>) -> u64 {
        let start = Instant::now();
        look_after(call, PATIENCE).await;
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn answer_of_which_nothing_more_is_asked_is_ended() {
        let call = async {
            Reader::of_this_call().gets();
            pending().await
        };
        assert_eq!(seconds(call).await, 300);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_reads_may_take_any_time_and_so_may_the_server() {
        let call = async {
            let reader = Reader::of_this_call();
            for _ in 0..10 {
                reader.gets();
                sleep(Duration::from_secs(299)).await;
                reader.asks();
                sleep(Duration::from_secs(10_000)).await;
            }
        };
        assert_eq!(seconds(call).await, 10 * 10_299);
    }
}
