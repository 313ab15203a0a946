//! `millpond names`: looks for names in a server that runs, says what is known of them, removes them and brings them back.

mod list;
mod remove;
mod restore;
mod show;
mod wanted;

use clap::Subcommand;

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
}

/// Does it.
pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List(flags) => list::run(&flags),
        Command::Show(flags) => show::run(&flags),
        Command::Remove(flags) => remove::run(&flags),
        Command::Restore(flags) => restore::run(&flags),
    }
}
