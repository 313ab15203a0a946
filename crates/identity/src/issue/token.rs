//! Tokens.

use millpond_cache::Grant;

use super::{after, names};
use crate::token::{make, parts};
use crate::{Error, Keys, Register, TokenEntry};

/// Makes a token, valid for so many days from `now` in Unix seconds, or until it is revoked. It is returned with its entry,
/// and kept nowhere.
pub fn token(
    keys: &Keys,
    name: &str,
    grant: Grant,
    days: Option<u32>,
    now: u64,
) -> Result<(String, TokenEntry), Error> {
    names::check_client(name)?;
    Register::change(keys, |register| {
        if register.tokens.iter().any(|entry| entry.name == name && entry.revoked.is_none()) {
            return Err(Error::unwanted(
                format!("{name} has a token already"),
                format!("give another name, or {} first", keys.command(&format!("tokens revoke {name}"))),
            ));
        }
        loop {
            let token = make()?;
            // Four random bytes are the same again now and then.
            let Some(parts) =
                parts(&token).filter(|parts| register.tokens.iter().all(|entry| entry.id != parts.id))
            else {
                continue;
            };
            let entry = TokenEntry {
                name: name.to_owned(),
                id: parts.id.to_owned(),
                sha256: parts.sha256,
                expires: days.map(|days| after(now, days)),
                grant,
                issued: now,
                revoked: None,
            };
            register.tokens.push(entry.clone());
            return Ok((token, entry));
        }
    })
}
