//! Names of BuildStream 2's artifacts: what it pays that a name is only served whole.

use millpond_proto::asset::{FetchBlobRequest, PushBlobRequest};

use crate::artifact::{Project, named};
use crate::failure::Failure;
use crate::plan::{Operation, Plan};
use crate::setup::Setup;
use crate::wire::{Call, Expect, method};

const FILES: usize = 100;
/// Names that share a tree.
const NAMES_A_TREE: usize = 10;
/// How many are fetched in turn.
const FETCHED: usize = 2000;

/// Each name pushed once.
pub(super) async fn push(setup: &mut Setup<'_>) -> Result<Plan, Failure> {
    let requests = requests(setup, setup.part()).await?;
    Ok(Plan::once(requests.iter().map(call).collect()))
}

/// Some thousand names, fetched again and again.
pub(super) async fn fetch(setup: &mut Setup<'_>) -> Result<Plan, Failure> {
    let requests = requests(setup, FETCHED.min(setup.count)).await?;
    setup.perform(requests.iter().map(call).collect()).await?;
    let fetches = requests.iter().filter_map(|request| Some(Operation::one(fetch_call(request)?, 0)));
    Ok(Plan::repeated(fetches.collect(), setup.count))
}

/// The call that looks up what a request published.
pub(super) fn fetch_call(request: &PushBlobRequest) -> Option<Call> {
    let (uri, digest) = named(request)?;
    let instance_name = request.instance_name.clone();
    let fetch = FetchBlobRequest { instance_name, uris: vec![uri], ..Default::default() };
    Some(Call::new(method::ASSET_FETCH, &fetch, Expect::Asset(digest)))
}

fn call(request: &PushBlobRequest) -> Operation {
    Operation::one(Call::new(method::ASSET_PUSH, request, Expect::Done), 0)
}

/// Requests for so many names of artifacts that have been uploaded.
async fn requests(setup: &mut Setup<'_>, count: usize) -> Result<Vec<PushBlobRequest>, Failure> {
    let project = Project::new(&mut setup.random, FILES);
    setup.upload(&project.blobs()).await?;
    let mut requests = Vec::with_capacity(count);
    while requests.len() < count {
        let build = project.build(&mut setup.random);
        let mut blobs = build.new.clone();
        for _ in 0..NAMES_A_TREE.min(count - requests.len()) {
            let (artifact, request) = build.publish(&mut setup.random, setup.instance.to_owned());
            blobs.push(artifact);
            requests.push(request);
        }
        setup.upload(&blobs).await?;
    }
    Ok(requests)
}
