//! Messages: one tensor on its way over a link. See `docs/format.md`, "Message".
//!
//! A message is a header of 16 bytes and blocks. It does not carry codebooks: the receiver holds the
//! same [`CodebookSet`](crate::CodebookSet), which the header proves by 32 bits of its id.

use super::block::{self, BlockDecoder, BlockEncoder};
use super::checksum::crc32c;
use super::file::Item;
use super::reader::Reader;
use super::runs;
use crate::codec::{Decoder, Decoding, Encoder, Encoding, block_bound};
use crate::element::ElementType;
use crate::error::{Error, Result, reserve};

const WHAT: &str = "a message";
const MAGIC: u8 = b'H';
const VERSION: u8 = 1;
const CHECKSUMS: u8 = 1;

/// Bytes of the message header.
pub const HEADER_BYTES: usize = 16;
/// Bytes of a block's length, and of its checksum where there is one.
const FIELD_BYTES: usize = 4;

/// What a message says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The element type.
    pub element: ElementType,
    /// Number of units (see [`ElementType`]).
    pub units: u32,
    /// Whether each block carries a CRC-32C of its coded bytes.
    pub checksums: bool,
    /// First 32 bits of the id of the codebook set.
    pub set: [u8; 4],
    /// Blocks hold at most `2^block_log2` bytes of elements.
    pub block_log2: u8,
}

impl Header {
    /// Bytes of elements that the message decodes to.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when this machine cannot address so many.
    pub fn raw_bytes(&self) -> Result<usize> {
        let bytes = u64::from(self.units) * self.element.unit_bytes() as u64;
        let limit = isize::MAX as u64;
        match usize::try_from(bytes) {
            Ok(size) if bytes <= limit => Ok(size),
            _ => Err(Error::TooLarge { what: "a tensor", found: bytes, limit }),
        }
    }

    /// Reads the header of a message. Its own checksum is verified.
    ///
    /// # Errors
    /// A typed error when the bytes are no header of a version this library reads.
    pub fn read(message: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(WHAT, message);
        let bytes: [u8; HEADER_BYTES] = reader.array()?;
        let &[magic, kind, element, block_log2, s0, s1, s2, s3, u0, u1, u2, u3, ref check @ ..] =
            &bytes;
        if magic != MAGIC {
            return Err(Error::malformed(WHAT, 0, "it does not begin as a message does"));
        }
        if kind >> 4 != VERSION {
            let (found, supported) = (u32::from(kind >> 4), u32::from(VERSION));
            return Err(Error::UnknownVersion { what: WHAT, found, supported });
        }
        let stored = u32::from_le_bytes(*check);
        let computed = crc32c(&bytes[..HEADER_BYTES - FIELD_BYTES]);
        if stored != computed {
            return Err(Error::Checksum { what: "the header of a message", stored, computed });
        }
        if kind & 15 & !CHECKSUMS != 0 {
            return Err(Error::malformed(WHAT, 1, "flags that this version does not know"));
        }
        let element = ElementType::from_number(element)
            .ok_or_else(|| Error::malformed(WHAT, 2, "an unknown element type"))?;
        if !block::BLOCK_LOG2.contains(&block_log2) {
            return Err(Error::malformed(WHAT, 3, "a block size outside 1 KiB to 1 MiB"));
        }
        Ok(Self {
            element,
            units: u32::from_le_bytes([u0, u1, u2, u3]),
            checksums: kind & CHECKSUMS != 0,
            set: [s0, s1, s2, s3],
            block_log2,
        })
    }

    fn write(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let flags = if self.checksums { CHECKSUMS } else { 0 };
        let kind = VERSION << 4 | flags;
        bytes[..4].copy_from_slice(&[MAGIC, kind, self.element.number(), self.block_log2]);
        bytes[4..8].copy_from_slice(&self.set);
        bytes[8..12].copy_from_slice(&self.units.to_le_bytes());
        let check = crc32c(&bytes[..12]);
        bytes[12..].copy_from_slice(&check.to_le_bytes());
        bytes
    }
}

