//! Packing kernels in portable safe Rust: eight symbols are a word of 64 bits, and in three steps neighbours in the
//! word move together.

/// Calls a function with the width as a constant.
macro_rules! with_constant_width {
    ($width:expr, $function:ident($($argument:expr),*)) => {
        match $width {
            1 => $function::<1>($($argument),*),
            2 => $function::<2>($($argument),*),
            3 => $function::<3>($($argument),*),
            4 => $function::<4>($($argument),*),
            5 => $function::<5>($($argument),*),
            6 => $function::<6>($($argument),*),
            7 => $function::<7>($($argument),*),
            _ => $function::<8>($($argument),*),
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use with_constant_width;

/// The lower of each two neighbours.
const EVEN_BYTES: u64 = 0x00ff_00ff_00ff_00ff;
const EVEN_WORDS: u64 = 0x0000_ffff_0000_ffff;
const LOWER_HALF: u64 = 0x0000_0000_ffff_ffff;

/// The lowest `bits` of each part of the word.
const fn lowest(bits: usize, of_each: usize) -> u64 {
    let (mut mask, mut place) = (0, 0);
    while place < 64 {
        mask |= (u64::MAX >> (64 - bits)) << place;
        place += of_each;
    }
    mask
}

/// Eight symbols of `W` bits, a byte each, without the gaps between them.
#[inline(always)]
const fn joined<const W: usize>(symbols: u64) -> u64 {
    let pairs = symbols & EVEN_BYTES | (symbols & !EVEN_BYTES) >> (8 - W);
    let fours = pairs & EVEN_WORDS | (pairs & !EVEN_WORDS) >> (16 - 2 * W);
    fours & LOWER_HALF | (fours & !LOWER_HALF) >> (32 - 4 * W)
}

/// The inverse of [`joined`].
#[inline(always)]
const fn parted<const W: usize>(bits: u64) -> u64 {
    let fours = bits & LOWER_HALF & const { lowest(4 * W, 64) }
        | bits << (32 - 4 * W) & const { lowest(4 * W, 64) << 32 };
    let pairs = fours & const { lowest(2 * W, 32) }
        | fours << (16 - 2 * W) & const { lowest(2 * W, 32) << 16 };
    pairs & const { lowest(W, 16) } | pairs << (8 - W) & const { lowest(W, 16) << 8 }
}

/// The first bytes of a word.
#[inline(always)]
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

#[inline(always)]
pub(crate) fn pack(width: u8, symbols: &[u8], out: &mut [u8]) {
    with_constant_width!(width, pack_groups(symbols, out));
}

#[inline(always)]
pub(crate) fn unpack(width: u8, packed: &[u8], symbols: &mut [u8]) {
    with_constant_width!(width, unpack_groups(packed, symbols));
}

/// Whole groups of eight symbols, which fill `W` bytes each.
#[inline(always)]
pub(crate) fn pack_groups<const W: usize>(symbols: &[u8], out: &mut [u8]) {
    let groups = symbols.as_chunks::<8>().0;
    for (group, packed) in groups.iter().zip(out.as_chunks_mut::<W>().0) {
        let bits = joined::<W>(u64::from_le_bytes(*group));
        packed.copy_from_slice(&bits.to_le_bytes()[..W]);
    }
}

/// The inverse of [`pack_groups`].
#[inline(always)]
pub(crate) fn unpack_groups<const W: usize>(packed: &[u8], symbols: &mut [u8]) {
    let groups = symbols.as_chunks_mut::<8>().0;
    for (group, packed) in groups.iter_mut().zip(packed.as_chunks::<W>().0) {
        *group = parted::<W>(word(packed)).to_le_bytes();
    }
}

/// Fewer than eight symbols.
pub(crate) fn pack_last(width: u8, symbols: &[u8], out: &mut [u8]) {
    let mut group = [0; 8];
    group[..symbols.len()].copy_from_slice(symbols);
    let mut packed = [0; 8];
    pack(width, &group, &mut packed);
    let length = out.len();
    out.copy_from_slice(&packed[..length]);
}

/// The inverse of [`pack_last`]; `false` when a bit beyond the symbols is set.
pub(crate) fn unpack_last(width: u8, packed: &[u8], symbols: &mut [u8]) -> bool {
    let bits = word(packed);
    let mut group = [0; 8];
    unpack(width, &bits.to_le_bytes(), &mut group);
    let length = symbols.len();
    symbols.copy_from_slice(&group[..length]);
    // A group has at least one symbol less than would fill the word.
    bits >> (length * usize::from(width)) == 0
}
