//! The log of refused calls: who was refused what, from where, and with which words.

use http::HeaderMap;

use super::record::Record;
use crate::said::Said;
use crate::status;

static SAID: Said = Said::new();

/// Writes down that a call was refused, if its answer has such headers.
pub(super) fn tell(headers: &HeaderMap, record: &Record) {
    let Some((outcome, words)) = status::refused(headers) else { return };
    let address = record.peer().map(|peer| peer.ip().to_canonical());
    let identity = record.identity();
    let Some(left_out) = SAID.pass(address, identity, outcome) else { return };
    tracing::info!(
        left_out = (left_out > 0).then_some(left_out),
        request = %record.request(),
        identity = (!identity.is_empty()).then_some(identity),
        address = address.map(tracing::field::display),
        method = record.method().name,
        words,
        "{outcome}"
    );
}
