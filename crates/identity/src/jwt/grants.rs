//! What the holder of a token may do: every grant whose claims it has, all of them together.

use std::collections::BTreeSet;

use millpond_cache::{Grant, Pattern};

use super::claims::Claims;

/// Claims that are named to somebody who lacks them.
const NAMED_MAX: usize = 5;

/// What tokens may do that have these claims.
#[derive(Clone, Debug)]
pub struct ClaimGrant {
    /// The name of each claim with the patterns of which it must match one. All of them must be so.
    pub claims: Vec<(String, Vec<Pattern>)>,
    /// What they may do.
    pub grant: Grant,
}

impl ClaimGrant {
    /// The names of those claims that do not match.
    fn unmatched<'g>(&'g self, claims: &Claims) -> Vec<&'g str> {
        let matches = |(name, patterns): &&(String, Vec<Pattern>)| {
            let texts = claims.texts(name);
            texts.iter().any(|text| patterns.iter().any(|pattern| pattern.matches(text)))
        };
        self.claims.iter().filter(|claim| !matches(claim)).map(|(name, _)| name.as_str()).collect()
    }
}

/// The grants that match, and, if others do not, which claims these want otherwise.
pub(super) fn of(grants: &[ClaimGrant], claims: &Claims) -> (Vec<Grant>, Option<String>) {
    let mut matching = Vec::new();
    let mut lacking = BTreeSet::new();
    for grant in grants {
        let unmatched = grant.unmatched(claims);
        if unmatched.is_empty() {
            matching.push(grant.grant.clone());
        }
        lacking.extend(unmatched);
    }
    if lacking.is_empty() {
        return (matching, None);
    }
    let named = lacking.iter().take(NAMED_MAX).map(|name| format!("{name} (it has {})", claims.shown(name)));
    let named = named.collect::<Vec<_>>().join(", ");
    let kind = if matching.is_empty() { "every grant" } else { "a grant for more" };
    (matching, Some(format!("{kind} wants a token with other claims: {named}")))
}
