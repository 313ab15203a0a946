//! `millpond names`: looks for names in a server that runs, says what is known of them, removes them and brings them back, and
//! pins them.

mod list;
mod pin;
mod pins;
mod remove;
mod restore;
mod show;
mod unpin;
pub(super) mod wanted;

use clap::Subcommand;

use super::ask::AskFlags;
use crate::exit::{self, Failure};

/// What is done with names.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List names, as they lie in the catalog or the first of them in an order
    #[command(after_help = exit::help())]
    List(list::ListFlags),
    /// Say all that is known of a name, and when it may go at the earliest
    #[command(after_help = exit::help())]
    Show(show::ShowFlags),
    /// Remove names: for a time, in which `restore` brings them back, or for good
    #[command(after_help = exit::help())]
    Remove(remove::RemoveFlags),
    /// Bring names back that were removed
    #[command(after_help = exit::help())]
    Restore(restore::RestoreFlags),
    /// Keep names however little they are used, from now on and until the pin is over or taken out
    #[command(after_help = exit::help())]
    Pin(pin::PinFlags),
    /// Take pins out; the space of what nothing else keeps comes back
    #[command(after_help = exit::help())]
    Unpin(unpin::UnpinFlags),
    /// List what is pinned, by whom, why and until when
    #[command(after_help = exit::help())]
    Pins(AskFlags),
}

/// Does it.
pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List(flags) => list::run(&flags),
        Command::Show(flags) => show::run(&flags),
        Command::Remove(flags) => remove::run(&flags),
        Command::Restore(flags) => restore::run(&flags),
        Command::Pin(flags) => pin::run(&flags),
        Command::Unpin(flags) => unpin::run(&flags),
        Command::Pins(flags) => pins::run(&flags),
    }
}
