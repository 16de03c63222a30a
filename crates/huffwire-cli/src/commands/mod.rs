//! The commands, one module each.

mod bench;
mod calibrate;
mod codebooks;
mod completions;
mod compress;
mod decompress;
mod dequantize;
mod inspect;
mod quantize;
mod verify;

use std::process::ExitCode;

use anyhow::Result;

use crate::args::{Args, Command};
use crate::demo;

/// Runs the command that the user gave.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::Demo(args) => demo::run(args)?,
        Command::Compress(args) => compress::run(args)?,
        Command::Decompress(args) => decompress::run(args)?,
        Command::Inspect(args) => inspect::run(args)?,
        Command::Verify(args) => return verify::run(args),
        Command::Calibrate(args) => calibrate::run(args)?,
        Command::Codebooks(args) => codebooks::run(args)?,
        Command::Quantize(args) => quantize::run(args)?,
        Command::Dequantize(args) => dequantize::run(args)?,
        Command::Bench(args) => bench::run(args)?,
        Command::Completions(args) => completions::run(args)?,
    }
    Ok(ExitCode::SUCCESS)
}
