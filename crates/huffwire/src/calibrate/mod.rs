//! Calibration: codebooks made from the tensors of earlier batches, for the tensors of later ones.
//!
//! Tensors of one kind have similar PMFs across layers, shards and batches. A codebook made from the average of these
//! PMFs, in which each shard has the same weight, is close to optimal for all of them (Agrawal et al., arXiv
//! 2601.10673, section 3). Exponents are similar up to scale, so their PMFs are shifted onto each other before they
//! are averaged.

mod average;
mod profile;

use std::collections::BTreeMap;

use average::{Cluster, Shard};
pub use profile::{Ideal, Profile, Scratch};

use crate::codebook::fit::{self, Effort, Fitted};
use crate::codebook::{CodeLimit, Codebook};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::planes::{Layout, Plane, Role, SymbolRule};
use crate::set::{Binding, CodebookSet, SetBuilder};

/// 12-bit codes must shrink the whole tensor by this share to be worth their slower kernel.
const BITS_12_PAY: f64 = 0.004;

/// Books for a kind of small floats: enough to follow a drifting scale (docs/codebooks.md).
const SMALL_FLOAT_BOOKS: usize = 4;

/// The kind of a tensor: its name with every run of digits replaced by `*`, so that the layers of a
/// network share a codebook.
///
/// ```
/// let kind = huffwire::calibrate::kind_of("model.layers.11.mlp.down_proj.weight");
/// assert_eq!(kind, "model.layers.*.mlp.down_proj.weight");
/// ```
#[must_use]
pub fn kind_of(name: &str) -> String {
    let mut kind = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '0'..='9' if kind.ends_with('*') => {}
            '0'..='9' => kind.push('*'),
            c => kind.push(c),
        }
    }
    kind
}

/// How to calibrate.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Name of the set, for people.
    pub name: String,
    /// Limit on code lengths. `None`: 12-bit codes where they make a tensor smaller by more than 0.4 %, else 8-bit
    /// codes.
    pub codes: Option<CodeLimit>,
    /// Books made for each kind, from clusters of similar shards. `None`: 1, as Agrawal et al. do, but up to
    /// 4 for magnitudes and values of small floats, whose scale a book cannot follow.
    pub books_per_kind: Option<usize>,
    /// Share of the probability that is spread evenly over all symbols, so that symbols which the shards do not have
    /// are not too expensive.
    pub smoothing: f64,
    /// Whether the built-in books that fit the element types seen are put into the set too, behind the
    /// new ones, for tensors of other kinds.
    pub builtin: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "calibrated".to_owned(),
            codes: None,
            books_per_kind: None,
            smoothing: 0.001,
            builtin: true,
        }
    }
}

/// What calibration found for one plane of one kind of tensors. Bits are per symbol, averaged over
/// the shards.
#[derive(Debug, Clone, PartialEq)]
pub struct KindReport {
    /// The kind, a pattern on tensor names.
    pub kind: String,
    /// The element type.
    pub dtype: Dtype,
    /// The layout chosen.
    pub layout: Layout,
    /// The plane.
    pub plane: u8,
    /// Shards that were averaged.
    pub shards: usize,
    /// Numbers of the books made.
    pub books: Vec<u8>,
    /// Shannon entropy of each shard's own PMF.
    pub shannon_bits: f64,
    /// Huffman code made for each shard.
    pub huffman_bits: f64,
    /// The best of the books made.
    pub book_bits: f64,
    /// KL divergence of the shards' PMFs from the average that the best book was made from.
    pub mean_kl_bits: f64,
}

/// A finished calibration.
#[derive(Debug, Clone)]
pub struct Calibration {
    /// The codebooks, bound to the kinds.
    pub set: CodebookSet,
    /// What was found, in the order of the kinds.
    pub kinds: Vec<KindReport>,
}

