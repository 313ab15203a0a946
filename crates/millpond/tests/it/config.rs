//! The configuration as an operator meets it: written, judged and shown by the program, and taken by the server.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Runs the program in a folder, with these variables.
fn millpond(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    command.args(arguments).envs(variables.iter().copied()).current_dir(folder);
    command.stdin(Stdio::null()).output().unwrap()
}

/// Its exit code, and what it said on standard output and standard error.
fn said(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = millpond(folder, variables, arguments);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn a_bad_file_is_told_as_such_by_who_only_looks_for_the_server() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("pond.toml"), "[store]\ndata = \"data\"\n\ndata = \"other\"\n").unwrap();
    let (code, _, complaint) = said(folder.path(), &[], &["config", "check", "pond.toml"]);
    assert_eq!(code, 2);
    assert!(complaint.contains("pond.toml, line 4: \"data\" is given a second time"), "{complaint}");
    let (code, _, complaint) = said(folder.path(), &[], &["status", "--config", "pond.toml"]);
    assert_eq!(code, 2, "{complaint}");
    for part in
        ["configuration that the server is to be found by: pond.toml, line 4", "--data DIR without --config"]
    {
        assert!(complaint.contains(part), "{complaint}");
    }
}

#[test]
fn init_writes_a_file_in_order_and_replaces_none_unasked() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let (code, printed, _) = said(folder, &[], &["config", "init"]);
    assert_eq!(code, 0);
    assert!(printed.contains("\n#max_size = "), "{printed}");
    assert_eq!(said(folder, &[], &["config", "init", "pond.toml"]).0, 0);
    let path = folder.join("pond.toml");
    assert_eq!(fs::read_to_string(&path).unwrap(), printed);
    let (code, ok, _) = said(folder, &[], &["config", "check", "pond.toml"]);
    assert_eq!((code, ok.as_str()), (0, "pond.toml is in order\n"));

    fs::write(&path, "mine, and longer than nothing").unwrap();
    let (code, _, complaint) = said(folder, &[], &["config", "init", "pond.toml"]);
    assert!(code == 2 && complaint.contains("there already") && complaint.contains("--force"), "{complaint}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine, and longer than nothing");
    assert_eq!(said(folder, &[], &["config", "init", "pond.toml", "--force"]).0, 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), printed);
}

/// By nothing but taking marks away and changing values: a size, two listeners and an instance.
#[test]
fn newcomer_changes_the_file_of_init_and_runs_with_it() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let (_, file, _) = said(folder, &[], &["config", "init"]);
    let mut file = file.replace("#max_size = \"500GB\"", "max_size = \"2GB\"");
    for (from, to) in [
        ("#[[listener]]", "[[listener]]"),
        ("#address = \"127.0.0.1:11001\"", "address = \"127.0.0.1:21001\""),
        ("#address = \"192.0.2.10:11001\"\n#insecure", "address = \"[::]:21002\"\ninsecure"),
    ] {
        assert!(file.contains(from), "{from}");
        file = file.replace(from, to);
    }
    let file =
        file.replacen("#[[instance]]", "[[instance]]", 1).replace("#name = \"main\"", "name = \"main\"");
    fs::write(folder.join("pond.toml"), file).unwrap();
    let (code, shown, complaint) = said(folder, &[], &["config", "show", "--config", "pond.toml"]);
    assert_eq!(code, 0, "{complaint}");
    for line in [
        "max_size = 2000000000",
        "address = \"127.0.0.1:21001\"",
        "address = \"[::]:21002\"",
        "insecure = true",
        "name = \"main\"",
    ] {
        let found = shown.lines().find(|found| found.starts_with(line)).unwrap_or_else(|| panic!("{shown}"));
        assert!(found.contains("# pond.toml:"), "{found}");
    }
}

#[test]
fn check_names_line_nearest_key_and_variable() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    fs::write(folder.join("pond.toml"), "[store]\nlease = \"1h\"\nmaxsize = 1\n").unwrap();
    let (code, _, complaint) = said(folder, &[], &["config", "check", "pond.toml"]);
    assert_eq!(code, 2);
    assert!(complaint.contains("pond.toml, line 3: "), "{complaint}");
    assert!(complaint.contains("hint: did you mean \"max_size\"?"), "{complaint}");

    fs::write(folder.join("pond.toml"), "[[retention]]\nkeep = \"1d\"\n[[retention]]\nproject = \"sdk\"\n")
        .unwrap();
    let (code, _, complaint) = said(folder, &[], &["config", "check", "pond.toml"]);
    assert_eq!(code, 2);
    assert!(
        complaint.contains("pond.toml, line 4") && complaint.contains("rule 2 of [[retention]]"),
        "{complaint}"
    );
    assert!(complaint.contains("hint: give keep, keep_newest, let_go_after or at_most"), "{complaint}");

    let bad = [("MILLPOND__STORE__MAX_SIZE", "12G")];
    let (code, _, complaint) = said(folder, &bad, &["config", "check"]);
    assert!(code == 2 && complaint.starts_with("error: MILLPOND__STORE__MAX_SIZE: "), "{complaint}");
    let loud = [("MILLPOND_LOG", "verbose")];
    let (code, _, complaint) = said(folder, &loud, &["config", "check"]);
    assert!(code == 2 && complaint.starts_with("error: MILLPOND_LOG"), "{complaint}");
    let open = [("MILLPOND__LISTEN", "0.0.0.0:0")];
    let (code, _, complaint) = said(folder, &open, &["serve"]);
    assert!(code == 2 && complaint.contains("set MILLPOND__INSECURE=true"), "{complaint}");
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "something was made");
}

