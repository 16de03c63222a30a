//! The profile of a tensor: histograms of all its planes, under every layout of a symbol rule.

use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernels::platform::Platform;
use crate::planes::{Layout, MAX_PLANES, Plane, Role, SymbolRule, find_zeros};
use crate::stats::Counts;
use crate::stats::Pmf;

/// Index of the exact zero in the histogram of an exponent plane.
pub(crate) const ZERO: usize = 256;

/// Bytes that are split into planes at a time: few enough that the planes stay in the cache nearest to the processor.
const PIECE_BYTES: usize = 1 << 15;

/// Histograms of one tensor (one *shard* in the words of Agrawal et al.).
#[derive(Debug, Clone)]
pub struct Profile {
    dtype: Dtype,
    layouts: Vec<LayoutProfile>,
    units: u64,
}

/// Memory for taking a piece of a tensor apart. Whoever counts much piece by piece keeps it from piece to piece.
#[derive(Debug, Default)]
pub struct Scratch {
    planes: [Vec<u8>; MAX_PLANES],
    nonzero: Vec<u8>,
}

#[derive(Debug, Clone)]
struct LayoutProfile {
    layout: Layout,
    /// Whether all bytes so far fit the layout.
    fits: bool,
    /// One histogram for each plane, empty for remainder; index 256 counts exact zeros, which are in no
    /// other.
    planes: Vec<Vec<u64>>,
}

/// Sizes of a tensor under ideal codes, to compare real sizes with.
///
/// The symbol planes of the best layout are coded. The remainder is counted with all its bits, except that of exact
/// zeros, which is not counted. Codebooks are not counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ideal {
    /// Bytes of the elements.
    pub raw_bytes: u64,
    /// Bytes at the Shannon entropy of the tensor's own PMF.
    pub shannon_bytes: f64,
    /// Bytes under an unrestricted Huffman code made for this very tensor.
    pub huffman_bytes: f64,
}

impl Profile {
    /// An empty profile.
    #[must_use]
    pub fn new(dtype: Dtype, rule: SymbolRule) -> Self {
        let layouts = dtype
            .layouts(rule)
            .map(|layout| {
                let empty = |plane: &Plane| match plane.role {
                    Role::Symbols => vec![0; ZERO + 1],
                    Role::Remainder => Vec::new(),
                };
                let planes = dtype.planes(layout).iter().map(empty).collect();
                LayoutProfile { layout, fits: true, planes }
            })
            .collect();
        Self { dtype, layouts, units: 0 }
    }

    /// A profile of counts that were kept elsewhere: those of [`Profile::counts`] for each layout and plane of symbols.
    /// A layout for which there are none, or too many for its symbols, counts as one that the bytes do not fit.
    #[must_use]
    pub fn from_counts(
        dtype: Dtype,
        rule: SymbolRule,
        units: u64,
        mut counts: impl FnMut(Layout, usize) -> Option<Vec<u64>>,
    ) -> Self {
        let mut profile = Self { units, ..Self::new(dtype, rule) };
        for LayoutProfile { layout, fits, planes } in &mut profile.layouts {
            for (index, plane) in dtype.planes(*layout).iter().enumerate() {
                if plane.role == Role::Remainder {
                    continue;
                }
                let kept = counts(*layout, index);
                match kept
                    .as_ref()
                    .and_then(|kept| planes[index].get_mut(..kept.len()).zip(Some(kept)))
                {
                    Some((plane, kept)) => plane.copy_from_slice(kept),
                    None => *fits = false,
                }
            }
        }
        profile
    }

    /// Counts whole units on top of what was counted before.
    ///
    /// # Errors
    /// [`Error::PartialElement`].
    pub fn add(&mut self, bytes: &[u8]) -> Result<()> {
        // Not kept in the profile: there may be one for each of thousands of tensors.
        self.add_with(bytes, &mut Scratch::default())
    }

