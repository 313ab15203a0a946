//! A disk whose reads do not come back: look-ups and reads end in the time that is set for them, as misses.
//!
//! **Invariant:** the disk is quick again before its server ends and it is unmounted, failed tests included.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use millpond_proto::reapi::{Directory, FileNode};
use prost::Message;
use tokio::runtime::Runtime;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::admin::{answer, ask};
use crate::battery::{Blob, Client, Name, Publish, Pushed, seeded};
use crate::loop_disk::SmallDisk;
use crate::server::{Server, skip};

const DISK_BYTES: u64 = 256 << 20;
/// The controller of block devices, which throttles them for the processes of a group.
const CONTROLLER: &str = "/sys/fs/cgroup/blkio";
const READS: &str = "blkio.throttle.read_bps_device";

/// A group of processes that read one byte a second of a device: of a page, nothing within an hour.
struct SlowReads {
    group: PathBuf,
    device: String,
}

impl SlowReads {
    /// An empty group. An error says what this machine does not permit.
    fn new(device: String) -> Result<Self, String> {
        let group = Path::new(CONTROLLER).join(format!("millpond-test-{}", std::process::id()));
        fs::create_dir(&group).map_err(|error| format!("{}: {error}", group.display()))?;
        let slow = Self { group, device };
        slow.throttle(1)?;
        Ok(slow)
    }

    /// Takes a process in.
    fn take(&self, process: u32) {
        fs::write(self.group.join("cgroup.procs"), process.to_string()).unwrap();
    }

    /// Lets the reads go, those under way too.
    fn end(&self) {
        self.throttle(0).unwrap();
    }

    fn throttle(&self, bytes_a_second: u64) -> Result<(), String> {
        let path = self.group.join(READS);
        let limit = format!("{} {bytes_a_second}", self.device);
        fs::write(&path, limit).map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Drop for SlowReads {
    fn drop(&mut self) {
        let left = self.throttle(0).and_then(|()| {
            let processes = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
            for process in processes.lines() {
                // It may have ended since.
                let _ = fs::write(Path::new(CONTROLLER).join("cgroup.procs"), process);
            }
            fs::remove_dir(&self.group).map_err(|error| error.to_string())
        });
        if let Err(words) = left {
            eprintln!("{words}");
        }
    }
}

/// Takes every pack out of the page cache.
fn forget_packs(data: &Path) {
    let drop = "find \"$0\" -type f -name '*.pack' -exec dd if={} iflag=nocache count=0 status=none \\;";
    assert!(Command::new("sh").args(["-c", drop]).arg(data).status().unwrap().success());
}

async fn health(server: &Server) -> ServingStatus {
    let channel = Endpoint::from_shared(server.url().to_owned()).unwrap().connect().await.unwrap();
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap();
    answer.into_inner().status()
}

/// The page for whoever watches the process, and its head.
fn healthz(server: &Server) -> String {
    let log = server.log();
    let address = log.rsplit("metrics: http://").next().and_then(|rest| rest.split('/').next()).unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    write!(connection, "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    connection.read_to_string(&mut page).unwrap();
    page
}

/// A directory with a large file.
fn pushed(file: &Blob) -> (Pushed, Name) {
    let node = FileNode { name: "file".into(), digest: Some(file.digest.clone()), ..Default::default() };
    let root = Blob::new(Directory { files: vec![node], ..Default::default() }.encode_to_vec());
    let uri = "https://example.org/tree".to_owned();
    let publish = Publish::Directory { uris: vec![uri.clone()] };
    let mut pushed = Pushed::new(publish, root.digest.clone());
    pushed.blobs.extend([root, file.clone()]);
    (pushed, Name::Directory(uri))
}

#[test]
fn look_ups_and_reads_of_a_disk_that_hangs_are_misses_after_the_time_of_the_file() {
    let disk = SmallDisk::new(DISK_BYTES);
    let slow = disk.and_then(|disk| Ok((SlowReads::new(disk.device())?, disk)));
    let (slow, disk) = match slow {
        Ok(both) => both,
        Err(reason) => return skip(&format!("look-ups on a disk that hangs: {reason}")),
    };
    let configuration = disk.place().join("millpond.toml");
    fs::write(&configuration, "[limits]\nlook_up_time = \"2s\"\n").unwrap();
    let data = disk.place().join("data");
    let configuration = ["--config", configuration.to_str().unwrap(), "--metrics", "127.0.0.1:0"];
    let mut server = Server::start_at(&data, &configuration);
    let runtime = Runtime::new().unwrap();
    let file = Blob::new(seeded("slow disk").bytes(3 << 20));
    let (tree, name) = pushed(&file);
    runtime.block_on(async {
        let mut client = Client::connect(server.url()).await.unwrap();
        for blob in &tree.blobs {
            client.write(blob, 1 << 20, usize::MAX).await.unwrap();
        }
        client.publish(&tree).await.unwrap();
    });
    // What it remembers of trees goes with it.
    server.stop();
    server.start_again();
    assert!(healthz(&server).starts_with("HTTP/1.1 200"));
    forget_packs(&data);
    slow.take(server.pid());

    runtime.block_on(async {
        let mut client = Client::connect(server.url()).await.unwrap();
        assert_eq!(client.look_up(&name).await.unwrap(), None);
        let refused = client.read(&file.digest).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
        assert!(refused.message().contains("within 2 seconds"), "{refused:?}");
        let batch = client.read_batch(vec![tree.root.clone()]).await.unwrap();
        assert_eq!(batch[0].2, Code::NotFound as i32);
        // What needs no disk is answered meanwhile.
        assert!(client.missing(vec![file.digest.clone()]).await.unwrap().is_empty());
        // And whoever asks for the server's health is told.
        assert_eq!(health(&server).await, ServingStatus::NotServing);
    });
    let page = healthz(&server);
    assert!(page.starts_with("HTTP/1.1 503") && page.contains("the disk has not answered for "), "{page}");
    let status = answer(&server, "status --json");
    assert!(status["disk_silent_ms"].as_u64().unwrap() >= 2000, "{status}");
    assert!(ask(&server, "status").1.contains("the disk has not answered for "));
    assert!(server.log().contains("the disk has not answered for "), "{}", server.log());
    assert!(server.log().contains("a look-up took too long and was answered as a miss"), "{}", server.log());

    // And none of it is lost.
    slow.end();
    runtime.block_on(async {
        let mut client = Client::connect(server.url()).await.unwrap();
        assert_eq!(client.look_up(&name).await.unwrap(), Some(tree.value().target));
        assert!(client.read(&file.digest).await.unwrap() == file.content);
        while health(&server).await != ServingStatus::Serving {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    drop(slow);
    assert_eq!(server.stop().code(), Some(0));
}
