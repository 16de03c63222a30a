//! The `huffwire` program: compresses tensor files without losing a bit, and shows with what.
//!
//! Each command is a file in `commands`. The work on files is done by the library `huffwire-io`; the
//! program adds the command line, progress bars, reports for people and for programs, and exit codes.

mod args;
mod books;
mod commands;
mod demo;
mod failure;
mod files;
mod floats;
mod interrupt;
mod progress;
mod report;
mod standard;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use huffwire::Platform;

fn main() -> ExitCode {
    interrupt::remove_partial_files();
    standard::survive_the_limit_of_file_sizes();
    let args = args::Args::parse();
    // The library takes a wrong HUFFWIRE_PLATFORM for "portable"; whoever sets one wants to know.
    let platform = Platform::from_environment().context("HUFFWIRE_PLATFORM");
    match platform.and_then(|_| commands::run(&args)) {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}
