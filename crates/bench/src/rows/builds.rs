//! Whole builds, as a continuous integration pushes and pulls them.

use millpond_proto::reapi::{Digest, GetTreeRequest};

use crate::artifact::{Build, Project};
use crate::blob::Blob;
use crate::failure::Failure;
use crate::plan::{Operation, Plan};
use crate::setup::Setup;
use crate::wire::{Call, Expect, method};

use super::assets::fetch_call;

const FILES: usize = 200;
/// How many are pulled in turn.
const PULLED: usize = 50;

/// Each pushed once, by a client that has the build before.
pub(super) async fn push(setup: &mut Setup<'_>) -> Result<Plan, Failure> {
    let project = project(setup).await?;
    Ok(Plan::once((0..setup.part()).map(|_| push_one(setup, &project).1).collect()))
}

/// Some, pulled again and again, by clients that have nothing yet.
pub(super) async fn pull(setup: &mut Setup<'_>) -> Result<Plan, Failure> {
    let project = project(setup).await?;
    let (pulls, pushes): (Vec<_>, Vec<_>) =
        (0..PULLED.min(setup.count)).map(|_| push_one(setup, &project)).unzip();
    setup.perform(pushes).await?;
    Ok(Plan::repeated(pulls, setup.count))
}

/// What the build before has left on the server.
async fn project(setup: &mut Setup<'_>) -> Result<Project, Failure> {
    let project = Project::new(&mut setup.random, FILES);
    setup.upload(&project.blobs()).await?;
    Ok(project)
}

/// A build that nobody knows: how it is pulled, and how it is pushed.
fn push_one(setup: &mut Setup<'_>, project: &Project) -> (Operation, Operation) {
    let build = project.build(&mut setup.random);
    let (artifact, request) = build.publish(&mut setup.random, setup.instance.to_owned());
    let mut blobs = build.new.clone();
    blobs.push(artifact.clone());
    let shared = build.files.iter().filter(|digest| !blobs.iter().any(|blob| blob.digest == **digest));
    let digests = shared.chain(blobs.iter().map(|blob| &blob.digest)).cloned().collect();
    let mut calls = vec![setup.find_missing(digests, blobs.len())];
    calls.extend(setup.uploads(&blobs));
    calls.push(Call::new(method::ASSET_PUSH, &request, Expect::Done));
    let bytes = blobs.iter().map(|blob| blob.content.len() as u64).sum();
    let push = Operation::calls(calls, bytes);
    (pull_one(setup, &build, &artifact, fetch_call(&request)), push)
}

fn pull_one(setup: &Setup<'_>, build: &Build, artifact: &Blob, fetch: Option<Call>) -> Operation {
    let tree = GetTreeRequest {
        instance_name: setup.instance(),
        root_digest: Some(build.root.clone()),
        ..Default::default()
    };
    let mut calls: Vec<_> = fetch.into_iter().collect();
    calls.push(setup.batch_read(&[&artifact.digest]));
    calls.push(Call::new(method::GET_TREE, &tree, Expect::Directories(build.directories)));
    calls.extend(setup.downloads(&build.files));
    let size = |digest: &Digest| u64::try_from(digest.size_bytes).unwrap_or_default();
    Operation::calls(calls, build.files.iter().chain([&artifact.digest]).map(size).sum())
}