#[test]
fn show_names_the_layer_of_every_setting_and_others_variables_are_ignored() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    fs::write(folder.join("pond.toml"), "[store]\nlease = \"1h\"\nmax_size = \"1GB\"\n").unwrap();
    let variables = [
        ("MILLPOND__STORE__MAX_SIZE", "2GB"),
        ("MILLPOND__LISTEN", "127.0.0.1:1,[::1]:1"),
        ("MILLPOND__STORE__LEESE", "2h"),
        ("MILLPOND_PORT", "tcp://10.0.0.1:11001"),
    ];
    let arguments = ["config", "show", "--config", "pond.toml", "--metrics", "off"];
    let (code, shown, warnings) = said(folder, &variables, &arguments);
    assert_eq!(code, 0, "{warnings}");
    for (setting, layer) in [
        ("lease = \"1h\"", "# pond.toml:2"),
        ("max_size = 2000000000", "# environment MILLPOND__STORE__MAX_SIZE"),
        ("address = \"[::1]:1\"", "# environment MILLPOND__LISTEN"),
        ("address = \"off\"", "# flag --metrics"),
        ("data = \"millpond-data\"", "# default"),
    ] {
        let line = shown.lines().find(|line| line.starts_with(setting)).unwrap_or_else(|| panic!("{shown}"));
        assert!(line.ends_with(layer), "{line}");
    }
    assert_eq!(warnings.lines().count(), 1, "{warnings}");
    assert!(warnings.contains("MILLPOND__STORE__LEESE") && warnings.contains("LEASE?"), "{warnings}");
}

#[test]
fn what_a_start_would_refuse_of_a_receiver_is_refused_before() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("headers"), "x-key: secret\n").unwrap();
    for (lines, complaint) in [
        (
            "endpoint = \"http://otel.example.org:4317\"\nheaders_file = \"headers\"",
            "could be read on their way",
        ),
        ("endpoint = \"https://otel.example.org:4317\"\nheaders_file = \"nowhere\"", "nowhere"),
        ("endpoint = \"https://otel.example.org:4317\"\nca = \"headers\"", "otlp.toml, line 3, ca"),
    ] {
        fs::write(folder.path().join("otlp.toml"), format!("[otlp]\n{lines}\n")).unwrap();
        let (code, _, said) = said(folder.path(), &[], &["config", "check", "otlp.toml"]);
        assert!(code == 2 && said.contains(complaint), "{lines}: {code} {said}");
    }
}

/// What a configuration of the guide names lies in a folder of the test's, but for lists of revoked certificates, which keys of ours
/// have none of.
#[test]
fn every_configuration_in_the_guide_is_in_order() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    assert_eq!(said(folder, &[], &["keys", "init", "localhost"]).0, 0);
    let [certificate, key, authority] =
        ["server.crt", "server.key", "ca.crt"].map(|name| folder.join("millpond-keys").join(name));
    for (from, to) in [
        (&certificate, "fullchain.pem"),
        (&key, "privkey.pem"),
        (&certificate, "authorized.crt"),
        (&authority, "corp.crt"),
        (&authority, "gitlab-ca.crt"),
        (&authority, "otel-ca.crt"),
    ] {
        fs::copy(from, folder.join(to)).unwrap();
    }
    fs::write(folder.join("acme-account-key"), "c2VjcmV0").unwrap();
    fs::write(folder.join("otel-headers"), "x-key: secret\n").unwrap();
    let mut count = 0;
    for page in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs")).unwrap() {
        let page = page.unwrap().path();
        if page.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        for block in fs::read_to_string(&page).unwrap().split("\n```toml\n").skip(1) {
            let block = block.split("\n```").next().unwrap().replace("/etc/millpond/", "");
            let lines = block.lines().filter(|line| !line.starts_with("revoked = "));
            fs::write(folder.join("of-the-guide.toml"), lines.collect::<Vec<_>>().join("\n")).unwrap();
            let (code, _, complaint) = said(folder, &[], &["config", "check", "of-the-guide.toml"]);
            assert_eq!(code, 0, "{}:\n{block}\n\n{complaint}", page.display());
            count += 1;
        }
    }
    assert!(count >= 10, "{count} configurations were found");
}
