//! Output of the decoder: symbols alone, or merged with those of another plane, stored past the caches or through
//! them, with escapes put in their places.

use core::arch::x86_64::*;

use super::stores::Lines;
use super::{SIGNED, SIGNED_STREAMED, STREAMED, SYMBOLS, SignBits, WORDS};
use crate::kernels::avx512::interleave;
use crate::kernels::avx512::isa::{fetch, load, load_some, store};
use crate::kernels::lanes::{CachePolicy, Escaped, Join, ToMerge};

/// Symbols as they are, for a [`Sink`].
pub(super) const fn to_put(elements: &mut [u8]) -> ToMerge<'_> {
    ToMerge { join: Join::High, other: &[], elements, cache: CachePolicy::Cached }
}

/// Where the symbols of whole steps go.
pub(super) struct Sink<'a, 'e, const OUTPUT: u8> {
    escaped: &'a mut Escaped<'e>,
    taking: Taking<'e>,
    /// Whether there are so many escapes that a branch would often be wrongly predicted.
    often: bool,
    low: &'a [[u8; 64]],
    signs: &'a [[u8; 8]],
    sign: __m512i,
    out: &'a mut [[u8; 64]],
    pairs: &'a mut [[[u8; 64]; 2]],
    lines: Lines<'a>,
    /// To be fetched.
    ahead: &'a [u8],
}

impl<'a, 'e, const OUTPUT: u8> Sink<'a, 'e, OUTPUT> {
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    pub(super) fn new(escaped: &'a mut Escaped<'e>, output: ToMerge<'a>) -> Self {
        let ToMerge { join, other, elements, cache } = output;
        let Escaped { marks, left, .. } = *escaped;
        let mut sink = Self {
            escaped,
            taking: Taking {
                // Without one nothing is ever marked.
                escape: marks.map_or(0, |marks| marks.escape),
                escapes: left,
                taken: 0,
                wrong: false,
            },
            often: false,
            low: other.as_chunks().0,
            signs: other.as_chunks().0,
            sign: SignBits::new(join).sign,
            out: &mut [],
            pairs: &mut [],
            lines: Lines::new(&mut []),
            ahead: cache.ahead(),
        };
        match OUTPUT {
            SYMBOLS | SIGNED => sink.out = elements.as_chunks_mut().0,
            WORDS => sink.pairs = elements.as_chunks_mut().0.as_chunks_mut().0,
            _ => sink.lines = Lines::new(elements),
        }
        let steps = sink.steps();
        sink.cut(steps);
        sink.often = left.len() > steps / 8;
        sink
    }

    /// Whole steps that there is room for.
    #[inline(always)]
    pub(super) fn steps(&self) -> usize {
        match OUTPUT {
            SYMBOLS => self.out.len(),
            WORDS => self.low.len().min(self.pairs.len()),
            SIGNED => self.signs.len().min(self.out.len()),
            SIGNED_STREAMED => self.signs.len(),
            _ => self.low.len(),
        }
    }

