//! The command line. The doc comments here are the help texts.

mod many;
mod plan;
mod quantize;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::ops::Bound;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Result, bail};
use clap::{ColorChoice, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use huffwire::codebook::CodeLimit;
use huffwire::{Choice, CodebookSet, Dtype, EncodeOptions, Level, Platform, SymbolRule};
use huffwire_io::{ByteCount, NotAByteCount, RawOptions};

use crate::failure;
use crate::files::is_dash;
use crate::report::Stream;

pub(crate) use many::ManyArgs;
pub(crate) use plan::{PlanArgs, TransportArg};
pub(crate) use quantize::QuantizeArgs;

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

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a small network and show how well fixed codebooks compress its tensors.
    Demo(DemoArgs),
    /// Compress tensor files, sharded models and folders into .hw files.
    Compress(CompressArgs),
    /// Restore the original files from .hw files, or extract one tensor.
    Decompress(DecompressArgs),
    /// Compare the tensors of two files.
    Diff(DiffArgs),
    /// Show what is in a .hw file or a codebook file.
    Inspect(InspectArgs),
    /// Decode all of a .hw file and report every damaged block.
    Verify(VerifyArgs),
    /// Make codebooks from tensors that resemble those to be compressed.
    Calibrate(CalibrateArgs),
    /// List, show, export and import codebooks.
    #[command(subcommand)]
    Codebooks(CodebooksCommand),
    /// Quantize gradients (with loss), compress them into a .hw file, and compare the encoders.
    Quantize(QuantizeArgs),
    /// Measure speed and saving on your tensors, against memcpy, zstd and lz4.
    Bench(BenchArgs),
    /// Measure the codec on this machine, and tell whether coding pays on a link.
    Plan(PlanArgs),
    /// Print the completion script for a shell.
    Completions(CompletionsArgs),
    /// Print the manual page, or write those of all commands.
    Man(ManArgs),
    /// There is no such command: `huffwire decompress` restores quantized tensors, too.
    #[command(hide = true)]
    Dequantize(DequantizeArgs),
}

