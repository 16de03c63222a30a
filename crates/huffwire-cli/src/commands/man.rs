//! `huffwire man`.

use std::fs;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_mangen::Man;

use crate::args::{Args, ManArgs};
use crate::report::Stream;

/// Prints the manual page of the program, or writes those of all commands.
pub(crate) fn run(args: &ManArgs) -> Result<()> {
    // Its `help` has a copy of each command, of which a page says nothing more.
    let mut command = Args::command().disable_help_subcommand(true);
    command.build();
    let Some(folder) = &args.output else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page)?;
        return Stream::Stdout.print(&String::from_utf8(page)?);
    };
    let failed = || format!("{}: the manual pages cannot be written", folder.display());
    fs::create_dir_all(folder).with_context(failed)?;
    clap_mangen::generate_to(command, folder).with_context(failed)
}
