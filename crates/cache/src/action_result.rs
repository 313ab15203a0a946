//! Action results: names by action digest, kept as they were sent.
//!
//! Neither the Action nor its Command is asked for: clients that cache without remote execution do not upload them.

use bytes::Bytes;
use millpond_store::Digest;
use millpond_store::catalog::{INLINE_MAX, Target};

use crate::closure::{MESSAGE_BYTES_MAX, Subject, outputs};
use crate::publish::Publication;
use crate::{Cache, Error, InstanceKind, Permit, Pull, Push, Result, name};

impl Cache {
    /// Publishes an action result, serialised as it was sent. Contents that stand in it become blobs first.
    pub async fn update_action_result(
        &self,
        permit: &Permit<Push>,
        action: Digest,
        result: Bytes,
    ) -> Result<()> {
        permit.instance().takes_names()?;
        if result.len() as u64 > MESSAGE_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "an action result of {} bytes: at most {MESSAGE_BYTES_MAX} are taken",
                result.len()
            )));
        }
        let name = self.inner.to_publish(permit, name::action_result(permit.instance(), &action))?;
        let elsewhere = permit.instance().kind() == InstanceKind::IndexOnly;
        let mut to_store = outputs(&result)?.inline;
        if elsewhere {
            to_store.clear();
        }
        let blob = (result.len() > INLINE_MAX).then(|| Digest::of(&result));
        to_store.extend(blob.map(|blob| (blob, result.clone())));
        // In memory of its own: the catalog keeps it, and a slice would keep the whole buffer that the request came in.
        let target = blob.map_or_else(|| Target::Inline(Bytes::copy_from_slice(&result)), Target::Blob);
        if !to_store.is_empty() {
            for outcome in self.inner.blobs.put_many(to_store).await {
                outcome?;
            }
        }
        let subject = if elsewhere {
            Subject::Elsewhere { blob }
        } else {
            Subject::ActionResult { blob, content: Some(result) }
        };
        let publication = Publication {
            names: vec![(name, subject)],
            target,
            references: Bytes::new(),
            expires: None,
            client: permit.client().clone(),
            pushed: None,
            may_wait: false,
            promotes: None,
            in_place_of: None,
        };
        self.inner.publish_pushed(publication).await.map(|_| ())
    }

    /// Looks an action result up, serialised as it was sent: whole, and for the lease; else `NotFound`.
    pub async fn action_result(&self, permit: &Permit<Pull>, action: Digest) -> Result<Bytes> {
        let name = permit.looks_up(name::action_result(permit.instance(), &action))?;
        let value = self.inner.look_up(&name).await?;
        match &value.target {
            Target::Inline(content) => Ok(content.clone()),
            Target::Blob(digest) => {
                let read = self.read_blobs(permit, std::slice::from_ref(digest)).await;
                read.into_iter().next().unwrap_or_else(|| Err(Error::NotFound(format!("action {action}"))))
            }
            Target::Directory(_) => Err(Error::NotFound(format!("action {action}"))),
        }
    }
}
