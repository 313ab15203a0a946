//! What is said when the program has an error in itself.

use std::backtrace::Backtrace;
use std::io::Write;

/// Makes every panic say which version of what it was and where to report it. What the panic ends (a request, or the
/// process) is not decided here.
pub(crate) fn install() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let backtrace = Backtrace::force_capture();
        let report = format!(
            "millpond {version} has an error in itself: please file all that follows as an issue of the Millpond project\n\
             thread {thread}: {panic}\n{backtrace}\n",
            version = env!("CARGO_PKG_VERSION"),
            thread = thread.name().unwrap_or("without a name"),
        );
        // Nobody may be reading any more, and a second panic in here would end the process.
        let _ = std::io::stderr().write_all(report.as_bytes());
    }));
}
