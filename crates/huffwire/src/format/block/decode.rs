//! A block to elements: the place where hostile bytes meet the coder.

use super::read::{Scratch, decode_in_one_pass, decode_two_in_one_pass};
use super::{CONSTANT, EMBEDDED, RAW, SLOT_CHUNK, VERBATIM, WHAT};
use crate::bytes;
use crate::choose::Source;
use crate::codebook::{Alphabet, Codebook, CodebookSet, Lengths, ZERO_SLOT};
use crate::element::ElementType;
use crate::error::{Error, Result};
use crate::format::reader::Reader;
use crate::lanes::{self, Flow, INITIAL_BYTES, Reading};
use crate::planes::pack::{packed_bytes, unpack};
use crate::planes::{Layout, MAX_PLANES, Plane, Scheme};
use crate::platform::Platform;

/// Header of one plane, as read.
#[derive(Debug, Clone, Copy)]
pub(super) enum PlaneHeader {
    Raw,
    Constant(u8),
    Coded(CodedHeader),
}

/// Header of a coded plane.
#[derive(Debug, Clone, Copy)]
pub(super) struct CodedHeader {
    pub(super) source: Source,
    pub(super) base: u8,
    pub(super) zeros: usize,
    pub(super) stream: usize,
    pub(super) escapes: usize,
}

/// Decodes blocks; owns the scratch memory, so that a block costs no allocation.
#[derive(Debug)]
pub(crate) struct BlockDecoder {
    platform: Platform,
    /// Of two blocks that are decoded side by side.
    sides: [Side; 2],
    scratch: Scratch,
}

