//! Arguments of `compress` and `decompress`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::ValueHint;
use huffwire::{Choice, CodebookSet, EncodeOptions};

use super::{
    BaseArgs, BlockSize, Choose, CodebooksArg, Common, ElementRange, Format, LevelArg, ManyArgs,
    RawArgs, Symbols,
};

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
///
/// With --base OLD, tensors that OLD has, too, with the same name, type and shape, become deltas: what changed since OLD.
/// Whoever restores the file needs OLD, bit by bit.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  huffwire compress model.safetensors
  huffwire compress model.safetensors.index.json -o model.hw      a sharded model, into one file
  huffwire compress -r model-folder -o packed                     every file, into packed/*.hw
  huffwire compress --dry-run -r model-folder                     what would be saved?
  huffwire compress --rm step-*.safetensors                       removes what was compressed
  huffwire compress step-2.safetensors --base step-1.safetensors  only what changed
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
    /// Replace output files that exist. Where one file becomes one, a symbolic link of the name given with -o, or
    /// beside IN, is followed. In a folder given with -o, and among several files, it is replaced.
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) many: ManyArgs,
    #[command(flatten)]
    pub(crate) base: BaseArgs,
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
/// Deltas, which `huffwire compress --base` makes, need the same --base again.
///
/// Tensors that `huffwire quantize` quantized come back as floats near those that they had; everything else
/// comes back bit by bit.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  huffwire decompress model.safetensors.hw
  huffwire decompress sharded-model.hw -o folder
  huffwire decompress step-2.safetensors.hw --base step-1.safetensors
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
    /// all files appear or none. Where one file becomes one, a symbolic link of the name given with -o, or
    /// beside IN, is followed. In a folder given with -o, and among several files, it is replaced.
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
    pub(crate) base: BaseArgs,
    #[command(flatten)]
    pub(crate) codebooks: CodebooksArg,
    #[command(flatten)]
    pub(crate) common: Common,
}
