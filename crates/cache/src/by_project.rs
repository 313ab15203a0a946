//! Look-ups and pushes of names, counted by what the name is of and what came of it.
//!
//! **Invariant:** nobody has figures made for a project who cannot push: it has its own once a name of it was pushed or found
//! since the start, and there are at most [`PROJECTS_MAX`]. Counting takes no lock.

use std::sync::Arc;

use millpond_store::Slots;
use millpond_store::catalog::{Name, NameKind};

use crate::cache::Inner;
use crate::counters::Counter;
use crate::name::BUILDSTREAM;
use crate::publish::Publication;
use crate::{Published, Result};

/// Projects that are told apart.
const PROJECTS_MAX: usize = 100;
/// Bytes in the name of one that is.
const PROJECT_BYTES_MAX: usize = 64;
/// All other projects. No project of BuildStream may be called that.
const OTHERS: &str = "(others)";

/// What came of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookUp {
    Hit,
    Unknown,
    LetGo,
    Pending,
    Incomplete,
    Expired,
    Shed,
    Failed,
    /// It took too long, or whoever asked went away.
    BrokenOff,
}

impl LookUp {
    const WORDS: [&str; 9] =
        ["hit", "unknown", "let_go", "pending", "incomplete", "expired", "shed", "failed", "broken_off"];
}

/// What came of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Push {
    Whole,
    Pending,
    Kept,
    Refused,
}

impl Push {
    const WORDS: [&str; 4] = ["whole", "pending", "kept", "refused"];
}

/// What names are of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Of<'n> {
    /// An artifact of a project.
    Artifact(&'n str),
    Source,
    Action,
    Other,
}

