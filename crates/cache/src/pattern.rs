//! Patterns of names, in which `*` stands for anything, also for nothing and for `/`.

use std::fmt;

use crate::{Error, Result};

/// Bytes in one pattern.
const PATTERN_BYTES_MAX: usize = 1024;

/// A pattern of names or instance names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Checks a pattern as it was written.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        if text.is_empty() || text.len() > PATTERN_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(Error::Invalid(format!(
                "{text:?} is no pattern: write a name with * for what may be anything, at most {PATTERN_BYTES_MAX} bytes"
            )));
        }
        Ok(Self(text))
    }

    /// Whether `text` is of this form. Takes at most the product of both lengths.
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        // The leftmost place of each part leaves most to those behind it.
        for part in parts {
            let Some((_, behind)) = rest.split_once(part) else { return false };
            rest = behind;
        }
        rest.ends_with(last)
    }

    /// As [`Self::matches`], for host names, which are the same in upper and lower case.
    pub fn matches_host(&self, host: &str) -> bool {
        Self(self.0.to_ascii_lowercase()).matches(&host.to_ascii_lowercase())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_match_in_either_case() {
        let pattern = Pattern::new("*.Build.example.org").unwrap();
        assert!(pattern.matches_host("CI-1.build.Example.org") && !pattern.matches("ci-1.build.example.org"));
        assert!(!pattern.matches_host("ci-1.example.org"));
    }

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(text)
    }

    #[test]
    fn star_stands_for_anything() {
        for (pattern, text) in [
            ("a", "a"),
            ("*", ""),
            ("*", "a/b"),
            ("a*", "a"),
            ("*c", "abc"),
            ("a*c", "ac"),
            ("a*b*c", "aXbYbZc"),
            ("a**c", "abc"),
            ("*b*", "abc"),
            ("a*bc", "abcbc"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("a", "ab"), ("a", ""), ("a*c", "a"), ("a*a", "a"), ("a*b*c", "acb"), ("*b", "abc"), ("?", "a")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn absurd_patterns_are_invalid() {
        for text in ["", "a\nb", &"x".repeat(PATTERN_BYTES_MAX + 1)] {
            assert!(Pattern::new(text).is_err());
        }
    }
}
