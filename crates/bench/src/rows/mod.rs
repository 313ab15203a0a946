//! The workloads, one file for each kind of call. A row's set-up makes everything that it needs, so that each can be run
//! alone, and encodes every request; what is measured then is calls and nothing else.

mod actions;
mod assets;
mod batches;
mod builds;
mod connect;
mod find_missing;
mod large;
mod references;
mod small;
mod tiny;
mod tree;

use crate::failure::Failure;
use crate::plan::Plan;
use crate::setup::Setup;
use crate::wire::Opening;

/// What a row's speed is best told in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Bytes of content.
    Bytes,
    /// What its operations do.
    Units,
}

/// One workload.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) measure: Measure,
    /// What is counted.
    pub(crate) unit: &'static str,
    /// How many operations unless the user says otherwise, and how many are prepared at a time where each is sent but
    /// once: as many as take a fast server a second or more, and as keep the client's memory below a gigabyte.
    pub(crate) count: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    LargeWrite,
    LargeRead,
    BatchUpdate,
    BatchRead,
    FindMissing,
    GetTree,
    SmallWrite,
    SmallRead,
    ActionUpdate,
    ActionGet,
    AssetPush,
    AssetFetch,
    ReferenceUpdate,
    ReferenceGet,
    BuildPush,
    BuildPull,
    Connect,
    Reconnect,
    TinyUpdate,
    TinyPush,
}

macro_rules! rows {
    ($($name:literal $kind:ident $measure:ident $unit:literal $count:literal $what:literal)*) => {
        /// Every row, in the order in which they run.
        pub(crate) const ROWS: &[Row] = &[$(Row {
            name: $name,
            what: $what,
            measure: Measure::$measure,
            unit: $unit,
            count: $count,
            kind: Kind::$kind,
        }),*];
    };
}

rows! {
    "large-write" LargeWrite Bytes "blobs" 32 "ByteStream.Write, 64 MiB each"
    "large-read" LargeRead Bytes "blobs" 64 "ByteStream.Read, 64 MiB each"
    "batch-update" BatchUpdate Units "blobs" 500 "BatchUpdateBlobs, 200 of 4 KiB a call"
    "batch-read" BatchRead Units "blobs" 2000 "BatchReadBlobs, 200 of 4 KiB a call"
    "find-missing" FindMissing Units "calls" 500 "FindMissingBlobs, 10 000 digests, half of them there"
    "get-tree" GetTree Units "calls" 100 "GetTree, 10 000 directories"
    "small-write" SmallWrite Units "blobs" 30_000 "ByteStream.Write, 3 KiB each"
    "small-read" SmallRead Units "blobs" 50_000 "ByteStream.Read, 3 KiB each"
    "action-update" ActionUpdate Units "results" 20_000 "UpdateActionResult, three outputs"
    "action-get" ActionGet Units "results" 50_000 "GetActionResult, three outputs"
    "asset-push" AssetPush Units "names" 10_000 "PushBlob, artifacts of 100 files uploaded before"
    "asset-fetch" AssetFetch Units "names" 50_000 "FetchBlob, artifacts of 100 files"
    "reference-update" ReferenceUpdate Units "names" 10_000 "UpdateReference, trees of 100 files uploaded before"
    "reference-get" ReferenceGet Units "names" 50_000 "GetReference, trees of 100 files"
    "build-push" BuildPush Units "builds" 600 "a build of 200 files, 40 of them new: FindMissingBlobs, uploads, PushBlob"
    "build-pull" BuildPull Units "builds" 600 "a build of 200 files: FetchBlob, GetTree, downloads"
    "connect" Connect Units "connections" 5000 "a new connection, for FindMissingBlobs of one digest"
    "reconnect" Reconnect Units "connections" 5000 "the same, with the TLS session of the one before"
    "tiny-update" TinyUpdate Units "blobs" 500 "BatchUpdateBlobs, 2000 of 64 bytes a call; only where asked for"
    "tiny-push" TinyPush Units "names" 50_000 "PushBlob, a blob of 64 bytes uploaded before; only where asked for"
}

impl Row {
    /// Those whose names hold one of the words; all, if there are no words; or the word that none holds.
    pub(crate) fn chosen(words: &[String]) -> Result<Vec<&'static Self>, String> {
        let named = |word: &str| ROWS.iter().any(|row| row.name.contains(word));
        match words.iter().find(|word| !named(word)) {
            Some(word) => Err(word.clone()),
            None => Ok(ROWS
                .iter()
                .filter(|row| {
                    let by_default =
                        words.is_empty() && !matches!(row.kind, Kind::TinyUpdate | Kind::TinyPush);
                    by_default || words.iter().any(|word| row.name.contains(word))
                })
                .collect()),
        }
    }

    /// Brings the server into the state that the row needs, and encodes its calls, or those of a part.
    pub(crate) async fn prepare(&self, setup: &mut Setup<'_>) -> Result<Plan, Failure> {
        match self.kind {
            Kind::LargeWrite => Ok(large::write(setup)),
            Kind::LargeRead => large::read(setup).await,
            Kind::BatchUpdate => Ok(batches::update(setup)),
            Kind::BatchRead => batches::read(setup).await,
            Kind::FindMissing => find_missing::find_missing(setup).await,
            Kind::GetTree => tree::get_tree(setup).await,
            Kind::SmallWrite => Ok(small::write(setup)),
            Kind::SmallRead => small::read(setup).await,
            Kind::ActionUpdate => actions::update(setup).await,
            Kind::ActionGet => actions::get(setup).await,
            Kind::AssetPush => assets::push(setup).await,
            Kind::AssetFetch => assets::fetch(setup).await,
            Kind::ReferenceUpdate => references::update(setup).await,
            Kind::ReferenceGet => references::get(setup).await,
            Kind::BuildPush => builds::push(setup).await,
            Kind::BuildPull => builds::pull(setup).await,
            Kind::Connect => Ok(connect::connect(setup, Opening::Anew)),
            Kind::TinyUpdate => Ok(tiny::update(setup)),
            Kind::TinyPush => tiny::push(setup).await,
            Kind::Reconnect => Ok(connect::connect(setup, Opening::Resumed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Result<Vec<&'static str>, String> {
        let words: Vec<_> = words.iter().map(ToString::to_string).collect();
        Ok(Row::chosen(&words)?.iter().map(|row| row.name).collect())
    }

    #[test]
    fn rows_are_chosen_by_words() {
        assert_eq!(names(&[]).unwrap().len(), ROWS.len() - 2);
        assert_eq!(names(&["tiny"]).unwrap().len(), 2);
        assert_eq!(names(&["large"]).unwrap(), ["large-write", "large-read"]);
        assert_eq!(names(&["get-tree", "large-r"]).unwrap(), ["large-read", "get-tree"]);
        assert_eq!(names(&["large", "lrage"]), Err("lrage".to_owned()));
    }
}
