//! The `huffwire` program: compresses tensor files without losing a bit, and shows with what.
//!
//! Each command is a file in `commands`. What they share goes from left to right:
//!
//! ```text
//! input (which bytes are which tensor) -> pipeline (blocks in parallel) -> output (all or nothing)
//! ```

mod args;
mod books;
mod commands;
mod container;
mod demo;
mod failure;
mod input;
mod input_file;
mod interrupt;
mod output;
mod pack;
mod pipeline;
mod progress;
mod quantized;
mod report;
mod standard;
mod unpack;
mod usage;
mod values;

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
