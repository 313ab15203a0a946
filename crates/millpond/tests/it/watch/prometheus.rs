//! The rules, the dashboard and the example of `deploy/monitoring`, as Prometheus' own programs and a real server see them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Page;
use crate::bst::{Client, Settings, Version, clients_folder};
use crate::project::Project;
use crate::server::{Server, skip};

const PATIENCE: Duration = Duration::from_secs(60);
/// So that every metric is there that a server can have. Nobody answers at that port.
const CONFIGURATION: &str = "
    [[issuer]]\nname = \"gitlab\"\nurl = \"https://127.0.0.1:9\"\naudience = \"https://cache.example.org\"\n\
    [[issuer.grant]]\nclaims = { project_path = \"team/*\" }\nallow = \"pull\"\n";

fn monitoring(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/monitoring").join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(monitoring(file)).unwrap()
}

/// A program of Debian's package `prometheus`: of this machine, or where `scripts/test-clients` puts it.
fn program(name: &str) -> Option<PathBuf> {
    let unpacked = clients_folder().join("prometheus/usr/bin").join(name);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.exists());
    let found = found.or_else(|| unpacked.exists().then_some(unpacked));
    if found.is_none() {
        skip(&format!("the check of deploy/monitoring: there is no {name}, run scripts/test-clients"));
    }
    found
}

fn promtool(words: &[&str], input: &str) -> Option<()> {
    let mut child = Command::new(program("promtool")?)
        .args(words)
        .current_dir(monitoring(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && !said.contains("should"), "promtool {words:?}: {said}");
    Some(())
}

/// Names of metrics in an expression.
fn metrics(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("millpond_") || word.starts_with("process_"))
}

/// Every expression of the dashboard, panels and variables.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(text) if key == "expr" || key == "query" => found.push(text.to_owned()),
                    _ => expressions(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[test]
fn rules_fire_where_they_should_and_nowhere_else() {
    let rules = read("alerts.yml");
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.split("- alert: ").nth(1)).collect();
    assert!(alerts.len() > 15, "{alerts:?}");
    let tests = read("alerts_test.yml") + &read("alerts_days_test.yml");
    for alert in alerts {
        let (quiet, fires) = tests.split_once(&format!("- name: {alert}\n")).expect(alert);
        assert!(quiet.contains(&format!("alertname: {alert}\n")), "{alert} is not tested where all is well");
        assert!(fires.contains("exp_labels"), "{alert}");
    }
    let _ = promtool(&["check", "rules", "alerts.yml"], "")
        .and_then(|()| promtool(&["check", "config", "prometheus.yml"], ""))
        .and_then(|()| promtool(&["test", "rules", "alerts_test.yml", "alerts_days_test.yml"], ""));
}

#[test]
fn what_rules_and_dashboard_ask_for_is_there_after_a_push_and_a_pull_with_2_8_1() {
    let Some(version) = Version::find("2.8.1") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("millpond.toml");
    fs::write(&file, CONFIGURATION).unwrap();
    let server = Server::start_with(&["--metrics", "127.0.0.1:0", "--config", file.to_str().unwrap()]);
    let project = Project::new(version.generation(), "watched");
    project.import("one", "tiny", "/");
    let client = Client::new(version, server.url(), Settings { source_cache: true, ..Settings::pushing() });
    client.succeed(&project, &["build", "one.bst"]);
    client.wipe();
    client.pull(&project, &["one.bst"]);

    let page = Page::of(&server);
    let of = |result| ["kind=\"artifact\"", "project=\"watched\"", result];
    assert!(page.value("millpond_lookups_total", &of("result=\"hit\"")) >= 1.0, "{}", page.text);
    assert!(page.value("millpond_pushes_total", &of("result=\"whole\"")) >= 1.0, "{}", page.text);
    assert!(page.sum("millpond_lookups_total", &["result=\"unknown\""]) >= 1.0, "{}", page.text);
    assert!(page.value("millpond_pushes_total", &["kind=\"source\"", "result=\"whole\""]) >= 1.0);
    let pushed = ["service=\"Push\"", "method=\"PushBlob\"", "code=\"OK\"", "identity=\"anonymous\""];
    assert!(page.value("millpond_calls_total", &pushed) >= 1.0);
    assert!(page.value("millpond_disk_call_seconds_count", &["deed=\"commit\""]) >= 1.0);
    assert!(page.value("process_resident_memory_bytes", &[]) > 1e6);
    assert_eq!(page.value("millpond_served_blobs_missing", &[]), 0.0);

    let dashboard: Value = serde_json::from_str(&read("grafana.json")).unwrap();
    let mut asked = Vec::new();
    expressions(&dashboard, &mut asked);
    assert!(asked.len() > 40, "{asked:?}");
    asked
        .extend(read("alerts.yml").lines().filter_map(|line| line.split("expr: ").nth(1)).map(str::to_owned));
    let names = page.names();
    let wanted: BTreeSet<_> = asked.iter().flat_map(|expression| metrics(expression)).collect();
    let lacking: Vec<_> = wanted.difference(&names).collect();
    assert!(wanted.len() > 40 && lacking.is_empty(), "{lacking:?} are not in\n{}", page.text);
    let _ = promtool(&["check", "metrics"], &page.text);
}

/// A real Prometheus, with the example's rules.
struct Prometheus {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: &str) -> Option<Self> {
        let program = program("prometheus")?;
        let folder = tempfile::tempdir().unwrap();
        let example = read("prometheus.yml");
        assert!(example.contains("127.0.0.1:9464") && example.contains("15s"), "{example}");
        let configuration = example.replace("127.0.0.1:9464", target).replace("15s", "1s");
        fs::write(folder.path().join("prometheus.yml"), configuration).unwrap();
        fs::copy(monitoring("alerts.yml"), folder.path().join("alerts.yml")).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let child = Command::new(program)
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { child, address, _folder: folder })
    }

    /// What a query comes to; nothing while nobody answers.
    fn ask(&self, query: &str) -> Option<Vec<Value>> {
        let mut connection = TcpStream::connect(&self.address).ok()?;
        let request = format!(
            "GET /api/v1/query?query={query} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        );
        connection.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).ok()?;
        let from = answer.find("{\"status\"")?;
        let mut values = serde_json::Deserializer::from_str(&answer[from..]).into_iter::<Value>();
        values.next()?.ok()?["data"]["result"].as_array().cloned()
    }

    /// Asks until something comes of it.
    fn ask_until(&self, query: &str, is_it: impl Fn(&[Value]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < deadline {
            last = self.ask(query);
            if last.as_deref().is_some_and(&is_it) {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("{query} came to {last:?}");
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prometheus_reads_the_metrics_and_sees_when_the_server_is_gone() {
    let mut server = Server::start_with(&["--metrics", "127.0.0.1:0"]);
    let Some(prometheus) = Prometheus::start(&Page::address(&server)) else { return };
    prometheus.ask_until("up{job=\"millpond\"}", |found| found.iter().any(|one| one["value"][1] == "1"));
    prometheus.ask_until("millpond_limit_bytes", |found| found.len() == 1);
    // Of what OpenMetrics and the older format write differently.
    prometheus.ask_until("millpond_bad_records_total==0", |found| found.len() == 1);
    prometheus.ask_until("millpond_build_info", |found| found.len() == 1);
    prometheus.ask_until("ALERTS", |found| found.is_empty());
    server.stop();
    let down = |found: &[Value]| found.iter().any(|alert| alert["metric"]["alertname"] == "MillpondDown");
    prometheus.ask_until("ALERTS", down);
}
