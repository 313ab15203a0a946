//! `millpond tokens job`: what a CI job is configured with, to show its own token instead of one that is issued here.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use clap::ValueEnum;
use millpond_cache::Rights;
use millpond_identity::Keys;

use super::grant::port_of;
use super::hand_over::HandOver;
use crate::config::{Flags, Issuer, Settings};
use crate::exit::{Code, Failure};

/// What GitHub's tokens name as their issuer.
const GITHUB: &str = "https://token.actions.githubusercontent.com";

/// Who runs the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Service {
    /// A job of GitLab CI/CD, as in .gitlab-ci.yml
    Gitlab,
    /// A job of GitHub Actions, as in .github/workflows/NAME.yml
    Github,
}

/// A job that pulls, and pushes where its token allows that.
#[derive(Debug)]
pub(super) struct Job {
    service: Service,
    audience: String,
    /// Where the server is.
    url: String,
    push: bool,
    /// Clients know the server by a CA of its own.
    own_authority: bool,
}

impl Job {
    /// A job whose tokens a server takes that is configured by this file.
    pub(super) fn new(
        service: Service,
        config: PathBuf,
        issuer: Option<&str>,
        keys: Option<&Keys>,
    ) -> Result<Self, Failure> {
        let named = config.display().to_string();
        let settings = Settings::load(Flags { config: Some(config), ..Flags::default() })?;
        let configured = Keys::at(&settings.keys.value);
        let keys = keys.unwrap_or(&configured);
        let issuer = choose(service, &settings.issuers, issuer, &named)?;
        let elsewhere = settings.certified_elsewhere();
        let own_authority = elsewhere.is_none() && keys.ca_certificate().exists();
        Ok(Self {
            service,
            audience: issuer.audience.value.0.first().cloned().unwrap_or_default(),
            url: HandOver::url_of(keys, &elsewhere.unwrap_or_default(), port_of(&settings)),
            push: issuer.most() >= Rights::Push,
            own_authority,
        })
    }

    /// The configuration of BuildStream, each line behind this space.
    fn write_remote(&self, to: &mut Formatter<'_>, space: &str, token: &str) -> fmt::Result {
        writeln!(to, "{space}artifacts:\n{space}  servers:\n{space}  - url: {}", self.url)?;
        if self.push {
            writeln!(to, "{space}    push: true")?;
        }
        writeln!(to, "{space}    auth:\n{space}      access-token: {token}")?;
        if self.own_authority { writeln!(to, "{space}      server-cert: $MILLPOND_CA") } else { Ok(()) }
    }

    fn write_gitlab(&self, to: &mut Formatter<'_>) -> fmt::Result {
        if self.own_authority {
            writeln!(to, "# MILLPOND_CA is a CI/CD variable of the type file, with the server's ca.crt.")?;
        }
        writeln!(
            to,
            "build:\n  id_tokens:\n    MILLPOND_TOKEN:\n      aud: {}\n  script:",
            yaml(&self.audience)
        )?;
        writeln!(to, "    - |")?;
        writeln!(to, "      MILLPOND_TOKEN_FILE=$(mktemp)")?;
        writeln!(to, "      printf %s \"$MILLPOND_TOKEN\" > \"$MILLPOND_TOKEN_FILE\"")?;
        self.write_build(to, "      ")
    }

    fn write_github(&self, to: &mut Formatter<'_>) -> fmt::Result {
        if self.own_authority {
            writeln!(to, "# MILLPOND_CA is a variable of the repository, with the server's ca.crt.")?;
        }
        writeln!(
            to,
            "permissions:\n  id-token: write\n  contents: read\njobs:\n  build:\n    runs-on: ubuntu-latest"
        )?;
        writeln!(to, "    steps:\n      - uses: actions/checkout@v4\n      - shell: bash")?;
        writeln!(to, "        env:\n          MILLPOND_AUDIENCE: {}", yaml(&self.audience))?;
        if self.own_authority {
            writeln!(to, "          MILLPOND_CA_TEXT: ${{{{ vars.MILLPOND_CA }}}}")?;
        }
        writeln!(to, "        run: |")?;
        if self.own_authority {
            writeln!(to, "          MILLPOND_CA=$(mktemp)")?;
            writeln!(to, "          printf '%s\\n' \"$MILLPOND_CA_TEXT\" > \"$MILLPOND_CA\"")?;
        }
        writeln!(to, "          MILLPOND_TOKEN_FILE=$(mktemp)")?;
        writeln!(
            to,
            "          curl --fail --silent --show-error --get \"$ACTIONS_ID_TOKEN_REQUEST_URL\" \\"
        )?;
        writeln!(to, "            --data-urlencode \"audience=$MILLPOND_AUDIENCE\" \\")?;
        writeln!(to, "            --header \"Authorization: bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN\" |")?;
        writeln!(to, "            jq --raw-output --join-output .value > \"$MILLPOND_TOKEN_FILE\"")?;
        self.write_build(to, "          ")
    }

    fn write_build(&self, to: &mut Formatter<'_>, space: &str) -> fmt::Result {
        writeln!(to, "{space}cat > buildstream-ci.conf <<END")?;
        self.write_remote(to, space, "$MILLPOND_TOKEN_FILE")?;
        writeln!(to, "{space}END\n{space}bst --config buildstream-ci.conf build ELEMENT.bst")
    }
}

impl Display for Job {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        match self.service {
            Service::Gitlab => self.write_gitlab(to),
            Service::Github => self.write_github(to),
        }
    }
}

/// Text as YAML has it in any place.
fn yaml(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The issuer of this name, or else the only one that may be of this service.
fn choose<'s>(
    service: Service,
    issuers: &'s [Issuer],
    named: Option<&str>,
    file: &str,
) -> Result<&'s Issuer, Failure> {
    let fits = |issuer: &&Issuer| match named {
        Some(name) => issuer.name.value.0 == name,
        None => (issuer.url.value.text == GITHUB) == (service == Service::Github),
    };
    let mut fitting = issuers.iter().filter(fits);
    let (sentence, hint) = match (fitting.next(), fitting.next()) {
        (Some(issuer), None) => return Ok(issuer),
        (Some(one), Some(other)) => (
            format!(
                "{file} has several issuers that it may be for: {} and {}",
                one.name.value, other.name.value
            ),
            "say which by --issuer NAME",
        ),
        (None, _) => (
            format!("{file} has no [[issuer]] that it may be for"),
            "write one with an [[issuer.grant]]; `millpond config init` prints how",
        ),
    };
    Err(Failure::new(Code::Usage, sentence, hint))
}
