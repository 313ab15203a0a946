//! Retention: rules and pins about what is kept however little it is used.
//!
//! Both give the values that they match a level in the future; that those and their blobs stay until then follows from
//! the levels alone. What a value's level should be is found out anew at each push, when a pin is made, and for all values in each
//! pass of [`crate::relevel`], by a [`Plan`]; nothing else looks at rules.

mod met;
mod plan;
mod report;
mod shares;

use std::fmt;
use std::time::Duration;

use millpond_store::catalog::{Name, NameKind, Target, Value};
use millpond_store::{Clock, Level};

use crate::cache::Inner;
use crate::name::{UriForm, short};
use crate::publish::Publication;
use crate::{AssetKind, Pattern, Result};

pub(crate) use met::Met;
pub(crate) use plan::{Fate, Keeper, Plan};
pub(crate) use report::{GOING_MAX, shown};
pub use report::{RetentionReport, RuleReport, Tally};

/// The wall clock counts for ages only while it is less than a day from cache time.
const CLOCKS_APART_MAX: u64 = 24 * 3600;

/// What names are, to rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptKind {
    /// An artifact of either BuildStream.
    Artifact,
    /// A source of BuildStream 2.
    Source,
    /// The result of an action.
    ActionResult,
    /// Any other asset.
    Asset,
}

/// How a build ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildOutcome {
    /// It succeeded.
    Success,
    /// It failed.
    Failure,
}

/// For how long something is kept, from its push on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// For so many seconds.
    Seconds(u32),
    /// For ever.
    Forever,
}

/// A rule: the names that it is for, and what becomes of them. What is `None` leaves out nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionRule {
    /// In instances of these names.
    pub instance: Option<Pattern>,
    /// Of this kind.
    pub kind: Option<KeptKind>,
    /// Artifacts of these projects.
    pub project: Option<Pattern>,
    /// Artifacts of these elements.
    pub element: Option<Pattern>,
    /// With these names, as a [`Grant`](crate::Grant) has them.
    pub names: Option<Pattern>,
    /// Artifacts of builds that ended like this.
    pub outcome: Option<BuildOutcome>,
    /// They stay for so long, however little they are used.
    pub keep: Option<Keep>,
    /// So many artifacts of each element stay, those pushed last. The several names of one count once.
    pub keep_newest: Option<u32>,
    /// They go so many seconds after their push, however much they are used, but for what is still kept.
    pub let_go_after: Option<u32>,
    /// So many bytes of contents stay, of what was used last, and the rest goes, but for what is still kept.
    pub at_most: Option<u64>,
}

/// As a file has it, in one line.
impl fmt::Display for RetentionRule {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pattern = |pattern: &Option<Pattern>| pattern.as_ref().map(|pattern| format!("\"{pattern}\""));
        let kind = self.kind.map(|kind| match kind {
            KeptKind::Artifact => "\"artifact\"",
            KeptKind::Source => "\"source\"",
            KeptKind::ActionResult => "\"action-result\"",
            KeptKind::Asset => "\"asset\"",
        });
        let outcome = self.outcome.map(|outcome| match outcome {
            BuildOutcome::Success => "\"success\"",
            BuildOutcome::Failure => "\"failure\"",
        });
        let keep = self.keep.map(|keep| match keep {
            Keep::Forever => "\"forever\"".to_owned(),
            Keep::Seconds(seconds) => format!("\"{}\"", span(seconds)),
        });
        let said = [
            ("instance", pattern(&self.instance)),
            ("kind", kind.map(str::to_owned)),
            ("project", pattern(&self.project)),
            ("element", pattern(&self.element)),
            ("names", pattern(&self.names)),
            ("outcome", outcome.map(str::to_owned)),
            ("keep", keep),
            ("keep_newest", self.keep_newest.map(|count| count.to_string())),
            ("let_go_after", self.let_go_after.map(|seconds| format!("\"{}\"", span(seconds)))),
            ("at_most", self.at_most.map(|bytes| format!("\"{}\"", size(bytes)))),
        ];
        let said = said.into_iter().filter_map(|(key, value)| Some(format!("{key} = {}", value?)));
        to.write_str(&said.collect::<Vec<_>>().join(", "))
    }
}

/// A span of time in the largest unit that has it whole.
fn span(seconds: u32) -> String {
    const UNITS: [(u32, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let whole = |(unit, _): &&(u32, &str)| seconds.is_multiple_of(*unit);
    UNITS.iter().find(whole).map_or_else(String::new, |(unit, name)| format!("{}{name}", seconds / unit))
}

/// A size in the largest unit that has it whole.
fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "KB")];
    let whole = |(unit, _): &&(u64, &str)| bytes > 0 && bytes.is_multiple_of(*unit);
    UNITS
        .iter()
        .find(whole)
        .map_or_else(|| format!("{bytes}B"), |(unit, name)| format!("{}{name}", bytes / unit))
}

