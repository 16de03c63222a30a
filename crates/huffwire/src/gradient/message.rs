//! Messages of quantized tensors: the values and scales of one tensor, with all that is needed to restore floats.
//! See `docs/format.md`, "Quantized tensors".
//!
//! ```
//! use huffwire::Dtype;
//! use huffwire::gradient::encode::EncoderKind;
//! use huffwire::gradient::message;
//! use huffwire::gradient::quantize::{Qsgd, Quantizer};
//!
//! let gradient: Vec<f32> = (0..100_000).map(|i| (i as f32 * 0.37).sin().powi(9)).collect();
//! let quantizer = Quantizer::Qsgd(Qsgd { levels: 4, ..Qsgd::default() });
//! let quantized = quantizer.quantize(&gradient, 1)?;
//!
//! let mut bytes = Vec::new();
//! let origin = message::Origin { dtype: Dtype::F32, shape: &[1000, 100] };
//! message::encode(&quantized, origin, EncoderKind::Auto, &mut bytes)?;
//!
//! let (header, received) = message::decode(&bytes)?;
//! assert_eq!(header.shape, [1000, 100]);
//! assert_eq!(received, quantized);
//! # Ok::<(), huffwire::Error>(())
//! ```

use super::encode::{EncoderKind, Sizes, ValueEncoder};
use super::parameters;
use super::quantize::{ByParts, Quantized, Quantizer, check_scales};
use super::values::{ValueBuf, ValuesMut};
use crate::codec::{Decoder, EncodeOptions, Encoder};
use crate::dtype::Dtype;
use crate::error::{Error, Result, reserve};
use crate::message as tensor_message;
use crate::set::CodebookSet;
use crate::wire::crc32c;
use crate::wire::{Reader, put_varint};

const WHAT: &str = "a quantized tensor";
const MAGIC: &[u8; 4] = b"HWQT";
const VERSION: u8 = 1;
/// Magic, version, checksum.
const FRONT_BYTES: usize = 9;
/// The flag for values that need more than a byte.
const WIDE: u8 = 1;
/// The flag for scales that are coded.
const CODED_SCALES: u8 = 2;

/// Number of values in a stream; the last stream of a tensor has what remains. Since each stream has bytes of its own,
/// a short message cannot claim an arbitrary number of values.
pub const PART: usize = 1 << 20;

/// The tensor before it was quantized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The element type: `F32`, `Bf16` or `F16`. Floats of the last two were converted to f32 first.
    pub dtype: Dtype,
    /// Dimensions, outermost first. Their product is the number of elements.
    pub shape: &'a [u64],
}

/// The header of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// The quantizer, with its parameters.
    pub quantizer: Quantizer,
    /// The encoder of the values.
    pub encoder: EncoderKind,
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

impl Header {
    /// Number of elements: the product of the dimensions.
    #[must_use]
    pub const fn elements(&self) -> usize {
        self.elements
    }

    /// Reads the header of a whole message. The message's checksum is verified.
    ///
    /// # Errors
    /// A typed error when the bytes are no message of a version this library reads.
    pub fn read(message: &[u8]) -> Result<Self> {
        Ok(Parsed::read(message)?.header)
    }
}

