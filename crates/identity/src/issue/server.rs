//! The CA, and the server's certificate.

use std::net::IpAddr;

use super::signing::{Authority, Pair, Term};
use super::{CA_DAYS, after};
use crate::files::{self, Turn};
use crate::{Error, Keys, ServerKeys};

/// Names that every server's certificate is for as well: this machine's own for itself.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Makes a CA, and by it a server's certificate for these host names and addresses. Replaces nothing. Returns the last
/// second in which the certificate is valid, as `now` in Unix seconds.
pub fn init(keys: &Keys, names: &[String], days: u32, now: u64) -> Result<u64, Error> {
    let _turn = Turn::take(keys)?;
    let paths = [keys.ca_certificate(), keys.ca_key(), keys.server_certificate(), keys.server_key()];
    // Made by one that was broken off right there, it has signed nothing yet.
    let is_begun =
        paths.iter().filter(|path| path.exists()).eq([&keys.ca_key()]) && !keys.register().exists();
    if let Some(there) = paths.iter().find(|path| path.exists()).filter(|_| !is_begun) {
        return Err(Error::unwanted(
            format!("{} is there already, and has been left as it is", there.display()),
            format!(
                "{} makes a new certificate for the server; --keys DIR names another directory",
                keys.command("keys renew server")
            ),
        ));
    }
    let not_after = after(now, days);
    let term = Term { now, not_after: not_after.max(after(now, CA_DAYS)) };
    let (authority, ca) = Authority::make(names.first().map_or("millpond", String::as_str), term)?;
    let server = authority.server(&with_local(names), Term { now, not_after })?;
    files::write(&keys.ca_key(), ca.key.as_bytes(), 0o600)?;
    files::write(&keys.ca_certificate(), ca.certificate.as_bytes(), 0o644)?;
    write(keys, &server)?;
    Ok(not_after)
}

/// Makes a new key and certificate for the server: for these names, or those that it has if there are none. Returns the
/// last second in which it is valid, as `now` in Unix seconds.
pub fn renew_server(keys: &Keys, names: &[String], days: u32, now: u64) -> Result<u64, Error> {
    let authority = Authority::load(keys)?;
    let _turn = Turn::take(keys)?;
    let names = if names.is_empty() { ServerKeys::read(keys)?.names } else { names.to_vec() };
    let not_after = after(now, days);
    write(keys, &authority.server(&with_local(&names), Term { now, not_after })?)?;
    Ok(not_after)
}

fn write(keys: &Keys, server: &Pair) -> Result<(), Error> {
    files::write(&keys.server_key(), server.key.as_bytes(), 0o600)?;
    files::write(&keys.server_certificate(), server.certificate.as_bytes(), 0o644)
}

/// These names and the local ones, each once.
fn with_local(names: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in names.iter().map(String::as_str).chain(LOCAL) {
        // Addresses have several forms, and one that clients compare.
        let name =
            name.parse::<IpAddr>().map_or_else(|_| name.to_ascii_lowercase(), |address| address.to_string());
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}