impl Command {
    /// Where a report in JSON is asked for, and goes: to standard error when the data go to standard output.
    pub(crate) fn json(&self) -> Option<Stream> {
        let to_stdout = |output: &Option<PathBuf>| output.as_deref().is_some_and(is_dash);
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
            Self::Inspect(args) => (args.common.json, false),
            Self::Verify(args) => (args.common.json, false),
            Self::Calibrate(args) => (args.common.json, is_dash(&args.output)),
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

/// How to encode.
#[derive(Debug, clap::Args)]
pub(crate) struct CoderArgs {
    /// Which parts of an element the Huffman code encodes.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) symbols: Symbols,
    /// Whether to prefer speed or size.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) level: LevelArg,
    /// How the codebook of a block is chosen.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) choose: Choose,
    /// Use only the codebook with this number wherever its alphabet fits (`huffwire codebooks list` shows
    /// the numbers). At level max, blocks may also carry codebooks of their own.
    #[arg(long, value_name = "NUMBER", conflicts_with = "choose")]
    pub(crate) book: Option<u32>,
    /// Bytes of elements in a block: a power of two from 1K to 1M. Larger blocks save a little more; with
    /// smaller blocks a part of a tensor is read faster.
    #[arg(long, value_name = "SIZE", default_value = "128K")]
    pub(crate) block_size: BlockSize,
    /// Store no checksums. This saves 4 bytes for each block, but damage may go unnoticed.
    #[arg(long)]
    pub(crate) no_checksums: bool,
}

impl CoderArgs {
    /// The options for encoding with this set.
    pub(crate) fn options(&self, set: &CodebookSet) -> Result<EncodeOptions> {
        let fixed = |number: u32| match u8::try_from(number) {
            Ok(known) if set.book(known).is_ok() => Ok(Choice::Fixed(known)),
            _ => {
                let held = set.books().len();
                bail!(
                    "--book {number}: there is no such codebook: the set holds {held}, counted from 0"
                )
            }
        };
        let choice = match self.choose {
            Choose::Cheapest => Choice::Cheapest,
            Choose::Sample => Choice::Sample,
            Choose::Named => Choice::Named,
        };
        Ok(EncodeOptions::default()
            .rule(self.symbols.into())
            .level(self.level.into())
            .choice(self.book.map_or(Ok(choice), fixed)?)
            .checksums(!self.no_checksums)
            .block_log2(self.block_size.log2))
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

/// Compress tensor files, sharded models and folders into .hw files.
///
/// Reads .safetensors, .npy, raw files (--dtype), and sharded models by their
/// model.safetensors.index.json, with all shards that it names, which become one .hw file.
///
/// With -r every file in a folder becomes a .hw file of its own, whatever its kind: tensors are coded as such, everything
/// else as bytes. `huffwire decompress -r OUT -o BACK` makes the same folder again.
///
/// Of several files each is done by itself. A failure does not keep the others from being done; the report tells all
/// failures, and the exit code is 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  huffwire compress model.safetensors
  huffwire compress model.safetensors.index.json -o model.hw      a sharded model, into one file
  huffwire compress -r model-folder -o packed                     every file, into packed/*.hw
  huffwire compress --dry-run -r model-folder                     what would be saved?
  huffwire compress --rm step-*.safetensors                       removes what was compressed
  huffwire compress gradients.bin --dtype bf16 --shape 4096,4096
  huffwire compress model.safetensors --codebooks books.hwb --json
  ssh host cat m.safetensors | huffwire compress - -o m.safetensors.hw")]
pub(crate) struct CompressArgs {
    /// Files to compress, and folders with -r; - for standard input (raw elements are copied to TMPDIR first).
    #[arg(value_name = "IN", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) inputs: Vec<PathBuf>,
    /// Output file, or - for standard output; a folder for several inputs or a folder.
    /// [default: IN with .hw, beside it]
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Option<PathBuf>,
    /// Replace output files that exist.
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) many: ManyArgs,
    #[command(flatten)]
    pub(crate) raw: RawArgs,
    #[command(flatten)]
    pub(crate) coder: CoderArgs,
    #[command(flatten)]
    pub(crate) codebooks: CodebooksArg,
    /// Do not embed the codebooks of --codebooks, only name them: decompress then needs the same
    /// --codebooks. Built-in ones are never embedded.
    #[arg(long, requires = "codebooks")]
    pub(crate) reference_codebooks: bool,
    /// Only tell what would be saved, from a sample of the tensors. Nothing is written. Takes less than a second.
    #[arg(long, conflicts_with_all = ["rm", "stats", "verbose"])]
    pub(crate) dry_run: bool,
    /// Tell for each tensor what Shannon and Huffman codes would save (costs time).
    #[arg(long)]
    pub(crate) stats: bool,
    /// Print a line for each tensor with such figures, or one for each of several files.
    #[arg(short, long)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Restore the original files from .hw files, or extract one tensor.
///
/// With -r every .hw file in a folder is restored. With -o, too, files that are no .hw files are copied.
///
/// Tensors that `huffwire quantize` quantized come back as floats near those that they had; everything else
/// comes back bit by bit.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  huffwire decompress model.safetensors.hw
  huffwire decompress sharded-model.hw -o folder
  huffwire decompress -r packed -o model-folder
  huffwire decompress m.hw --tensor lm_head.weight -o head.bin
  huffwire decompress m.hw --tensor lm_head.weight --range 0..1000 -o - | xxd")]
pub(crate) struct DecompressArgs {
    /// The .hw files, and folders with -r; - for standard input (copied to TMPDIR first).
    #[arg(value_name = "IN", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) inputs: Vec<PathBuf>,
    /// Output file, or - for standard output; a folder for a sharded model, for several inputs or a folder.
    /// [default: IN without .hw; the folder of IN; for --tensor standard output]
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Option<PathBuf>,
    /// Replace output files that exist. The files of a sharded model replace the old ones one by one after
    /// all are complete. If a replacement fails, those before it are already done. Without --force either
    /// all files appear or none.
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) many: ManyArgs,
    /// Only this tensor, as raw little-endian bytes: for a quantized one those of the restored floats.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["recursive", "rm"])]
    pub(crate) tensor: Option<String>,
    /// Only elements A to B of the tensor, counted from 0, without B. A or B may be left out. Only the
    /// blocks that hold these elements are read (input from a pipe is copied whole to TMPDIR first).
    #[arg(long, value_name = "A..B", requires = "tensor")]
    pub(crate) range: Option<ElementRange>,
    /// The format to write a tensor in.
    #[arg(long = "as", value_enum, default_value_t, requires = "tensor")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) codebooks: CodebooksArg,
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
/// Exits with 0 when everything decodes and all checksums agree, else with 1.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// The .hw file, or - for standard input (copied to TMPDIR first).
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) input: PathBuf,
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
    /// Write codebooks as JSON, for reading and editing.
    Export {
        /// Codebook file [default: the built-in codebooks].
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
        /// JSON file to write [default: standard output].
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
  huffwire diff step-1000.hw step-2000.hw --json                which tensors changed, and by how much?")]
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Symbols {
    /// What suits the type: exponents of bf16, f16 and f32, magnitudes or values of smaller floats, bytes of all else.
    #[default]
    Auto,
    /// Every byte, one codebook for all of them (Agrawal et al., arXiv 2601.10673).
    Bytes,
    /// Every byte, a codebook for each byte position of an element.
    BytePlanes,
}

impl From<Symbols> for SymbolRule {
    fn from(symbols: Symbols) -> Self {
        match symbols {
            Symbols::Auto => Self::Auto,
            Symbols::Bytes => Self::Bytes,
            Symbols::BytePlanes => Self::BytePlanes,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LevelArg {
    /// Fast: code exponents and other compressible symbols with the codebooks of the set.
    #[default]
    Fast,
    /// Smallest: code everything that saves bytes, also with codebooks made for a block and stored in it.
    Max,
}

impl From<LevelArg> for Level {
    fn from(level: LevelArg) -> Self {
        match level {
            LevelArg::Fast => Self::Fast,
            LevelArg::Max => Self::Max,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Choose {
    /// Estimate the size under each codebook from a sample of the block and take the smallest. The sample
    /// is larger at level max.
    #[default]
    Sample,
    /// The same with the exact size of the whole block.
    Cheapest,
    /// Consider only the codebooks that are bound to the name of the tensor: those that `huffwire calibrate`
    /// made for it, else the built-in ones if the set has them.
    Named,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// The little-endian bytes alone.
    #[default]
    Raw,
    /// NumPy's .npy; bf16 as 2-byte void, smaller floats as bytes.
    Npy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Kinds {
    /// Tensors whose names differ only in numbers: the layers of a network.
    #[default]
    Names,
    /// All tensors of an element type.
    One,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Codes {
    /// Up to 8 bits, with an escape code for rare symbols: fastest.
    #[value(name = "8")]
    Bits8,
    /// Up to 12 bits.
    #[value(name = "12")]
    Bits12,
    /// Up to 12 bits only where that saves noticeably more.
    #[default]
    Auto,
}

impl Codes {
    pub(crate) const fn limit(self) -> Option<CodeLimit> {
        match self {
            Self::Bits8 => Some(CodeLimit::Bits8),
            Self::Bits12 => Some(CodeLimit::Bits12),
            Self::Auto => None,
        }
    }
}

/// How the command line calls a value.
pub(crate) fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// An element type with the name that the user knows it by.
#[derive(Debug, Clone)]
pub(crate) struct NamedDtype {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
}

impl FromStr for NamedDtype {
    type Err = huffwire::UnknownDtype;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(Self { name: name.to_owned(), dtype: name.parse()? })
    }
}

/// A dimension of a shape.
fn dimension(text: &str) -> Result<u64, String> {
    let whole = text.trim().parse();
    whole.map_err(|_| {
        "dimensions are whole numbers with commas between them, such as 4096,4096".to_owned()
    })
}

/// Bytes of elements in a block, as a power of two.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockSize {
    pub(crate) log2: u8,
}

impl FromStr for BlockSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(ByteCount(bytes @ 0x400..=0x10_0000)) if bytes.is_power_of_two() => {
                Ok(Self { log2: bytes.ilog2() as u8 })
            }
            _ => Err("a power of two from 1K to 1M is needed, such as 64K".to_owned()),
        }
    }
}

/// A number of bytes that is not 0.
pub(crate) fn positive_bytes(text: &str) -> Result<NonZeroUsize, String> {
    let ByteCount(bytes) = text.parse().map_err(|error: NotAByteCount| error.to_string())?;
    let bytes = usize::try_from(bytes).map_err(|_| "this machine cannot address so many bytes")?;
    NonZeroUsize::new(bytes).ok_or_else(|| "a number of bytes above 0 is needed".to_owned())
}

/// Platforms that the user wants measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlatformArg {
    /// All of this machine.
    All,
    /// This one.
    One(Platform),
}

impl FromStr for PlatformArg {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if name == "all" {
            return Ok(Self::All);
        }
        name.parse().map(Self::One).map_err(|error: huffwire::Error| error.to_string())
    }
}

/// A range of elements; what is missing means from the first, or to the last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ElementRange {
    start: Option<u64>,
    end: Option<u64>,
}

impl ElementRange {
    /// The first element, and the one after the last.
    pub(crate) fn bounds(self) -> (Bound<u64>, Bound<u64>) {
        let start = self.start.map_or(Bound::Unbounded, Bound::Included);
        (start, self.end.map_or(Bound::Unbounded, Bound::Excluded))
    }
}

impl FromStr for ElementRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bound = |digits: &str| match digits.trim() {
            "" => Ok(None),
            digits => digits.parse().map(Some).map_err(|_| format!("{digits:?} is no number")),
        };
        let (start, end) = text.split_once("..").ok_or("a range looks like 100..200")?;
        Ok(Self { start: bound(start)?, end: bound(end)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn block_sizes() {
        let log2 = |text: &str| text.parse::<BlockSize>().ok().map(|size| size.log2);
        assert_eq!(log2("128K"), Some(17));
        assert_eq!(log2("64KiB"), Some(16));
        assert_eq!(log2("1m"), Some(20));
        assert_eq!(log2("1024"), Some(10));
        for text in ["", "K", "512", "2M", "100K", "-1K", "99999999999999999999M"] {
            assert_eq!(log2(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_of_bytes() {
        let bytes = |text: &str| positive_bytes(text).ok().map(NonZeroUsize::get);
        assert_eq!(bytes("3 MiB"), Some(3 << 20));
        for text in ["", "0", "0KiB", "1KB"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn platforms() {
        assert_eq!("all".parse(), Ok(PlatformArg::All));
        assert_eq!("portable".parse(), Ok(PlatformArg::One(Platform::Portable)));
        assert!("abacus".parse::<PlatformArg>().unwrap_err().contains("portable"));
    }

    #[test]
    fn ranges() {
        let bounds = |text: &str| text.parse::<ElementRange>().unwrap().bounds();
        assert_eq!(bounds("2..5"), (Bound::Included(2), Bound::Excluded(5)));
        assert_eq!(bounds("..5"), (Bound::Unbounded, Bound::Excluded(5)));
        assert_eq!(bounds("5.."), (Bound::Included(5), Bound::Unbounded));
        assert!("5".parse::<ElementRange>().is_err());
        assert!("a..b".parse::<ElementRange>().is_err());
    }
}
