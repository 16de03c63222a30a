//! Messages of quantized gradients: one tensor, states and scales, with all that is needed to turn it into
//! values. See `docs/format.md`, "Quantized tensors".
//!
//! ```
//! use huffwire::ElementType;
//! use huffwire::gradient::encode::EncoderKind;
//! use huffwire::gradient::message;
//! use huffwire::gradient::quantize::{Qsgd, Quantizer};
//!
//! let gradient: Vec<f32> = (0..100_000).map(|i| (i as f32 * 0.37).sin().powi(9)).collect();
//! let quantizer = Quantizer::Qsgd(Qsgd { levels: 4, ..Qsgd::default() });
//! let quantized = quantizer.quantize(&gradient, 1)?;
//!
//! let mut bytes = Vec::new();
//! let origin = message::Origin { element: ElementType::F32, shape: &[1000, 100] };
//! message::encode(&quantized, origin, EncoderKind::Auto, &mut bytes)?;
//!
//! let (header, received) = message::decode(&bytes)?;
//! assert_eq!(header.shape, [1000, 100]);
//! assert_eq!(received, quantized);
//! # Ok::<(), huffwire::Error>(())
//! ```

use super::encode::{EncoderKind, Sizes, StateEncoder};
use super::parameters;
use super::quantize::{ByParts, Quantized, Quantizer, check_scales};
use super::states::{StateBuf, StatesMut};
use crate::codebook::CodebookSet;
use crate::codec::{Decoder, EncodeOptions, Encoder};
use crate::element::ElementType;
use crate::error::{Error, Result, reserve};
use crate::format::checksum::crc32c;
use crate::format::message as tensor_message;
use crate::format::reader::{Reader, put_varint};

const WHAT: &str = "a quantized tensor";
const MAGIC: &[u8; 4] = b"HWQT";
const VERSION: u8 = 1;
/// Magic, version, checksum.
const FRONT_BYTES: usize = 9;
/// States that need more than a byte.
const WIDE: u8 = 1;
/// Scales that are coded.
const CODED_SCALES: u8 = 2;

/// States of a stream; the last one of a tensor has what remains. So what a message claims is bounded by its
/// bytes.
pub const PART: usize = 1 << 20;

/// What a tensor was before it was quantized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// `F32`, `Bf16` or `F16`; the latter were converted to f32 first.
    pub element: ElementType,
    /// Dimensions, outermost first; their product is the number of elements.
    pub shape: &'a [u64],
}

/// What a message says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// The quantizer, with its parameters.
    pub quantizer: Quantizer,
    /// The encoder of the states.
    pub encoder: EncoderKind,
    /// What the values were before.
    pub element: ElementType,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Number of scales.
    pub scales: usize,
    /// Whether states need more than a byte.
    pub wide: bool,
    elements: usize,
}

