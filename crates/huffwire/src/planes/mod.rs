//! Element types to planes of symbols and back.
//!
//! A *layout* says how the elements of a tensor fall apart into planes; a plane is a sequence of symbols
//! of 1 to 8 bits. Some planes are worth coding (*symbols*: exponents, magnitudes, bytes), others
//! are close to noise and usually kept as they are (*remainder*: signs and mantissas). Each file of
//! this module knows one family of element types and lists its layouts; nothing else in the crate
//! knows how a bf16 is put together.
//!
//! The units of floats of 16 and 32 bits are interleaved in groups of 64; see `kernels/interleave.rs`.

mod bf16;
mod bytes;
mod f16;
mod f32;
mod sign_apart;
mod small;

use std::fmt;
use std::str::FromStr;

use crate::alphabet::Alphabet;
use crate::dtype::Dtype;
use crate::kernels::lanes::Join;
use crate::kernels::platform::Platform;

/// The most planes a layout has.
pub const MAX_PLANES: usize = 8;

/// How elements fall apart into planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum Layout {
    /// Exponents as symbols, centred per block; sign and mantissa as remainder. Elements that are
    /// exactly +0.0 can be set apart and then have no remainder.
    Exponent = 1,
    /// Everything but the sign as one symbol; the sign as remainder.
    Magnitude = 2,
    /// Each value of a 6-bit type as one symbol.
    Values = 3,
    /// Every byte as a symbol of one alphabet, as in Agrawal et al. (arXiv 2601.10673).
    Bytes = 4,
    /// One plane per byte position of the element, each with a codebook of its own.
    Positions = 5,
    /// As [`Layout::Exponent`], but the signs are in a plane of their own: for blocks in which all signs are the same.
    SignApart = 6,
}

impl Layout {
    const ALL: [Self; 6] = [
        Self::Exponent,
        Self::Magnitude,
        Self::Values,
        Self::Bytes,
        Self::Positions,
        Self::SignApart,
    ];

    /// The number that stands for this layout in the format.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The layout with this number in the format, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|layout| layout.number() == number)
    }

    /// The layout's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exponent => "exponent",
            Self::Magnitude => "magnitude",
            Self::Values => "values",
            Self::Bytes => "bytes",
            Self::Positions => "positions",
            Self::SignApart => "sign-apart",
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|layout| layout.name() == name);
        found.ok_or_else(|| format!("unknown layout {name:?}"))
    }
}

/// Rule for the symbols. It stands for one or more layouts, which depend on the element type
/// ([`Dtype::layouts`](crate::Dtype::layouts)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SymbolRule {
    /// What suits the type best: exponents of the 16- and 32-bit floats, magnitudes (or whole
    /// values, whichever costs less) of the small floats, bytes or byte positions of integers.
    #[default]
    Auto,
    /// Every byte is a symbol of one alphabet, as in Agrawal et al. (arXiv 2601.10673).
    Bytes,
    /// One plane and one codebook for each byte position.
    BytePlanes,
}

/// What kind of information a plane holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Symbols worth coding with a fixed codebook.
    Symbols,
    /// Bits close to noise: kept raw, unless a book made from the very data helps.
    Remainder,
}

/// One plane of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plane {
    /// Bits of a symbol, 1 to 8.
    pub width: u8,
    /// Symbols per unit of the element type.
    pub per_unit: u8,
    /// What the symbols are.
    pub role: Role,
    /// Whether the symbols are exponents, coded relative to a base chosen by each block.
    pub centred: bool,
}

impl Plane {
    const fn exponents() -> Self {
        Self { width: 8, per_unit: 1, role: Role::Symbols, centred: true }
    }

    const fn symbols(width: u8, per_unit: u8) -> Self {
        Self { width, per_unit, role: Role::Symbols, centred: false }
    }

    const fn remainder(width: u8, per_unit: u8) -> Self {
        Self { width, per_unit, role: Role::Remainder, centred: false }
    }

    /// The alphabet of the codebooks for this plane.
    #[must_use]
    pub const fn alphabet(&self) -> Alphabet {
        if self.centred { Alphabet::Centred } else { Alphabet::Plain { width: self.width } }
    }
}

/// A layout of one element type, with the functions that carry it out.
#[derive(Debug)]
pub(crate) struct Scheme {
    pub(crate) layout: Layout,
    pub(crate) planes: &'static [Plane],
    /// How the planes make elements, if there are two, and in a way that a lane coder which codes the first
    /// one can split and merge on its way.
    pub(crate) join: Option<Join>,
    /// Fills the planes from whole units; `false` when these bytes do not fit the layout (a bit is
    /// set that the type does not have, or signs that are set apart vary), and the planes are then undefined.
    split: fn(Platform, &[u8], &mut [&mut [u8]]) -> bool,
    /// The inverse.
    merge: fn(Platform, &[&[u8]], &mut [u8]),
}

