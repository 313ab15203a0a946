//! `millpond tokens`: secrets that clients show instead of a certificate.

use std::io::{Write, stderr};
use std::path::PathBuf;

use clap::Subcommand;
use millpond_cache::{Clock, Deed};
use millpond_identity::{
    Keys, Recall, Register, TokenEntry, day, is_of_an_issuer, issue, recall, revoke_tokens,
};
use serde_json::json;

use super::audit::write_down;
use super::grant::{Folder, GrantFlags, ListFlags, PortFlag, failure, must_be_there, words};
use super::hand_over::HandOver;
use super::job::{Job, Service};
use super::keys::days;
use super::listed::Listed;
use super::{print, print_json};
use crate::exit::{self, Code, Failure};

/// What is done with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a token for a client, and say what it may do; it is printed once, and kept nowhere
    #[command(after_help = exit::help())]
    Issue {
        /// As whom it pushes, in the log and in what is kept
        name: String,
        #[command(flatten)]
        grant: GrantFlags,
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        port: PortFlag,
        /// Days that it is valid
        #[arg(long, default_value_t = issue::CLIENT_DAYS, value_parser = days(), conflicts_with = "no_expiry")]
        days: u32,
        /// It is valid until it is revoked
        #[arg(long)]
        no_expiry: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List every token with what its holder may do, without its secret
    #[command(after_help = exit::help())]
    List(ListFlags),
    /// Take tokens back
    #[command(after_help = exit::help())]
    Revoke {
        /// All of this client, or the one with this ID; of ISSUER:SUBJECT, * standing for anything, all until now
        #[arg(value_name = "NAME|ID|ISSUER:SUBJECT")]
        name: String,
        #[command(flatten)]
        folder: Folder,
    },
    /// Print what a CI job is configured with whose own tokens are taken
    #[command(after_help = exit::help())]
    Job {
        /// Who runs the job
        service: Service,
        /// The configuration file of the server, which has the issuer
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The issuer's name there, if there are several
        #[arg(long, value_name = "NAME")]
        issuer: Option<String>,
        /// The directory of keys [default: as in the configuration file]
        #[arg(long, value_name = "DIR")]
        keys: Option<PathBuf>,
    },
}

/// Does it.
pub(crate) fn run(command: Command) -> Result<(), Failure> {
    let now = Clock::unix_seconds();
    match command {
        Command::Issue { name, grant, folder, port, days, no_expiry, json } => {
            let days = (!no_expiry).then_some(days);
            let (keys, port, elsewhere) = (folder.keys()?, folder.port(port)?, folder.certified_elsewhere()?);
            let (token, entry) = issue::token(&keys, &name, grant.grant()?, days, now).map_err(failure)?;
            hand_over(&keys, &token, &entry, (port, elsewhere), json)
        }
        Command::List(ListFlags { folder, json }) => list(&folder.keys()?, json, now),
        Command::Job { service, config, issuer, keys } => {
            let keys = keys.as_deref().map(Keys::at);
            print(&Job::new(service, config, issuer.as_deref(), keys.as_ref())?.to_string())
        }
        Command::Revoke { name, folder } if is_of_an_issuer(&name) => {
            let keys = folder.keys()?;
            let known = known_issuer(&name, folder.who_vouch()?)?;
            recall(&keys, &name, now).map_err(failure)?;
            write_down(&keys, Deed::TokenRevoked, &name)?;
            print(&format!(
                "every token and certificate of {name} that an issuer or authority has issued until now is revoked{known}\n"
            ))
        }
        Command::Revoke { name, folder } => {
            let keys = folder.keys()?;
            let count = revoke_tokens(&keys, &name, now).map_err(failure)?;
            write_down(&keys, Deed::TokenRevoked, &name)?;
            let tokens = if count == 1 { "one token".to_owned() } else { format!("{count} tokens") };
            print(&format!("{tokens} of {name} revoked\n"))
        }
    }
}

/// Refuses to revoke what nobody vouches for who is configured; without a configuration, what is to be said of that.
fn known_issuer(name: &str, known: Option<Vec<String>>) -> Result<String, Failure> {
    let issuer = name.split(':').next().unwrap_or_default();
    match known {
        Some(known) if known.iter().any(|known| known == issuer) || issuer.contains('*') => Ok(String::new()),
        Some(known) => Err(Failure::new(
            Code::Usage,
            format!("the configuration has no issuer or authority {issuer}"),
            if known.is_empty() {
                "tokens and certificates that were issued here are revoked by their name or ID".to_owned()
            } else {
                format!("it has {}", known.join(", "))
            },
        )),
        None => Ok(format!(
            ",\nwhere the server's configuration has an issuer or authority {issuer}: with --config FILE that is looked up"
        )),
    }
}

/// `server` is the port of the server, and the names of its certificate if that was not made here.
fn hand_over(
    keys: &Keys,
    token: &str,
    entry: &TokenEntry,
    server: (u16, Option<Vec<String>>),
    json: bool,
) -> Result<(), Failure> {
    let name = &entry.name;
    // What cannot be written down is told after the token, which exists.
    let written = write_down(keys, Deed::TokenIssued, &format!("{name} ({})", entry.id));
    let (port, elsewhere) = server;
    let lines = HandOver::of_token(keys, &entry.grant, port).with_certificate_for(elsewhere);
    if json {
        let printed = print_json(&json!({
            "name": name,
            "id": entry.id,
            "token": token,
            "not_after": entry.expires,
            "url": lines.url(),
        }));
        return printed.and(written);
    }
    // The token alone goes to standard output, so that `> token` makes the file that clients read.
    let until = entry.expires.map_or("until it is revoked".to_owned(), |end| format!("until {}", day(end)));
    // Whether anybody reads it changes nothing about the token.
    let _ = write!(
        stderr(),
        "token {} of {name}, valid {until}: {}\n\
         it is not shown again, and only its hash is kept, in {}\n\
         this is what the client is configured with:\n\n{lines}\n",
        entry.id,
        words(&entry.grant),
        keys.register().display()
    );
    print(&format!("{token}\n")).and(written)
}

fn list(keys: &Keys, json: bool, now: u64) -> Result<(), Failure> {
    must_be_there(keys)?;
    let register = Register::load(keys).map_err(failure)?;
    let tokens: Vec<_> = register.tokens.iter().map(|entry| Listed::token(entry, now)).collect();
    let recalls = &register.recalls;
    if json {
        return print_json(&json!({ "tokens": tokens, "revoked_of_issuers": recalls }));
    }
    if tokens.is_empty() && recalls.is_empty() {
        return print(&format!("there is no token in {}\n", keys.folder().display()));
    }
    let recalled =
        |recall: &Recall| format!("{}  revoked if issued until {}\n", recall.names, day(recall.revoked));
    let tokens = tokens.iter().map(Listed::to_string);
    print(&tokens.chain(recalls.iter().map(recalled)).collect::<String>())
}
