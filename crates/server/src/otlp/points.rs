//! The page that Prometheus scrapes, as OTLP has it: so both always tell the same. Names stay as they are there.

use millpond_proto::otlp::common::KeyValue;
use millpond_proto::otlp::metrics::metric::Data;
use millpond_proto::otlp::metrics::number_data_point::Value;
use millpond_proto::otlp::metrics::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};

use super::text;

/// Since when figures are added up, and when they were taken, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) start: u64,
    pub(super) now: u64,
}

/// What is known of a family before its samples come.
#[derive(Debug, Default)]
struct Family<'p> {
    name: &'p str,
    help: &'p str,
    kind: &'p str,
    unit: &'p str,
}

/// A line with a figure.
#[derive(Debug)]
struct Sample<'p> {
    name: &'p str,
    labels: Vec<(&'p str, String)>,
    value: &'p str,
}

/// All metrics of a page in the format of OpenMetrics.
pub(super) fn of(page: &str, times: Times) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = Vec::new();
    let mut family = Family::default();
    for line in page.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (what, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let said = words.next().unwrap_or_default();
            if name != family.name {
                family = Family { name, ..Family::default() };
            }
            match what {
                "HELP" => family.help = said,
                "TYPE" => family.kind = said,
                "UNIT" => family.unit = said,
                _ => {}
            }
        } else if let Some(sample) = sample(line) {
            add(&mut metrics, &family, sample, times);
        }
    }
    metrics
}

fn add(metrics: &mut Vec<Metric>, family: &Family<'_>, sample: Sample<'_>, times: Times) {
    let histogram = family.kind == "histogram";
    let name = if histogram { family.name } else { sample.name };
    if metrics.last().is_none_or(|metric| metric.name != name) {
        metrics.push(Metric {
            name: name.to_owned(),
            description: family.help.to_owned(),
            unit: match family.unit {
                "seconds" => "s".to_owned(),
                "bytes" => "By".to_owned(),
                "ratio" => "1".to_owned(),
                other => other.to_owned(),
            },
            data: Some(match family.kind {
                "histogram" => Data::Histogram(Histogram {
                    data_points: Vec::new(),
                    aggregation_temporality: AggregationTemporality::Cumulative.into(),
                }),
                "counter" => Data::Sum(Sum {
                    data_points: Vec::new(),
                    aggregation_temporality: AggregationTemporality::Cumulative.into(),
                    is_monotonic: true,
                }),
                _ => Data::Gauge(Gauge::default()),
            }),
        });
    }
    match metrics.last_mut().and_then(|metric| metric.data.as_mut()) {
        Some(Data::Histogram(histogram)) => {
            add_to_histogram(&mut histogram.data_points, family.name, sample, times);
        }
        Some(Data::Sum(sum)) => sum.data_points.extend(point(&sample, times.start, times.now)),
        Some(Data::Gauge(gauge)) => gauge.data_points.extend(point(&sample, 0, times.now)),
        None => {}
    }
}

fn attributes(labels: &[(&str, String)]) -> Vec<KeyValue> {
    labels.iter().map(|(key, value)| text(key, value)).collect()
}

fn point(sample: &Sample<'_>, start: u64, now: u64) -> Option<NumberDataPoint> {
    let whole = sample.value.parse().map(Value::AsInt);
    let value = whole.or_else(|_| sample.value.parse().map(Value::AsDouble)).ok()?;
    Some(NumberDataPoint {
        start_time_unix_nano: start,
        time_unix_nano: now,
        attributes: attributes(&sample.labels),
        value: Some(value),
    })
}

