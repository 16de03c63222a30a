//! Stores of vectors past the caches, to places that need not be aligned.

use core::arch::x86_64::*;

use crate::kernels::avx512::isa::{Line, lines, load, store, store_some, stream};

/// Where the low bytes of words go, from the last step to the first.
pub(super) enum LowBytes<'a> {
    Cached(&'a mut [[u8; 64]]),
    /// Line by line, if lines are where steps are.
    Lines(&'a mut [Line]),
    /// Line by line, each one made of two steps; `later` is the later one of the next.
    Between {
        head: &'a mut [u8],
        lines: &'a mut [Line],
        tail: &'a mut [u8],
        later: Option<__m512i>,
    },
}

impl<'a> LowBytes<'a> {
    /// For whole steps.
    pub(super) fn past_caches(low: &'a mut [u8]) -> Self {
        match lines(low) {
            (head, lines, tail) if !head.is_empty() && !tail.is_empty() => {
                Self::Between { head, lines, tail, later: None }
            }
            (_, lines, _) => Self::Lines(lines),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    pub(super) fn put(&mut self, step: usize, low: __m512i) {
        match self {
            Self::Cached(places) => {
                if let Some(place) = places.get_mut(step) {
                    store(place, low);
                }
            }
            Self::Lines(lines) => {
                if let Some(line) = lines.get_mut(step) {
                    stream(line, low);
                }
            }
            Self::Between { head, lines, tail, later } => {
                let across = across(head.len());
                match later.replace(low) {
                    Some(later) => {
                        if let Some(line) = lines.get_mut(step) {
                            stream(line, _mm512_permutex2var_epi8(low, across, later));
                        }
                    }
                    None => store_some(tail, _mm512_permutexvar_epi8(across, low)),
                }
            }
        }
    }

    /// After the first step.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    pub(super) fn finish(self) {
        if let Self::Between { head, later: Some(first), .. } = self {
            store_some(head, first);
        }
    }
}

/// The 64 bytes of two vectors that begin with byte `from` of the first one.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn across(from: usize) -> __m512i {
    let places = load(&std::array::from_fn(|i| i as u8));
    _mm512_add_epi8(places, _mm512_set1_epi8(from as i8))
}

/// Vectors on their way past the caches, line by line, each one made of two vectors where lines are not
/// where vectors are.
pub(super) struct Lines<'a> {
    head: &'a mut [u8],
    lines: std::slice::IterMut<'a, Line>,
    tail: &'a mut [u8],
    /// The 64 bytes of the last vector and the next one that make the next line.
    across: __m512i,
    last: __m512i,
    begun: bool,
}

impl<'a> Lines<'a> {
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    pub(super) fn new(out: &'a mut [u8]) -> Self {
        let (head, lines, tail) = lines(out);
        let across = across(head.len());
        let last = _mm512_setzero_si512();
        Self { head, lines: lines.iter_mut(), tail, across, last, begun: false }
    }

    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    pub(super) fn put(&mut self, vector: __m512i) {
        if self.head.is_empty() {
            if let Some(line) = self.lines.next() {
                stream(line, vector);
            }
            return;
        }
        if !self.begun {
            store_some(self.head, vector);
        } else if let Some(line) = self.lines.next() {
            stream(line, _mm512_permutex2var_epi8(self.last, self.across, vector));
        }
        (self.begun, self.last) = (true, vector);
    }

    /// The end of the last vector, if the lines before were filled.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    pub(super) fn finish(self) {
        if !self.begun {
            return;
        }
        let end = _mm512_permutexvar_epi8(self.across, self.last);
        match self.lines.into_slice() {
            [] => store_some(self.tail, end),
            // Not all was decoded; what comes next is going to be written over the rest of this line.
            [next, ..] => store_some(next.start(64 - self.head.len()), end),
        }
    }
}
