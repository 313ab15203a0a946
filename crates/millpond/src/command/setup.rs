//! `millpond setup`: what a server needs to speak TLS to whom it knows, from nothing and without a question.
//!
//! **Invariant:** what is there stays as it is: keys, the configuration, and who was issued what, whether it was taken back
//! or not. So a second run changes nothing, and one that was broken off goes on where it was.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use millpond_cache::{Clock, Deed, Grant, Rights};
use millpond_identity::{Keys, Register, ServerKeys, issue, write_beside_keys};
use rustix::process::geteuid;

use super::audit::write_down;
use super::grant::failure;
use super::print;
use crate::config::{Flags, Settings};
use crate::exit::{self, Code, Failure};

mod words;

/// The configuration in the directory of keys, where no other is named.
const CONFIGURATION: &str = "millpond.toml";

/// What stands below the flags in `millpond setup --help`.
pub(super) fn after_help() -> String {
    format!("{EXAMPLES}\n\n{}", exit::help())
}

const EXAMPLES: &str = "\
Examples:
  millpond setup --domain cache.example.org --data /srv/millpond
  MILLPOND_DOMAIN=cache.example.org,192.0.2.10 millpond setup";

/// For whom it is done; flags of `serve` too.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct SetUpFlags {
    /// Host names and IP addresses that clients call the server by, when it is set up, with commas between several; the
    /// first stands in what they are given
    #[arg(long, value_name = "NAME", value_delimiter = ',', env = "MILLPOND_DOMAIN")]
    domain: Vec<String>,

    /// Whom the first key is for, when it is set up [default: pusher]
    #[arg(long, value_name = "NAME", env = "MILLPOND_PUSHER")]
    pusher: Option<String>,
}

/// For whom it is done, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct SetupFlags {
    #[command(flatten)]
    set_up: SetUpFlags,

    /// The configuration, written if it is not there [default: millpond.toml in the directory of keys]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The directory of keys [default: millpond-keys in the current directory]
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,

    /// The data directory that the configuration names [default: millpond-data in the current directory]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Does it, and prints how to go on.
