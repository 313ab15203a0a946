//! One running server, on a port and a data directory of its own.
//!
//! Two environment variables point the tests at something else, to compare: `MILLPOND_TEST_URL` is a server that runs
//! already (tests that restart or fill their server fail then), `MILLPOND_TEST_PROGRAM` a program that is started
//! instead of this build's `millpond`, with the same arguments and the same line when it is ready.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// What the server says, before the address, once it can answer.
const READY: &str = "listening on ";
/// How long a server may take to say so before the test is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that ends with the test.
pub(crate) struct Server {
    url: String,
    /// What it listens on after the first start, so that it comes back where its clients look for it.
    listen: String,
    program: OsString,
    /// What comes before the arguments of the program.
    before: Vec<OsString>,
    arguments: Vec<String>,
    data: PathBuf,
    child: Option<Child>,
    log: Arc<Mutex<String>>,
    /// The log is for people, though nobody sees it on a terminal.
    text_log: bool,
    /// Goes with the server, unless the test looks after the data directory.
    directory: Option<TempDir>,
}

impl Server {
    /// Starts one on an empty data directory.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with more arguments for `millpond serve`.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let data = directory.path().join("data");
        Self::start_in(data, Some(directory), arguments)
    }

    /// The same, listening where its configuration says.
    pub(crate) fn start_where_configured(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let data = directory.path().join("data");
        Self::start_listening(String::new(), data, Some(directory), arguments)
    }

    /// The same, by another program that becomes this one: `env` with variables, say.
    pub(crate) fn start_by(before: &[&str], arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let data = directory.path().join("data");
        let mut server = Self::new("127.0.0.1:0".to_owned(), data, Some(directory), arguments);
        server.go_through(before);
        server.start_again();
        server
    }

    /// The same, with a log as it is where nobody says how it is to be.
    pub(crate) fn start_with_the_log_of_services(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let data = directory.path().join("data");
        let mut server = Self::new("127.0.0.1:0".to_owned(), data, Some(directory), arguments);
        server.text_log = false;
        server.start_again();
        server
    }

    /// Starts one on a data directory that the test looks after.
    pub(crate) fn start_at(data: &Path, arguments: &[&str]) -> Self {
        Self::start_in(data.to_owned(), None, arguments)
    }

    fn start_in(data: PathBuf, directory: Option<TempDir>, arguments: &[&str]) -> Self {
        Self::start_listening("127.0.0.1:0".to_owned(), data, directory, arguments)
    }

    fn start_listening(
        listen: String,
        data: PathBuf,
        directory: Option<TempDir>,
        arguments: &[&str],
    ) -> Self {
        let mut server = Self::new(listen, data, directory, arguments);
        match env::var("MILLPOND_TEST_URL") {
            Ok(url) => server.url = url,
            Err(_) => server.start_again(),
        }
        server
    }

    fn new(listen: String, data: PathBuf, directory: Option<TempDir>, arguments: &[&str]) -> Self {
        Self {
            url: String::new(),
            listen,
            program: env::var_os("MILLPOND_TEST_PROGRAM").unwrap_or(env!("CARGO_BIN_EXE_millpond").into()),
            before: Vec::new(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            data,
            child: None,
            log: Arc::default(),
            text_log: true,
            directory,
        }
    }

    /// What runs first, with these arguments before the program's own path.
    fn go_through(&mut self, before: &[&str]) {
        let (first, arguments) = before.split_first().expect("a program");
        let program = std::mem::replace(&mut self.program, first.into());
        self.before = arguments.iter().map(OsString::from).chain([program]).collect();
    }

    /// What clients are told.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The process, while it runs.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("a server of the test's own, running").id()
    }

    /// The data directory.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("a server of the test's own, running").id()
    }

    /// Starts the server again where it was, after [`Server::stop`] or [`Server::kill`].
    pub(crate) fn start_again(&mut self) {
        let ready = self.launch();
        let address = self.wait_until(&ready);
        self.listen = address.to_string();
        let scheme = if self.arguments.iter().any(|argument| argument == "--tls") { "https" } else { "http" };
        self.url = format!("{scheme}://{address}");
    }

    /// The same, listening where its configuration says, as it did first.
    #[cfg(feature = "real-clients")]
    pub(crate) fn start_again_where_configured(&mut self) {
        self.listen.clear();
        self.start_again();
    }

    /// The same, with these arguments instead of those before.
    pub(crate) fn start_again_with(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(ToString::to_string).collect();
        self.start_again();
    }

    /// Starts the server again and waits until it has said something so many times in all its lives, ready or not.
    pub(crate) fn start_until(&mut self, words: &str, times: usize) {
        drop(self.launch());
        self.wait_for(words, times);
    }

    /// Waits until it has said something so many times in all its lives.
    pub(crate) fn wait_for(&self, words: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.log().matches(words).count() < times {
            assert!(Instant::now() < deadline, "it never said {words:?}:\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The same, with so many files that it may have open.
    pub(crate) fn start_again_with_open_files(&mut self, count: usize) {
        let limit = format!("ulimit -n {count} && exec \"$0\" \"$@\"");
        self.go_through(&["/bin/sh", "-c", &limit]);
        self.start_again();
    }

    /// Starts the server again and kills it, ready or not, after something else is done.
    pub(crate) fn start_and_kill(&mut self, between: impl FnOnce()) {
        drop(self.launch());
        between();
        self.kill();
    }

    fn launch(&mut self) -> Receiver<SocketAddr> {
        assert!(self.child.is_none(), "the server is running");
        let metrics = self.arguments.iter().any(|argument| argument == "--metrics");
        let mut child = Command::new(&self.program)
            .args(&self.before)
            .args(["serve", "--data"])
            .arg(&self.data)
            .args(if self.listen.is_empty() { vec![] } else { vec!["--listen", &self.listen] })
            // The default port is one for all of this machine.
            .args(if metrics { [].as_slice() } else { &["--metrics", "off"] })
            .args(&self.arguments)
            .envs(self.text_log.then_some(("MILLPOND_LOG_FORMAT", "text")))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (say, ready) = channel();
        follow(child.stdout.take().unwrap(), Arc::clone(&self.log), say.clone());
        follow(child.stderr.take().unwrap(), Arc::clone(&self.log), say);
        self.child = Some(child);
        ready
    }

    fn wait_until(&mut self, ready: &Receiver<SocketAddr>) -> SocketAddr {
        ready
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|error| panic!("the server is not ready ({error}); it said:\n{}", self.log()))
    }

    /// Ends it as a service manager does, and waits for that.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.end(Signal::TERM)
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// Sends it a signal and goes on.
    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("a server of the test's own, running");
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.child.take().expect("a server of the test's own, running").wait().unwrap()
    }

    /// All that it has said so far, in all its lives.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        if thread::panicking() {
            self.directory.iter_mut().for_each(|directory| directory.disable_cleanup(true));
            eprintln!("the server {} with data in {:?} said:\n{}", self.url, self.data, self.log());
        }
    }
}

/// Collects what a server says and reports the address it listens on.
fn follow(stream: impl Read + Send + 'static, log: Arc<Mutex<String>>, ready: Sender<SocketAddr>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once(READY)
                && let Some(address) = rest.split_whitespace().next().and_then(|word| word.parse().ok())
            {
                // Only the first is waited for.
                let _ = ready.send(address);
            }
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
}

/// Says that a test did not run and why, where `scripts/test` finds it and repeats it in its last lines.
pub(crate) fn skip(words: &str) {
    eprintln!("skipped {words}");
    if let Some(path) = env::var_os("MILLPOND_SKIPPED") {
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        writeln!(file, "{words}").unwrap();
    }
}
