//! Kernels of deltas in safe Rust.

use crate::kernels::deltas::{GROUP, Ticks};

/// Bytes that are compared at once.
const BYTES: usize = 64;

#[inline(always)]
pub(crate) fn differing(log2: u32, base: &[u8], new: &[u8], out: &mut Vec<u32>) {
    match log2 {
        0 => differing_words::<1>(base, new, 0, out),
        1 => differing_words::<2>(base, new, 0, out),
        2 => differing_words::<4>(base, new, 0, out),
        _ => differing_words::<8>(base, new, 0, out),
    }
}

/// Appends the numbers of the words that differ, counted from `first`.
#[inline(always)]
pub(crate) fn differing_words<const B: usize>(
    base: &[u8],
    new: &[u8],
    first: u32,
    out: &mut Vec<u32>,
) {
    let mut number = first;
    for (base, new) in base.chunks(BYTES).zip(new.chunks(BYTES)) {
        if base != new {
            let words = base.as_chunks::<B>().0.iter().zip(new.as_chunks::<B>().0);
            out.extend((number..).zip(words).filter(|(_, (a, b))| a != b).map(|(at, _)| at));
        }
        number += (base.len() / B) as u32;
    }
}

#[inline(always)]
pub(crate) fn sum_ticks(classes: &[u8], ticks: &Ticks, sums: &mut [u32]) {
    add_ticks(0, classes, ticks, sums);
}

/// Adds up ticks, `sum` being that of all groups before.
#[inline(always)]
pub(crate) fn add_ticks(mut sum: u32, classes: &[u8], ticks: &Ticks, sums: &mut [u32]) {
    let (groups, rest) = classes.as_chunks::<GROUP>();
    let mut places = sums.iter_mut();
    for (group, place) in groups.iter().zip(&mut places) {
        sum += group.map(|class| u32::from(ticks.all[usize::from(class)])).iter().sum::<u32>();
        *place = sum;
    }
    if let Some(place) = places.next() {
        sum += rest.iter().map(|class| u32::from(ticks.all[usize::from(*class)])).sum::<u32>();
        *place = sum;
    }
}