impl Scheme {
    /// Splits whole units into planes of one symbol a byte, which must have the right sizes. Any number
    /// of whole groups of 64 units can be split by itself, and what is left at the end.
    pub(crate) fn split(&self, platform: Platform, bytes: &[u8], planes: &mut [&mut [u8]]) -> bool {
        (self.split)(platform, bytes, planes)
    }

    /// [`Scheme::split`] into vectors, which are resized.
    pub(crate) fn split_to_vecs(
        &self,
        platform: Platform,
        unit_bytes: usize,
        bytes: &[u8],
        planes: &mut [Vec<u8>],
    ) -> bool {
        let units = bytes.len() / unit_bytes;
        let mut slices: [&mut [u8]; MAX_PLANES] = Default::default();
        for ((plane, vec), slice) in self.planes.iter().zip(planes).zip(&mut slices) {
            vec.resize(units * usize::from(plane.per_unit), 0);
            *slice = vec;
        }
        (self.split)(platform, bytes, &mut slices[..self.planes.len()])
    }

    /// Puts elements together from planes as [`Scheme::split`] leaves them.
    pub(crate) fn merge(&self, platform: Platform, planes: &[&[u8]], bytes: &mut [u8]) {
        (self.merge)(platform, planes, bytes);
    }

    /// [`Scheme::merge`] from vectors.
    pub(crate) fn merge_vecs(&self, platform: Platform, planes: &[Vec<u8>], bytes: &mut [u8]) {
        let mut slices: [&[u8]; MAX_PLANES] = Default::default();
        for (vec, slice) in planes.iter().zip(&mut slices) {
            *slice = vec;
        }
        (self.merge)(platform, &slices[..self.planes.len()], bytes);
    }
}

/// Finds exact zeros, elements with exponent and all remainder 0: `nonzero` is 0 for them, and empty
/// when there are none.
pub(crate) fn find_zeros(platform: Platform, planes: &[Vec<u8>], nonzero: &mut Vec<u8>) {
    nonzero.clear();
    let Some((exponents, remainder)) = planes.split_first() else { return };
    if !has_zero(platform, exponents) {
        return;
    }
    nonzero.extend_from_slice(exponents);
    for plane in remainder {
        platform.run(|| nonzero.iter_mut().zip(plane).for_each(|(all, &bits)| *all |= bits));
    }
    if !has_zero(platform, nonzero) {
        nonzero.clear();
    }
}

fn has_zero(platform: Platform, bytes: &[u8]) -> bool {
    // To the end, not to the first: that makes a vector loop, and most planes have none.
    platform.run(|| bytes.iter().fold(u8::MAX, |lowest, &byte| lowest.min(byte))) == 0
}

