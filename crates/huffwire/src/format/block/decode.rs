//! A block to elements: the place where hostile bytes meet the coder.

use super::read::Scratch;
use super::{CONSTANT, EMBEDDED, RAW, SLOT_CHUNK, VERBATIM, WHAT};
use crate::bytes;
use crate::choose::Source;
use crate::codebook::{Alphabet, Codebook, CodebookSet, Lengths, ZERO_SLOT};
use crate::element::ElementType;
use crate::error::{Error, Result};
use crate::format::reader::Reader;
use crate::lanes::{self, INITIAL_BYTES};
use crate::planes::pack::{packed_bytes, unpack};
use crate::planes::{Layout, MAX_PLANES, Plane, Scheme};
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
    pub(super) platform: Platform,
    planes: Vec<Vec<u8>>,
    /// Slots of the exponents: they tell where the exact zeros are.
    slots: Vec<u8>,
    residue_slots: Vec<u8>,
    compacted: Vec<u8>,
    payload: Vec<u8>,
    embedded: Vec<Codebook>,
    pub(super) scratch: Scratch,
}

/// A block whose header was read and whose payload has the right size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parsed<'a> {
    pub(super) scheme: &'static Scheme,
    pub(super) unit_bytes: usize,
    pub(super) units: usize,
    pub(super) headers: [PlaneHeader; MAX_PLANES],
    pub(super) payload: &'a [u8],
    /// By plane: how many bytes of the payload its lanes carry.
    pub(super) lent: [usize; MAX_PLANES],
}

impl BlockDecoder {
    pub(crate) fn new(platform: Platform) -> Self {
        Self {
            platform,
            planes: vec![Vec::new(); MAX_PLANES],
            slots: Vec::new(),
            residue_slots: Vec::new(),
            compacted: Vec::new(),
            payload: Vec::new(),
            embedded: vec![Codebook::new(Lengths::placeholder()); MAX_PLANES],
            scratch: Scratch::default(),
        }
    }

    /// Decodes a block of exactly `out.len()` bytes of elements, whole units, at most 1 MiB. The
    /// contents of `out` are undefined after an error. `streaming` says that they are part of more than caches
    /// hold.
    pub(crate) fn decode(
        &mut self,
        set: &CodebookSet,
        element: ElementType,
        block: &[u8],
        streaming: bool,
        out: &mut [u8],
    ) -> Result<()> {
        if let Some(verbatim) = verbatim(block, out.len())? {
            out.copy_from_slice(verbatim);
            return Ok(());
        }
        let parsed = self.parse(set, element, block, out.len())?;
        match parsed.one_pass(set) {
            Some(pass) => self.decode_in_one_pass(pass, streaming, out),
            None => self.decode_whole(set, &parsed, out),
        }
    }

    /// Decodes two blocks side by side, if both can be decoded in one pass; else one after the other. An
    /// error tells which block it is about.
    pub(crate) fn decode_two(
        &mut self,
        set: &CodebookSet,
        element: ElementType,
        blocks: [&[u8]; 2],
        streaming: bool,
        [first, second]: [&mut [u8]; 2],
    ) -> std::result::Result<(), (usize, Error)> {
        if first.len() == second.len()
            && let (Ok(None), Ok(None)) =
                (verbatim(blocks[0], first.len()), verbatim(blocks[1], second.len()))
            && let Ok(a) = self.parse(set, element, blocks[0], first.len())
            && let Some(a) = a.one_pass(set)
            && let Ok(b) = self.parse(set, element, blocks[1], second.len())
            && let Some(b) = b.one_pass(set)
        {
            // Which of two errors comes first depends on the pieces, hence on the platform: after one, the
            // blocks are decoded one after the other.
            let outs = [&mut *first, &mut *second];
            if self.decode_two_in_one_pass([a, b], streaming, outs).is_ok() {
                return Ok(());
            }
        }
        self.decode(set, element, blocks[0], streaming, first).map_err(|error| (0, error))?;
        self.decode(set, element, blocks[1], streaming, second).map_err(|error| (1, error))
    }

