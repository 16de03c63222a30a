//! The kind header: what a message or an item tells of a quantized tensor before its blocks. See `docs/format.md`,
//! section 14.1.

use std::sync::Arc;

use super::encode::{BitmapBooks, EncoderKind};
use super::parameters;
use super::quantize::{Quantized, Quantizer, check_scales};
use super::values::ValueBuf;
use crate::codec::{Decoder, EncodeOptions, Encoder};
use crate::dtype::Dtype;
use crate::error::{Error, Result, TOO_FEW_ADDRESSES, reserve};
use crate::ids::SetId;
use crate::message::{self, Kind, VALUES_LOG2};
use crate::set::CodebookSet;
use crate::tensor::Expected;
use crate::wire::{Reader, put_varint};

const WHAT: &str = "the kind header of a quantized tensor";
/// The flag for values that need more than a byte.
const WIDE: u8 = 1;
/// The flag for scales that are coded.
const CODED_SCALES: u8 = 2;

/// Number of values in a block; the last block of a tensor has what remains. Since each block has bytes of its own, a
/// short message cannot claim an arbitrary number of values.
pub const BLOCK: usize = 1 << VALUES_LOG2;

/// The tensor before it was quantized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The element type: `F32`, `Bf16` or `F16`. Floats of the last two were converted to f32 first.
    pub dtype: Dtype,
    /// Dimensions, outermost first. Their product is the number of elements.
    pub shape: &'a [u64],
}

/// How quantized values are coded. Begin with the default and change what matters.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The encoder of the values. Default: [`EncoderKind::Auto`].
    pub encoder: EncoderKind,
    /// The books of [`EncoderKind::BitmapFixed`]; other encoders have none.
    pub books: Option<Arc<BitmapBooks>>,
    /// Whether the entries of a message have a CRC-32C each. Default: yes.
    pub checksums: bool,
    /// The number that both ends agreed on for a message, if they did. Default: none.
    pub context: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { encoder: EncoderKind::Auto, books: None, checksums: true, context: None }
    }
}

impl Options {
    /// The same with another encoder.
    #[must_use]
    pub fn encoder(mut self, encoder: EncoderKind) -> Self {
        self.encoder = encoder;
        self
    }

    /// The same with [`EncoderKind::BitmapFixed`] and these books, which the receiver must hold.
    #[must_use]
    pub fn books(mut self, books: Arc<BitmapBooks>) -> Self {
        (self.encoder, self.books) = (EncoderKind::BitmapFixed, Some(books));
        self
    }

    /// The same with or without checksums.
    #[must_use]
    pub const fn checksums(mut self, checksums: bool) -> Self {
        self.checksums = checksums;
        self
    }

    /// The same in a context.
    #[must_use]
    pub const fn context(mut self, context: u64) -> Self {
        self.context = Some(context);
        self
    }
}

/// What is known of a quantized tensor before its values.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Header {
    /// The quantizer, with its parameters.
    pub quantizer: Quantizer,
    /// The encoder of the values.
    pub encoder: EncoderKind,
    /// The set of the books of [`EncoderKind::BitmapFixed`].
    pub layers: Option<SetId>,
    /// The element type before quantization.
    pub dtype: Dtype,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Number of scales.
    pub scales: usize,
    /// Whether values may need more than a byte.
    pub wide: bool,
    elements: usize,
}

impl Header {
    /// Number of elements: the product of the dimensions.
    #[must_use]
    pub const fn elements(&self) -> usize {
        self.elements
    }

    /// Number of blocks.
    #[must_use]
    pub const fn blocks(&self) -> usize {
        self.elements.div_ceil(BLOCK)
    }

    /// Number of values in a block; 0 where there is no such block.
    #[must_use]
    pub const fn block_values(&self, index: usize) -> usize {
        let left = self.elements.saturating_sub(index.saturating_mul(BLOCK));
        if left < BLOCK { left } else { BLOCK }
    }

