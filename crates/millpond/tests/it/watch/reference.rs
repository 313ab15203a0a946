//! `docs/metrics.md` has every metric, as a server that runs shows it: name, type, labels, unit and meaning.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write;
use std::fs;

use tokio::runtime::Runtime;

use super::Page;
use crate::battery::{Blob, Client};
use crate::full_volume::{name, upload};
use crate::server::Server;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
/// What stands before the table, and after it.
const BEGIN: &str = "<!-- the table is written by a test -->\n";
const END: &str = "<!-- the end of the table -->\n";
/// So that metrics of issuers are there.
const CONFIGURATION: &str = "[[issuer]]\nname = \"gitlab\"\nurl = \"https://127.0.0.1:9\"\n\
    audience = \"https://cache.example.org\"\n\
    [[issuer.grant]]\nclaims = { project_path = \"team/*\" }\nallow = \"pull\"\n";
/// What samples of a histogram end with.
const HISTOGRAM: [&str; 3] = ["_bucket", "_sum", "_count"];

/// One metric.
#[derive(Debug, Default)]
struct Metric {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    if name.ends_with("_timestamp_seconds") || name.ends_with("_time_seconds") {
        return "Unix time, s";
    }
    match name.rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "bytes",
        Some("ratio") => "0 to 1",
        _ => "",
    }
}

fn read(page: &Page) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    for line in page.text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(help)) => {
                metrics.entry(name.into()).or_default().help = help.into();
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                metrics.entry(name.into()).or_default().kind = kind.into();
            }
            _ => {
                let (name, labels) = line.split_once('{').unwrap_or((line, ""));
                let bare = HISTOGRAM.iter().find_map(|ending| name.strip_suffix(ending));
                let of = bare.filter(|bare| metrics.contains_key(*bare)).unwrap_or(name);
                let Some(metric) = metrics.get_mut(of) else { continue };
                let keys = labels.split("\",").filter_map(|label| label.split("=\"").next());
                let keys = keys.filter(|key| !labels.is_empty() && *key != "le");
                metric.labels.extend(keys.map(str::to_owned));
            }
        }
    }
    metrics
}

#[test]
fn metrics_page_has_every_metric() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("millpond.toml");
    fs::write(&file, CONFIGURATION).unwrap();
    let server = Server::start_with(&["--metrics", "127.0.0.1:0", "--config", file.to_str().unwrap()]);
    Runtime::new().unwrap().block_on(async {
        let mut client = Client::connect(server.url()).await.unwrap();
        let blobs = [Blob::new(vec![7; 1000])];
        upload(&mut client, &blobs).await.unwrap();
        name(&mut client, "urn:something", &blobs).await;
    });
    let metrics = read(&Page::of(&server));
    let mut table =
        "| metric | type | labels | unit | meaning |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for (name, metric) in &metrics {
        let Metric { kind, help, labels } = metric;
        assert!(help.len() > 10 && help.ends_with('.') && !help.ends_with(".."), "{name}: {help}");
        let unit = unit(name);
        let says = |words: &[&str]| words.iter().any(|word| help.to_lowercase().contains(word));
        let in_unit = match unit {
            "bytes" => says(&["byte"]),
            "s" => says(&["second"]),
            "Unix time, s" => says(&["unix time"]),
            "0 to 1" => says(&["from 0 to 1"]),
            _ => true,
        };
        assert!(in_unit, "{name} does not say its unit: {help}");
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        writeln!(table, "| `{name}` | {kind} | {labels} | {unit} | {} |", help.replace('|', "\\|")).unwrap();
    }
    let page = fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let wanted = format!("{before}{BEGIN}\n{table}\n{END}{after}");
    if env::var_os("MILLPOND_WRITE_DOCS").is_some() {
        fs::write(PAGE, &wanted).unwrap();
    } else {
        assert!(page == wanted, "docs/metrics.md is stale: `just docs` writes its table anew");
    }
}