/// Appends the message of a quantized tensor to `out`.
///
/// # Errors
/// [`Error::InvalidOption`] for an element type that is no float of 16 or 32 bits, a shape that does not go
/// with the values, another number of scales than the quantizer makes, parameters that make no sense, and as the
/// encoder does. Nothing is appended then.
pub fn encode(
    quantized: &Quantized,
    origin: Origin<'_>,
    encoder: EncoderKind,
    out: &mut Vec<u8>,
) -> Result<MessageSizes> {
    let Quantized { quantizer, values, scales } = quantized;
    quantizer.check()?;
    let Origin { dtype, shape } = origin;
    if !is_float(dtype) {
        return Err(Error::option(format!("a quantized tensor of {dtype}; f32, bf16 or f16")));
    }
    let values = values.view();
    if elements_of(shape) != Some(values.len()) {
        let detail = format!("dimensions {shape:?} for {} values", values.len());
        return Err(Error::option(detail));
    }
    if !quantizer.takes(scales.len(), values.len()) {
        let detail = format!("{} scales for {} values", scales.len(), values.len());
        return Err(Error::option(detail));
    }
    let raw_scales: Vec<u8> = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
    let coded_scales = code_scales(&raw_scales)?;
    let start = out.len();
    out.extend_from_slice(MAGIC);
    out.push(VERSION);
    out.extend_from_slice(&[0; FRONT_BYTES - MAGIC.len() - 1]);
    parameters::write(quantizer, out);
    out.push(encoder.number());
    out.push(dtype.number());
    let wide = matches!(quantized.values, ValueBuf::I32(_));
    let flags = if wide { WIDE } else { 0 } | coded_scales.as_ref().map_or(0, |_| CODED_SCALES);
    out.push(flags);
    put_varint(out, shape.len() as u64);
    for &dimension in shape {
        put_varint(out, dimension);
    }
    put_varint(out, scales.len() as u64);
    let before_scales = out.len();
    match coded_scales {
        Some(coded) => {
            put_varint(out, coded.len() as u64);
            out.extend_from_slice(&coded);
        }
        None => out.extend_from_slice(&raw_scales),
    }
    let mut sizes = MessageSizes { scales: out.len() - before_scales, ..Default::default() };
    let coder = encoder.encoder(quantizer.alphabet());
    let mut stream = Vec::new();
    for from in (0..values.len()).step_by(PART) {
        stream.clear();
        let part = coder.encode(values.slice(from, from + PART), &mut stream);
        let part = part.inspect_err(|_| out.truncate(start))?;
        put_varint(out, stream.len() as u64);
        out.extend_from_slice(&stream);
        sizes.values.total += part.total;
        sizes.values.codebook += part.codebook;
    }
    let check = crc32c(&out[start + FRONT_BYTES..]);
    out[start + FRONT_BYTES - 4..start + FRONT_BYTES].copy_from_slice(&check.to_le_bytes());
    sizes.total = out.len() - start;
    Ok(sizes)
}

/// Decodes a whole message.
///
/// The checksum is verified before anything else. Memory grows with what was decoded, not with what the header
/// claims. Still, few bytes can stand for many equal values: if the sender is not trusted, look at
/// [`Header::elements`] first. [`Quantized::dequantize`] checks that the values and scales are such as the quantizer
/// makes.
///
/// # Errors
/// A typed error for everything that is not a whole message.
pub fn decode(message: &[u8]) -> Result<(Header, Quantized)> {
    let Parsed { header, scales, parts } = Parsed::read(message)?;
    let scales = scales.decode(header.scales)?;
    let values = if header.wide {
        let values = decode_parts(&header, &parts, |values: &mut [i32]| values.into())?;
        ValueBuf::I32(values)
    } else {
        ValueBuf::I8(decode_parts(&header, &parts, |values: &mut [i8]| values.into())?)
    };
    let quantizer = header.quantizer;
    Ok((header, Quantized { quantizer, values, scales }))
}

fn decode_parts<S: Default + Clone>(
    header: &Header,
    parts: &[&[u8]],
    view: impl Fn(&mut [S]) -> ValuesMut<'_>,
) -> Result<Vec<S>> {
    let decoder = header.encoder.encoder(header.quantizer.alphabet());
    let mut values: Vec<S> = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let start = values.len();
        let more = (header.elements - start).min(PART);
        reserve(&mut values, more, "a quantized tensor")?;
        values.resize(start + more, S::default());
        let decoded = decoder.decode(part, view(&mut values[start..]));
        decoded.map_err(|error| error.in_block(index as u64))?;
    }
    Ok(values)
}