    /// Reads the kind header of a tensor of so many units (elements) of a type. The scales are not decoded.
    ///
    /// # Errors
    /// A typed error for everything that is no kind header of quantized values of this type.
    pub fn read(dtype: Dtype, units: u64, kind_header: &[u8]) -> Result<Self> {
        Parsed::read(dtype, units, kind_header).map(|parsed| parsed.header)
    }

    /// The header of a quantized tensor that is going to be coded.
    pub(super) fn of(quantized: &Quantized, origin: Origin<'_>, options: &Options) -> Result<Self> {
        let Quantized { quantizer, values, scales } = quantized;
        quantizer.check()?;
        let Origin { dtype, shape } = origin;
        if !is_float(dtype) {
            return Err(Error::option(format!("a quantized tensor of {dtype}; f32, bf16 or f16")));
        }
        let elements = values.view().len();
        if elements_of(shape) != Some(elements as u64) {
            return Err(Error::option(format!("dimensions {shape:?} for {elements} values")));
        }
        let scales = scales.len();
        if !quantizer.takes(scales, elements) {
            return Err(Error::option(format!("{scales} scales for {elements} values")));
        }
        let Options { encoder, books, .. } = options;
        if (*encoder == EncoderKind::BitmapFixed) != books.is_some() {
            let detail = "the encoder bitmap-fixed needs books, and no other encoder takes them";
            return Err(Error::option(detail));
        }
        Ok(Self {
            quantizer: *quantizer,
            encoder: *encoder,
            layers: books.as_ref().map(|books| books.set().id()),
            dtype,
            shape: shape.to_vec(),
            scales,
            wide: matches!(values, ValueBuf::I32(_)),
            elements,
        })
    }

    /// Appends the kind header; returns how many bytes of it are the scales.
    pub(super) fn write(&self, scales: &[f32], out: &mut Vec<u8>) -> Result<usize> {
        let raw: Vec<u8> = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
        let coded = code_scales(&raw)?;
        parameters::write(&self.quantizer, out);
        out.push(self.encoder.number());
        let coded_flag = if coded.is_some() { CODED_SCALES } else { 0 };
        out.push(coded_flag | if self.wide { WIDE } else { 0 });
        if let Some(set) = self.layers {
            out.extend_from_slice(&set.0);
        }
        put_varint(out, self.shape.len() as u64);
        for &dimension in &self.shape {
            put_varint(out, dimension);
        }
        put_varint(out, scales.len() as u64);
        let scales = coded.as_ref().unwrap_or(&raw);
        out.extend_from_slice(scales);
        Ok(scales.len())
    }
}

/// A kind header whose scales are not decoded.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    pub(super) header: Header,
    scales: Scales<'a>,
}

