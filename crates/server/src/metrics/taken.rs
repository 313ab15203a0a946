//! What the cache counts with labels, as it was when it was last asked: look-ups and pushes of names, and calls to the disk.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use millpond_cache::{DiskDeed, Figures, NamesCounted, Took};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;

use super::histogram;

/// The figures.
#[derive(Debug, Default)]
pub(super) struct Taken(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    names: Vec<NamesCounted>,
    disk: Vec<(DiskDeed, Took)>,
}

impl Taken {
    /// From now on these.
    pub(super) fn set(&self, figures: &Figures) {
        let held = Held { names: figures.names_counted.clone(), disk: figures.disk_calls.clone() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }
}

impl Collector for Taken {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let help =
            "Look-ups of names, one for each name asked for, by what the name is of and what they came to.";
        let mut lookups = encoder.encode_descriptor("lookups", help, None, MetricType::Counter)?;
        for counted in &held.names {
            encode(counted, &counted.look_ups, &mut lookups)?;
        }
        let help = "Pushes of names, one for each name, by what the name is of and what they came to.";
        let mut pushes = encoder.encode_descriptor("pushes", help, None, MetricType::Counter)?;
        for counted in &held.names {
            encode(counted, &counted.pushes, &mut pushes)?;
        }
        let help = "How long calls to the disk took, in seconds: what the page cache answers is not among the reads, and a commit is \
                    a transaction of the catalog with its sync.";
        let mut calls =
            encoder.encode_descriptor("disk_call", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (deed, took) in &held.disk {
            histogram::encode(took, calls.encode_family(&[("deed", deed.word())])?)?;
        }
        Ok(())
    }
}

fn encode(counted: &NamesCounted, counts: &[(&'static str, u64)], to: &mut MetricEncoder<'_>) -> fmt::Result {
    for (word, count) in counts {
        let labels = [("kind", counted.kind), ("project", &*counted.project), ("result", *word)];
        ConstCounter::new(*count).encode(to.encode_family(&labels)?)?;
    }
    Ok(())
}