/// What a name says of itself.
#[derive(Debug)]
pub(crate) struct Described<'n> {
    name: &'n Name,
    short: std::borrow::Cow<'n, str>,
    pub kind: KeptKind,
}

impl<'n> Described<'n> {
    pub(crate) fn of(name: &'n Name) -> Self {
        let short = short(name);
        let kind = match name.kind {
            NameKind::ActionResult => KeptKind::ActionResult,
            _ if short.starts_with("artifact:") => KeptKind::Artifact,
            _ if short.starts_with("source:") => KeptKind::Source,
            _ => KeptKind::Asset,
        };
        Self { name, short, kind }
    }

    /// Project and element of an artifact.
    pub(crate) fn artifact(&self) -> Option<(&str, &str)> {
        let (project, rest) = self.short.strip_prefix("artifact:")?.split_once('/')?;
        Some((project, rest.rsplit_once('/')?.0))
    }
}

impl RetentionRule {
    /// Whether it is for this name, but for how a build ended.
    fn is_for(&self, described: &Described<'_>) -> bool {
        let fits = |pattern: &Option<Pattern>, text: Option<&str>| {
            pattern.as_ref().is_none_or(|pattern| text.is_some_and(|text| pattern.matches(text)))
        };
        let artifact = described.artifact();
        self.kind.is_none_or(|kind| kind == described.kind)
            && fits(&self.instance, Some(&described.name.instance))
            && fits(&self.names, Some(&described.short))
            && fits(&self.project, artifact.map(|(project, _)| project))
            && fits(&self.element, artifact.map(|(_, element)| element))
    }
}

impl RetentionRule {
    /// Until when it keeps what was pushed at `pushed` (Unix seconds), by age alone; the lowest level if it does not.
    fn kept_until(&self, pushed: u64) -> Level {
        match self.keep {
            None => Level::ZERO,
            Some(Keep::Forever) => Level::PINNED,
            Some(Keep::Seconds(seconds)) => Level::from_unix(pushed).plus(seconds),
        }
    }

    /// Whether it keeps this if it is among the newest.
    fn counts_newest(&self, described: &Described<'_>) -> bool {
        self.keep_newest.is_some_and(|count| count > 0) && described.kind == KeptKind::Artifact
    }
}

/// The rules.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Retention {
    rules: Vec<RetentionRule>,
}

impl Retention {
    pub(crate) fn new(rules: Vec<RetentionRule>) -> Self {
        Self { rules }
    }

    /// Whether there is no rule.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether which rule counts for this name depends on how a build ended.
    pub(crate) fn asks_for_outcome(&self, described: &Described<'_>) -> bool {
        described.kind == KeptKind::Artifact
            && self
                .rules
                .iter()
                .find(|rule| rule.is_for(described))
                .is_some_and(|rule| rule.outcome.is_some())
    }

    /// The rule that counts: the first that matches.
    pub(crate) fn rule(
        &self,
        described: &Described<'_>,
        outcome: Option<BuildOutcome>,
    ) -> Option<(usize, &RetentionRule)> {
        let counts = |rule: &RetentionRule| {
            rule.is_for(described) && rule.outcome.is_none_or(|wanted| outcome == Some(wanted))
        };
        self.rules.iter().enumerate().find(|(_, rule)| counts(rule))
    }

    /// Until when a name that is pushed now is kept; the lowest level if it is not. `pushed` is in Unix seconds.
    fn kept_from_its_push(&self, name: &Name, outcome: Option<BuildOutcome>, pushed: u64) -> Level {
        let described = Described::of(name);
        match self.rule(&described, outcome) {
            // For the time being: it is the newest.
            Some((_, rule)) if rule.counts_newest(&described) => Level::PINNED,
            Some((_, rule)) => rule.kept_until(pushed),
            None => Level::ZERO,
        }
    }

    /// How often it is to be looked whether something goes before its time, if anything does.
    pub(crate) fn looks_each(&self) -> Option<Duration> {
        let soonest = self.rules.iter().filter_map(|rule| rule.let_go_after).min()?;
        Some(Duration::from_secs((soonest / 10).clamp(1, 3600).into()))
    }

    /// What keeps anything, rules and so many pins, as a part of a sentence.
    pub(crate) fn that_keep(&self, pins: usize) -> String {
        let keeps = |rule: &RetentionRule| rule.keep.is_some() || rule.keep_newest.is_some();
        let rules = (1..).zip(&self.rules).filter(|(_, rule)| keeps(rule));
        let rules = rules.map(|(number, rule)| format!("rule {number} ({rule})"));
        let pins = Some(pins).filter(|count| *count > 0);
        let keepers: Vec<_> = rules
            .chain(pins.map(|count| if count == 1 { "1 pin".into() } else { format!("{count} pins") }))
            .collect();
        // What a rule kept that is gone stays kept for a moment.
        if keepers.is_empty() { "rules that are gone".into() } else { keepers.join(" and ") }
    }

