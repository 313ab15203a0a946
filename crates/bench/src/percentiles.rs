//! Percentiles of what operations took.

use std::time::Duration;

use serde::Serialize;

/// Latencies, in milliseconds; all zero where nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half took at most this long, in milliseconds.
    pub p50: f64,
    /// Nine in ten took at most this long, in milliseconds.
    pub p90: f64,
    /// All but one in a hundred took at most this long, in milliseconds.
    pub p99: f64,
    /// The longest, in milliseconds.
    pub max: f64,
}

impl Percentiles {
    /// Of these, which need not be in order.
    pub(crate) fn of(mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        let at = |percent: usize| {
            let rank = (took.len() * percent).div_ceil(100).saturating_sub(1);
            took.get(rank).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
        };
        Self { p50: at(50), p90: at(90), p99: at(99), max: at(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(milliseconds: impl Iterator<Item = u64>) -> Percentiles {
        Percentiles::of(milliseconds.map(Duration::from_millis).collect())
    }

    #[test]
    fn of_one_to_a_hundred_are_themselves() {
        let expected = Percentiles { p50: 50.0, p90: 90.0, p99: 99.0, max: 100.0 };
        assert_eq!(of((1..=100).rev()), expected);
    }

    #[test]
    fn of_few_are_the_nearest_above() {
        assert_eq!(of([7].into_iter()), Percentiles { p50: 7.0, p90: 7.0, p99: 7.0, max: 7.0 });
        assert_eq!(of([1, 2, 3].into_iter()), Percentiles { p50: 2.0, p90: 3.0, p99: 3.0, max: 3.0 });
    }

    #[test]
    fn of_nothing_are_zero() {
        assert_eq!(of([].into_iter()), Percentiles::default());
    }
}
