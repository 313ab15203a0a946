//! Results of actions, each with three outputs of some hundred that are there.

use bytes::Bytes;
use millpond_proto::reapi::{
    ActionResult, Digest, GetActionResultRequest, OutputFile, UpdateActionResultRequest,
};
use prost::Message;

use crate::blob::Blob;
use crate::failure::Failure;
use crate::plan::{Operation, Plan};
use crate::setup::Setup;
use crate::wire::{Call, Expect, method};

const OUTPUTS: usize = 300;
const OUTPUTS_A_RESULT: usize = 3;
const OUTPUT_BYTES: usize = 1000;
/// How many are got in turn.
const GOT: usize = 1000;

/// Each result stored once.
pub(super) async fn update(setup: &mut Setup<'_>) -> Result<Plan, Failure> {
    let updates = updates(setup, setup.part()).await?;
    Ok(Plan::once(updates.into_iter().map(|(_, operation)| operation).collect()))
}

/// A thousand results, got again and again.
pub(super) async fn get(setup: &mut Setup<'_>) -> Result<Plan, Failure> {
    let (actions, updates): (Vec<_>, Vec<_>) =
        updates(setup, GOT.min(setup.count)).await?.into_iter().unzip();
    setup.perform(updates).await?;
    let get = |action: Digest| {
        let request = GetActionResultRequest {
            instance_name: setup.instance(),
            action_digest: Some(action),
            ..Default::default()
        };
        Operation::one(Call::new(method::ACTION_GET, &request, Expect::Done), 0)
    };
    Ok(Plan::repeated(actions.into_iter().map(get).collect(), setup.count))
}

/// So many actions that nobody knows, each with the call that stores its result.
async fn updates(setup: &mut Setup<'_>, count: usize) -> Result<Vec<(Digest, Operation)>, Failure> {
    let outputs: Vec<_> = (0..OUTPUTS).map(|_| Blob::new(setup.random.bytes(OUTPUT_BYTES))).collect();
    setup.upload(&outputs).await?;
    let results: Vec<_> = outputs.chunks(OUTPUTS_A_RESULT).map(result).collect();
    let update = |result: &Bytes| {
        let action = setup.random.digest();
        let request = UpdateActionResultRequest {
            instance_name: setup.instance(),
            action_digest: Some(action.clone()),
            action_result: result.clone(),
            ..Default::default()
        };
        (action, Operation::one(Call::new(method::ACTION_UPDATE, &request, Expect::Done), 0))
    };
    Ok(results.iter().cycle().take(count).map(update).collect())
}

fn result(outputs: &[Blob]) -> Bytes {
    let output = |(number, blob): (usize, &Blob)| OutputFile {
        path: format!("out/file-{number}.o"),
        digest: Some(blob.digest.clone()),
        ..Default::default()
    };
    let output_files = outputs.iter().enumerate().map(output).collect();
    ActionResult { output_files, ..Default::default() }.encode_to_vec().into()
}
