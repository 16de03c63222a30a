//! What is told of quantized tensors, and of all of them together.

use std::collections::BTreeMap;
use std::fmt;

use huffwire::Kind;
use huffwire::file::Directory;
use huffwire::gradient::encode::{EncoderKind, shannon};
use huffwire::gradient::quantize::{Quantized, Quantizer};
use huffwire_io::ValueSizes;
use serde::Serialize;

use super::compare::{LeftOut, Measured};
use super::tensor::Tensor;
use crate::report::{Table, percent, printable, size};

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    quantizer: &'static str,
    /// The same with its parameters.
    parameters: String,
    /// The encoder that the command line names.
    encoder: &'static str,
    seed: u64,
    #[serde(flatten)]
    all: Figures,
    /// The whole file, or what it would have.
    file_bytes: u64,
    tensors: Vec<TensorReport>,
    /// Tensors of other types.
    kept: Vec<KeptReport>,
}

/// A tensor that is kept without loss.
#[derive(Debug, Serialize)]
pub(super) struct KeptReport {
    name: String,
    dtype: &'static str,
    /// The type as the original spells it.
    original_dtype: String,
    raw_bytes: u64,
    coded_bytes: u64,
}

impl KeptReport {
    /// All tensors of a file that were not quantized.
    pub(super) fn all(directory: &Directory) -> Vec<Self> {
        let items = directory.items().filter(|item| item.kind == Kind::Tensor);
        let kept = items.filter_map(|item| {
            let tensor = item.tensor.as_ref()?;
            Some(Self {
                name: tensor.name.clone(),
                dtype: item.dtype.name(),
                original_dtype: tensor.dtype.clone(),
                raw_bytes: item.raw_bytes,
                coded_bytes: item.coded_bytes(),
            })
        });
        kept.collect()
    }
}

/// A tensor.
#[derive(Debug, Serialize)]
pub(super) struct TensorReport {
    name: String,
    dtype: &'static str,
    /// The type as the original spells it.
    original_dtype: String,
    shape: Vec<u64>,
    #[serde(flatten)]
    figures: Figures,
}

/// The figures of a tensor, or of all of them: sizes are sums, speeds all elements by all time, errors
/// those of the tensors as one long vector.
#[derive(Debug, Clone, Default, Serialize)]
struct Figures {
    elements: u64,
    zeros_percent: f64,
    /// Bytes of the tensor as it was.
    raw_bytes: u64,
    scales: u64,
    /// The scales in the file.
    scales_bytes: u64,
    /// The tensor in the file: scales, values and all.
    coded_bytes: u64,
    /// `‖Q(v) - v‖ / ‖v‖`; 0 where that is 0 / 0.
    relative_error: f64,
    max_abs_error: f64,
    /// What an ideal code for single values would take, without codebook.
    shannon_bytes: f64,
    /// The same for pairs of a value and its repetitions: the symbols of RLH.
    shannon_pairs_bytes: f64,
    /// The same for runs of zeros and other values: the symbols of SHS.
    shannon_runs_bytes: f64,
    /// The same for masks of eight neighbours and the values that are not 0: those of bitmaps.
    shannon_bitmap_bytes: f64,
    /// The encoder that `auto` took; how often, where tensors differ.
    chosen: String,
    encoders: Vec<EncoderReport>,
    left_out: Vec<LeftOutReport>,
    #[serde(skip)]
    sums: Sums,
}

/// What does not appear, but is added up.
#[derive(Debug, Clone, Default)]
struct Sums {
    zeros: u64,
    squares: f64,
    error_squares: f64,
    chosen: BTreeMap<&'static str, u64>,
}

/// An encoder at work on all values.
#[derive(Debug, Clone, Serialize)]
struct EncoderReport {
    name: &'static str,
    /// The stream, codebook included.
    coded_bytes: u64,
    codebook_bytes: u64,
    /// 10^9 elements a second.
    encode_gelem_s: f64,
    decode_gelem_s: f64,
    #[serde(skip)]
    encode_seconds: f64,
    #[serde(skip)]
    decode_seconds: f64,
}

