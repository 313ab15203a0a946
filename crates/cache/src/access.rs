//! May they? The only file that makes permits, which every call of the domain demands: a forgotten check does not
//! compile.
//!
//! **Invariant:** a [`Permit`] is made by [`Access`] alone, for one right, one instance and one client; and an
//! [`Allowed`] name by a permit that covers it. Nothing is published and nothing looked up but by such a name.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use millpond_store::catalog::Name;

use crate::name::short;
use crate::{Error, InstanceName, Pattern, Result};

/// The right to look up and read.
#[derive(Clone, Copy, Debug)]
pub enum Pull {}

/// The right to upload and publish.
#[derive(Clone, Copy, Debug)]
pub enum Push {}

/// The right to look into and change everything.
#[derive(Clone, Copy, Debug)]
pub enum Admin {}

/// Who is calling, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// The name of the identity; empty for an anonymous client.
    pub identity: String,
    /// Where from.
    pub address: Option<IpAddr>,
}

/// What may be done, each right including the ones before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rights {
    /// Nothing.
    #[default]
    Nothing,
    /// Look up and read.
    Pull,
    /// Upload and publish as well.
    Push,
    /// Everything.
    Admin,
}

/// What an identity may do, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What.
    pub rights: Rights,
    /// In instances whose names match one of these; in all if there is none.
    pub instances: Vec<Pattern>,
    /// To names that match one of these; to all if there is none. Matched against `artifact:PROJECT/ELEMENT/KEY` for
    /// artifacts of both BuildStreams, `source:KEY`, `action:HASH/SIZE`, and the URI of anything else.
    pub names: Vec<Pattern>,
}

impl Grant {
    /// Rights everywhere.
    pub fn everywhere(rights: Rights) -> Self {
        Self { rights, instances: Vec::new(), names: Vec::new() }
    }

    /// Limited to neither instances nor names.
    fn is_for_everything(&self) -> bool {
        self.instances.is_empty() && self.names.is_empty()
    }

    fn covers_instance(&self, instance: &InstanceName) -> bool {
        covers(&self.instances, instance.as_str())
    }
}

fn covers(patterns: &[Pattern], text: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(text))
}

/// Somebody who has shown a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// As whom they push, in the log and in what is kept.
    pub name: String,
    /// What they may do, together.
    pub grants: Vec<Grant>,
    /// What it lacks for having more of them, if its credential could have it: a part of a sentence.
    pub lacks: Option<String>,
}

/// What a listener lets its clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// At most, whoever they are.
    pub most: Rights,
    /// Without a credential.
    pub anonymous: Rights,
}

impl Bounds {
    /// Pull and push, for everybody who can connect.
    pub const OPEN: Self = Self { most: Rights::Push, anonymous: Rights::Push };
    /// Pull, for everybody who can connect, and nothing else.
    pub const PULL_ONLY: Self = Self { most: Rights::Pull, anonymous: Rights::Pull };
    /// Everything, for those who are known, and nothing for anybody else.
    pub const ADMIN_ONLY: Self = Self { most: Rights::Admin, anonymous: Rights::Nothing };
}

/// What one call may do: as far as the listener lets it that it came by, and the credential that it showed.
#[derive(Clone, Debug)]
pub struct Access {
    bounds: Bounds,
    who: Who,
}

#[derive(Clone, Debug)]
enum Who {
    Anonymous,
    Known(Arc<Identity>),
    Refused { reason: Arc<str>, name: Option<Arc<str>> },
}

/// Proof that a client may do something in an instance.
#[derive(Clone, Debug)]
pub struct Permit<Right> {
    instance: InstanceName,
    client: Client,
    /// Whose grants say which names; `None` if everybody has the right here.
    identity: Option<Arc<Identity>>,
    right: PhantomData<Right>,
}

impl Access {
    /// Of a client that showed no credential.
    pub fn anonymous(bounds: Bounds) -> Self {
        Self { bounds, who: Who::Anonymous }
    }

    /// Of a client that is known.
    pub fn known(bounds: Bounds, identity: Arc<Identity>) -> Self {
        Self { bounds, who: Who::Known(identity) }
    }

