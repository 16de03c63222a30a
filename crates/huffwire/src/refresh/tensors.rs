//! Books for tensors: a codebook set, refreshed by calibration.

use std::ops::Range;
use std::sync::Arc;

use super::Refreshable;
use crate::block::{BlockInfo, PlaneInfo, PlaneMode};
use crate::calibrate::{self, Collector, Options, Profile, kind_of};
use crate::codec::{CodedBlock, Decoder, EncodeOptions, Encoder};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::planes::{Plane, Role};
use crate::set::CodebookSet;
use crate::tensor::Tensor;

/// Bytes that a sample has, at most: it is a block of its own, so that old and new books code it as they would code
/// traffic.
const SAMPLE_BYTES: usize = 16 << 10;

/// A codebook set in use for tensors. New ones are made by [`calibrate`]: books for each kind of tensor
/// ([`kind_of`] its name), and the built-in ones behind them.
#[derive(Debug, Clone)]
pub struct TensorBooks {
    set: Arc<CodebookSet>,
    encoding: EncodeOptions,
    options: Options,
}

/// A part of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSample {
    kind: String,
    dtype: Dtype,
    bytes: Vec<u8>,
}

impl TensorBooks {
    /// A set that is used with default options.
    #[must_use]
    pub fn new(set: impl Into<Arc<CodebookSet>>) -> Self {
        Self { set: set.into(), encoding: EncodeOptions::default(), options: Options::default() }
    }

    /// The same for an encoder with other options.
    #[must_use]
    pub const fn encoding(mut self, encoding: EncodeOptions) -> Self {
        self.encoding = encoding;
        self
    }

    /// The same with other options for the calibration of new books.
    #[must_use]
    pub fn calibration(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Which bytes of a tensor a sample has; where they lie follows from `place`, a random number. `None` if the tensor has
    /// no element. So a tensor need not be in memory as a whole.
    #[must_use]
    pub fn sample_range(dtype: Dtype, bytes: u64, place: u64) -> Option<Range<u64>> {
        let unit_bytes = dtype.unit_bytes() as u64;
        let units = bytes / unit_bytes;
        let count = units.min(SAMPLE_BYTES as u64 / unit_bytes);
        // Aligned to a group of the order in which units are coded.
        let places = (units - count) / 64 + 1;
        let start = ((u128::from(place) * u128::from(places)) >> 64) as u64 * 64 * unit_bytes;
        (count > 0).then(|| start..start + count * unit_bytes)
    }

    /// Bits that no book can save: the remainder of all units that are not 0, in the layout that has least of it.
    fn kept_bits(&self, dtype: Dtype, bytes: &[u8]) -> u64 {
        let of_layout = |layout| {
            let planes = dtype.planes(layout).iter();
            let remainder = planes.filter(|plane| plane.role == Role::Remainder);
            remainder.map(|plane| u64::from(plane.width * plane.per_unit)).sum()
        };
        let least: u64 = dtype.layouts(self.encoding.rule).map(of_layout).min().unwrap_or(0);
        let units = bytes.chunks_exact(dtype.unit_bytes());
        units.filter(|unit| unit.iter().any(|byte| *byte != 0)).count() as u64 * least
    }

    /// The set: what sender and receiver must share.
    #[must_use]
    pub const fn set(&self) -> &Arc<CodebookSet> {
        &self.set
    }
}

impl TensorSample {
    /// The kind of the tensor.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The element type.
    #[must_use]
    pub const fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Consecutive elements of the tensor, as bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bits of all planes of a block, and of the books that it embeds. What a remainder saves because it is constant is not
/// the merit of a book.
fn payload_bits(dtype: Dtype, info: &BlockInfo, bytes: &[u8]) -> u64 {
    let Some(layout) = info.layout else { return 8 * bytes.len() as u64 };
    let embeds = |plane: &PlaneInfo| matches!(plane.mode, PlaneMode::Embedded { .. });
    let header = if info.planes.iter().any(embeds) { info.header_bytes } else { 0 };
    let bits = |(plane, stored): (&Plane, &PlaneInfo)| match (stored.mode, stored.parts) {
        (_, Some(parts)) => 8 * (parts.end - parts.stream) as u64,
        (PlaneMode::Constant(_), None) if plane.role == Role::Symbols => 0,
        _ => stored.symbols as u64 * u64::from(plane.width),
    };
    let planes = dtype.planes(layout).iter().zip(&info.planes);
    8 * header as u64 + planes.map(bits).sum::<u64>()
}

impl Refreshable for TensorBooks {
    type Message<'a> = Tensor<'a>;
    type Sample = TensorSample;

    fn size(message: &Tensor<'_>) -> usize {
        message.bytes().len()
    }

    fn sample_size(sample: &TensorSample) -> usize {
        sample.bytes.len()
    }

    fn sample(message: &Tensor<'_>, place: u64) -> Option<TensorSample> {
        let (dtype, bytes) = (message.dtype(), message.bytes());
        let range = Self::sample_range(dtype, bytes.len() as u64, place)?;
        let bytes = bytes.get(range.start as usize..range.end as usize)?.to_vec();
        Some(TensorSample { kind: kind_of(message.name()), dtype, bytes })
    }

    /// The bits of symbols. The remainder that all books leave as it is does not count, nor do headers and the states of
    /// lanes, which are few in a message of some size.
    fn bits(&self, samples: &[TensorSample]) -> Result<u64> {
        let block_log2 = SAMPLE_BYTES.ilog2() as u8;
        let options = self.encoding.block_log2(block_log2.max(self.encoding.block_log2));
        let mut encoder = Encoder::new(Arc::clone(&self.set), options.checksums(false))?;
        let decoder = Decoder::new(Arc::clone(&self.set));
        let mut block = Vec::new();
        let mut bits = 0;
        for TensorSample { kind, dtype, bytes } in samples {
            block.clear();
            encoder.encode_block(&Tensor::new(*dtype, bytes).named(kind), &mut block)?;
            let coded =
                CodedBlock { dtype: *dtype, set: self.set.id(), checksum: None, bytes: &block };
            let info = decoder.inspect_block(&coded, bytes.len())?;
            bits +=
                payload_bits(*dtype, &info, bytes).saturating_sub(self.kept_bits(*dtype, bytes));
        }
        Ok(bits)
    }

    fn refit(&self, samples: &[TensorSample]) -> Result<Self> {
        // Samples of one kind are shards of it: calibration shifts them onto each other.
        let rule = self.encoding.rule;
        let mut collector = Collector::new(rule);
        for TensorSample { kind, dtype, bytes } in samples {
            let mut shard = Profile::new(*dtype, rule);
            shard.add(bytes)?;
            collector.push(kind, shard)?;
        }
        if collector.shards() == 0 {
            return Ok(self.clone());
        }
        let calibrate::Calibration { set, .. } = collector.build(&self.options)?;
        Ok(Self { set: set.into(), ..self.clone() })
    }

    fn shipping_bytes(&self) -> usize {
        self.set.to_bytes().len()
    }
}
