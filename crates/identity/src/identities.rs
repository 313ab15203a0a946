//! Everybody who is known, in a form that is quick to look up in.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use millpond_cache::{Grant, Identity};
use rustls_pki_types::CertificateDer;

use crate::authority::Authority;
use crate::certificate::{self, Certificate};
use crate::{AuthorityTerms, Declined, Error, Fingerprint, Keys, Recall, Refused, Register, token};

/// A snapshot of everybody who is known.
#[derive(Clone, Debug, Default)]
pub struct Identities {
    certificates: HashMap<Fingerprint, Holder>,
    /// By the ID, with the hash of the secret.
    tokens: HashMap<String, (Fingerprint, Holder)>,
    /// Of issuers: whose tokens were taken back.
    recalls: Vec<Recall>,
    /// Those of others that vouch for clients.
    authorities: Vec<Authority>,
}

/// A kind of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A client certificate.
    Certificate,
    /// A token of ours.
    Token,
    /// A certificate that an authority issues with.
    Authority,
}

/// A credential whose time is nearly over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiring {
    /// Whose.
    pub name: String,
    /// What it is.
    pub what: Credential,
    /// The last second in which it is valid, in Unix seconds.
    pub not_after: u64,
}

/// Whose a credential is, and when it holds.
#[derive(Clone, Debug)]
struct Holder {
    identity: Arc<Identity>,
    not_before: u64,
    /// `u64::MAX` if it does not expire.
    not_after: u64,
    revoked: bool,
}

impl Identities {
    /// Everybody in the register of a directory of keys; nobody if there is none.
    pub fn load(keys: &Path) -> Result<Self, Error> {
        let register = Register::load(&Keys::at(keys))?;
        let certificates = register.certificates.into_iter().map(|entry| {
            let holder = Holder::new(entry.name, entry.grant, Some(entry.not_after), entry.revoked);
            (entry.sha256, holder)
        });
        let tokens = register.tokens.into_iter().map(|entry| {
            let holder = Holder::new(entry.name, entry.grant, entry.expires, entry.revoked);
            (entry.id, (entry.sha256, holder))
        });
        let (certificates, tokens) = (certificates.collect(), tokens.collect());
        Ok(Self { certificates, tokens, recalls: register.recalls, authorities: Vec::new() })
    }

    /// Whether a token of an issuer, or a certificate of an authority, was taken back that says to be from this time in Unix seconds; one that says nothing
    /// counts as old.
    pub(crate) fn is_revoked(&self, name: &str, issued: Option<u64>) -> bool {
        self.recalls.iter().any(|recall| recall.covers(name, issued))
    }

    /// Whose the first of these certificates in DER is, at this time in Unix seconds: that the client holds its key is for
    /// the handshake to prove. Exactly this one is looked for, whoever signed it; if it is not known here, the authorities
    /// are asked, for whom the others may be between it and them.
    pub fn certificate(&self, chain: &[impl AsRef<[u8]>], now: u64) -> Result<Arc<Identity>, Declined> {
        let (own, between) = chain.split_first().ok_or(Refused::Unknown)?;
        let own = own.as_ref();
        if let Some(holder) = self.certificates.get(&Fingerprint::of(own)) {
            return holder.at(now);
        }
        let between: Vec<_> = between.iter().map(|der| CertificateDer::from(der.as_ref())).collect();
        let mut refused = Refused::Unknown;
        for authority in &self.authorities {
            match authority.identity(own, &between, now) {
                Ok((identity, issued)) if self.is_revoked(&identity.name, Some(issued)) => {
                    return Err(Declined { why: Refused::Revoked, name: Some(identity.name.clone()) });
                }
                Ok((identity, _)) => return Ok(identity),
                // Another one might not have been told.
                Err(Refused::Revoked) => return Err(Refused::Revoked.into()),
                Err(Refused::Unknown) => {}
                Err(reason) => refused = reason,
            }
        }
        Err(refused.into())
    }

