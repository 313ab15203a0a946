//! Names as the catalog keeps them, and what a URI says about what hangs on it.
//!
//! URIs of a form that is not known here are opaque: accepted, and their closure is what their push declares.

use std::borrow::Cow;

use millpond_proto::buildstream;
use millpond_store::Digest;
use millpond_store::catalog::{Name, NameKind};

use crate::{AssetKind, Error, InstanceName, Limit, Result};

/// Bytes in one URI, and in all qualifiers of a name together.
const TEXT_BYTES_MAX: usize = 8 * 1024;
/// What URIs of BuildStream begin with.
pub(crate) const BUILDSTREAM: &str = "urn:fdc:buildstream.build:2020:";

/// What a URI says about its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UriForm {
    /// BuildStream 2: a blob that is an `Artifact` message.
    Artifact,
    /// BuildStream 2: a blob that is a `Source` message.
    Source,
    /// BuildStream 2: one source's tree.
    SourceTree,
    /// Anything else, BuildStream 1's references among it.
    Other,
}

impl UriForm {
    /// Reads the form off a URI.
    pub(crate) fn of(kind: AssetKind, uri: &str) -> Self {
        let rest = |prefix| uri.strip_prefix(BUILDSTREAM)?.strip_prefix(prefix);
        if rest("artifact:").is_some() && kind == AssetKind::Blob {
            Self::Artifact
        } else if let Some(key) = rest("source:") {
            match (kind, key.contains('/')) {
                (AssetKind::Blob, false) => Self::Source,
                (AssetKind::Directory, _) => Self::SourceTree,
                (AssetKind::Blob, true) => Self::Other,
            }
        } else {
            Self::Other
        }
    }

    /// BuildStream 2 publishes these even after its uploads were refused for lack of space, and refusing the name
    /// would stop the user's build: such a name is kept aside until its blobs arrive.
    pub(crate) fn may_wait_for_blobs(self) -> bool {
        self != Self::Other
    }
}

/// The name of an asset.
pub(crate) fn asset(instance: &InstanceName, kind: AssetKind, uri: &str, qualifiers: &str) -> Name {
    let kind = match kind {
        AssetKind::Blob => NameKind::AssetBlob,
        AssetKind::Directory => NameKind::AssetDirectory,
    };
    Name { instance: instance.shared(), kind, text: uri.into(), qualifiers: qualifiers.into() }
}

/// The name of an action's result.
pub(crate) fn action_result(instance: &InstanceName, action: &Digest) -> Name {
    Name {
        instance: instance.shared(),
        kind: NameKind::ActionResult,
        text: action.to_string().into(),
        qualifiers: "".into(),
    }
}

/// A name as grants and people have it: `artifact:PROJECT/ELEMENT/KEY` of both BuildStreams, `source:KEY`,
/// `action:HASH/SIZE`, and the URI of anything else.
pub(crate) fn short(name: &Name) -> Cow<'_, str> {
    let of_buildstream = || name.text.strip_prefix(BUILDSTREAM);
    match (name.kind, of_buildstream()) {
        (NameKind::ActionResult, _) => format!("action:{}", name.text).into(),
        (_, Some(rest)) => match rest.strip_prefix("v1:") {
            Some(key) => format!("artifact:{key}").into(),
            None => rest.into(),
        },
        (_, None) => (&*name.text).into(),
    }
}

/// Checks that there are URIs and that none is absurd.
pub(crate) fn check_uris(uris: &[String], most: usize) -> Result<()> {
    if uris.is_empty() || uris.iter().any(String::is_empty) {
        return Err(Error::Invalid("a URI is missing: give at least one, none of them empty".into()));
    }
    if uris.len() > most {
        Limit::NamesPerPush.met();
        return Err(Error::Invalid(format!("{} URIs in one request: give at most {most}", uris.len())));
    }
    match uris.iter().find(|uri| uri.len() > TEXT_BYTES_MAX || uri.contains('\0')) {
        Some(uri) if uri.contains('\0') => Err(Error::Invalid("a URI holds a NUL character".into())),
        Some(uri) => {
            Err(Error::Invalid(format!("a URI of {} bytes: give at most {TEXT_BYTES_MAX}", uri.len())))
        }
        None => Ok(()),
    }
}

/// Qualifiers in one spelling, so that their order does not matter. Lengths go in front, so that no two sets of
/// qualifiers share a spelling.
pub(crate) fn canonical_qualifiers(qualifiers: &[(String, String)]) -> Result<String> {
    let bytes: usize = qualifiers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > TEXT_BYTES_MAX {
        return Err(Error::Invalid(format!("{bytes} bytes of qualifiers: give at most {TEXT_BYTES_MAX}")));
    }
    let mut sorted: Vec<_> = qualifiers.iter().collect();
    sorted.sort();
    if sorted.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
        return Err(Error::Invalid("two qualifiers have the same name: give each once".into()));
    }
    Ok(sorted.iter().map(|(name, value)| format!("{}:{name}={}:{value};", name.len(), value.len())).collect())
}

