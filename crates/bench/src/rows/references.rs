//! BuildStream 1's own names for trees.

use millpond_proto::buildstream::{GetReferenceRequest, UpdateReferenceRequest};
use millpond_proto::reapi::Digest;

use crate::artifact::Project;
use crate::failure::Failure;
use crate::plan::{Operation, Plan};
use crate::setup::Setup;
use crate::wire::{Call, Expect, method};

const FILES: usize = 100;
const TREES: usize = 100;
/// How many are got in turn.
const GOT: usize = 1000;

/// Each name set once.
pub(super) async fn update(setup: &mut Setup<'_>) -> Result<Plan, Failure> {
    let names = names(setup, setup.part()).await?;
    Ok(Plan::once(names.iter().map(|(key, tree)| update_call(setup, key, tree)).collect()))
}

/// A thousand names, got again and again.
pub(super) async fn get(setup: &mut Setup<'_>) -> Result<Plan, Failure> {
    let names = names(setup, GOT.min(setup.count)).await?;
    let updates = names.iter().map(|(key, tree)| update_call(setup, key, tree)).collect();
    setup.perform(updates).await?;
    let get = |(key, tree): (String, Digest)| {
        let request = GetReferenceRequest { instance_name: setup.instance(), key };
        Operation::one(Call::new(method::REFERENCE_GET, &request, Expect::Reference(tree)), 0)
    };
    Ok(Plan::repeated(names.into_iter().map(get).collect(), setup.count))
}

fn update_call(setup: &Setup<'_>, key: &str, tree: &Digest) -> Operation {
    let request = UpdateReferenceRequest {
        instance_name: setup.instance(),
        keys: vec![key.to_owned()],
        digest: Some(tree.clone()),
    };
    Operation::one(Call::new(method::REFERENCE_UPDATE, &request, Expect::Done), 0)
}

/// So many names for trees that have been uploaded.
async fn names(setup: &mut Setup<'_>, count: usize) -> Result<Vec<(String, Digest)>, Failure> {
    let project = Project::new(&mut setup.random, FILES);
    setup.upload(&project.blobs()).await?;
    let mut trees = Vec::new();
    for _ in 0..TREES.min(count) {
        let build = project.build(&mut setup.random);
        setup.upload(&build.new).await?;
        trees.push(build.root);
    }
    let name = |tree: &Digest| (format!("bench/element/{}", setup.random.key()), tree.clone());
    Ok(trees.iter().cycle().take(count).map(name).collect())
}
