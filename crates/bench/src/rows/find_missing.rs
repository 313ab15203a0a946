//! Which of 10 000 digests are missing: every second one is.

use crate::blob::Blob;
use crate::failure::Failure;
use crate::plan::{Operation, Plan};
use crate::setup::Setup;

const DIGESTS: usize = 10_000;
const BLOB_BYTES: usize = 100;

/// The same question again and again.
pub(super) async fn find_missing(setup: &mut Setup<'_>) -> Result<Plan, Failure> {
    let there: Vec<_> = (0..DIGESTS / 2).map(|_| Blob::new(setup.random.bytes(BLOB_BYTES))).collect();
    setup.upload(&there).await?;
    let digests = there.into_iter().flat_map(|blob| [blob.digest, setup.random.digest()]).collect();
    let call = setup.find_missing(digests, DIGESTS / 2);
    Ok(Plan::repeated(vec![Operation::one(call, 0)], setup.count))
}