    /// Of a client whose credential was refused, for this reason: it may do nothing, not even what everybody may. The name is
    /// that of the identity that the credential was issued to, where that is beyond doubt.
    pub fn refused(bounds: Bounds, reason: impl Into<Arc<str>>, name: Option<&str>) -> Self {
        Self { bounds, who: Who::Refused { reason: reason.into(), name: name.map(Arc::from) } }
    }

    /// Whose credential was shown that does not hold any more, where that is beyond doubt.
    pub fn refused_name(&self) -> Option<&str> {
        match &self.who {
            Who::Refused { name, .. } => name.as_deref(),
            Who::Known(_) | Who::Anonymous => None,
        }
    }

    /// Whether a credential was shown that does not hold.
    pub fn is_refused(&self) -> bool {
        matches!(self.who, Who::Refused { .. })
    }

    /// The name of the identity; empty for an anonymous client.
    pub fn identity(&self) -> &str {
        match &self.who {
            Who::Known(identity) => &identity.name,
            Who::Anonymous | Who::Refused { .. } => "",
        }
    }

    /// Whether somebody who is known was granted something, and may not only do what everybody may.
    pub fn has_grants(&self) -> bool {
        matches!(&self.who, Who::Known(identity) if !identity.grants.is_empty())
    }

    /// Whether the call may push something somewhere.
    pub fn may_push(&self) -> bool {
        self.most(|_| true) >= Rights::Push
    }

    /// Refuses whoever may do nothing anywhere, before anything else is asked.
    pub fn may_do_something(&self) -> Result<()> {
        if self.most(|_| true) > Rights::Nothing { Ok(()) } else { Err(self.refusal(Rights::Pull)) }
    }

    /// A permit to pull from `instance`.
    pub fn pull(&self, instance: InstanceName, client: &Client) -> Result<Permit<Pull>> {
        self.permit(Rights::Pull, instance, client)
    }

    /// A permit to push to `instance`.
    pub fn push(&self, instance: InstanceName, client: &Client) -> Result<Permit<Push>> {
        self.permit(Rights::Push, instance, client)
    }

    /// A permit to administer the cache, where an instance matters this one. Whoever may do everything in some instances or
    /// to some names alone has none: what is seen and done with it does not end there.
    pub fn admin(&self, instance: InstanceName, client: &Client) -> Result<Permit<Admin>> {
        if self.most(Grant::is_for_everything) < Rights::Admin {
            return Err(self.refusal(Rights::Admin));
        }
        self.permit(Rights::Admin, instance, client)
    }

    fn permit<Right>(
        &self,
        wanted: Rights,
        instance: InstanceName,
        client: &Client,
    ) -> Result<Permit<Right>> {
        if self.most(|grant| grant.covers_instance(&instance)) < wanted {
            return Err(self.refusal(wanted));
        }
        let identity = match &self.who {
            Who::Known(identity) if self.bounds.anonymous < wanted => Some(Arc::clone(identity)),
            Who::Known(_) | Who::Anonymous | Who::Refused { .. } => None,
        };
        Ok(Permit { instance, client: client.clone(), identity, right: PhantomData })
    }

    /// The most that the listener and those grants allow that are asked for.
    fn most(&self, asked_for: impl Fn(&Grant) -> bool) -> Rights {
        let own = match &self.who {
            Who::Refused { .. } => Rights::Nothing,
            Who::Anonymous => self.bounds.anonymous,
            Who::Known(identity) => {
                let grants = identity.grants.iter().filter(|grant| asked_for(grant));
                // Whoever is known may do what everybody may.
                grants.map(|grant| grant.rights).max().unwrap_or_default().max(self.bounds.anonymous)
            }
        };
        own.min(self.bounds.most)
    }

