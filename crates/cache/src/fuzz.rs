//! What reads bytes of strangers, for the targets in `fuzz/` and the tests: compiled for them alone.

use bytes::Bytes;

use crate::closure::{self, References};
use crate::name::{self, UriForm};
use crate::{AssetKind, Digest, DigestFunction, Pattern};

/// Messages of trees, artifacts, sources and action results, as a walk reads them.
pub fn closures(data: &[u8]) {
    let content = Bytes::copy_from_slice(data);
    let length = data.len() as u64;
    let Some(digest) = Digest::from_parts(DigestFunction::Sha256, [7; 32], length) else { return };
    closure::read_everything_as(&digest, &content);
    // What was kept is read again as it was meant.
    if let Ok(references) = References::decode(&content) {
        let again = References::decode(&references.encode());
        assert!(again.is_ok_and(|again| again == references));
    }
}

/// URIs and qualifiers: no two sets of qualifiers share a spelling.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parts: Vec<String> = text.split('\n').map(str::to_owned).collect();
    if name::check_uris(&parts, 128).is_ok() {
        for uri in &parts {
            for kind in [AssetKind::Blob, AssetKind::Directory] {
                let _ = UriForm::of(kind, uri);
            }
        }
    }
    let pairs: Vec<(String, String)> = parts
        .iter()
        .map(|line| line.split_once('=').unwrap_or((line, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    if let Ok(spelling) = name::canonical_qualifiers(&pairs) {
        let turned: Vec<_> = pairs.iter().rev().cloned().collect();
        assert!(name::canonical_qualifiers(&turned).is_ok_and(|same| same == spelling));
    }
}

/// Patterns end, whatever they are matched with, and one that is the text itself matches.
pub fn patterns(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (pattern, subject) = text.split_once('\n').unwrap_or((text, text));
    if let Ok(pattern) = Pattern::new(pattern) {
        let _ = pattern.matches(subject);
        assert!(pattern.matches(&pattern.to_string()));
    }
}

#[cfg(test)]
#[path = "../../../fuzz/inputs.rs"]
mod inputs;

#[cfg(test)]
mod tests {
    use super::inputs::try_many;
    use super::*;
    use millpond_proto::buildstream::Artifact;
    use millpond_proto::reapi;
    use prost::Message as _;

    #[test]
    fn any_bytes_are_walked_or_refused() {
        let digest = reapi::Digest { hash: "7".repeat(64).into(), size_bytes: 9 };
        let file = reapi::FileNode { name: "f".into(), digest: Some(digest.clone()), ..Default::default() };
        let folder = reapi::DirectoryNode { name: "d".into(), digest: Some(digest.clone()) };
        let directory =
            reapi::Directory { files: vec![file], directories: vec![folder], ..Default::default() };
        let tree = reapi::Tree { root: Some(directory.clone()), children: vec![directory.clone()] };
        let artifact = Artifact {
            files: Some(digest.clone()),
            low_diversity_meta: Some(digest.clone()),
            ..Default::default()
        };
        let result = reapi::ActionResult { stdout_digest: Some(digest), ..Default::default() };
        let seeds = [
            directory.encode_to_vec(),
            tree.encode_to_vec(),
            artifact.encode_to_vec(),
            result.encode_to_vec(),
            b"ref: value\n- [a, {b: 'c'}]\n".to_vec(),
        ];
        try_many(&seeds.each_ref().map(Vec::as_slice), closures);
    }

    #[test]
    fn any_names_are_taken_apart_or_refused() {
        try_many(
            &[
                b"urn:fdc:buildstream.build:2020:artifact:project/element/key",
                b"urn:fdc:buildstream.build:2020:source:key\nurn:x",
                b"a=1\nb=2\na=3",
                b"%41=%2f\n\xc3\xa4=x\n=",
            ],
            names,
        );
    }

    #[test]
    fn any_patterns_end() {
        try_many(&[b"*a*b*\naaaaabbbbb", b"artifact:p/*", b"**\n", b"x*y\nx/y"], patterns);
    }
}
