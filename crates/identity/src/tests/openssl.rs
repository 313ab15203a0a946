use std::process::Command;

use super::*;

/// What the program said of these files, or `None` where there is no such program.
fn openssl(folder: &std::path::Path, arguments: &str) -> Option<(bool, String)> {
    let said = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().ok()?;
    let text = [said.stdout, said.stderr].concat();
    Some((said.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn openssl_accepts_what_was_made_for_its_purpose_alone() {
    let (_folder, keys) = pond();
    issue::client(&keys, "ci", pull(), 10, NOW).unwrap();
    for (arguments, accepted) in [
        ("-purpose sslserver -verify_hostname cache.example.org server.crt", true),
        ("-purpose sslserver -verify_hostname localhost server.crt", true),
        ("-purpose sslserver -verify_ip 127.0.0.1 server.crt", true),
        ("-purpose sslserver -verify_ip ::1 server.crt", true),
        ("-purpose sslserver -verify_hostname other.example.org server.crt", false),
        ("-purpose sslclient server.crt", false),
        ("-purpose sslclient clients/ci/client.crt", true),
        ("-purpose sslserver clients/ci/client.crt", false),
    ] {
        let verify = format!("verify -x509_strict -attime {NOW} -CAfile ca.crt {arguments}");
        let Some((ok, said)) = openssl(keys.folder(), &verify) else { return };
        assert_eq!(ok, accepted, "{verify}: {said}");
    }
    let (_, shown) = openssl(keys.folder(), "x509 -noout -text -in ca.crt").unwrap();
    assert!(shown.contains("CA:TRUE, pathlen:0"), "{shown}");
    let (_, shown) = openssl(keys.folder(), "x509 -noout -text -in clients/ci/client.crt").unwrap();
    for part in
        ["CN = ci", "URI:millpond:client:ci", "CA:FALSE", "TLS Web Client Authentication", "prime256v1"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let (_, key) = openssl(keys.folder(), "pkey -noout -check -in clients/ci/client.key").unwrap();
    assert!(key.contains("valid"), "{key}");
}
