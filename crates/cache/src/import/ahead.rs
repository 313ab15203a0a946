//! The names that are still to be asked for: those that were given, and those that artifacts say they were built with.
//!
//! **Invariant:** each name comes once, and however many another server makes up, they are bounded.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use millpond_proto::buildstream;
use millpond_store::catalog::{Name, NameKind};
use millpond_store::{Digest, Error as StoreError};

use super::source::Had;
use super::{Found, blocking};
use crate::cache::Inner;
use crate::closure::{MESSAGE_BYTES_MAX, pieces};
use crate::name::{self, BUILDSTREAM, UriForm};
use crate::upstream::{Upstream, UpstreamName, UpstreamValue};
use crate::{AssetKind, Error, Result, reference_uri};

/// The most names at once, ...
const NAMES_MAX: usize = 100_000;
/// ... and bytes of them.
const BYTES_MAX: usize = 32 << 20;
/// So much of a name is told, in characters.
const SHOWN_MAX: usize = 200;

const NO_NAME: &str = "it is no name: write PROJECT/ELEMENT/KEY, source:KEY, action:HASH/SIZE or a URI";

/// A name as it was given, and what it may be called: of an artifact it does not say of which BuildStream it is.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) text: String,
    pub(super) names: Vec<UpstreamName>,
    /// Nobody gave it: it is another name of an artifact that was, and counts only if it has that value.
    pub(super) other_name_of: Option<Digest>,
}

/// Which names an artifact leads to.
#[derive(Debug, Default)]
pub(super) struct Leads {
    /// Those of what it was built with.
    pub(super) needs: Vec<String>,
    /// Its own, by its other key: BuildStream 2 publishes each under a strong and a weak one, and looks for either.
    pub(super) other_names: Vec<String>,
}

/// What is still to come.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    queue: VecDeque<Asked>,
    seen: HashSet<UpstreamName>,
    bytes: usize,
}

impl Ahead {
    /// Takes in a name as people write it. Why it is none, if so; one that was there before is passed over.
    pub(super) fn add(&mut self, text: &str) -> Found<()> {
        let names = candidates(text.trim())?;
        for candidate in &names {
            if let UpstreamName::Asset { uri, .. } = candidate {
                name::check_uris(std::slice::from_ref(uri), 1).map_err(|error| error.to_string())?;
            }
        }
        if names.iter().all(|name| self.seen.contains(name)) {
            return Ok(());
        }
        let bytes = text.len() * names.len();
        if self.seen.len() + names.len() > NAMES_MAX || self.bytes + bytes > BYTES_MAX {
            return Err(format!("there are more than {NAMES_MAX} names: give fewer at a time"));
        }
        self.bytes += bytes;
        self.seen.extend(names.iter().cloned());
        self.queue.push_back(Asked { text: text.trim().to_owned(), names, other_name_of: None });
        Ok(())
    }

    /// Takes in what an artifact was built with. One sentence about what of it cannot be asked for: another server may make up
    /// as many as it likes.
    pub(super) fn add_needed(&mut self, needs: Vec<String>) -> Option<String> {
        let (mut refused, mut first) = (0_u64, None);
        for needed in needs {
            if let Err(why) = self.add(&needed) {
                refused += 1;
                first.get_or_insert_with(|| {
                    let shown: String = needed.chars().take(SHOWN_MAX).collect();
                    format!("{shown}: {why}")
                });
            }
        }
        first.map(|first| format!("it was built with {refused} that cannot be asked for, among them {first}"))
    }

