//! Keys and tokens as an operator meets them: made, listed, renewed and revoked by the program.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Its exit code, and what it said on standard output and standard error.
fn said(folder: &Path, arguments: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    command.args(arguments.split(' ')).current_dir(folder).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// What it printed, once it has ended well.
fn done(folder: &Path, arguments: &str) -> String {
    let (code, printed, complaint) = said(folder, arguments);
    assert_eq!(code, 0, "{arguments}: {complaint}");
    printed
}

/// What it complained of, with a remedy, and nothing printed.
fn refused(folder: &Path, arguments: &str) -> String {
    let (code, printed, complaint) = said(folder, arguments);
    assert_eq!((code, printed.as_str()), (2, ""), "{arguments}: {complaint}");
    assert!(complaint.starts_with("error: ") && complaint.contains("\nhint: "), "{arguments}: {complaint}");
    complaint
}

fn contains_all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

/// A directory with keys for `cache.example.org`.
fn pond() -> TempDir {
    let folder = TempDir::new().unwrap();
    let printed = done(folder.path(), "keys init cache.example.org 192.0.2.10");
    let path = folder.path().join("millpond-keys").display().to_string();
    contains_all(
        &printed,
        &[&path, "cache.example.org, 192.0.2.10, localhost", "keys issue", "tokens issue"],
    );
    folder
}

#[test]
fn init_makes_what_openssl_accepts_and_replaces_nothing() {
    let folder = pond();
    let keys = folder.path().join("millpond-keys");
    let mut openssl = Command::new("openssl");
    openssl.args([
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-verify_hostname",
        "cache.example.org",
    ]);
    if let Ok(verified) = openssl.args(["-CAfile", "ca.crt", "server.crt"]).current_dir(&keys).output() {
        assert!(verified.status.success(), "{verified:?}");
    }
    let renewed = done(folder.path(), "keys renew server cache.example.org cache");
    contains_all(&renewed, &["for cache.example.org, cache, localhost", "no longer for 192.0.2.10: clients"]);
    let renewed = done(folder.path(), "keys renew server cache.example.org");
    contains_all(&renewed, &["no longer for cache: clients that call it so are refused"]);
    let before = fs::read(keys.join("server.key")).unwrap();
    let complaint = refused(folder.path(), "keys init other.example.org");
    contains_all(&complaint, &["there already", "keys renew server"]);
    assert_eq!(fs::read(keys.join("server.key")).unwrap(), before);
    contains_all(&refused(folder.path(), "keys init https://a --keys other"), &["\"https://a\" is neither"]);
    contains_all(
        &done(folder.path(), "keys init a --keys other"),
        &[
            "millpond keys issue NAME --push --keys other",
            "millpond tokens issue NAME --push --keys other > token",
        ],
    );
    done(folder.path(), "keys issue ci --push --keys other");
    for (arguments, hint) in [
        ("keys issue ci --push --keys other", "keys revoke ci --keys other"),
        ("keys renew nobody --keys other", "keys list --keys other"),
        ("keys revoke nobody --keys other", "keys list --keys other"),
        ("tokens revoke nobody --keys other", "tokens list --keys other"),
        ("keys init b --keys other", "keys renew server --keys other"),
    ] {
        contains_all(&refused(folder.path(), arguments), &[hint]);
    }
}

#[test]
fn issued_certificate_comes_with_what_to_paste() {
    let folder = pond();
    let keys = folder.path().join("millpond-keys");
    let printed = done(folder.path(), "keys issue ci --push --days 30");
    let (certificate, key) = (keys.join("clients/ci/client.crt"), keys.join("clients/ci/client.key"));
    let (shown, shown_key, ca) = (certificate.display(), key.display(), keys.join("ca.crt"));
    let ca = ca.display();
    let buildstream2 = |section: &str| {
        format!(
            "{section}:\n  servers:\n  - url: https://cache.example.org:11002\n    push: true\n    auth:\n      \
             server-cert: {ca}\n      client-cert: {shown}\n      client-key: {shown_key}\n"
        )
    };
    let buildstream1 = format!(
        "artifacts:\n  url: https://cache.example.org:11002\n  push: true\n  server-cert: {ca}\n  \
         client-cert: {shown}\n  client-key: {shown_key}\n"
    );
    contains_all(&printed, &[&buildstream2("artifacts"), &buildstream2("source-caches"), &buildstream1]);
    let secret = fs::read_to_string(&key).unwrap();
    assert!(certificate.exists() && !printed.contains(secret.lines().nth(1).unwrap()));

    contains_all(
        &refused(folder.path(), "keys issue ci --pull"),
        &["already", "keys renew ci", "keys revoke ci"],
    );
    contains_all(&refused(folder.path(), "keys issue ../ci --pull"), &["no name for a client"]);
    let printed = done(folder.path(), "keys issue other --pull --port 443");
    contains_all(&printed, &["url: https://cache.example.org:443\n"]);
    let (code, _, complaint) = said(folder.path(), "keys issue other");
    assert!(code == 2 && complaint.contains("--pull|--push|--admin"), "{complaint}");
}

#[test]
fn grants_stand_in_the_list_and_in_what_is_pasted() {
    let folder = pond();
    let narrow = "--push --project team --project app/core/* --name source:* --instance main";
    let printed = done(folder.path(), &format!("keys issue narrow {narrow}"));
    contains_all(
        &printed,
        &["instance-name: main", "source-caches:", "BuildStream 1 cannot name an instance"],
    );
    let printed = done(folder.path(), "keys issue reader --pull --project team");
    assert!(!printed.contains("push: true") && !printed.contains("\nsource-caches:"), "{printed}");

    let list: Value = serde_json::from_str(&done(folder.path(), "keys list --json")).unwrap();
    let [narrow, reader] = [0, 1].map(|place| &list["clients"][place]);
    assert_eq!(narrow["names"], serde_json::json!(["artifact:team/*", "artifact:app/core/*", "source:*"]));
    assert_eq!((&narrow["instances"][0], &narrow["rights"]), (&"main".into(), &"push".into()));
    assert_eq!((&reader["name"], &reader["state"]), (&"reader".into(), &"valid".into()));
    assert_eq!(list["server"]["names"][0], "cache.example.org");
    let text = done(folder.path(), "keys list");
    contains_all(&text, &["push artifact:team/*, artifact:app/core/*, source:* in main", "valid until 20"]);
    contains_all(&refused(folder.path(), "keys issue x --pull --instance "), &["--instance: "]);
}

#[test]
fn renewed_and_revoked_certificates_are_told_apart() {
    let folder = pond();
    let issued = done(folder.path(), "keys issue ci --push --project team --json");
    let issued: Value = serde_json::from_str(&issued).unwrap();
    assert_eq!(issued["url"], "https://cache.example.org:11002");
    done(folder.path(), "keys renew ci");
    let states = || {
        let list: Value = serde_json::from_str(&done(folder.path(), "keys list --json")).unwrap();
        let clients = list["clients"].as_array().unwrap().clone();
        assert!(clients.iter().all(|client| client["names"][0] == "artifact:team/*"));
        clients.iter().map(|client| client["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(states(), ["valid", "valid"]);
    done(folder.path(), "keys renew ci --revoke-old");
    assert_eq!(states(), ["revoked", "revoked", "valid"]);

    done(folder.path(), "tokens issue ci --push");
    contains_all(
        &done(folder.path(), "keys revoke ci"),
        &["one certificate of ci revoked", "tokens revoke ci"],
    );
    assert_eq!(states(), ["revoked", "revoked", "revoked"]);
    contains_all(&refused(folder.path(), "keys revoke ci"), &["revoked already"]);
    contains_all(&refused(folder.path(), "keys renew ci"), &["no certificate that could be renewed"]);
    contains_all(&refused(folder.path(), "keys revoke nobody"), &["no certificate of nobody", "keys list"]);
}

#[test]
fn server_is_renewed_for_its_names_or_others() {
    let folder = pond();
    let printed = done(folder.path(), "keys renew server");
    contains_all(&printed, &["for cache.example.org, 192.0.2.10, localhost, 127.0.0.1, ::1"]);
    contains_all(
        &done(folder.path(), "keys renew server new.example.org"),
        &["for new.example.org, localhost"],
    );
    contains_all(&refused(folder.path(), "keys renew server --revoke-old"), &["no certificate of a server"]);
    contains_all(&refused(folder.path(), "keys renew ci other"), &["ci is a client"]);
}

#[test]
fn token_alone_goes_to_standard_output_and_is_never_shown_again() {
    let folder = TempDir::new().unwrap();
    let (code, token, explained) = said(folder.path(), "tokens issue ci --push --no-expiry");
    assert_eq!(code, 0, "{explained}");
    let token = token.strip_suffix('\n').unwrap();
    assert!(token.starts_with("mp_") && token.len() == 55, "{token}");
    let (id, secret) = (&token[3..11], &token[12..]);
    contains_all(&explained, &["valid until it is revoked", "access-token: ", "https://HOST:11002", id]);
    let register = fs::read_to_string(folder.path().join("millpond-keys/identities.json")).unwrap();
    let lists = ["tokens list", "tokens list --json"].map(|arguments| done(folder.path(), arguments));
    contains_all(&lists[0], &["ci ", id, "does not expire", "push"]);
    for text in [&explained, &register, &lists[0], &lists[1]] {
        assert!(!text.contains(secret), "{text}");
    }

    let issued: Value =
        serde_json::from_str(&done(folder.path(), "tokens issue b --pull --days 3 --json")).unwrap();
    assert!(issued["token"].as_str().unwrap().contains(issued["id"].as_str().unwrap()));
    contains_all(&refused(folder.path(), "tokens issue ci --pull"), &["already", "tokens revoke ci"]);
    let (code, _, complaint) = said(folder.path(), "tokens issue c --pull --days 3 --no-expiry");
    assert!(code == 2 && complaint.contains("cannot be used with"), "{complaint}");

    contains_all(&done(folder.path(), &format!("tokens revoke {id}")), &["one token of"]);
    done(folder.path(), "tokens revoke b");
    let text = done(folder.path(), "tokens list");
    assert_eq!(text.matches("revoked 20").count(), 2, "{text}");
    contains_all(&refused(folder.path(), "tokens revoke ci"), &["revoked already"]);
}

#[test]
fn damaged_register_is_told_and_left_as_it_is() {
    let folder = pond();
    let register = folder.path().join("millpond-keys/identities.json");
    fs::write(&register, "{\"format\": 1, \"certificates\": [").unwrap();
    for arguments in
        ["keys issue ci --push", "keys list", "keys revoke ci", "tokens issue ci --push", "tokens list"]
    {
        let (code, printed, complaint) = said(folder.path(), arguments);
        assert_eq!((code, printed.as_str()), (1, ""), "{arguments}: {complaint}");
        contains_all(&complaint, &["identities.json: ", "line 1", "hint: take the file from a backup"]);
    }
    assert!(fs::read_to_string(&register).unwrap().ends_with('['));
}

#[test]
fn ca_is_printed_for_clients_and_its_fingerprint_beside_it() {
    let folder = pond();
    let (code, printed, beside) = said(folder.path(), "keys ca");
    assert_eq!((code, printed), (0, fs::read_to_string(folder.path().join("millpond-keys/ca.crt")).unwrap()));
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-fingerprint", "-sha256", "-in", "millpond-keys/ca.crt"]);
    let output = openssl.current_dir(folder.path()).output().unwrap();
    let known = String::from_utf8(output.stdout).unwrap().replace(':', "").to_lowercase();
    let known = known.trim().rsplit('=').next().unwrap();
    contains_all(&beside, &[known, "valid until", "ca.crt"]);
    assert!(!beside.contains("another certificate"), "{beside}");
    let (code, printed, complaint) = said(folder.path(), "keys ca --keys nowhere");
    assert_eq!((code, printed.as_str()), (2, ""), "{complaint}");
    contains_all(
        &complaint,
        &["there is no ca.crt in the directory of keys", "`millpond keys init NAME --keys nowhere`"],
    );
}

#[test]
fn certificate_of_somebody_elses_making_is_told_as_such() {
    let folder = pond();
    done(folder.path(), "keys init shown.example.org --keys others");
    let configuration = "[identity]\nkeys = \"millpond-keys\"\ncertificate = \"others/server.crt\"\nkey = \"others/server.key\"\n";
    fs::write(folder.path().join("pond.toml"), configuration).unwrap();
    let printed = done(folder.path(), "keys issue ci --push --config pond.toml");
    assert!(!printed.contains("ca.crt") && !printed.contains("cache.example.org"), "{printed}");
    contains_all(&printed, &["https://shown.example.org:11002", "# server-cert: who signed", "client.key"]);
    let json = done(folder.path(), "keys issue other --push --json --config pond.toml");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(json["ca"].is_null() && json["url"] == "https://shown.example.org:11002", "{json}");
    let (_, _, lines) = said(folder.path(), "tokens issue bot --push --config pond.toml");
    assert!(!lines.contains("ca.crt"), "{lines}");
    let (_, _, beside) = said(folder.path(), "keys ca --config pond.toml");
    assert!(beside.contains("the server shows another certificate"), "{beside}");

    // An authority that issues it to the server itself vouches for it as well, and jobs are told the same.
    let configuration = "[[listener]]\naddress = \"127.0.0.1:443\"\ntls = true\n[identity]\nkeys = \"millpond-keys\"\n\
        [acme]\ndomains = [\"public.example.org\"]\nterms_agreed = true\n[[issuer]]\nname = \"gitlab\"\n\
        url = \"https://gitlab.example.org\"\naudience = \"https://public.example.org\"\n\
        [[issuer.grant]]\nallow = \"push\"\nclaims = { project_path = \"team/app\" }\n";
    fs::write(folder.path().join("millpond.toml"), configuration).unwrap();
    let printed = done(folder.path(), "keys issue erin --push --config millpond.toml");
    contains_all(&printed, &["https://public.example.org:443", "# server-cert: who signed"]);
    let job = done(folder.path(), "tokens job gitlab --config millpond.toml");
    contains_all(&job, &["url: https://public.example.org:443"]);
    assert!(!job.contains("server-cert"), "{job}");
}
