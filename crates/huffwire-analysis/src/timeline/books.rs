//! Codebooks for a kind of tensors, and what they spend on a shard.

use huffwire::codebook::fit::{Effort, Fitted};
use huffwire::planes::{Plane, Role};
use huffwire::stats::Pmf;
use huffwire::{Codebook, CodebookSet, Layout};

use crate::average::{Averages, ZERO, aligned, fit};
use crate::collect;
use crate::options::Form;
use crate::packed::{PackedCounts, PackedProfile, Weighted};
use crate::price::{Pricer, remainder_bits};

/// Codebooks for the planes of tensors.
pub(super) struct Books {
    layouts: Vec<(Layout, Vec<PlaneBooks>)>,
}

/// Codebooks for a plane of symbols.
struct PlaneBooks {
    index: usize,
    books: Vec<Codebook>,
    /// Whether the symbols are exponents as they are, not counted from a base.
    uncentred: bool,
}

/// The histograms of a shard, ready to be priced.
pub(super) struct Shard {
    pub(super) units: f64,
    /// Bits a unit that no codebook saves.
    pub(super) kept: f64,
    /// Bits a unit without a code.
    pub(super) raw: f64,
    layouts: Vec<(Layout, Vec<Symbols>)>,
}

/// The symbols of a plane.
struct Symbols {
    index: usize,
    plane: Plane,
    counts: Vec<u64>,
    pmf: Pmf,
    /// Exponents with the exact zeros among them.
    folded: Option<(Vec<u64>, Pmf)>,
    /// Bits of the remainder for each symbol.
    remainder: f64,
    mean: u8,
}

impl Shard {
    pub(super) fn new(profile: &PackedProfile, form: Form) -> Self {
        let layouts = form.dtype.layouts(form.rule).filter(|layout| profile.fits(*layout));
        let layouts: Vec<(Layout, Vec<Symbols>)> = layouts
            .map(|layout| {
                let planes = symbol_planes(form, layout);
                let symbols = planes
                    .filter_map(|(index, plane)| Symbols::new(profile, form, layout, index, plane));
                (layout, symbols.collect())
            })
            .collect();
        let kept = layouts.iter().map(|(layout, planes)| {
            let zeros = planes.iter().filter_map(|symbols| symbols.pmf.probabilities().get(ZERO));
            remainder_bits(form, *layout)
                * (1.0 - zeros.fold(0.0, |most: f64, zeros| most.max(*zeros)))
        });
        let raw = form.raw_bits();
        let kept = kept.fold(raw, f64::min);
        Self { units: profile.units as f64, kept, raw, layouts }
    }

    /// Bits a unit that codebooks spend, in the layout that suits them best; `None` if they are for no layout of the shard.
    pub(super) fn bits(&self, books: &Books) -> Option<f64> {
        let of_layout = |(layout, planes): &(Layout, Vec<Symbols>)| {
            let (_, by_plane) = books.layouts.iter().find(|(other, _)| other == layout)?;
            let plane_bits = |symbols: &Symbols| {
                let books = by_plane.iter().find(|books| books.index == symbols.index)?;
                Some(symbols.bits(books)? * f64::from(symbols.plane.per_unit))
            };
            planes.iter().map(plane_bits).sum::<Option<f64>>()
        };
        let bits = self.layouts.iter().filter_map(of_layout).min_by(f64::total_cmp)?;
        Some(bits.min(self.raw))
    }
}

impl Symbols {
    fn new(
        profile: &PackedProfile,
        form: Form,
        layout: Layout,
        index: usize,
        plane: &Plane,
    ) -> Option<Self> {
        let mut counts = Vec::new();
        profile.counts(layout, index)?.unpack(&mut counts);
        let pmf = aligned(&counts, 0)?;
        let folded = plane.centred.then(|| fold(&counts));
        let folded = folded.and_then(|counts| aligned(&counts, 0).map(|pmf| (counts, pmf)));
        let remainder = remainder_bits(form, layout) / f64::from(plane.per_unit);
        let mean = Pricer { plane, remainder }.mean(&counts);
        Some(Self { index, plane: *plane, counts, pmf, folded, remainder, mean })
    }

