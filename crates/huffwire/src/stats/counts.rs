//! Counts of the symbols of a plane.

use crate::kernels::bytes;
use crate::kernels::platform::Platform;

/// Slots of a centred book.
const SLOTS: usize = 64;

/// Counts of the symbols of a plane, or of a sample of it.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    /// Occurrences of each symbol, with the first entries repeated at the end, so that the slots of a centred book lie
    /// side by side with any base. Elements that are exact zeros are left out of an exponent plane.
    by_symbol: [u32; 256 + SLOTS],
    /// The same in 16 bits, for [`Counts::is_small`]: tens of books and bases are priced for every block, and
    /// processors multiply and add 16 bits several times as fast. Repeated as far as [`Counts::WINDOW`].
    small: [i16; 256 + Self::WINDOW],
    /// Whether 16 bits are enough.
    is_small: bool,
    /// Exact zeros in an exponent plane.
    zeros: u32,
    /// Symbols counted, exact zeros left out.
    nonzero: u32,
    /// How many symbols each one counted stands for.
    factor: u32,
    /// Occurrences of the commonest symbol.
    most: u32,
}

impl Counts {
    /// Symbols that lie side by side with any first one, for several books at a time.
    pub(crate) const WINDOW: usize = 2 * SLOTS;

    /// Nothing counted.
    pub(crate) const fn new() -> Self {
        Self {
            by_symbol: [0; 256 + SLOTS],
            small: [0; 256 + Self::WINDOW],
            is_small: true,
            zeros: 0,
            nonzero: 0,
            factor: 1,
            most: 0,
        }
    }

    /// Counts symbols, of which each one stands for `factor` where they are a sample, in place of what was counted
    /// before. `nonzero` is 0 where the whole element is an exact zero; empty when there is none.
    pub(crate) fn count(
        &mut self,
        platform: Platform,
        symbols: &[u8],
        nonzero: &[u8],
        factor: u32,
    ) {
        let mut histogram = bytes::histogram(platform, symbols);
        platform.run(
            #[inline(always)]
            || {
                self.zeros = nonzero.iter().map(|&n| u32::from(n == 0)).sum();
                histogram[0] -= self.zeros;
                self.keep(&histogram, symbols.len());
            },
        );
        self.nonzero = symbols.len() as u32 - self.zeros;
        self.factor = factor;
    }

    /// Takes counts of all symbols of a plane without exact zeros in place of what was counted before.
    #[cfg(feature = "gradient")]
    pub(crate) fn set(&mut self, histogram: &[u32; 256]) {
        self.zeros = 0;
        self.nonzero = histogram.iter().sum();
        self.factor = 1;
        self.keep(histogram, self.nonzero as usize);
    }

    #[inline(always)]
    fn keep(&mut self, histogram: &[u32; 256], all: usize) {
        self.most = histogram.iter().fold(0, |most, &count| count.max(most));
        self.by_symbol[..256].copy_from_slice(histogram);
        self.by_symbol[256..].copy_from_slice(&histogram[..SLOTS]);
        self.is_small = all <= i16::MAX as usize;
        for (small, &count) in self.small.iter_mut().zip(histogram) {
            *small = count as i16;
        }
        let (symbols, again) = self.small.split_at_mut(256);
        again.copy_from_slice(&symbols[..Self::WINDOW]);
    }

    /// Adds the counts to a histogram of 257 entries, the last of them for exact zeros.
    pub(crate) fn add_to(&self, histogram: &mut [u64]) {
        let counts = self.by_symbol().iter().chain([&self.zeros]);
        for (total, &count) in histogram.iter_mut().zip(counts) {
            *total += u64::from(count);
        }
    }

    /// Occurrences per symbol, exact zeros left out; of the sample, if it was one.
    pub(crate) fn by_symbol(&self) -> &[u32] {
        &self.by_symbol[..256]
    }

    /// Exact zeros.
    pub(crate) const fn zeros(&self) -> u32 {
        self.zeros * self.factor
    }

    /// How many symbols each one counted stands for.
    pub(crate) const fn factor(&self) -> u32 {
        self.factor
    }

    /// Symbols that were counted, exact zeros left out; of the sample, if it was one.
    pub(crate) const fn nonzero(&self) -> u32 {
        self.nonzero
    }

    /// Occurrences of the 64 symbols from `base` on, going round.
    pub(crate) fn window(&self, base: u8) -> &[u32] {
        &self.by_symbol[usize::from(base)..][..SLOTS]
    }

    /// Occurrences of [`Counts::WINDOW`] symbols from one on, going round; `None` where they do not fit 16 bits.
    pub(crate) fn small_window(&self, from: u8) -> Option<&[i16; Self::WINDOW]> {
        self.small[usize::from(from)..].first_chunk().filter(|_| self.is_small)
    }

    /// Symbols, exact zeros included.
    pub(crate) fn total(&self) -> u64 {
        u64::from(self.factor) * (u64::from(self.nonzero) + u64::from(self.zeros))
    }

    /// The symbol that all symbols are, if they are all the same.
    pub(crate) fn constant(&self) -> Option<u8> {
        if self.most != self.nonzero {
            return None;
        }
        let only = |&count: &u32| count == self.most && count > 0;
        let symbol = self.by_symbol().iter().position(only);
        let symbol = symbol.map_or(0, |symbol| symbol as u8);
        (self.zeros == 0 || symbol == 0).then_some(symbol)
    }

    /// Whether all symbols that are no exact zeros are below a limit.
    pub(crate) fn are_below(&self, limit: usize) -> bool {
        self.by_symbol().iter().skip(limit).all(|&count| count == 0)
    }

    /// The width `b` for which exactly the symbols below `2^b` occur, if there is one.
    pub(crate) fn all_of_bits(&self) -> Option<u8> {
        let used = self.by_symbol().iter().take_while(|count| **count > 0).count();
        let all = used > 1 && used.is_power_of_two() && self.are_below(used);
        all.then(|| used.ilog2() as u8)
    }

    /// Mean of the symbols that are not exact zeros, rounded: the block's centre.
    #[inline(always)]
    pub(crate) fn centre(&self) -> u8 {
        let products = self.by_symbol().iter().zip(0u32..).map(|(&count, symbol)| count * symbol);
        let moment: u32 = products.sum();
        let (mass, moment) = (u64::from(self.nonzero), u64::from(moment));
        (2 * moment + mass).checked_div(2 * mass).unwrap_or(0) as u8
    }

    /// What the counts of `N` symbols save. Arrays and plain loops, of which the compiler makes a few
    /// multiply-adds of vectors.
    #[inline(always)]
    pub(crate) fn saved<const N: usize>(&self, from: usize, savings: &[i16; 256]) -> i64 {
        let Some(savings) = savings.first_chunk::<N>() else { return 0 };
        if self.is_small {
            let Some(counts) = self.small[from..].first_chunk::<N>() else { return 0 };
            let mut saved = 0i32;
            for i in 0..N {
                saved += i32::from(counts[i]) * i32::from(savings[i]);
            }
            return i64::from(saved);
        }
        let Some(counts) = self.by_symbol[from..].first_chunk::<N>() else { return 0 };
        let mut saved = 0;
        for i in 0..N {
            saved += i64::from(counts[i] as i32 * i32::from(savings[i]));
        }
        saved
    }
}