/// The longest message for `units` units of a type, whatever their values, under blocks of
/// `2^block_log2` bytes (the default of [`EncodeOptions`](crate::EncodeOptions) is 17): 16 bytes, and
/// 9 for each block, on top of the elements.
#[must_use]
pub const fn bound(element: ElementType, units: usize, block_log2: u8) -> usize {
    let bytes = units.saturating_mul(element.unit_bytes());
    let blocks = units.div_ceil(block::units_per_block(element, block_log2));
    HEADER_BYTES + bytes.saturating_add(blocks.saturating_mul(2 * FIELD_BYTES + block::bound(0)))
}

/// The size of the buffer that [`Encoder::encode`] wants for `units` units: [`bound`], and 256 bytes
/// that an encoder may scribble on.
#[must_use]
pub const fn capacity(element: ElementType, units: usize, block_log2: u8) -> usize {
    bound(element, units, block_log2).saturating_add(block::capacity(0) - block::bound(0))
}

pub(crate) fn encode(
    encoder: &mut Encoder,
    element: ElementType,
    bytes: &[u8],
    out: &mut [u8],
) -> Result<usize> {
    let unit_bytes = element.unit_bytes();
    if !bytes.len().is_multiple_of(unit_bytes) {
        return Err(Error::PartialElement { element, bytes: bytes.len() });
    }
    let units = bytes.len() / unit_bytes;
    let Ok(count) = u32::try_from(units) else {
        let (found, limit) = (units as u64, u64::from(u32::MAX));
        return Err(Error::TooLarge { what: "a message (in units)", found, limit });
    };
    let options = *encoder.options();
    let needed = capacity(element, units, options.block_log2);
    if out.len() < needed {
        return Err(Error::OutputTooSmall { needed, available: out.len() });
    }
    let header = Header {
        element,
        units: count,
        checksums: options.checksums,
        set: encoder.set().id().short(),
        block_log2: options.block_log2,
    };
    out[..HEADER_BYTES].copy_from_slice(&header.write());
    let block_bytes = Item::block_bytes(element, options.block_log2);
    let (encoding, scratch) = encoder.encoding(element);
    let encoding = encoding.of_size(bytes.len());
    let length = runs::encode(encoding, scratch, block_bytes, bytes, &mut out[HEADER_BYTES..])?;
    Ok(HEADER_BYTES + length)
}

/// The buffer that [`encode_blocks`] needs for so many whole blocks.
pub(super) const fn blocks_capacity(blocks: usize, block_bytes: usize) -> usize {
    blocks * (2 * FIELD_BYTES + block::capacity(block_bytes))
}

/// Encodes consecutive blocks, all of a message or a run of them; returns their length. `in_place` says that `out` is
/// where they stay.
pub(super) fn encode_blocks(
    encoding: Encoding<'_>,
    encoder: &mut BlockEncoder,
    block_bytes: usize,
    bytes: &[u8],
    in_place: bool,
    out: &mut [u8],
) -> Result<usize> {
    let mut at = 0;
    let mut blocks = bytes.chunks(block_bytes).peekable();
    while let Some(bytes) = blocks.next() {
        let (length_field, rest) = out[at..].split_at_mut(FIELD_BYTES);
        let flow = encoding.flow(blocks.peek().unwrap_or(&&[][..]), in_place);
        let length = encoding.encode(encoder, bytes, flow, rest)?;
        length_field.copy_from_slice(&(length as u32).to_le_bytes());
        at += FIELD_BYTES + length;
    }
    Ok(at)
}

/// Consecutive blocks of a message, all or a run of them: bytes of elements, and the coded block.
#[derive(Debug, Clone)]
pub(super) struct Blocks<'a> {
    reader: Reader<'a>,
    /// The next block's number in the message.
    index: u64,
    /// Bytes of elements.
    left: usize,
    block_bytes: usize,
    checksums: bool,
}

impl<'a> Blocks<'a> {
    fn new(header: &Header, message: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(WHAT, message);
        reader.take(HEADER_BYTES)?;
        let block_bytes = Item::block_bytes(header.element, header.block_log2);
        let (left, checksums) = (header.raw_bytes()?, header.checksums);
        Ok(Self { reader, index: 0, left, block_bytes, checksums })
    }

    /// Bytes of elements in these blocks.
    pub(super) const fn raw_bytes(&self) -> usize {
        self.left
    }