    /// Leaves no more than so many steps, so that the compiler sees that no access is out of bounds.
    #[inline(always)]
    pub(super) fn cut(&mut self, steps: usize) {
        match OUTPUT {
            SYMBOLS | SIGNED => self.out = &mut std::mem::take(&mut self.out)[..steps],
            WORDS => self.pairs = &mut std::mem::take(&mut self.pairs)[..steps],
            _ => {}
        }
        match OUTPUT {
            SYMBOLS => {}
            SIGNED | SIGNED_STREAMED => self.signs = &self.signs[..steps],
            _ => self.low = &self.low[..steps],
        }
    }

    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    pub(super) fn put(&mut self, step: usize, mut symbols: __m512i, lengths: __m512i) {
        let marked = _mm512_movepi8_mask(lengths);
        if matches!(OUTPUT, WORDS | STREAMED) {
            // Exponents have few: a choice between two ways would cost more than it saves.
            if marked != 0 {
                rarely();
                symbols = self.taking.replace_marked::<OUTPUT>(symbols, marked);
            }
        } else if self.often {
            symbols = self.taking.replace_marked::<OUTPUT>(symbols, marked);
        } else if marked != 0 {
            (self.taking, symbols) = replace_marked_rarely::<OUTPUT>(self.taking, symbols, marked);
        }
        match OUTPUT {
            SYMBOLS => {
                if let Some(place) = self.out.get_mut(step) {
                    store(place, symbols);
                }
            }
            SIGNED | SIGNED_STREAMED => {
                let Some(signs) = self.signs.get(step) else { return };
                let signs = u64::from_le_bytes(*signs);
                let bytes = _mm512_mask_add_epi8(symbols, signs, symbols, self.sign);
                if OUTPUT == SIGNED_STREAMED {
                    self.fetch(64 * step / 128 * 128);
                    self.lines.put(bytes);
                } else if let Some(place) = self.out.get_mut(step) {
                    store(place, bytes);
                }
            }
            _ => {
                let Some(low) = self.low.get(step) else { return };
                let (first, second) = interleave::merge_group(load(low), symbols);
                if OUTPUT == STREAMED {
                    self.fetch(128 * step);
                    self.lines.put(first);
                    self.lines.put(second);
                } else if let Some([a, b]) = self.pairs.get_mut(step) {
                    store(a, first);
                    store(b, second);
                }
            }
        }
    }

    #[inline(always)]
    fn fetch(&self, at: usize) {
        if at < self.ahead.len() {
            fetch(self.ahead, at);
        }
    }

    /// After the last step.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    pub(super) fn finish(self) {
        let Taking { escapes, taken, wrong, .. } = self.taking;
        self.escaped.wrong |= wrong || taken > escapes.len();
        self.escaped.left = escapes.get(taken..).unwrap_or(&[]);
        if matches!(OUTPUT, STREAMED | SIGNED_STREAMED) {
            self.lines.finish();
        }
    }
}

/// Tells the compiler that a branch is taken rarely.
#[cold]
const fn rarely() {}

/// Escaped symbols, which replace the symbols that stand for them.
#[derive(Clone, Copy)]
struct Taking<'e> {
    /// What the escape's slot becomes.
    escape: u8,
    escapes: &'e [u8],
    /// So many of them were taken, perhaps more than there are.
    taken: usize,
    wrong: bool,
}

impl Taking<'_> {
    /// Puts escapes in the place of what is marked.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn replace_marked<const OUTPUT: u8>(&mut self, symbols: __m512i, marked: __mmask64) -> __m512i {
        let due = match OUTPUT {
            // There are no other marks in plain alphabets.
            SIGNED | SIGNED_STREAMED => marked,
            _ => {
                let escape = _mm512_set1_epi8(self.escape as i8);
                _mm512_mask_cmpeq_epi8_mask(marked, symbols, escape)
            }
        };
        // What is marked and no escape is a zero, of which there must not be any.
        self.wrong |= due != marked;
        let from = self.taken;
        self.taken += due.count_ones() as usize;
        let escapes = match self.escapes.get(from..from + 64).and_then(<[u8]>::first_chunk) {
            Some(escapes) => load(escapes),
            None => load_some(self.escapes.get(from..).unwrap_or(&[])),
        };
        _mm512_mask_expand_epi8(symbols, due, escapes)
    }
}

/// [`Taking::replace_marked`] where that is rare, out of the way; by value, so that the compiler can keep the rest in
/// registers.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn replace_marked_rarely<const OUTPUT: u8>(
    mut taking: Taking<'_>,
    symbols: __m512i,
    marked: __mmask64,
) -> (Taking<'_>, __m512i) {
    let symbols = taking.replace_marked::<OUTPUT>(symbols, marked);
    (taking, symbols)
}
