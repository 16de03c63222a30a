//! A block: the unit of random access and of parallel work. See `docs/format.md`, "Block".

use crate::bytes;
use crate::choose::{self, Choice, Coding, Counts, Level, Plan, Source, Wish};
use crate::codebook::{
    Alphabet, CodeLimit, Codebook, CodebookSet, ESCAPE_SLOT, Lengths, MAX_LENGTHS_BYTES, ZERO_SLOT,
};
use crate::element::ElementType;
use crate::error::{Error, Result};
use crate::format::reader::Reader;
use crate::lanes;
use crate::planes::pack::{pack, packed_bytes, unpack};
use crate::planes::{Layout, MAX_PLANES, Plane, Role, Scheme, SymbolRule, find_zeros};
use crate::platform::Platform;

const WHAT: &str = "a block";

/// First byte of a block that holds the elements as they are.
const VERBATIM: u8 = 0;
/// Modes of a plane; lower numbers are numbers of resident books.
const EMBEDDED: u8 = 0xfd;
const CONSTANT: u8 = 0xfe;
const RAW: u8 = 0xff;

/// Smallest and largest block, as powers of two of the bytes of elements it holds.
pub(crate) const BLOCK_LOG2: std::ops::RangeInclusive<u8> = 10..=20;

/// Room that an encoder needs beyond the bytes of a block: whole groups of words are stored.
const SLACK: usize = 4 * lanes::LANES;

/// Whole units per block of `2^block_log2` bytes.
pub(crate) const fn units_per_block(element: ElementType, block_log2: u8) -> usize {
    (1 << block_log2) / element.unit_bytes()
}

/// The longest that [`BlockEncoder::encode`] can return for so many bytes.
pub(crate) const fn bound(bytes: usize) -> usize {
    1 + bytes
}

/// The buffer that [`BlockEncoder::encode`] needs for so many bytes.
pub(crate) const fn capacity(bytes: usize) -> usize {
    bound(bytes) + SLACK
}

/// What the sender decided once for a tensor: its symbols, its books, and how to choose.
#[derive(Debug, Clone)]
pub(crate) struct Method {
    element: ElementType,
    level: Level,
    choice: Choice,
    schemes: Vec<(Layout, [Vec<u8>; MAX_PLANES])>,
}

impl Method {
    pub(crate) fn new(
        set: &CodebookSet,
        element: ElementType,
        tensor: &str,
        rule: SymbolRule,
        level: Level,
        choice: Choice,
    ) -> Self {
        let tensor = (choice == Choice::Named).then_some(tensor);
        let books = |layout| {
            std::array::from_fn(|plane| {
                set.candidates(tensor, element, layout, plane as u8).collect()
            })
        };
        let mut schemes: Vec<_> =
            element.layouts(rule).map(|layout| (layout, books(layout))).collect();
        // Of several layouts, those without a book would have to make one: not at this level,
        // unless none has any.
        let has_book = |books: &[Vec<u8>; MAX_PLANES]| books.iter().any(|plane| !plane.is_empty());
        if level == Level::Fast && schemes.iter().any(|(_, books)| has_book(books)) {
            schemes.retain(|(_, books)| has_book(books));
        }
        Self { element, level, choice, schemes }
    }

    pub(crate) const fn element(&self) -> ElementType {
        self.element
    }
}

/// How each plane of a block is stored.
type Plans = [Option<Plan>; MAX_PLANES];

/// Encodes blocks; owns the scratch memory, so that a block costs no allocation.
#[derive(Debug)]
pub(crate) struct BlockEncoder {
    platform: Platform,
    planes: Vec<Vec<u8>>,
    /// 0 for each element that is an exact zero; empty when the block has none, or none that is
    /// coded apart.
    nonzero: Vec<u8>,
    slots: Vec<u8>,
    escapes: Vec<u8>,
    embedded: Vec<Codebook>,
}

impl BlockEncoder {
    pub(crate) fn new(platform: Platform) -> Self {
        Self {
            platform,
            planes: vec![Vec::new(); MAX_PLANES],
            nonzero: Vec::new(),
            slots: Vec::new(),
            escapes: Vec::new(),
            embedded: vec![Codebook::new(Lengths::placeholder()); MAX_PLANES],
        }
    }