pub(crate) fn run(flags: SetupFlags) -> Result<(), Failure> {
    let SetupFlags { set_up, config, keys, data } = flags;
    let done = SetUp::complete(&set_up, &config, &keys, &data)?;
    let configured = Settings::load(Flags { config: Some(done.config.clone()), ..Flags::default() })?;
    let others = [
        named_otherwise(&done.config, ("--data", &data), ("data in [store]", &configured.data.value)),
        named_otherwise(&done.config, ("--keys", &keys), ("keys in [identity]", &configured.keys.value)),
    ];
    for warning in done.warnings.iter().chain(others.iter().flatten()) {
        // Whether anybody reads it changes nothing.
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    print(&format!(
        "{done}\nstart it, and see that it serves:\n  millpond serve --config {}\n  millpond health --ready --config {}\n",
        done.config.display(),
        done.config.display()
    ))
}

/// Does what is not done yet, for `serve --setup`; what it is to serve with.
pub(super) fn before_serving(set_up: &SetUpFlags, flags: Flags) -> Result<Flags, Failure> {
    let done = SetUp::complete(set_up, &flags.config, &flags.keys, &flags.data)?;
    for warning in &done.warnings {
        tracing::warn!("{warning}");
    }
    if done.changed {
        // Nobody has to be reading for the server to serve.
        let _ = io::stderr().write_all(done.to_string().as_bytes());
    }
    Ok(Flags { config: Some(done.config), ..flags })
}

/// A server that is set up.
struct SetUp {
    keys: Keys,
    server: ServerKeys,
    /// Absolute.
    config: PathBuf,
    settings: Settings,
    /// Who pushes, with the last second of the certificate, unless it was taken back.
    pusher: Option<(String, u64)>,
    warnings: Vec<String>,
    /// Something was made.
    changed: bool,
}

impl SetUp {
    fn complete(
        wanted: &SetUpFlags,
        config: &Option<PathBuf>,
        keys: &Option<PathBuf>,
        data: &Option<PathBuf>,
    ) -> Result<Self, Failure> {
        let settings = |config: Option<PathBuf>| {
            let (keys, data) = (keys.clone(), data.clone());
            Settings::load(Flags { config, keys, data, ..Flags::default() })
        };
        let before = settings(config.clone().filter(|path| path.exists()))?;
        let folder = absolute(&before.keys.value);
        let config = config.as_ref().map_or_else(|| folder.join(CONFIGURATION), |config| absolute(config));
        let flag = keys.as_ref().map_or(String::new(), |keys| format!("--keys {}", keys.display()));
        let keys = Keys::at(&folder).found_by(flag);
        let domain: Vec<_> =
            wanted.domain.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
        check_owner(&folder)?;

        let mut changed = make_keys(&keys, &domain)?;
        if !config.exists() {
            let written = words::configuration(&folder, &absolute(&before.data.value))?;
            write_beside_keys(&config, written.as_bytes()).map_err(failure)?;
            changed = true;
        }
        let named = wanted.pusher.as_deref().filter(|name| !name.is_empty());
        let pusher = named.unwrap_or("pusher");
        changed |= issue_first(&keys, pusher)?;
        let register = Register::load(&keys).map_err(failure)?;
        let not_issued = named.and_then(|name| not_issued(&keys, &register, name));
        let mut valid = register.certificates.iter().filter(|entry| entry.revoked.is_none());
        let pusher = valid.rfind(|entry| entry.name == pusher);
        let pusher = pusher.map(|entry| (entry.name.clone(), entry.not_after));
        let server = ServerKeys::load(&folder).map_err(failure)?;
        let settings = settings(Some(config.clone()))?;
        let not_named = not_named(&keys, &server, &domain).filter(|_| settings.certifies_itself());
        let warnings = not_named.into_iter().chain(not_issued).collect();
        Ok(Self { keys, server, config, settings, pusher, warnings, changed })
    }
}

/// That a directory is left as the configuration has it, which was there before.
fn named_otherwise(
    config: &Path,
    (flag, given): (&str, &Option<PathBuf>),
    (key, configured): (&str, &Path),
) -> Option<String> {
    let given = given.as_ref().map(|given| absolute(given)).filter(|given| *given != absolute(configured))?;
    Some(format!(
        "{flag} {} is not taken up, since {} has {} and stays as it is: change {key} there",
        given.display(),
        config.display(),
        configured.display()
    ))
}

/// That nobody of this name is issued a key, since others were.
fn not_issued(keys: &Keys, register: &Register, name: &str) -> Option<String> {
    // One that was taken back stays so.
    let known = register.certificates.iter().any(|entry| entry.name == name);
    (!known).then(|| {
        format!(
            "{name} is issued no key, since others were issued keys or tokens, and they stay as they are: `{}` issues one",
            keys.command(&format!("keys issue {name} --push"))
        )
    })
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Says of a directory of somebody else's what to do where it was mounted for this user, of which no other command knows.
fn check_owner(folder: &Path) -> Result<(), Failure> {
    let Ok(found) = fs::metadata(folder) else { return Ok(()) };
    let (owner, user) = (found.uid(), geteuid().as_raw());
    // What is complete may be read only.
    if owner == user || Keys::at(folder).server_certificate().exists() {
        return Ok(());
    }
    let shown = folder.display();
    Err(Failure::new(
        Code::NotWritable,
        format!(
            "the directory of keys {shown} belongs to the user with the number {owner}, and this runs as {user}"
        ),
        format!("give it to this user (`chown {user} DIR` where it comes from), or run as that one"),
    ))
}

/// Whether keys had to be made.
fn make_keys(keys: &Keys, domain: &[String]) -> Result<bool, Failure> {
    let [authority, own] = [keys.ca_certificate(), keys.server_certificate()].map(|path| path.exists());
    if own {
        return Ok(false);
    }
    if domain.is_empty() {
        return Err(Failure::new(
            Code::Usage,
            format!(
                "there are no keys in {}, and nobody said what clients call the server by",
                keys.folder().display()
            ),
            "set MILLPOND_DOMAIN or give --domain: the server's host name or IP address, as in cache.example.org",
        ));
    }
    let now = Clock::unix_seconds();
    // One that was broken off has left the CA alone.
    let made = if authority { issue::renew_server } else { issue::init };
    made(keys, domain, issue::SERVER_DAYS, now).map_err(failure)?;
    write_down(keys, Deed::ServerKeys, &domain.join(", "))?;
    Ok(true)
}

/// Whether a first client was issued a key: only where nobody ever was issued anything.
fn issue_first(keys: &Keys, name: &str) -> Result<bool, Failure> {
    let register = Register::load(keys).map_err(failure)?;
    if !register.certificates.is_empty() || !register.tokens.is_empty() || !keys.ca_key().exists() {
        return Ok(false);
    }
    let grant = Grant { rights: Rights::Push, instances: Vec::new(), names: Vec::new() };
    issue::client(keys, name, grant, issue::CLIENT_DAYS, Clock::unix_seconds()).map_err(failure)?;
    write_down(keys, Deed::CertificateIssued, name)?;
    Ok(true)
}

/// That clients will not know the server by all of these names.
fn not_named(keys: &Keys, server: &ServerKeys, domain: &[String]) -> Option<String> {
    let missing: Vec<_> = domain
        .iter()
        .filter(|name| !server.names.iter().any(|known| known.eq_ignore_ascii_case(name)))
        .map(String::as_str)
        .collect();
    let all = keys.command(&format!("keys renew server {}", domain.join(" ")));
    (!missing.is_empty()).then(|| {
        format!(
            "the server's certificate is for {}, and not for {}: `{all}` makes one that is",
            server.names.join(", "),
            missing.join(", ")
        )
    })
}