/// Prometheus' buckets count what is in the ones below as well, OTLP's do not.
fn add_to_histogram(
    points: &mut Vec<HistogramDataPoint>,
    family: &str,
    mut sample: Sample<'_>,
    times: Times,
) {
    let bound = sample.labels.iter().position(|(key, _)| *key == "le");
    let bound = bound.map(|at| sample.labels.remove(at).1);
    let attributes = attributes(&sample.labels);
    if points.last().is_none_or(|point| point.attributes != attributes) {
        points.push(HistogramDataPoint {
            start_time_unix_nano: times.start,
            time_unix_nano: times.now,
            attributes,
            ..Default::default()
        });
    }
    let Some(point) = points.last_mut() else { return };
    match (sample.name.strip_prefix(family).unwrap_or_default(), bound) {
        ("_bucket", Some(bound)) => {
            let below: u64 = point.bucket_counts.iter().sum();
            let count = sample.value.parse::<u64>().unwrap_or_default();
            point.bucket_counts.push(count.saturating_sub(below));
            if let Some(bound) = bound.parse().ok().filter(|bound: &f64| bound.is_finite()) {
                point.explicit_bounds.push(bound);
            }
        }
        ("_count", _) => point.count = sample.value.parse().unwrap_or_default(),
        ("_sum", _) => point.sum = sample.value.parse().ok(),
        _ => {}
    }
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at_checked(end)?;
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while let Some((key, after)) = rest.split_once("=\"").filter(|_| !rest.starts_with('}')) {
            let (value, after) = unescaped(after)?;
            labels.push((key, value));
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_whitespace().next()?;
    Some(Sample { name, labels, value })
}

/// What stands before the next quote, and what stands behind it.
fn unescaped(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"# HELP pond_calls Calls that ended.
# TYPE pond_calls counter
pond_calls_total{method="Read",odd="a \"}{,\\ b"} 3
pond_calls_total{method="Write"} 4
# HELP pond_took_seconds How long they took.
# TYPE pond_took_seconds histogram
# UNIT pond_took_seconds seconds
pond_took_seconds_sum{method="Read"} 1.5
pond_took_seconds_count{method="Read"} 6
pond_took_seconds_bucket{le="0.1",method="Read"} 1
pond_took_seconds_bucket{le="1.0",method="Read"} 4
pond_took_seconds_bucket{le="+Inf",method="Read"} 6
# HELP pond_share Share.
# TYPE pond_share gauge
# UNIT pond_share ratio
pond_share 0.25
# EOF
"#;

    #[test]
    fn counters_histograms_and_gauges_become_those_of_otlp() {
        let metrics = of(PAGE, Times { start: 1, now: 2 });
        let [calls, took, share] = &metrics[..] else { panic!("{metrics:?}") };
        assert_eq!(
            (calls.name.as_str(), calls.description.as_str()),
            ("pond_calls_total", "Calls that ended.")
        );
        let Some(Data::Sum(sum)) = &calls.data else { panic!("{calls:?}") };
        assert!(sum.is_monotonic && sum.data_points[0].start_time_unix_nano == 1);
        assert_eq!(sum.data_points[0].value, Some(Value::AsInt(3)));
        assert_eq!(sum.data_points[0].attributes, [text("method", "Read"), text("odd", "a \"}{,\\ b")]);
        assert_eq!(sum.data_points[1].value, Some(Value::AsInt(4)));
        let Some(Data::Histogram(histogram)) = &took.data else { panic!("{took:?}") };
        let [point] = &histogram.data_points[..] else { panic!("{histogram:?}") };
        assert_eq!((point.count, point.sum, took.unit.as_str()), (6, Some(1.5), "s"));
        assert_eq!((&point.bucket_counts[..], &point.explicit_bounds[..]), (&[1, 3, 2][..], &[0.1, 1.0][..]));
        let Some(Data::Gauge(gauge)) = &share.data else { panic!("{share:?}") };
        assert_eq!(gauge.data_points[0].value, Some(Value::AsDouble(0.25)));
    }

    #[test]
    fn what_is_no_sample_is_left_out() {
        for line in ["", "alone", "a{b", "a{b=\"c", "a{b=\"c\"", "a{b=\"c\"}", "a x"] {
            assert!(
                of(line, Times { start: 0, now: 0 }).iter().all(|metric| match &metric.data {
                    Some(Data::Gauge(gauge)) => gauge.data_points.is_empty(),
                    _ => false,
                }),
                "{line}"
            );
        }
    }
}
