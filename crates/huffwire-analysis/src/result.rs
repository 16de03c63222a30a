//! The result of an analysis, as it is in JSON. All savings are percent of the size of the tensors.

mod timeline;

use serde::{Serialize, Serializer};

use crate::options::Scaling;

pub use timeline::{
    Codebooks, Course, Curve, Judgement, KindCourse, Refresh, RefreshCourse, Step, Timeline,
};

/// Result of an analysis.
#[derive(Debug, Clone, Serialize)]
pub struct Analysis {
    /// The files that were analyzed.
    pub files: Vec<FileInfo>,
    /// The files that the fixed codebooks were made from; empty where parts of the analyzed files were left out in turn.
    pub calibrated_on: Vec<FileInfo>,
    /// What the reader must know: files of different models, tensors left out.
    pub notes: Vec<String>,
    /// All tensors together, in their own types and by the first symbol rule.
    pub total: Totals,
    /// A row for each kind of tensors, element type and symbol rule.
    pub kinds: Vec<KindResult>,
    /// How codebooks age over the steps of a run, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
}

/// A file of an analysis.
#[derive(Debug, Clone, Serialize)]
pub struct FileInfo {
    /// What the caller calls it.
    pub name: String,
    /// Number of its model, counted from 0: files with the same number were averaged.
    pub model: usize,
}

/// Savings of all tensors together, weighted by bytes.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Totals {
    /// Bytes of the tensors.
    pub bytes: u64,
    /// Tensors, or shards of them.
    pub shards: u64,
    /// Perfect codes for each shard.
    #[serde(serialize_with = "rounded")]
    pub shannon_saving_percent: f64,
    /// Huffman codes made for each shard.
    #[serde(serialize_with = "rounded")]
    pub huffman_saving_percent: f64,
    /// One codebook for each kind; tensors without one count as they are.
    #[serde(serialize_with = "rounded")]
    pub fixed_saving_percent: f64,
    /// The best of the built-in codebooks; tensors without one count as they are.
    #[serde(serialize_with = "rounded")]
    pub builtin_saving_percent: f64,
}

/// One kind of tensors, in one type, by one symbol rule. Savings and divergences are means over shards, each with the same
/// weight.
#[derive(Debug, Clone, Serialize)]
pub struct KindResult {
    /// The kind: a pattern on tensor names, or the name that the caller gave it.
    pub name: String,
    /// Number of the model, as in [`FileInfo::model`].
    pub model: usize,
    /// The element type.
    pub dtype: String,
    /// The type in the file, where values were converted.
    pub converted_from: Option<String>,
    /// How values were scaled before they were converted: `tensor` or `block`.
    pub scaling: Option<Scaling>,
    /// The symbol rule: `auto`, `bytes` or `byte-planes`.
    pub symbols: String,
    /// How elements fall apart into planes.
    pub layout: String,
    /// Shards, of all files.
    pub shards: u64,
    /// Groups that these shards were counted in, where there are too many of them: all figures are then of groups in place of
    /// shards. `None` where each shard was counted alone.
    pub groups: Option<usize>,
    /// Values; of e8m0, scales.
    pub values: u64,
    /// Bytes of these values.
    pub bytes: u64,
    /// A perfect code for each shard.
    #[serde(serialize_with = "rounded")]
    pub shannon_saving_percent: f64,
    /// A Huffman code made for each shard, its codebook not counted.
    #[serde(serialize_with = "rounded")]
    pub huffman_saving_percent: f64,
    /// One codebook for all shards, made from others; `None` where there is nothing to make it from.
    #[serde(serialize_with = "rounded_option")]
    pub fixed_saving_percent: Option<f64>,
    /// What the fixed codebook was made from: `calibration files`, `other files`, `other layers`, `other shards`, or
    /// `itself` where there is only one shard.
    pub fixed_from: Option<&'static str>,
    /// The best built-in codebook for each shard; `None` where there are none for these symbols.
    #[serde(serialize_with = "rounded_option")]
    pub builtin_saving_percent: Option<f64>,
    /// One quad length code for all shards (arXiv 2602.17849v2), made from the same as the fixed codebook; `None` for planes of
    /// exponents, whose codebooks are relative to a base.
    #[serde(serialize_with = "rounded_option")]
    pub quad_length_saving_percent: Option<f64>,
    /// The same with a dual length code (arXiv 2602.17849v1).
    #[serde(serialize_with = "rounded_option")]
    pub dual_length_saving_percent: Option<f64>,
    /// Percent by which the size with the fixed codebook is above that with Huffman codes for each shard.
    #[serde(serialize_with = "rounded_option")]
    pub over_huffman_percent: Option<f64>,
    /// Percent by which the size with the fixed codebook is above that with perfect codes.
    #[serde(serialize_with = "rounded_option")]
    pub over_shannon_percent: Option<f64>,
    /// KL divergence of the shards to their average, in bits a symbol: mean over shards.
    #[serde(serialize_with = "rounded")]
    pub mean_kl_bits: f64,
    /// The same, of the shard that is the furthest.
    #[serde(serialize_with = "rounded")]
    pub max_kl_bits: f64,
    /// Percent of the symbols that take the escape of the fixed codebook.
    #[serde(serialize_with = "rounded")]
    pub escape_percent: f64,
    /// The planes of symbols; empty but for the 256 rows with the most bytes.
    pub planes: Vec<PlaneResult>,
    /// Each shard alone; `None` where shards were counted in groups.
    pub per_shard: Option<Vec<ShardResult>>,
}