    /// Takes in another name of an artifact, unless it was there before, or there is no room for it.
    pub(super) fn add_other_name(&mut self, text: &str, value: Digest) {
        let Ok(names) = candidates(text) else { return };
        let asked = |name: &UpstreamName| matches!(name, UpstreamName::Asset { kind: AssetKind::Blob, .. });
        let names: Vec<_> =
            names.into_iter().filter(asked).filter(|name| !self.seen.contains(name)).collect();
        if names.is_empty() || self.seen.len() >= NAMES_MAX || self.bytes + text.len() > BYTES_MAX {
            return;
        }
        self.bytes += text.len();
        self.seen.extend(names.iter().cloned());
        self.queue.push_back(Asked { text: text.to_owned(), names, other_name_of: Some(value) });
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Option<Asked> {
        self.queue.pop_front()
    }

    /// How many are to come.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}

/// What a name may be called on another server.
fn candidates(text: &str) -> Found<Vec<UpstreamName>> {
    let asset = |kind, uri: String| UpstreamName::Asset { kind, uri, qualifiers: Vec::new() };
    let of_buildstream = |rest: &str| {
        let uri = format!("{BUILDSTREAM}{rest}");
        let source_tree = rest.strip_prefix("source:").is_some_and(|key| key.contains('/'));
        let kind =
            if source_tree || rest.starts_with("v1:") { AssetKind::Directory } else { AssetKind::Blob };
        asset(kind, uri)
    };
    let artifact = |key: &str| -> Found<Vec<UpstreamName>> {
        let reference = reference_uri(key).map_err(|error| error.to_string())?;
        Ok(vec![of_buildstream(&format!("artifact:{key}")), asset(AssetKind::Directory, reference)])
    };
    if let Some(rest) = text.strip_prefix(BUILDSTREAM) {
        return Ok(vec![of_buildstream(rest)]);
    }
    if let Some(key) = text.strip_prefix("artifact:") {
        return artifact(key);
    }
    if let Some(key) = text.strip_prefix("source:") {
        return if key.is_empty() { Err(NO_NAME.into()) } else { Ok(vec![of_buildstream(text)]) };
    }
    if let Some(action) = text.strip_prefix("action:") {
        let parsed =
            action.split_once('/').and_then(|(hash, size)| Digest::parse(hash, size.parse().ok()?).ok());
        let action = parsed.ok_or("it is no action: write action:HASH/SIZE")?;
        return Ok(vec![UpstreamName::ActionResult(action)]);
    }
    if text.split_once(':').is_some_and(|(scheme, _)| !scheme.contains('/')) {
        return Ok([AssetKind::Blob, AssetKind::Directory].map(|kind| asset(kind, text.to_owned())).into());
    }
    if text.split('/').count() >= 3 {
        return artifact(text);
    }
    Err(NO_NAME.into())
}

/// A name of the catalog's, as another server is asked for it.
pub(super) fn as_asked(name: &Name) -> Option<UpstreamName> {
    let asset = |kind| {
        let qualifiers = name::parse_qualifiers(&name.qualifiers)?;
        Some(UpstreamName::Asset { kind, uri: name.text.to_string(), qualifiers })
    };
    match name.kind {
        NameKind::AssetBlob => asset(AssetKind::Blob),
        NameKind::AssetDirectory => asset(AssetKind::Directory),
        NameKind::ActionResult => {
            let (hash, size) = name.text.split_once('/')?;
            Some(UpstreamName::ActionResult(Digest::parse(hash, size.parse().ok()?).ok()?))
        }
    }
}

/// The names that an artifact leads to, if it is one (of BuildStream 2); why that is not known, if so.
pub(super) async fn leads(
    inner: &Arc<Inner>,
    upstream: &dyn Upstream,
    name: &UpstreamName,
    value: &UpstreamValue,
) -> Result<Found<Leads>> {
    let (UpstreamName::Asset { kind, uri, .. }, UpstreamValue::Asset { digest, .. }) = (name, value) else {
        return Ok(Ok(Leads::default()));
    };
    if UriForm::of(*kind, uri) != UriForm::Artifact {
        return Ok(Ok(Leads::default()));
    }
    let unknown = |why: &str| Err(format!("what it was built with is not known: its message {why}"));
    let message = match message(inner, upstream, *digest).await? {
        Ok(Some(message)) => message,
        Ok(None) => return Ok(unknown("is not there, or has another size or other bytes")),
        Err(why) => return Ok(unknown(&format!("cannot be had: {why}"))),
    };
    let element =
        uri.strip_prefix(BUILDSTREAM).and_then(|name| name.rsplit_once('/')).map(|(element, _)| element);
    let element = element.map(ToOwned::to_owned);
    let read = move || read_leads(message, element.as_deref());
    Ok(blocking(read).await?.or_else(|why| unknown(&why)))
}

fn read_leads(message: Bytes, element: Option<&str>) -> Found<Leads> {
    let mut leads = Leads::default();
    let take = |piece: &mut buildstream::Artifact| {
        leads.needs.extend(piece.build_deps.drain(..).map(|needed| name::of_dependency(&needed)));
        if leads.needs.len() > NAMES_MAX {
            return Err(Error::Invalid(format!("tells of more than {NAMES_MAX} artifacts")));
        }
        (piece.logs, piece.buildsandbox) = Default::default();
        Ok(())
    };
    let artifact = pieces::read(message, take, |why| Error::Invalid(format!("does not parse: {why}")));
    let artifact = artifact.map_err(|error| error.to_string())?;
    let keys = [&artifact.strong_key, &artifact.weak_key].into_iter().filter(|key| !key.is_empty());
    leads.other_names =
        element.map_or_else(Vec::new, |element| keys.map(|key| format!("{element}/{key}")).collect());
    Ok(leads)
}

/// A message, verified, here or there; nothing is kept of it. Why it cannot be asked for, if so.
async fn message(inner: &Arc<Inner>, upstream: &dyn Upstream, digest: Digest) -> Result<Had<Bytes>> {
    if digest.size() > MESSAGE_BYTES_MAX {
        return Ok(Ok(None));
    }
    let here = Arc::clone(inner);
    match blocking(move || here.blobs.peek_small(&digest)).await? {
        Ok(content) => Ok(Ok(Some(content))),
        Err(StoreError::Missing) => {
            let had = upstream.read_whole(&[digest]).await.pop().unwrap_or(Ok(None));
            blocking(move || had.map(|had| had.filter(|content| Digest::of(content) == digest))).await
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn asked(text: &str) -> Vec<(AssetKind, String)> {
        let kind_and_uri = |name| match name {
            UpstreamName::Asset { kind, uri, .. } => (kind, uri.replace(BUILDSTREAM, "")),
            UpstreamName::ActionResult(action) => panic!("{action}"),
        };
        candidates(text).unwrap().into_iter().map(kind_and_uri).collect()
    }

    #[test]
    fn name_is_asked_for_as_whatever_it_may_be() {
        let (blob, directory) = (AssetKind::Blob, AssetKind::Directory);
        let both = [(blob, "artifact:p/e/k".to_owned()), (directory, "v1:p/e/k".to_owned())];
        assert_eq!(asked("p/e/k"), both);
        assert_eq!(asked("artifact:p/e/k"), both);
        assert_eq!(asked(&format!("{BUILDSTREAM}artifact:p/e/k")), both[..1]);
        assert_eq!(asked(&format!("{BUILDSTREAM}v1:p/e/k")), both[1..]);
        assert_eq!(asked("source:abc"), [(blob, "source:abc".into())]);
        assert_eq!(asked(&format!("{BUILDSTREAM}source:tar/abc")), [(directory, "source:tar/abc".into())]);
        let any = "https://example.org/x.tar";
        assert_eq!(asked(any), [(blob, any.into()), (directory, any.into())]);
        let action = format!("{}/7", "0a".repeat(32));
        let parsed = Digest::parse(&"0a".repeat(32), 7).unwrap();
        assert_eq!(candidates(&format!("action:{action}")), Ok(vec![UpstreamName::ActionResult(parsed)]));
        for text in ["", "p", "p/e", "action:x/7", "action:0a", "artifact:", "source:"] {
            assert!(candidates(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_asked_for_is_told_once_for_an_artifact() {
        let mut ahead = Ahead::default();
        assert_eq!(ahead.add_needed(vec!["p/e/k".into(), "p/e/k".into()]), None);
        let told = ahead.add_needed(vec!["p".into(), "p/e/other".into(), "q".repeat(9000)]).unwrap();
        assert!(told.contains("with 2 that") && told.contains("among them p: it is no name"), "{told}");
        assert_eq!(ahead.len(), 2);
    }

    #[test]
    fn lists_of_an_artifact_are_read_and_an_endless_one_is_refused() {
        let needed = |number: usize| buildstream::artifact::Dependency {
            project_name: "p".into(),
            element_name: format!("e{number}.bst"),
            cache_key: "k".into(),
            ..Default::default()
        };
        let artifact = |count| buildstream::Artifact {
            strong_key: "strong".into(),
            weak_key: "weak".into(),
            build_deps: (0..count).map(needed).collect(),
            ..Default::default()
        };
        let leads = read_leads(artifact(5000).encode_to_vec().into(), Some("p/x")).unwrap();
        assert!(
            leads.needs.len() == 5000 && leads.needs[4999].ends_with(":p/e4999/k"),
            "{}",
            leads.needs[4999]
        );
        assert_eq!(leads.other_names, ["p/x/strong", "p/x/weak"]);
        let why = read_leads(artifact(NAMES_MAX + 1).encode_to_vec().into(), None).unwrap_err();
        assert!(why.contains("more than 100000 artifacts"), "{why}");
        assert!(read_leads(Bytes::from_static(b"\xff\xff no"), None).unwrap_err().contains("does not parse"));
    }

    #[test]
    fn each_name_comes_once_and_no_more_than_can_be_held() {
        let mut ahead = Ahead::default();
        for text in ["p/e/k", " artifact:p/e/k ", "p/e/other"] {
            ahead.add(text).unwrap();
        }
        assert_eq!(ahead.len(), 2);
        assert!(ahead.add(&format!("p/{}/k", "e".repeat(9000))).is_err());
        let texts = (0..NAMES_MAX).map(|number| format!("p/e/{number}"));
        let taken = texts.take_while(|text| ahead.add(text).is_ok()).count();
        assert_eq!((taken, ahead.len()), (NAMES_MAX / 2 - 2, NAMES_MAX / 2));
        assert_eq!(ahead.next().unwrap().text, "p/e/k");
    }
}
