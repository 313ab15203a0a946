//! Sizes as people write them: `500GB`, `64 MiB`, `1.5TB`, or bare bytes.
//!
//! `KB`, `MB`, `GB`, `TB` are powers of 1000 and `KiB`, `MiB`, `GiB`, `TiB` of 1024, in upper or lower case. A bare `G`
//! is refused, because nobody can tell which of the two was meant.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Written")]
pub(crate) struct Size(pub(crate) u64);

/// How a configuration file has it: a number of bytes, or text with a unit.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a size is a number of bytes or text such as \"500GB\"")]
enum Written {
    Bytes(u64),
    Text(String),
}

impl TryFrom<Written> for Size {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Bytes(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse(),
        }
    }
}

/// More digits than this behind the point say nothing that the unit below does not say better.
const FRACTION_DIGITS_MAX: usize = 6;

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let unit = unit_bytes(unit.trim_start()).ok_or_else(|| complaint(text))?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if whole.is_empty() || fraction.is_empty() || fraction.len() > FRACTION_DIGITS_MAX {
            return Err(complaint(text));
        }
        let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| complaint(text))?);
        let whole = u128::from(whole.parse::<u64>().map_err(|_| complaint(text))?);
        let fraction = u128::from(fraction.parse::<u64>().map_err(|_| complaint(text))?);
        let bytes = (whole * scale + fraction) * u128::from(unit) / scale;
        u64::try_from(bytes).map(Self).map_err(|_| format!("{text} is more than 16 EiB"))
    }
}

fn complaint(text: &str) -> String {
    format!(
        "\"{text}\" is no size: write bytes, or a number and a unit, B, KB, MB, GB, TB (of 1000) or KiB, MiB, GiB, TiB (of 1024)"
    )
}

fn unit_bytes(unit: &str) -> Option<u64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    })
}

/// For people: the largest unit of 1000 that gives a whole part, and one digit behind the point.
impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1000)];
        for (name, bytes) in units {
            if self.0 >= bytes {
                let tenths = self.0 % bytes / (bytes / 10);
                return formatter.pad(&format!("{}.{tenths} {name}", self.0 / bytes));
            }
        }
        formatter.pad(&format!("{} B", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_every_unit_parse() {
        let cases = [
            ("0", 0),
            ("123456789", 123_456_789),
            ("7B", 7),
            ("7 b", 7),
            ("1KB", 1000),
            ("1kb", 1000),
            ("60MB", 60_000_000),
            ("500GB", 500_000_000_000),
            ("2TB", 2_000_000_000_000),
            ("1KiB", 1024),
            ("1 MiB", 1 << 20),
            ("3GiB", 3 << 30),
            ("1tib", 1 << 40),
            ("1.5TB", 1_500_000_000_000),
            ("0.5 KiB", 512),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_the_units() {
        for text in [
            "",
            "GB",
            "-1",
            "1G",
            "1 KB KB",
            "1..5GB",
            "1.GB",
            ".5GB",
            "1e9",
            "1,5GB",
            "٣GB",
            "99999999999TB",
        ] {
            let complaint = text.parse::<Size>().unwrap_err();
            assert!(complaint.contains("KiB") || complaint.contains("EiB"), "{text}: {complaint}");
        }
    }

    #[test]
    fn sizes_print_with_a_unit_of_1000() {
        for (bytes, text) in [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (123_456_789_000, "123.4 GB")] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
