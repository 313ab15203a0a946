//! An artifact or a source of BuildStream 2, looked at as if it were a directory: what it has, by what that is to it.

use bytes::Bytes;
use millpond_proto::buildstream::{Artifact, Source};
use millpond_proto::reapi::{self, Directory, DirectoryNode, FileNode};
use millpond_store::Digest;
use prost::Message;

use crate::closure::wire_digest;

/// `None` if it is neither. Trees that BuildStream may leave out are listed where `is_there` says that they are there.
pub(super) fn as_directory(content: Bytes, is_there: impl Fn(&Digest) -> bool) -> Option<Directory> {
    // Both begin with their version, in whose place no Directory has a number; behind it they differ.
    match Artifact::decode(content.clone()) {
        Ok(artifact) if artifact.version > 0 => Some(of_artifact(artifact, is_there)),
        _ => {
            let source = Source::decode(content).ok().filter(|source| source.version > 0)?;
            Some(Directory { directories: tree("files", source.files).collect(), ..Directory::default() })
        }
    }
}

fn of_artifact(artifact: Artifact, is_there: impl Fn(&Digest) -> bool) -> Directory {
    let optional = |name, digest: Option<reapi::Digest>| {
        let found = wire_digest(digest.as_ref()).ok().flatten();
        tree(name, digest.filter(|_| found.is_some_and(|found| is_there(&found))))
    };
    let directories = tree("files", artifact.files)
        .chain(optional("buildtree", artifact.buildtree))
        .chain(optional("sources", artifact.sources))
        .chain(optional("buildroot", artifact.buildroot));
    let blobs = [
        ("public-data", artifact.public_data),
        ("low-diversity-meta", artifact.low_diversity_meta),
        ("high-diversity-meta", artifact.high_diversity_meta),
    ];
    let blobs = blobs.into_iter().map(|(name, digest)| (name.to_owned(), digest));
    let logs = artifact.logs.into_iter().map(|log| (log.name, log.digest));
    let files = blobs
        .chain(logs)
        .filter(|(_, digest)| is_given(digest.as_ref()))
        .map(|(name, digest)| FileNode { name, digest, ..FileNode::default() });
    Directory { files: files.collect(), directories: directories.collect(), ..Directory::default() }
}

/// BuildStream 2.0 to 2.6 send an empty digest for what an artifact lacks.
fn is_given(digest: Option<&reapi::Digest>) -> bool {
    digest.is_some_and(|digest| !digest.hash.is_empty())
}

fn tree(name: &str, digest: Option<reapi::Digest>) -> impl Iterator<Item = DirectoryNode> {
    let digest = digest.filter(|digest| is_given(Some(digest)));
    let name = name.to_owned();
    digest.into_iter().map(move |digest| DirectoryNode { name: name.clone(), digest: Some(digest) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(content: &[u8]) -> Option<reapi::Digest> {
        let digest = Digest::of(content);
        let hash = digest.to_string().split('/').next().unwrap().to_owned().into();
        Some(reapi::Digest { hash, size_bytes: i64::try_from(digest.size()).unwrap() })
    }

    #[test]
    fn artifact_lists_what_it_has_and_no_tree_that_was_left_out() {
        let log =
            millpond_proto::buildstream::artifact::LogFile { name: "build.log".into(), digest: wire(b"log") };
        let artifact = Artifact {
            version: 1,
            files: wire(b"files"),
            buildtree: wire(b"buildtree"),
            sources: wire(b"sources"),
            public_data: wire(b"public"),
            low_diversity_meta: Some(reapi::Digest::default()),
            logs: vec![log],
            ..Artifact::default()
        };
        let there = |digest: &Digest| *digest != Digest::of(b"sources");
        let found = as_directory(artifact.encode_to_vec().into(), there).unwrap();
        let names: Vec<_> = found.directories.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["files", "buildtree"]);
        let names: Vec<_> = found.files.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["public-data", "build.log"]);
        assert!(Directory::decode(Bytes::from(artifact.encode_to_vec())).is_err());
    }

    #[test]
    fn source_lists_its_files_and_anything_else_is_neither() {
        let source = Source { version: 1, files: wire(b"files") };
        let found = as_directory(source.encode_to_vec().into(), |_| true).unwrap();
        assert_eq!((found.files.len(), found.directories[0].name.as_str()), (0, "files"));
        for content in [&b"no message at all"[..], b"", b"\x08"] {
            assert_eq!(as_directory(content.to_vec().into(), |_| true), None);
        }
    }
}
