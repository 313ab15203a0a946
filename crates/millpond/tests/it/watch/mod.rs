//! What an operator watches a server by: metrics, the rules and the dashboard over them, and the lines of the log.

mod lines;
#[cfg(feature = "real-clients")]
mod lines_of_bst;
pub(crate) mod page;
#[cfg(feature = "real-clients")]
mod prometheus;
mod reference;

pub(crate) use page::Page;
