//! The commands, one module each.

mod analyze;
mod bench;
mod calibrate;
mod chain;
mod codebooks;
mod completions;
mod compress;
mod decompress;
mod diff;
mod inspect;
mod man;
mod many;
mod plan;
mod quantize;
mod verify;

use std::io::{self, Write};

use anyhow::Result;

use crate::args::{Args, Command};
use crate::demo;
use crate::failure;

/// Runs the command that the user gave.
pub(crate) fn run(args: &Args) -> Result<u8> {
    match &args.command {
        Command::Demo(args) => demo::run(args)?,
        Command::Compress(args) => return compress::run(args),
        Command::Decompress(args) => return decompress::run(args),
        Command::Fold(args) => chain::fold(args)?,
        Command::Reverse(args) => chain::reverse(args)?,
        Command::Diff(args) => return diff::run(args),
        Command::Inspect(args) => inspect::run(args)?,
        Command::Verify(args) => return verify::run(args),
        Command::Analyze(args) => analyze::run(args)?,
        Command::Calibrate(args) => calibrate::run(args)?,
        Command::Codebooks(args) => codebooks::run(args)?,
        Command::Quantize(args) => quantize::run(args)?,
        Command::Bench(args) => bench::run(args)?,
        Command::Plan(args) => plan::run(args)?,
        Command::Completions(args) => completions::run(args)?,
        Command::Man(args) => man::run(args)?,
        Command::Dequantize(_) => return Ok(no_such_command()),
    }
    Ok(failure::SUCCESS)
}

/// What people who quantized something are likely to try.
fn no_such_command() -> u8 {
    // Nobody is left to hear that standard error is closed.
    let _ = writeln!(
        io::stderr(),
        "error: there is no command 'dequantize'\n\n  \
         tip: huffwire decompress FILE.hw restores quantized tensors, too, in files of the original layout\n\n\
         For more information, try 'huffwire decompress --help'."
    );
    failure::USAGE
}
