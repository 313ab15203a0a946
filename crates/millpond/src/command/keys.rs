//! `millpond keys`: the CA, the server's certificate and those of clients.

use std::io::{Write as _, stderr};

use clap::Subcommand;
use millpond_cache::{Clock, Deed};
use millpond_identity::{
    CertificateEntry, Keys, Register, ServerKeys, authority_for_clients, day, issue, revoke_certificates,
};
use serde_json::json;

use super::audit::write_down;
use super::grant::{Folder, GrantFlags, ListFlags, PortFlag, failure, must_be_there, words};
use super::hand_over::HandOver;
use super::listed::Listed;
use super::{print, print_json};
use crate::exit::{self, Code, Failure};

/// What is done with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a CA, and a key and certificate for the server
    #[command(after_help = exit::help())]
    Init {
        /// Host names and IP addresses that clients call the server by, the first of which stands in what they are
        /// given; localhost is added
        #[arg(required = true)]
        name: Vec<String>,
        #[command(flatten)]
        folder: Folder,
        /// Days that the server's certificate is valid
        #[arg(long, default_value_t = issue::SERVER_DAYS, value_parser = days())]
        days: u32,
    },
    /// Make a key and certificate for a client, and say what it may do
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
        #[arg(long, default_value_t = issue::CLIENT_DAYS, value_parser = days())]
        days: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the certificate that clients know the server by, in PEM; its fingerprint and its end go to standard error
    #[command(after_help = exit::help())]
    Ca {
        #[command(flatten)]
        folder: Folder,
    },
    /// List every certificate with what its holder may do
    #[command(after_help = exit::help())]
    List(ListFlags),
    /// Take a client's certificates back
    #[command(after_help = exit::help())]
    Revoke {
        /// Whose
        name: String,
        #[command(flatten)]
        folder: Folder,
    },
    /// Make a new key and certificate for a client or the server; the old one stays valid until it expires
    #[command(after_help = exit::help())]
    Renew {
        /// Whose: the name of a client, or `server`
        name: String,
        /// Host names and IP addresses for the server, instead of those that it has
        server_name: Vec<String>,
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        port: PortFlag,
        /// Days that it is valid [default: 365, for the server 825]
        #[arg(long, value_parser = days())]
        days: Option<u32>,
        /// Revoke the client's old certificates at once
        #[arg(long)]
        revoke_old: bool,
    },
}

/// A hundred years are enough, and every format of a date can tell them.
pub(super) fn days() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=36_500)
}

/// Does it.
pub(crate) fn run(command: Command) -> Result<(), Failure> {
    let now = Clock::unix_seconds();
    match command {
        Command::Init { name, folder, days, .. } => init(&name, &folder, days, now),
        Command::Issue { name, grant, folder, port, days, json } => {
            let (keys, grant, port) = (folder.keys()?, grant.grant()?, folder.port(port)?);
            let elsewhere = folder.certified_elsewhere()?;
            let entry = issue::client(&keys, &name, grant, days, now).map_err(failure)?;
            write_down(&keys, Deed::CertificateIssued, &name)?;
            hand_over(&keys, &entry, (port, elsewhere), json)
        }
        Command::Ca { folder } => ca(&folder),
        Command::List(ListFlags { folder, json }) => list(&folder.keys()?, json, now),
        Command::Revoke { name, folder } => revoke(&name, &folder, now),
        Command::Renew { name, server_name, folder, days, revoke_old, .. } if name == "server" => {
            if revoke_old {
                return Err(Failure::new(
                    Code::Usage,
                    "no certificate of a server can be revoked: clients would not hear of it",
                    "if its key is in wrong hands, begin anew in another directory of keys",
                ));
            }
            renew_server(&folder, &server_name, days.unwrap_or(issue::SERVER_DAYS), now)
        }
        Command::Renew { name, server_name, .. } if !server_name.is_empty() => Err(Failure::new(
            Code::Usage,
            format!("{} would be names of the server, and {name} is a client", server_name.join(" ")),
            "give one client at a time",
        )),
        Command::Renew { name, folder, port, days, revoke_old, .. } => {
            let (keys, port, elsewhere) = (folder.keys()?, folder.port(port)?, folder.certified_elsewhere()?);
            let days = days.unwrap_or(issue::CLIENT_DAYS);
            let entry = issue::renew_client(&keys, &name, days, revoke_old, now).map_err(failure)?;
            write_down(&keys, Deed::CertificateIssued, &name)?;
            if revoke_old {
                write_down(&keys, Deed::CertificateRevoked, &name)?;
            }
            hand_over(&keys, &entry, (port, elsewhere), false)
        }
    }
}

fn init(names: &[String], folder: &Folder, days: u32, now: u64) -> Result<(), Failure> {
    let keys = folder.keys()?;
    let not_after = issue::init(&keys, names, days, now).map_err(failure)?;
    write_down(&keys, Deed::ServerKeys, &server_names(&keys)?)?;
    let shown = keys.folder().display();
    print(&format!(
        "made in {shown}:\n  \
         ca.crt, ca.key          what clients know the server by, and certificates are issued with\n  \
         server.crt, server.key  for {}, valid until {}\n\
         keep ca.key to yourself; ca.crt is for every client\n\
         next, for each client one of these:\n  \
         {}\n  \
         {} > token\n",
        server_names(&keys)?,
        day(not_after),
        keys.command("keys issue NAME --push"),
        keys.command("tokens issue NAME --push")
    ))
}

