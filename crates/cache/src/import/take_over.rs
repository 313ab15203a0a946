//! Taking one name over: its closure first, then the name, as a push has it.

use std::sync::Arc;

use bytes::Bytes;
use millpond_proto::reapi;
use millpond_store::catalog::{INLINE_MAX, Name, Target};
use prost::Message as _;

use super::bring::Bringing;
use super::{Found, blocking};
use crate::access::Allowed;
use crate::cache::Inner;
use crate::closure::{References, Subject};
use crate::name::{self, UriForm};
use crate::publish::Publication;
use crate::{AssetKind, Client, Clock, Digest, Error, InstanceName, Published, Result};

/// A name as it was found.
#[derive(Debug)]
pub(super) struct Foreign {
    pub(super) name: Name,
    pub(super) target: Target,
    pub(super) subject: Subject,
    pub(super) expires: Option<u64>,
}

/// What became of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Took {
    New,
    Present,
    Kept,
}

/// Which other values of its name give way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Those pushed no later than it was written, in Unix seconds.
    Older(u64),
    /// Those that are not whole: when it was written is not known.
    Broken,
    /// All, since somebody wants it so.
    Any,
}

impl Over {
    fn written(self) -> Option<u64> {
        match self {
            Self::Older(written) => Some(written),
            Self::Broken | Self::Any => None,
        }
    }
}

impl Foreign {
    /// An asset, whose pusher's references are not known: those that its URI demands are found in its message.
    pub(super) fn asset(
        instance: &InstanceName,
        (kind, uri, qualifiers): (AssetKind, &str, &str),
        digest: Digest,
        expires: Option<u64>,
    ) -> Self {
        Self {
            subject: Subject::Asset {
                form: UriForm::of(kind, uri),
                kind,
                digest,
                references: Arc::new(References::default()),
            },
            name: name::asset(instance, kind, uri, qualifiers),
            target: match kind {
                AssetKind::Blob => Target::Blob(digest),
                AssetKind::Directory => Target::Directory(digest),
            },
            expires,
        }
    }

    /// The result of an action.
    pub(super) fn action(instance: &InstanceName, action: &Digest, content: Bytes) -> Found<Self> {
        // Before it is decoded, which may take a hundred times as much.
        if content.len() > INLINE_MAX {
            return Err(format!("it has {} bytes: at most {INLINE_MAX} are taken over", content.len()));
        }
        reapi::ActionResult::decode(content.clone()).map_err(|error| error.to_string())?;
        Ok(Self {
            name: name::action_result(instance, action),
            target: Target::Inline(content.clone()),
            subject: Subject::ActionResult { blob: None, content: Some(content) },
            expires: None,
        })
    }
}

impl Inner {
    /// Brings what a name needs, and publishes it, as written then if that is known.
    pub(super) async fn take_over(
        self: &Arc<Self>,
        foreign: Foreign,
        over: Over,
        client: &Client,
        bringing: &Bringing,
    ) -> Result<Found<Took>> {
        if let (Some(took), _) = self.what_is_here(&foreign, over).await? {
            return Ok(Ok(took));
        }
        for is_last in [false, true] {
            if let Err(why) = bringing.closure(&foreign.subject).await? {
                return Ok(Err(why));
            }
            if bringing.dry_run() {
                return Ok(Ok(Took::New));
            }
            // Somebody may have pushed it meanwhile, and may still do.
            let (took, in_place_of) = self.what_is_here(&foreign, over).await?;
            if took == Some(Took::Kept) {
                return Ok(Ok(Took::Kept));
            }
            let publication = Publication {
                in_place_of: Some(in_place_of),
                ..publication(&foreign, over.written(), client)
            };
            match self.publish(publication).await {
                Ok(Published::Kept) => return Ok(Ok(Took::Kept)),
                Ok(Published::Whole | Published::Pending) => return Ok(Ok(Took::New)),
                // What came with an earlier name has been let go since.
                Err(Error::Incomplete { .. }) if !is_last => bringing.forget(),
                Err(Error::Incomplete { count, .. }) => return Ok(Err(format!("it lacks {count} blobs"))),
                Err(error @ (Error::Invalid(_) | Error::Denied(_))) => return Ok(Err(error.to_string())),
                Err(error) => return Err(error),
            }
        }
        Ok(Err("it goes while it comes".into()))
    }

    /// What the name has here, if that leaves nothing to be brought; and the number of its value, if it has one.
    async fn what_is_here(
        self: &Arc<Self>,
        foreign: &Foreign,
        over: Over,
    ) -> Result<(Option<Took>, Option<u64>)> {
        let Some(value) = self.catalog.look_up(&foreign.name).await? else { return Ok((None, None)) };
        let number = Some(value.seq);
        // One that has expired is served to nobody.
        if self.is_let_go(&value) || value.expires.is_some_and(|expires| expires <= Clock::unix_seconds()) {
            return Ok((None, number));
        }
        if value.target == foreign.target {
            let is_whole = self.is_whole_here(&foreign.subject).await?;
            return Ok((is_whole.then_some(Took::Present), number));
        }
        let stays = match over {
            // It was pushed since that was written.
            Over::Older(written) => value.pushed > written,
            Over::Broken => self.is_whole_here(&self.subject(&value)?).await?,
            Over::Any => false,
        };
        Ok((stays.then_some(Took::Kept), number))
    }

    /// Whether all that it needs is here; nothing is raised.
    async fn is_whole_here(self: &Arc<Self>, subject: &Subject) -> Result<bool> {
        let (inner, subject) = (Arc::clone(self), subject.clone());
        let looked = blocking(move || inner.walker.inspect(&subject)).await?;
        Ok(looked.is_ok_and(|contents| contents.missing_count == 0))
    }
}

fn publication(foreign: &Foreign, written: Option<u64>, client: &Client) -> Publication {
    let Foreign { name, target, subject, expires } = foreign;
    let references = match subject {
        Subject::Asset { references, .. } => references.encode(),
        Subject::ActionResult { .. } | Subject::Elsewhere { .. } => References::default().encode(),
    };
    Publication {
        names: vec![(Allowed::stored(name), subject.clone())],
        target: target.clone(),
        references,
        expires: *expires,
        client: client.clone(),
        pushed: written,
        may_wait: false,
        promotes: None,
        in_place_of: None,
    }
}
