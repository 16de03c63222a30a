//! Messages of kind 1: the quantized values and scales of one tensor, with all that is needed to restore floats. See
//! `docs/format.md`, sections 8 and 14.
//!
//! ```
//! use huffwire::gradient::message::{self, Options, Origin};
//! use huffwire::gradient::quantize::{Qsgd, Quantizer};
//! use huffwire::{Decoder, Dtype, Expected};
//!
//! let gradient: Vec<f32> = (0..100_000).map(|i| (i as f32 * 0.37).sin().powi(9)).collect();
//! let quantizer = Quantizer::Qsgd(Qsgd { levels: 4, ..Qsgd::default() });
//! let quantized = quantizer.quantize(&gradient, 1)?;
//!
//! let mut bytes = Vec::new();
//! let origin = Origin { dtype: Dtype::F32, shape: &[1000, 100] };
//! message::encode(&quantized, origin, &Options::default().context(7), &mut bytes)?;
//!
//! let expected = Expected::anything().context(7);
//! let (header, received) = message::decode(&bytes, &expected, &mut Decoder::builtin())?;
//! assert_eq!(header.shape, [1000, 100]);
//! assert_eq!(received, quantized);
//! # Ok::<(), huffwire::Error>(())
//! ```

use std::vec;

use super::encode::Sizes;
use super::item::{ItemReader, ItemWriter, KindHeader};
use super::quantize::Quantized;
use super::values::{Value, ValueBuf};
use crate::codec::Decoder;
use crate::error::{Error, Result, reserve};
use crate::message::{self, Kind, Parsed, VALUES_LOG2, write_entries};
use crate::set::CodebookSet;
use crate::tensor::Expected;

pub use super::header::{BLOCK, Header, Options, Origin};

/// The size of a message, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MessageSizes {
    /// The whole message.
    pub total: usize,
    /// The scales.
    pub scales: usize,
    /// The streams of values, with their codebooks.
    pub values: Sizes,
}

/// Appends the message of a quantized tensor to `out`.
///
/// # Errors
/// As [`ItemWriter::new`] and the encoder; [`Error::TooLarge`] for 2³² values and more. Nothing is appended then.
pub fn encode(
    quantized: &Quantized,
    origin: Origin<'_>,
    options: &Options,
    out: &mut Vec<u8>,
) -> Result<MessageSizes> {
    let item = ItemWriter::new(quantized, origin, options)?;
    let units = message::Header::count_units(item.header().elements() as u64)?;
    let mut sizes = MessageSizes { scales: item.scale_bytes(), ..Default::default() };
    let (mut blocks, mut ends) = (Vec::new(), vec![0]);
    for index in 0..item.header().blocks() {
        let block = item.encode_block(index, &mut blocks)?;
        sizes.values.total += block.total;
        sizes.values.codebook += block.codebook;
        ends.push(blocks.len());
    }
    let blocks = ends.windows(2).map(|ends| &blocks[ends[0]..ends[1]]);
    let entries: Vec<&[u8]> = std::iter::once(item.kind_header()).chain(blocks).collect();
    let header = message::Header {
        kind: Kind::Values,
        dtype: origin.dtype,
        units,
        checksums: options.checksums,
        has_context: options.context.is_some(),
        set: CodebookSet::builtin().id().short(),
        block_log2: VALUES_LOG2,
    };
    let start = out.len();
    write_entries(&header, options.context, &entries, out)?;
    sizes.total = out.len() - start;
    Ok(sizes)
}

/// Reads what a message tells of its tensor before the values. The message's entries must be complete; the checksums of
/// the header and of the kind header are verified. No set is needed.
///
/// # Errors
/// A typed error when the bytes are no message of quantized values of a version that this library reads.
pub fn read_header(message: &[u8], context: Option<u64>) -> Result<Header> {
    let parsed = Parsed::read(message, context)?;
    let header = parsed.header;
    Header::read(header.dtype, header.units.into(), kind_header(&parsed)?)
}

/// Decodes a whole message that is as expected. `decoder` holds the sets that the message may need: the built-in one,
/// and the set of layers that the kind header may name.
///
/// Memory grows with what was decoded, not with what the header claims. Still, few bytes can stand for many equal
/// values: if the sender is not trusted, set [`Expected::max_bytes`]. [`Quantized::dequantize`] checks that the values
/// and scales are such as the quantizer makes.
///
/// # Errors
/// A typed error for everything that is not a whole message of quantized values, or not as expected.
pub fn decode(
    message: &[u8],
    expected: &Expected,
    decoder: &mut Decoder,
) -> Result<(Header, Quantized)> {
    let (reader, mut blocks) = open(message, expected, decoder)?;
    let values = if reader.header().wide {
        ValueBuf::I32(decode_blocks(&reader, &mut blocks)?)
    } else {
        ValueBuf::I8(decode_blocks(&reader, &mut blocks)?)
    };
    let (header, scales) = reader.into_parts();
    let quantizer = header.quantizer;
    Ok((header, Quantized { quantizer, values, scales }))
}

