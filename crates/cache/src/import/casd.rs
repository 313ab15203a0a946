//! The directory of `buildbox-casd`: `assets/objects/HH/REST` hold answers to FetchBlob and FetchDirectory, which have all that was
//! pushed but for references; `actioncache/objects/HH/REST` hold action results by the hash of their action.

use std::io;
use std::path::Path;

use bytes::Bytes;
use millpond_proto::asset;
use millpond_store::Digest;
use prost::Message;

use super::bst1::{files, small_file};
use super::objects::Objects;
use super::{Entry, Foreign, Found};
use crate::closure::{MESSAGE_BYTES_MAX, wire_digest};
use crate::name;
use crate::{AssetKind, InstanceName};

/// Where names lie: assets, and action results.
const ASSETS: &str = "assets/objects";
const ACTIONS: &str = "actioncache/objects";
/// An asset is never larger, in bytes.
const ASSET_BYTES_MAX: u64 = 1 << 20;
/// What types of messages begin with.
const TYPE: &str = "type.googleapis.com/build.bazel.remote.asset.v1.";

/// A message that says of which type it is (`google.protobuf.Any`).
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// All names.
pub(super) fn entries(directory: &Path) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    for folder in [ASSETS, ACTIONS] {
        match files(directory, Path::new(folder)) {
            Ok(files) => found.extend(files),
            // One that was never asked for names has none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The name that a file stands for.
pub(super) fn read(
    objects: &Objects,
    directory: &Path,
    path: &Path,
    instance: &InstanceName,
) -> Found<Foreign> {
    if path.starts_with(ACTIONS) {
        action(objects, directory, path, instance)
    } else {
        asset(directory, path, instance)
    }
}

fn asset(directory: &Path, path: &Path, instance: &InstanceName) -> Found<Foreign> {
    let content = small_file(directory, path, ASSET_BYTES_MAX)?;
    let any = Any::decode(&*content).map_err(|error| error.to_string())?;
    let said = |error: prost::DecodeError| error.to_string();
    let (kind, uri, qualifiers, expires, digest) = match any.type_url.strip_prefix(TYPE) {
        Some("FetchBlobResponse") => {
            let found = asset::FetchBlobResponse::decode(any.value).map_err(said)?;
            (AssetKind::Blob, found.uri, found.qualifiers, found.expires_at, found.blob_digest)
        }
        Some("FetchDirectoryResponse") => {
            let found = asset::FetchDirectoryResponse::decode(any.value).map_err(said)?;
            (AssetKind::Directory, found.uri, found.qualifiers, found.expires_at, found.root_directory_digest)
        }
        _ => return Err(format!("it is a {}, which is no asset", any.type_url)),
    };
    let digest = wire_digest(digest.as_ref())?.ok_or("it points to nothing")?;
    name::check_uris(std::slice::from_ref(&uri), 1).map_err(|error| error.to_string())?;
    let qualifiers: Vec<_> =
        qualifiers.into_iter().map(|qualifier| (qualifier.name, qualifier.value)).collect();
    let qualifiers = name::canonical_qualifiers(&qualifiers).map_err(|error| error.to_string())?;
    let expires = expires.and_then(|at| u64::try_from(at.seconds).ok());
    Ok(Foreign::asset(instance, (kind, &uri, &qualifiers), digest, expires))
}

fn action(objects: &Objects, directory: &Path, path: &Path, instance: &InstanceName) -> Found<Foreign> {
    let content = Bytes::from(small_file(directory, path, MESSAGE_BYTES_MAX)?);
    let parts: Option<Vec<&str>> =
        path.strip_prefix(ACTIONS).ok().and_then(|rest| rest.iter().map(|part| part.to_str()).collect());
    let hash = parts.map(|parts| parts.concat()).unwrap_or_default();
    // A name has the size of the action too, which stands nowhere else.
    let size = objects.size(&hash).ok_or("its action is not there, whose size is a part of its name")?;
    let size = i64::try_from(size).map_err(|_| "its action has no size")?;
    let action = Digest::parse(&hash, size).map_err(|_| "its file has no hash for a name")?;
    Foreign::action(instance, &action, content)
}