    /// Reads the headers; finds out where the payload of each plane is.
    fn parse<'a>(
        &mut self,
        set: &CodebookSet,
        element: ElementType,
        block: &'a [u8],
        bytes: usize,
    ) -> Result<Parsed<'a>> {
        let mut reader = Reader::new(WHAT, block);
        let number = reader.u8()?;
        let scheme = Layout::from_number(number).and_then(|layout| element.scheme(layout));
        let scheme = scheme.ok_or_else(|| {
            Error::malformed(WHAT, 0, format!("layout {number}, which {element} does not have"))
        })?;
        let unit_bytes = element.unit_bytes();
        let units = bytes / unit_bytes;
        let mut headers = [PlaneHeader::Raw; MAX_PLANES];
        for (index, plane) in scheme.planes.iter().enumerate() {
            headers[index] = self.read_header(set, plane, index, units, &mut reader)?;
        }
        let mut parsed =
            Parsed { scheme, unit_bytes, units, headers, payload: &[], lent: [0; MAX_PLANES] };
        // The last plane's payload comes first, and each coded plane takes away from what lies
        // before its own.
        let mut stacked = 0usize;
        for (index, plane) in scheme.planes.iter().enumerate().rev() {
            let size = match headers[index] {
                PlaneHeader::Raw => packed_bytes(parsed.symbols(plane, index), plane.width),
                PlaneHeader::Constant(_) => 0,
                PlaneHeader::Coded { source, stream, escapes, .. } => {
                    parsed.lent[index] = stacked.min(INITIAL_BYTES);
                    stacked -= parsed.lent[index];
                    let limit = self.book(set, source, index)?.limit();
                    lanes::states_bytes(limit).saturating_add(stream).saturating_add(escapes)
                }
            };
            stacked = stacked.saturating_add(size);
        }
        parsed.payload = reader.take(stacked)?;
        reader.finish()?;
        Ok(parsed)
    }

    fn decode_whole(
        &mut self,
        set: &CodebookSet,
        parsed: &Parsed<'_>,
        out: &mut [u8],
    ) -> Result<()> {
        let mut stack = Stack { stored: parsed.payload, returned: [0; INITIAL_BYTES], left: 0 };
        let mut payload = std::mem::take(&mut self.payload);
        let planes = parsed.scheme.planes;
        let mut decode = || {
            for (index, plane) in planes.iter().enumerate() {
                self.decode_plane(set, parsed, plane, index, &mut stack, &mut payload)?;
                if index > 0 && parsed.zeros() > 0 {
                    // Residue of non-zero elements spreads over all of them; zeros get 0.
                    let (residue, zero) = (&mut self.planes[index], ZERO_SLOT as u8);
                    std::mem::swap(residue, &mut self.compacted);
                    residue.clear();
                    residue.resize(self.slots.len(), 0);
                    bytes::deal(self.platform, zero, true, &self.slots, &self.compacted, residue);
                }
            }
            Ok(())
        };
        let result = decode();
        self.payload = payload;
        result?;
        parsed.scheme.merge_vecs(self.platform, &self.planes[..planes.len()], out);
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
        if !stream.is_multiple_of(lanes::word_bytes(lengths.limit())) {
            return Err(reader.malformed("a stream that is no whole number of words"));
        }
        Ok(PlaneHeader::Coded { source, base, zeros, stream, escapes })
    }

    /// Decodes the plane on top of the stack.
    fn decode_plane(
        &mut self,
        set: &CodebookSet,
        parsed: &Parsed<'_>,
        plane: &Plane,
        index: usize,
        stack: &mut Stack<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        let count = parsed.symbols(plane, index);
        match parsed.headers[index] {
            PlaneHeader::Raw => {
                let payload = stack.take(packed_bytes(count, plane.width), scratch);
                let symbols = &mut self.planes[index];
                symbols.resize(count, 0);
                if !unpack(self.platform, payload, plane.width, symbols) {
                    return Err(padding());
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
                let states_bytes = lanes::states_bytes(book.limit());
                let payload = stack.take(states_bytes + stream + escapes, scratch);
                let symbols = &mut self.planes[index];
                let (states, payload) = payload.split_at(states_bytes);
                let (stream, escaped) = payload.split_at(stream);
                symbols.resize(count, 0);
                // Those of plane 0 are kept: they tell where zeros are.
                let slots = if index == 0 { &mut self.slots } else { &mut self.residue_slots };
                slots.resize(count, 0);
                let initial = lanes::decode_on(self.platform, book, states, stream, slots)?;
                stack.put_back(&initial, parsed.lent[index])?;
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
                    return Err(lanes::wrong_count());
                }
                if plane.width < 8 && any_beyond(self.platform, symbols, plane.width) {
                    return Err(outside_alphabet());
                }
            }
        }
        Ok(())
    }
}