    /// Encodes whole units into `out`, which needs [`capacity`] bytes; returns the bytes used, at
    /// most [`bound`].
    pub(crate) fn encode(
        &mut self,
        set: &CodebookSet,
        method: &Method,
        bytes: &[u8],
        out: &mut [u8],
    ) -> Result<usize> {
        let (needed, available) = (capacity(bytes.len()), out.len());
        if available < needed {
            return Err(Error::OutputTooSmall { needed, available });
        }
        let mut best: Option<(i64, usize, Plans)> = None;
        let mut planned = None;
        for (index, (layout, candidates)) in method.schemes.iter().enumerate() {
            let Some(scheme) = method.element.scheme(*layout) else {
                continue;
            };
            if !scheme.split(self.platform, method.element.unit_bytes(), bytes, &mut self.planes) {
                continue;
            }
            planned = Some(index);
            let plans = self.plan(set, method, scheme, candidates);
            let cost = 1 + plans.iter().flatten().map(Plan::cost).sum::<i64>();
            if best.as_ref().is_none_or(|(lowest, ..)| cost < *lowest) {
                best = Some((cost, index, plans));
            }
        }
        let verbatim_cost = bound(bytes.len()) as i64;
        if let Some((_, index, mut plans)) = best.filter(|(cost, ..)| *cost < verbatim_cost) {
            let (layout, candidates) = &method.schemes[index];
            if let Some(scheme) = method.element.scheme(*layout) {
                if planned != Some(index) {
                    scheme.split(
                        self.platform,
                        method.element.unit_bytes(),
                        bytes,
                        &mut self.planes,
                    );
                    plans = self.plan(set, method, scheme, candidates);
                }
                return self.write(set, scheme, &plans, out);
            }
        }
        out[0] = VERBATIM;
        out[1..=bytes.len()].copy_from_slice(bytes);
        Ok(bound(bytes.len()))
    }

    fn plan(
        &mut self,
        set: &CodebookSet,
        method: &Method,
        scheme: &Scheme,
        candidates: &[Vec<u8>; MAX_PLANES],
    ) -> Plans {
        let mut plans = Plans::default();
        let count = scheme.planes.len();
        if scheme.planes[0].centred {
            find_zeros(self.platform, &self.planes[..count], &mut self.nonzero);
        } else {
            self.nonzero.clear();
        }
        let residue_bits = scheme.planes.iter().filter(|p| p.role == Role::Residue);
        let residue_bits: u64 = residue_bits.map(|p| u64::from(p.width)).sum();
        for (index, plane) in scheme.planes.iter().enumerate() {
            let symbols = &self.planes[index];
            if plane.role == Role::Residue && method.level == Level::Fast {
                plans[index] = Some(plan_residue(plane, symbols));
                continue;
            }
            let nonzero: &[u8] = if plane.centred { &self.nonzero } else { &[] };
            let counts = Counts::of(self.platform, symbols, nonzero);
            let sample =
                (method.choice == Choice::Sample).then(|| Counts::of_sample(symbols, nonzero));
            let wish = Wish {
                platform: self.platform,
                plane,
                symbols: symbols.len(),
                residue_bits,
                set,
                candidates: &candidates[index],
                level: method.level,
            };
            let choosing = sample.as_ref().unwrap_or(&counts);
            let plan = wish.plan(&counts, choosing, &mut self.embedded[index]);
            plans[index] = Some(plan);
            if plane.centred && !self.nonzero.is_empty() {
                if self.zeros_apart(set, &plan, index) {
                    self.compact(count);
                } else {
                    self.nonzero.clear();
                }
            }
        }
        plans
    }

