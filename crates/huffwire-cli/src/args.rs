//! The command line. The doc comments here are the help texts.

mod analyze;
mod deltas;
mod files;
mod many;
mod plan;
mod quantize;
mod values;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ColorChoice, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use huffwire_io::RawOptions;

use crate::failure;
use crate::files::{is_dash, is_stdout};
use crate::report::Stream;

pub(crate) use analyze::AnalyzeArgs;
pub(crate) use deltas::{BaseArgs, ChainArgs, FoldArgs, ReverseArgs};
pub(crate) use files::{CompressArgs, DecompressArgs};
pub(crate) use many::ManyArgs;
pub(crate) use plan::{PlanArgs, TransportArg};
pub(crate) use quantize::QuantizeArgs;
pub(crate) use values::{
    BlockSize, Choose, Codes, ElementRange, ExportFormat, Format, Kinds, LevelArg, NamedDtype,
    PlatformArg, Symbols, dimension, name, positive_bytes,
};

/// Lossless compression of tensors with Huffman codebooks that are fixed in advance.
///
/// Every bit of the input comes back: NaN payloads, negative zeros, file headers. A bf16 model
/// shrinks by about a third.
#[derive(Debug, Parser)]
#[command(
    name = "huffwire",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  huffwire demo                                   compresses tensors of a training made on the spot
  huffwire compress model.safetensors             writes model.safetensors.hw
  huffwire decompress model.safetensors.hw        writes model.safetensors
  huffwire compress new.safetensors --base old.safetensors -o new.hw     only what changed
  huffwire decompress m.hw --tensor lm_head.weight --as npy -o head.npy

Input from a pipe is first copied to a temporary file in the folder that TMPDIR names, or else in
/tmp, which must have room for it; except that compress takes safetensors and npy without a copy.

The variable HUFFWIRE_PLATFORM=portable makes the program use only instructions that every processor
has. The output is the same.

Exit codes:
    0  done
    1  an error in the input, the codebooks or the output; of many files: some were not done;
       for verify: the file is damaged; for diff: tensors differ
    2  an error in the command line; for diff: any error
  130  interrupted by Ctrl-C or a signal; no partial output is left behind
  141  the program that read the output has closed it"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Colours in messages and help. The variable NO_COLOR turns them off where this says nothing.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto, global = true)]
    pub(crate) color: ColorChoice,
}

/// The commands. What each one does is told with its arguments: a comment here would hide that.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(DemoArgs),
    Compress(CompressArgs),
    Decompress(DecompressArgs),
    Diff(DiffArgs),
    Fold(FoldArgs),
    Reverse(ReverseArgs),
    Inspect(InspectArgs),
    Verify(VerifyArgs),
    Analyze(AnalyzeArgs),
    Calibrate(CalibrateArgs),
    /// List, show, export and import codebooks.
    #[command(subcommand)]
    Codebooks(CodebooksCommand),
    Quantize(QuantizeArgs),
    Bench(BenchArgs),
    Plan(PlanArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
    /// There is no such command: `huffwire decompress` restores quantized tensors, too.
    #[command(hide = true)]
    Dequantize(DequantizeArgs),
}

impl Command {
    /// Where a report in JSON goes, if `--json` is given: to standard error when the data go to standard output.
    pub(crate) fn json(&self) -> Option<Stream> {
        let to_stdout = |output: &Option<PathBuf>| output.as_deref().is_some_and(is_stdout);
        let (json, data_to_stdout) = match self {
            Self::Demo(args) => (args.common.json, false),
            Self::Compress(args) => {
                let from_stdin =
                    args.output.is_none() && matches!(&args.inputs[..], [one] if is_dash(one));
                (args.common.json, from_stdin || to_stdout(&args.output))
            }
            Self::Decompress(args) => {
                let is_tensor = args.tensor.is_some();
                let from_stdin = matches!(&args.inputs[..], [one] if is_dash(one));
                let by_default = args.output.is_none() && (is_tensor || from_stdin);
                (args.common.json, by_default || to_stdout(&args.output))
            }
            Self::Diff(args) => (args.common.json, false),
            Self::Fold(FoldArgs { chain }) | Self::Reverse(ReverseArgs { chain }) => {
                (chain.common.json, is_stdout(&chain.output))
            }
            Self::Inspect(args) => (args.common.json, false),
            Self::Verify(args) => (args.common.json, false),
            Self::Analyze(args) => (args.common.json, to_stdout(&args.report)),
            Self::Calibrate(args) => (args.common.json, is_stdout(&args.output)),
            Self::Codebooks(
                CodebooksCommand::List { json, .. } | CodebooksCommand::Show { json, .. },
            ) => (*json, false),
            Self::Quantize(args) => (args.json, to_stdout(&args.output.output)),
            Self::Bench(args) => (args.json, false),
            Self::Plan(args) => (args.json, false),
            Self::Codebooks(_) | Self::Completions(_) | Self::Man(_) | Self::Dequantize(_) => {
                (false, false)
            }
        };
        json.then_some(if data_to_stdout { Stream::Stderr } else { Stream::Stdout })
    }