fn decode_blocks<S: Value>(reader: &ItemReader, blocks: &mut Blocks<'_>) -> Result<Vec<S>> {
    let mut values: Vec<S> = Vec::new();
    while let Some((index, block)) = blocks.next()? {
        let start = values.len();
        let more = reader.header().block_values(index);
        reserve(&mut values, more, "a quantized tensor")?;
        values.resize(start + more, S::default());
        reader.decode_block(index, block, S::view_mut(&mut values[start..]))?;
    }
    Ok(values)
}

/// The restored floats of a message, block by block, as bytes of the original type. This takes memory for the scales
/// and for one block, however large the tensor is. The floats are those of [`Quantized::dequantize`], rounded as
/// [`ItemReader::restore_block`] does.
///
/// ```
/// use huffwire::gradient::message::{self, FloatParts, Options, Origin};
/// use huffwire::gradient::quantize::{Linear, Quantizer};
/// use huffwire::{Decoder, Dtype, Expected};
///
/// let gradient: Vec<f32> = (0..3000).map(|i| (i as f32 * 0.37).sin()).collect();
/// let quantized = Quantizer::Linear(Linear { bucket: 100 }).quantize(&gradient, 1)?;
/// let mut bytes = Vec::new();
/// let origin = Origin { dtype: Dtype::F32, shape: &[3000] };
/// message::encode(&quantized, origin, &Options::default(), &mut bytes)?;
///
/// let mut parts = FloatParts::open(&bytes, &Expected::anything(), &mut Decoder::builtin())?;
/// let mut received = Vec::new();
/// while let Some(part) = parts.next_part()? {
///     received.extend(part.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
/// }
/// assert_eq!(received, quantized.dequantize()?);
/// # Ok::<(), huffwire::Error>(())
/// ```
#[derive(Debug)]
pub struct FloatParts<'m> {
    reader: ItemReader,
    blocks: Blocks<'m>,
    bytes: Vec<u8>,
}

impl<'m> FloatParts<'m> {
    /// Reads all of a message but its values.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn open(message: &'m [u8], expected: &Expected, decoder: &mut Decoder) -> Result<Self> {
        let (reader, blocks) = open(message, expected, decoder)?;
        Ok(Self { reader, blocks, bytes: Vec::new() })
    }

    /// What the message tells of its tensor.
    #[must_use]
    pub const fn header(&self) -> &Header {
        self.reader.header()
    }

    /// The floats of the next block: [`BLOCK`] of them, or what remains in the last block; `None` after that.
    ///
    /// # Errors
    /// As [`decode`] and [`Quantized::dequantize`]. After an error it must not be called again.
    pub fn next_part(&mut self) -> Result<Option<&[u8]>> {
        let Some((index, block)) = self.blocks.next()? else { return Ok(None) };
        let header = self.reader.header();
        let size = header.block_values(index) * header.dtype.unit_bytes();
        let more = size.saturating_sub(self.bytes.len());
        reserve(&mut self.bytes, more, "a block of floats")?;
        self.bytes.resize(size, 0);
        self.reader.restore_block(index, block, &mut self.bytes)?;
        Ok(Some(&self.bytes))
    }
}

/// The blocks of a message that were not taken yet.
#[derive(Debug)]
struct Blocks<'m> {
    parsed: Parsed<'m>,
    rest: vec::IntoIter<(usize, &'m [u8])>,
}

impl<'m> Blocks<'m> {
    /// The index and the bytes of the next block, whose checksum was verified.
    fn next(&mut self) -> Result<Option<(usize, &'m [u8])>> {
        let Some((number, block)) = self.rest.next() else { return Ok(None) };
        let index = number - 1;
        let verified = self.parsed.verify(number, block, "a block of quantized values");
        verified.map_err(|error| error.in_block(index as u64))?;
        Ok(Some((index, block)))
    }
}

/// Reads all of a message but its values.
fn open<'m>(
    message: &'m [u8],
    expected: &Expected,
    decoder: &mut Decoder,
) -> Result<(ItemReader, Blocks<'m>)> {
    let (parsed, set) = decoder.parse(message, expected)?;
    let message::Header { dtype, units, .. } = parsed.header;
    let (bytes, set, units) = (kind_header(&parsed)?, set.id(), units.into());
    let reader = ItemReader::new(&KindHeader { dtype, units, set, bytes }, decoder)?;
    let mut rest = parsed.entries().collect::<Vec<_>>().into_iter();
    rest.next();
    Ok((reader, Blocks { parsed, rest }))
}

/// The kind header of a message, which must be of quantized values.
fn kind_header<'m>(parsed: &Parsed<'m>) -> Result<&'m [u8]> {
    let header = parsed.header;
    match header.kind {
        Kind::Values => {}
        Kind::Tensor => {
            let (expected, found) = (Kind::Values.name().into(), header.kind.name().into());
            return Err(Error::Unexpected { what: "the kind of a message", expected, found });
        }
        kind @ Kind::Delta => return Err(kind.unexpected()),
    }
    let mut entries = parsed.entries();
    let (number, entry) =
        entries.next().ok_or_else(|| Error::malformed("a message", 0, "it has no kind header"))?;
    parsed.verify(number, entry, "the kind header of a message")?;
    Ok(entry)
}
