use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use super::*;
use crate::ServerKeys;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn private_files_are_for_their_owner_alone() {
    let (_folder, keys) = pond();
    issue::client(&keys, "ci", pull(), 10, NOW).unwrap();
    for folder in [keys.folder(), &keys.folder().join("clients"), &keys.client("ci")] {
        assert_eq!(mode(folder), 0o700, "{}", folder.display());
    }
    for file in [keys.ca_key(), keys.server_key(), keys.register(), keys.client_key("ci"), keys.lock()] {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    let names: Vec<_> =
        fs::read_dir(keys.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 7, "something is left behind: {names:?}");
}

/// Only root can give a directory away: for others there is nothing to see here.
#[test]
fn directory_of_another_user_is_changed_by_nobody_else() {
    let (_folder, keys) = pond();
    if fs::metadata(keys.folder()).unwrap().uid() != 0 {
        return;
    }
    let before = fs::read(keys.register()).ok();
    chown(keys.folder(), Some(65_534), Some(65_534)).unwrap();
    let error = issue::client(&keys, "ci", pull(), 10, NOW).unwrap_err();
    assert!(error.to_string().contains("65534") && error.remedy().contains("sudo -u '#65534'"), "{error}");
    assert!(!keys.client("ci").exists());
    assert_eq!(fs::read(keys.register()).ok(), before);
}

#[test]
fn init_replaces_nothing() {
    let (_folder, keys) = pond();
    for missing in [keys.ca_certificate(), keys.ca_key(), keys.server_certificate()] {
        fs::remove_file(missing).unwrap();
        let before = fs::read(keys.server_key()).unwrap();
        let error = issue::init(&keys, &["other.example.org".into()], 10, NOW).unwrap_err();
        assert!(error.to_string().contains("there already"), "{error}");
        assert!(error.remedy().contains("keys renew server"), "{error}");
        assert_eq!(fs::read(keys.server_key()).unwrap(), before);
    }
}

#[test]
fn server_keys_are_renewed_for_the_same_names_or_others() {
    let folder = TempDir::new().unwrap();
    let keys = Keys::at(folder.path());
    let names = ["Cache.example.org", "*.pond.example.org", "192.0.2.10", "2001:DB8:0::1"].map(str::to_owned);
    issue::init(&keys, &names, 100, NOW).unwrap();
    let first = ServerKeys::load(folder.path()).unwrap();
    let expected = ["cache.example.org", "*.pond.example.org", "192.0.2.10", "2001:db8::1"];
    let local = ["localhost", "127.0.0.1", "::1"];
    assert_eq!(first.names, [&expected[..], &local].concat());
    assert_eq!(first.not_after, NOW + 100 * DAY);

    issue::renew_server(&keys, &[], 200, NOW).unwrap();
    let second = ServerKeys::load(folder.path()).unwrap();
    assert_eq!((&second.names, second.not_after), (&first.names, NOW + 200 * DAY));
    assert_ne!(second.key_pem, first.key_pem);
    issue::renew_server(&keys, &["new.example.org".into()], 200, NOW).unwrap();
    let third = ServerKeys::load(folder.path()).unwrap();
    assert_eq!(third.names, [&["new.example.org"][..], &local].concat());
    assert!(!format!("{third:?}").contains("key_pem"), "{third:?}");
}

#[test]
fn nothing_outlives_the_ca() {
    let (_folder, keys) = pond();
    let error = issue::client(&keys, "ci", pull(), 3651, NOW).unwrap_err();
    assert!(error.to_string().contains("valid until 2036-11-"), "{error}");
    assert!(error.remedy().contains("--days 3650"), "{error}");
    issue::client(&keys, "ci", pull(), 3650, NOW).unwrap();
}

#[test]
fn without_a_ca_it_is_told_what_makes_one() {
    let folder = TempDir::new().unwrap();
    let keys = Keys::at(&folder.path().join("keys"));
    let error = issue::client(&keys, "ci", pull(), 10, NOW).unwrap_err();
    assert!(
        error.to_string().contains("ca.crt is not there") && error.remedy().contains("keys init"),
        "{error}"
    );
    assert!(!keys.folder().exists());
}
