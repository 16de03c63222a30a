//! A block to elements: the place where hostile bytes meet the coder.

use super::{CONSTANT, EMBEDDED, RAW, SLOT_CHUNK, VERBATIM, WHAT};
use crate::bytes;
use crate::choose::Source;
use crate::codebook::{Alphabet, Codebook, CodebookSet, Lengths, ZERO_SLOT};
use crate::element::ElementType;
use crate::error::{Error, Result};
use crate::format::reader::Reader;
use crate::lanes;
use crate::planes::pack::{packed_bytes, unpack};
use crate::planes::{Layout, MAX_PLANES, Plane};
use crate::platform::Platform;

/// Header of one plane, as read.
#[derive(Debug, Clone, Copy)]
pub(super) enum PlaneHeader {
    Raw,
    Constant(u8),
    Coded { source: Source, base: u8, zeros: usize, stream: usize, escapes: usize },
}

/// Decodes blocks; owns the scratch memory, so that a block costs no allocation.
#[derive(Debug)]
pub(crate) struct BlockDecoder {
    platform: Platform,
    planes: Vec<Vec<u8>>,
    /// Slots of the exponents: they tell where the exact zeros are.
    slots: Vec<u8>,
    residue_slots: Vec<u8>,
    compacted: Vec<u8>,
    embedded: Vec<Codebook>,
}

impl BlockDecoder {
    pub(crate) fn new(platform: Platform) -> Self {
        Self {
            platform,
            planes: vec![Vec::new(); MAX_PLANES],
            slots: Vec::new(),
            residue_slots: Vec::new(),
            compacted: Vec::new(),
            embedded: vec![Codebook::new(Lengths::placeholder()); MAX_PLANES],
        }
    }

    /// Decodes a block of exactly `out.len()` bytes of elements, whole units, at most 1 MiB. The
    /// contents of `out` are undefined after an error.
    pub(crate) fn decode(
        &mut self,
        set: &CodebookSet,
        element: ElementType,
        block: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        let mut reader = Reader::new(WHAT, block);
        let number = reader.u8()?;
        if number == VERBATIM {
            let bytes = reader.take(out.len())?;
            reader.finish()?;
            out.copy_from_slice(bytes);
            return Ok(());
        }
        let scheme = Layout::from_number(number).and_then(|layout| element.scheme(layout));
        let scheme = scheme.ok_or_else(|| {
            Error::malformed(WHAT, 0, format!("layout {number}, which {element} does not have"))
        })?;
        let units = out.len() / element.unit_bytes();
        let mut headers = [PlaneHeader::Raw; MAX_PLANES];
        for (index, plane) in scheme.planes.iter().enumerate() {
            headers[index] = self.read_header(set, plane, index, units, &mut reader)?;
        }
        let zeros = match headers[0] {
            PlaneHeader::Coded { zeros, .. } => zeros,
            _ => 0,
        };
        // Payloads lie in reverse order of the planes, exponents (who know where zeros are) last;
        // they are decoded in the order of the planes, so first find out where each begins.
        let mut payloads: [&[u8]; MAX_PLANES] = [&[]; MAX_PLANES];
        for (index, plane) in scheme.planes.iter().enumerate().rev() {
            let symbols = symbols_of(plane, index, units, zeros);
            let size = match headers[index] {
                PlaneHeader::Raw => packed_bytes(symbols, plane.width),
                PlaneHeader::Constant(_) => 0,
                PlaneHeader::Coded { source, stream, escapes, .. } => {
                    let limit = self.book(set, source, index)?.limit();
                    lanes::states_bytes(limit).saturating_add(stream).saturating_add(escapes)
                }
            };
            payloads[index] = reader.take(size)?;
        }
        reader.finish()?;
        for (index, plane) in scheme.planes.iter().enumerate() {
            let symbols = symbols_of(plane, index, units, zeros);
            self.decode_plane(set, plane, index, symbols, headers[index], payloads[index])?;
            if index > 0 && zeros > 0 {
                // Residue of non-zero elements spreads over all of them; zeros get 0.
                let (residue, zero) = (&mut self.planes[index], ZERO_SLOT as u8);
                std::mem::swap(residue, &mut self.compacted);
                residue.clear();
                residue.resize(self.slots.len(), 0);
                bytes::deal(self.platform, zero, true, &self.slots, &self.compacted, residue);
            }
        }
        scheme.merge(self.platform, &self.planes, out);
        Ok(())
    }

