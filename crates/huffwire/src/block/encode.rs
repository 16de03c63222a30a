//! Elements to a block: draw a sample, split it, choose; then write.

use super::{VERBATIM, bound, capacity};
use crate::codebook::{Codebook, Lengths};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernels::bytes;
use crate::kernels::platform::Platform;
use crate::lanes::{CARRIED_BYTES, CachePolicy, Escapes};
use crate::plan::{BookRef, Choice, Coded, Coding, Level, Plan, PlaneContext};
use crate::planes::pack::packed_bytes;
use crate::planes::{Layout, MAX_PLANES, Plane, Role, Scheme, SymbolRule, find_zeros};
use crate::set::CodebookSet;
use crate::stats::{Counts, SampleSize, draw_sample, is_noise};

/// What the sender decided once for a tensor: its symbols, its books, and how to choose.
#[derive(Debug, Clone)]
pub(crate) struct Method {
    dtype: Dtype,
    level: Level,
    choice: Choice,
    schemes: Vec<(Layout, [Vec<u8>; MAX_PLANES])>,
}

impl Method {
    pub(crate) fn new(
        set: &CodebookSet,
        dtype: Dtype,
        tensor: &str,
        rule: SymbolRule,
        level: Level,
        choice: Choice,
    ) -> Self {
        let fits = |number: u8, layout, plane: usize| {
            let book = set.book(number).map(|book| book.lengths().alphabet()).ok();
            book.is_some() && dtype.planes(layout).get(plane).map(Plane::alphabet) == book
        };
        let tensor = (choice == Choice::Named).then_some(tensor);
        let books = |layout| {
            std::array::from_fn(|plane| match choice {
                Choice::Fixed(number) => {
                    [number].into_iter().filter(|&number| fits(number, layout, plane)).collect()
                }
                _ => set.candidates(tensor, dtype, layout, plane as u8).collect(),
            })
        };
        let mut schemes: Vec<_> =
            dtype.layouts(rule).map(|layout| (layout, books(layout))).collect();
        // Of several layouts, those without a book would have to make one: not at this level,
        // unless none has any.
        let has_book = |books: &[Vec<u8>; MAX_PLANES]| books.iter().any(|plane| !plane.is_empty());
        if level == Level::Fast && schemes.iter().any(|(_, books)| has_book(books)) {
            schemes.retain(|(_, books)| has_book(books));
        }
        Self { dtype, level, choice, schemes }
    }

    pub(crate) const fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// What sample of a block is enough to choose by; `None` where the whole block has to be looked at.
    fn sample(&self) -> Option<SampleSize> {
        match (self.level, self.choice) {
            (_, Choice::Cheapest) => None,
            (Level::Fast, _) => Some(SampleSize::CHOICE),
            (Level::Max, _) => Some(SampleSize::MAKING),
        }
    }

    /// Whether a plane may have a book of its own: at the fast level only where there would be none.
    fn embeds(&self, plane: &Plane, candidates: &[u8]) -> bool {
        let bookless = candidates.is_empty() && plane.role == Role::Symbols;
        self.level == Level::Max || (bookless && !matches!(self.choice, Choice::Fixed(_)))
    }
}

/// How each plane of a block is stored.
pub(super) type Plans = [Option<Plan>; MAX_PLANES];

/// A layout and its plans.
struct Planned {
    scheme: &'static Scheme,
    plans: Plans,
    /// Whether a plane looks as if it could be coded which is planned to be raw, as a sample is not enough.
    promising: bool,
}

/// Encodes blocks; owns the scratch memory, so that a block costs no allocation.
#[derive(Debug)]
pub(crate) struct BlockEncoder {
    pub(super) platform: Platform,
    /// Planes of the whole block; of a sample while that is looked at.
    pub(super) planes: Vec<Vec<u8>>,
    /// Changes places with `planes` meanwhile: each keeps its size, and nothing is cleared in vain.
    sample_planes: Vec<Vec<u8>>,
    /// Planes of a piece.
    pub(super) pieces: Vec<Vec<u8>>,
    /// 0 for each element that is an exact zero; empty when the block has none, or none that is
    /// coded apart.
    pub(super) nonzero: Vec<u8>,
    pub(super) slots: Vec<u8>,
    pub(super) picked: Vec<u8>,
    pub(super) escapes: Escapes,
    pub(super) embedded: Vec<Codebook>,
    sample: Vec<u8>,
    counts: Counts,
}