/// The memory for a block.
#[derive(Debug)]
pub(super) struct Side {
    planes: Vec<Vec<u8>>,
    /// Slots of the exponents: they tell where the exact zeros are.
    slots: Vec<u8>,
    compacted: Vec<u8>,
    payload: Vec<u8>,
    pub(super) embedded: Vec<Codebook>,
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
        Self { platform, sides: [Side::new(), Side::new()], scratch: Scratch::default() }
    }

    /// Decodes a block of exactly `out.len()` bytes of elements, whole units, at most 1 MiB. The
    /// contents of `out` are undefined after an error.
    pub(crate) fn decode(
        &mut self,
        set: &CodebookSet,
        element: ElementType,
        block: &[u8],
        flow: Flow<'_>,
        out: &mut [u8],
    ) -> Result<()> {
        if let Some(verbatim) = verbatim(block, out.len())? {
            out.copy_from_slice(verbatim);
            return Ok(());
        }
        let Self { platform, sides: [side, _], scratch } = self;
        let parsed = side.parse(set, element, block, out.len())?;
        match parsed.one_pass(set, &side.embedded) {
            Some(pass) => decode_in_one_pass(*platform, pass, flow, scratch, out),
            None => side.decode_whole(*platform, set, &parsed, out),
        }
    }

    /// Decodes two blocks, side by side if they are alike; else one after the other. An error tells which
    /// block it is about.
    pub(crate) fn decode_two(
        &mut self,
        set: &CodebookSet,
        element: ElementType,
        blocks: [&[u8]; 2],
        flows: [Flow<'_>; 2],
        [first, second]: [&mut [u8]; 2],
    ) -> std::result::Result<(), (usize, Error)> {
        // Which of two errors comes first depends on the pieces, hence on the platform: after one, the
        // blocks are decoded one after the other.
        let outs = [&mut *first, &mut *second];
        if let Some(Ok(())) = self.decode_side_by_side(set, element, blocks, flows, outs) {
            return Ok(());
        }
        self.decode(set, element, blocks[0], flows[0], first).map_err(|error| (0, error))?;
        self.decode(set, element, blocks[1], flows[1], second).map_err(|error| (1, error))
    }

    /// `None` when the blocks are not alike, or something is wrong with a header.
    fn decode_side_by_side(
        &mut self,
        set: &CodebookSet,
        element: ElementType,
        blocks: [&[u8]; 2],
        flows: [Flow<'_>; 2],
        outs: [&mut [u8]; 2],
    ) -> Option<Result<()>> {
        let size = outs[0].len();
        let alike = size == outs[1].len()
            && blocks.iter().all(|block| matches!(verbatim(block, size), Ok(None)));
        if !alike {
            return None;
        }
        let Self { platform, sides: [a, b], scratch } = self;
        let parsed_a = a.parse(set, element, blocks[0], size).ok()?;
        let parsed_b = b.parse(set, element, blocks[1], size).ok()?;
        let passes = (parsed_a.one_pass(set, &a.embedded), parsed_b.one_pass(set, &b.embedded));
        Some(match passes {
            (Some(a), Some(b)) => decode_two_in_one_pass(*platform, [a, b], flows, scratch, outs),
            (None, None) => {
                Side::decode_two_whole(*platform, set, [a, b], [&parsed_a, &parsed_b], outs)
            }
            _ => return None,
        })
    }
}

impl Side {
    pub(super) fn new() -> Self {
        Self {
            planes: vec![Vec::new(); MAX_PLANES],
            slots: Vec::new(),
            compacted: Vec::new(),
            payload: Vec::new(),
            embedded: vec![Codebook::new(Lengths::placeholder()); MAX_PLANES],
        }
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
                PlaneHeader::Coded(CodedHeader { source, stream, escapes, .. }) => {
                    parsed.lent[index] = stacked.min(INITIAL_BYTES);
                    stacked -= parsed.lent[index];
                    let limit = book(set, &self.embedded, source, index)?.limit();
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
        platform: Platform,
        set: &CodebookSet,
        parsed: &Parsed<'_>,
        out: &mut [u8],
    ) -> Result<()> {
        let mut stack = Stack::new(parsed);
        let planes = parsed.scheme.planes;
        for index in 0..planes.len() {
            self.decode_plane(platform, set, parsed, index, &mut stack)?;
            if index > 0 && parsed.zeros() > 0 {
                // Residue of non-zero elements spreads over all of them; zeros get 0.
                let (residue, zero) = (&mut self.planes[index], ZERO_SLOT as u8);
                std::mem::swap(residue, &mut self.compacted);
                residue.clear();
                residue.resize(self.slots.len(), 0);
                bytes::deal(platform, zero, true, &self.slots, &self.compacted, residue);
            }
        }
        parsed.scheme.merge_vecs(platform, &self.planes[..planes.len()], out);
        Ok(())
    }

    /// Two blocks of the same size. The error may be that of either.
    fn decode_two_whole(
        platform: Platform,
        set: &CodebookSet,
        [a, b]: [&mut Self; 2],
        [parsed_a, parsed_b]: [&Parsed<'_>; 2],
        [out_a, out_b]: [&mut [u8]; 2],
    ) -> Result<()> {
        if parsed_a.scheme.layout != parsed_b.scheme.layout
            || parsed_a.zeros() > 0
            || parsed_b.zeros() > 0
        {
            a.decode_whole(platform, set, parsed_a, out_a)?;
            return b.decode_whole(platform, set, parsed_b, out_b);
        }
        let (mut stack_a, mut stack_b) = (Stack::new(parsed_a), Stack::new(parsed_b));
        let planes = parsed_a.scheme.planes;
        for (index, plane) in planes.iter().enumerate() {
            let headers = (&parsed_a.headers[index], &parsed_b.headers[index]);
            let (PlaneHeader::Coded(header_a), PlaneHeader::Coded(header_b)) = headers else {
                a.decode_plane(platform, set, parsed_a, index, &mut stack_a)?;
                b.decode_plane(platform, set, parsed_b, index, &mut stack_b)?;
                continue;
            };
            let book_a = book(set, &a.embedded, header_a.source, index)?;
            let book_b = book(set, &b.embedded, header_b.source, index)?;
            let mut lanes_a = header_a.open(platform, book_a, &mut stack_a, &mut a.payload)?;
            let mut lanes_b = header_b.open(platform, book_b, &mut stack_b, &mut b.payload)?;
            let (to_a, to_b) = (&mut a.planes[index], &mut b.planes[index]);
            to_a.resize(parsed_a.symbols(plane, index), 0);
            to_b.resize(parsed_b.symbols(plane, index), 0);
            let [pulled_a, pulled_b] =
                lanes::Decoder::pull_two([&mut lanes_a, &mut lanes_b], [to_a, to_b]);
            pulled_a.and(pulled_b)?;
            stack_a.put_back(&lanes_a.finish()?, parsed_a.lent[index])?;
            stack_b.put_back(&lanes_b.finish()?, parsed_b.lent[index])?;
            check_width(platform, plane, to_a)?;
            check_width(platform, plane, to_b)?;
        }
        parsed_a.scheme.merge_vecs(platform, &a.planes[..planes.len()], out_a);
        parsed_b.scheme.merge_vecs(platform, &b.planes[..planes.len()], out_b);
        Ok(())
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
        let lengths = *book(set, &self.embedded, source, index)?.lengths();
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
        Ok(PlaneHeader::Coded(CodedHeader { source, base, zeros, stream, escapes }))
    }

    /// Decodes the plane on top of the stack.
    fn decode_plane(
        &mut self,
        platform: Platform,
        set: &CodebookSet,
        parsed: &Parsed<'_>,
        index: usize,
        stack: &mut Stack<'_>,
    ) -> Result<()> {
        let plane = &parsed.scheme.planes[index];
        let count = parsed.symbols(plane, index);
        let symbols = &mut self.planes[index];
        match &parsed.headers[index] {
            PlaneHeader::Raw => {
                let payload = stack.take(packed_bytes(count, plane.width), &mut self.payload);
                symbols.resize(count, 0);
                if !unpack(platform, payload, plane.width, symbols) {
                    return Err(padding());
                }
                Ok(())
            }
            PlaneHeader::Constant(symbol) => {
                symbols.clear();
                symbols.resize(count, *symbol);
                Ok(())
            }
            PlaneHeader::Coded(header) if header.zeros == 0 => {
                let book = book(set, &self.embedded, header.source, index)?;
                let mut lanes = header.open(platform, book, stack, &mut self.payload)?;
                symbols.resize(count, 0);
                lanes.pull(symbols)?;
                stack.put_back(&lanes.finish()?, parsed.lent[index])?;
                check_width(platform, plane, symbols)
            }
            PlaneHeader::Coded(header) => {
                let book = book(set, &self.embedded, header.source, index)?;
                let (states, stream, escaped) = header.take(book, stack, &mut self.payload);
                symbols.resize(count, 0);
                self.slots.resize(count, 0);
                let initial = lanes::decode_on(platform, book, states, stream, &mut self.slots)?;
                stack.put_back(&initial, parsed.lent[index])?;
                let slots = &self.slots;
                let zeros_seen = platform.run(
                    #[inline(always)]
                    || from_slots(slots, header.base, symbols),
                );
                let escapes_seen = book.lengths().escape_slot().map_or(0, |escape| {
                    bytes::deal(platform, escape, false, slots, escaped, symbols)
                });
                if zeros_seen != header.zeros || escapes_seen != escaped.len() {
                    return Err(lanes::wrong_count());
                }
                // Also where the base puts a slot beyond what 5 bits hold.
                check_width(platform, plane, symbols)
            }
        }
    }
}

/// The book of a plane.
pub(super) fn book<'a>(
    set: &'a CodebookSet,
    embedded: &'a [Codebook],
    source: Source,
    plane: usize,
) -> Result<&'a Codebook> {
    match source {
        Source::Resident(number) => set.book(number),
        Source::Embedded => Ok(&embedded[plane]),
    }
}

fn check_width(platform: Platform, plane: &Plane, symbols: &[u8]) -> Result<()> {
    if plane.width < 8 && any_beyond(platform, symbols, plane.width) {
        return Err(outside_alphabet());
    }
    Ok(())
}

impl CodedHeader {
    /// Takes what belongs to the plane off the stack: states, stream, escapes.
    fn take<'s, 'a: 's>(
        &self,
        book: &Codebook,
        stack: &mut Stack<'a>,
        scratch: &'s mut Vec<u8>,
    ) -> (&'s [u8], &'s [u8], &'s [u8]) {
        let states = lanes::states_bytes(book.limit());
        let payload = stack.take(states + self.stream + self.escapes, scratch);
        let (states, payload) = payload.split_at(states);
        let (stream, escapes) = payload.split_at(self.stream);
        (states, stream, escapes)
    }

    /// The lanes of a plane without zeros apart.
    fn open<'s, 'a: 's>(
        &self,
        platform: Platform,
        book: &'s Codebook,
        stack: &mut Stack<'a>,
        scratch: &'s mut Vec<u8>,
    ) -> Result<lanes::Decoder<'s>> {
        let (states, stream, escapes) = self.take(book, stack, scratch);
        let reading = Reading::Symbols { base: self.base, escapes };
        lanes::Decoder::new(platform, book, reading, states, stream)
    }
}

impl Parsed<'_> {
    /// Exact zeros that are coded apart.
    fn zeros(&self) -> usize {
        match self.headers[0] {
            PlaneHeader::Coded(header) => header.zeros,
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
    const fn new(parsed: &Parsed<'a>) -> Self {
        Self { stored: parsed.payload, returned: [0; INITIAL_BYTES], left: 0 }
    }

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