/// An encoder that these values are not for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct LeftOutReport {
    name: &'static str,
    reason: String,
}

impl TensorReport {
    /// All but the encoders.
    pub(super) fn new(
        tensor: &Tensor<'_>,
        (floats, near): (&[f32], &[f32]),
        quantized: &Quantized,
        sizes: ValueSizes,
    ) -> Self {
        let values = quantized.values.view();
        let shannon = shannon(values);
        let mut figures = Figures {
            elements: floats.len() as u64,
            raw_bytes: tensor.bytes(),
            scales: quantized.scales.len() as u64,
            scales_bytes: sizes.scales,
            coded_bytes: sizes.coded,
            shannon_bytes: shannon.values,
            shannon_pairs_bytes: shannon.pairs,
            shannon_runs_bytes: shannon.zero_runs,
            shannon_bitmap_bytes: shannon.bitmap,
            ..Figures::default()
        };
        figures.sums.zeros = values.zeros() as u64;
        for (&float, &near) in floats.iter().zip(near) {
            let error = f64::from(near) - f64::from(float);
            figures.sums.squares += f64::from(float).powi(2);
            figures.sums.error_squares += error.powi(2);
            figures.max_abs_error = figures.max_abs_error.max(error.abs());
        }
        figures.conclude();
        let info = tensor.info;
        Self {
            name: info.name.clone(),
            dtype: tensor.dtype().name(),
            original_dtype: info.dtype.clone(),
            shape: info.shape.clone(),
            figures,
        }
    }

    /// Adds what was measured of encoders.
    pub(super) fn add_encoders(&mut self, measured: Vec<Measured>, left_out: Vec<LeftOut>) {
        let figures = &mut self.figures;
        for one in &measured {
            if one.kind == EncoderKind::Auto {
                *figures.sums.chosen.entry(one.chosen).or_default() += 1;
            }
        }
        figures.encoders = measured.into_iter().map(EncoderReport::new).collect();
        let left_out = left_out.into_iter();
        figures.left_out =
            left_out.map(|(kind, reason)| LeftOutReport { name: kind.name(), reason }).collect();
        figures.conclude();
    }
}

impl EncoderReport {
    fn new(measured: Measured) -> Self {
        Self {
            name: measured.kind.name(),
            coded_bytes: measured.sizes.total as u64,
            codebook_bytes: measured.sizes.codebook as u64,
            encode_gelem_s: 0.0,
            decode_gelem_s: 0.0,
            encode_seconds: measured.encode_seconds,
            decode_seconds: measured.decode_seconds,
        }
    }
}

impl Figures {
    /// Adds a tensor.
    fn add(&mut self, other: &Self) {
        let first = self.elements == 0 && self.encoders.is_empty();
        self.elements += other.elements;
        self.raw_bytes += other.raw_bytes;
        self.scales += other.scales;
        self.scales_bytes += other.scales_bytes;
        self.coded_bytes += other.coded_bytes;
        self.max_abs_error = self.max_abs_error.max(other.max_abs_error);
        self.shannon_bytes += other.shannon_bytes;
        self.shannon_pairs_bytes += other.shannon_pairs_bytes;
        self.shannon_runs_bytes += other.shannon_runs_bytes;
        self.shannon_bitmap_bytes += other.shannon_bitmap_bytes;
        self.sums.zeros += other.sums.zeros;
        self.sums.squares += other.sums.squares;
        self.sums.error_squares += other.sums.error_squares;
        for (name, count) in &other.sums.chosen {
            *self.sums.chosen.entry(name).or_default() += count;
        }
        if first {
            self.encoders.clone_from(&other.encoders);
            self.left_out.clone_from(&other.left_out);
            return;
        }
        for one in &mut self.encoders {
            let Some(more) = other.encoders.iter().find(|more| more.name == one.name) else {
                continue;
            };
            one.coded_bytes += more.coded_bytes;
            one.codebook_bytes += more.codebook_bytes;
            one.encode_seconds += more.encode_seconds;
            one.decode_seconds += more.decode_seconds;
        }
    }