impl BlockEncoder {
    pub(crate) fn new(platform: Platform) -> Self {
        Self {
            platform,
            planes: vec![Vec::new(); MAX_PLANES],
            sample_planes: vec![Vec::new(); MAX_PLANES],
            pieces: vec![Vec::new(); MAX_PLANES],
            nonzero: Vec::new(),
            slots: Vec::new(),
            picked: Vec::new(),
            escapes: Escapes::default(),
            embedded: vec![Codebook::new(Lengths::placeholder()); MAX_PLANES],
            sample: Vec::new(),
            counts: Counts::new(),
        }
    }

    /// Encodes whole units into `out`, which needs [`capacity`] bytes; returns the bytes used, at
    /// most [`bound`].
    pub(crate) fn encode(
        &mut self,
        set: &CodebookSet,
        method: &Method,
        bytes: &[u8],
        flow: CachePolicy<'_>,
        out: &mut [u8],
    ) -> Result<usize> {
        let (needed, available) = (capacity(bytes.len()), out.len());
        if available < needed {
            return Err(Error::OutputTooSmall { needed, available });
        }
        match self.encode_layout(set, method, bytes, flow, out) {
            Ok(Some(length)) if length < bound(bytes.len()) => return Ok(length),
            // What was chosen by a sample may turn out to be a bad choice, or not to fit at all.
            Ok(_) | Err(Error::OutputTooSmall { .. }) => {}
            Err(error) => return Err(error),
        }
        out[0] = VERBATIM;
        out[1..=bytes.len()].copy_from_slice(bytes);
        Ok(bound(bytes.len()))
    }

    /// Encodes with the layout that costs least; `None` when that is none.
    fn encode_layout(
        &mut self,
        set: &CodebookSet,
        method: &Method,
        bytes: &[u8],
        flow: CachePolicy<'_>,
        out: &mut [u8],
    ) -> Result<Option<usize>> {
        let unit_bytes = method.dtype.unit_bytes();
        if let Some(size) = method.sample() {
            let mut sample = std::mem::take(&mut self.sample);
            let drawn = draw_sample(bytes, unit_bytes, size, &mut sample);
            std::mem::swap(&mut self.planes, &mut self.sample_planes);
            let best = drawn.map(|drawn| self.best(set, method, drawn, bytes.len()));
            std::mem::swap(&mut self.planes, &mut self.sample_planes);
            self.sample = sample;
            match best {
                // At the highest level a sample may be too small to see a gain.
                Some(None) if method.level == Level::Fast => return Ok(None),
                Some(Some(best)) => {
                    let written = self.write_by_sample(set, method, &best, bytes, flow, out)?;
                    if written.is_some() {
                        return Ok(written);
                    }
                }
                _ => {}
            }
        }
        let Some(Planned { scheme, plans, .. }) = self.best(set, method, bytes, bytes.len()) else {
            return Ok(None);
        };
        if let Some(coded) = self.one_pass(set, scheme, &plans) {
            return self.write_in_one_pass(set, (scheme, unit_bytes), &coded, bytes, flow, out);
        }
        self.write_whole(set, scheme, &plans, out).map(Some)
    }

