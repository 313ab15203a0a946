//! What artifacts of BuildStream 2 need beside their own closure: the artifacts that they were built with, and their sources. Both
//! are names of their own, and stand in the artifact's message.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use millpond_proto::buildstream;
use millpond_store::Digest;
use millpond_store::catalog::{Name, NameKind, Pages, Target, Value};

use super::{Found, PinWanted};
use crate::cache::Inner;
use crate::closure::wire_digest;
use crate::name::{self, UriForm, short};
use crate::{AssetKind, Error, Pattern, Result};

/// What is said of a name that is not there...
pub(super) const NOT_THERE: &str = "it is not in the cache";
/// ... and of an artifact whose sources cannot be found.
pub(super) const UNKNOWN: &str = "it does not say what its sources are: only artifacts with a build tree do";
/// ... and of what stands where the name of something needed should: whoever pushed it could have more pinned by it.
pub(super) const NO_NAME: &str = "this is no name that could be pinned";
/// The most artifacts that are followed, ...
const ARTIFACTS_MAX: usize = 100_000;
/// ... and bytes of the names that are pinned beside them.
const NAMES_BYTES_MAX: usize = 16 << 20;

/// An artifact that is to be followed.
#[derive(Clone, Debug)]
pub(super) struct Artifact {
    name: Name,
    message: Digest,
}

impl Artifact {
    /// The one that a value is, if it is one of BuildStream 2.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let Target::Blob(message) = value.target else { return None };
        let is_artifact = value.name.kind == NameKind::AssetBlob
            && UriForm::of(AssetKind::Blob, &value.name.text) == UriForm::Artifact;
        (is_artifact && value.is_whole()).then(|| Self { name: value.name.clone(), message })
    }
}

impl Found {
    /// Has a name pinned too that an artifact says it needs; false if that is none.
    fn needs(&mut self, name: &Name) -> Result<bool> {
        let text = short(name);
        if text.contains('*') || Pattern::new(&*text).is_err() {
            self.told.is_gone(&*text, NO_NAME);
            return Ok(false);
        }
        let bytes = text.len() + name.instance.len();
        if self.needs.insert((text.into_owned(), Arc::clone(&name.instance))) {
            self.needs_bytes += bytes;
        }
        if self.needs.len() > ARTIFACTS_MAX || self.needs_bytes > NAMES_BYTES_MAX {
            return Err(Error::Invalid("too many names to be pinned at once: pin fewer at a time".into()));
        }
        Ok(true)
    }
}

impl Inner {
    /// Finds what these artifacts need, as far as it is wanted, and takes it in.
    pub(super) async fn find_needs(
        self: &Arc<Self>,
        mut found: Found,
        artifacts: Vec<Artifact>,
        wanted: &PinWanted,
    ) -> Result<Found> {
        let mut seen: HashSet<Name> = artifacts.iter().map(|artifact| artifact.name.clone()).collect();
        let mut ahead = VecDeque::from(artifacts);
        // By instance and tree: the artifacts whose sources it is.
        let mut trees = HashMap::<(Arc<str>, Digest), Vec<String>>::new();
        // One artifact has several names.
        let mut followed = HashSet::new();
        while let Some(Artifact { name, message }) = ahead.pop_front() {
            self.go_on()?;
            if !followed.insert((Arc::clone(&name.instance), message)) {
                continue;
            }
            let message: Option<buildstream::Artifact> = self.message(Some(message)).await?;
            let Some(message) = message else { continue };
            if wanted.sources {
                match wire_digest(message.sources.as_ref()).ok().flatten() {
                    Some(tree) => {
                        let instance = Arc::clone(&name.instance);
                        trees.entry((instance, tree)).or_default().push(short(&name).into_owned());
                    }
                    None => found.told.is_gone(short(&name), UNKNOWN),
                }
            }
            for needed in message.build_deps.iter().filter(|_| wanted.dependencies) {
                let needed = dependency(&name, needed);
                if !seen.insert(needed.clone()) {
                    continue;
                }
                if seen.len() > ARTIFACTS_MAX {
                    return Err(Error::Invalid(format!(
                        "more than {ARTIFACTS_MAX} artifacts: pin fewer at a time"
                    )));
                }
                if !found.needs(&needed)? {
                    continue;
                }
                match self.catalog.look_up(&needed).await? {
                    Some(value) => {
                        found = self.look_at(found, &value).await?;
                        ahead.extend(Artifact::of(&value));
                    }
                    None => found.told.is_gone(short(&needed), NOT_THERE),
                }
            }
        }
        if trees.is_empty() { Ok(found) } else { self.find_sources(found, trees).await }
    }

    /// Finds the names of sources by the trees that artifacts say that theirs are.
    async fn find_sources(
        self: &Arc<Self>,
        mut found: Found,
        mut trees: HashMap<(Arc<str>, Digest), Vec<String>>,
    ) -> Result<Found> {
        let (mut after, mut there) = (0, HashSet::new());
        while let Some(page) = self.catalog.page_after(after, Pages::Names).await? {
            self.go_on()?;
            after = page.next;
            for value in page.values.into_iter().filter(Value::is_whole) {
                let Some(tree) = self.source_tree(&value).await? else { continue };
                let key = (Arc::clone(&value.name.instance), tree);
                if trees.contains_key(&key) && found.needs(&value.name)? {
                    found = self.look_at(found, &value).await?;
                    there.insert(key);
                }
            }
        }
        trees.retain(|key, _| !there.contains(key));
        let mut artifacts: Vec<_> = trees.into_values().flatten().collect();
        artifacts.sort_unstable();
        for artifact in artifacts {
            found.told.is_gone(format!("sources of {artifact}"), NOT_THERE);
        }
        Ok(found)
    }

    /// The tree of a name of sources; `None` if it is no such name, or cannot be read.
    async fn source_tree(&self, value: &Value) -> Result<Option<Digest>> {
        let kind = match value.name.kind {
            NameKind::AssetBlob => AssetKind::Blob,
            NameKind::AssetDirectory => AssetKind::Directory,
            NameKind::ActionResult => return Ok(None),
        };
        match (UriForm::of(kind, &value.name.text), &value.target) {
            (UriForm::SourceTree, Target::Directory(tree)) => Ok(Some(*tree)),
            (UriForm::Source, Target::Blob(message)) => {
                let message: Option<buildstream::Source> = self.message(Some(*message)).await?;
                Ok(message.and_then(|source| wire_digest(source.files.as_ref()).ok().flatten()))
            }
            _ => Ok(None),
        }
    }
}

/// The name of an artifact that another was built with.
fn dependency(of: &Name, needed: &buildstream::artifact::Dependency) -> Name {
    let text = name::of_dependency(needed);
    let instance = Arc::clone(&of.instance);
    Name { instance, kind: NameKind::AssetBlob, text: text.into(), qualifiers: "".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependency_has_the_name_that_its_own_push_gives_it() {
        let of = Name {
            instance: "main".into(),
            kind: NameKind::AssetBlob,
            text: format!("{}artifact:p/e/k", name::BUILDSTREAM).into(),
            qualifiers: "".into(),
        };
        let needed = buildstream::artifact::Dependency {
            project_name: "sdk".into(),
            element_name: "components/base+1.bst".into(),
            cache_key: "3f2a".into(),
            ..Default::default()
        };
        let name = dependency(&of, &needed);
        assert_eq!((short(&name).as_ref(), &*name.instance), ("artifact:sdk/components-base_1/3f2a", "main"));
    }
}