    /// Whether a rule counts artifacts.
    pub(crate) fn counts_any(&self) -> bool {
        self.rules.iter().any(|rule| rule.keep_newest.is_some())
    }
}

/// Whether ages can be told: the wall clock is near cache time.
pub(crate) fn clocks_agree(clock: &Clock) -> bool {
    clock.wall().abs_diff(clock.now().to_unix()) <= CLOCKS_APART_MAX
}

impl Inner {
    /// When a value was last used, also where something keeps it for longer.
    pub(crate) fn last_use(&self, value: &Value) -> Level {
        let level = self.gate.level_of(value);
        // A level in the future says until when it is kept.
        if level > self.clock.now() { value.touched() } else { level.max(value.touched()) }
    }

    /// The time by which pins hold or not, in Unix seconds: with a wall clock that has gone wrong, the earlier one.
    pub(crate) fn time_of_pins(&self) -> u64 {
        let (wall, time) = (self.clock.wall(), self.clock.now().to_unix());
        if clocks_agree(&self.clock) { wall } else { wall.min(time) }
    }

    /// Until when each name of a publication is kept, by rules and pins. To be asked with a ticket at hand: whoever makes a
    /// pin waits for those who could not know of it.
    pub(crate) async fn kept_until(&self, publication: &Publication) -> Vec<Level> {
        if self.retention.now().is_empty() && self.pins.now().is_empty() {
            return vec![Level::ZERO; publication.names.len()];
        }
        // With a wall clock that has gone wrong, time is what the cache says: kept too long is no harm.
        let wall = publication.pushed.unwrap_or_else(|| self.clock.wall());
        let pushed = if clocks_agree(&self.clock) { wall } else { wall.max(self.clock.now().to_unix()) };
        let mut levels = Vec::with_capacity(publication.names.len());
        for (name, _) in &publication.names {
            levels.push(self.kept_from_its_push(name, &publication.target, pushed).await);
        }
        levels
    }

    /// Until when a name that was pushed then, in Unix seconds, is kept; with a ticket at hand, too.
    pub(crate) async fn kept_from_its_push(&self, name: &Name, target: &Target, pushed: u64) -> Level {
        let retention = self.retention.now();
        let asks = retention.asks_for_outcome(&Described::of(name));
        let outcome = if asks { self.outcome(name, target).await } else { None };
        let by_rule = retention.kept_from_its_push(name, outcome, pushed);
        by_rule.max(self.pins.now().keep_until(name, self.time_of_pins()))
    }

    /// How the build of an artifact ended, as far as that can be read now.
    async fn outcome(&self, name: &Name, target: &Target) -> Option<BuildOutcome> {
        match artifact_message(name, target)? {
            None => Some(BuildOutcome::Success),
            Some(digest) => self.artifact_failed(&digest).await.ok().flatten().map(outcome_of),
        }
    }

    /// How the build of an artifact ended, where one of these rules asks for that; an error if it cannot be read now. Blocks.
    pub(crate) fn outcome_of_value(
        &self,
        retention: &Retention,
        value: &Value,
    ) -> Result<Option<BuildOutcome>> {
        if !retention.asks_for_outcome(&Described::of(&value.name)) {
            return Ok(None);
        }
        match artifact_message(&value.name, &value.target) {
            None => Ok(None),
            Some(None) => Ok(Some(BuildOutcome::Success)),
            Some(Some(digest)) => match self.blobs.read_small(&digest) {
                Ok(content) => Ok(crate::overwrite::failed(content).map(outcome_of)),
                Err(millpond_store::Error::Missing) => Ok(None),
                Err(error) => Err(error.into()),
            },
        }
    }
}

fn outcome_of(failed: bool) -> BuildOutcome {
    if failed { BuildOutcome::Failure } else { BuildOutcome::Success }
}

/// The message that says how the build of an artifact ended; `Some(None)` for one of BuildStream 1, which publishes no
/// failed builds; `None` for what is no artifact.
fn artifact_message(name: &Name, target: &Target) -> Option<Option<millpond_store::Digest>> {
    match (name.kind, target) {
        (NameKind::AssetBlob, Target::Blob(digest))
            if UriForm::of(AssetKind::Blob, &name.text) == UriForm::Artifact =>
        {
            Some(Some(*digest))
        }
        (NameKind::AssetDirectory, _) if short(name).starts_with("artifact:") => Some(None),
        _ => None,
    }
}