    /// Writes what was planned by a sample, if that is enough to know.
    fn write_by_sample(
        &mut self,
        set: &CodebookSet,
        method: &Method,
        &Planned { scheme, ref plans, promising }: &Planned,
        bytes: &[u8],
        flow: CachePolicy<'_>,
        out: &mut [u8],
    ) -> Result<Option<usize>> {
        // The few symbols of exponents are known by a sample that is large enough, bytes are not.
        let makes = method.level == Level::Max && scheme.planes[0].centred;
        if !makes && plans.iter().flatten().any(Plan::embeds) {
            return Ok(None);
        }
        if let Some(coded) = self.one_pass(set, scheme, plans).filter(|_| !promising) {
            let unit_bytes = method.dtype.unit_bytes();
            let written =
                self.write_in_one_pass(set, (scheme, unit_bytes), &coded, bytes, flow, out);
            // Whether elements that do not fit are noticed before the room ends depends on the pieces, hence on the
            // platform.
            if matches!(written, Err(Error::OutputTooSmall { .. }))
                && !scheme.split_to_vecs(self.platform, unit_bytes, bytes, &mut self.planes)
            {
                return Ok(None);
            }
            return written;
        }
        let exponents = plans[0].filter(|plan| scheme.planes[0].centred && plan.is_coded());
        let zeros = !self.nonzero.is_empty();
        if !promising || exponents.is_none() || zeros {
            return Ok(None);
        }
        let planned = self.plans_of(set, method, scheme, bytes, bytes.len(), exponents);
        planned.map(|planned| self.write_whole(set, scheme, &planned.plans, out)).transpose()
    }

    /// The cheapest layout of a block of `all` bytes by the evidence of some of them, or of all; `None`
    /// when none is cheaper than no layout. Leaves the books made for it in `self.embedded` and, if the
    /// evidence is all there is, its planes in `self.planes`.
    fn best(
        &mut self,
        set: &CodebookSet,
        method: &Method,
        evidence: &[u8],
        all: usize,
    ) -> Option<Planned> {
        let mut best: Option<(usize, usize, Planned)> = None;
        let mut last = None;
        for (index, (layout, _)) in method.schemes.iter().enumerate() {
            let Some(scheme) = method.dtype.scheme(*layout) else {
                continue;
            };
            // Whether it fits or not, the planes left are its own.
            last = Some(index);
            let Some(planned) = self.plans_of(set, method, scheme, evidence, all, None) else {
                continue;
            };
            let cost = 1 + planned.plans.iter().flatten().map(Plan::stored).sum::<usize>();
            if best.as_ref().is_none_or(|(lowest, ..)| cost < *lowest) {
                best = Some((cost, index, planned));
            }
        }
        let (_, index, planned) = best.filter(|(cost, ..)| *cost < bound(all))?;
        let left = evidence.len() == all || planned.plans.iter().flatten().any(Plan::embeds);
        if left && last != Some(index) {
            return self.plans_of(set, method, planned.scheme, evidence, all, None);
        }
        Some(planned)
    }

