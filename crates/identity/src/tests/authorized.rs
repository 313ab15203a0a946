use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use time::OffsetDateTime;

use super::*;
use crate::{Declined, Identities, Refused, Register};

/// A certificate that signed itself and may sign others, as BuildStream 1's documentation makes them; valid for 10 days.
pub(super) fn self_signed(common_name: Option<&str>) -> (Vec<u8>, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.remove(DnType::CommonName);
    if let Some(name) = common_name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    let time = |seconds: u64| OffsetDateTime::from_unix_timestamp(seconds as i64).unwrap();
    (params.not_before, params.not_after) = (time(NOW), time(NOW + 10 * DAY));
    let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    (made.der().to_vec(), made.pem())
}

#[test]
fn each_certificate_stands_for_itself_under_its_name_in_its_time() {
    let [(ci, ci_pem), (nameless, nameless_pem), (_, hostile_pem)] =
        [Some("ci"), None, Some("a\nb")].map(self_signed);
    let mut known = Identities::default();
    let all = [ci_pem, "explained by words between".into(), nameless_pem, hostile_pem.clone()].join("\n");
    assert_eq!(known.add_authorized(all.as_bytes(), push()).unwrap(), 3);

    let found = known.certificate(&[&ci], NOW).unwrap();
    assert!(found.name.starts_with("ci (") && found.name.len() == 21, "{}", found.name);
    assert_eq!(found.grants, [push()]);
    assert_eq!(known.certificate(&[&ci], NOW - 1).unwrap_err().why, Refused::NotYetValid);
    assert!(known.certificate(&[&ci], NOW + 10 * DAY).is_ok());
    assert_eq!(
        known.certificate(&[&ci], NOW + 10 * DAY + 1).unwrap_err(),
        Declined { why: Refused::Expired { since: NOW + 10 * DAY }, name: Some(found.name.clone()) }
    );
    let name = &known.certificate(&[&nameless], NOW).unwrap().name;
    assert!(name.starts_with("certificate (") && name.len() == 13 + 16 + 1, "{name}");
    let hostile = parse_x509_pem(hostile_pem.as_bytes()).unwrap().1.contents;
    assert!(known.certificate(&[&hostile], NOW).unwrap().name.starts_with("ab ("));

    // One of the same name and key usage that is not in the file.
    assert_eq!(known.certificate(&[&self_signed(Some("ci")).0], NOW).unwrap_err().why, Refused::Unknown);
    let mut changed = ci.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(known.certificate(&[&changed], NOW).unwrap_err().why, Refused::Unknown);
}

#[test]
fn certificate_of_two_files_may_what_both_say_and_revoked_stays_revoked() {
    let (der, pem) = self_signed(Some("ci"));
    let mut known = Identities::default();
    for grant in [pull(), push(), pull()] {
        known.add_authorized(pem.as_bytes(), grant).unwrap();
    }
    assert_eq!(known.certificate(&[&der], NOW).unwrap().grants, [pull(), push()]);

    let (_folder, keys) = pond();
    issue::client(&keys, "gone", push(), 10, NOW).unwrap();
    crate::revoke_certificates(&keys, "gone", NOW).unwrap();
    let mut known = Identities::load(keys.folder()).unwrap();
    known.add_authorized(&fs::read(keys.client_certificate("gone")).unwrap(), push()).unwrap();
    assert_eq!(known.certificate(&[&certificate_of(&keys, "gone")], NOW).unwrap_err().why, Refused::Revoked);
    assert_eq!(Register::load(&keys).unwrap().certificates.len(), 1);
}

#[test]
fn what_is_no_certificate_is_told_with_its_number() {
    let (_, pem) = self_signed(Some("ci"));
    let key = KeyPair::generate().unwrap().serialize_pem();
    let mut known = Identities::default();
    assert_eq!(known.add_authorized(b" \n", push()).unwrap(), 0);
    for (content, told) in [
        ("words".to_owned(), "no certificate in it"),
        (format!("{pem}{key}"), "certificate 2: this is a PRIVATE KEY"),
        (format!("{pem}{}", pem.replace('M', "N")), "certificate 2: "),
        (format!("{pem}{}", &pem[..pem.len() / 2]), "certificate 2: "),
    ] {
        let error = known.add_authorized(content.as_bytes(), push()).unwrap_err().to_string();
        assert!(error.contains(told), "{told}: {error}");
        assert!(!error.contains(key.lines().nth(1).unwrap()), "{error}");
    }
}

/// Byte for byte what BuildStream 1's documentation tells its users to do.
#[test]
fn certificates_of_openssl_are_known() {
    let folder = TempDir::new().unwrap();
    let arguments = "req -x509 -newkey rsa:4096 -nodes -batch -subj /CN=builder -days 3 -keyout key -out crt";
    let made = Command::new("openssl").args(arguments.split(' ')).current_dir(folder.path()).output();
    let Ok(made) = made else { return };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let pem = fs::read(folder.path().join("crt")).unwrap();
    let (_, block) = parse_x509_pem(&pem).unwrap();
    let certificate = block.parse_x509().unwrap();
    assert!(certificate.is_ca(), "openssl has come to make others");
    let now = certificate.validity().not_before.timestamp() as u64;

    let mut known = Identities::default();
    assert_eq!(known.add_authorized(&pem, push()).unwrap(), 1);
    assert!(known.certificate(&[&block.contents], now).unwrap().name.starts_with("builder ("));
}
