//! One order: the account, the challenge of each name, the request, and the chain that comes of it.

use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, ExternalAccountKey, Identifier,
    NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use millpond_identity::public_name::{self, CertificateRequest};

use super::{Acme, ChallengeKind};
use crate::listener::tls;
use crate::said::chain;

/// How long the authority may take for one step, and how often it is asked whether it is through.
const STEP: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_secs(90));
/// What authorities say of an account that they do not know.
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

impl Acme {
    /// A certificate, those behind it and its key, in PEM; or why there is none.
    pub(super) async fn order(&self) -> Result<String, String> {
        let order = match self.begin().await {
            // One that starts from nothing, or was restored, has forgotten it.
            Err(Error::Api(problem)) if problem.r#type.as_deref() == Some(NO_ACCOUNT) => {
                self.kept.forget_account();
                self.begin().await
            }
            begun => begun,
        };
        let mut order = order.map_err(|error| chain(&error))?;
        self.meet_challenges(&mut order).await?;
        let ready = order.poll_ready(&STEP).await;
        if !matches!(ready, Ok(OrderStatus::Ready)) {
            let why = ready.err().map(|error| chain(&error));
            return Err(self
                .refusals(&mut order)
                .await
                .or(why)
                .unwrap_or_else(|| "it refuses the order".into()));
        }
        let request = CertificateRequest::new(&self.wanted.names).map_err(|error| error.to_string())?;
        order.finalize_csr(&request.der).await.map_err(|error| chain(&error))?;
        let chain = order.poll_certificate(&STEP).await.map_err(|error| chain(&error))?;
        Ok(format!("{}{chain}", request.key_pem))
    }

    async fn begin(&self) -> Result<Order, Error> {
        let names = &self.wanted.names;
        let identifiers: Vec<_> = names
            .iter()
            .map(|name| name.parse().map_or_else(|_| Identifier::Dns(name.clone()), Identifier::Ip))
            .collect();
        self.account().await?.new_order(&NewOrder::new(&identifiers)).await
    }

    /// The one that it has, or a new one.
    async fn account(&self) -> Result<Account, Error> {
        let builder = || Account::builder_with_http(Box::new(self.http.clone()));
        let kept = self.kept.account();
        if let Some(credentials) =
            kept.and_then(|kept| serde_json::from_slice::<AccountCredentials>(&kept).ok())
        {
            return builder().from_credentials(credentials).await;
        }
        let contact = self.wanted.contact.as_ref().map(|address| format!("mailto:{address}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let external = self.wanted.external_account.as_ref();
        let external = external.map(|(name, key)| ExternalAccountKey::new(name.clone(), key));
        let directory = self.wanted.directory.to_string();
        let (account, credentials) = builder().create(&new, directory, external.as_ref()).await?;
        let stored = self.kept.store_account(&serde_json::to_vec(&credentials)?);
        stored.map_err(|why| Error::Other(why.into()))?;
        Ok(account)
    }

    async fn meet_challenges(&self, order: &mut Order) -> Result<(), String> {
        let kind = match self.wanted.challenge {
            ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
            ChallengeKind::Http01 => ChallengeType::Http01,
        };
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| chain(&error))?;
            let name = authorization.identifier().to_string();
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                other => return Err(format!("it has the name {name} as {other:?}")),
            }
            let challenge = authorization.challenge(kind.clone());
            let mut challenge = challenge.ok_or_else(|| format!("it offers no such challenge for {name}"))?;
            let authorization = challenge.key_authorization();
            match self.wanted.challenge {
                ChallengeKind::Http01 => {
                    self.answers.add_token(&challenge.token, authorization.as_str());
                }
                ChallengeKind::TlsAlpn01 => {
                    let digest = authorization.digest();
                    let made = public_name::challenge(&name, digest.as_ref());
                    let (certificate, key) = made.map_err(|error| error.to_string())?;
                    let certified =
                        tls::challenge_certificate(certificate, key).map_err(|error| error.to_string())?;
                    self.answers.add_certificate(&name, certified);
                }
            }
            challenge.set_ready().await.map_err(|error| chain(&error))?;
        }
        Ok(())
    }

    /// What the authority found when it looked, if it says so.
    async fn refusals(&self, order: &mut Order) -> Option<String> {
        let mut found = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            // What is known of it is from before.
            let _ = authorization.refresh().await;
            let name = authorization.identifier().to_string();
            let errors = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            found.extend(errors.map(|problem| format!("{name}: {problem}")));
        }
        if found.is_empty() { None } else { Some(found.join("; ")) }
    }
}
