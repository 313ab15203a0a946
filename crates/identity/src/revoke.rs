//! Taking back what was issued. The entry stays, so that whoever shows the credential is told why.

use millpond_cache::Pattern;

use crate::{Error, Keys, Recall, Register, token};

/// Revokes every certificate of this name, at `now` in Unix seconds; returns how many there were.
pub fn revoke_certificates(keys: &Keys, name: &str, now: u64) -> Result<usize, Error> {
    Register::change(keys, |register| {
        let own = register.certificates.iter_mut().filter(|entry| entry.name == name);
        revoke(
            own.map(|entry| &mut entry.revoked),
            now,
            &format!("certificate of {name}"),
            &keys.command("keys list"),
        )
    })
}

/// Revokes every token of this name, or the one with this ID, at `now` in Unix seconds; returns how many there were.
pub fn revoke_tokens(keys: &Keys, name_or_id: &str, now: u64) -> Result<usize, Error> {
    let by_id = token::is_id(name_or_id);
    Register::change(keys, |register| {
        let own = register
            .tokens
            .iter_mut()
            .filter(|entry| if by_id { entry.id == name_or_id } else { entry.name == name_or_id });
        let what =
            if by_id { format!("token with the ID {name_or_id}") } else { format!("token of {name_or_id}") };
        revoke(own.map(|entry| &mut entry.revoked), now, &what, &keys.command("tokens list"))
    })
}

/// Whether a name is that of somebody whom an issuer knows, and not of somebody who was issued something here.
pub fn is_of_an_issuer(name: &str) -> bool {
    name.contains(':')
}

/// Takes back every token of issuers whose holder has a name like this, `*` standing for anything: those that were issued
/// until `now` in Unix seconds. What is issued later holds.
pub fn recall(keys: &Keys, names: &str, now: u64) -> Result<(), Error> {
    let names = Pattern::new(names).map_err(|error| {
        Error::unwanted(
            error.to_string(),
            "give a name as the log has it, such as gitlab:project_path:team/*",
        )
    })?;
    Register::change(keys, |register| {
        register.recalls.retain(|recall| recall.names != names);
        register.recalls.push(Recall { names, revoked: now });
        Ok(())
    })
}

fn revoke<'a>(
    entries: impl Iterator<Item = &'a mut Option<u64>>,
    now: u64,
    what: &str,
    list: &str,
) -> Result<usize, Error> {
    let (mut known, mut revoked) = (0, 0);
    for entry in entries {
        known += 1;
        if entry.is_none() {
            *entry = Some(now);
            revoked += 1;
        }
    }
    let lists = format!("{list} names all that there are");
    match (known, revoked) {
        (0, _) => Err(Error::unwanted(format!("there is no {what}"), lists)),
        (_, 0) => Err(Error::unwanted(format!("every {what} was revoked already"), lists)),
        _ => Ok(revoked),
    }
}