    /// Computes what follows from sums.
    fn conclude(&mut self) {
        let of_all = |part: f64| if self.elements > 0 { part / self.elements as f64 } else { 0.0 };
        self.zeros_percent = 100.0 * of_all(self.sums.zeros as f64);
        self.relative_error = match self.sums.error_squares {
            0.0 => 0.0,
            squares => (squares / self.sums.squares).sqrt(),
        };
        let elements = self.elements as f64;
        for one in &mut self.encoders {
            one.encode_gelem_s = elements / one.encode_seconds.max(1e-9) / 1e9;
            one.decode_gelem_s = elements / one.decode_seconds.max(1e-9) / 1e9;
        }
        let chosen = self.sums.chosen.iter();
        self.chosen = match self.sums.chosen.len() {
            1 => chosen.map(|(name, _)| (*name).to_owned()).collect(),
            _ => {
                let each: Vec<String> =
                    chosen.map(|(name, count)| format!("{name} x{count}")).collect();
                each.join(", ")
            }
        };
    }
}

impl Report {
    pub(super) fn new(
        (quantizer, encoder, seed): (&Quantizer, EncoderKind, u64),
        file_bytes: u64,
        tensors: Vec<TensorReport>,
        kept: Vec<KeptReport>,
    ) -> Self {
        let mut all = Figures::default();
        for tensor in &tensors {
            all.add(&tensor.figures);
        }
        all.conclude();
        Self {
            quantizer: quantizer.name(),
            parameters: quantizer.to_string(),
            encoder: encoder.name(),
            seed,
            all,
            file_bytes,
            tensors,
            kept,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = &self.all;
        writeln!(
            f,
            "{}: {} tensors, {} elements, {} zeros, relative error {:.4}, largest error {:.3e}",
            self.parameters,
            self.tensors.len(),
            all.elements,
            percent(all.zeros_percent),
            all.relative_error,
            all.max_abs_error,
        )?;
        let kept: u64 = self.kept.iter().map(|kept| kept.raw_bytes).sum();
        let (raw, coded) = (size(all.raw_bytes + kept), size(self.file_bytes));
        writeln!(f, "{raw} -> {coded}, {} of them scales", size(all.scales_bytes))?;
        if !self.kept.is_empty() {
            let names: Vec<String> = self.kept.iter().map(|kept| printable(&kept.name)).collect();
            writeln!(f, "kept without loss: {}", names.join(", "))?;
        }
        if all.encoders.is_empty() {
            return Ok(());
        }
        let shannon = all.shannon_bytes;
        writeln!(
            f,
            "Shannon: values {}, pairs {}, zero runs {}, bitmap {} (codebooks not counted)\n",
            size(shannon.ceil() as u64),
            size(all.shannon_pairs_bytes.ceil() as u64),
            size(all.shannon_runs_bytes.ceil() as u64),
            size(all.shannon_bitmap_bytes.ceil() as u64),
        )?;
        let headings = ["encoder", "coded", "codebook", "bits/element", "encode G/s", "decode G/s"];
        let mut table = Table::new(headings);
        for one in &all.encoders {
            table.row([
                one.name.to_owned(),
                size(one.coded_bytes),
                size(one.codebook_bytes),
                format!("{:.3}", 8.0 * one.coded_bytes as f64 / (all.elements as f64).max(1.0)),
                format!("{:.3}", one.encode_gelem_s),
                format!("{:.3}", one.decode_gelem_s),
            ]);
        }
        write!(f, "{table}")?;
        for one in &all.left_out {
            writeln!(f, "{}: left out: {}", one.name, printable(&one.reason))?;
        }
        writeln!(f, "auto took {}", all.chosen)
    }
}
