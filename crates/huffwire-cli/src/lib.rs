//! The `huffwire` program: compresses tensor files without losing a bit, and shows with what.
//!
//! The program is a function here, [`run`]. The binary `huffwire` calls it, and so does the Python package.
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

use std::ffi::OsString;
use std::io::{self, Write};

use anyhow::Context;
use clap::Parser;
use huffwire::Platform;

/// Runs the program with these arguments, of which the first is the name that it was called by, and returns its
/// exit code.
///
/// `stdout_is_closed` says that there was no standard output when the process was started (`>&-`). There must be
/// something in its place by now, such as `/dev/null`; nothing is written to it.
///
/// It is meant to be called once, by a process that does nothing else: it handles signals of the whole process,
/// and ends the process when it is interrupted.
pub fn run(arguments: impl IntoIterator<Item = OsString>, stdout_is_closed: bool) -> u8 {
    interrupt::remove_partial_files();
    standard::survive_the_limit_of_file_sizes();
    standard::remember_stdout(stdout_is_closed);
    let code = match args::Args::try_parse_from(arguments) {
        Ok(args) => {
            // The library takes a wrong HUFFWIRE_PLATFORM for "portable"; whoever sets one wants to know.
            let platform = Platform::from_environment().context("HUFFWIRE_PLATFORM");
            let done = platform.and_then(|_| commands::run(&args));
            done.unwrap_or_else(|error| failure::report(&error))
        }
        Err(error) => {
            // Nobody is left to hear that the stream is closed.
            let _ = error.print();
            u8::try_from(error.exit_code()).unwrap_or(failure::FAILURE)
        }
    };
    // Not every process does so at its end.
    let _ = io::stdout().flush();
    code
}
