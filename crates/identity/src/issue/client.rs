//! Clients' certificates.

use millpond_cache::Grant;

use super::signing::{Authority, Term};
use super::{after, names};
use crate::{CertificateEntry, Error, Keys, Register, files};

/// Makes a key and a certificate for a client, valid for so many days from `now` in Unix seconds.
pub fn client(keys: &Keys, name: &str, grant: Grant, days: u32, now: u64) -> Result<CertificateEntry, Error> {
    names::check_client(name)?;
    let authority = Authority::load(keys)?;
    Register::change(keys, |register| {
        if register.certificates.iter().any(|entry| entry.name == name && entry.revoked.is_none()) {
            return Err(Error::unwanted(
                format!("{name} has a certificate already"),
                format!(
                    "{} makes a new one for the same client, {} takes it back",
                    keys.command(&format!("keys renew {name}")),
                    keys.command(&format!("keys revoke {name}"))
                ),
            ));
        }
        make(keys, &authority, register, name, grant, Term { now, not_after: after(now, days) })
    })
}

/// Makes a new key and certificate for a client that has one, with the same grant. The old one holds as long as it is
/// valid, unless it is revoked.
pub fn renew_client(
    keys: &Keys,
    name: &str,
    days: u32,
    revoke_old: bool,
    now: u64,
) -> Result<CertificateEntry, Error> {
    names::check_client(name)?;
    let authority = Authority::load(keys)?;
    Register::change(keys, |register| {
        let mut own: Vec<_> = register
            .certificates
            .iter_mut()
            .filter(|entry| entry.name == name && entry.revoked.is_none())
            .collect();
        let Some(grant) = own.last().map(|entry| entry.grant.clone()) else {
            return Err(Error::unwanted(
                format!("{name} has no certificate that could be renewed"),
                format!(
                    "{} names all that there are, millpond keys issue makes the first of a client",
                    keys.command("keys list")
                ),
            ));
        };
        if revoke_old {
            own.iter_mut().for_each(|entry| entry.revoked = Some(now));
        }
        make(keys, &authority, register, name, grant, Term { now, not_after: after(now, days) })
    })
}

fn make(
    keys: &Keys,
    authority: &Authority,
    register: &mut Register,
    name: &str,
    grant: Grant,
    term: Term,
) -> Result<CertificateEntry, Error> {
    let pair = authority.client(name, term)?;
    files::make_folder(&keys.client(name))?;
    files::write(&keys.client_key(name), pair.key.as_bytes(), 0o600)?;
    files::write(&keys.client_certificate(name), pair.certificate.as_bytes(), 0o644)?;
    let entry = CertificateEntry {
        name: name.to_owned(),
        sha256: pair.sha256,
        not_after: term.not_after,
        grant,
        issued: term.now,
        revoked: None,
    };
    register.certificates.push(entry.clone());
    Ok(entry)
}
