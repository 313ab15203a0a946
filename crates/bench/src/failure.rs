//! Why a call failed, and how often which failure came.

use std::collections::BTreeMap;

use serde::Serialize;

/// gRPC's codes by number.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

const UNIMPLEMENTED: &str = "UNIMPLEMENTED";
const UNAVAILABLE: &str = "UNAVAILABLE";

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The code's name.
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Failure {
    /// What the server said.
    pub(crate) fn told(code: i32, message: &str) -> Self {
        let name = usize::try_from(code).ok().and_then(|code| NAMES.get(code));
        Self { code: name.copied().unwrap_or("UNKNOWN"), message: message.to_owned() }
    }

    /// No call got through.
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self { code: UNAVAILABLE, message: message.into() }
    }

    /// The server has nothing of the kind.
    pub(crate) fn not_offered(message: impl Into<String>) -> Self {
        Self { code: UNIMPLEMENTED, message: message.into() }
    }

    /// The server took too long.
    pub(crate) fn late(message: impl Into<String>) -> Self {
        Self { code: "DEADLINE_EXCEEDED", message: message.into() }
    }

    /// The call succeeded, with an answer that is not what was asked for.
    pub(crate) fn wrong(message: impl Into<String>) -> Self {
        Self { code: "WRONG_ANSWER", message: message.into() }
    }

    /// Whether the server does not offer the call at all.
    pub(crate) fn is_unimplemented(&self) -> bool {
        self.code == UNIMPLEMENTED
    }

    /// Whether the server wants to know who asks, or refuses whoever does.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.code, "UNAUTHENTICATED" | "PERMISSION_DENIED")
    }

    /// Whether the connection is gone.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.code == UNAVAILABLE
    }
}

/// All failures with one code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// The code's name in gRPC, or `WRONG_ANSWER` if the answer was OK and not what was asked for.
    pub code: &'static str,
    /// How many.
    pub count: u64,
    /// What the first of them said.
    pub message: String,
}

impl Errors {
    /// Whether the server does not offer the call.
    pub(crate) fn is_unimplemented(&self) -> bool {
        self.code == UNIMPLEMENTED
    }
}

/// Failures by code.
#[derive(Default)]
pub(crate) struct Failures(BTreeMap<&'static str, Errors>);

impl Failures {
    pub(crate) fn add(&mut self, failure: Failure) {
        let Failure { code, message } = failure;
        let errors = self.0.entry(code).or_insert(Errors { code, count: 0, message });
        errors.count += 1;
    }

    /// Counts what another has counted.
    pub(crate) fn join(&mut self, other: Self) {
        for (code, errors) in other.0 {
            let mine = self.0.entry(code).or_insert(Errors { code, count: 0, message: errors.message });
            mine.count += errors.count;
        }
    }

    pub(crate) fn into_errors(self) -> Vec<Errors> {
        self.0.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_code_with_the_first_message() {
        let [mut mine, mut other] = [Failures::default(), Failures::default()];
        mine.add(Failure::told(5, "first"));
        other.add(Failure::told(5, "second"));
        other.add(Failure::wrong("short"));
        mine.join(other);
        let not_found = Errors { code: "NOT_FOUND", count: 2, message: "first".into() };
        let wrong = Errors { code: "WRONG_ANSWER", count: 1, message: "short".into() };
        assert_eq!(mine.into_errors(), [not_found, wrong]);
    }
}