    /// The exit code of an error.
    pub(crate) const fn failure_code(&self) -> u8 {
        match self {
            Self::Diff(_) => failure::USAGE,
            _ => failure::FAILURE,
        }
    }
}

/// Flags of every command that may take long.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// Threads to use, 1 to 1024 [default: one for each core]. The output does not depend on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Report as one JSON object: on standard output, or on standard error if the data goes to standard
    /// output.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print only errors, and JSON if --json is given.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Where the output goes.
#[derive(Debug, clap::Args)]
pub(crate) struct OutputArgs {
    /// Output file, or - for standard output.
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Option<PathBuf>,
    /// Replace an output file that exists.
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// Which codebooks to use instead of the built-in ones.
#[derive(Debug, clap::Args)]
pub(crate) struct CodebooksArg {
    /// Codebooks to use instead of the built-in ones: a file made by `huffwire calibrate`, its JSON
    /// export, or a .hw file that embeds them.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) codebooks: Option<PathBuf>,
}

/// Type and shape of a raw file.
#[derive(Debug, clap::Args)]
pub(crate) struct RawArgs {
    /// Read the input as a raw file of elements of this type, whatever its name: bf16, f16, f32, f64, e4m3, e5m2, i8,
    /// u8, int64, ...
    #[arg(long, value_name = "TYPE")]
    pub(crate) dtype: Option<NamedDtype>,
    /// Shape of a raw file [default: one dimension].
    #[arg(long, value_name = "D,D,...", value_delimiter = ',', value_parser = dimension, requires = "dtype")]
    pub(crate) shape: Option<Vec<u64>>,
}

impl RawArgs {
    /// What the raw file consists of; `None` if the input is no raw file.
    pub(crate) fn options(&self) -> Option<RawOptions> {
        let NamedDtype { name, dtype } = self.dtype.clone()?;
        Some(RawOptions { dtype, spelling: name, shape: self.shape.clone() })
    }
}

/// Train a small network and show how well fixed codebooks compress its tensors.
///
/// Needs no input. Codebooks are made from the tensors of one training step and used on those of a later
/// step. The table compares the result with the Shannon limit, with a Huffman code made for each shard, and
/// with the built-in codebooks.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Show what is in a .hw file or a codebook file.
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// A .hw file or a codebook file; - for standard input (copied to TMPDIR first).
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) input: PathBuf,
    #[command(flatten)]
    pub(crate) codebooks: CodebooksArg,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Decode all of a .hw file and report every damaged block.
///
/// Exits with 0 when everything decodes and all checksums agree, else with 1. Deltas are decoded with --base. Without
/// it only the checksums and headers of their blocks are checked, and the report says so.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// The .hw file, or - for standard input (copied to TMPDIR first).
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) input: PathBuf,
    #[command(flatten)]
    pub(crate) base: BaseArgs,
    #[command(flatten)]
    pub(crate) codebooks: CodebooksArg,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Make codebooks from tensors that resemble those to be compressed.
///
/// Every tensor is one shard. The symbol distributions of all shards of a kind are averaged with equal
/// weight, and the codebook of the kind is made from the average.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  huffwire calibrate step-1000.safetensors step-2000.safetensors -o books.hwb
  huffwire compress step-3000.safetensors --codebooks books.hwb --choose named")]