    pub(super) fn book<'a>(
        &'a self,
        set: &'a CodebookSet,
        source: Source,
        plane: usize,
    ) -> Result<&'a Codebook> {
        match source {
            Source::Resident(number) => set.book(number),
            Source::Embedded => Ok(&self.embedded[plane]),
        }
    }

    pub(super) fn read_header(
        &mut self,
        set: &CodebookSet,
        plane: &Plane,
        index: usize,
        units: usize,
        reader: &mut Reader<'_>,
    ) -> Result<PlaneHeader> {
        let source = match reader.u8()? {
            RAW => return Ok(PlaneHeader::Raw),
            CONSTANT => {
                let symbol = reader.u8()?;
                return if u32::from(symbol) >> plane.width == 0 {
                    Ok(PlaneHeader::Constant(symbol))
                } else {
                    Err(reader.malformed("a constant outside the alphabet"))
                };
            }
            EMBEDDED => {
                let (lengths, size) = Lengths::read(reader.clone().rest())?;
                reader.take(size)?;
                self.embedded[index].rebuild(lengths);
                Source::Embedded
            }
            number => Source::Resident(number),
        };
        let lengths = *self.book(set, source, index)?.lengths();
        if lengths.alphabet() != plane.alphabet() {
            return Err(reader.malformed("a codebook of another alphabet than the plane's"));
        }
        let base = if lengths.alphabet() == Alphabet::Centred { reader.u8()? } else { 0 };
        let zeros = if lengths.zero() > 0 { reader.u32()? as usize } else { 0 };
        let stream = reader.u32()? as usize;
        let escapes = if lengths.escape() > 0 { reader.u32()? as usize } else { 0 };
        if zeros > units {
            return Err(reader.malformed("more zeros than elements"));
        }
        let word_bytes = lanes::states_bytes(lengths.limit()) / 2 / lanes::LANES;
        if !stream.is_multiple_of(word_bytes) {
            return Err(reader.malformed("a stream that is no whole number of words"));
        }
        Ok(PlaneHeader::Coded { source, base, zeros, stream, escapes })
    }

    fn decode_plane(
        &mut self,
        set: &CodebookSet,
        plane: &Plane,
        index: usize,
        count: usize,
        header: PlaneHeader,
        payload: &[u8],
    ) -> Result<()> {
        match header {
            PlaneHeader::Raw => {
                let symbols = &mut self.planes[index];
                symbols.resize(count, 0);
                if !unpack(self.platform, payload, plane.width, symbols) {
                    return Err(Error::malformed(WHAT, 0, "padding bits that are not zero"));
                }
            }
            PlaneHeader::Constant(symbol) => {
                let symbols = &mut self.planes[index];
                symbols.clear();
                symbols.resize(count, symbol);
            }
            PlaneHeader::Coded { source, base, zeros, stream, escapes } => {
                let book = match source {
                    Source::Resident(number) => set.book(number)?,
                    Source::Embedded => &self.embedded[index],
                };
                let symbols = &mut self.planes[index];
                let (states, payload) = payload.split_at(lanes::states_bytes(book.limit()));
                let (stream, escaped) = payload.split_at(stream);
                symbols.resize(count, 0);
                // Those of plane 0 are kept: they tell where zeros are.
                let slots = if index == 0 { &mut self.slots } else { &mut self.residue_slots };
                slots.resize(count, 0);
                lanes::decode_on(self.platform, book, states, stream, slots)?;
                let zeros_seen = if plane.centred {
                    self.platform.run(|| from_slots(slots, base, symbols))
                } else {
                    symbols.copy_from_slice(slots);
                    0
                };
                let escapes_seen = book.lengths().escape_slot().map_or(0, |escape| {
                    bytes::deal(self.platform, escape, false, slots, escaped, symbols)
                });
                if zeros_seen != zeros || escapes_seen != escaped.len() {
                    return Err(Error::malformed(WHAT, 0, WRONG_COUNT));
                }
                debug_assert_eq!(escaped.len(), escapes);
                let all = || symbols.iter().fold(0, |all, symbol| all | symbol);
                if plane.width < 8 && self.platform.run(all) >> plane.width != 0 {
                    return Err(Error::malformed(WHAT, 0, "a symbol outside the alphabet"));
                }
            }
        }
        Ok(())
    }
}

/// Symbols stored for a plane: exact zeros that are coded apart have no residue.
const fn symbols_of(plane: &Plane, index: usize, units: usize, zeros: usize) -> usize {
    if index > 0 {
        units * plane.per_unit as usize - zeros
    } else {
        units * plane.per_unit as usize
    }
}

const WRONG_COUNT: &str = "the decoded symbols do not match the counts in the header";

/// Slots of a centred book back to exponents, but for escapes; returns the number of exact zeros.
#[inline(always)]
fn from_slots(slots: &[u8], base: u8, exponents: &mut [u8]) -> usize {
    let mut zeros = 0;
    let chunks = exponents.chunks_mut(SLOT_CHUNK).zip(slots.chunks(SLOT_CHUNK));
    for (exponents, slots) in chunks {
        let mut here = 0u8;
        for (exponent, &slot) in exponents.iter_mut().zip(slots) {
            let zero = usize::from(slot) == ZERO_SLOT;
            here += u8::from(zero);
            *exponent = if zero { 0 } else { base.wrapping_add(slot) };
        }
        zeros += usize::from(here);
    }
    zeros
}