    /// Whose this token is, at this time in Unix seconds.
    pub fn token(&self, presented: &str, now: u64) -> Result<Arc<Identity>, Declined> {
        let parts = token::parts(presented).ok_or(Refused::Malformed)?;
        match self.tokens.get(parts.id) {
            Some((sha256, holder)) if sha256.is_same(&parts.sha256) => holder.at(now),
            _ => Err(Refused::Unknown.into()),
        }
    }

    /// Takes in certificates that clients made themselves, as BuildStream 1's servers know them: concatenated PEM, each
    /// for itself, whoever signed it and whatever it may sign. Returns how many there are. What was revoked in the
    /// register stays so.
    pub fn add_authorized(&mut self, pem: &[u8], grant: Grant) -> Result<usize, Error> {
        let found = certificate::read_all(pem)?;
        let count = found.len();
        for Certificate { sha256, name, not_before, not_after, .. } in found {
            match self.certificates.get_mut(&sha256) {
                Some(known) => known.may_also(&grant),
                None => {
                    // Clients choose this name, so it is none that was issued, and no two of them are one.
                    let name = format!("{name} ({:.16})", sha256.to_string());
                    let holder = Holder::new(name, grant.clone(), Some(not_after), None);
                    self.certificates.insert(sha256, Holder { not_before, ..holder });
                }
            }
        }
        Ok(count)
    }

    /// From now on an authority vouches for clients as well, after those that were added before: its certificates in PEM, and
    /// the lists of what it has revoked, in PEM or one in DER.
    ///
    /// # Errors
    /// [`Error::Certificates`] and [`Error::Lists`]; then it vouches for nobody.
    pub fn add_authority(
        &mut self,
        certificates_pem: &[u8],
        revoked: Option<&[u8]>,
        terms: AuthorityTerms,
    ) -> Result<(), Error> {
        self.authorities.push(Authority::read(certificates_pem, revoked, terms)?);
        Ok(())
    }

    /// What is valid at `now` and not for longer than these seconds, unless its holder has a newer one already; the
    /// soonest first.
    pub fn expiring(&self, within_seconds: u64, now: u64) -> Vec<Expiring> {
        let mut last: HashMap<(&str, Credential), u64> = HashMap::new();
        let certificates = self.certificates.values().map(|holder| (holder, Credential::Certificate));
        let tokens = self.tokens.values().map(|(_, holder)| (holder, Credential::Token));
        for (holder, what) in certificates.chain(tokens).filter(|(holder, _)| holder.at(now).is_ok()) {
            let last = last.entry((&holder.identity.name, what)).or_default();
            *last = holder.not_after.max(*last);
        }
        // Each of an authority's, since each may be the one that its clients need.
        let authorities = self.authorities.iter().flat_map(Authority::ends);
        let authorities = authorities.filter(|(_, not_after)| *not_after >= now);
        let until = now.saturating_add(within_seconds);
        let mut soon: Vec<_> = last
            .into_iter()
            .chain(authorities.map(|(name, not_after)| ((name, Credential::Authority), not_after)))
            .filter(|(_, not_after)| *not_after <= until)
            .map(|((name, what), not_after)| Expiring { name: name.to_owned(), what, not_after })
            .collect();
        soon.sort_by(|one, other| (one.not_after, &one.name).cmp(&(other.not_after, &other.name)));
        soon
    }
}

impl Holder {
    fn new(name: String, grant: Grant, not_after: Option<u64>, revoked: Option<u64>) -> Self {
        Self {
            identity: Arc::new(Identity { name, grants: vec![grant], lacks: None }),
            not_before: 0,
            not_after: not_after.unwrap_or(u64::MAX),
            revoked: revoked.is_some(),
        }
    }

    fn at(&self, now: u64) -> Result<Arc<Identity>, Declined> {
        let why = if self.revoked {
            Refused::Revoked
        } else if now < self.not_before {
            Refused::NotYetValid
        } else if now > self.not_after {
            Refused::Expired { since: self.not_after }
        } else {
            return Ok(Arc::clone(&self.identity));
        };
        Err(Declined { why, name: Some(self.identity.name.clone()) })
    }

    fn may_also(&mut self, grant: &Grant) {
        if !self.identity.grants.contains(grant) {
            Arc::make_mut(&mut self.identity).grants.push(grant.clone());
        }
    }
}
