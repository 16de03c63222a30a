//! Arguments of everything that is about deltas.

use std::path::PathBuf;

use clap::ValueHint;

use super::files::CoderArgs;
use super::{CodebooksArg, Common, RawArgs};

/// What deltas are made of and applied to.
#[derive(Debug, clap::Args)]
pub(crate) struct BaseArgs {
    /// The base of deltas: a file of tensors of any kind, the index of a sharded model, or a .hw file. Given several
    /// times, the bases are a chain: a file first, then .hw files each of which is a delta of what is before it.
    #[arg(long = "base", value_name = "OLD", value_hint = ValueHint::FilePath)]
    pub(crate) bases: Vec<PathBuf>,
}

/// Make one delta of a chain of deltas.
///
/// The result turns BASE into what the last delta makes. Tensors are decoded and compared part by part, so memory stays
/// small. What each delta was made for is checked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  huffwire fold step-0.safetensors step-1.hw step-2.hw step-3.hw -o 0-to-3.hw
  huffwire decompress 0-to-3.hw --base step-0.safetensors -o step-3.safetensors")]
pub(crate) struct FoldArgs {
    #[command(flatten)]
    pub(crate) chain: ChainArgs,
}

/// Make the delta that goes back: from the result of deltas to their base.
///
/// Whoever has the result, and neither BASE nor the deltas, can go back to BASE with it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  huffwire reverse step-0.safetensors step-1.hw -o 1-to-0.hw
  huffwire decompress 1-to-0.hw --base step-1.safetensors -o step-0.safetensors")]
pub(crate) struct ReverseArgs {
    #[command(flatten)]
    pub(crate) chain: ChainArgs,
}

/// A chain of deltas, and how to encode what becomes of it.
#[derive(Debug, clap::Args)]
pub(crate) struct ChainArgs {
    /// The base of the first delta: a file of tensors of any kind.
    #[arg(value_name = "BASE", value_hint = ValueHint::FilePath)]
    pub(crate) base: PathBuf,
    /// The deltas: .hw files, each one of what is before it.
    #[arg(value_name = "DELTA", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) deltas: Vec<PathBuf>,
    /// The .hw file to write, or - for standard output.
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
    /// Replace an output file that exists.
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) raw: RawArgs,
    #[command(flatten)]
    pub(crate) coder: CoderArgs,
    #[command(flatten)]
    pub(crate) codebooks: CodebooksArg,
    #[command(flatten)]
    pub(crate) common: Common,
}
