//! FindMissingBlobs, BatchUpdateBlobs, BatchReadBlobs.

use millpond_proto::reapi::{self, BatchReadBlobsRequest, Digest};
use millpond_server::Options;
use prost::Message;
use tonic::Code;
use tonic::Code::{InvalidArgument, ResourceExhausted};

use crate::server::{Client, TestServer, content, digest, ok, refused, unknown_digest, update};

async fn read(client: &mut Client, digests: Vec<Digest>) -> Vec<reapi::batch_read_blobs_response::Response> {
    let request = BatchReadBlobsRequest { digests, ..Default::default() };
    ok(client.cas.batch_read_blobs(request).await).responses
}

fn code(status: &Option<millpond_proto::rpc::Status>) -> Code {
    status.as_ref().map_or(Code::Ok, |status| Code::from_i32(status.code))
}

#[tokio::test]
async fn what_was_uploaded_is_read_back() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let blobs = [content(1, 10), content(2, 100_000), Vec::new(), content(3, 1)];
    let slices: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
    client.put(&slices).await;
    let digests: Vec<_> = blobs.iter().map(|blob| digest(blob)).collect();
    assert_eq!(client.missing(digests.clone()).await.unwrap(), []);
    let responses = read(&mut client, digests.clone()).await;
    assert_eq!(responses.len(), blobs.len());
    for ((response, blob), digest) in responses.iter().zip(&blobs).zip(digests) {
        assert_eq!(code(&response.status), Code::Ok);
        assert_eq!(response.data, blob);
        assert_eq!(response.digest, Some(digest));
    }
    server.stop().await;
}

#[tokio::test]
async fn missing_and_malformed_blobs_are_said_one_by_one() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.put(&[b"here"]).await;
    let wrong_size = Digest { size_bytes: 5, ..digest(b"here") };
    let malformed = Digest { hash: "../../../etc/passwd".into(), size_bytes: 4 };
    let asked = vec![unknown_digest(), digest(b"here"), wrong_size, malformed, digest(b"here")];
    let codes: Vec<_> =
        read(&mut client, asked).await.iter().map(|response| code(&response.status)).collect();
    assert_eq!(codes, [Code::NotFound, Code::Ok, Code::NotFound, Code::InvalidArgument, Code::Ok]);
    server.stop().await;
}

#[tokio::test]
async fn upload_of_other_content_than_its_digest_is_refused_alone() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let mut request = update(&[b"good", b"evil", b"size", b"name", b"none", b"zstd"]);
    request.requests[1].data = b"eviL"[..].into();
    request.requests[2].digest.as_mut().unwrap().size_bytes = 5;
    request.requests[3].digest.as_mut().unwrap().hash = "xx//etc/passwd".into();
    request.requests[4].digest = None;
    request.requests[5].compressor = reapi::compressor::Value::Zstd as i32;
    let responses = ok(client.cas.batch_update_blobs(request).await).responses;
    let codes: Vec<_> = responses.iter().map(|response| code(&response.status)).collect();
    assert_eq!(codes[0], Code::Ok);
    assert_eq!(codes[1..], [InvalidArgument; 5]);
    assert_eq!(client.missing(vec![digest(b"evil"), digest(b"good")]).await.unwrap(), [digest(b"evil")]);
    server.stop().await;
}

#[tokio::test]
async fn batches_of_four_mebibytes_are_taken_and_given_whatever_was_advertised() {
    let server = TestServer::start().await;
    for mut client in [server.client().await, server.buildstream1().await] {
        let blobs: Vec<_> = (0..4).map(|seed| content(seed, 1024 * 1024)).collect();
        let slices: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
        client.put(&slices).await;
    }
    let digests: Vec<_> = (0..4).map(|seed| digest(&content(seed, 1024 * 1024))).collect();
    let mut client = server.client().await;
    let responses = read(&mut client, digests.clone()).await;
    assert!(responses.iter().all(|response| code(&response.status) == Code::Ok));
    let too_many = [digests, vec![digest(b"x")]].concat();
    let request = BatchReadBlobsRequest { digests: too_many, ..Default::default() };
    assert_eq!(refused(client.cas.batch_read_blobs(request).await), InvalidArgument);
    server.stop().await;
}

#[tokio::test]
async fn message_over_the_limit_is_refused_and_the_connection_goes_on() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let blob = content(1, 17 * 1024 * 1024);
    assert_eq!(refused(client.cas.batch_update_blobs(update(&[&blob])).await), ResourceExhausted);
    client.put(&[b"after"]).await;
    server.stop().await;
}