    fn book<'a>(
        &'a self,
        set: &'a CodebookSet,
        source: Source,
        plane: usize,
    ) -> Option<&'a Codebook> {
        match source {
            Source::Resident(number) => set.book(number).ok(),
            Source::Embedded => self.embedded.get(plane),
        }
    }

    fn zeros_apart(&self, set: &CodebookSet, plan: &Plan, index: usize) -> bool {
        let Coding::Coded { source, .. } = plan.coding else { return false };
        self.book(set, source, index).is_some_and(|book| book.lengths().zero() > 0)
    }

    /// Takes the residue of exact zeros out of the residue planes.
    fn compact(&mut self, count: usize) {
        for plane in &mut self.planes[1..count] {
            bytes::compact(self.platform, &self.nonzero, plane);
        }
    }

    /// Writes header and payload; the plans were made for what is in `planes`.
    fn write(
        &mut self,
        set: &CodebookSet,
        scheme: &Scheme,
        plans: &Plans,
        out: &mut [u8],
    ) -> Result<usize> {
        let count = scheme.planes.len();
        // Where each plane's header goes: sizes do not depend on the payload.
        let mut header_at = [1; MAX_PLANES + 1];
        for (index, plan) in plans[..count].iter().enumerate() {
            let size = match plan.map(|plan| plan.coding) {
                None | Some(Coding::Raw) => 1,
                Some(Coding::Constant(_)) => 2,
                Some(Coding::Coded { source, .. }) => {
                    let book = self.book(set, source, index);
                    let book = book.ok_or(Error::UnknownCodebook { number: 0, held: 0 })?;
                    let mut bytes = [0; MAX_LENGTHS_BYTES];
                    let book_bytes = match source {
                        Source::Embedded => book.lengths().write_to(&mut bytes),
                        Source::Resident(_) => 0,
                    };
                    choose::coded_header_bytes(book.lengths(), book_bytes)
                }
            };
            header_at[index + 1] = header_at[index] + size;
        }
        out[0] = scheme.layout.number();
        let mut at = header_at[count];
        for index in (0..count).rev() {
            let header = header_at[index];
            let plane = &scheme.planes[index];
            match plans[index].map(|plan| (plan.coding, plan)) {
                None | Some((Coding::Raw, _)) => {
                    out[header] = RAW;
                    let symbols = &self.planes[index];
                    let size = packed_bytes(symbols.len(), plane.width);
                    pack(symbols, plane.width, &mut out[at..at + size]);
                    at += size;
                }
                Some((Coding::Constant(symbol), _)) => {
                    out[header..header + 2].copy_from_slice(&[CONSTANT, symbol]);
                }
                Some((Coding::Coded { source, base }, plan)) => {
                    let header_end = header_at[index + 1];
                    let (head, payload) = out.split_at_mut(at);
                    let head = &mut head[header..header_end];
                    at +=
                        self.write_coded(set, plane, index, source, base, &plan, head, payload)?;
                }
            }
        }
        Ok(at)
    }

    #[allow(clippy::too_many_arguments)] // One call site; a struct would only rename them.
    fn write_coded(
        &mut self,
        set: &CodebookSet,
        plane: &Plane,
        index: usize,
        source: Source,
        base: u8,
        plan: &Plan,
        head: &mut [u8],
        payload: &mut [u8],
    ) -> Result<usize> {
        let book = match source {
            Source::Resident(number) => set.book(number)?,
            Source::Embedded => &self.embedded[index],
        };
        let lengths = book.lengths();
        let symbols = &self.planes[index];
        let mut zeros = 0u32;
        let slots: &[u8] = if plane.centred {
            self.slots.resize(symbols.len(), 0);
            let (slots, nonzero) = (&mut self.slots, &self.nonzero);
            zeros = self.platform.run(|| to_slots(symbols, nonzero, base, slots));
            slots
        } else {
            symbols
        };
        self.escapes.clear();
        if plan.escapes > 0 {
            // By slot, whether the symbol takes the escape.
            let mut escapes = [false; 256];
            for (slot, escapes) in (0..=u8::MAX).zip(&mut escapes) {
                *escapes = lengths.direct(slot) == 0;
            }
            if plane.centred {
                escapes[ZERO_SLOT] = false;
            }
            bytes::pick(self.platform, &escapes, slots, symbols, &mut self.escapes);
        }
        let states_bytes = lanes::states_bytes(book.limit());
        let (states, stream) = payload.split_at_mut(states_bytes);
        let stream_bytes = lanes::encode_on(self.platform, book, slots, states, stream)?;
        debug_assert!(stream_bytes as u64 <= plan.code_bits / 8);
        let after = &mut stream[stream_bytes..stream_bytes + self.escapes.len()];
        after.copy_from_slice(&self.escapes);

        let mut fields = Fields { head, at: 0 };
        match source {
            Source::Resident(number) => fields.put(&[number]),
            Source::Embedded => {
                let mut bytes = [0; MAX_LENGTHS_BYTES];
                let size = lengths.write_to(&mut bytes);
                fields.put(&[EMBEDDED]);
                fields.put(&bytes[..size]);
            }
        }
        if plane.centred {
            fields.put(&[base]);
        }
        if lengths.zero() > 0 {
            fields.put(&zeros.to_le_bytes());
        }
        fields.put(&(stream_bytes as u32).to_le_bytes());
        if lengths.escape() > 0 {
            fields.put(&(self.escapes.len() as u32).to_le_bytes());
        }
        Ok(states_bytes + stream_bytes + self.escapes.len())
    }
}