pub(crate) struct CalibrateArgs {
    /// Files to learn from, as for compress.
    #[arg(value_name = "IN", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) inputs: Vec<PathBuf>,
    /// The codebook file to write, or - for standard output.
    #[arg(short, long, value_name = "BOOKS", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
    /// Replace an output file that exists.
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) raw: RawArgs,
    /// Which parts of an element the Huffman code encodes.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) symbols: Symbols,
    /// Which tensors share a codebook.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) kinds: Kinds,
    /// Codebooks made for each kind, from groups of similar shards [default: 1, up to 4 for 8-bit
    /// and smaller floats].
    #[arg(long, value_name = "N")]
    pub(crate) books_per_kind: Option<NonZeroUsize>,
    /// The longest codes, in bits.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) codes: Codes,
    /// Share of the probability that is spread evenly over all symbols [default: 0.001].
    #[arg(long, value_name = "SHARE")]
    pub(crate) smoothing: Option<f64>,
    /// Leave out the built-in codebooks. By default those for the types seen are added, for tensors of
    /// other kinds.
    #[arg(long)]
    pub(crate) no_builtin: bool,
    /// Name of the codebook set [default: calibrated].
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CodebooksCommand {
    /// List the codebooks of a file, or the built-in ones.
    List {
        /// Codebook file, its JSON export, or a .hw file that embeds codebooks.
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the codes of one codebook or of all: length and code of every symbol.
    Show {
        /// Codebook file and number of a book, both optional: `show`, `show 3`, `show books.hwb`,
        /// `show books.hwb 3`.
        #[arg(value_name = "[FILE] [NUMBER]", num_args = 0..=2, value_hint = ValueHint::FilePath)]
        what: Vec<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write codebooks as JSON, for reading and editing, or as source text for other coders.
    Export {
        /// Codebook file [default: the built-in codebooks].
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
        /// What to write.
        #[arg(long, value_enum, default_value_t)]
        format: ExportFormat,
        /// File to write [default: standard output].
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Make a codebook file from JSON, or check and copy a codebook file.
    Import {
        /// JSON as written by export, or - for standard input (copied to TMPDIR first).
        #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
        input: PathBuf,
        /// Codebook file to write, or - for standard output.
        #[arg(short, long, value_name = "BOOKS", value_hint = ValueHint::FilePath)]
        output: PathBuf,
        /// Replace an output file that exists.
        #[arg(short, long)]
        force: bool,
    },
}

/// Measure speed and saving on your tensors, against memcpy, zstd and lz4.
///
/// GB/s are 10^9 bytes of tensors per second. All candidates get the same messages in one run: after
/// a round that is not timed, in which every candidate must restore every bit, each round runs each
/// candidate once. What is printed is the median of the rounds, with the slowest and the fastest.
///
/// memcpy is the faster of two copies: copy_from_slice, and one whose stores go past the caches.
/// zstd 1, zstd 3 and lz4 (the crates zstd and lz4_flex) run on one thread and code each message by
/// one call. zstd-huffman is zstd with its search for matches all but turned off (level -131072) and
/// its Huffman code forced on: about what its entropy coder huff0 makes of the bytes, within
/// zstd's frames.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  huffwire bench model.safetensors
  huffwire bench model.safetensors --working-set 256KiB             in the cache
  huffwire bench model.safetensors --working-set 256MiB --json      from memory
  huffwire bench gradients.npy --message 16MiB --threads 1,2,4 --platform all --level fast")]
pub(crate) struct BenchArgs {
    /// Files whose tensors are coded, as for compress.
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) raw: RawArgs,
    #[command(flatten)]
    pub(crate) codebooks: CodebooksArg,
    /// Repeat or cut the tensors to this total size, such as 262144, 256KiB or 1GiB. The share of each
    /// element type stays the same [default: the tensors as they are].
    #[arg(long, value_name = "BYTES", value_parser = positive_bytes)]
    pub(crate) working_set: Option<NonZeroUsize>,
    /// Join the tensors of each element type and cut them into messages of this size; each message is
    /// coded by one call [default: one message for each tensor].
    #[arg(long, value_name = "BYTES", value_parser = positive_bytes)]
    pub(crate) message: Option<NonZeroUsize>,
    /// Timed rounds, 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 7,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) rounds: u16,
    /// Numbers of threads for a message, 1 to 1024 [default: 1,2, or 1 on a machine with one core].
    /// Only messages of 1 MiB and more are split among threads.
    #[arg(long, value_name = "LIST", value_delimiter = ',',
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Vec<u16>,
    /// Platforms of this machine, such as portable or avx512, or all [default: the fastest].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) platform: Vec<PlatformArg>,
    /// Levels of huffwire.
    #[arg(
        long,
        value_name = "LIST",
        value_enum,
        value_delimiter = ',',
        default_value = "fast,max"
    )]
    pub(crate) level: Vec<LevelArg>,
    /// What the symbols of huffwire's Huffman code are.
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',', default_value = "auto")]
    pub(crate) symbols: Vec<Symbols>,
    /// Leave out zstd and lz4.
    #[arg(long)]
    pub(crate) no_peers: bool,
    /// Store and verify checksums: CRC-32C in huffwire, XXH64 in zstd. lz4 blocks have none.
    #[arg(long)]
    pub(crate) checksums: bool,
    /// Report as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Compare the tensors of two files.
///
/// Takes .hw files and all files that compress takes. Tensors are compared by name, type, shape and bits; the order in the
/// files and what stands around tensors do not matter. Exits with 0 if all tensors are equal, with 1 if not, and with
/// 2 after an error.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  huffwire diff model.safetensors model.safetensors.hw          is the copy as good as the original?
  huffwire diff step-1000.hw step-2000.hw --json                which tensors changed, and by how much?
  huffwire diff delta.hw new.safetensors --base old.safetensors")]
pub(crate) struct DiffArgs {
    /// A file of tensors.
    #[arg(value_name = "A", value_hint = ValueHint::FilePath)]
    pub(crate) first: PathBuf,
    /// Another one.
    #[arg(value_name = "B", value_hint = ValueHint::FilePath)]
    pub(crate) second: PathBuf,
    #[command(flatten)]
    pub(crate) raw: RawArgs,
    #[command(flatten)]
    pub(crate) base: BaseArgs,
    #[command(flatten)]
    pub(crate) codebooks: CodebooksArg,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Print the manual page, or write those of all commands.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  huffwire man | man -l -
  huffwire man -o ~/.local/share/man/man1       huffwire.1, huffwire-compress.1, ...")]
pub(crate) struct ManArgs {
    /// Folder for the pages of all commands; it is made if there is none.
    #[arg(short, long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) output: Option<PathBuf>,
}

/// Print the completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  huffwire completions bash > ~/.local/share/bash-completion/completions/huffwire")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// Arguments of a command that does not exist.
#[derive(Debug, clap::Args)]
pub(crate) struct DequantizeArgs {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    ignored: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
