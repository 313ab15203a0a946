//! A disk that can lose power: an ext4 on a loop device, whose image lies on an xfs that clones files in an instant.
//!
//! **Invariant:** whatever was mounted or attached is unmounted and detached when its value goes, failed tests included.
//! A clone of the image holds exactly what the ext4 had written by then; what lay in memory only is lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Bytes of the xfs, a sparse file: it holds the image, its clone, and what differs.
const HOST_BYTES: u64 = 6 << 30;
/// Bytes of the ext4, a sparse file.
const DISK_BYTES: u64 = 1 << 30;

/// Runs a program to its end; what it said if it failed.
fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let command = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).env("PATH", path).output();
    let output = output.map_err(|error| format!("{command}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// A file as a loop device, and that device mounted.
struct Mounted {
    place: PathBuf,
    device: String,
}

impl Mounted {
    fn new(image: &Path, place: &Path) -> Result<Self, String> {
        let device = run("losetup", &["--find", "--show", text(image)])?;
        let mounted = Self { place: place.to_owned(), device };
        run("mount", &[&mounted.device, text(place)])?;
        Ok(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // What is still busy goes once nobody holds it.
        for result in [
            run("umount", &[text(&self.place)]).or_else(|_| run("umount", &["--lazy", text(&self.place)])),
            run("losetup", &["--detach", &self.device]),
        ] {
            if let Err(words) = result {
                eprintln!("{words}");
            }
        }
    }
}

/// A small ext4, mounted, that is the whole world of a server.
pub(crate) struct SmallDisk {
    disk: Mounted,
    place: PathBuf,
    _folder: TempDir,
}

impl SmallDisk {
    /// Makes one of so many bytes, empty. An error says what this machine does not permit.
    pub(crate) fn new(bytes: u64) -> Result<Self, String> {
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let [image, place] = ["disk.ext4", "disk"].map(|name| folder.path().join(name));
        fs::create_dir(&place).map_err(|error| error.to_string())?;
        sparse(&image, bytes)?;
        run("mkfs.ext4", &["-q", text(&image)])?;
        Ok(Self { disk: Mounted::new(&image, &place)?, place, _folder: folder })
    }

    /// Where it is mounted.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// From now on nothing on it can be changed.
    pub(crate) fn make_read_only(&self) {
        run("mount", &["-o", "remount,ro", text(&self.place)]).unwrap();
    }

    /// The device's major and minor number, as in `7:0`.
    pub(crate) fn device(&self) -> String {
        let name = self.disk.device.trim_start_matches("/dev/");
        fs::read_to_string(format!("/sys/block/{name}/dev")).unwrap().trim().to_owned()
    }
}

/// The disk, mounted.
pub(crate) struct LoopDisk {
    // Fields go in this order: the inner mount before the outer one, both before the folder.
    disk: Option<Mounted>,
    _host: Mounted,
    image: PathBuf,
    place: PathBuf,
    folder: TempDir,
}

impl LoopDisk {
    /// Makes one, empty. An error says what this machine does not permit.
    pub(crate) fn new() -> Result<Self, String> {
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let host_image = folder.path().join("host.xfs");
        sparse(&host_image, HOST_BYTES)?;
        run("mkfs.xfs", &["-q", "-m", "reflink=1", text(&host_image)])?;
        let host_place = folder.path().join("host");
        let place = folder.path().join("disk");
        for place in [&host_place, &place] {
            fs::create_dir(place).map_err(|error| error.to_string())?;
        }
        let host = Mounted::new(&host_image, &host_place)?;
        let image = host_place.join("disk.ext4");
        sparse(&image, DISK_BYTES)?;
        run("mkfs.ext4", &["-q", text(&image)])?;
        let disk = Some(Mounted::new(&image, &place)?);
        Ok(Self { disk, _host: host, image, place, folder })
    }

    /// Where it is mounted.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// What power loss would leave now, in a file beside the image.
    pub(crate) fn clone_image(&self) -> PathBuf {
        let clone = self.image.with_extension("clone");
        run("cp", &["--reflink=always", text(&self.image), text(&clone)]).unwrap();
        clone
    }

    /// Power comes back: the clone is mounted where the disk was. Nobody may hold a file there.
    pub(crate) fn become_clone(&mut self, clone: &Path) {
        self.disk = None;
        fs::rename(clone, &self.image).unwrap();
        self.disk = Some(Mounted::new(&self.image, &self.place).unwrap());
    }

    /// Leaves the images where they are, to be looked at.
    pub(crate) fn keep(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }
}

fn sparse(path: &Path, bytes: u64) -> Result<(), String> {
    let file = fs::File::create(path).map_err(|error| error.to_string())?;
    file.set_len(bytes).map_err(|error| error.to_string())
}
