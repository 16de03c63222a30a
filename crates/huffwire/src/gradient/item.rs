//! Quantized tensors entry by entry: a kind header and blocks of 2²⁰ values, which a message or an item of a
//! [`file`](mod@crate::file) consists of. See `docs/format.md`, section 14.
//!
//! ```
//! use huffwire::gradient::item::{ItemReader, ItemWriter, KindHeader, Options, Origin};
//! use huffwire::gradient::quantize::{Linear, Quantizer};
//! use huffwire::{CodebookSet, Decoder, Dtype};
//!
//! let gradient: Vec<f32> = (0..3000).map(|i| (i as f32 * 0.37).sin()).collect();
//! let quantized = Quantizer::Linear(Linear { bucket: 100 }).quantize(&gradient, 1)?;
//! let origin = Origin { dtype: Dtype::F32, shape: &[30, 100] };
//! let writer = ItemWriter::new(&quantized, origin, &Options::default())?;
//! let mut block = Vec::new();
//! writer.encode_block(0, &mut block)?;
//!
//! let kind_header = KindHeader {
//!     dtype: Dtype::F32,
//!     units: 3000,
//!     set: CodebookSet::builtin().id(),
//!     bytes: writer.kind_header(),
//! };
//! let mut reader =
//!     ItemReader::new(&kind_header, &mut Decoder::builtin())?;
//! let mut restored = vec![0; 12_000];
//! reader.restore_block(0, &block, &mut restored)?;
//! let floats = restored.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
//! assert!(floats.eq(quantized.dequantize()?));
//! # Ok::<(), huffwire::Error>(())
//! ```

use std::sync::Arc;

use half::{bf16, f16};

use super::encode::{Bitmap, Sizes, ValueEncoder, is_of_layers};
use super::header::Parsed;
use super::quantize::{Quantized, Quantizer};
use super::values::{ValueBuf, Values, ValuesMut};
use crate::codec::{Decoder, POISON};
use crate::dtype::Dtype;
use crate::error::{Error, Result, reserve};
use crate::ids::SetId;
use crate::set::CodebookSet;

pub use super::header::{BLOCK, Header, Options, Origin};

/// Kind header to be read, with what its surroundings tell of it.
#[derive(Debug, Clone, Copy)]
pub struct KindHeader<'a> {
    /// The element type.
    pub dtype: Dtype,
    /// Number of units, which are elements here.
    pub units: u64,
    /// The set of the message or item.
    pub set: SetId,
    /// The kind header.
    pub bytes: &'a [u8],
}

/// Makes the entries of a quantized tensor.
#[derive(Debug)]
pub struct ItemWriter<'a> {
    header: Header,
    values: Values<'a>,
    encoder: Box<dyn ValueEncoder>,
    kind_header: Vec<u8>,
    scales: usize,
}

impl<'a> ItemWriter<'a> {
    /// Codes all of a tensor but its values. Of the options, [`Options::encoder`] and [`Options::books`] count here.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for an element type that is no float of 16 or 32 bits, a shape that does not go
    /// with the values, another number of scales than the quantizer makes, parameters that make no sense, and books
    /// without the encoder for them.
    pub fn new(quantized: &'a Quantized, origin: Origin<'_>, options: &Options) -> Result<Self> {
        let header = Header::of(quantized, origin, options)?;
        let mut kind_header = Vec::new();
        let scales = header.write(&quantized.scales, &mut kind_header)?;
        let encoder: Box<dyn ValueEncoder> = match &options.books {
            Some(books) => Box::new(Bitmap::with_books(Arc::clone(books))),
            None => header.encoder.encoder(header.quantizer.alphabet()),
        };
        Ok(Self { header, values: quantized.values.view(), encoder, kind_header, scales })
    }

    /// What the kind header tells.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The first entry.
    #[must_use]
    pub fn kind_header(&self) -> &[u8] {
        &self.kind_header
    }

    /// Bytes of the scales in the kind header.
    #[must_use]
    pub const fn scale_bytes(&self) -> usize {
        self.scales
    }