    /// Bytes of elements in each block but the last.
    pub(super) const fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// The number of the first block in the message.
    pub(super) const fn index(&self) -> u64 {
        self.index
    }

    fn next_block(&mut self) -> Result<Option<(usize, &'a [u8])>> {
        if self.left == 0 {
            return Ok(None);
        }
        let raw_bytes = self.left.min(self.block_bytes);
        let length = self.reader.u32()? as usize;
        if length > block_bound(raw_bytes, self.checksums) {
            return Err(self.reader.malformed("a block larger than blocks can be"));
        }
        let block = self.reader.take(length)?;
        self.left -= raw_bytes;
        self.index += 1;
        Ok(Some((raw_bytes, block)))
    }

    /// Takes out the next blocks, up to `count`. A block that cannot be read is the last one: whoever
    /// reads the run meets the error in its place.
    pub(super) fn take_run(&mut self, count: usize) -> Self {
        let mut run = self.clone();
        for _ in 0..count {
            let before = self.left;
            if self.next_block().is_err() {
                run.left -= before - before.min(self.block_bytes);
                self.left = 0;
                return run;
            }
        }
        run.left -= self.left;
        run
    }

    /// An error when the message is longer than its blocks, all of which were taken.
    fn finish(&self) -> Result<()> {
        self.reader.finish()
    }
}

pub(crate) fn decode(decoder: &mut Decoder, message: &[u8], out: &mut [u8]) -> Result<Header> {
    let header = Header::read(message)?;
    decoder.expect_set(header.set)?;
    let needed = header.raw_bytes()?;
    if out.len() != needed {
        return Err(Error::OutputLength { needed, available: out.len() });
    }
    let mut blocks = Blocks::new(&header, message)?;
    let (decoding, team) = decoder.decoding(header.element, header.checksums);
    let decoding = decoding.of_size(needed);
    runs::decode(decoding, team, &mut blocks, out)?;
    blocks.finish()?;
    Ok(header)
}

pub(crate) fn decode_to_vec(decoder: &mut Decoder, message: &[u8]) -> Result<(Header, Vec<u8>)> {
    let header = Header::read(message)?;
    decoder.expect_set(header.set)?;
    let mut blocks = Blocks::new(&header, message)?;
    let (decoding, team) = decoder.decoding(header.element, header.checksums);
    let mut out = Vec::new();
    while blocks.raw_bytes() > 0 {
        // Grows with what was decoded, never with what is claimed.
        let start = out.len();
        let mut next = blocks.take_run(runs::at_a_time(team, blocks.block_bytes));
        let end = start + next.raw_bytes();
        reserve(&mut out, end - start, "a tensor")?;
        out.resize(end, 0);
        runs::decode(decoding, team, &mut next, &mut out[start..])?;
    }
    blocks.finish()?;
    Ok((header, out))
}

/// Decodes consecutive blocks, all of a message or a run of them, into `out`, which is as long as their
/// elements.
pub(super) fn decode_blocks(
    decoding: Decoding<'_>,
    decoder: &mut BlockDecoder,
    blocks: &mut Blocks<'_>,
    mut out: &mut [u8],
) -> Result<()> {
    // Two at a time: what the decoder of one block waits for, that of the other has time to do.
    loop {
        let index = blocks.index;
        let Some((raw_bytes, first)) = blocks.next_block()? else {
            return Ok(());
        };
        let first_out = take_front(&mut out, raw_bytes);
        match blocks.next_block() {
            Ok(Some((raw_bytes, second))) => {
                let outs = [first_out, take_front(&mut out, raw_bytes)];
                let ahead = blocks.reader.clone().rest();
                decoding.decode_two(decoder, [first, second], outs, index, ahead)?;
            }
            none => {
                let decoded = decoding.decode(decoder, first, first_out);
                decoded.map_err(|error| error.in_block(index))?;
                none?;
            }
        }
    }
}

/// Takes out the first bytes of a slice.
pub(super) fn take_front<'a>(slice: &mut &'a mut [u8], count: usize) -> &'a mut [u8] {
    let (front, rest) = std::mem::take(slice).split_at_mut(count);
    *slice = rest;
    front
}