    fn refusal(&self, wanted: Rights) -> Error {
        let (deed, deeds) = match wanted {
            Rights::Nothing | Rights::Pull => ("pull", "pulls"),
            Rights::Push => ("push", "pushes"),
            Rights::Admin => return self.refusal_to_administer(),
        };
        match &self.who {
            Who::Refused { reason, .. } => Error::Unauthenticated(reason.to_string()),
            _ if self.bounds.most == Rights::Pull => Error::Denied(
                "this address serves pulls only: take `push: true` off this remote, or use the address for pushing"
                    .into(),
            ),
            Who::Anonymous => {
                let words = format!(
                    "{deeds} here need a credential: give client-cert and client-key or access-token in the remote's `auth`, which the operator of this cache issues"
                );
                // BuildStream 1 asks whether it may upload even where it is to pull only, and takes no other code than
                // PERMISSION_DENIED for a no.
                if wanted == Rights::Pull { Error::Unauthenticated(words) } else { Error::Denied(words) }
            }
            Who::Known(identity) => {
                let lacks = identity.lacks.as_ref().map_or_else(String::new, |lacks| format!(", since {lacks}"));
                Error::Denied(format!(
                    "{} may not {deed} here{lacks}: ask the operator of this cache for the right to, or take `push: true` off this remote",
                    identity.name
                ))
            }
        }
    }

    fn refusal_to_administer(&self) -> Error {
        match &self.who {
            Who::Refused { reason, .. } => Error::Unauthenticated(reason.to_string()),
            Who::Anonymous => Error::Unauthenticated(
                "administration needs a credential here: show a certificate or token that was issued with --admin"
                    .into(),
            ),
            Who::Known(identity) => Error::Denied(format!(
                "{} may not administer this cache: that takes a certificate or token issued with --admin, limited to no \
                 instance, project or name, and an address that allows it",
                identity.name
            )),
        }
    }
}

impl<Right> Permit<Right> {
    /// The instance it is for.
    pub fn instance(&self) -> &InstanceName {
        &self.instance
    }

    /// Who holds it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    fn covers(&self, wanted: Rights, name: &Name) -> bool {
        let Some(identity) = &self.identity else { return true };
        let mut grants = (identity.grants.iter())
            .filter(|grant| grant.rights >= wanted && grant.covers_instance(&self.instance));
        let short = short(name);
        grants.any(|grant| covers(&grant.names, &short))
    }
}

impl Permit<Admin> {
    /// Who may do everything may pull.
    pub fn to_pull(&self) -> Permit<Pull> {
        let (instance, client, identity) =
            (self.instance.clone(), self.client.clone(), self.identity.clone());
        Permit { instance, client, identity, right: PhantomData }
    }
}

impl Permit<Push> {
    /// Who may push may pull.
    pub fn to_pull(&self) -> Permit<Pull> {
        let (instance, client, identity) =
            (self.instance.clone(), self.client.clone(), self.identity.clone());
        Permit { instance, client, identity, right: PhantomData }
    }

    /// The name, if the permit covers it; else given back, with what to say.
    pub(crate) fn publishes(&self, name: Name) -> Result<Allowed, (Name, Error)> {
        if self.covers(Rights::Push, &name) {
            return Ok(Allowed(name));
        }
        let error = Error::Denied(format!(
            "{} may not push {}: ask the operator of this cache for a grant that covers it",
            self.client.identity,
            short(&name).chars().take(300).collect::<String>()
        ));
        Err((name, error))
    }
}

impl Permit<Pull> {
    /// The name, if the permit covers it; else it is as if it were not there, so that a build goes on.
    pub(crate) fn looks_up(&self, name: Name) -> Result<Allowed> {
        if self.covers(Rights::Pull, &name) {
            return Ok(Allowed(name));
        }
        tracing::debug!(
            identity = self.client.identity,
            name = &*name.text,
            "a look-up that no grant covers"
        );
        Err(Error::NotFound(name.text.chars().take(300).collect()))
    }
}

/// A name that somebody was allowed to publish or look up.
#[derive(Clone, Debug)]
pub(crate) struct Allowed(Name);

impl Allowed {
    /// A name that was published: whoever did so was allowed to.
    pub(crate) fn stored(name: &Name) -> Self {
        Self(name.clone())
    }

    /// The name.
    pub(crate) fn into_name(self) -> Name {
        self.0
    }
}

impl Deref for Allowed {
    type Target = Name;

    fn deref(&self) -> &Name {
        &self.0
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Nothing => "none",
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Admin => "admin",
        })
    }
}
