//! A server with its data directory, clients that push to it, and what was acknowledged for it.

use std::time::Duration;

use tokio::runtime::Runtime;

use super::ledger::{Ledger, Moment};
use super::random::Random;
use super::verify::{Totals, verify};
use super::writers::Writers;
use crate::server::Server;

/// Clients that push at once.
const WRITERS: u64 = 4;

/// One data directory, whatever becomes of its server.
pub(crate) struct Volume {
    pub server: Server,
    pub ledger: Ledger,
    /// A push was refused for want of space.
    pub full: bool,
    project: u64,
}

impl Volume {
    /// One whose server was just started.
    pub(crate) fn new(server: Server, random: &mut Random) -> Self {
        Self { server, ledger: Ledger::default(), full: false, project: random.next() }
    }

    /// Clients push, with pauses of up to `pause` between, and `meanwhile` something happens to the server; then they
    /// are told to stop.
    pub(crate) fn push<T>(
        &mut self,
        runtime: &Runtime,
        random: &mut Random,
        pause: Duration,
        meanwhile: impl FnOnce(&mut Server, &mut Random) -> T,
    ) -> T {
        let writers = self.writers(runtime, random, pause);
        let happened = meanwhile(&mut self.server, random);
        self.full |= runtime.block_on(writers.stop());
        happened
    }

    /// Clients push until each was refused for want of space.
    #[cfg(feature = "real-clients")]
    pub(crate) fn fill(&mut self, runtime: &Runtime, random: &mut Random) {
        let writers = self.writers(runtime, random, Duration::ZERO);
        self.full = runtime.block_on(writers.wait());
    }

    fn writers(&self, runtime: &Runtime, random: &mut Random, pause: Duration) -> Writers {
        let url = self.server.url().to_owned();
        runtime.block_on(async { Writers::start(&url, WRITERS, random, self.project, &self.ledger, pause) })
    }

    /// Holds the server to all that it had acknowledged by then; also what is wrong.
    pub(crate) fn verify(&self, runtime: &Runtime, then: Moment) -> (Totals, Vec<String>) {
        let totals = runtime.block_on(verify(self.server.url(), &self.ledger, then));
        assert!(!self.server.log().contains("panicked"), "the server panicked");
        (totals, self.ledger.complaints())
    }
}
