//! The plan of a block: which layout it has, and how each plane is stored. It is made from a sample or from the whole
//! block.

use super::bound;
use super::header::BlockHeader;
use super::one_pass;
use super::plane_by_plane::SplitPlanes;
use crate::codebook::{Codebook, Lengths};
use crate::kernels::bytes;
use crate::kernels::platform::Platform;
use crate::plan::{LayoutPolicy, Level, Plan, PlaneContext, Policy, Taste};
use crate::plane_codec::PlaneHeader;
use crate::planes::{Layout, MAX_PLANES, Role, find_zeros};
use crate::set::CodebookSet;
use crate::stats::{Counts, SampleSize, draw_sample, is_noise};

/// The part of a block that a plan is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// A sample. The writer of the block checks that planes which are planned as constant are constant.
    Sample,
    /// A sample of a block whose planes are known not to be constant where the sample is.
    SampleOfVarying,
    /// The whole block.
    All,
}

/// How a block is going to be stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planned {
    /// Its header before the sizes are known.
    pub(super) header: BlockHeader,
    /// Whether a plane that is planned as raw, because a sample is not enough, looks as if it could be coded.
    pub(super) promising: bool,
}

/// What came of planning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There is a plan: [`Planner::planned`].
    Planned,
    /// No layout is cheaper than none, or none fits.
    NoLayout,
    /// A sample would be nearly all of the block.
    NoSample,
}

/// Plans blocks; owns the plan, the planes that a block was split into, and the books that were made for them. (A plan is
/// some hundred bytes, which are copied as rarely as possible.)
#[derive(Debug)]
pub(super) struct Planner {
    platform: Platform,
    /// Planes of the whole block, or of a sample while a sample is looked at.
    planes: Vec<Vec<u8>>,
    /// Swapped with `planes` while a sample is looked at, so that both keep their sizes and nothing is cleared in vain.
    sample_planes: Vec<Vec<u8>>,
    /// 0 for each element that is an exact zero; empty when the block has none, or none that is
    /// coded apart.
    nonzero: Vec<u8>,
    embedded: Vec<Codebook>,
    sample: Vec<u8>,
    counts: Counts,
    /// The plan of the block, if there is one.
    planned: Option<Planned>,
    /// The plan of the layout that was looked at last.
    tried: Option<Planned>,
}

/// Units from which on a block whose signs are all the same always has them in a plane of their own. In smaller blocks
/// the signs may save less than the headers of two more planes take.
const APART_FROM: usize = 256;

impl Planner {
    pub(super) fn new(platform: Platform) -> Self {
        Self {
            platform,
            planes: vec![Vec::new(); MAX_PLANES],
            sample_planes: vec![Vec::new(); MAX_PLANES],
            nonzero: Vec::new(),
            embedded: vec![Codebook::new(Lengths::placeholder()); MAX_PLANES],
            sample: Vec::new(),
            counts: Counts::new(),
            planned: None,
            tried: None,
        }
    }

    /// The plan that was made last.
    pub(super) const fn planned(&self) -> Option<&Planned> {
        self.planned.as_ref()
    }

    /// Its header, whose sizes the writer of the block corrects, and by plane the books that were made.
    pub(super) fn header_and_books(&mut self) -> Option<(&mut BlockHeader, &[Codebook])> {
        let Self { planned, embedded, .. } = self;
        Some((&mut planned.as_mut()?.header, embedded))
    }

