//! One row from its set-up to its report.
//!
//! What is sent but once is prepared, and run, in parts: however many operations are asked for, no more of them are held in
//! memory than the row's own number. The clock, and the count of the server's CPU, stand still between them.

use std::ops::ControlFlow;

use crate::Options;
use crate::failure::Failure;
use crate::report::{Before, Cost, RowReport};
use crate::rows::Row;
use crate::run::Outcome;
use crate::setup::Setup;

/// Measures a row.
pub(crate) async fn row(row: &Row, mut setup: Setup<'_>, options: &Options) -> RowReport {
    let (mut outcome, mut cost) = (Outcome::default(), Cost::default());
    loop {
        match part(row, &mut setup, options, &mut outcome, &mut cost).await {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break,
            Err(Failure { code, message }) => {
                outcome.failures.add(Failure { code, message: format!("in the set-up: {message}") });
                break;
            }
        }
    }
    RowReport::new(row, outcome, cost)
}

/// Prepares and runs as many operations as fit into memory, and adds what came of them. Breaks when all are made, when the
/// time is up, or when none succeeds any more.
async fn part(
    row: &Row,
    setup: &mut Setup<'_>,
    options: &Options,
    outcome: &mut Outcome,
    cost: &mut Cost,
) -> Result<ControlFlow<()>, Failure> {
    setup.progress.begin(format!("{}, set-up", row.name));
    let plan = row.prepare(setup).await?;
    setup.count = setup.count.saturating_sub(plan.count);
    setup.progress.begin(row.name.to_owned());
    options.server.settle().await;
    let before = Before::now(&options.server);
    let left = options.seconds.saturating_sub(outcome.elapsed);
    let came = setup.pool.run(plan, left, setup.progress).await;
    cost.join(before.cost(&options.server).await);
    let vain = came.took.is_empty();
    outcome.append(came);
    let over = vain || setup.count == 0 || outcome.elapsed >= options.seconds;
    Ok(if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
}
