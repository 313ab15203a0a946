//! How large, deep and slow a request may be: the part of `[limits]` that is about one of them.

use std::fmt::{self, Formatter};

use millpond_cache::Limits;
use millpond_server::Options;

use super::place::Given;
use super::show::{given, number, size};
use super::{Failure, Size, Span, file, merge, usage};

/// A setting: its key, the least and the most that it may be.
type Bound<T> = (&'static str, T, T);

const MESSAGE_SIZE: Bound<u64> = ("message_size", 5 << 20, 16 << 20);
const HEADER_SIZE: Bound<u64> = ("header_size", 16 << 10, 1 << 20);
const UPLOAD_RATE: Bound<u64> = ("upload_rate", 1, 1 << 20);
const HANDSHAKE: Bound<u32> = ("handshake", 1, 300);
const UPLOAD_QUIET: Bound<u32> = ("upload_quiet", 1, 24 * 3600);
/// BuildStream pushes some names at once, and batches of what fits into 4 MB.
const NAMES_PER_PUSH: Bound<u32> = ("names_per_push", 8, 1_000_000);
const BATCH_BLOBS: Bound<u32> = ("batch_blobs", 10_000, 1_000_000);
const TREE_DEPTH: Bound<u32> = ("tree_depth", 100, 10_000);
const CLOSURE_BLOBS: Bound<u32> = ("closure_blobs", 1000, 100_000_000);

/// What one request may be like.
#[derive(Debug)]
pub(crate) struct Requests {
    /// The largest message.
    message_size: Given<Size>,
    /// The largest headers.
    header_size: Given<Size>,
    /// How long a TLS handshake may take.
    handshake: Given<Span>,
    /// For how long a request that is under way may bring nothing.
    upload_quiet: Given<Span>,
    /// What it has to bring in a second.
    upload_rate: Given<Size>,
    /// Names in one push or look-up.
    names_per_push: Given<u32>,
    /// Blobs in one batch.
    batch_blobs: Given<u32>,
    /// The deepest nesting of directories.
    tree_depth: Given<u32>,
    /// Blobs that a name may reach.
    closure_blobs: Given<u32>,
}

impl Requests {
    /// What the layers say, or the defaults.
    pub(super) fn merge(layers: merge::Layers<'_>) -> Self {
        let (server, cache) = (Options::default(), Limits::default());
        let size =
            |key, bytes: u32, of: fn(&file::Limits) -> Option<&_>| layers.limit(key, Size(bytes.into()), of);
        let span = |key, time: std::time::Duration, of: fn(&file::Limits) -> Option<&_>| {
            layers.limit(key, Span { seconds: u32::try_from(time.as_secs()).unwrap_or(u32::MAX) }, of)
        };
        let count = |key, count: usize, of: fn(&file::Limits) -> Option<&_>| {
            layers.limit(key, u32::try_from(count).unwrap_or(u32::MAX), of)
        };
        Self {
            message_size: size(MESSAGE_SIZE.0, server.message_size, |limits| limits.message_size.as_ref()),
            header_size: size(HEADER_SIZE.0, server.header_size, |limits| limits.header_size.as_ref()),
            handshake: span(HANDSHAKE.0, server.handshake, |limits| limits.handshake.as_ref()),
            upload_quiet: span(UPLOAD_QUIET.0, server.upload_quiet, |limits| limits.upload_quiet.as_ref()),
            upload_rate: size(UPLOAD_RATE.0, server.upload_rate, |limits| limits.upload_rate.as_ref()),
            names_per_push: count(NAMES_PER_PUSH.0, cache.names_per_push, |limits| {
                limits.names_per_push.as_ref()
            }),
            batch_blobs: count(BATCH_BLOBS.0, cache.batch_blobs, |limits| limits.batch_blobs.as_ref()),
            tree_depth: count(TREE_DEPTH.0, cache.tree_depth, |limits| limits.tree_depth.as_ref()),
            closure_blobs: count(CLOSURE_BLOBS.0, cache.closure_blobs, |limits| {
                limits.closure_blobs.as_ref()
            }),
        }
    }

    /// Each is within bounds in which real clients work.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let sizes = [
            (&self.message_size, MESSAGE_SIZE),
            (&self.header_size, HEADER_SIZE),
            (&self.upload_rate, UPLOAD_RATE),
        ];
        for (size, (_, least, most)) in sizes {
            within(size, size.value.0, (least, most), |bytes| Size(bytes).to_string())?;
        }
        for (span, (_, least, most)) in [(&self.handshake, HANDSHAKE), (&self.upload_quiet, UPLOAD_QUIET)] {
            within(span, span.value.seconds, (least, most), |seconds| Span { seconds }.to_string())?;
        }
        let counts = [
            (&self.names_per_push, NAMES_PER_PUSH),
            (&self.batch_blobs, BATCH_BLOBS),
            (&self.tree_depth, TREE_DEPTH),
            (&self.closure_blobs, CLOSURE_BLOBS),
        ];
        for (count, (_, least, most)) in counts {
            within(count, count.value, (least, most), |count| count.to_string())?;
        }
        Ok(())
    }

    /// As a file has them.
    pub(super) fn show(&self, to: &mut Formatter<'_>) -> fmt::Result {
        size(to, MESSAGE_SIZE.0, Some(&self.message_size))?;
        size(to, HEADER_SIZE.0, Some(&self.header_size))?;
        given(to, HANDSHAKE.0, &self.handshake)?;
        given(to, UPLOAD_QUIET.0, &self.upload_quiet)?;
        size(to, UPLOAD_RATE.0, Some(&self.upload_rate))?;
        number(to, NAMES_PER_PUSH.0, &self.names_per_push)?;
        number(to, BATCH_BLOBS.0, &self.batch_blobs)?;
        number(to, TREE_DEPTH.0, &self.tree_depth)?;
        number(to, CLOSURE_BLOBS.0, &self.closure_blobs)
    }

    /// What the server is held to by it.
    pub(crate) fn options(&self) -> Options {
        let bytes = |size: &Given<Size>| u32::try_from(size.value.0).unwrap_or(u32::MAX);
        let time = |span: &Given<Span>| std::time::Duration::from_secs(span.value.seconds.into());
        Options {
            message_size: bytes(&self.message_size),
            header_size: bytes(&self.header_size),
            handshake: time(&self.handshake),
            upload_quiet: time(&self.upload_quiet),
            upload_rate: bytes(&self.upload_rate),
            ..Options::default()
        }
    }

    /// What the cache is held to by it.
    pub(crate) fn limits(&self) -> Limits {
        let count = |count: &Given<u32>| usize::try_from(count.value).unwrap_or(usize::MAX);
        Limits {
            names_per_push: count(&self.names_per_push),
            batch_blobs: count(&self.batch_blobs),
            tree_depth: count(&self.tree_depth),
            closure_blobs: count(&self.closure_blobs),
        }
    }
}

fn within<T, N: PartialOrd + Copy>(
    given: &Given<T>,
    value: N,
    (least, most): (N, N),
    words: impl Fn(N) -> String,
) -> Result<(), Failure> {
    if value >= least && value <= most {
        return Ok(());
    }
    let (value, least, most) = (words(value), words(least), words(most));
    Err(usage(
        format!("{}: {value} is not from {least} to {most}", given.place),
        format!("give {least} to {most}"),
    ))
}
