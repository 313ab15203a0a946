//! May they? The only file that makes permits, which every call of the domain demands: a forgotten check does not
//! compile.
//!
//! **Invariant:** a [`Permit`] is made by [`Access`] alone, for one right, one instance and one client.

use std::marker::PhantomData;
use std::net::IpAddr;

use crate::{Error, InstanceName, Result};

/// The right to look up and read.
#[derive(Clone, Copy, Debug)]
pub enum Pull {}

/// The right to upload and publish.
#[derive(Clone, Copy, Debug)]
pub enum Push {}

/// Who is calling, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// The name of the identity; empty for an anonymous client.
    pub identity: String,
    /// Where from.
    pub address: Option<IpAddr>,
}

/// What a listener lets its clients do at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Pull and push, for everybody who can connect.
    Open,
    /// Pull only.
    PullOnly,
}

/// Proof that a client may do something in an instance.
#[derive(Clone, Debug)]
pub struct Permit<Right> {
    instance: InstanceName,
    client: Client,
    right: PhantomData<Right>,
}

impl Access {
    /// Whether anybody may push here.
    pub fn may_push(self) -> bool {
        self == Self::Open
    }

    /// A permit to pull from `instance`.
    pub fn pull(self, instance: InstanceName, client: &Client) -> Result<Permit<Pull>> {
        Ok(Permit { instance, client: client.clone(), right: PhantomData })
    }

    /// A permit to push to `instance`.
    pub fn push(self, instance: InstanceName, client: &Client) -> Result<Permit<Push>> {
        if self.may_push() {
            Ok(Permit { instance, client: client.clone(), right: PhantomData })
        } else {
            Err(Error::Denied(
                "this address serves pulls only: take `push: true` off this remote, or use the address for pushing"
                    .into(),
            ))
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
}

impl Permit<Push> {
    /// Who may push may pull.
    pub fn to_pull(&self) -> Permit<Pull> {
        Permit { instance: self.instance.clone(), client: self.client.clone(), right: PhantomData }
    }
}