impl Parsed<'_> {
    /// Exact zeros that are coded apart.
    fn zeros(&self) -> usize {
        match self.headers[0] {
            PlaneHeader::Coded { zeros, .. } => zeros,
            _ => 0,
        }
    }

    /// Symbols stored for a plane: exact zeros that are coded apart have no residue.
    fn symbols(&self, plane: &Plane, index: usize) -> usize {
        let all = self.units * usize::from(plane.per_unit);
        if index > 0 { all - self.zeros() } else { all }
    }
}

/// The payload of a block as a stack of bytes: planes are taken off its end, and a coded one puts
/// back what its lanes carried. Sizes were checked when the block was parsed.
struct Stack<'a> {
    stored: &'a [u8],
    /// What was put back last, and how much of that is left.
    returned: [u8; INITIAL_BYTES],
    left: usize,
}

impl<'a> Stack<'a> {
    /// The last `size` bytes, put together in `scratch` where they do not lie together.
    fn take<'s>(&mut self, size: usize, scratch: &'s mut Vec<u8>) -> &'s [u8]
    where
        'a: 's,
    {
        let from_returned = size.min(self.left);
        let (rest, stored) = self.stored.split_at(self.stored.len() - (size - from_returned));
        self.stored = rest;
        if self.left == 0 {
            return stored;
        }
        scratch.clear();
        scratch.extend_from_slice(stored);
        scratch.extend_from_slice(&self.returned[self.left - from_returned..self.left]);
        self.left -= from_returned;
        scratch
    }

    /// Puts back what lanes carried, of which the stack had lent so much. (A coded plane is larger than what
    /// can be left, so nothing is.)
    fn put_back(&mut self, initial: &[u8; INITIAL_BYTES], lent: usize) -> Result<()> {
        if initial[lent..].iter().any(|&byte| byte != 0) {
            return Err(not_lent());
        }
        (self.returned, self.left) = (*initial, lent);
        Ok(())
    }
}

/// The elements of a block that holds them as they are.
fn verbatim(block: &[u8], bytes: usize) -> Result<Option<&[u8]>> {
    let mut reader = Reader::new(WHAT, block);
    if reader.u8()? != VERBATIM {
        return Ok(None);
    }
    let elements = reader.take(bytes)?;
    reader.finish()?;
    Ok(Some(elements))
}

/// Whether a symbol has more than `width` bits.
pub(super) fn any_beyond(platform: Platform, symbols: &[u8], width: u8) -> bool {
    platform.run(|| symbols.iter().fold(0, |all, symbol| all | symbol)) >> width != 0
}

#[cold]
pub(super) fn not_lent() -> Error {
    Error::malformed(WHAT, 0, "the lanes carry more than there was to carry")
}

#[cold]
pub(super) fn outside_alphabet() -> Error {
    Error::malformed(WHAT, 0, "a symbol outside the alphabet")
}

#[cold]
pub(super) fn padding() -> Error {
    Error::malformed(WHAT, 0, "padding bits that are not zero")
}

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
