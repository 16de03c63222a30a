//! Arguments of `huffwire analyze`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::{ValueEnum, ValueHint};
use huffwire::Dtype;
use huffwire::refresh::Limits;
use huffwire_analysis::{KindName, LeaveOut, MAX_SHARDS, Options, Scaling};

use super::{BaseArgs, Common, NamedDtype, RawArgs, Symbols, positive_bytes};

/// Find out how compressible tensors are, and with which codebooks.
///
/// For each kind of tensors (those whose names differ only in numbers), element type and symbol rule: what a perfect code
/// would save (Shannon), a Huffman code made for each shard, one codebook fixed in advance, and the built-in codebooks.
/// Savings are means over shards, in percent. The fixed codebook is made from other tensors than those that it codes: from
/// the files of --calibrate-on, or from the other files, layers or shards. KL is the divergence of shards from their
/// average, in bits a symbol.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  huffwire analyze model.safetensors
  huffwire analyze step-*.safetensors --report report.html
  huffwire analyze step-200.safetensors --calibrate-on step-100.safetensors --symbols auto,bytes
  huffwire analyze activations.safetensors --kind '*.down_proj.in=FFN1' --shards 64 --axis -1
  huffwire analyze weights.safetensors --as e4m3,e3m2,e2m3,e2m1 --scale block --json
  huffwire analyze step-*.safetensors --timeline --report drift.html")]
pub(crate) struct AnalyzeArgs {
    /// Files to analyze: those of compress, and .hw files. Several files stand for several steps or batches of one model.
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) raw: RawArgs,
    /// Tensors whose names match PATTERN (* stands for any characters) are of the kind NAME. Can be given several times;
    /// the first pattern that matches counts.
    #[arg(long, value_name = "PATTERN=NAME")]
    pub(crate) kind: Vec<KindName>,
    /// Cut each tensor into N shards, up to 1024, as tensor parallelism does.
    #[arg(long, value_name = "N", default_value = "1", value_parser = shards)]
    pub(crate) shards: NonZeroU32,
    /// The axis along which tensors are cut; -1 is the last one.
    #[arg(long, value_name = "A", default_value_t = -1, allow_hyphen_values = true)]
    pub(crate) axis: i64,
    /// The most shards, of all kinds, types and symbol rules together, that are counted alone. Those of kinds beyond that are
    /// counted in groups [default: 20000, but 4096 of a kind, 1024 of a tensor, and 8192 of the files of --calibrate-on].
    #[arg(long, value_name = "N")]
    pub(crate) shards_alone: Option<u64>,
    /// Make the fixed codebooks from the tensors of this file. Can be given several times, or with several files.
    #[arg(long, value_name = "FILE", num_args = 1.., value_hint = ValueHint::FilePath)]
    pub(crate) calibrate_on: Vec<PathBuf>,
    /// What is left out in turn when the fixed codebook for it is made [default: files if a kind is in several, else layers,
    /// else shards].
    #[arg(long, value_enum, conflicts_with = "calibrate_on")]
    pub(crate) leave_out: Option<LeaveOutArg>,
    /// Analyze bf16, f16 and f32 tensors converted to these types, too: e4m3, e5m2, e3m2, e2m3, e2m1.
    #[arg(long = "as", value_name = "TYPE,...", value_delimiter = ',')]
    pub(crate) derived: Vec<NamedDtype>,
    /// How values are scaled before --as converts them.
    #[arg(long, value_enum, default_value_t, requires = "derived")]
    pub(crate) scale: ScaleArg,
    /// Which parts of an element the Huffman code encodes.
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',', default_value = "auto")]
    pub(crate) symbols: Vec<Symbols>,
    /// Follow codebooks over the steps of a run: what they spend above new ones (regret), step by step, and when the policy
    /// of huffwire.distributed would have replaced them. Each file is of a step: the number behind the word `step` in its
    /// name, or else the last number; files of one step belong together. Codebooks are calibrated on the first step, or on
    /// the files of --calibrate-on.
    #[arg(long)]
    pub(crate) timeline: bool,
    /// The regret, in percent, above which the policy replaces codebooks.
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0, value_parser = regret, requires = "timeline")]
    pub(crate) refresh_regret: f64,
    /// Messages from one judgement of the policy to the next, at least. Each tensor of a step is a message.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..), requires = "timeline")]
    pub(crate) refresh_every: u64,
    /// Bytes of tensors from one sample of the policy to the next, on average.
    #[arg(long, value_name = "SIZE", default_value = "8MiB", value_parser = positive_bytes, requires = "timeline")]
    pub(crate) refresh_interval: NonZeroUsize,
    /// Codebooks that .hw files among the inputs need, where they neither embed them nor use the built-in ones.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) codebooks: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) base: BaseArgs,
    /// Write the report into this file (- is standard output): one page that needs no network.
    #[arg(long, value_name = "OUT.html", value_hint = ValueHint::FilePath)]
    pub(crate) report: Option<PathBuf>,
    /// Write the figures of the report into this folder, as SVG.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) plots: Option<PathBuf>,
    /// Replace a report or figures that exist.
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl AnalyzeArgs {
    /// The options of the analysis.
    pub(crate) fn options(&self) -> Options {
        let mut derived: Vec<Dtype> = Vec::new();
        for NamedDtype { dtype, .. } in &self.derived {
            if !derived.contains(dtype) {
                derived.push(*dtype);
            }
        }
        Options {
            kinds: self.kind.clone(),
            shards: self.shards,
            axis: self.axis,
            rules: self.symbols.iter().map(|&symbols| symbols.into()).collect(),
            derived,
            scaling: match self.scale {
                ScaleArg::Tensor => Scaling::Tensor,
                ScaleArg::Block => Scaling::Block,
            },
            leave_out: self.leave_out.map(|part| match part {
                LeaveOutArg::Files => LeaveOut::Files,
                LeaveOutArg::Layers => LeaveOut::Layers,
                LeaveOutArg::Shards => LeaveOut::Shards,
            }),
            timeline: self.timeline.then(|| Limits {
                regret: self.refresh_regret / 100.0,
                every: self.refresh_every,
                interval: self.refresh_interval.get(),
                ..Limits::default()
            }),
            shards_alone: self.shards_alone,
        }
    }
}

/// What is left out in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LeaveOutArg {
    /// The tensors of one file.
    Files,
    /// The tensors of one layer: the first number in their names.
    Layers,
    /// The shards with one number; where tensors are not cut, each tensor.
    Shards,
}

/// How values are scaled before they are converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ScaleArg {
    /// The largest magnitude of the tensor becomes the largest value of the type.
    #[default]
    Tensor,
    /// Blocks of 32 values share a power of two, an e8m0 scale (OCP Microscaling Formats).
    Block,
}

fn shards(text: &str) -> Result<NonZeroU32, String> {
    let number = text.parse().ok().filter(|number: &NonZeroU32| number.get() <= MAX_SHARDS);
    number.ok_or_else(|| format!("a number from 1 to {MAX_SHARDS} is needed"))
}

fn regret(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok().filter(|percent: &f64| percent.is_finite() && *percent >= 0.0);
    percent.ok_or_else(|| "a number from 0 on is needed, such as 2".to_owned())
}
