//! A check with a time of its own: what it asks may hang, and must not hang the others.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::finding::Finding;

/// A check that has begun.
pub(super) struct Timed {
    name: &'static str,
    time: Duration,
    begun: Instant,
    found: Receiver<Vec<Finding>>,
}

impl Timed {
    /// Begins it, on a thread that ends with the process if it does not before.
    pub(super) fn begin(
        name: &'static str,
        time: Duration,
        check: impl FnOnce() -> Vec<Finding> + Send + 'static,
    ) -> Self {
        let (tell, found) = channel();
        let spawned = thread::Builder::new().spawn(move || {
            // Nobody waits any more if it comes too late.
            let _ = tell.send(check());
        });
        // Without a thread the other end is gone, which is told as a check that broke.
        drop(spawned);
        Self { name, time, begun: Instant::now(), found }
    }

    /// What it found, or that it did not come back.
    pub(super) fn wait(self) -> Vec<Finding> {
        let left = self.time.saturating_sub(self.begun.elapsed());
        let seconds = self.time.as_secs();
        match self.found.recv_timeout(left) {
            Ok(found) => found,
            Err(RecvTimeoutError::Timeout) => vec![Finding::bad(
                self.name,
                format!("this did not come back within {seconds} s: a disk or a name server hangs"),
                "see what the system's log says of the disk, and whether names of other hosts are found",
            )],
            Err(RecvTimeoutError::Disconnected) => {
                vec![Finding::look(self.name, "this could not be looked at", "see what stands above")]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn a_check_that_hangs_or_breaks_is_told_and_waited_for_no_longer() {
        let begun = Instant::now();
        let hangs = Timed::begin("disk", Duration::from_millis(50), || {
            loop {
                thread::sleep(Duration::from_secs(60));
            }
        });
        let found = hangs.wait();
        assert!(found[0].verdict == Verdict::Bad && found[0].to_string().contains("did not come back"));
        assert!(begun.elapsed() < Duration::from_secs(20));
        let quick =
            Timed::begin("clock", Duration::from_secs(20), || vec![Finding::good("clock", "it runs")]);
        assert_eq!(quick.wait()[0].verdict, Verdict::Good);
    }
}
