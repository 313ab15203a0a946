//! The chart's objects, rendered by `render.go` in Helm's place: they are what Kubernetes knows, they fit one another, and a server
//! starts as the pod would start it.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bst::clients_folder;
use crate::server::skip;

const PATIENCE: Duration = Duration::from_secs(60);
/// The oldest that the chart allows, one between, and the newest that has schemas.
const KUBERNETES: [&str; 3] = ["1.25.0", "1.31.0", "1.37.0"];
const PROGRAM: &str = env!("CARGO_BIN_EXE_millpond");

/// What became of the chart.
struct Rendered(Value);

impl Rendered {
    /// `None` where nothing can render it.
    fn new(release: &str, values: &Value) -> Option<Self> {
        let own = clients_folder().join("helm");
        let source = fs::read_to_string(own.join("render.go")).unwrap_or_default();
        if source != include_str!("render.go") {
            return missing("a renderer built from render.go");
        }
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("values.json");
        fs::write(&file, values.to_string()).unwrap();
        let chart = super::deploy().join("helm/millpond");
        let output = (Command::new(own.join("render")).arg(chart).args([release, "builds"]).arg(file))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(Self(serde_json::from_slice(&output.stdout).unwrap()))
    }

    /// What the schemas have against it; `None` where there are none.
    fn complaints(&self) -> Option<String> {
        let folder = clients_folder().join("kubernetes");
        if !folder.join("complete").exists() {
            return missing("Kubernetes' schemas");
        }
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/helm/check.py");
        let mut child = Command::new(folder.join("bin/python"))
            .arg(here)
            .arg(super::deploy().join("helm/millpond/values.schema.json"))
            .args(KUBERNETES)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(self.0.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "the check itself failed");
        Some(String::from_utf8(output.stdout).unwrap())
    }

    fn all(&self, kind: &str) -> Vec<&Value> {
        self.0["objects"].as_array().unwrap().iter().filter(|object| object["kind"] == kind).collect()
    }

    fn one(&self, kind: &str) -> &Value {
        let found = self.all(kind);
        assert_eq!(found.len(), 1, "{kind}");
        found[0]
    }

    fn pod(&self) -> &Value {
        &self.one("StatefulSet")["spec"]["template"]
    }

    fn container(&self) -> &Value {
        &self.pod()["spec"]["containers"][0]
    }
}

fn missing<T>(what: &str) -> Option<T> {
    let skipped = fs::read_to_string(clients_folder().join("skipped")).unwrap_or_default();
    assert!(skipped.contains("Helm chart:"), "{what} is not there: run scripts/test-clients");
    skip(&format!("the check of deploy/helm: {what} cannot be had here"));
    None
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether an object with these labels is selected.
fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.as_object().unwrap();
    !wanted.is_empty() && wanted.iter().all(|(key, value)| labels[key] == *value)
}

