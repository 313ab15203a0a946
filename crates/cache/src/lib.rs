//! The domain: names, closures, permits, publishing and look-up, and with them the promises of the cache.
//!
//! **Invariant:** no type of tonic, no socket and no SQL in here. What comes in is parsed already (a [`Digest`], an
//! [`InstanceName`], a [`Permit`]); what goes out is the domain's own [`Error`], which the server turns into words.

mod access;
mod action_result;
mod admin;
mod asset;
mod audit;
mod background;
mod backup;
mod bad_records;
mod blobs;
mod by_project;
mod cache;
mod change;
mod check;
mod closure;
mod compressing;
mod counters;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gate;
mod import;
mod inflow;
mod instance;
mod lacking;
mod let_go_names;
mod letting_go;
mod limit;
mod lookup;
mod maintenance;
mod name;
mod overwrite;
mod pattern;
mod pins;
mod publish;
mod relevel;
mod retention;
mod scrubbing;
mod start;
#[cfg(test)]
mod tests;
mod tree;
mod upstream;
mod verify;
mod walks;

pub use access::{Access, Admin, Bounds, Client, Grant, Identity, Permit, Pull, Push, Rights};
pub use admin::directory::{DirectoryEntry, DirectoryWalk, EntryKind};
pub use admin::from_backup::{Bringing, Brought, FromBackup};
pub use admin::horizon::Horizon;
pub use admin::names::{
    NameDetails, NameEntry, NamesOrder, NamesWalk, NamesWanted, SORTED_MAX as SORTED_NAMES_MAX, Sort,
};
pub use admin::pins::{NotThere, PinWanted, Pinned, PinsWanted};
pub use admin::remove::{Removal, RemovalKind, Restoration, Restored};
pub use admin::usage::{Group, GroupBy, Held as HeldByNames, InUse, Usage, UsageStep, UsageWalk};
pub use asset::{AssetKind, AssetPush, AssetQuery, FoundAsset, Published, reference_key, reference_uri};
pub use audit::{AuditKeep, write_down_apart};
pub use backup::{BackedUp, BackupStep, HearBackup, Wanted as BackupWanted};
pub use blobs::{BlobReader, Creation, Upload};
pub use by_project::NamesCounted;
pub use cache::{Cache, CacheOptions, Compression, Figures, MaxSize, Opened};
pub use check::{Checked, Finding, Hear};
pub use error::{Error, OpenError, Result};
pub use import::copy::CopyWanted;
pub use import::difference::{CompareStep, CompareWanted, Compared, Difference};
pub use import::{ImportKind, ImportStep, ImportWanted, Imported};
pub use inflow::CameIn;
pub use instance::{InstanceKind, InstanceName, InstanceOptions};
pub use limit::{Limit, Limits};
pub use millpond_store::audit::{
    Deed, Entry as AuditEntry, FOLDER as AUDIT_FOLDER, Verified, entries as audit_entries,
    verify as verify_audit,
};
pub use millpond_store::blobs::BadRecord;
pub use millpond_store::catalog::{Pin, PinTerms};
pub use millpond_store::disk::DiskDeed;
pub use millpond_store::{
    Changing, Clock, DURATION_BOUNDS, Digest, DigestError, DigestFunction, Durations, Held, Level, Slots,
    Throttle, Took, now_and_then,
};
pub use overwrite::{Otherwise, Replacement, ReplacementRule};
pub use pattern::Pattern;
pub use relevel::Releveled;
pub use retention::{BuildOutcome, Keep, KeptKind, RetentionReport, RetentionRule, RuleReport, Tally};
pub use tree::{TreePage, TreeWalk};
pub use upstream::{Answer, Asked, HadBlob, Trouble, Upstream, UpstreamBlob, UpstreamName, UpstreamValue};
