//! Where blobs are brought from: the directory of another server, or another server that runs.

use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;
use millpond_store::Digest;

use super::blocking;
use super::objects::Objects;
use crate::Result;
use crate::upstream::{Trouble, Upstream, UpstreamBlob};

/// Bytes of a large blob that are read at a time.
const PIECE: usize = 1 << 20;

/// Where they are.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Directory(Objects),
    Server(Arc<dyn Upstream>),
}

/// What can be had of a blob: `None` if it is not there, or why it could not be asked for.
pub(super) type Had<T> = std::result::Result<Option<T>, Trouble>;

impl Source {
    /// Whether these are there.
    pub(super) async fn are_there(&self, digests: Vec<Digest>) -> Result<Vec<(Digest, Had<()>)>> {
        match self {
            Self::Directory(objects) => {
                let objects = objects.clone();
                let look = move |digest: Digest| {
                    let file = objects.open(&digest).ok().flatten();
                    (digest, Ok(file.map(drop)))
                };
                blocking(move || digests.into_iter().map(look).collect()).await
            }
            Self::Server(server) => {
                let missing = server.missing(digests.clone()).await;
                let missing = missing.map(|mut missing| {
                    missing.sort_unstable();
                    missing
                });
                let had = |digest: Digest| match &missing {
                    Ok(missing) => (digest, Ok(missing.binary_search(&digest).is_err().then_some(()))),
                    Err(why) => (digest, Err(why.clone())),
                };
                Ok(digests.into_iter().map(had).collect())
            }
        }
    }

    /// Reads blobs whole; their hashes are not looked at.
    pub(super) async fn read_whole(&self, digests: Vec<Digest>) -> Result<Vec<(Digest, Had<Bytes>)>> {
        match self {
            Self::Directory(objects) => {
                let objects = objects.clone();
                let read = move |digest: Digest| (digest, Ok(objects.read(&digest).ok().flatten()));
                blocking(move || digests.into_iter().map(read).collect()).await
            }
            Self::Server(server) => {
                let read = server.read_whole(&digests).await;
                Ok(digests.into_iter().zip(read).collect())
            }
        }
    }

    /// Begins to read a blob.
    pub(super) async fn open(&self, digest: Digest) -> Result<Had<Reading>> {
        match self {
            Self::Directory(objects) => {
                let objects = objects.clone();
                let file = blocking(move || objects.open(&digest)).await?;
                Ok(Ok(file.ok().flatten().map(Reading::File)))
            }
            Self::Server(server) => {
                let mut blob = server.read(digest);
                // Only then it is known whether it is there.
                let first = blob.next().await;
                Ok(first.map(|first| first.map(|first| Reading::Server { first: Some(first), blob })))
            }
        }
    }
}

/// A blob that is read piece by piece.
pub(super) enum Reading {
    File(File),
    Server { first: Option<Bytes>, blob: Box<dyn UpstreamBlob> },
}

impl Reading {
    /// The next bytes; none at its end.
    pub(super) async fn next(self) -> Result<std::result::Result<(Bytes, Self), Trouble>> {
        match self {
            Self::File(mut file) => {
                let (piece, file) = blocking(move || (piece(&mut file), file)).await?;
                Ok(piece.map(|piece| (piece, Self::File(file))).map_err(|_| "cannot be read there".into()))
            }
            Self::Server { first: Some(first), blob } => Ok(Ok((first, Self::Server { first: None, blob }))),
            Self::Server { first, mut blob } => {
                let next = blob.next().await.map(Option::unwrap_or_default);
                Ok(next.map(|next| (next, Self::Server { first, blob })))
            }
        }
    }
}

/// The next bytes of a file; none at its end.
fn piece(file: &mut File) -> std::io::Result<Bytes> {
    let mut piece = Vec::with_capacity(PIECE);
    file.take(PIECE as u64).read_to_end(&mut piece)?;
    Ok(piece.into())
}