fn nearly_everything() -> Value {
    json!({
        "image": {"repository": "registry.example.org/millpond", "tag": "1.2", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "domains": ["cache.example.org", "10.0.0.7"],
        "config": "  # Indented, and then not.\n[[listener]]\naddress = \"[::]:11001\"\ntls = true\nallow = \"pull\"\nanonymous = \"pull\"\n\
            [[listener]]\naddress = \"[::]:11002\"\ntls = true\nallow = \"push\"\nanonymous = \"none\"\n\
            [limits]\ndrain = \"40s\"\n",
        "env": [{"name": "MILLPOND__LOG__LEVEL", "value": "debug"}],
        "certificateSecret": "123",
        "secrets": [{"secret": "1e3", "path": "/secrets/corp"}, {"secret": "true", "path": "/secrets/other"}],
        "data": {"size": "2", "storageClass": "1"},
        "keys": {"size": "1Gi", "storageClass": "fast"},
        "service": {
            "type": "LoadBalancer", "annotations": {"example.org/pool": "7"}, "pullPort": 443, "pushPort": 8443,
            "externalTrafficPolicy": "Cluster",
        },
        "probes": {"startupFailures": 500, "grpcPort": 11003},
        "terminationGracePeriodSeconds": 60,
        "serviceMonitor": {"enabled": true, "interval": "60s", "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": true, "labels": {"release": "prometheus"}},
        "networkPolicy": {
            "enabled": true, "clients": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
            "metrics": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        },
        "podDisruptionBudget": {"enabled": true},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "cache", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "podAnnotations": {"example.org/team": "builds"},
    })
}

#[test]
fn chart_renders_what_kubernetes_knows() {
    let node_port = json!({"service": {"type": "NodePort"}, "networkPolicy": {"enabled": false}});
    // Releases whose names YAML would take for numbers, and one that is as long as may be.
    let long = "a".repeat(53);
    let cases = [
        ("cache", json!({})),
        ("1e3", nearly_everything()),
        ("123", node_port),
        (&long, json!({"certificateSecret": "tls"})),
    ];
    for (release, values) in cases {
        let Some(rendered) = Rendered::new(release, &values) else { return };
        let Some(complaints) = rendered.complaints() else { return };
        assert!(complaints.is_empty(), "{release}: {complaints}");
    }
}

#[test]
fn chart_refuses_values_that_cannot_be_set() {
    for (values, complaint) in [
        (json!({"replicas": 2}), "replicas"),
        (json!({"service": {"pullPort": 70000}}), "pullPort"),
        (json!({"service": {"type": "ExternalName"}}), "type"),
        (json!({"maxSize": "much"}), "maxSize"),
        (json!({"data": {"size": "100 GB"}}), "size"),
        (json!({"domains": ["a,b"]}), "domains"),
        (json!({"terminationGracePeriodSeconds": 0}), "terminationGracePeriodSeconds"),
        (json!({"secrets": [{"secret": "corp", "path": "relative"}]}), "path"),
        (json!({"serviceMonitor": {"enable": true}}), "serviceMonitor"),
    ] {
        let Some(rendered) = Rendered::new("cache", &values) else { return };
        let Some(complaints) = rendered.complaints() else { return };
        let refused =
            complaints.lines().any(|line| line.starts_with("refused: ") && line.contains(complaint));
        assert!(refused, "{values}: {complaints}");
    }
}

#[test]
fn chart_objects_fit_one_another() {
    for (release, values) in [("cache", json!({})), ("pond", nearly_everything())] {
        let Some(rendered) = Rendered::new(release, &values) else { return };
        let (set, pod, container) = (rendered.one("StatefulSet"), rendered.pod(), rendered.container());
        let labels = &pod["metadata"]["labels"];
        assert!(selects(&set["spec"]["selector"]["matchLabels"], labels), "{set}");
        let has_port = |name: &Value| list(&container["ports"]).iter().any(|port| port["name"] == *name);
        let services = rendered.all("Service");
        for service in &services {
            assert!(selects(&service["spec"]["selector"], labels), "{service}");
            for port in list(&service["spec"]["ports"]) {
                assert!(has_port(&port["targetPort"]), "{service}");
            }
        }
        assert!(services.iter().any(|service| service["metadata"]["name"] == set["spec"]["serviceName"]));
        let policy = &rendered.one("NetworkPolicy")["spec"];
        assert!(selects(&policy["podSelector"]["matchLabels"], labels), "{policy}");
        for port in list(&policy["ingress"]).iter().flat_map(|rule| list(&rule["ports"])) {
            assert!(has_port(&port["port"]) || port["port"] == values["probes"]["grpcPort"], "{policy}");
        }
        for budget in rendered.all("PodDisruptionBudget") {
            assert!(selects(&budget["spec"]["selector"]["matchLabels"], labels), "{budget}");
        }
        for monitor in rendered.all("ServiceMonitor") {
            let selector = &monitor["spec"]["selector"]["matchLabels"];
            let found: Vec<_> = (services.iter())
                .filter(|service| selects(selector, &service["metadata"]["labels"]))
                .collect();
            assert_eq!(found.len(), 1, "{monitor}");
            let ports = list(&found[0]["spec"]["ports"]);
            assert!(ports.iter().any(|port| port["name"] == monitor["spec"]["endpoints"][0]["port"]));
            assert_eq!(
                found[0]["metadata"]["labels"]["app.kubernetes.io/name"], "millpond",
                "the rules' job"
            );
        }
        let volumes = list(&pod["spec"]["volumes"]).iter().map(|volume| &volume["name"]);
        let claims =
            list(&set["spec"]["volumeClaimTemplates"]).iter().map(|claim| &claim["metadata"]["name"]);
        let there: Vec<_> = volumes.chain(claims).collect();
        for mount in list(&container["volumeMounts"]) {
            assert!(there.contains(&&mount["name"]), "{mount}");
        }
        assert!(
            list(&pod["spec"]["volumes"])
                .iter()
                .any(|volume| volume["configMap"]["name"] == rendered.one("ConfigMap")["metadata"]["name"])
        );
        let notes = rendered.0["notes"].as_str().unwrap();
        assert!(notes.contains(&format!("exec {}-0 ", set["metadata"]["name"].as_str().unwrap())), "{notes}");
    }
}

#[test]
fn chart_pod_is_restricted_and_starts_anew_with_its_configuration() {
    let Some(first) = Rendered::new("cache", &json!({})) else { return };
    let (pod, container) = (&first.pod()["spec"], &first.container()["securityContext"]);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["capabilities"], json!({"drop": ["ALL"]}));
    let sum = |rendered: &Rendered| rendered.pod()["metadata"]["annotations"]["checksum/config"].clone();
    let other = Rendered::new("cache", &json!({"config": "# Nothing.\n"})).unwrap();
    let elsewhere = Rendered::new("cache", &json!({"service": {"pullPort": 443}})).unwrap();
    assert!(sum(&first).is_string() && sum(&first) != sum(&other) && sum(&first) == sum(&elsewhere));
    let text = "  # Indented.\n[limits]\ndrain = \"40s\"\n";
    let indented = Rendered::new("cache", &json!({"config": text})).unwrap();
    assert_eq!(indented.one("ConfigMap")["data"]["millpond.toml"], text);
    let tuned = Rendered::new("cache", &json!({"terminationGracePeriodSeconds": 60})).unwrap();
    assert_eq!(tuned.pod()["spec"]["terminationGracePeriodSeconds"], 60);
}