/// Collects profiles of shards, by kind.
///
/// ```
/// use huffwire::calibrate::{Collector, Options, Profile, kind_of};
/// use huffwire::{Dtype, SymbolRule};
///
/// let mut collector = Collector::new(SymbolRule::Auto);
/// for layer in 0..3 {
///     let weights: Vec<u8> = (1..5000u16).flat_map(|i| i.wrapping_mul(i).to_le_bytes()).collect();
///     let mut shard = Profile::new(Dtype::Bf16, SymbolRule::Auto);
///     shard.add(&weights)?;
///     collector.push(&kind_of(&format!("layers.{layer}.weight")), shard)?;
/// }
/// let calibration = collector.build(&Options::default())?;
/// assert_eq!(calibration.kinds[0].shards, 3);
/// # Ok::<(), huffwire::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Collector {
    rule: SymbolRule,
    shards: BTreeMap<(String, Dtype), Vec<Profile>>,
}

impl Collector {
    /// A collector for shards profiled under `rule`.
    #[must_use]
    pub const fn new(rule: SymbolRule) -> Self {
        Self { rule, shards: BTreeMap::new() }
    }

    /// Adds a shard of a kind; an empty one changes nothing.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] when the shard was profiled under another rule.
    pub fn push(&mut self, kind: &str, shard: Profile) -> Result<()> {
        let expected: Vec<Layout> = shard.dtype().layouts(self.rule).collect();
        if shard.layouts().any(|layout| !expected.contains(&layout)) {
            return Err(Error::InvalidOption("a shard profiled under another symbol rule".into()));
        }
        if shard.units() > 0 {
            self.shards.entry((kind.to_owned(), shard.dtype())).or_default().push(shard);
        }
        Ok(())
    }

    /// Number of shards collected.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.values().map(Vec::len).sum()
    }

    /// Makes the codebooks.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for options outside their range, [`Error::InvalidCodebook`] when the set
    /// would hold more than 192 books.
    pub fn build(&self, options: &Options) -> Result<Calibration> {
        if options.books_per_kind == Some(0) {
            return Err(Error::InvalidOption("books_per_kind must be at least 1".into()));
        }
        if !(0.0..1.0).contains(&options.smoothing) {
            return Err(Error::InvalidOption("smoothing must lie in 0..1".into()));
        }
        let mut builder = SetBuilder::new(&options.name);
        let mut kinds = Vec::new();
        for ((kind, dtype), shards) in &self.shards {
            let Some(planes) = best_layout(*dtype, shards, options)? else {
                continue;
            };
            for made in planes {
                let books: Vec<u8> = made
                    .books
                    .iter()
                    .map(|fitted| builder.add_fitted(fitted))
                    .collect::<Result<_>>()?;
                let mut distinct = books.clone();
                distinct.sort_unstable();
                distinct.dedup();
                builder.bind(Binding {
                    pattern: kind.clone(),
                    dtype: Some(*dtype),
                    layout: made.layout,
                    plane: made.plane,
                    books: distinct.clone(),
                })?;
                kinds.push(KindReport {
                    kind: kind.clone(),
                    dtype: *dtype,
                    layout: made.layout,
                    plane: made.plane,
                    shards: shards.len(),
                    books: distinct,
                    shannon_bits: made.shannon_bits,
                    huffman_bits: made.huffman_bits,
                    book_bits: made.book_bits,
                    mean_kl_bits: made.mean_kl_bits,
                });
            }
        }
        if options.builtin {
            // Only what can serve the types that were seen: a set has room for 192 books.
            let seen = |dtype: Dtype| {
                self.shards.keys().any(|(_, shard)| shard.coding() == dtype.coding())
            };
            builder.include(&CodebookSet::builtin(), |binding| {
                self.shards.is_empty() || binding.dtype.is_none_or(seen)
            })?;
        }
        Ok(Calibration { set: builder.build(), kinds })
    }
}

/// The books made for one plane, and their figures.
struct FittedPlane {
    layout: Layout,
    plane: u8,
    books: Vec<Fitted>,
    shannon_bits: f64,
    huffman_bits: f64,
    book_bits: f64,
    mean_kl_bits: f64,
}