/// The size of a message, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MessageSizes {
    /// All of it.
    pub total: usize,
    /// The scales.
    pub scales: usize,
    /// The streams of states, with their codebooks.
    pub states: Sizes,
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
/// with the states, another number of scales than the quantizer makes, parameters that make no sense, and as the
/// encoder does. Nothing is appended then.
pub fn encode(
    quantized: &Quantized,
    origin: Origin<'_>,
    encoder: EncoderKind,
    out: &mut Vec<u8>,
) -> Result<MessageSizes> {
    let Quantized { quantizer, states, scales } = quantized;
    quantizer.check()?;
    let Origin { element, shape } = origin;
    if !is_float(element) {
        return Err(Error::option(format!("a quantized tensor of {element}; f32, bf16 or f16")));
    }
    let states = states.view();
    if elements_of(shape) != Some(states.len()) {
        let detail = format!("dimensions {shape:?} for {} states", states.len());
        return Err(Error::option(detail));
    }
    if !quantizer.takes(scales.len(), states.len()) {
        let detail = format!("{} scales for {} states", scales.len(), states.len());
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
    out.push(element.number());
    let wide = matches!(quantized.states, StateBuf::I32(_));
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
    for from in (0..states.len()).step_by(PART) {
        stream.clear();
        let part = coder.encode(states.slice(from, from + PART), &mut stream);
        let part = part.inspect_err(|_| out.truncate(start))?;
        put_varint(out, stream.len() as u64);
        out.extend_from_slice(&stream);
        sizes.states.total += part.total;
        sizes.states.codebook += part.codebook;
    }
    let check = crc32c(&out[start + FRONT_BYTES..]);
    out[start + FRONT_BYTES - 4..start + FRONT_BYTES].copy_from_slice(&check.to_le_bytes());
    sizes.total = out.len() - start;
    Ok(sizes)
}

/// Decodes a whole message.
///
/// Its checksum is verified before anything else, and memory grows with what was decoded, not with what the
/// header claims. States of one kind still are a lot of data in few bytes: look at [`Header::elements`] first
/// when the sender is not trusted. Whether states and scales are such as the quantizer makes,
/// [`Quantized::dequantize`] tells.
///
/// # Errors
/// A typed error for everything that is not a whole message.
pub fn decode(message: &[u8]) -> Result<(Header, Quantized)> {
    let Parsed { header, scales, parts } = Parsed::read(message)?;
    let scales = scales.decode(header.scales)?;
    let states = if header.wide {
        let states = decode_parts(&header, &parts, |states: &mut [i32]| states.into())?;
        StateBuf::I32(states)
    } else {
        StateBuf::I8(decode_parts(&header, &parts, |states: &mut [i8]| states.into())?)
    };
    let quantizer = header.quantizer;
    Ok((header, Quantized { quantizer, states, scales }))
}

fn decode_parts<S: Default + Clone>(
    header: &Header,
    parts: &[&[u8]],
    view: impl Fn(&mut [S]) -> StatesMut<'_>,
) -> Result<Vec<S>> {
    let decoder = header.encoder.encoder(header.quantizer.alphabet());
    let mut states: Vec<S> = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let start = states.len();
        let more = (header.elements - start).min(PART);
        reserve(&mut states, more, "a quantized tensor")?;
        states.resize(start + more, S::default());
        let decoded = decoder.decode(part, view(&mut states[start..]));
        decoded.map_err(|error| error.in_block(index as u64))?;
    }
    Ok(states)
}

/// The values of a message, part by part: there need only be memory for the scales and for one part, however large the
/// tensor is said to be. The values are those of [`Quantized::dequantize`].
///
/// ```
/// use huffwire::ElementType;
/// use huffwire::gradient::encode::EncoderKind;
/// use huffwire::gradient::message::{self, Values};
/// use huffwire::gradient::quantize::{Linear, Quantizer};
///
/// let gradient: Vec<f32> = (0..3000).map(|i| (i as f32 * 0.37).sin()).collect();
/// let quantized = Quantizer::Linear(Linear { bucket: 100 }).quantize(&gradient, 1)?;
/// let mut bytes = Vec::new();
/// let origin = message::Origin { element: ElementType::F32, shape: &[3000] };
/// message::encode(&quantized, origin, EncoderKind::Auto, &mut bytes)?;
///
/// let mut values = Values::open(&bytes)?;
/// let mut received = Vec::new();
/// while let Some(part) = values.next_part()? {
///     received.extend_from_slice(part);
/// }
/// assert_eq!(received, quantized.dequantize()?);
/// # Ok::<(), huffwire::Error>(())
/// ```
#[derive(Debug)]
pub struct Values<'a> {
    header: Header,
    scales: Vec<f32>,
    decoder: Box<dyn StateEncoder>,
    /// In order, and how many were taken.
    parts: Vec<&'a [u8]>,
    taken: usize,
    by_parts: ByParts,
    /// Of the last part that was taken.
    states: StateBuf,
    values: Vec<f32>,
}

impl<'a> Values<'a> {
    /// Reads all of a message but its states.
    ///
    /// # Errors
    /// As [`decode`], and [`Error::Malformed`] for scales that are not finite.
    pub fn open(message: &'a [u8]) -> Result<Self> {
        let Parsed { header, scales, parts } = Parsed::read(message)?;
        let scales = scales.decode(header.scales)?;
        check_scales(&scales)?;
        let decoder = header.encoder.encoder(header.quantizer.alphabet());
        let states = if header.wide { StateBuf::I32(Vec::new()) } else { StateBuf::I8(Vec::new()) };
        let (by_parts, values) = (ByParts::default(), Vec::new());
        Ok(Self { header, scales, decoder, parts, taken: 0, by_parts, states, values })
    }