/// A pod on this machine: what it mounts lies in a folder, and its ports are free ones of loopback.
struct Pod {
    folder: TempDir,
    ports: Vec<(String, String)>,
    container: Value,
}

impl Pod {
    fn new(rendered: &Rendered) -> Self {
        let held: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses = held.iter().map(|port| port.local_addr().unwrap().to_string());
        let inside = ["[::]:11001", "[::]:11002", "[::]:9464"].map(str::to_owned);
        let pod = Self {
            folder: TempDir::new().unwrap(),
            ports: inside.into_iter().zip(addresses).collect(),
            container: rendered.container().clone(),
        };
        for folder in ["data", "keys", "etc/millpond"] {
            fs::create_dir_all(pod.folder.path().join(folder)).unwrap();
        }
        let text = pod.here(rendered.one("ConfigMap")["data"]["millpond.toml"].as_str().unwrap());
        fs::write(pod.folder.path().join("etc/millpond/millpond.toml"), text).unwrap();
        pod
    }

    /// A text of the container with what is here in place of what is there.
    fn here(&self, text: &str) -> String {
        let text = self.ports.iter().fold(text.to_owned(), |text, (there, here)| text.replace(there, here));
        let is_path = ["/data/", "/keys/", "/etc/", "/secrets/"].iter().any(|root| text.starts_with(root));
        if is_path { format!("{}{text}", self.folder.path().display()) } else { text }
    }

    fn command(&self, words: &[Value]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.current_dir(self.folder.path());
        command.args(words.iter().map(|word| self.here(word.as_str().unwrap())));
        for variable in list(&self.container["env"]) {
            let value = self.here(variable["value"].as_str().unwrap());
            command.env(variable["name"].as_str().unwrap(), value);
        }
        command
    }

    /// The readiness probe, run as it stands.
    fn probe(&self) -> Output {
        let words = list(&self.container["readinessProbe"]["exec"]["command"]);
        assert_eq!(words[0], "/usr/bin/millpond");
        self.command(&words[1..]).output().unwrap()
    }

    fn start(&self) -> Running {
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let mut command = self.command(list(&self.container["args"]));
        Running(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serves(values: &Value, prepare: impl FnOnce(&Path)) {
    let Some(rendered) = Rendered::new("cache", values) else { return };
    let pod = Pod::new(&rendered);
    prepare(pod.folder.path());
    let mut running = pod.start();
    let begun = Instant::now();
    while !pod.probe().status.success() {
        let log = fs::read_to_string(pod.folder.path().join("log")).unwrap();
        assert!(running.0.try_wait().unwrap().is_none() && begun.elapsed() < PATIENCE, "{log}");
        std::thread::sleep(Duration::from_millis(100));
    }
    // With the keys that the start made.
    let file = json!(["config", "check", "/etc/millpond/millpond.toml"]);
    let checked = pod.command(list(&file)).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && !said.contains("is no setting"), "{said}");
    kill_process(Pid::from_child(&running.0), Signal::TERM).unwrap();
    assert!(running.0.wait().unwrap().success());
    assert!(!pod.probe().status.success());
}

#[test]
fn chart_pod_serves_on_this_machine() {
    serves(&json!({}), |_| {});
}

#[test]
fn chart_pod_serves_with_a_certificate_of_a_secret() {
    serves(&json!({"certificateSecret": "tls", "domains": ["cache.example.org"]}), |folder| {
        let secret = folder.join("secrets/certificate");
        fs::create_dir_all(&secret).unwrap();
        let keys = folder.join("authority");
        let mut init = Command::new(PROGRAM);
        assert!(
            init.args(["keys", "init", "cache.example.org", "--keys"]).arg(&keys).status().unwrap().success()
        );
        fs::copy(keys.join("server.crt"), secret.join("tls.crt")).unwrap();
        fs::copy(keys.join("server.key"), secret.join("tls.key")).unwrap();
    });
}