/// The restored floats of a message, part by part. This takes memory for the scales and for one part, however large
/// the tensor is. The floats are those of [`Quantized::dequantize`].
///
/// ```
/// use huffwire::Dtype;
/// use huffwire::gradient::encode::EncoderKind;
/// use huffwire::gradient::message::{self, FloatParts};
/// use huffwire::gradient::quantize::{Linear, Quantizer};
///
/// let gradient: Vec<f32> = (0..3000).map(|i| (i as f32 * 0.37).sin()).collect();
/// let quantized = Quantizer::Linear(Linear { bucket: 100 }).quantize(&gradient, 1)?;
/// let mut bytes = Vec::new();
/// let origin = message::Origin { dtype: Dtype::F32, shape: &[3000] };
/// message::encode(&quantized, origin, EncoderKind::Auto, &mut bytes)?;
///
/// let mut floats = FloatParts::open(&bytes)?;
/// let mut received = Vec::new();
/// while let Some(part) = floats.next_part()? {
///     received.extend_from_slice(part);
/// }
/// assert_eq!(received, quantized.dequantize()?);
/// # Ok::<(), huffwire::Error>(())
/// ```
#[derive(Debug)]
pub struct FloatParts<'a> {
    header: Header,
    scales: Vec<f32>,
    decoder: Box<dyn ValueEncoder>,
    /// The streams of all parts, in order, and the number of those that were decoded.
    parts: Vec<&'a [u8]>,
    taken: usize,
    by_parts: ByParts,
    /// The values of the part that was decoded last.
    values: ValueBuf,
    floats: Vec<f32>,
}

impl<'a> FloatParts<'a> {
    /// Reads all of a message but its values.
    ///
    /// # Errors
    /// As [`decode`], and [`Error::Malformed`] for scales that are not finite.
    pub fn open(message: &'a [u8]) -> Result<Self> {
        let Parsed { header, scales, parts } = Parsed::read(message)?;
        let scales = scales.decode(header.scales)?;
        check_scales(&scales)?;
        let decoder = header.encoder.encoder(header.quantizer.alphabet());
        let values = if header.wide { ValueBuf::I32(Vec::new()) } else { ValueBuf::I8(Vec::new()) };
        let (by_parts, floats) = (ByParts::default(), Vec::new());
        Ok(Self { header, scales, decoder, parts, taken: 0, by_parts, values, floats })
    }

    /// The header of the message.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The floats of the next part: [`PART`] of them, or what remains in the last part; `None` after the last part.
    ///
    /// # Errors
    /// As [`decode`] and [`Quantized::dequantize`]. After an error it must not be called again.
    pub fn next_part(&mut self) -> Result<Option<&[f32]>> {
        let index = self.taken;
        let Some(part) = self.parts.get(index) else {
            self.by_parts.finish(&self.header.quantizer, &self.scales)?;
            return Ok(None);
        };
        let count = (self.header.elements - index * PART).min(PART);
        let view = match &mut self.values {
            ValueBuf::I8(values) => ValuesMut::I8(resized(values, count)?),
            ValueBuf::I32(values) => ValuesMut::I32(resized(values, count)?),
        };
        let in_part = |error: Error| error.in_block(index as u64);
        self.decoder.decode(part, view).map_err(in_part)?;
        self.floats.clear();
        let Self { header, scales, floats, values, .. } = self;
        let dequantized = self.by_parts.next(&header.quantizer, values.view(), scales, floats);
        dequantized.map_err(in_part)?;
        self.taken += 1;
        Ok(Some(&self.floats))
    }
}

/// A buffer of `count` values, whose content is going to be replaced.
fn resized<S: Default + Clone>(values: &mut Vec<S>, count: usize) -> Result<&mut [S]> {
    reserve(values, count.saturating_sub(values.len()), "a part of a quantized tensor")?;
    values.resize(count, S::default());
    Ok(values)
}

/// A message whose lengths were all checked. Nothing of it is decoded.
struct Parsed<'a> {
    header: Header,
    scales: Scales<'a>,
    parts: Vec<&'a [u8]>,
}

