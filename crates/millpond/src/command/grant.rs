//! What the commands for certificates and those for tokens share: flags, words for a grant, and how they fail.

use std::cmp::Reverse;
use std::path::PathBuf;

use clap::Args;
use millpond_cache::{Grant, Pattern, Rights};
use millpond_identity::{Error, Keys};

use crate::config::{Flags, PUSH_PORT, Settings};
use crate::exit::{Code, Failure};
use crate::names;

/// Which directory of keys.
#[derive(Debug, Args)]
pub(super) struct Folder {
    /// Find the directory of keys as this TOML file configures it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of keys, which lies beside the data and never in it [default: millpond-keys in the current directory]
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
}

impl Folder {
    /// It, with an absolute path.
    pub(super) fn keys(&self) -> Result<Keys, Failure> {
        let flag = match (&self.keys, &self.config) {
            (Some(keys), _) => format!("--keys {}", keys.display()),
            (None, Some(config)) => format!("--config {}", config.display()),
            (None, None) => String::new(),
        };
        let folder = self.settings()?.keys.value;
        Ok(Keys::at(&std::path::absolute(&folder).unwrap_or(folder)).found_by(flag))
    }

    /// Issuers and authorities that the configuration names, if one was given.
    pub(super) fn who_vouch(&self) -> Result<Option<Vec<String>>, Failure> {
        if self.config.is_none() {
            return Ok(None);
        }
        let Settings { issuers, authorities, .. } = self.settings()?;
        let issuers = issuers.into_iter().map(|issuer| issuer.name.value.0);
        Ok(Some(issuers.chain(authorities.into_iter().map(|authority| authority.name.value)).collect()))
    }

    /// The names of the server's certificate, if the configuration or the environment has one of somebody else's making.
    pub(super) fn certified_elsewhere(&self) -> Result<Option<Vec<String>>, Failure> {
        Ok(self.settings()?.certified_elsewhere())
    }

    fn settings(&self) -> Result<Settings, Failure> {
        let (config, keys) = (self.config.clone(), self.keys.clone());
        Settings::load(Flags { config, keys, ..Flags::default() })
    }
}

/// The port that clients are told of.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct PortFlag {
    /// The port of the server that stands in what is printed to be pasted [default: that for pushing of --config, or 11002]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
}

impl Folder {
    /// What is given, or the port of the configuration that is.
    pub(super) fn port(&self, flag: PortFlag) -> Result<u16, Failure> {
        Ok(match (flag.port, &self.config) {
            (Some(port), _) => port,
            (None, None) => PUSH_PORT,
            (None, Some(_)) => port_of(&self.settings()?),
        })
    }
}

/// That of the first listener where credentials are of use: behind TLS, for pushing if there is such a one.
pub(super) fn port_of(settings: &Settings) -> u16 {
    let mut ports: Vec<_> = (settings.listeners.iter())
        .filter(|listener| listener.tls.value && listener.address.port() != 0)
        .map(|listener| (Reverse(listener.allow.value.0.min(Rights::Push)), listener.address.port()))
        .collect();
    // Of equals the first stays the first.
    ports.sort_by_key(|(rights, _)| *rights);
    ports.first().map_or(PUSH_PORT, |(_, port)| *port)
}

/// How something is listed.
#[derive(Debug, Args)]
pub(super) struct ListFlags {
    #[command(flatten)]
    pub(super) folder: Folder,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What somebody may do, and where.
#[derive(Debug, Args)]
pub(super) struct GrantFlags {
    #[command(flatten)]
    rights: RightsFlags,

    /// Only artifacts of this project; PROJECT/ELEMENT/* and PROJECT* narrow or widen it [default: all names]
    #[arg(long = "project", id = "projects", value_name = "PROJECT")]
    projects: Vec<String>,

    /// Only names like this, * standing for anything, as in 'source:*' or 'artifact:team-*/*' [default: all names]
    #[arg(long = "name", id = "names", value_name = "PATTERN")]
    names: Vec<String>,

    /// Only instances like this, * standing for anything [default: all instances]
    #[arg(long = "instance", id = "instances", value_name = "INSTANCE")]
    instances: Vec<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct RightsFlags {
    /// It may look up and read
    #[arg(long)]
    pull: bool,
    /// It may upload and publish as well
    #[arg(long)]
    push: bool,
    /// It may do everything
    #[arg(long)]
    admin: bool,
}

impl GrantFlags {
    /// The grant that they ask for.
    pub(super) fn grant(self) -> Result<Grant, Failure> {
        let rights = match self.rights {
            RightsFlags { admin: true, .. } => Rights::Admin,
            RightsFlags { push: true, .. } => Rights::Push,
            RightsFlags { .. } => Rights::Pull,
        };
        let projects = self.projects.iter().map(|project| names::of_project(project));
        Ok(Grant {
            rights,
            instances: patterns("--instance", self.instances)?,
            names: [patterns("--project", projects)?, patterns("--name", self.names)?].concat(),
        })
    }
}

fn patterns(flag: &str, texts: impl IntoIterator<Item = String>) -> Result<Vec<Pattern>, Failure> {
    let checked = texts.into_iter().map(Pattern::new).collect::<Result<_, _>>();
    checked.map_err(|error| {
        Failure::new(Code::Usage, format!("{flag}: {error}"), "quote what has a * in it, as in 'team-*'")
    })
}

/// What a grant allows, in words.
pub(super) fn words(grant: &Grant) -> String {
    let list = |patterns: &[Pattern]| patterns.iter().map(Pattern::to_string).collect::<Vec<_>>().join(", ");
    let mut words = grant.rights.to_string();
    if !grant.names.is_empty() {
        words += &format!(" {}", list(&grant.names));
    }
    if !grant.instances.is_empty() {
        words += &format!(" in {}", list(&grant.instances));
    }
    words
}

/// Refuses to say of a directory that is not there that nobody is known in it.
pub(super) fn must_be_there(keys: &Keys) -> Result<(), Failure> {
    if keys.folder().is_dir() {
        return Ok(());
    }
    let sentence = format!("there is no directory {}", keys.folder().display());
    Err(Failure::new(
        Code::Usage,
        sentence,
        "give the directory of keys as --keys; `millpond keys init` makes one",
    ))
}

/// How a command ends that the directory of keys stands in the way of.
pub(super) fn failure(error: Error) -> Failure {
    let code = if matches!(error, Error::Unwanted { .. }) { Code::Usage } else { Code::Failed };
    Failure::new(code, error.to_string(), error.remedy())
}
