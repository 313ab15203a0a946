//! Lines of the log: what they say, that no client makes them say something else, and what is logged while a server runs.

use std::time::{Duration, Instant};

use millpond_proto::asset::FetchBlobRequest;
use millpond_proto::asset::fetch_client::FetchClient;
use millpond_proto::reapi::{RequestMetadata, ToolDetails};
use prost::Message;
use serde_json::Value;
use tokio::runtime::Runtime;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::admin::{answer, ask};
use crate::server::Server;

const METADATA: &str = "build.bazel.remote.execution.v2.requestmetadata-bin";

/// Every line of JSON that a server has logged.
pub(super) fn lines(server: &Server) -> Vec<Value> {
    let log = server.log();
    log.lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

/// How many lines have all these fields.
pub(super) fn count(server: &Server, fields: &[(&str, &str)]) -> usize {
    let has = |line: &Value| fields.iter().all(|(key, value)| line[*key] == *value);
    lines(server).iter().filter(|line| has(line)).count()
}

/// The same, once there is one. What a server says is read while it says it.
pub(super) fn count_at_last(server: &Server, fields: &[(&str, &str)]) -> usize {
    let deadline = Instant::now() + Duration::from_secs(60);
    while count(server, fields) == 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    count(server, fields)
}

/// Looks a name up that is not there, with these headers.
fn look_up(runtime: &Runtime, server: &Server, name: &str, headers: &MetadataMap) -> Status {
    runtime.block_on(async {
        let channel = Channel::from_shared(server.url().to_owned()).unwrap().connect().await.unwrap();
        let mut request =
            Request::new(FetchBlobRequest { uris: vec![name.to_owned()], ..Default::default() });
        *request.metadata_mut() = headers.clone();
        FetchClient::new(channel).fetch_blob(request).await.unwrap_err()
    })
}

fn says(tool: &str) -> MetadataMap {
    let tool_details = Some(ToolDetails { tool_name: tool.into(), tool_version: "7".into() });
    let metadata = RequestMetadata {
        tool_details,
        action_id: "an action".into(),
        tool_invocation_id: "a build".into(),
        ..Default::default()
    };
    let mut headers = MetadataMap::new();
    headers.insert_bin(METADATA, MetadataValue::from_bytes(&metadata.encode_to_vec()));
    headers
}

/// The id of the call in the answer.
fn request(status: &Status) -> String {
    status.metadata().get("x-request-id").expect("an id").to_str().unwrap().to_owned()
}

#[test]
fn answers_name_the_call_as_its_line_does_with_what_the_client_says_of_itself() {
    let runtime = Runtime::new().unwrap();
    let server = Server::start_with_the_log_of_services(&[]);
    let missed = look_up(&runtime, &server, "urn:something", &says("a tool"));
    assert_eq!(missed.code(), Code::NotFound);
    let fields = [
        ("message", "pull"),
        ("result", "miss"),
        ("name", "urn:something"),
        ("tool", "a tool"),
        ("version", "7"),
        ("invocation", "a build"),
        ("action", "an action"),
        ("request", &request(&missed)),
    ];
    assert_eq!(count_at_last(&server, &fields), 1, "{}", server.log());
    assert_ne!(request(&look_up(&runtime, &server, "urn:something", &says("a tool"))), request(&missed));
}

#[test]
fn nothing_that_a_client_says_looks_like_a_line_of_ours() {
    let runtime = Runtime::new().unwrap();
    let hostile = "x\n2026-01-01T00:00:00Z ERROR millpond: forged\u{1b}[2J\u{202e}\"} identity=\"root";
    let mut no_base64 = http::HeaderMap::new();
    no_base64.insert(METADATA, http::HeaderValue::from_static("!!!"));
    let mut garbage = MetadataMap::new();
    garbage.insert_bin(METADATA, MetadataValue::from_bytes(&[0xff; 3000]));
    for server in [Server::start(), Server::start_with_the_log_of_services(&[])] {
        for headers in
            [says(hostile), garbage.clone(), MetadataMap::from_headers(no_base64.clone()), MetadataMap::new()]
        {
            assert_eq!(look_up(&runtime, &server, hostile, &headers).code(), Code::NotFound);
        }
        server.wait_for("millpond_names", 4);
        let log = server.log();
        let forged: Vec<_> = log.lines().filter(|line| line.contains("forged")).collect();
        assert_eq!(forged.len(), 4, "{log}");
        assert!(
            forged.iter().all(|line| line.contains("pull") && !line.contains(['\u{1b}', '\u{202e}'])),
            "{log}"
        );
        assert!(!log.lines().any(|line| line.starts_with("2026-01-01T00:00:00Z")), "{log}");
    }
}

#[test]
fn what_is_logged_changes_while_the_server_runs() {
    let runtime = Runtime::new().unwrap();
    let server = Server::start_with_the_log_of_services(&[]);
    assert_eq!(answer(&server, "log-level --json")["filter"], "info");
    look_up(&runtime, &server, "urn:first", &MetadataMap::new());
    assert_eq!(count_at_last(&server, &[("message", "pull"), ("name", "urn:first")]), 1);
    assert_eq!(count(&server, &[("message", "call"), ("method", "FetchBlob")]), 0);
    assert_eq!(answer(&server, "log-level debug --json")["before"], "info");
    look_up(&runtime, &server, "urn:second", &MetadataMap::new());
    // The line of the call comes when its answer has gone out.
    server.wait_for("\"message\":\"call\"", 1);
    assert_eq!(ask(&server, "log-level info,millpond_names=warn").0, 0);
    server.wait_for("info,millpond_names=warn", 1);
    look_up(&runtime, &server, "urn:third", &MetadataMap::new());
    let named = |name| count(&server, &[("message", "pull"), ("name", name)]);
    assert_eq!(["urn:first", "urn:second"].map(named), [1, 1], "{}", server.log());
    assert_eq!(ask(&server, "log-level info").0, 0);
    look_up(&runtime, &server, "urn:last", &MetadataMap::new());
    assert_eq!(count_at_last(&server, &[("message", "pull"), ("name", "urn:last")]), 1);
    assert_eq!(named("urn:third"), 0, "{}", server.log());
    let (code, _, complaint) = ask(&server, "log-level verbose");
    assert!(code == 1 && complaint.contains("\"verbose\" is no level"), "{complaint}");
    assert_eq!(answer(&server, "log-level --json")["filter"], "info");
}