/// Books for the layout that costs the shards least.
fn best_layout(
    dtype: Dtype,
    shards: &[Profile],
    options: &Options,
) -> Result<Option<Vec<FittedPlane>>> {
    let mut best: Option<(f64, Vec<FittedPlane>)> = None;
    let layouts = shards.first().into_iter().flat_map(Profile::layouts);
    for layout in layouts.filter(|&l| shards.iter().all(|shard| shard.layouts().any(|m| m == l))) {
        let planes = dtype.planes(layout);
        let remainder = planes.iter().filter(|plane| plane.role == Role::Remainder);
        let remainder_bits: f64 =
            remainder.map(|plane| f64::from(plane.width * plane.per_unit)).sum();
        let mut cost = remainder_bits;
        let mut made = Vec::new();
        for (index, plane) in planes.iter().enumerate() {
            if plane.role == Role::Symbols {
                let others = remainder_bits / f64::from(plane.per_unit);
                if let Some(plane) = fit_plane(layout, index, plane, shards, others, options)? {
                    cost += plane.book_bits * f64::from(planes[index].per_unit);
                    made.push(plane);
                }
            }
        }
        if !made.is_empty() && best.as_ref().is_none_or(|(lowest, _)| cost < *lowest) {
            best = Some((cost, made));
        }
    }
    Ok(best.map(|(_, made)| made))
}

fn fit_plane(
    layout: Layout,
    index: usize,
    plane: &Plane,
    shards: &[Profile],
    other_bits: f64,
    options: &Options,
) -> Result<Option<FittedPlane>> {
    let pmfs: Vec<_> = shards.iter().filter_map(|shard| shard.pmf(layout, index)).collect();
    if pmfs.is_empty() {
        return Ok(None);
    }
    let count = pmfs.len() as f64;
    let shannon_bits = pmfs.iter().map(|pmf| pmf.entropy()).sum::<f64>() / count;
    let huffman_bits = pmfs.iter().map(|pmf| pmf.huffman_bits()).sum::<f64>() / count;
    let mut aligned: Vec<Shard> = pmfs.iter().map(|pmf| Shard::new(pmf, plane.centred)).collect();
    let scale_shows = matches!(layout, Layout::Magnitude | Layout::Values);
    let books = options.books_per_kind.unwrap_or(if scale_shows { SMALL_FLOAT_BOOKS } else { 1 });
    let clusters = average::clusters(&mut aligned, books, options.smoothing);
    let mean_kl_bits = average::mean_kl(&aligned, &clusters);
    let build_all = |limit| -> Result<(Vec<Fitted>, f64)> {
        let books: Vec<Fitted> = clusters
            .iter()
            .map(|cluster| build_book(cluster, plane, limit))
            .collect::<Result<_>>()?;
        let tables: Vec<(Codebook, u8)> =
            books.iter().map(|fitted| (Codebook::new(fitted.lengths), fitted.base)).collect();
        let bits = aligned.iter().map(|shard| {
            let bits = tables.iter().map(|(book, base)| shard.bits(book, *base));
            bits.fold(f64::INFINITY, f64::min)
        });
        let mean = bits.sum::<f64>() / count;
        Ok((books, mean))
    };
    let (books, book_bits) = match options.codes {
        Some(limit) => build_all(limit)?,
        None => {
            let (bits8, bits12) = (build_all(CodeLimit::Bits8)?, build_all(CodeLimit::Bits12)?);
            let gain = (bits8.1 - bits12.1) / (bits8.1 + other_bits).max(f64::MIN_POSITIVE);
            if gain > BITS_12_PAY { bits12 } else { bits8 }
        }
    };
    let plane = index as u8;
    Ok(Some(FittedPlane {
        layout,
        plane,
        books,
        shannon_bits,
        huffman_bits,
        book_bits,
        mean_kl_bits,
    }))
}

