//! The program with its defaults on a disk of 64 MB: it fills it, refuses what does not fit, and goes on serving.

use tokio::runtime::Runtime;
use tonic::Code;

use crate::battery::{Blob, Client, Volume, seeded};
use crate::loop_disk::SmallDisk;
use crate::server::{Server, skip};

const DISK_BYTES: u64 = 64 << 20;

#[test]
fn default_limit_works_on_a_disk_of_64_mb_and_pulls_go_on_when_it_is_full() {
    let disk = match SmallDisk::new(DISK_BYTES) {
        Ok(disk) => disk,
        Err(reason) => return skip(&format!("the default limit on a disk of 64 MB: {reason}")),
    };
    let runtime = Runtime::new().unwrap();
    let mut random = seeded("small volume");
    let mut volume = Volume::new(Server::start_at(&disk.place().join("data"), &[]), &mut random);
    volume.fill(&runtime, &mut random);
    assert!(volume.full, "it was never full");
    let large = Blob::new(random.bytes(3 << 20));
    let refused = runtime.block_on(async {
        let mut client = Client::connect(volume.server.url()).await?;
        client.write(&large, 1 << 20, usize::MAX).await
    });
    assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
    for _ in 0..2 {
        let (read, complaints) = volume.verify(&runtime, volume.ledger.now());
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
        assert!(read.names > 0 && read.bytes > DISK_BYTES / 4, "{read:?}");
        assert_eq!(volume.server.stop().code(), Some(0));
        volume.server.start_again();
    }
    volume.server.stop();
}
