//! Decoding and encoding what carries many digests.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run may end at once, as a test may")]

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use millpond_proto::Digest;
use millpond_proto::reapi::{FindMissingBlobsRequest, FindMissingBlobsResponse};
use prost::Message;

const DIGESTS: u64 = 10_000;

fn main() {
    divan::main();
}

fn digests() -> Vec<Digest> {
    let digest = |number: u64| Digest { hash: format!("{number:064x}").into(), size_bytes: 4000 };
    (0..DIGESTS).map(digest).collect()
}

#[divan::bench]
fn decode_find_missing(bencher: Bencher<'_, '_>) {
    let request = FindMissingBlobsRequest { blob_digests: digests(), ..Default::default() };
    let encoded = bytes::Bytes::from(request.encode_to_vec());
    bencher
        .counter(ItemsCount::new(DIGESTS))
        .bench(|| FindMissingBlobsRequest::decode(black_box(encoded.clone())).unwrap());
}

#[divan::bench]
fn encode_missing(bencher: Bencher<'_, '_>) {
    let answer = FindMissingBlobsResponse { missing_blob_digests: digests() };
    bencher.counter(ItemsCount::new(DIGESTS)).bench(|| black_box(&answer).encode_to_vec());
}