    /// Bits a symbol with the best of some books, those of the remainder included.
    fn bits(&self, books: &PlaneBooks) -> Option<f64> {
        let plane = Plane { centred: self.plane.centred && !books.uncentred, ..self.plane };
        let pricer = Pricer { plane: &plane, remainder: self.remainder };
        let (counts, pmf) = match &self.folded {
            Some((counts, pmf)) if books.uncentred => (counts, pmf),
            _ => (&self.counts, &self.pmf),
        };
        let all: Vec<&Codebook> = books.books.iter().collect();
        let bits = pricer.cheapest(&all, pmf, self.mean, all.len())?;
        Some(bits.min(pricer.limit(counts, pmf)))
    }
}

impl Books {
    /// One codebook for each plane, made from the average of shards in every layout that all of them fit.
    pub(super) fn fitted(shards: &[&collect::Shard], form: Form, uncentred: bool) -> Self {
        let layouts = form.dtype.layouts(form.rule);
        let fits = |layout| shards.iter().all(|shard| shard.profile.fits(layout));
        let fitting = layouts.filter(|layout| fits(*layout));
        let layouts = fitting.filter_map(|layout| {
            let of_plane = |(index, plane): (usize, &Plane)| {
                let fitted = fit_plane(shards, form, layout, index, plane, uncentred)?;
                Some(PlaneBooks { index, books: vec![Codebook::new(fitted.lengths)], uncentred })
            };
            let planes: Option<Vec<PlaneBooks>> =
                symbol_planes(form, layout).map(of_plane).collect();
            Some((layout, planes?))
        });
        Self { layouts: layouts.collect() }
    }

    /// The codebooks of a set that an encoder considers: all that fit.
    pub(super) fn of_set(set: &CodebookSet, form: Form) -> Self {
        let layouts = form.dtype.layouts(form.rule).map(|layout| {
            let planes = symbol_planes(form, layout).map(|(index, plane)| {
                let numbers = set.candidates(None, form.dtype, layout, index as u8);
                let books = numbers.filter_map(|number| set.book(number).ok());
                let books = books.filter(|book| book.lengths().alphabet() == plane.alphabet());
                PlaneBooks { index, books: books.cloned().collect(), uncentred: false }
            });
            (layout, planes.collect())
        });
        Self { layouts: layouts.collect() }
    }

    /// Whether they can code no tensor.
    pub(super) fn is_empty(&self) -> bool {
        let is_whole = |(_, planes): &(Layout, Vec<PlaneBooks>)| {
            planes.iter().all(|plane| !plane.books.is_empty())
        };
        !self.layouts.iter().any(is_whole)
    }
}

fn symbol_planes(form: Form, layout: Layout) -> impl Iterator<Item = (usize, &'static Plane)> {
    let planes = form.dtype.planes(layout).iter().enumerate();
    planes.filter(|(_, plane)| plane.role == Role::Symbols)
}

fn fit_plane(
    shards: &[&collect::Shard],
    form: Form,
    layout: Layout,
    index: usize,
    plane: &Plane,
    uncentred: bool,
) -> Option<Fitted> {
    let counts: Option<Vec<Weighted<'_>>> =
        shards.iter().map(|shard| shard.weighted(layout, index)).collect();
    let counts = counts?;
    let symbol_bits = form.raw_bits() / f64::from(plane.per_unit);
    let other_bits = (symbol_bits - f64::from(plane.width)).max(0.0);
    let one_group = vec![0; counts.len()];
    if !(uncentred && plane.centred) {
        let average = Averages::of(&counts, &one_group, plane).all()?;
        return fit(&average, plane, other_bits, Effort::Exhaustive);
    }
    let plain = Plane { centred: false, ..*plane };
    let mut unpacked = Vec::new();
    let folded: Vec<PackedCounts> = counts
        .iter()
        .map(|shard| {
            shard.counts.unpack(&mut unpacked);
            PackedCounts::new(&fold(&unpacked))
        })
        .collect();
    let folded: Vec<Weighted<'_>> = folded
        .iter()
        .zip(&counts)
        .map(|(folded, shard)| Weighted { counts: folded, ..*shard })
        .collect();
    let average = Averages::of(&folded, &one_group, &plain).all()?;
    fit(&average, &plain, other_bits, Effort::Exhaustive)
}

/// Counts of exponents with the exact zeros among those of exponent 0.
fn fold(counts: &[u64]) -> Vec<u64> {
    let mut folded = counts[..ZERO.min(counts.len())].to_vec();
    if let (Some(first), Some(zeros)) = (folded.first_mut(), counts.get(ZERO)) {
        *first += zeros;
    }
    folded
}
