//! Elements to a block: split, choose, write.

use super::{CONSTANT, EMBEDDED, RAW, SLOT_CHUNK, VERBATIM, bound, capacity};
use crate::bytes;
use crate::choose::{self, Choice, Coded, Coding, Counts, Level, Plan, Source, Wish};
use crate::codebook::{Codebook, CodebookSet, ESCAPE_SLOT, Lengths, MAX_LENGTHS_BYTES, ZERO_SLOT};
use crate::element::ElementType;
use crate::error::{Error, Result};
use crate::lanes;
use crate::planes::pack::{pack, packed_bytes};
use crate::planes::{Layout, MAX_PLANES, Plane, Role, Scheme, SymbolRule, find_zeros};
use crate::platform::Platform;

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
        let fits = |number: u8, layout, plane: usize| {
            let book = set.book(number).map(|book| book.lengths().alphabet()).ok();
            book.is_some() && element.planes(layout).get(plane).map(Plane::alphabet) == book
        };
        let tensor = (choice == Choice::Named).then_some(tensor);
        let books = |layout| {
            std::array::from_fn(|plane| match choice {
                Choice::Fixed(number) => {
                    [number].into_iter().filter(|&number| fits(number, layout, plane)).collect()
                }
                _ => set.candidates(tensor, element, layout, plane as u8).collect(),
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

    /// Whether a plane may have a book of its own: at the fast level only where there would be none.
    fn embeds(&self, plane: &Plane, candidates: &[u8]) -> bool {
        let bookless = candidates.is_empty() && plane.role == Role::Symbols;
        self.level == Level::Max || (bookless && !matches!(self.choice, Choice::Fixed(_)))
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
        let mut best: Option<(usize, usize, Plans)> = None;
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
            let cost = 1 + plans.iter().flatten().map(Plan::stored).sum::<usize>();
            if best.as_ref().is_none_or(|(lowest, ..)| cost < *lowest) {
                best = Some((cost, index, plans));
            }
        }
        let verbatim_cost = bound(bytes.len());
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
                plane,
                symbols: symbols.len(),
                residue_bits,
                set,
                candidates: &candidates[index],
                embed: method.embeds(plane, &candidates[index]),
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
        let Coding::Coded(Coded { source, .. }) = plan.coding else { return false };
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
                Some(Coding::Coded(Coded { source, .. })) => {
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
            match plans[index].map(|plan| plan.coding) {
                None | Some(Coding::Raw) => {
                    out[header] = RAW;
                    let symbols = &self.planes[index];
                    let size = packed_bytes(symbols.len(), plane.width);
                    pack(self.platform, symbols, plane.width, &mut out[at..at + size]);
                    at += size;
                }
                Some(Coding::Constant(symbol)) => {
                    out[header..header + 2].copy_from_slice(&[CONSTANT, symbol]);
                }
                Some(Coding::Coded(coded)) => {
                    let (head, payload) = out.split_at_mut(at);
                    let head = &mut head[header..header_at[index + 1]];
                    at += self.write_coded(set, plane, index, &coded, head, payload)?;
                }
            }
        }
        Ok(at)
    }

    /// Writes the header and the payload of a coded plane; returns the length of the payload.
    fn write_coded(
        &mut self,
        set: &CodebookSet,
        plane: &Plane,
        index: usize,
        coded: &Coded,
        head: &mut [u8],
        payload: &mut [u8],
    ) -> Result<usize> {
        let book = match coded.source {
            Source::Resident(number) => set.book(number)?,
            Source::Embedded => &self.embedded[index],
        };
        let lengths = book.lengths();
        let symbols = &self.planes[index];
        let mut zeros = 0u32;
        let slots: &[u8] = if plane.centred {
            self.slots.resize(symbols.len(), 0);
            let (slots, nonzero) = (&mut self.slots, &self.nonzero);
            zeros = self.platform.run(|| to_slots(symbols, nonzero, coded.base, slots));
            slots
        } else {
            symbols
        };
        self.escapes.clear();
        if coded.escapes > 0 {
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
        debug_assert!(stream_bytes as u64 <= coded.code_bits / 8);
        let after = &mut stream[stream_bytes..stream_bytes + self.escapes.len()];
        after.copy_from_slice(&self.escapes);

        let mut fields = Fields { head, at: 0 };
        match coded.source {
            Source::Resident(number) => fields.put(&[number]),
            Source::Embedded => {
                let mut bytes = [0; MAX_LENGTHS_BYTES];
                let size = lengths.write_to(&mut bytes);
                fields.put(&[EMBEDDED]);
                fields.put(&bytes[..size]);
            }
        }
        if plane.centred {
            fields.put(&[coded.base]);
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
