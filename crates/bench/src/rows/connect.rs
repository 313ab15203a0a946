//! Connections for one short call each: as clients that open one for each element make them.

use crate::plan::{Operation, Plan};
use crate::setup::Setup;
use crate::wire::Opening;

/// One question after another, each on a connection opened so.
pub(super) fn connect(setup: &mut Setup<'_>, opening: Opening) -> Plan {
    let digests = vec![setup.random.digest()];
    let call = Operation::one(setup.find_missing(digests, 1), 0);
    Plan::repeated(vec![Operation { opening, ..call }], setup.count)
}