    /// Appends a block, of [`Header::blocks`]. Blocks can be made in any order, and by several threads.
    ///
    /// # Errors
    /// As the encoder does; [`Error::InvalidOption`] for a block that the tensor does not have.
    pub fn encode_block(&self, index: usize, out: &mut Vec<u8>) -> Result<Sizes> {
        if index >= self.header.blocks() {
            return Err(no_such_block(index, self.header.blocks()));
        }
        let from = index * BLOCK;
        self.encoder.encode(self.values.slice(from, from + BLOCK), out)
    }
}

/// Restores a quantized tensor from its entries, block by block. Besides the scales it takes memory for one block,
/// however large the tensor is.
///
/// Blocks can be restored in any order, with one exception. A tensor of [`Sparsify`](super::quantize::Sparsify) has a
/// scale for each element that is kept, so the scales of a block begin where those of the blocks before it end: there
/// block 0 comes first, and a block can be restored as soon as the block before it was restored once.
#[derive(Debug)]
pub struct ItemReader {
    header: Header,
    scales: Vec<f32>,
    decoder: Box<dyn ValueEncoder>,
    /// Where the scales of each block begin, as far as that is known; used by sparsifiers alone.
    starts: Vec<usize>,
    /// The values of the block that was restored last.
    values: ValueBuf,
    floats: Vec<f32>,
}

impl ItemReader {
    /// Reads the kind header of a tensor. `decoder` holds the sets that the tensor may need: that of the message or
    /// item for scales, and the set of bitmap layers that the kind header may name.
    ///
    /// # Errors
    /// A typed error for everything that is no kind header of quantized values of this type, and
    /// [`Error::SetMismatch`] for a set that the decoder does not hold.
    pub fn new(kind_header: &KindHeader<'_>, decoder: &mut Decoder) -> Result<Self> {
        let KindHeader { dtype, units, set, bytes } = *kind_header;
        let parsed = Parsed::read(dtype, units, bytes)?;
        let values: Box<dyn ValueEncoder> = match parsed.header.layers {
            Some(set) => Box::new(Bitmap::with_set(layers(decoder, set)?)),
            None => parsed.header.encoder.encoder(parsed.header.quantizer.alphabet()),
        };
        let scales = parsed.scales(set, decoder)?;
        let header = parsed.header;
        let buffer = if header.wide { ValueBuf::I32(Vec::new()) } else { ValueBuf::I8(Vec::new()) };
        let (starts, floats) = (vec![0], Vec::new());
        Ok(Self { header, scales, decoder: values, starts, values: buffer, floats })
    }

    /// What the kind header tells.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The scales of the tensor.
    #[must_use]
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    pub(super) fn into_parts(self) -> (Header, Vec<f32>) {
        (self.header, self.scales)
    }

    /// Decodes the values of a block into a buffer of exactly [`Header::block_values`] values. A checksum of the block
    /// must have been verified.
    ///
    /// # Errors
    /// A typed error for everything that is not this block. The contents of the buffer are undefined then.
    pub fn decode_block(&self, index: usize, block: &[u8], values: ValuesMut<'_>) -> Result<()> {
        let (due, room) = (self.header.block_values(index), values.len());
        if due != room {
            return Err(Error::option(format!("a buffer of {room} values for a block of {due}")));
        }
        self.decoder.decode(block, values).map_err(|error| error.in_block(index as u64))
    }

    /// Restores the floats of a block, as little-endian bytes of the original type, into `out`, which must have
    /// exactly as many bytes as they. Floats of 16 bits are rounded to nearest, ties to even; f16 may become infinite
    /// so. A checksum of the block must have been verified. After an error every byte of `out` is [`POISON`].
    ///
    /// # Errors
    /// A typed error for everything that is not this block; [`Error::InvalidOption`] for a block that comes too early
    /// (see [`ItemReader`]); [`Error::OutputLength`].
    pub fn restore_block(&mut self, index: usize, block: &[u8], out: &mut [u8]) -> Result<()> {
        let restored = self.try_restore(index, block, out);
        if restored.is_err() {
            out.fill(POISON);
        }
        restored
    }

