//! Spans of time as people write them: `3h`, `90m`, `0s`, `7d`, `1h30m`. Always with a unit: a bare number is refused.

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

/// Each unit with its seconds, the largest first.
const UNITS: [(char, u32); 5] = [('w', 7 * 24 * 3600), ('d', 24 * 3600), ('h', 3600), ('m', 60), ('s', 1)];

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
                "\"{text}\" is no span of time: write a number and a unit, s, m, h, d or w, as in 3h or 90m"
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
        let mut characters = rest.chars();
        let unit = characters.next()?;
        let (_, seconds) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u32>().ok()?.checked_mul(seconds)?)?;
        text = characters.as_str().trim_start();
    }
    Some(total)
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.seconds;
        for (name, seconds) in UNITS {
            // Nobody thinks of 8d as 1w1d.
            if left >= seconds && (name != 'w' || left.is_multiple_of(seconds)) {
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
        ];
        for (text, seconds) in cases {
            assert_eq!(text.parse(), Ok(Span { seconds }), "{text}");
        }
    }

    #[test]
    fn what_is_no_span_is_refused_with_the_units() {
        for text in ["", "3", "h", "3 h", "-3h", "3y", "3h5", "1.5h", "999999w", "３h"] {
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