    /// The same in memory that is at hand.
    ///
    /// # Errors
    /// [`Error::PartialElement`].
    pub fn add_with(&mut self, bytes: &[u8], scratch: &mut Scratch) -> Result<()> {
        let unit_bytes = self.dtype.unit_bytes();
        if !bytes.len().is_multiple_of(unit_bytes) {
            return Err(Error::PartialElement { dtype: self.dtype, bytes: bytes.len() });
        }
        self.units += (bytes.len() / unit_bytes) as u64;
        for piece in bytes.chunks(PIECE_BYTES / unit_bytes * unit_bytes) {
            self.add_piece(piece, scratch);
        }
        Ok(())
    }

    fn add_piece(&mut self, piece: &[u8], scratch: &mut Scratch) {
        let Scratch { planes, nonzero } = scratch;
        let platform = Platform::detect();
        let unit_bytes = self.dtype.unit_bytes();
        for profile in &mut self.layouts {
            let Some(scheme) = self.dtype.scheme(profile.layout) else {
                continue;
            };
            if !profile.fits || !scheme.split_to_vecs(platform, unit_bytes, piece, planes) {
                profile.fits = false;
                continue;
            }
            for (index, plane) in scheme.planes.iter().enumerate() {
                if plane.role == Role::Remainder {
                    continue;
                }
                if plane.centred {
                    find_zeros(platform, &planes[..scheme.planes.len()], nonzero);
                } else {
                    nonzero.clear();
                }
                let mut counts = Counts::new();
                counts.count(platform, &planes[index], nonzero, 1);
                counts.add_to(&mut profile.planes[index]);
            }
        }
    }

    /// Adds the counts of a profile of the same element type and rule; others are ignored.
    pub fn merge(&mut self, other: &Self) {
        if self.dtype != other.dtype {
            return;
        }
        self.units += other.units;
        for (mine, theirs) in self.layouts.iter_mut().zip(&other.layouts) {
            mine.fits &= theirs.fits;
            for (mine, theirs) in mine.planes.iter_mut().zip(&theirs.planes) {
                mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
            }
        }
    }

    /// The element type.
    #[must_use]
    pub const fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Number of units counted.
    #[must_use]
    pub const fn units(&self) -> u64 {
        self.units
    }

