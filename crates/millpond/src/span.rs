//! Spans of time as people write them: `3h`, `90m`, `0s`, `7d`, `1h30m`, `2 hours`, `2 years`. Always with a unit: a bare number is
//! refused.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// A span of time in whole seconds, at most 136 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Span {
    /// How long, in seconds.
    pub(crate) seconds: u32,
}

const DAY: u32 = 24 * 3600;
/// Each unit in short with its seconds, the largest first.
const UNITS: [(&str, u32); 5] = [("w", 7 * DAY), ("d", DAY), ("h", 3600), ("m", 60), ("s", 1)];
/// Written out, one or more of them.
const WORDS: [(&str, u32); 7] = [
    ("year", 365 * DAY),
    ("month", 30 * DAY),
    ("week", 7 * DAY),
    ("day", DAY),
    ("hour", 3600),
    ("minute", 60),
    ("second", 1),
];
/// No span is printed with it: what is a year, and what 365 days, nobody can tell any more.
const YEAR: (&str, u32) = ("y", 365 * DAY);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text.trim()).map(|seconds| Self { seconds }).ok_or_else(|| {
            format!(
                "\"{text}\" is no span of time: write a number and a unit, s, m, h, d, w or y, as in 3h or 90m, or written out, as \
                 in \"2 hours\" or \"90 days\""
            )
        })
    }
}

fn parse(mut text: &str) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    let mut total = 0_u32;
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, rest) = text.split_at(end);
        let rest = rest.trim_start();
        let (unit, rest) = rest.split_at(rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len()));
        total = total.checked_add(number.parse::<u32>().ok()?.checked_mul(unit_seconds(unit)?)?)?;
        text = rest.trim_start();
    }
    Some(total)
}

fn unit_seconds(unit: &str) -> Option<u32> {
    let word = unit.strip_suffix('s').unwrap_or(unit);
    let short = UNITS.into_iter().chain([YEAR]).find(|(name, _)| *name == unit);
    short.or_else(|| WORDS.into_iter().find(|(name, _)| *name == word)).map(|(_, seconds)| seconds)
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.seconds;
        for (name, seconds) in UNITS {
            // Nobody thinks of 8d as 1w1d.
            if left >= seconds && (name != "w" || left.is_multiple_of(seconds)) {
                write!(formatter, "{}{name}", left / seconds)?;
                left %= seconds;
            }
        }
        if self.seconds == 0 { formatter.write_str("0s") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_with_every_unit_parse() {
        let cases = [
            ("0s", 0),
            ("45s", 45),
            ("90m", 5400),
            ("3h", 10_800),
            ("7d", 604_800),
            ("2w", 1_209_600),
            ("1h30m", 5400),
            ("1h 30 m", 5400),
            ("2 hours", 7200),
            ("1 minute", 60),
            ("90 days", 90 * DAY),
            ("2 years", 2 * 365 * DAY),
            ("2y", 2 * 365 * DAY),
            ("3 months", 90 * DAY),
            ("1 week 2 days", 9 * DAY),
        ];
        for (text, seconds) in cases {
            assert_eq!(text.parse(), Ok(Span { seconds }), "{text}");
        }
    }

    #[test]
    fn what_is_no_span_is_refused_with_the_units() {
        for text in
            ["", "3", "h", "-3h", "3h5", "1.5h", "999999w", "３h", "2 parsecs", "years", "900 years", "3hs"]
        {
            let complaint = text.parse::<Span>().unwrap_err();
            assert!(complaint.contains("3h or 90m"), "{text}: {complaint}");
        }
    }

    #[test]
    fn spans_print_as_they_are_written() {
        for text in ["0s", "45s", "1h30m", "3h", "2w", "8d"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
    }
}