    /// What the message says of itself.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The values of the next part: [`PART`] of them, of the last part what remains; `None` behind that.
    ///
    /// # Errors
    /// As [`decode`] and [`Quantized::dequantize`]. There is nothing to be had from it after an error.
    pub fn next_part(&mut self) -> Result<Option<&[f32]>> {
        let index = self.taken;
        let Some(part) = self.parts.get(index) else {
            self.by_parts.finish(&self.header.quantizer, &self.scales)?;
            return Ok(None);
        };
        let count = (self.header.elements - index * PART).min(PART);
        let view = match &mut self.states {
            StateBuf::I8(states) => StatesMut::I8(resized(states, count)?),
            StateBuf::I32(states) => StatesMut::I32(resized(states, count)?),
        };
        let in_part = |error: Error| error.in_block(index as u64);
        self.decoder.decode(part, view).map_err(in_part)?;
        self.values.clear();
        let Self { header, scales, values, states, .. } = self;
        let dequantized = self.by_parts.next(&header.quantizer, states.view(), scales, values);
        dequantized.map_err(in_part)?;
        self.taken += 1;
        Ok(Some(&self.values))
    }
}

/// So many states to write over.
fn resized<S: Default + Clone>(states: &mut Vec<S>, count: usize) -> Result<&mut [S]> {
    reserve(states, count.saturating_sub(states.len()), "a part of a quantized tensor")?;
    states.resize(count, S::default());
    Ok(states)
}

/// A message of which every length is known to be right, and nothing is decoded.
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
            return Err(Error::malformed(WHAT, 0, "it does not begin as one does"));
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
        let element = ElementType::from_number(reader.u8()?).filter(|element| is_float(*element));
        let element =
            element.ok_or_else(|| reader.malformed("an element type that is not quantized"))?;
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
        let header = Header {
            quantizer,
            encoder,
            element,
            shape,
            scales,
            wide: flags & WIDE != 0,
            elements,
        };
        let scales = if flags & CODED_SCALES == 0 {
            let bytes = scales.saturating_mul(4);
            Scales::Raw(reader.take(bytes)?)
        } else {
            let bytes = reader.size()?;
            Scales::Coded(reader.take(bytes)?)
        };
        let mut parts = Vec::new();
        // Each has a byte at least, so that a lying shape ends with the message.
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
                let header = tensor_message::Header::read(message)?;
                if header.element != ElementType::F32 || header.units as usize != count {
                    let detail = format!("its scales are {} of {}", header.units, header.element);
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

/// Scales as a message of huffwire's own, where that is smaller.
fn code_scales(raw: &[u8]) -> Result<Option<Vec<u8>>> {
    if raw.len() <= tensor_message::HEADER_BYTES {
        return Ok(None);
    }
    // The checksum of the whole message covers them.
    let options = EncodeOptions { checksums: false, ..EncodeOptions::default() };
    let mut encoder = Encoder::new(CodebookSet::builtin(), options)?;
    let coded = match encoder.encode_to_vec(ElementType::F32, raw) {
        Ok(coded) => coded,
        // More than a message holds.
        Err(Error::TooLarge { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let length_bytes = 10;
    Ok((coded.len() + length_bytes < raw.len()).then_some(coded))
}

const fn is_float(element: ElementType) -> bool {
    matches!(element, ElementType::F32 | ElementType::Bf16 | ElementType::F16)
}

/// The product of dimensions; `None` when a machine cannot have so many elements.
fn elements_of(shape: &[u64]) -> Option<usize> {
    // A dimension of 0 makes any other one harmless.
    if shape.contains(&0) {
        return Some(0);
    }
    let elements = shape.iter().try_fold(1u64, |product, &d| product.checked_mul(d))?;
    usize::try_from(elements).ok().filter(|elements| *elements <= isize::MAX as usize / 4)
}