    /// The layouts that all bytes fit.
    pub fn layouts(&self) -> impl Iterator<Item = Layout> + '_ {
        self.layouts.iter().filter(|profile| profile.fits).map(|profile| profile.layout)
    }

    /// How often each symbol of a plane occurred: `2^width` symbols, or for an exponent plane 257, the last of them the
    /// exact zero. `None` for remainder and for an unknown plane.
    #[must_use]
    pub fn counts(&self, layout: Layout, plane: usize) -> Option<&[u64]> {
        let spec = self.dtype.planes(layout).get(plane)?;
        let profile = self.layouts.iter().find(|profile| profile.layout == layout)?;
        let size = if spec.centred { ZERO + 1 } else { 1 << spec.width };
        profile.planes[plane].get(..size)
    }

    /// PMF of the symbols that [`Profile::counts`] counted. `None` for remainder, an unknown plane, or an empty tensor.
    #[must_use]
    pub fn pmf(&self, layout: Layout, plane: usize) -> Option<Pmf> {
        let counts = self.counts(layout, plane)?;
        let weights: Vec<f64> = counts.iter().map(|&count| count as f64).collect();
        Pmf::from_weights(&weights)
    }

    /// Bytes of a layout when each symbol plane costs `bits_per_symbol(pmf)`.
    fn bytes(&self, profile: &LayoutProfile, bits_per_symbol: impl Fn(&Pmf) -> f64) -> f64 {
        let planes = self.dtype.planes(profile.layout);
        let zeros =
            profile.planes.first().and_then(|counts| counts.get(ZERO)).copied().unwrap_or(0);
        let bits = |(index, plane): (usize, &Plane)| {
            let symbols = self.units * u64::from(plane.per_unit);
            match plane.role {
                Role::Remainder => ((symbols - zeros) * u64::from(plane.width)) as f64,
                Role::Symbols => {
                    let pmf = self.pmf(profile.layout, index);
                    symbols as f64 * pmf.map_or(0.0, |pmf| bits_per_symbol(&pmf))
                }
            }
        };
        planes.iter().enumerate().map(bits).sum::<f64>() / 8.0
    }

    /// What perfect codes would make of this tensor.
    #[must_use]
    pub fn ideal(&self) -> Ideal {
        let raw_bytes = self.units * self.dtype.unit_bytes() as u64;
        let best = |bits_per_symbol: fn(&Pmf) -> f64| {
            let fitting = self.layouts.iter().filter(|profile| profile.fits);
            fitting.map(|p| self.bytes(p, bits_per_symbol)).fold(raw_bytes as f64, f64::min)
        };
        Ideal {
            raw_bytes,
            shannon_bytes: best(Pmf::entropy),
            huffman_bytes: best(Pmf::huffman_bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_have_a_symbol_and_no_remainder() {
        // Two zeros, 1.0, -0.0: exponents 127 and 0 beside the zero symbol.
        let bytes = [0, 0, 0, 0, 0x80, 0x3f, 0, 0x80];
        let mut profile = Profile::new(Dtype::Bf16, SymbolRule::Auto);
        profile.add(&bytes).unwrap();
        let pmf = profile.pmf(Layout::Exponent, 0).unwrap();
        assert_eq!(pmf.probabilities()[ZERO], 0.5);
        assert_eq!((pmf.probabilities()[127], pmf.probabilities()[0]), (0.25, 0.25));
        let counts = profile.counts(Layout::Exponent, 0).unwrap();
        assert_eq!((counts.len(), counts[127], counts[0], counts[ZERO]), (257, 1, 1, 2));
        assert_eq!(profile.counts(Layout::Exponent, 1), None);
        let ideal = profile.ideal();
        assert_eq!((ideal.shannon_bytes, ideal.huffman_bytes), (2.75, 2.75));
    }

    #[test]
    fn merging_profiles_is_profiling_the_whole() {
        let bytes: Vec<u8> = (0..4096u32).map(|i| ((i * i) >> 3) as u8).collect();
        let profile = |bytes: &[u8]| {
            let mut profile = Profile::new(Dtype::E4m3, SymbolRule::Auto);
            profile.add(bytes).unwrap();
            profile
        };
        let mut merged = profile(&bytes[..1000]);
        merged.merge(&profile(&bytes[1000..]));
        assert_eq!(merged.ideal(), profile(&bytes).ideal());
        assert_eq!(merged.units(), 4096);
    }

    #[test]
    fn counts_that_were_kept_make_the_same_profile() {
        let bytes: Vec<u8> = (0..4096u32).map(|i| ((i * i) >> 3) as u8).collect();
        for (dtype, rule) in [(Dtype::E4m3, SymbolRule::Auto), (Dtype::F32, SymbolRule::Auto)] {
            let mut profile = Profile::new(dtype, rule);
            profile.add(&bytes).unwrap();
            let kept = |layout, plane| profile.counts(layout, plane).map(<[u64]>::to_vec);
            let again = Profile::from_counts(dtype, rule, profile.units(), kept);
            assert_eq!(again.ideal(), profile.ideal());
            assert!(again.layouts().eq(profile.layouts()));
        }
        for counts in [None, Some(vec![1; 258])] {
            let none =
                Profile::from_counts(Dtype::Bf16, SymbolRule::Auto, 7, |_, _| counts.clone());
            assert_eq!(none.layouts().count(), 0);
        }
    }

    #[test]
    fn bytes_that_do_not_fit_a_layout_rule_it_out() {
        let mut profile = Profile::new(Dtype::E2m3, SymbolRule::Auto);
        profile.add(&[1, 2, 0x40]).unwrap();
        assert_eq!(profile.layouts().collect::<Vec<_>>(), [Layout::Bytes]);
    }
}