enum Scales<'a> {
    Raw(&'a [u8]),
    Coded(&'a [u8]),
}

impl<'a> Parsed<'a> {
    fn read(message: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(WHAT, message);
        if &reader.array()? != MAGIC {
            return Err(Error::malformed(
                WHAT,
                0,
                "it does not begin as a message of a quantized tensor does",
            ));
        }
        let version = reader.u8()?;
        if version != VERSION {
            let (found, supported) = (version.into(), VERSION.into());
            return Err(Error::UnknownVersion { what: WHAT, found, supported });
        }
        let (stored, computed) = (reader.u32()?, crc32c(&message[FRONT_BYTES..]));
        if stored != computed {
            return Err(Error::Checksum { what: WHAT, stored, computed });
        }
        let quantizer = parameters::read(&mut reader)?;
        let encoder = EncoderKind::from_number(reader.u8()?)
            .ok_or_else(|| reader.malformed("an encoder that this version does not know"))?;
        let dtype = Dtype::from_number(reader.u8()?).filter(|dtype| is_float(*dtype));
        let dtype =
            dtype.ok_or_else(|| reader.malformed("an element type that is not quantized"))?;
        let flags = reader.u8()?;
        if flags & !(WIDE | CODED_SCALES) != 0 {
            return Err(reader.malformed("flags that this version does not know"));
        }
        let mut shape = Vec::new();
        for _ in 0..reader.varint()? {
            shape.push(reader.varint()?);
        }
        let elements = elements_of(&shape)
            .ok_or_else(|| reader.malformed("more elements than this machine can have"))?;
        let scales = reader.size()?;
        if !quantizer.takes(scales, elements) {
            let detail = format!("{scales} scales for {elements} elements");
            return Err(reader.malformed(detail));
        }
        let header =
            Header { quantizer, encoder, dtype, shape, scales, wide: flags & WIDE != 0, elements };
        let scales = if flags & CODED_SCALES == 0 {
            let bytes = scales.saturating_mul(4);
            Scales::Raw(reader.take(bytes)?)
        } else {
            let bytes = reader.size()?;
            Scales::Coded(reader.take(bytes)?)
        };
        let mut parts = Vec::new();
        // Each part takes at least a byte, so this ends with the message whatever the shape claims.
        for _ in 0..elements.div_ceil(PART) {
            let bytes = reader.size()?;
            parts.push(reader.take(bytes)?);
        }
        reader.finish()?;
        Ok(Self { header, scales, parts })
    }
}

impl Scales<'_> {
    fn decode(&self, count: usize) -> Result<Vec<f32>> {
        let coded;
        let bytes = match self {
            Self::Raw(bytes) => *bytes,
            Self::Coded(message) => {
                let header = tensor_message::Header::read(message, None)?;
                if header.dtype != Dtype::F32 || header.units as usize != count {
                    let detail = format!("its scales are {} of {}", header.units, header.dtype);
                    return Err(Error::malformed(WHAT, 0, detail));
                }
                coded = Decoder::builtin().decode_to_vec(message)?.1;
                &coded
            }
        };
        let mut scales = Vec::new();
        reserve(&mut scales, count, "the scales of a quantized tensor")?;
        let stored = bytes.as_chunks::<4>().0.iter();
        scales.extend(stored.map(|scale| f32::from_le_bytes(*scale)));
        Ok(scales)
    }
}

/// Scales as a message of the lossless coder, where that is smaller.
fn code_scales(raw: &[u8]) -> Result<Option<Vec<u8>>> {
    if raw.len() <= tensor_message::HEADER_BYTES {
        return Ok(None);
    }
    // The checksum of the whole message covers the scales.
    let options = EncodeOptions::default().checksums(false);
    let mut encoder = Encoder::new(CodebookSet::builtin(), options)?;
    let coded = match encoder.encode_to_vec(Dtype::F32, raw) {
        Ok(coded) => coded,
        // There are more scales than a message holds.
        Err(Error::TooLarge { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let length_bytes = 10;
    Ok((coded.len() + length_bytes < raw.len()).then_some(coded))
}

const fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::Bf16 | Dtype::F16)
}

/// The product of dimensions; `None` when the machine cannot address so many elements.
fn elements_of(shape: &[u64]) -> Option<usize> {
    // With a dimension of 0 there are no elements, even if the other dimensions overflow.
    if shape.contains(&0) {
        return Some(0);
    }
    let elements = shape.iter().try_fold(1u64, |product, &d| product.checked_mul(d))?;
    usize::try_from(elements).ok().filter(|elements| *elements <= isize::MAX as usize / 4)
}