fn server_names(keys: &Keys) -> Result<String, Failure> {
    Ok(ServerKeys::load(keys.folder()).map_err(failure)?.names.join(", "))
}

/// The certificate alone goes to standard output, so that `> ca.crt` makes the file that clients read.
fn ca(folder: &Folder) -> Result<(), Failure> {
    let keys = folder.keys()?;
    let other = folder.certified_elsewhere()?.map(|_| {
        "the server shows another certificate ([identity] of the configuration): clients know it by whoever signed that"
    });
    let (pem, fingerprint, not_after) =
        authority_for_clients(&keys).map_err(|error| match (failure(error), other) {
            (failure, Some(other)) => Failure::new(Code::Usage, failure.sentence(), other),
            (failure, None) => failure,
        })?;
    let other = other.map(|other| format!("{other}\n"));
    // Whether anybody reads it changes nothing about the certificate.
    let _ = write!(
        stderr(),
        "{}: SHA-256 {fingerprint}, valid until {}\n{}",
        keys.ca_certificate().display(),
        day(not_after),
        other.unwrap_or_default()
    );
    print(&String::from_utf8_lossy(&pem))
}

/// `server` is the port of the server, and the names of its certificate if that was not made here.
fn hand_over(
    keys: &Keys,
    entry: &CertificateEntry,
    server: (u16, Option<Vec<String>>),
    json: bool,
) -> Result<(), Failure> {
    let CertificateEntry { name, grant, not_after, .. } = entry;
    let (port, elsewhere) = server;
    let is_ours = elsewhere.is_none();
    let lines = HandOver::of_certificate(keys, grant, port, name).with_certificate_for(elsewhere);
    let (certificate, key, ca) =
        (keys.client_certificate(name), keys.client_key(name), keys.ca_certificate());
    if json {
        return print_json(&json!({
            "name": name,
            "sha256": entry.sha256,
            "not_after": not_after,
            "certificate": certificate,
            "key": key,
            "ca": is_ours.then_some(&ca),
            "url": lines.url(),
        }));
    }
    let and_ca = if is_ours { format!(" and {}", ca.display()) } else { String::new() };
    print(&format!(
        "made for {name}, valid until {}: {}\n  {}\n  {}\n\
         give it both{and_ca}; this is what it is configured with, with the paths where it keeps them:\n\n{lines}",
        day(*not_after),
        words(grant),
        certificate.display(),
        key.display()
    ))
}

fn list(keys: &Keys, json: bool, now: u64) -> Result<(), Failure> {
    must_be_there(keys)?;
    let register = Register::load(keys).map_err(failure)?;
    let clients: Vec<_> = register.certificates.iter().map(|entry| Listed::certificate(entry, now)).collect();
    let server = if keys.server_certificate().exists() {
        Some(ServerKeys::load(keys.folder()).map_err(failure)?)
    } else {
        None
    };
    if json {
        let server = server.map(|server| json!({ "names": server.names, "not_after": server.not_after }));
        return print_json(&json!({ "server": server, "clients": clients }));
    }
    let server = server.map(|server| {
        format!(
            "the server's certificate: {}, valid until {}\n",
            server.names.join(", "),
            day(server.not_after)
        )
    });
    let mut text = server.unwrap_or_default();
    text.extend(clients.iter().map(Listed::to_string));
    if clients.is_empty() {
        text += &format!("no client has a certificate in {}\n", keys.folder().display());
    }
    print(&text)
}

fn revoke(name: &str, folder: &Folder, now: u64) -> Result<(), Failure> {
    let keys = folder.keys()?;
    let count = revoke_certificates(&keys, name, now).map_err(failure)?;
    write_down(&keys, Deed::CertificateRevoked, name)?;
    let certificates =
        if count == 1 { "one certificate".to_owned() } else { format!("{count} certificates") };
    let register = Register::load(&keys).map_err(failure)?;
    let token = register.tokens.iter().any(|token| token.name == name && token.revoked.is_none());
    let token = token.then(|| {
        let revoke = keys.command(&format!("tokens revoke {name}"));
        format!("its token stays valid: {revoke} takes that back\n")
    });
    print(&format!("{certificates} of {name} revoked\n{}", token.unwrap_or_default()))
}

fn renew_server(folder: &Folder, names: &[String], days: u32, now: u64) -> Result<(), Failure> {
    let keys = folder.keys()?;
    let before = ServerKeys::load(keys.folder()).map(|server| server.names).unwrap_or_default();
    let not_after = issue::renew_server(&keys, names, days, now).map_err(failure)?;
    write_down(&keys, Deed::ServerKeys, &server_names(&keys)?)?;
    let now_for = ServerKeys::load(keys.folder()).map_err(failure)?.names;
    let gone = before.iter().filter(|name| !now_for.contains(name));
    let gone: Vec<_> = gone.map(String::as_str).collect();
    let clients = if gone.is_empty() {
        "clients need nothing new\n".to_owned()
    } else {
        format!("no longer for {}: clients that call it so are refused by their own TLS\n", gone.join(", "))
    };
    print(&format!(
        "made in {}:\n  server.crt, server.key  for {}, valid until {}\n{clients}",
        keys.folder().display(),
        server_names(&keys)?,
        day(not_after)
    ))
}
