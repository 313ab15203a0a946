//! Builds as BuildStream 2 pushes them: an `Artifact` message, and behind it a tree whose files are mostly those of the
//! build before.

use millpond_proto::asset::PushBlobRequest;
use millpond_proto::buildstream::{Artifact, artifact};
use millpond_proto::reapi::{Digest, Directory, DirectoryNode, FileNode};

use crate::blob::Blob;
use crate::random::Random;

/// Files that differ from the build before: one in so many.
const CHANGED: u64 = 5;
const FILES_A_FOLDER: usize = 10;
/// Sizes of files are log-normal: half are below 3 KiB, one in forty is above 57 KiB, their mean is 9 KiB.
const MEDIAN_BYTES: f64 = 3072.0;
const SIGMA: f64 = 1.5;
const LARGEST_BYTES: usize = 8 << 20;
const BASE: &str = "urn:fdc:buildstream.build:2020:artifact:";

/// The build before all others, most of whose files they share.
pub(crate) struct Project {
    files: Vec<Blob>,
    folders: Vec<Blob>,
}

/// One build.
pub(crate) struct Build {
    /// Files, folders, logs and metadata that the project's other builds do not have.
    pub(crate) new: Vec<Blob>,
    /// All files, those of the project included.
    pub(crate) files: Vec<Digest>,
    /// The tree's root.
    pub(crate) root: Digest,
    /// How many directories the tree has.
    pub(crate) directories: usize,
    message: Artifact,
}

impl Project {
    /// One with so many files.
    pub(crate) fn new(random: &mut Random, files: usize) -> Self {
        let files: Vec<_> = (0..files).map(|_| file(random)).collect();
        let digests: Vec<_> = files.iter().map(|file| file.digest.clone()).collect();
        Self { folders: folders(&digests), files }
    }

    /// What has to be uploaded once.
    pub(crate) fn blobs(&self) -> Vec<Blob> {
        [&self.files[..], &self.folders].concat()
    }

    /// A build in which one file in five is another than the project's.
    pub(crate) fn build(&self, random: &mut Random) -> Build {
        let mut new = Vec::new();
        let mut files = Vec::with_capacity(self.files.len());
        for shared in &self.files {
            if random.one_in(CHANGED) {
                let changed = file(random);
                files.push(changed.digest.clone());
                new.push(changed);
            } else {
                files.push(shared.digest.clone());
            }
        }
        let folders = folders(&files);
        let root = Blob::of(&Directory { directories: nodes("folder", &folders), ..Default::default() });
        let directories = folders.len() + 1;
        let [public, log, low, high] = [700, 2500, 300, 1200].map(|size| Blob::new(random.bytes(size)));
        let log_file = artifact::LogFile { name: "build.log".into(), digest: Some(log.digest.clone()) };
        let message = Artifact {
            version: 2,
            build_success: true,
            files: Some(root.digest.clone()),
            public_data: Some(public.digest.clone()),
            logs: vec![log_file],
            low_diversity_meta: Some(low.digest.clone()),
            high_diversity_meta: Some(high.digest.clone()),
            ..Default::default()
        };
        let root_digest = root.digest.clone();
        let changed =
            folders.into_iter().zip(&self.folders).filter(|(now, before)| now.digest != before.digest);
        new.extend(changed.map(|(now, _)| now));
        new.extend([root, public, log, low, high]);
        Build { new, files, root: root_digest, directories, message }
    }
}

impl Build {
    /// Another name for the same build: its `Artifact`, and the request that publishes it when everything is there.
    pub(crate) fn publish(&self, random: &mut Random, instance_name: String) -> (Blob, PushBlobRequest) {
        let [strong_key, weak_key] = [random.key(), random.key()];
        let uris = [&strong_key, &weak_key].map(|key| format!("{BASE}bench/element/{key}")).to_vec();
        let artifact = Blob::of(&Artifact { strong_key, weak_key, ..self.message.clone() });
        let Artifact { files, low_diversity_meta, high_diversity_meta, logs, .. } = &self.message;
        let metadata = [low_diversity_meta, high_diversity_meta].into_iter().flatten().cloned();
        let request = PushBlobRequest {
            instance_name,
            uris,
            blob_digest: Some(artifact.digest.clone()),
            references_blobs: metadata.chain(logs.iter().filter_map(|log| log.digest.clone())).collect(),
            references_directories: files.iter().cloned().collect(),
            ..Default::default()
        };
        (artifact, request)
    }
}

/// The names that [`Build::publish`] gives a blob, and the blob.
pub(crate) fn named(request: &PushBlobRequest) -> Option<(String, Digest)> {
    Some((request.uris.first()?.clone(), request.blob_digest.clone()?))
}

fn file(random: &mut Random) -> Blob {
    let size = random.file_size(MEDIAN_BYTES, SIGMA, LARGEST_BYTES);
    Blob::new(random.bytes(size))
}

fn folders(files: &[Digest]) -> Vec<Blob> {
    files.chunks(FILES_A_FOLDER).map(folder).collect()
}

fn folder(files: &[Digest]) -> Blob {
    let node = |(number, digest): (usize, &Digest)| FileNode {
        name: format!("file-{number:02}"),
        digest: Some(digest.clone()),
        ..Default::default()
    };
    Blob::of(&Directory { files: files.iter().enumerate().map(node).collect(), ..Default::default() })
}

/// Entries for folders, in order.
pub(crate) fn nodes(name: &str, folders: &[Blob]) -> Vec<DirectoryNode> {
    let node = |(number, folder): (usize, &Blob)| DirectoryNode {
        name: format!("{name}-{number:04}"),
        digest: Some(folder.digest.clone()),
    };
    folders.iter().enumerate().map(node).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use millpond_proto::HashText;

    use super::*;

    fn hashes<'a>(blobs: impl IntoIterator<Item = &'a Blob>) -> HashSet<HashText> {
        blobs.into_iter().map(|blob| blob.digest.hash.clone()).collect()
    }

    #[test]
    fn four_fifths_of_a_build_are_the_project_s() {
        let mut random = Random::fresh();
        let project = Project::new(&mut random, 1000);
        let build = project.build(&mut random);
        let shared = hashes(&project.files);
        let count = build.files.iter().filter(|digest| shared.contains(&digest.hash)).count();
        assert!((740..860).contains(&count), "{count}");
        assert_eq!((build.files.len(), build.directories), (1000, 101));
    }

    #[test]
    fn every_blob_of_a_build_is_either_the_project_s_or_new() {
        let mut random = Random::fresh();
        let project = Project::new(&mut random, 195);
        let old = hashes(&project.blobs());
        let builds = [(); 5].map(|()| project.build(&mut random));
        let mut all_new = HashSet::new();
        for build in &builds {
            let (artifact, request) = build.publish(&mut random, String::new());
            let new = hashes(build.new.iter().chain([&artifact]));
            let names =
                build.files.iter().chain(&request.references_blobs).chain(&request.references_directories);
            assert!(
                names.chain(&request.blob_digest).all(|d| old.contains(&d.hash) != new.contains(&d.hash))
            );
            assert_eq!(named(&request), Some((request.uris[0].clone(), artifact.digest)));
            assert!(new.into_iter().all(|hash| !old.contains(&hash) && all_new.insert(hash)));
        }
    }
}
