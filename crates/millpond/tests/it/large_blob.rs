//! A blob above 4 GiB through the running program: no count of 32 bits on the way, and nothing that holds it whole.

use std::fs;

use bytes::Bytes;
use millpond_proto::bytestream::{ReadRequest, WriteRequest};
use rustix::fs::statvfs;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;

use crate::battery::{Client, Random};
use crate::server::{Server, skip};

const STEP: u64 = 1 << 20;
/// No multiple of anything.
const SIZE: u64 = (4 << 30) + 5 * STEP + 7;
/// What the disk must have left.
const FREE_NEEDED: u64 = 8_000_000_000;
/// What the server may take of memory, in kB: less than a tenth of the blob.
const MEMORY_MAX: u64 = 400_000;

/// The content, a piece at a time: pieces of one random text, each from another place in it, so that none can stand for
/// another.
#[derive(Clone)]
struct Content(Bytes);

impl Content {
    fn new() -> Self {
        Self(Random::new(4).bytes(2 * STEP).into())
    }

    fn piece(&self, number: u64) -> Bytes {
        let (from, length) = (number as usize, (SIZE - number * STEP).min(STEP) as usize);
        self.0.slice(from..from + length)
    }

    fn from(&self, offset: u64) -> Vec<u8> {
        let pieces: Vec<_> = (offset / STEP..=SIZE / STEP).map(|number| self.piece(number)).collect();
        pieces.concat().split_off((offset % STEP) as usize)
    }

    fn hash(&self) -> String {
        let mut hash = Sha256::new();
        (0..=SIZE / STEP).for_each(|number| hash.update(self.piece(number)));
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The most memory that the process has had, in kB.
fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn blob_above_4_gib_is_written_and_its_end_read_in_little_memory() {
    let disk = statvfs(env!("CARGO_TARGET_TMPDIR")).unwrap();
    if disk.f_bavail * disk.f_frsize < FREE_NEEDED {
        return skip(&format!(
            "a blob above 4 GiB: the build folder's disk has less than {FREE_NEEDED} bytes free"
        ));
    }
    let server = Server::start_with(&["--max-size", "12GB"]);
    let content = Content::new();
    let hash = content.hash();
    Runtime::new().unwrap().block_on(async {
        let mut client = Client::connect(server.url()).await.unwrap();
        let message = {
            let name = format!("uploads/5e1f0a52-8f0a-4d3f-9d0a-0a4f6e1c2b3d/blobs/{hash}/{SIZE}");
            let content = content.clone();
            move |number: u64| WriteRequest {
                resource_name: if number == 0 { name.clone() } else { String::new() },
                write_offset: (number * STEP) as i64,
                finish_write: number == SIZE / STEP,
                data: content.piece(number),
            }
        };
        let messages = tokio_stream::iter((0..=SIZE / STEP).map(message));
        let written = client.bytes.write(messages).await.unwrap().into_inner();
        assert_eq!(written.committed_size, SIZE as i64);
        for offset in [SIZE - 3 * STEP - 5, (4 << 30) - 10] {
            let request = ReadRequest {
                resource_name: format!("blobs/{hash}/{SIZE}"),
                read_offset: offset as i64,
                read_limit: 0,
            };
            let mut stream = client.bytes.read(request).await.unwrap().into_inner();
            let mut end = Vec::new();
            while let Some(message) = stream.message().await.unwrap() {
                end.extend_from_slice(&message.data);
            }
            assert!(end == content.from(offset), "the end from {offset} on is another");
        }
    });
    let peak = peak_memory(server.pid());
    assert!(peak < MEMORY_MAX, "the server took {peak} kB");
}