/// Qualifiers from their one spelling; `None` if it is none.
pub(crate) fn parse_qualifiers(canonical: &str) -> Option<Vec<(String, String)>> {
    fn text<'t>(rest: &'t str, end: &str) -> Option<(String, &'t str)> {
        let (length, rest) = rest.split_once(':')?;
        let (text, rest) = rest.split_at_checked(length.parse().ok()?)?;
        Some((text.to_owned(), rest.strip_prefix(end)?))
    }
    let (mut rest, mut qualifiers) = (canonical, Vec::new());
    while !rest.is_empty() {
        let (name, behind) = text(rest, "=")?;
        let (value, behind) = text(behind, ";")?;
        qualifiers.push((name, value));
        rest = behind;
    }
    Some(qualifiers)
}

/// The URI of an artifact of BuildStream 2 that another was built with, as its own push has it.
pub(crate) fn of_dependency(needed: &buildstream::artifact::Dependency) -> String {
    let element = &needed.element_name;
    let element = element.strip_suffix(".bst").unwrap_or(element);
    let normal = |character: char| match character {
        '/' => '-',
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' | '_' => character,
        _ => '_',
    };
    let element: String = element.chars().map(normal).collect();
    format!("{BUILDSTREAM}artifact:{}/{element}/{}", needed.project_name, needed.cache_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_is_read_off_kind_and_prefix() {
        let form = UriForm::of;
        let base = "urn:fdc:buildstream.build:2020:";
        assert_eq!(form(AssetKind::Blob, &format!("{base}artifact:p/e/k")), UriForm::Artifact);
        assert_eq!(form(AssetKind::Directory, &format!("{base}artifact:p/e/k")), UriForm::Other);
        assert_eq!(form(AssetKind::Blob, &format!("{base}source:abc")), UriForm::Source);
        assert_eq!(form(AssetKind::Directory, &format!("{base}source:tar/abc")), UriForm::SourceTree);
        assert_eq!(form(AssetKind::Blob, &format!("{base}source:tar/abc")), UriForm::Other);
        assert_eq!(form(AssetKind::Directory, &format!("{base}v1:p/e/k")), UriForm::Other);
        assert_eq!(form(AssetKind::Blob, "https://example.org/x.tar"), UriForm::Other);
    }

    #[test]
    fn qualifiers_in_another_order_are_the_same_and_no_two_sets_collide() {
        let pairs = |list: &[(&str, &str)]| {
            let owned: Vec<_> = list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            canonical_qualifiers(&owned).unwrap()
        };
        assert_eq!(pairs(&[("a", "1"), ("b", "2")]), pairs(&[("b", "2"), ("a", "1")]));
        assert_ne!(pairs(&[("a", "1;1:b=1:2")]), pairs(&[("a", "1"), ("b", "2")]));
        assert_eq!(pairs(&[]), "");
        for list in [vec![], vec![("a", "1;1:b=1:2"), ("b", "")], vec![("é", "=;:")]] {
            let read = parse_qualifiers(&pairs(&list)).unwrap();
            let read: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(read, list);
        }
        for text in ["x", "1:a", "1:a=9:b;", "1:a=1:b", "1:é=1:b;"] {
            assert_eq!(parse_qualifiers(text), None, "{text}");
        }
    }

    #[test]
    fn short_names_leave_out_what_is_the_same_for_all() {
        let name =
            |kind, text: &str| Name { instance: "".into(), kind, text: text.into(), qualifiers: "".into() };
        let base = "urn:fdc:buildstream.build:2020:";
        for (kind, text, shown) in [
            (NameKind::AssetBlob, format!("{base}artifact:p/e/k"), "artifact:p/e/k"),
            (NameKind::AssetDirectory, format!("{base}v1:p/e/k"), "artifact:p/e/k"),
            (NameKind::AssetDirectory, format!("{base}source:tar/k"), "source:tar/k"),
            (NameKind::AssetBlob, "https://example.org".into(), "https://example.org"),
            (NameKind::ActionResult, "ab/3".into(), "action:ab/3"),
        ] {
            assert_eq!(short(&name(kind, &text)), shown);
        }
    }

    #[test]
    fn absurd_uris_are_invalid() {
        assert!(check_uris(&[], 1).is_err());
        assert!(check_uris(&[String::new()], 1).is_err());
        assert!(check_uris(&["x".repeat(TEXT_BYTES_MAX + 1)], 1).is_err());
        assert!(check_uris(&["a\0b".into()], 1).is_err());
        assert!(check_uris(&vec!["u".into(); 9], 8).is_err());
        assert!(check_uris(&["anything at all".into()], 1).is_ok());
    }
}
