//! Tables of up to 256 bytes, made of tables of 16 bytes.
//!
//! `vpshufb` looks up the low four bits of an index in a table of 16 bytes, and gives 0 where bit 7 of the index is
//! set. A large table is a list of such tables, each with an index of its own that is computed from the
//! byte; the entry of a byte is the exclusive or of what all of them give. So each table corrects what
//! those before it gave for some bytes, and must give 0 for the bytes of which its index does not tell enough.
//!
//! There are two kinds of index. `(x >> s) - c` has bit 7 set for small bytes: tables for `x`, `x - 16`, `x - 32`,
//! `x - 48` are one of 64 entries, if each has the difference between its entries and those of the one before.
//! `max(x - c, 0)` is 0 for small bytes, and for `c` itself: a table that has 0 there adds detail to a coarser
//! one, for 127 bytes from `c + 1` on.
//!
//! Codes are sorted by length, so windows are told apart by four bits where codes are short, and need details only near
//! the end. Where no code of over 4 bits lies below 0xe0, three tables do.

use core::arch::x86_64::*;

use super::HALF;

/// The most tables that there are.
const MOST: usize = 17;

/// The lists of tables that there are.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(u8)]
pub(super) enum Shape {
    /// Upper four bits below 0xe0.
    Short,
    /// Upper six bits below 0xc0.
    Medium,
    /// All bits.
    All,
    /// All bits of bytes below 64.
    Below64,
    /// All bits of bytes below 128.
    Below128,
}

impl Shape {
    const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Short,
            1 => Self::Medium,
            2 => Self::All,
            3 => Self::Below64,
            _ => Self::Below128,
        }
    }

    /// Indices of tables that cover everything: their shift, and how many there are. The tables that add
    /// detail: how many there are, the last one for bytes from 0xf0 on.
    const fn parts(self) -> (u8, usize, usize) {
        match self {
            Self::Short => (4, 1, 2),
            Self::Medium => (2, 4, 4),
            Self::All => (4, 1, 16),
            Self::Below64 => (0, 4, 0),
            Self::Below128 => (0, 8, 0),
        }
    }
}

/// Two tables with the same indices.
#[derive(Debug)]
pub(super) struct Tables {
    shape: Shape,
    tables: [[[u8; 16]; MOST]; 2],
    /// 16, sixteen times: a constant that the compiler does not know, so that it keeps this one in a register
    /// instead of making another one for each table.
    sixteens: [u8; 16],
}

impl Tables {
    /// The tables must not tell more bytes apart than the shape does.
    pub(super) fn new(shape: Shape, tables: [&[u8; 256]; 2]) -> Self {
        Self { shape, tables: tables.map(|table| parts(shape, table)), sixteens: [16; 16] }
    }

    pub(super) const fn shape(&self) -> Shape {
        self.shape
    }
}

/// The tables that make up `table`.
fn parts(shape: Shape, table: &[u8; 256]) -> [[u8; 16]; MOST] {
    let (shift, coarse, fine) = shape.parts();
    let mut parts = [[0; 16]; MOST];
    // Sixteen bytes as a number, of which only the exclusive or matters.
    let mut before = 0;
    for (index, part) in parts[..coarse].iter_mut().enumerate() {
        let entries = std::array::from_fn(|i| table[(16 * index + i) << shift]);
        let entries = u128::from_le_bytes(entries);
        *part = (entries ^ before).to_le_bytes();
        before = entries;
    }
    // What the tables up to each row have to give together. Of those eight rows before and more the index has
    // bit 7 set.
    let mut sums = [0; 16];
    let (rows, _) = table.as_chunks::<16>();
    for (index, part) in (16 - fine..16).zip(&mut parts[coarse..]) {
        let row = &rows[index];
        let known: [u8; 16] = std::array::from_fn(|i| row[i >> shift << shift]);
        let detail = u128::from_le_bytes(*row) ^ u128::from_le_bytes(known);
        sums[index] = detail ^ index.checked_sub(8).map_or(0, |far| sums[far]);
        let before = index.checked_sub(1).map_or(0, |before| sums[before]);
        *part = (sums[index] ^ before).to_le_bytes();
    }
    parts
}

/// [`Tables`] in registers, as far as there are enough of them.
#[derive(Clone, Copy)]
pub(super) struct Loaded {
    tables: [[__m256i; MOST]; 2],
    sixteens: __m256i,
}

impl Loaded {
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    pub(super) fn new<const SHAPE: u8>(tables: &Tables) -> Self {
        let zero = _mm256_setzero_si256();
        let mut loaded = Self { tables: [[zero; MOST]; 2], sixteens: twice(&tables.sixteens) };
        let (_, coarse, fine) = const { Shape::from_number(SHAPE).parts() };
        for (loaded, tables) in loaded.tables.iter_mut().zip(&tables.tables) {
            for (loaded, table) in loaded.iter_mut().zip(tables).take(coarse + fine) {
                *loaded = twice(table);
            }
        }
        loaded
    }

    /// The entries of each byte in both tables; `SHAPE` is that of the tables.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    pub(super) fn look_up<const SHAPE: u8>(&self, bytes: __m256i) -> (__m256i, __m256i) {
        let (shift, coarse, fine) = const { Shape::from_number(SHAPE).parts() };
        let kept = _mm256_set1_epi8((0xff >> shift) as i8);
        let mut index = match shift {
            0 => bytes,
            2 => _mm256_and_si256(_mm256_srli_epi16::<2>(bytes), kept),
            _ => _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), kept),
        };
        let [first, second] = &self.tables;
        let mut entries =
            (_mm256_shuffle_epi8(first[0], index), _mm256_shuffle_epi8(second[0], index));
        // Written out, or the compiler makes loops of it, with indices at run time.
        macro_rules! add {
            ($($table:literal)*) => { $(
                if $table < coarse + fine {
                    index = match $table {
                        table if table < coarse => _mm256_sub_epi8(index, self.sixteens),
                        table if table > coarse => _mm256_subs_epu8(index, self.sixteens),
                        _ => _mm256_subs_epu8(bytes, _mm256_set1_epi8((256 - 16 * fine) as i8)),
                    };
                    let (a, b) = (
                        _mm256_shuffle_epi8(first[$table], index),
                        _mm256_shuffle_epi8(second[$table], index),
                    );
                    entries = (_mm256_xor_si256(entries.0, a), _mm256_xor_si256(entries.1, b));
                }
            )* };
        }
        add!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
        entries
    }
}

/// A table in both halves of a vector.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn twice(table: &[u8; 16]) -> __m256i {
    let mut both = [0; HALF];
    both[..16].copy_from_slice(table);
    both[16..].copy_from_slice(table);
    crate::kernels::avx2::isa::load(&both)
}
