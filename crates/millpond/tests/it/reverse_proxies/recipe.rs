//! A recipe of `deploy`, and the proxy that runs by it: the very file, with the addresses and paths of a test in it.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::bst::clients_folder;
use crate::issued::Keys;

const PATIENCE: Duration = Duration::from_secs(30);
/// Millpond, and the proxy, as recipes name them.
const MILLPOND: &str = "192.0.2.20:11001";
const PROXY: &str = "192.0.2.10";

/// A file of `deploy`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recipe(pub(super) &'static str);

impl Recipe {
    fn is_of_nginx(self) -> bool {
        self.0.starts_with("nginx/")
    }

    fn text(self) -> String {
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
        fs::read_to_string(deploy.join(self.0)).unwrap()
    }

    /// What its comment has for `millpond.toml`, where Millpond listens at `address` and the proxy is on this machine.
    pub(super) fn listener(self, address: SocketAddr) -> String {
        let text = self.text();
        let lines = text.lines().skip_while(|line| !line.contains("[[listener]]"));
        let lines = lines.map_while(|line| line.strip_prefix("#   "));
        let listener: String = lines.map(|line| format!("{line}\n")).collect();
        put(&put(&listener, MILLPOND, &address.to_string()), PROXY, "127.0.0.1")
    }

    /// Where the program is that `scripts/test-clients` unpacks.
    fn program(self) -> Option<PathBuf> {
        let name = if self.is_of_nginx() { "nginx" } else { "haproxy" };
        let program = clients_folder().join("proxies/usr/sbin").join(name);
        if program.exists() {
            return Some(program);
        }
        let skipped = fs::read_to_string(clients_folder().join("skipped")).unwrap_or_default();
        let reason = skipped.lines().find(|line| line.starts_with("reverse proxies:"));
        eprintln!(
            "skipped {}",
            reason.unwrap_or_else(|| panic!("there is no {name}: run scripts/test-clients"))
        );
        None
    }
}

/// The text with something else in place of what must be in it.
fn put(text: &str, instead_of: &str, this: &str) -> String {
    assert!(text.contains(instead_of), "there is no {instead_of} in\n{text}");
    text.replace(instead_of, this)
}

/// An address of this machine at which nobody listened just now.
pub(super) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A proxy that runs, and ends with the test.
pub(super) struct Proxy {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Proxy {
    /// One before a Millpond at this address, where its program is there; it shows the server's certificate, if it is the one
    /// that does.
    pub(super) fn start(recipe: Recipe, millpond: SocketAddr, keys: &Keys) -> Option<Self> {
        let program = recipe.program()?;
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let address = free_address();
        let text = put(&recipe.text(), MILLPOND, &millpond.to_string());
        let text = if recipe.is_of_nginx() {
            for_nginx(&text, address, &folder, keys)
        } else {
            for_haproxy(&text, address, &folder, keys)
        };
        let file = folder.path().join("recipe");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(program);
        if recipe.is_of_nginx() {
            command.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
        } else {
            command.args(["-db", "-f"]).arg(&file);
        }
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let child =
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut proxy = Self { child, address, folder };
        proxy.wait();
        Some(proxy)
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "it does not listen: {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where clients connect.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has said.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the proxy said:\n{}", self.log());
        }
        // Killed, nginx would leave its workers behind.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// The recipe, and what stands around it in an `nginx.conf`.
fn for_nginx(text: &str, address: SocketAddr, folder: &TempDir, keys: &Keys) -> String {
    let text = put(text, "listen 11001", &format!("listen {address}"));
    let modules = clients_folder().join("proxies/usr/lib/nginx/modules/ngx_stream_module.so");
    let within = |around: &str| {
        format!(
            "daemon off;\npid nginx.pid;\nerror_log stderr warn;\nload_module {};\nevents {{}}\n{around}\n",
            modules.display()
        )
    };
    let (around, text) = if text.contains("\nstream {") {
        (within("include recipe;"), text)
    } else {
        let temporary =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|of| format!("{of}_temp_path {of};"));
        let around = within(&format!("http {{ access_log off; {} include recipe; }}", temporary.concat()));
        let text = ["crt", "key"].into_iter().fold(text, |text, file| {
            let own = keys.path().join(format!("server.{file}"));
            put(&text, &format!("/etc/nginx/millpond.{file}"), own.to_str().unwrap())
        });
        (around, text)
    };
    fs::write(folder.path().join("nginx.conf"), around).unwrap();
    text
}

fn for_haproxy(text: &str, address: SocketAddr, folder: &TempDir, keys: &Keys) -> String {
    let text = put(text, "bind :11001", &format!("bind {address}"));
    if !text.contains("/etc/haproxy/millpond.pem") {
        return text;
    }
    let own =
        ["crt", "key"].map(|file| fs::read_to_string(keys.path().join(format!("server.{file}"))).unwrap());
    let both = folder.path().join("millpond.pem");
    fs::write(&both, own.concat()).unwrap();
    put(&text, "/etc/haproxy/millpond.pem", both.to_str().unwrap())
}
