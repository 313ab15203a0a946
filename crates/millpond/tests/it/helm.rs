//! The chart in `deploy/helm`: here what it copies, its values, and the configuration in them, as text; `rendered.rs` has its objects.

#[cfg(feature = "real-clients")]
mod rendered;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

fn chart(file: &str) -> String {
    fs::read_to_string(deploy().join("helm/millpond").join(file)).unwrap()
}

fn templates() -> Vec<(String, String)> {
    let folder = fs::read_dir(deploy().join("helm/millpond/templates")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| (name.clone(), chart(&format!("templates/{name}")))).collect()
}

/// The values by their names, those within others as `service.type`.
fn values() -> BTreeSet<String> {
    let (mut found, mut above, mut is_text) = (BTreeSet::new(), String::new(), false);
    for line in chart("values.yaml").lines() {
        let inner = line.strip_prefix("  ");
        let Some((key, value)) = inner.unwrap_or(line).split_once(':') else { continue };
        let is_key = !key.is_empty() && key.chars().all(|letter| letter.is_ascii_alphanumeric());
        match inner {
            None if is_key => {
                above = key.to_owned();
                is_text = value.trim() == "|";
                found.insert(above.clone());
            }
            Some(_) if is_key && !is_text => {
                found.remove(&above);
                found.insert(format!("{above}.{key}"));
            }
            _ => {}
        }
    }
    found
}

#[test]
fn chart_has_the_rules_of_deploy_monitoring() {
    let rules = fs::read_to_string(deploy().join("monitoring/alerts.yml")).unwrap();
    assert!(
        chart("files/alerts.yml") == rules,
        "copy deploy/monitoring/alerts.yml to deploy/helm/millpond/files"
    );
}

#[test]
fn every_value_is_used_and_allowed_and_no_other() {
    let values = values();
    let text: String = templates().into_iter().map(|(_, text)| text).collect();
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '.';
    let mut asked = BTreeSet::new();
    for rest in text.split(".Values.").skip(1) {
        let end = rest.find(|letter| !is_of_name(letter)).unwrap_or(rest.len());
        asked.insert(rest[..end].trim_end_matches('.').to_owned());
    }
    // A whole table may be asked for, and then what is in it counts.
    let covers = |asked: &str, value: &str| value == asked || value.starts_with(&format!("{asked}."));
    let unknown: Vec<_> =
        asked.iter().filter(|asked| !values.iter().any(|value| covers(asked, value))).collect();
    assert!(unknown.is_empty(), "values.yaml lacks {unknown:?}");
    // The volumes' claims take theirs by a name that they loop over.
    let by_name =
        |value: &str| text.contains("$.Values") && ["data.", "keys."].iter().any(|of| value.starts_with(of));
    let idle: Vec<_> = (values.iter())
        .filter(|value| !asked.iter().any(|asked| covers(asked, value)) && !by_name(value))
        .collect();
    assert!(idle.is_empty(), "no template asks for {idle:?}");
    let schema: Value = serde_json::from_str(&chart("values.schema.json")).unwrap();
    for value in &values {
        let allowed = value.split('.').try_fold(&schema, |schema, key| {
            // Tables that are handed on as they are have no keys of ours.
            match schema.get("properties") {
                Some(properties) => properties.get(key),
                None => Some(schema),
            }
        });
        assert!(allowed.is_some(), "values.schema.json lacks {value}");
    }
}

#[test]
fn claims_and_mounts_have_volumes_and_ports_have_names() {
    let set = chart("templates/statefulset.yaml");
    let (before, volumes) = set.split_once("\n      volumes:\n").unwrap();
    let (_, mounts) = before.split_once("volumeMounts:\n").unwrap();
    let names = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix("- name: "));
        lines.map(str::to_owned).collect()
    };
    let mut there = names(volumes);
    assert!(set.contains("range $name := list \"data\" \"keys\""));
    there.extend(["data".to_owned(), "keys".to_owned()]);
    let lacking: Vec<_> = names(mounts).into_iter().filter(|name| !there.contains(name)).collect();
    assert!(lacking.is_empty(), "no volume is called {lacking:?}");
    let (_, ports) = set.split_once("          ports:\n").unwrap();
    let ports = names(ports.split_once("startupProbe:").unwrap().0);
    for (name, text) in templates() {
        for asked in text.lines().filter_map(|line| line.trim().strip_prefix("targetPort: ")) {
            assert!(ports.contains(asked), "{name}: no port is called {asked}");
        }
    }
}

#[test]
fn configuration_and_environment_of_the_chart_are_in_order() {
    let folder = TempDir::new().unwrap();
    let values = chart("values.yaml");
    let (_, rest) = values.split_once("\nconfig: |\n").unwrap();
    let lines = rest.lines().take_while(|line| line.is_empty() || line.starts_with("  "));
    let configuration: String = lines.map(|line| format!("{}\n", line.trim_start())).collect();
    assert!(configuration.contains("[[listener]]"), "{configuration}");
    fs::write(folder.path().join("millpond.toml"), configuration).unwrap();
    let set = chart("templates/statefulset.yaml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    command.args(["config", "check", "millpond.toml"]).current_dir(folder.path());
    let variables = set.split("- name: MILLPOND__").skip(1);
    let mut count = 0;
    for variable in variables {
        let (name, rest) = variable.split_once('\n').unwrap();
        // A certificate is there only if a Secret is named.
        if matches!(name, "IDENTITY__CERTIFICATE" | "IDENTITY__KEY") {
            continue;
        }
        let value = rest.lines().next().unwrap().trim().strip_prefix("value: ").unwrap();
        let default = |key: &str| {
            let line = values.lines().find_map(|line| line.strip_prefix(&format!("{key}: ")));
            line.unwrap().to_owned()
        };
        let value = match value {
            "{{ .Values.maxSize | quote }}" => default("maxSize"),
            "{{ .Values.requestMemory | quote }}" => default("requestMemory"),
            other => other.trim_matches('"').to_owned(),
        };
        command.env(format!("MILLPOND__{name}"), value);
        count += 1;
    }
    assert!(count >= 6, "{set}");
    // As `--setup` makes them before the first start.
    let keys = folder.path().join("keys");
    let mut init = Command::new(env!("CARGO_BIN_EXE_millpond"));
    assert!(
        init.args(["keys", "init", "cache.example.org", "--keys"])
            .arg(&keys)
            .output()
            .unwrap()
            .status
            .success()
    );
    command.env("MILLPOND__IDENTITY__KEYS", &keys);
    let output = command.output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && !complaint.contains("is no setting"), "{complaint}");
}