fn build_book(cluster: &Cluster, plane: &Plane, limit: CodeLimit) -> Result<Fitted> {
    if plane.centred {
        fit::centred(cluster.pmf(), limit, Effort::Exhaustive)
    } else {
        fit::plain(cluster.pmf(), plane.width, limit, Effort::Exhaustive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use huffwire_testing::{Random, float};

    /// Values of one distribution at a scale of `2^octave`, as bf16.
    fn shard(octave: i32, seed: u32) -> Vec<u8> {
        let mut random = Random::new(seed.into());
        // The sum of three uniform numbers: bell-shaped.
        let mut value = || (0..3).map(|_| random.uniform() - 0.5).sum::<f64>();
        let scale = f64::from(octave).exp2();
        let values: Vec<f32> = (0..20_000).map(|_| (value() * scale) as f32).collect();
        float::to_bf16_bytes(&values)
    }

    fn collect(rule: SymbolRule, shards: impl IntoIterator<Item = Vec<u8>>) -> Collector {
        let mut collector = Collector::new(rule);
        for bytes in shards {
            let mut profile = Profile::new(Dtype::Bf16, rule);
            profile.add(&bytes).unwrap();
            collector.push("layers.*.weight", profile).unwrap();
        }
        collector
    }

    #[test]
    fn scale_does_not_matter_to_exponents() {
        let shards = (0..6).map(|i| shard(-9 + 3 * i, 7 + i as u32));
        let calibration = collect(SymbolRule::Auto, shards).build(&Options::default()).unwrap();
        let [report] = &calibration.kinds[..] else { panic!("one plane") };
        // Smoothing and the noise of 20 000 values make most of it.
        assert!(report.mean_kl_bits < 0.003, "{report:?}");
        assert!(report.book_bits < 1.02 * report.huffman_bits, "{report:?}");
        assert!(report.shannon_bits <= report.huffman_bits);
        assert!(calibration.set.books()[0].lengths().is_narrow());
    }

    #[test]
    fn different_shapes_want_different_books() {
        let mut shards: Vec<Vec<u8>> = (0..3).map(|i| shard(0, 3 + i)).collect();
        for i in 0..3 {
            // Squares of the values have twice the spread of exponents.
            let square =
                |b: [u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16).powi(2);
            let values = shard(0, 90 + i).as_chunks::<2>().0.to_vec();
            let bits = |v: f32| ((v.to_bits() >> 16) as u16).to_le_bytes();
            shards.push(values.into_iter().flat_map(|b| bits(square(b))).collect());
        }
        let collector = collect(SymbolRule::Auto, shards);
        let bits = |books_per_kind| {
            let options = Options { books_per_kind: Some(books_per_kind), ..Options::default() };
            let calibration = collector.build(&options).unwrap();
            (calibration.kinds[0].books.len(), calibration.kinds[0].book_bits)
        };
        let ((one, shared), (two, own)) = (bits(1), bits(2));
        assert_eq!((one, two), (1, 2));
        assert!(own < shared - 0.05, "{own} {shared}");
    }

    #[test]
    fn long_codes_are_picked_where_they_pay() {
        let shards = [shard(0, 1), shard(0, 2)];
        let calibration = collect(SymbolRule::Bytes, shards).build(&Options::default()).unwrap();
        assert_eq!(calibration.set.books()[0].limit(), CodeLimit::Bits12);
    }

    #[test]
    fn options_and_shards_are_checked() {
        let collector = collect(SymbolRule::Auto, [shard(0, 1)]);
        assert!(
            collector.build(&Options { books_per_kind: Some(0), ..Options::default() }).is_err()
        );
        assert!(collector.build(&Options { smoothing: 1.0, ..Options::default() }).is_err());
        let other = Profile::new(Dtype::Bf16, SymbolRule::Bytes);
        assert!(collector.clone().push("x", other).is_err());
        let none = Collector::new(SymbolRule::Auto).build(&Options::default()).unwrap();
        assert_eq!(none.set.id(), CodebookSet::builtin().id());
    }
}
