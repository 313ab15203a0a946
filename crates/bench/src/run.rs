//! Runs a plan on all connections at once, and what came of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::failure::{Failure, Failures};
use crate::plan::{Operation, Plan};
use crate::progress::Progress;
use crate::wire::{Call, Connection, Server};

/// What came of a plan.
#[derive(Default)]
pub(crate) struct Outcome {
    /// What each operation that succeeded took.
    pub(crate) took: Vec<Duration>,
    /// What they did, as their [`Operation::units`] and [`Operation::bytes`] say.
    pub(crate) units: u64,
    pub(crate) bytes: u64,
    pub(crate) failures: Failures,
    /// From the first operation's begin to the last one's end, and of several parts the sum of that.
    pub(crate) elapsed: Duration,
}

/// The connections of a run.
pub(crate) struct Pool {
    connections: Vec<Connection>,
    /// Held open for what they cost the server.
    _idle: Vec<Connection>,
}

/// What the connections share while a plan is run.
struct Shared {
    plan: Plan,
    next: AtomicUsize,
    began: Instant,
    most: Duration,
}

impl Pool {
    /// Opens them, and makes a call on each, so that none of that is measured; `idle` are never called again. Returns
    /// what the server answered, if it offers that call.
    pub(crate) async fn open(
        server: &Server,
        count: usize,
        idle: usize,
        greeting: &Call,
    ) -> Result<(Self, Vec<Bytes>), Failure> {
        let mut connections = Vec::with_capacity(count + idle);
        let mut answer = Vec::new();
        for _ in 0..count + idle {
            let mut connection = Connection::open(server).await?;
            match connection.ask(greeting).await {
                Ok(messages) => answer = messages,
                Err(failure) if failure.is_unimplemented() => {}
                Err(failure) => return Err(failure),
            }
            connections.push(connection);
        }
        let idle = connections.split_off(count);
        Ok((Self { connections, _idle: idle }, answer))
    }

    /// Makes the operations of a plan, beginning none later than `most` after the first.
    pub(crate) async fn run(&mut self, plan: Plan, most: Duration, progress: &Progress) -> Outcome {
        let shared = Arc::new(Shared { plan, next: AtomicUsize::new(0), began: Instant::now(), most });
        let mut workers = JoinSet::new();
        for connection in self.connections.drain(..) {
            workers.spawn(work(connection, Arc::clone(&shared)));
        }
        let mut outcome = Outcome::default();
        while !workers.is_empty() {
            tokio::select! {
                ended = workers.join_next() => if let Some(Ok((connection, part))) = ended {
                    self.connections.push(connection);
                    outcome.join(part);
                },
                () = Progress::pause() => {
                    progress.show(shared.next.load(Ordering::Relaxed), shared.plan.count);
                }
            }
        }
        outcome.elapsed = shared.began.elapsed();
        outcome
    }
}

/// Makes operations on one connection until there are no more, the time is up, or it makes no sense to go on.
async fn work(mut connection: Connection, shared: Arc<Shared>) -> (Connection, Outcome) {
    let mut outcome = Outcome::default();
    while shared.began.elapsed() < shared.most {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let Some(operation) = shared.plan.get(number) else { break };
        let began = Instant::now();
        match perform(&mut connection, operation).await {
            Ok(()) => {
                outcome.took.push(began.elapsed());
                outcome.units += operation.units;
                outcome.bytes += operation.bytes;
            }
            Err(failure) => {
                let hopeless = failure.is_unimplemented() || failure.is_unreachable() || failure.is_refused();
                outcome.failures.add(failure);
                if hopeless {
                    break;
                }
            }
        }
    }
    (connection, outcome)
}

async fn perform(connection: &mut Connection, operation: &Operation) -> Result<(), Failure> {
    connection.reopen(operation.opening).await?;
    for call in &operation.calls {
        connection.call(call).await?;
    }
    Ok(())
}

impl Outcome {
    /// Adds what the next part of the same row did.
    pub(crate) fn append(&mut self, next: Self) {
        self.elapsed += next.elapsed;
        self.join(next);
    }

    /// Adds what another connection did at the same time.
    fn join(&mut self, other: Self) {
        self.took.extend(other.took);
        self.units += other.units;
        self.bytes += other.bytes;
        self.failures.join(other.failures);
    }
}