#[derive(Debug)]
enum Scales<'a> {
    Raw(&'a [u8]),
    Coded(&'a [u8]),
}

impl<'a> Parsed<'a> {
    pub(super) fn read(dtype: Dtype, units: u64, kind_header: &'a [u8]) -> Result<Self> {
        if !is_float(dtype) {
            let detail = format!("elements of {dtype}, which are not quantized");
            return Err(Error::malformed(WHAT, 0, detail));
        }
        let limit = isize::MAX as u64 / size_of::<f32>() as u64;
        let elements = usize::try_from(units).ok().filter(|_| units <= limit);
        let (what, remedy) = ("a quantized tensor (in elements)", TOO_FEW_ADDRESSES);
        let too_large = Error::TooLarge { what, found: units, limit, remedy };
        let elements = elements.ok_or(too_large)?;
        let mut reader = Reader::new(WHAT, kind_header);
        let quantizer = parameters::read(&mut reader)?;
        let encoder = EncoderKind::from_number(reader.u8()?)
            .ok_or_else(|| reader.malformed("an encoder that this version does not know"))?;
        let flags = reader.u8()?;
        if flags & !(WIDE | CODED_SCALES) != 0 {
            return Err(reader.malformed("flags that this version does not know"));
        }
        let has_books = encoder == EncoderKind::BitmapFixed;
        let layers = if has_books { Some(SetId(reader.array()?)) } else { None };
        let mut shape = Vec::new();
        // Each dimension takes a byte at least.
        for _ in 0..reader.varint()? {
            shape.push(reader.varint()?);
        }
        if elements_of(&shape) != Some(units) {
            let detail =
                format!("{} dimensions whose product is not the {units} elements", shape.len());
            return Err(reader.malformed(detail));
        }
        let scales = reader.size()?;
        if !quantizer.takes(scales, elements) {
            let detail = format!("{scales} scales for {elements} elements");
            return Err(reader.malformed(detail));
        }
        let wide = flags & WIDE != 0;
        let header = Header { quantizer, encoder, layers, dtype, shape, scales, wide, elements };
        let scales = if flags & CODED_SCALES == 0 {
            let bytes = scales.saturating_mul(size_of::<f32>());
            Scales::Raw(reader.take(bytes)?)
        } else {
            Scales::Coded(reader.rest())
        };
        reader.finish()?;
        Ok(Self { header, scales })
    }

    /// The scales, all of which are finite; `set` is that of the message or item. Memory grows with what was decoded.
    pub(super) fn scales(&self, set: SetId, decoder: &mut Decoder) -> Result<Vec<f32>> {
        let count = self.header.scales;
        let scales = match self.scales {
            Scales::Raw(bytes) => {
                let mut scales = Vec::new();
                reserve(&mut scales, count, "the scales of a quantized tensor")?;
                let stored = bytes.as_chunks::<4>().0.iter();
                scales.extend(stored.map(|scale| f32::from_le_bytes(*scale)));
                scales
            }
            Scales::Coded(bytes) => {
                let header = message::Header::read(bytes, None)?;
                let message::Header { kind, dtype, units, checksums, .. } = header;
                if (kind, dtype, checksums) != (Kind::Tensor, Dtype::F32, false)
                    || units as usize != count
                {
                    let detail = format!("its scales are {units} of {dtype}, coded unlike scales");
                    return Err(Error::malformed(WHAT, 0, detail));
                }
                if header.set != set.short() {
                    let wanted: String =
                        header.set.iter().map(|byte| format!("{byte:02x}")).collect();
                    return Err(Error::SetMismatch { wanted: wanted + "…", held: vec![set] });
                }
                let expected = Expected::anything().max_bytes(count.saturating_mul(4));
                let bytes = decoder.decode_expected_to_vec(bytes, &expected)?.1;
                let mut scales = Vec::new();
                reserve(&mut scales, count, "the scales of a quantized tensor")?;
                scales.extend(bytes.as_chunks::<4>().0.iter().map(|s| f32::from_le_bytes(*s)));
                scales
            }
        };
        check_scales(&scales)?;
        Ok(scales)
    }
}

/// Scales as a message of the lossless coder, where that is smaller.
fn code_scales(raw: &[u8]) -> Result<Option<Vec<u8>>> {
    if raw.len() <= message::HEADER_BYTES {
        return Ok(None);
    }
    // The checksum of the kind header covers the scales.
    let options = EncodeOptions::default().checksums(false);
    let mut encoder = Encoder::new(CodebookSet::builtin(), options)?;
    match encoder.encode_to_vec(Dtype::F32, raw) {
        Ok(coded) => Ok((coded.len() < raw.len()).then_some(coded)),
        // There are more scales than a message holds.
        Err(Error::TooLarge { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

const fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::Bf16 | Dtype::F16)
}

/// The product of dimensions; `None` beyond 64 bits.
fn elements_of(shape: &[u64]) -> Option<u64> {
    // With a dimension of 0 there are no elements, even if the other dimensions overflow.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1u64, |product, &dimension| product.checked_mul(dimension))
}