impl<'n> Of<'n> {
    fn name(name: &'n Name) -> Self {
        if name.kind == NameKind::ActionResult {
            return Self::Action;
        }
        let Some(rest) = name.text.strip_prefix(BUILDSTREAM) else { return Self::Other };
        let key = rest.strip_prefix("artifact:").or_else(|| rest.strip_prefix("v1:"));
        match key {
            Some(key) => Self::Artifact(key.split('/').next().unwrap_or_default()),
            None if rest.starts_with("source:") => Self::Source,
            None => Self::Other,
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    look_ups: [Counter; LookUp::WORDS.len()],
    pushes: [Counter; Push::WORDS.len()],
}

/// All that was counted since the start.
#[derive(Debug)]
pub(crate) struct ByProject {
    projects: Slots<Box<str>, Tally>,
    other_projects: Tally,
    sources: Tally,
    actions: Tally,
    others: Tally,
}

/// What was counted of one kind of names, of one project where they have one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamesCounted {
    /// `artifact`, `source`, `action` or `other`.
    pub kind: &'static str,
    /// Of an artifact; empty for everything else.
    pub project: Box<str>,
    /// How many look-ups came to what.
    pub look_ups: Vec<(&'static str, u64)>,
    /// How many pushes did.
    pub pushes: Vec<(&'static str, u64)>,
}

impl Default for ByProject {
    fn default() -> Self {
        Self {
            projects: Slots::new(PROJECTS_MAX),
            other_projects: Tally::default(),
            sources: Tally::default(),
            actions: Tally::default(),
            others: Tally::default(),
        }
    }
}

impl ByProject {
    /// Where names like these count. Only what `is_there` may have a project counted for itself.
    fn tally(&self, of: &Of<'_>, is_there: bool) -> &Tally {
        let project = match of {
            Of::Artifact(project) => *project,
            Of::Source => return &self.sources,
            Of::Action => return &self.actions,
            Of::Other => return &self.others,
        };
        let known = if is_there && is_project(project) {
            self.projects.get_or_insert(project, || (project.into(), Tally::default()))
        } else {
            self.projects.get(project)
        };
        known.unwrap_or(&self.other_projects)
    }

    fn count_look_up(&self, name: &Name, look_up: LookUp) {
        let tally = self.tally(&Of::name(name), look_up == LookUp::Hit);
        if let Some(counter) = tally.look_ups.get(look_up as usize) {
            counter.add(1);
        }
    }

    fn count_push(&self, of: &Of<'_>, push: Push) {
        if let Some(counter) = self.tally(of, push != Push::Refused).pushes.get(push as usize) {
            counter.add(1);
        }
    }

    /// A look-up begins, and counts when this is dropped.
    pub(crate) fn look_up<'a>(&'a self, name: &'a Name) -> LookingUp<'a> {
        LookingUp { counted: self, name, came_to: LookUp::BrokenOff }
    }

    /// What was counted.
    pub(crate) fn read(&self) -> Vec<NamesCounted> {
        let projects = self.projects.iter().map(|(project, tally)| ("artifact", &**project, tally));
        let mut projects: Vec<_> = projects.collect();
        projects.sort_unstable_by_key(|(_, project, _)| *project);
        let others = [
            ("artifact", OTHERS, &self.other_projects),
            ("source", "", &self.sources),
            ("action", "", &self.actions),
            ("other", "", &self.others),
        ];
        let read = |(kind, project, tally): (_, &str, &Tally)| NamesCounted {
            kind,
            project: project.into(),
            look_ups: with_words(LookUp::WORDS, &tally.look_ups),
            pushes: with_words(Push::WORDS, &tally.pushes),
        };
        projects.into_iter().chain(others).map(read).collect()
    }
}

fn with_words<const N: usize>(words: [&'static str; N], counters: &[Counter; N]) -> Vec<(&'static str, u64)> {
    words.into_iter().zip(counters.iter().map(Counter::get)).collect()
}

/// What a project of BuildStream may be called.
fn is_project(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= PROJECT_BYTES_MAX && text.bytes().all(fits)
}

/// A look-up under way.
#[derive(Debug)]
pub(crate) struct LookingUp<'a> {
    counted: &'a ByProject,
    name: &'a Name,
    /// What it came to.
    pub came_to: LookUp,
}

impl Drop for LookingUp<'_> {
    fn drop(&mut self) {
        self.counted.count_look_up(self.name, self.came_to);
    }
}

impl Inner {
    /// Publishes what a client pushed, and counts it.
    pub(crate) async fn publish_pushed(self: &Arc<Self>, publication: Publication) -> Result<Published> {
        let names: Vec<Name> = publication.names.iter().map(|(name, _)| Name::clone(name)).collect();
        let published = self.publish(publication).await;
        let push = match &published {
            Ok(Published::Whole) => Push::Whole,
            Ok(Published::Pending) => Push::Pending,
            Ok(Published::Kept) => Push::Kept,
            Err(_) => Push::Refused,
        };
        names.iter().for_each(|name| self.by_project.count_push(&Of::name(name), push));
        published
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(project: &str) -> Name {
        let text = format!("{BUILDSTREAM}artifact:{project}/element/key").into();
        Name { instance: "".into(), kind: NameKind::AssetBlob, text, qualifiers: "".into() }
    }

    fn looked_up(counted: &ByProject, kind: &str, project: &str, word: &str) -> Option<u64> {
        let all = counted.read();
        let found = all.iter().find(|found| (found.kind, &*found.project) == (kind, project))?;
        Some(found.look_ups.iter().find(|(known, _)| *known == word).unwrap().1)
    }

    #[test]
    fn look_ups_count_where_they_belong_and_when_they_are_given_up() {
        let counted = ByProject::default();
        let name = artifact("gnome");
        counted.look_up(&name).came_to = LookUp::Hit;
        counted.look_up(&name).came_to = LookUp::LetGo;
        drop(counted.look_up(&name));
        for (word, count) in [("hit", 1), ("let_go", 1), ("broken_off", 1), ("unknown", 0)] {
            assert_eq!(looked_up(&counted, "artifact", "gnome", word), Some(count), "{word}");
        }
        let v1 = Name { text: format!("{BUILDSTREAM}v1:gnome/e/k").into(), ..name.clone() };
        counted.look_up(&v1).came_to = LookUp::Hit;
        assert_eq!(looked_up(&counted, "artifact", "gnome", "hit"), Some(2));
        let source = Name { text: format!("{BUILDSTREAM}source:abc").into(), ..name.clone() };
        counted.look_up(&source).came_to = LookUp::Unknown;
        let action = Name { kind: NameKind::ActionResult, text: "abc/7".into(), ..name.clone() };
        counted.look_up(&action).came_to = LookUp::Unknown;
        let other = Name { text: "https://example.org/".into(), ..name };
        counted.look_up(&other).came_to = LookUp::Unknown;
        for kind in ["source", "action", "other"] {
            assert_eq!(looked_up(&counted, kind, "", "unknown"), Some(1), "{kind}");
        }
    }

    #[test]
    fn projects_are_made_by_what_is_there_alone_and_are_bounded() {
        let counted = ByProject::default();
        for number in 0..1000 {
            counted.look_up(&artifact(&format!("made-up-{number}"))).came_to = LookUp::Unknown;
        }
        assert_eq!(counted.projects.iter().count(), 0);
        assert_eq!(looked_up(&counted, "artifact", OTHERS, "unknown"), Some(1000));
        for project in ["", "a b", "(others)", "\n", &"x".repeat(PROJECT_BYTES_MAX + 1)] {
            counted.count_push(&Of::Artifact(project), Push::Whole);
        }
        assert_eq!(counted.projects.iter().count(), 0);
        for number in 0..PROJECTS_MAX + 50 {
            counted.count_push(&Of::Artifact(&format!("pushed-{number}")), Push::Whole);
        }
        assert_eq!(counted.projects.iter().count(), PROJECTS_MAX);
    }
}
