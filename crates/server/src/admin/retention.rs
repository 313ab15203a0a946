//! Retention, for whoever asks what is kept and what goes.

use millpond_cache::{RetentionReport, RuleReport};
use millpond_proto::admin::{Releveled, RetentionPlan, RetentionRule, Tally};

pub(super) fn plan(report: RetentionReport) -> RetentionPlan {
    let rule = |report: &RuleReport| RetentionRule {
        rule: report.rule.to_string(),
        keeps: Some(tally(report.keeps)),
        goes: Some(tally(report.goes)),
        leaves: Some(tally(report.leaves)),
    };
    RetentionPlan {
        rules: report.rules.iter().map(rule).collect(),
        pinned: Some(tally(report.pinned)),
        unmatched: Some(tally(report.unmatched)),
        kept: Some(tally(report.kept)),
        room_bytes: report.room,
        going: report.going,
        paused: report.paused,
    }
}

pub(super) fn releveled(releveled: millpond_cache::Releveled) -> Releveled {
    let millpond_cache::Releveled {
        names,
        kept_names,
        lowered_names,
        ended_names,
        ended,
        blobs,
        bytes,
        leased_bytes,
    } = releveled;
    Releveled { names, kept_names, lowered_names, ended_names, ended, blobs, bytes, leased_bytes }
}

pub(super) fn tally(tally: millpond_cache::Tally) -> Tally {
    Tally { names: tally.names, bytes: tally.bytes }
}
