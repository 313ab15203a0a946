//! What came of each row: for people as a table, for machines as JSON.

use serde::Serialize;

use crate::Options;
use crate::failure::Errors;
use crate::percentiles::Percentiles;
use crate::process::{Watched, own_ticks, seconds};
use crate::rows::{Measure, Row};
use crate::run::Outcome;

const MIB: f64 = (1 << 20) as f64;
const GIB: f64 = (1 << 30) as f64;
/// Linux counts in hundredths of a second: of less than this, a twentieth would be guessed.
const CPU_SECONDS_MIN: f64 = 0.2;

/// What came of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The server, as it was named.
    pub against: String,
    /// How many connections there were, with one call at a time each.
    pub connections: usize,
    /// How many connections were open beside them and asked nothing.
    pub idle: usize,
    /// One for each row that was asked for.
    pub rows: Vec<RowReport>,
}

/// What came of a row.
#[derive(Debug, Serialize)]
pub struct RowReport {
    /// Its name.
    pub row: &'static str,
    /// What it does.
    pub what: &'static str,
    /// What `operations` counts, such as `blobs`.
    pub unit: &'static str,
    /// Whether its speed is best told in MiB/s, and its cost in CPU seconds a GiB.
    pub by_bytes: bool,
    /// Why it was not run: the server does not offer the call.
    pub skipped: Option<String>,
    /// How many succeeded.
    pub operations: u64,
    /// How many bytes of content went up or came down with them.
    pub bytes: u64,
    /// From the first call to the last answer, in seconds.
    pub seconds: f64,
    /// Operations a second.
    pub operations_per_second: f64,
    /// Content, in MiB a second.
    pub mib_per_second: f64,
    /// How many were timed: a call (or a whole build) each, which may be many operations.
    pub timed: usize,
    /// What they took, in milliseconds.
    pub milliseconds: Percentiles,
    /// What failed, by code.
    pub errors: Vec<Errors>,
    /// CPU that this client used, in seconds.
    pub client_cpu_seconds: f64,
    /// What the row cost the server, as far as that was watched.
    pub server: ServerCost,
}

/// What a row cost the server.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct ServerCost {
    /// CPU of the process and its children until they were at rest again, in seconds, to a hundredth.
    pub cpu_seconds: Option<f64>,
    /// The same for each operation, in microseconds; absent if it was too little to divide.
    pub cpu_us_per_operation: Option<f64>,
    /// The same for each GiB of content, in seconds; absent if it was too little to divide.
    pub cpu_seconds_per_gib: Option<f64>,
    /// The most memory that it held meanwhile, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// What its data directory takes at the end, in bytes.
    pub disk_bytes: Option<u64>,
    /// By how much the data directory has grown, in bytes.
    pub disk_grown_bytes: Option<i64>,
}

/// What a row cost, or a part of it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Cost {
    /// CPU that this client used, in seconds.
    client_cpu_seconds: f64,
    server: ServerCost,
}

/// What client and server had used before a part of a row.
pub(crate) struct Before {
    server_ticks: Option<u64>,
    disk_bytes: Option<u64>,
    client_ticks: u64,
}

impl Before {
    pub(crate) fn now(server: &Watched) -> Self {
        server.forget_peak();
        let disk_bytes = server.disk_bytes();
        Self { server_ticks: server.cpu_ticks(), disk_bytes, client_ticks: own_ticks() }
    }

    /// What they have used since, once the server is at rest.
    pub(crate) async fn cost(&self, server: &Watched) -> Cost {
        let client_cpu_seconds = seconds(own_ticks().saturating_sub(self.client_ticks));
        server.settle().await;
        Cost { client_cpu_seconds, server: self.server_cost(server) }
    }

    fn server_cost(&self, server: &Watched) -> ServerCost {
        let ticks = server.cpu_ticks().zip(self.server_ticks);
        let disk_bytes = server.disk_bytes();
        let grown = disk_bytes.zip(self.disk_bytes);
        ServerCost {
            cpu_seconds: ticks.map(|(now, before)| seconds(now.saturating_sub(before))),
            peak_memory_bytes: server.peak_bytes(),
            disk_bytes,
            disk_grown_bytes: grown.map(|(now, before)| now.cast_signed().saturating_sub_unsigned(before)),
            ..ServerCost::default()
        }
    }
}

impl Cost {
    /// Adds what the next part cost.
    pub(crate) fn join(&mut self, next: Self) {
        self.client_cpu_seconds += next.client_cpu_seconds;
        let (sum, next) = (&mut self.server, next.server);
        sum.cpu_seconds = joined(sum.cpu_seconds, next.cpu_seconds, |sum, part| sum + part);
        sum.peak_memory_bytes = joined(sum.peak_memory_bytes, next.peak_memory_bytes, u64::max);
        sum.disk_bytes = next.disk_bytes;
        sum.disk_grown_bytes = joined(sum.disk_grown_bytes, next.disk_grown_bytes, i64::saturating_add);
    }
}

