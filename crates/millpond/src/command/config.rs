//! `millpond config`: writes a file with every setting, judges one, and shows what a server would run with.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::print;
use crate::config::{Flags, Settings, commented_file};
use crate::credentials::Loaded;
use crate::exit::{self, Code, Failure};
use crate::{logging, otlp};

mod reload;

/// What is done with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a file with every setting, its meaning and its default, all commented out
    #[command(after_help = exit::help())]
    Init {
        /// Where to; without it, to standard output
        file: Option<PathBuf>,
        /// Replace the file if it is there
        #[arg(long, requires = "file")]
        force: bool,
    },
    /// Judge a file and the environment, and what they name of certificates and keys, as `serve` would, without
    /// touching anything
    #[command(after_help = exit::help())]
    Check {
        /// The file; without it, the environment alone
        file: Option<PathBuf>,
    },
    /// Have a server that runs read its configuration anew, and say what it has taken up of it
    #[command(after_help = exit::help())]
    Reload(reload::ReloadFlags),
    /// Print every setting that `serve` would run with, and which layer it comes from
    #[command(after_help = exit::help())]
    Show(Box<Flags>),
}

/// Does it.
pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Init { file: Some(file), force } => write(&file, force),
        Command::Init { file: None, .. } => print(&commented_file()),
        Command::Check { file } => check(file),
        Command::Reload(flags) => reload::run(&flags),
        Command::Show(flags) => {
            let settings = load(*flags)?;
            print(&settings.to_string())
        }
    }
}

fn check(file: Option<PathBuf>) -> Result<(), Failure> {
    let what = file.as_ref().map_or("the environment".to_owned(), |file| file.display().to_string());
    let settings = load(Flags { config: file, ..Flags::default() })?;
    // Whatever a start reads before it makes anything: certificates, keys, who is known and who vouches for them.
    Loaded::read(&settings)?;
    otlp::of(&settings)?;
    logging::check()?;
    print(&format!("{what} is in order\n"))
}

fn load(flags: Flags) -> Result<Settings, Failure> {
    let settings = Settings::load(flags)?;
    for warning in &settings.warnings {
        // Whether anybody reads it changes nothing.
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    Ok(settings)
}

fn write(path: &Path, force: bool) -> Result<(), Failure> {
    let mut options = File::options();
    options.write(true).create(true).truncate(force).create_new(!force);
    let written = options.open(path).and_then(|mut file| file.write_all(commented_file().as_bytes()));
    let named = path.display();
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::new(
            Code::Usage,
            format!("{named} is there already, and has been left as it is"),
            "give another path, or --force to replace it",
        ),
        _ => Failure::new(
            Code::Usage,
            format!("{named} cannot be written: {error}"),
            "give a path in a directory that this user may write",
        ),
    })?;
    print(&format!("{named} has every setting, commented out; `millpond config check {named}` judges it\n"))
}
