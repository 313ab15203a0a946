//! Letting go beside everything else, in orders that follow from a seed, with every kind of end: what is served is whole,
//! what was acknowledged is served or below the committed waterline, and what was said to be there stays for a lease.
//!
//! `MILLPOND_MODEL_SEEDS` has more orders tried than usual, from `MILLPOND_MODEL_FIRST` on.

mod operations;
mod pausing;
mod run;
mod truth;
mod world;

use run::Run;

/// What follows from the environment, or else the usual.
fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn served_names_are_whole_and_promises_are_kept_in_any_order_of_steps() {
    let first = number("MILLPOND_MODEL_FIRST", 0);
    for seed in first..first + number("MILLPOND_MODEL_SEEDS", 40) {
        let mut run = Run::begin(seed).await;
        for _ in 0..150 {
            run.step().await;
        }
        run.end().await;
    }
}
