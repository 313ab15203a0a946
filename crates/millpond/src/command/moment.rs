//! Moments as people give them, and as they are printed: in UTC, or so long ago.

use std::str::FromStr;

use time::{Date, Month, OffsetDateTime, Time};

use crate::span::Span;

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// In seconds since the Unix epoch.
    At(u64),
    /// Before now.
    Ago(Span),
}

impl Moment {
    /// In seconds since the Unix epoch.
    pub(super) fn at(self, now: u64) -> u64 {
        match self {
            Self::At(seconds) => seconds,
            Self::Ago(span) => now.saturating_sub(span.seconds.into()),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(span) = text.parse() {
            return Ok(Self::Ago(span));
        }
        let complaint = || {
            format!(
                "\"{text}\" is no time: write 2026-01-31, 2026-01-31T12:00 or 2026-01-31T12:00:30 (UTC), or 3h for so long ago"
            )
        };
        parse(text).map(Self::At).ok_or_else(complaint)
    }
}

fn parse(text: &str) -> Option<u64> {
    let (date, time) = text.trim_end_matches('Z').split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let mut date = date.splitn(3, '-');
    let year = date.next()?.parse().ok()?;
    let month = Month::try_from(date.next()?.parse::<u8>().ok()?).ok()?;
    let date = Date::from_calendar_date(year, month, date.next()?.parse().ok()?).ok()?;
    let mut time = time.splitn(3, ':');
    let (hour, minute) = (time.next()?.parse().ok()?, time.next()?.parse().ok()?);
    let second = time.next().map_or(Some(0), |second| second.parse().ok())?;
    let moment = date.with_time(Time::from_hms(hour, minute, second).ok()?).assume_utc();
    u64::try_from(moment.unix_timestamp()).ok()
}

/// A second since the Unix epoch as `2026-01-31T12:00:30Z`.
pub(super) fn written(seconds: u64) -> String {
    let moment = i64::try_from(seconds).ok().and_then(|time| OffsetDateTime::from_unix_timestamp(time).ok());
    moment.map_or_else(
        || format!("second {seconds}"),
        |moment| {
            let (hour, minute, second) = moment.to_hms();
            format!("{}T{hour:02}:{minute:02}:{second:02}Z", moment.date())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_times_and_spans_ago() {
        for (text, seconds) in
            [("1970-01-02", 86_400), ("1970-01-01T00:01", 60), ("1970-01-01 00:00:07Z", 7), ("1m", 940)]
        {
            assert_eq!(text.parse::<Moment>().unwrap().at(1000), seconds, "{text}");
        }
        for bad in ["", "soon", "2026-02-30", "2026-01", "2026-01-01T25:00", "1969-12-31"] {
            assert!(bad.parse::<Moment>().unwrap_err().contains("2026-01-31"), "{bad}");
        }
        assert_eq!(written(86_407), "1970-01-02T00:00:07Z");
    }
}
