//! Blobs and trees, as an operator looks at them.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use millpond_cache::{Admin, Cache, Digest, DirectoryEntry, EntryKind, Error, Permit, Result};
use millpond_proto::admin as wire;
use tonic::Status;

use super::Pages;
use crate::caller::RequestId;
use crate::status;

/// Answers ReadBlob.
pub(super) async fn read(
    cache: &Arc<Cache>,
    permit: &Permit<Admin>,
    request: RequestId,
    asked: &wire::ReadBlobRequest,
) -> Result<Pages<wire::BlobPart>> {
    let digest = digest(&asked.digest)?;
    let reader = cache.read_blob(&permit.to_pull(), &digest, asked.offset, asked.limit).await?;
    Ok(Box::pin(stream::try_unfold(reader, move |mut reader| async move {
        let part = reader.next().await.map_err(|error| status::failed(error, request))?;
        Ok::<_, Status>(part.map(|data| (wire::BlobPart { data }, reader)))
    })))
}

/// Answers ListDirectory.
pub(super) async fn list(
    cache: &Arc<Cache>,
    permit: &Permit<Admin>,
    request: RequestId,
    asked: &wire::ListDirectoryRequest,
) -> Result<Pages<wire::DirectoryPage>> {
    let root = digest(&asked.digest)?;
    let (walk, single) = cache.list_directory(permit, root, &asked.path, asked.recursive).await?;
    let page = |entries: Vec<DirectoryEntry>| wire::DirectoryPage {
        entries: entries.into_iter().map(entry).collect(),
    };
    let single = stream::iter(single.map(|entry| Ok(page(vec![entry]))));
    let pages = stream::try_unfold(walk, move |mut walk| async move {
        let entries = walk.next_page().await.map_err(|error| status::failed(error, request))?;
        Ok::<_, Status>(entries.map(|entries| (page(entries), walk)))
    });
    Ok(Box::pin(single.chain(pages)))
}

fn digest(text: &str) -> Result<Digest> {
    let parts = text.split_once('/').and_then(|(hash, size)| Some((hash, size.parse().ok()?)));
    parts.and_then(|(hash, size)| Digest::parse(hash, size).ok()).ok_or_else(|| {
        let shown: String = text.chars().take(100).collect();
        Error::Invalid(format!(
            "{shown:?} is no digest: write HASH/SIZE, 64 lower-case hexadecimal digits and a number of bytes"
        ))
    })
}

fn entry(entry: DirectoryEntry) -> wire::DirectoryEntry {
    let path = entry.path;
    match entry.kind {
        EntryKind::File { digest, executable } => wire::DirectoryEntry {
            path,
            digest: digest.to_string(),
            is_executable: executable,
            ..Default::default()
        },
        EntryKind::Directory { digest } => wire::DirectoryEntry {
            path,
            digest: digest.to_string(),
            is_directory: true,
            ..Default::default()
        },
        EntryKind::Link { target } => {
            wire::DirectoryEntry { path, target: Some(target), ..Default::default() }
        }
    }
}