/// A plane of symbols, averaged over the shards of a kind.
#[derive(Debug, Clone, Serialize)]
pub struct PlaneResult {
    /// Number of the plane in the layout.
    pub plane: usize,
    /// Bits of a symbol.
    pub width: u8,
    /// Whether the symbols are exponents, counted from about their mean.
    pub centred: bool,
    /// Entropy of the average, in bits.
    #[serde(serialize_with = "rounded")]
    pub entropy_bits: f64,
    /// The symbol that the first entry of the lists stands for.
    pub first_symbol: i32,
    /// The average PMF, from the first symbol that occurs to the last.
    #[serde(serialize_with = "rounded_list")]
    pub pmf: Vec<f64>,
    /// By symbol, the bits of its code in the codebook made from all shards (or from the calibration files); 0 where it
    /// takes the escape.
    pub code_bits: Vec<u8>,
    /// The share of exact zeros, in planes of exponents.
    #[serde(serialize_with = "rounded_option")]
    pub zero_share: Option<f64>,
    /// Bits of the code of exact zeros, in planes of exponents; 0 where they have none.
    pub zero_bits: Option<u8>,
    /// Bits of the escape, the symbol behind it included; 0 where there is no escape.
    pub escape_bits: u8,
    /// The longest code, in bits.
    pub longest: u8,
    /// Symbols that occur and take the escape.
    pub escaped: Vec<i32>,
}

/// One shard.
#[derive(Debug, Clone, Serialize)]
pub struct ShardResult {
    /// Number of the file.
    pub file: u32,
    /// Name of the tensor.
    pub tensor: String,
    /// The first number in the name.
    pub layer: Option<u64>,
    /// Number of the shard in the tensor.
    pub shard: u32,
    /// Values.
    pub values: u64,
    /// As in [`KindResult`].
    #[serde(serialize_with = "rounded")]
    pub shannon_saving_percent: f64,
    /// As in [`KindResult`].
    #[serde(serialize_with = "rounded")]
    pub huffman_saving_percent: f64,
    /// As in [`KindResult`].
    #[serde(serialize_with = "rounded_option")]
    pub fixed_saving_percent: Option<f64>,
    /// As in [`KindResult`].
    #[serde(serialize_with = "rounded_option")]
    pub builtin_saving_percent: Option<f64>,
    /// KL divergence to the average, in bits a symbol.
    #[serde(serialize_with = "rounded")]
    pub kl_bits: f64,
}

/// Six decimals: more than the figures mean, and a third of the bytes.
fn round(value: f64) -> f64 {
    // Adding 0 turns -0 into 0.
    (value * 1e6).round() / 1e6 + 0.0
}

fn rounded<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(round(*value))
}

fn rounded_option<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(round).serialize(serializer)
}

fn rounded_list<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|value| round(*value)))
}

fn rounded_options<S: Serializer>(
    values: &[Option<f64>],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|value| value.map(round)))
}