impl Dtype {
    fn schemes(self) -> &'static [Scheme] {
        match self.coding() {
            Self::Bf16 => bf16::SCHEMES,
            Self::F16 => f16::SCHEMES,
            Self::F32 => f32::SCHEMES,
            Self::E4m3 | Self::E5m2 => small::EIGHT_BITS,
            Self::E3m2 | Self::E2m3 => small::SIX_BITS,
            Self::E3m2Packed | Self::E2m3Packed => small::SIX_BITS_PACKED,
            Self::E8m0 => bytes::SCALES,
            Self::Word16 => bytes::WORDS_OF_2,
            Self::Word32 => bytes::WORDS_OF_4,
            Self::Word64 => bytes::WORDS_OF_8,
            // Integers and truth values of a byte, and e2m1.
            _ => bytes::SINGLE,
        }
    }

    pub(crate) fn scheme(self, layout: Layout) -> Option<&'static Scheme> {
        self.schemes().iter().find(|scheme| scheme.layout == layout)
    }

    /// Layouts that a rule stands for, at least one. Where there are several, each block takes the
    /// cheapest. ([`Layout::SignApart`] is not among them: blocks in which all signs are the same have it in place of
    /// [`Layout::Exponent`].)
    pub fn layouts(self, rule: SymbolRule) -> impl Iterator<Item = Layout> {
        let has_positions = self.scheme(Layout::Positions).is_some();
        self.schemes().iter().map(|scheme| scheme.layout).filter(move |&layout| match rule {
            SymbolRule::Bytes => layout == Layout::Bytes,
            SymbolRule::BytePlanes if has_positions => layout == Layout::Positions,
            SymbolRule::BytePlanes => layout == Layout::Bytes,
            SymbolRule::Auto => match self.coding() {
                Self::Bf16 | Self::F16 | Self::F32 | Self::E8m0 => layout == Layout::Exponent,
                Self::Word16 | Self::Word32 | Self::Word64 => layout == Layout::Positions,
                _ => true,
            },
        })
    }

    /// The planes of a layout; none when the type does not have that layout.
    #[must_use]
    pub fn planes(self, layout: Layout) -> &'static [Plane] {
        self.scheme(layout).map_or(&[], |scheme| scheme.planes)
    }

    /// Splits whole units into the planes of a layout, one symbol a byte, in the order in which the
    /// format codes them: the units of floats of 16 and 32 bits are interleaved in groups of 64
    /// (`docs/format.md`, section 3.1).
    ///
    /// `None` when the type lacks the layout, the bytes are no whole units, or they set bits that
    /// the layout has no place for (the two spare bits of an unpacked 6-bit type).
    ///
    /// ```
    /// # use huffwire::{Dtype, Layout};
    /// // 1.0 and -2.5 in bf16: exponents 127 and 128; mantissa above sign.
    /// let planes = Dtype::Bf16.split(Layout::Exponent, &[0x80, 0x3f, 0x20, 0xc0]).unwrap();
    /// assert_eq!(planes, [[127, 128], [0x00, 0x41]]);
    /// ```
    #[must_use]
    pub fn split(self, layout: Layout, bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
        let scheme = self.scheme(layout)?;
        let mut planes = vec![Vec::new(); scheme.planes.len()];
        let whole = bytes.len().is_multiple_of(self.unit_bytes());
        (whole && scheme.split_to_vecs(Platform::detect(), self.unit_bytes(), bytes, &mut planes))
            .then_some(planes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All layouts of all types on bytes that contain every 16-bit pattern.
    #[test]
    fn merge_inverts_split_on_every_bit_pattern() {
        let mut bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        bytes.extend(huffwire_testing::noise(24 * 4096, 1));
        for dtype in Dtype::all() {
            let usable = bytes.len() / dtype.unit_bytes() * dtype.unit_bytes();
            for scheme in dtype.schemes() {
                let mut input = bytes[..usable].to_vec();
                let mut planes = vec![Vec::new(); MAX_PLANES];
                let unit = dtype.unit_bytes();
                if !scheme.split_to_vecs(Platform::Portable, unit, &input, &mut planes) {
                    if scheme.layout == Layout::SignApart {
                        input.chunks_mut(unit).for_each(|bytes| bytes[unit - 1] |= 0x80);
                    } else {
                        assert!(matches!(dtype, Dtype::E3m2 | Dtype::E2m3));
                        input.iter_mut().for_each(|byte| *byte &= 0x3f);
                    }
                    assert!(scheme.split_to_vecs(Platform::Portable, unit, &input, &mut planes));
                }
                for (plane, buffer) in scheme.planes.iter().zip(&planes) {
                    let units = usable / dtype.unit_bytes();
                    assert_eq!(buffer.len(), units * usize::from(plane.per_unit));
                    assert!(buffer.iter().all(|&s| u32::from(s) < 1 << plane.width));
                }
                for platform in Platform::available() {
                    let mut same = vec![Vec::new(); MAX_PLANES];
                    assert!(scheme.split_to_vecs(platform, unit, &input, &mut same));
                    assert!(same == planes, "{dtype} {} {platform}", scheme.layout);
                    let mut merged = vec![0xaa; usable];
                    scheme.merge_vecs(platform, &planes[..scheme.planes.len()], &mut merged);
                    assert!(merged == input, "{dtype} {} {platform}", scheme.layout);
                }
            }
        }
    }

    #[test]
    fn every_type_answers_every_rule_and_planes_account_for_every_bit() {
        for dtype in Dtype::all() {
            for rule in [SymbolRule::Auto, SymbolRule::Bytes, SymbolRule::BytePlanes] {
                assert!(dtype.layouts(rule).count() > 0, "{dtype}");
            }
            for scheme in dtype.schemes() {
                let bits: usize =
                    scheme.planes.iter().map(|p| usize::from(p.width * p.per_unit)).sum();
                let unpacked =
                    matches!(dtype, Dtype::E3m2 | Dtype::E2m3) && scheme.layout != Layout::Bytes;
                let unit_bits = if unpacked { 6 } else { 8 * dtype.unit_bytes() };
                assert_eq!(bits, unit_bits, "{dtype} {}", scheme.layout);
            }
        }
    }
}
