//! The report as a table for people.

use std::fmt;

use crate::report::{Report, RowReport};

const HEAD: [&str; 10] =
    ["row", "speed", "operations", "p50 ms", "p90 ms", "p99 ms", "max ms", "CPU", "memory", "disk"];

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = vec![HEAD.map(str::to_owned)];
        lines.extend(self.rows.iter().map(cells));
        let widths: [usize; HEAD.len()] = std::array::from_fn(|column| {
            lines
                .iter()
                .filter_map(|line| line.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        });
        for line in &lines {
            for (number, (cell, width)) in line.iter().zip(widths).enumerate() {
                match number {
                    0 => write!(formatter, "{cell:width$}")?,
                    _ => write!(formatter, "  {cell:>width$}")?,
                }
            }
            writeln!(formatter)?;
        }
        for row in &self.rows {
            if let Some(reason) = &row.skipped {
                writeln!(formatter, "{}: the server does not offer it. {reason}", row.row)?;
            }
            for errors in &row.errors {
                let (count, code) = (errors.count, errors.code);
                writeln!(formatter, "{}: {count} times {code}: {}", row.row, errors.message)?;
            }
        }
        Ok(())
    }
}

fn cells(row: &RowReport) -> [String; HEAD.len()] {
    let time = |milliseconds: f64| if row.timed == 0 { dash() } else { short(milliseconds) };
    let cost = if row.by_bytes {
        row.server.cpu_seconds_per_gib.map(|cpu| format!("{} s/GiB", short(cpu)))
    } else {
        row.server.cpu_us_per_operation.map(|cpu| format!("{} us", short(cpu)))
    };
    [
        row.row.to_owned(),
        if row.skipped.is_some() { "skipped".to_owned() } else { speed(row) },
        row.operations.to_string(),
        time(row.milliseconds.p50),
        time(row.milliseconds.p90),
        time(row.milliseconds.p99),
        time(row.milliseconds.max),
        cost.unwrap_or_else(dash),
        row.server.peak_memory_bytes.map_or_else(dash, mib),
        row.server.disk_grown_bytes.map_or_else(dash, |grown| format!("{:+} MiB", grown / (1 << 20))),
    ]
}

fn speed(row: &RowReport) -> String {
    if row.by_bytes {
        format!("{} MiB/s", short(row.mib_per_second))
    } else {
        format!("{} {}/s", short(row.operations_per_second), row.unit)
    }
}

/// With three digits that count, or all before the point.
fn short(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}")
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn dash() -> String {
    "-".to_owned()
}