/// Both together, or the one that is there.
fn joined<T>(first: Option<T>, second: Option<T>, join: impl Fn(T, T) -> T) -> Option<T> {
    match (first, second) {
        (Some(first), Some(second)) => Some(join(first, second)),
        (first, second) => first.or(second),
    }
}

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        let Options { against, connections, idle, .. } = options;
        Self { against: against.to_string(), connections: *connections, idle: *idle, rows: Vec::new() }
    }

    /// Whether every row that the server offers went without an error.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.rows.iter().all(|row| row.errors.is_empty())
    }
}

impl RowReport {
    /// What is measured of a row that has been run.
    pub(crate) fn new(row: &Row, outcome: Outcome, cost: Cost) -> Self {
        let Cost { client_cpu_seconds, server } = cost;
        let seconds = outcome.elapsed.as_secs_f64();
        let (units, bytes) = (outcome.units as f64, outcome.bytes as f64);
        let cpu = server.cpu_seconds.filter(|cpu| *cpu >= CPU_SECONDS_MIN);
        let server = ServerCost {
            cpu_us_per_operation: cpu.and_then(|cpu| ratio(cpu * 1e6, units)),
            cpu_seconds_per_gib: cpu.and_then(|cpu| ratio(cpu * GIB, bytes)),
            ..server
        };
        Self {
            operations: outcome.units,
            bytes: outcome.bytes,
            seconds,
            operations_per_second: ratio(units, seconds).unwrap_or_default(),
            mib_per_second: ratio(bytes / MIB, seconds).unwrap_or_default(),
            timed: outcome.took.len(),
            milliseconds: Percentiles::of(outcome.took),
            client_cpu_seconds,
            server,
            ..Self::empty(row).with(outcome.failures.into_errors())
        }
    }

    /// Takes errors: nothing but calls that the server does not offer is no error.
    fn with(mut self, errors: Vec<Errors>) -> Self {
        match errors.as_slice() {
            [only] if only.is_unimplemented() => self.skipped = Some(only.message.clone()),
            _ => self.errors = errors,
        }
        self
    }

    fn empty(row: &Row) -> Self {
        Self {
            row: row.name,
            what: row.what,
            unit: row.unit,
            by_bytes: row.measure == Measure::Bytes,
            skipped: None,
            operations: 0,
            bytes: 0,
            seconds: 0.0,
            operations_per_second: 0.0,
            mib_per_second: 0.0,
            timed: 0,
            milliseconds: Percentiles::default(),
            errors: Vec::new(),
            client_cpu_seconds: 0.0,
            server: ServerCost::default(),
        }
    }
}

fn ratio(of: f64, to: f64) -> Option<f64> {
    (to > 0.0).then(|| of / to)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::failure::Failure;
    use crate::rows::ROWS;

    fn row(server: ServerCost, failures: &[i32]) -> RowReport {
        let mut outcome = Outcome { units: 500, bytes: 1 << 30, ..Outcome::default() };
        outcome.elapsed = Duration::from_secs(2);
        failures.iter().for_each(|code| outcome.failures.add(Failure::told(*code, "")));
        RowReport::new(&ROWS[0], outcome, Cost { client_cpu_seconds: 0.0, server })
    }

    #[test]
    fn speed_and_cost_follow_from_what_was_counted() {
        let cpu_seconds = Some(4.0);
        let row = row(ServerCost { cpu_seconds, ..Default::default() }, &[]);
        assert_eq!((row.operations_per_second, row.mib_per_second), (250.0, 512.0));
        assert_eq!(row.server.cpu_us_per_operation, Some(8000.0));
        assert_eq!(row.server.cpu_seconds_per_gib, Some(4.0));
    }

    #[test]
    fn cost_is_not_made_of_a_few_ticks() {
        let cost = row(ServerCost { cpu_seconds: Some(0.03), ..Default::default() }, &[]).server;
        assert_eq!((cost.cpu_seconds, cost.cpu_us_per_operation), (Some(0.03), None));
    }

    #[test]
    fn calls_that_are_not_offered_are_skipped_and_no_errors() {
        let skipped = row(ServerCost::default(), &[12, 12]);
        assert!(skipped.skipped.is_some() && skipped.errors.is_empty());
        let failed = row(ServerCost::default(), &[12, 13]);
        assert!(failed.skipped.is_none() && failed.errors.len() == 2);
    }

    #[test]
    fn costs_of_parts_are_added_and_the_highest_peak_stays() {
        let part = |cpu, peak, disk, grown| ServerCost {
            cpu_seconds: Some(cpu),
            peak_memory_bytes: Some(peak),
            disk_bytes: Some(disk),
            disk_grown_bytes: Some(grown),
            ..Default::default()
        };
        let mut sum = Cost::default();
        sum.join(Cost { client_cpu_seconds: 1.0, server: part(1.5, 70, 100, 60) });
        sum.join(Cost { client_cpu_seconds: 2.0, server: part(2.5, 50, 90, -10) });
        assert_eq!(sum, Cost { client_cpu_seconds: 3.0, server: part(4.0, 70, 90, 50) });
    }
}
