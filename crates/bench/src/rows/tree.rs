//! A tree of 10 000 directories: a root, 99 folders, and 100 folders with a file in each of these.

use millpond_proto::reapi::{Directory, FileNode, GetTreeRequest};

use crate::artifact::nodes;
use crate::blob::Blob;
use crate::failure::Failure;
use crate::plan::{Operation, Plan};
use crate::setup::Setup;
use crate::wire::{Call, Expect, method};

const FOLDERS: usize = 99;
const LEAVES: usize = 100;

/// The whole tree, again and again.
pub(super) async fn get_tree(setup: &mut Setup<'_>) -> Result<Plan, Failure> {
    let file = Blob::new(setup.random.bytes(100));
    let mut blobs = vec![file.clone()];
    let mut folders = Vec::new();
    for folder in 0..FOLDERS {
        let leaves: Vec<_> = (0..LEAVES).map(|leaf| self::leaf(&file, folder * LEAVES + leaf)).collect();
        folders.push(Blob::of(&Directory { directories: nodes("leaf", &leaves), ..Default::default() }));
        blobs.extend(leaves);
    }
    let root = Blob::of(&Directory { directories: nodes("folder", &folders), ..Default::default() });
    let request = GetTreeRequest {
        instance_name: setup.instance(),
        root_digest: Some(root.digest.clone()),
        ..Default::default()
    };
    blobs.extend(folders);
    blobs.push(root);
    setup.upload(&blobs).await?;
    let expect = Expect::Directories(1 + FOLDERS + FOLDERS * LEAVES);
    let call = Call::new(method::GET_TREE, &request, expect);
    Ok(Plan::repeated(vec![Operation::one(call, 0)], setup.count))
}

fn leaf(file: &Blob, number: usize) -> Blob {
    let digest = Some(file.digest.clone());
    let file = FileNode { name: format!("file-{number}"), digest, ..Default::default() };
    Blob::of(&Directory { files: vec![file], ..Default::default() })
}