    fn try_restore(&mut self, index: usize, block: &[u8], out: &mut [u8]) -> Result<()> {
        if index >= self.header.blocks() {
            return Err(no_such_block(index, self.header.blocks()));
        }
        let count = self.header.block_values(index);
        let (needed, available) = (count * self.header.dtype.unit_bytes(), out.len());
        if needed != available {
            return Err(Error::OutputLength { needed, available });
        }
        let is_sparse = matches!(self.header.quantizer, Quantizer::Sparsify(_));
        let start = if is_sparse { self.starts.get(index).copied() } else { Some(0) };
        let Some(start) = start else {
            let next = self.starts.len() - 1;
            return Err(Error::option(format!(
                "block {index} before block {next}: where its scales begin is not known yet"
            )));
        };
        let in_block = |error: Error| error.in_block(index as u64);
        let view = match &mut self.values {
            ValueBuf::I8(values) => ValuesMut::I8(resized(values, count)?),
            ValueBuf::I32(values) => ValuesMut::I32(resized(values, count)?),
        };
        self.decoder.decode(block, view).map_err(in_block)?;
        self.floats.clear();
        let used = self.header.quantizer.dequantize_part(
            index * BLOCK,
            self.values.view(),
            &self.scales[start..],
            &mut self.floats,
        );
        let end = start + used.map_err(in_block)?;
        if is_sparse {
            if index + 1 == self.header.blocks() && end < self.scales.len() {
                let left = self.scales.len() - end;
                let detail = format!("{left} scales more than elements kept");
                return Err(in_block(Error::malformed("a quantized gradient", count, detail)));
            }
            if index + 1 == self.starts.len() {
                self.starts.push(end);
            }
        }
        write_floats(self.header.dtype, &self.floats, out);
        Ok(())
    }
}

/// A set of bitmap layers, of those that a decoder holds.
fn layers(decoder: &Decoder, id: SetId) -> Result<Arc<CodebookSet>> {
    let sets = || decoder.sets().filter(|set| is_of_layers(set));
    let found = sets().find(|set| set.id() == id);
    found.map(Arc::clone).ok_or_else(|| Error::SetMismatch {
        wanted: format!("{id} of bitmap layers"),
        held: sets().map(|set| set.id()).collect(),
    })
}

/// A buffer of `count` values, whose content is going to be replaced.
fn resized<S: Default + Clone>(values: &mut Vec<S>, count: usize) -> Result<&mut [S]> {
    reserve(values, count.saturating_sub(values.len()), "a block of quantized values")?;
    values.resize(count, S::default());
    Ok(values)
}

/// Writes floats as elements of a type, as many as there is room for.
fn write_floats(dtype: Dtype, floats: &[f32], out: &mut [u8]) {
    match dtype {
        Dtype::Bf16 => {
            for (place, float) in out.as_chunks_mut().0.iter_mut().zip(floats) {
                *place = bf16::from_f32(*float).to_le_bytes();
            }
        }
        Dtype::F16 => {
            for (place, float) in out.as_chunks_mut().0.iter_mut().zip(floats) {
                *place = f16::from_f32(*float).to_le_bytes();
            }
        }
        _ => {
            for (place, float) in out.as_chunks_mut().0.iter_mut().zip(floats) {
                *place = float.to_le_bytes();
            }
        }
    }
}

#[cold]
fn no_such_block(index: usize, blocks: usize) -> Error {
    Error::option(format!("block {index} of a quantized tensor that has {blocks}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_rounded_to_nearest_and_ties_to_even() {
        let written = |dtype, float: f32| {
            let mut out = [0; 2];
            write_floats(dtype, &[float], &mut out);
            u16::from_le_bytes(out)
        };
        // Ties: an odd and an even last bit below.
        assert_eq!(written(Dtype::Bf16, f32::from_bits(0x3f80_8000)), 0x3f80);
        assert_eq!(written(Dtype::Bf16, f32::from_bits(0x3f81_8000)), 0x3f82);
        assert_eq!(written(Dtype::F16, 1.0 + 2f32.powi(-11)), 0x3c00);
        assert_eq!(written(Dtype::F16, 1.0 + 3.0 * 2f32.powi(-11)), 0x3c02);
        assert_eq!(written(Dtype::F16, 2f32.powi(-24)), 1);
        assert_eq!(written(Dtype::F16, -65519.0), 0xfbff);
        assert_eq!(written(Dtype::F16, 65520.0), 0x7c00);
        assert_eq!(written(Dtype::F16, -f32::MAX), 0xfc00);
        assert_eq!(written(Dtype::Bf16, f32::MAX), 0x7f80);
        assert_eq!(written(Dtype::Bf16, -0.0), 0x8000);
    }
}
