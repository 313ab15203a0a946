//! What Linux tells of this process, by the names that all of Prometheus' world knows.
//!
//! What cannot be read is left out.

use std::fmt;
use std::fs;
use std::path::Path;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Asks when it is asked.
#[derive(Debug)]
pub(super) struct Process;

/// What was found out.
#[derive(Debug, Default, PartialEq)]
struct Found {
    cpu_seconds: Option<f64>,
    started: Option<f64>,
    virtual_bytes: Option<u64>,
    resident_bytes: Option<u64>,
    threads: Option<u64>,
    open_files: Option<u64>,
    open_files_max: Option<u64>,
}

impl Found {
    fn read() -> Self {
        let own = |file: &str| fs::read_to_string(Path::new("/proc/self").join(file)).unwrap_or_default();
        let booted = fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let page = rustix::param::page_size() as u64;
        let mut found = Self::parse(&own("stat"), &own("limits"), &booted, ticks, page);
        // The folder that is being listed is open as well, for as long as that takes.
        let listed = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
        found.open_files = listed.map(|count| count.saturating_sub(1));
        found
    }

    /// The name of the process, in brackets, may hold anything; fields are counted behind it.
    fn parse(stat: &str, limits: &str, booted: &str, ticks: f64, page: u64) -> Self {
        let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
        let fields: Vec<&str> = behind.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number)?.parse::<u64>().ok();
        let seconds = |ticks_passed: u64| ticks_passed as f64 / ticks;
        let boot = booted.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok());
        let open_files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        Self {
            cpu_seconds: field(11).zip(field(12)).map(|(user, system)| seconds(user + system)),
            threads: field(17),
            started: boot.zip(field(19)).map(|(boot, since)| boot as f64 + seconds(since)),
            virtual_bytes: field(20),
            resident_bytes: field(21).map(|pages| pages * page),
            open_files: None,
            open_files_max: open_files.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()),
        }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let found = Found::read();
        if let Some(seconds) = found.cpu_seconds {
            let (name, help) =
                ("process_cpu_seconds", "Seconds of CPU that this process has used, as user and as system.");
            ConstCounter::new(seconds).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                MetricType::Counter,
            )?)?;
        }
        if let Some(seconds) = found.started {
            let (name, help) =
                ("process_start_time_seconds", "When this process started, in Unix time, in seconds.");
            ConstGauge::new(seconds).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                MetricType::Gauge,
            )?)?;
        }
        let gauges = [
            (
                "process_virtual_memory_bytes",
                "Bytes of memory that this process has reserved.",
                found.virtual_bytes,
            ),
            (
                "process_resident_memory_bytes",
                "Bytes of memory that this process has in use.",
                found.resident_bytes,
            ),
            ("process_threads", "Threads of this process.", found.threads),
            ("process_open_fds", "Files and sockets that this process has open.", found.open_files),
            ("process_max_fds", "Files and sockets that this process may have open.", found.open_files_max),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                ConstGauge::new(value).encode(encoder.encode_descriptor(
                    name,
                    help,
                    None,
                    MetricType::Gauge,
                )?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_and_stands_where_it_should() {
        let found = Found::read();
        assert!(found.resident_bytes.unwrap() > 1 << 20, "{found:?}");
        assert!(found.virtual_bytes >= found.resident_bytes && found.threads.unwrap() >= 1, "{found:?}");
        assert!(found.open_files.unwrap() >= 3 && found.open_files < found.open_files_max, "{found:?}");
        assert!(found.started.unwrap() > 1e9 && found.cpu_seconds.is_some(), "{found:?}");
    }

    #[test]
    fn fields_are_counted_behind_the_name_and_what_is_not_there_is_left_out() {
        let stat = "42 (a) b) S 7 42 42 0 -1 4194560 1 2 3 4 150 50 30 40 20 0 9 0 300 4096 3 7";
        let found =
            Found::parse(stat, "Max open files   1024   4096  files\n", "cpu 1\nbtime 1000\n", 100.0, 4096);
        let wanted = Found {
            cpu_seconds: Some(2.0),
            started: Some(1003.0),
            virtual_bytes: Some(4096),
            resident_bytes: Some(3 * 4096),
            threads: Some(9),
            open_files: None,
            open_files_max: Some(1024),
        };
        assert_eq!(found, wanted);
        assert_eq!(Found::parse("", "", "", 100.0, 4096), Found::default());
    }
}