#[tokio::test]
async fn missing_blobs_are_named_once_and_the_empty_blob_never() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.put(&[b"here"]).await;
    let gone = unknown_digest();
    let asked = vec![gone.clone(), digest(b""), digest(b"here"), gone.clone()];
    assert_eq!(client.missing(asked).await.unwrap(), [gone]);
    let upper = Digest { hash: digest(b"here").hash.to_uppercase().into(), size_bytes: 4 };
    let traversal = Digest { hash: "ab/../../../etc/passwd".into(), size_bytes: 4 };
    let sha1 = Digest { hash: "0".repeat(40).into(), size_bytes: 4 };
    let strange = vec![upper.clone(), traversal.clone(), sha1.clone(), sha1.clone()];
    let mut missing = client.missing(strange).await.unwrap();
    let mut expected = vec![upper, traversal, sha1];
    missing.sort_by_key(|digest| digest.hash.clone());
    expected.sort_by_key(|digest| digest.hash.clone());
    assert_eq!(missing, expected);
    for bad in [Digest::default(), Digest { size_bytes: -1, ..digest(b"here") }] {
        assert_eq!(refused(client.missing(vec![bad]).await), InvalidArgument);
    }
    server.stop().await;
}

#[tokio::test]
async fn hundred_thousand_digests_in_one_request() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let digests: Vec<_> =
        (0..100_000).map(|number| Digest { hash: format!("{number:064x}").into(), size_bytes: 9 }).collect();
    assert_eq!(client.missing(digests.clone()).await.unwrap().len(), 100_000);
    let responses = read(&mut client, digests).await;
    assert!(responses.iter().all(|response| code(&response.status) == Code::NotFound));
    server.stop().await;
}

#[tokio::test]
async fn other_digest_functions_are_refused() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    for function in [reapi::digest_function::Value::Sha1 as i32, 77] {
        let request = reapi::FindMissingBlobsRequest { digest_function: function, ..Default::default() };
        assert_eq!(refused(client.cas.find_missing_blobs(request).await), InvalidArgument);
    }
    server.stop().await;
}

#[tokio::test]
async fn tiny_files_fit_a_message_of_buildstream_1() {
    let server = TestServer::start().await;
    let mut client = server.buildstream1().await;
    let files: Vec<_> = (0..60_000_u64).map(u64::to_le_bytes).collect();
    let digests: Vec<_> = files.iter().map(|file| digest(file)).collect();
    for chunk in files.chunks(30_000) {
        let slices: Vec<&[u8]> = chunk.iter().map(|file| &file[..]).collect();
        client.put(&slices).await;
    }
    let at_once = 256 * 1024 / 8;
    let responses = read(&mut client, digests[..at_once].to_vec()).await;
    assert_eq!(responses.len(), at_once);
    assert!(responses.iter().all(|response| code(&response.status) == Code::Ok));
    let request = BatchReadBlobsRequest { digests: digests.clone(), ..Default::default() };
    let answer = ok(client.cas.batch_read_blobs(request).await);
    assert!(answer.encoded_len() < 4 * 1024 * 1024);
    assert!(answer.responses.iter().any(|response| code(&response.status) == Code::NotFound));
    let twice = read(&mut client, vec![digests[0].clone(), digests[0].clone()]).await;
    assert_eq!(twice.len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn full_store_refuses_in_the_form_that_each_generation_survives() {
    let server = TestServer::start_with(Some(64 * 1024 * 1024), &Options::default()).await;
    let mut casd = server.client().await;
    let mut seed = 0;
    let refused_blob = loop {
        seed += 1;
        let blob = content(seed, 1024 * 1024);
        let responses = ok(casd.cas.batch_update_blobs(update(&[&blob])).await).responses;
        match code(&responses[0].status) {
            Code::Ok => assert!(seed < 80, "64 MiB never filled up"),
            code => {
                assert_eq!(code, ResourceExhausted);
                break blob;
            }
        }
    };
    let mut buildstream1 = server.buildstream1().await;
    let answer = buildstream1.cas.batch_update_blobs(update(&[&refused_blob])).await;
    assert_eq!(refused(answer), ResourceExhausted);
    let first = content(1, 1024 * 1024);
    assert_eq!(read(&mut casd, vec![digest(&first)]).await[0].data, first);
    server.stop().await;
}