    /// What the whole block was split into.
    pub(super) fn split(&self) -> SplitPlanes<'_> {
        let Self { planes, nonzero, embedded, .. } = self;
        SplitPlanes { planes, nonzero, embedded }
    }

    /// Whether there were exact zeros, and the plan sets them apart.
    pub(super) const fn sets_zeros_apart(&self) -> bool {
        !self.nonzero.is_empty()
    }

    /// Plans a block by a sample.
    pub(super) fn plan_by_sample(
        &mut self,
        set: &CodebookSet,
        policy: &Policy,
        evidence: Evidence,
        bytes: &[u8],
    ) -> Outcome {
        let Some(size) = policy.sample() else { return Outcome::NoSample };
        let mut sample = std::mem::take(&mut self.sample);
        let drawn = draw_sample(bytes, policy.dtype().unit_bytes(), size, &mut sample);
        std::mem::swap(&mut self.planes, &mut self.sample_planes);
        let outcome = match drawn {
            Some(drawn) => self.plan_on(set, policy, evidence, drawn, bytes.len()),
            None => Outcome::NoSample,
        };
        std::mem::swap(&mut self.planes, &mut self.sample_planes);
        self.sample = sample;
        outcome
    }

    /// Plans a block on all of it. Leaves its planes for [`Planner::split`].
    pub(super) fn plan(&mut self, set: &CodebookSet, policy: &Policy, bytes: &[u8]) -> Outcome {
        self.plan_on(set, policy, Evidence::All, bytes, bytes.len())
    }

    /// Plans the other planes of a block whose first plane, without zeros apart, was planned by a sample.
    /// [`Outcome::NoLayout`] when the layout of the plan does not fit.
    pub(super) fn plan_others(
        &mut self,
        set: &CodebookSet,
        policy: &Policy,
        bytes: &[u8],
    ) -> Outcome {
        let planned = self.planned.map(|planned| {
            (planned.header.scheme.layout, planned.header.planes().first().copied())
        });
        let layout = planned.and_then(|(number, first)| {
            let layout = policy.layouts().iter().find(|layout| layout.scheme.layout == number)?;
            Some((layout, first))
        });
        let Some((layout, first)) = layout else { return Outcome::NoLayout };
        let all = bytes.len();
        self.plan_layout(set, policy, layout, Evidence::All, (bytes, all), first);
        self.take_tried()
    }

    /// Whether a block fits the layout of its plan, and planes are constant that are planned to be.
    pub(super) fn fits(&mut self, unit_bytes: usize, bytes: &[u8]) -> bool {
        let Self { platform, planes, planned: Some(Planned { header, .. }), .. } = self else {
            return false;
        };
        header.scheme.split_to_vecs(*platform, unit_bytes, bytes, planes)
            && header.planes().iter().zip(planes).all(|(plane, symbols)| match plane {
                PlaneHeader::Constant(symbol) => one_pass::is_constant(*platform, *symbol, symbols),
                _ => true,
            })
    }

    /// Plans the cheapest layout of a block of `all` bytes by the evidence of some of them, or of all. Leaves the books
    /// made for it in `self.embedded` and, if the evidence is all there is, its planes in `self.planes`.
    fn plan_on(
        &mut self,
        set: &CodebookSet,
        policy: &Policy,
        evidence: Evidence,
        bytes: &[u8],
        all: usize,
    ) -> Outcome {
        let mut best: Option<(usize, &LayoutPolicy)> = None;
        let mut last = None;
        let mut is_apart = false;
        for layout in policy.layouts() {
            let number = layout.scheme.layout;
            let skipped = match number {
                Layout::SignApart => evidence == Evidence::SampleOfVarying,
                Layout::Exponent => is_apart,
                _ => false,
            };
            if skipped {
                continue;
            }
            // Whether it fits or not, the planes left are its own.
            last = Some(number);
            let stored = self.plan_layout(set, policy, layout, evidence, (bytes, all), None);
            let Some(stored) = stored else { continue };
            is_apart |=
                number == Layout::SignApart && all / policy.dtype().unit_bytes() >= APART_FROM;
            if best.is_none_or(|(lowest, _)| stored < lowest) {
                best = Some((stored, layout));
                self.planned = self.tried;
            }
        }
        let Some((_, layout)) = best.filter(|&(stored, _)| stored < bound(all)) else {
            return Outcome::NoLayout;
        };
        let embeds = |planned: &Planned| planned.header.planes().iter().any(PlaneHeader::embeds);
        let left = evidence == Evidence::All
            || self.planned.as_ref().is_some_and(embeds)
            || !self.nonzero.is_empty();
        if left && last != Some(layout.scheme.layout) {
            self.plan_layout(set, policy, layout, evidence, (bytes, all), None);
            return self.take_tried();
        }
        Outcome::Planned
    }

    /// Makes the plan of the layout that was looked at last that of the block.
    fn take_tried(&mut self) -> Outcome {
        self.planned = self.tried;
        if self.planned.is_some() { Outcome::Planned } else { Outcome::NoLayout }
    }

    /// Splits the evidence and plans each plane of a block of `all` bytes, but for the first one if there is a
    /// plan for it that sets no zeros apart. Leaves the plan in `self.tried`, and returns the bytes of the block; `None`
    /// when the layout does not fit.
    fn plan_layout(
        &mut self,
        set: &CodebookSet,
        policy: &Policy,
        layout: &LayoutPolicy,
        evidence: Evidence,
        (bytes, all): (&[u8], usize),
        first: Option<PlaneHeader>,
    ) -> Option<usize> {
        self.tried = None;
        let unit_bytes = policy.dtype().unit_bytes();
        let scheme = layout.scheme;
        if !scheme.split_to_vecs(self.platform, unit_bytes, bytes, &mut self.planes) {
            return None;
        }
        let units = all / unit_bytes;
        let factor = (all / bytes.len().max(1)).max(1) as u32;
        let mut header = BlockHeader::raw(scheme);
        let (mut stored, mut promising) = (1, false);
        let count = scheme.planes.len();
        if scheme.planes[0].centred && first.is_none() {
            find_zeros(self.platform, &self.planes[..count], &mut self.nonzero);
        } else {
            self.nonzero.clear();
        }
        // Of a plane that is all the same nothing is stored.
        let mut is_stored = [true; MAX_PLANES];
        let mut remainder_bits = 0;
        for ((plane, symbols), is_stored) in
            scheme.planes.iter().zip(&self.planes).zip(&mut is_stored)
        {
            if plane.role == Role::Remainder {
                *is_stored = constant_symbol(symbols).is_none();
                remainder_bits += if *is_stored { u64::from(plane.width) } else { 0 };
            }
        }
        for (index, plane) in scheme.planes.iter().enumerate() {
            if let (0, Some(first)) = (index, first) {
                header.set(0, first);
                continue;
            }
            let shape = header.shape(index, units);
            let symbols = &self.planes[index];
            if plane.role == Role::Remainder {
                let constant = constant_symbol(symbols);
                let raw = constant.is_some()
                    || policy.level() == Level::Fast
                    || is_noise(self.platform, symbols, plane.width);
                // Few symbols may be known by a sample, but not those of a remainder.
                let sample = scheme.planes[0].centred && evidence != Evidence::All;
                promising |= !raw;
                if raw || sample {
                    let believed = constant.filter(|_| evidence != Evidence::SampleOfVarying);
                    let plan = believed.map_or_else(|| Plan::raw(&shape), Plan::constant);
                    stored += plan.stored();
                    header.set(index, plan.header);
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
            let context = PlaneContext {
                platform: self.platform,
                taste: Taste::TENSORS,
                shape,
                remainder_bits,
                set,
                candidates: &layout.candidates[index],
                embed: policy.embeds(plane, &layout.candidates[index]),
                behind: (index + 1..count)
                    .filter(|&later| is_stored[later])
                    .map(|later| PlaneHeader::Raw.payload_bytes(&header.shape(later, units)))
                    .sum(),
            };
            let plan = context.plan(counts, &mut self.embedded[index]);
            stored += plan.stored();
            header.set(index, plan.header);
            if plane.centred && !self.nonzero.is_empty() {
                let book = header.book(index, set, &self.embedded);
                if book.is_some_and(|book| book.lengths().zero() > 0) {
                    self.compact(count);
                } else {
                    self.nonzero.clear();
                }
            }
        }
        self.tried = Some(Planned { header, promising });
        Some(stored)
    }

    /// Takes the remainder of exact zeros out of the remainder planes.
    fn compact(&mut self, count: usize) {
        for plane in &mut self.planes[1..count] {
            bytes::compact(self.platform, &self.nonzero, plane);
        }
    }
}

/// The symbol that a plane consists of, if there is only one.
fn constant_symbol(symbols: &[u8]) -> Option<u8> {
    let (first, rest) = symbols.split_first()?;
    rest.iter().all(|symbol| symbol == first).then_some(*first)
}