/// Exponents to the slots of a centred book; returns the number of exact zeros. `nonzero` is 0 for them,
/// and empty when there are none.
#[inline(always)]
fn to_slots(exponents: &[u8], nonzero: &[u8], base: u8, slots: &mut [u8]) -> u32 {
    for (slot, exponent) in slots.iter_mut().zip(exponents) {
        *slot = exponent.wrapping_sub(base).min(ESCAPE_SLOT as u8);
    }
    let mut zeros = 0;
    for (slots, nonzero) in slots.chunks_mut(SLOT_CHUNK).zip(nonzero.chunks(SLOT_CHUNK)) {
        let mut here = 0u8;
        for (slot, &nonzero) in slots.iter_mut().zip(nonzero) {
            *slot = if nonzero == 0 { ZERO_SLOT as u8 } else { *slot };
            here += u8::from(nonzero == 0);
        }
        zeros += u32::from(here);
    }
    zeros
}

/// Residue at the fast level: raw, unless it is all the same.
fn plan_residue(plane: &Plane, symbols: &[u8]) -> Plan {
    let constant = symbols.split_first().filter(|(first, rest)| rest.iter().all(|s| s == *first));
    match constant {
        Some((&symbol, _)) => Plan::constant(symbol),
        None => Plan::raw(symbols.len(), plane.width),
    }
}

struct Fields<'a> {
    head: &'a mut [u8],
    at: usize,
}

impl Fields<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.head[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

/// Header of one plane, as read.
#[derive(Debug, Clone, Copy)]
enum PlaneHeader {
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
                    lanes::states_bytes(limit) + stream + escapes
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
                let residue = &mut self.planes[index];
                std::mem::swap(residue, &mut self.compacted);
                residue.clear();
                residue.resize(self.slots.len(), 0);
                bytes::deal(
                    self.platform,
                    ZERO_SLOT as u8,
                    true,
                    &self.slots,
                    &self.compacted,
                    residue,
                );
            }
        }
        scheme.merge(self.platform, &self.planes, out);
        Ok(())
    }

    fn book<'a>(
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

    fn read_header(
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
                if !unpack(payload, plane.width, symbols) {
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

/// Slots handled at a time: few enough that a byte can count them, so that the compiler makes vectors
/// of it.
const SLOT_CHUNK: usize = 128;

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

/// What a block consists of, for people: the layout and how each plane is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockInfo {
    /// The layout; `None` for a block stored verbatim.
    pub layout: Option<Layout>,
    /// How each plane is stored.
    pub planes: Vec<PlaneInfo>,
}

/// How a plane of a block is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaneInfo {
    /// As it is.
    Raw,
    /// One symbol, repeated.
    Constant(u8),
    /// With a book of the set.
    Resident {
        /// The book's number.
        book: u8,
        /// Exponent of slot 0 (centred books).
        base: u8,
    },
    /// With a book stored in the block.
    Embedded {
        /// The limit on its codes.
        limit: CodeLimit,
    },
}

impl BlockInfo {
    /// Reads the header of a block of `bytes` bytes of elements.
    pub(crate) fn read(
        set: &CodebookSet,
        element: ElementType,
        block: &[u8],
        bytes: usize,
    ) -> Result<Self> {
        let mut reader = Reader::new(WHAT, block);
        let number = reader.u8()?;
        if number == VERBATIM {
            return Ok(Self { layout: None, planes: Vec::new() });
        }
        let scheme = Layout::from_number(number).and_then(|layout| element.scheme(layout));
        let scheme = scheme.ok_or_else(|| Error::malformed(WHAT, 0, "an unknown layout"))?;
        let mut decoder = BlockDecoder::new(Platform::Portable);
        let units = bytes / element.unit_bytes();
        let mut planes = Vec::new();
        for (index, plane) in scheme.planes.iter().enumerate() {
            planes.push(match decoder.read_header(set, plane, index, units, &mut reader)? {
                PlaneHeader::Raw => PlaneInfo::Raw,
                PlaneHeader::Constant(symbol) => PlaneInfo::Constant(symbol),
                PlaneHeader::Coded { source: Source::Resident(book), base, .. } => {
                    PlaneInfo::Resident { book, base }
                }
                PlaneHeader::Coded { source: Source::Embedded, .. } => {
                    PlaneInfo::Embedded { limit: decoder.embedded[index].limit() }
                }
            });
        }
        Ok(Self { layout: Some(scheme.layout), planes })
    }
}