    /// Splits the evidence and plans each plane of a block of `all` bytes, but for the first one if there is a
    /// plan for it that sets no zeros apart; `None` when the layout does not fit.
    fn plans_of(
        &mut self,
        set: &CodebookSet,
        method: &Method,
        scheme: &'static Scheme,
        evidence: &[u8],
        all: usize,
        first: Option<Plan>,
    ) -> Option<Planned> {
        let unit_bytes = method.dtype.unit_bytes();
        if !scheme.split_to_vecs(self.platform, unit_bytes, evidence, &mut self.planes) {
            return None;
        }
        let candidates = method.schemes.iter().find(|(layout, _)| *layout == scheme.layout);
        let (_, candidates) = candidates?;
        let units = all / unit_bytes;
        let factor = (all / evidence.len().max(1)).max(1) as u32;
        let mut plans = Plans::default();
        let mut promising = false;
        let count = scheme.planes.len();
        if scheme.planes[0].centred && first.is_none() {
            find_zeros(self.platform, &self.planes[..count], &mut self.nonzero);
        } else {
            self.nonzero.clear();
        }
        let remainder_bits = scheme.planes.iter().filter(|p| p.role == Role::Remainder);
        let remainder_bits: u64 = remainder_bits.map(|p| u64::from(p.width)).sum();
        // Units without remainder: exact zeros that plane 0 codes apart.
        let mut apart = 0;
        for (index, plane) in scheme.planes.iter().enumerate() {
            if index == 0 && first.is_some() {
                plans[0] = first;
                continue;
            }
            let symbols = &self.planes[index];
            let total = units * usize::from(plane.per_unit) - apart;
            if plane.role == Role::Remainder {
                let raw =
                    method.level == Level::Fast || is_noise(self.platform, symbols, plane.width);
                // Few symbols may be known by a sample, but not those of a remainder.
                let sample = scheme.planes[0].centred && evidence.len() < all;
                promising |= !raw;
                if raw || sample {
                    plans[index] = Some(plan_remainder(plane, symbols, total));
                    continue;
                }
            }
            let nonzero: &[u8] = if plane.centred { &self.nonzero } else { &[] };
            // Who plans the first plane by a sample does not count all of the others either.
            let drawn = first
                .and_then(|_| draw_sample(symbols, 1, SampleSize::REMAINDER, &mut self.sample));
            let factor = drawn.map_or(factor, |drawn| (symbols.len() / drawn.len()) as u32);
            let counts = &mut self.counts;
            counts.count(self.platform, drawn.unwrap_or(symbols), nonzero, factor);
            // What is rare need not be in the sample: only a whole plane is known to be constant.
            if drawn.is_some() && counts.constant().is_some() {
                counts.count(self.platform, symbols, nonzero, 1);
            }
            let later = scheme.planes[index + 1..].iter();
            let later = later.map(|p| packed_bytes(units * usize::from(p.per_unit), p.width));
            let wish = PlaneContext {
                platform: self.platform,
                plane,
                symbols: total,
                remainder_bits,
                set,
                candidates: &candidates[index],
                embed: method.embeds(plane, &candidates[index]),
                lent: later.sum::<usize>().min(CARRIED_BYTES),
            };
            let plan = wish.plan(counts, &mut self.embedded[index]);
            plans[index] = Some(plan);
            if plane.centred && !self.nonzero.is_empty() {
                if self.zeros_apart(set, &plan, index) {
                    apart = self.counts.zeros() as usize;
                    self.compact(count);
                } else {
                    self.nonzero.clear();
                }
            }
        }
        Some(Planned { scheme, plans, promising })
    }

    pub(super) fn book<'a>(
        &'a self,
        set: &'a CodebookSet,
        book_ref: BookRef,
        plane: usize,
    ) -> Result<&'a Codebook> {
        match book_ref {
            BookRef::Resident(number) => set.book(number),
            BookRef::Embedded => Ok(&self.embedded[plane]),
        }
    }

    fn zeros_apart(&self, set: &CodebookSet, plan: &Plan, index: usize) -> bool {
        let Coding::Coded(Coded { book_ref, .. }) = plan.coding else { return false };
        self.book(set, book_ref, index).is_ok_and(|book| book.lengths().zero() > 0)
    }

    /// Takes the remainder of exact zeros out of the remainder planes.
    fn compact(&mut self, count: usize) {
        for plane in &mut self.planes[1..count] {
            bytes::compact(self.platform, &self.nonzero, plane);
        }
    }

    /// The coded plane of a block that can be written in one pass: one in which only the first plane is coded,
    /// the others are raw, and no zeros are coded apart.
    fn one_pass(&self, set: &CodebookSet, scheme: &Scheme, plans: &Plans) -> Option<Coded> {
        let (first, others) = plans[..scheme.planes.len()].split_first()?;
        let Some(Plan { coding: Coding::Coded(coded), .. }) = first else { return None };
        let raw = |plan: &Option<Plan>| plan.is_none_or(|plan| plan.coding == Coding::Raw);
        let apart = !self.nonzero.is_empty() && self.zeros_apart(set, first.as_ref()?, 0);
        (!apart && others.iter().all(raw)).then_some(*coded)
    }
}

/// Remainder at the fast level: raw, unless it is all the same.
fn plan_remainder(plane: &Plane, symbols: &[u8], total: usize) -> Plan {
    let constant = symbols.split_first().filter(|(first, rest)| rest.iter().all(|s| s == *first));
    match constant {
        Some((&symbol, _)) => Plan::constant(symbol),
        None => Plan::raw(total, plane.width),
    }
}
