//! Kernels of deltas in safe Rust.

use crate::kernels::deltas::{
    AT_ONCE, Chances, Falling, GROUP, GroupTicks, InGroup, Spots, Ticks, TicksOf,
};

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
        if differs(base, new) {
            // Each word is written and counted when it differs, so that the processor has nothing to guess.
            let (mut found, mut count) = ([0; BYTES], 0);
            let words = base.as_chunks::<B>().0.iter().zip(new.as_chunks::<B>().0);
            for (at, (a, b)) in (number..).zip(words) {
                found[count % BYTES] = at;
                count += usize::from(a != b);
            }
            out.extend_from_slice(&found[..count]);
        }
        number += (base.len() / B) as u32;
    }
}

/// Whether two pieces of at most [`BYTES`] differ.
#[inline(always)]
fn differs(base: &[u8], new: &[u8]) -> bool {
    // The compiler makes vectors of this, and a call of a comparison of slices.
    match (<&[u8; BYTES]>::try_from(base), <&[u8; BYTES]>::try_from(new)) {
        (Ok(base), Ok(new)) => {
            let words = base.as_chunks::<8>().0.iter().zip(new.as_chunks::<8>().0);
            let bits = words.map(|(a, b)| u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b));
            bits.fold(0, |all, bits| all | bits) != 0
        }
        _ => base != new,
    }
}

#[inline(always)]
pub(crate) fn sum_ticks(classes: &[u8], ticks: &Ticks, of_words: TicksOf<'_>, sums: &mut [u32]) {
    add_ticks(0, classes, ticks, of_words, sums);
}

/// Adds up ticks, `sum` being that of all groups before.
#[inline(always)]
pub(crate) fn add_ticks(
    mut sum: u32,
    classes: &[u8],
    ticks: &Ticks,
    TicksOf { low, high }: TicksOf<'_>,
    sums: &mut [u32],
) {
    let groups = classes.chunks(GROUP).zip(low.chunks_mut(GROUP)).zip(high.chunks_mut(GROUP));
    for (((classes, low), high), place) in groups.zip(sums) {
        for ((class, low), high) in classes.iter().zip(low).zip(high) {
            let ticks = ticks.all[usize::from(*class)];
            [*low, *high] = ticks.to_le_bytes();
            sum += u32::from(ticks);
        }
        *place = sum;
    }
}

#[inline(always)]
pub(crate) fn time_changes(
    Spots { low, high, before, places }: Spots<'_>,
    (falling, limit): (&Falling, u32),
    mut last: u32,
    out: &mut [Chances],
) -> bool {
    let mut below = true;
    let changes = low.iter().zip(high).zip(before).zip(places);
    for ((((low, high), before), place), chances) in changes.zip(out) {
        let place = usize::from(*place) % GROUP;
        let group = GroupTicks { low: *low, high: *high };
        let mut start = *before;
        for other in 0..GROUP {
            start += if other < place { group.of(other) } else { 0 };
        }
        let end = start + group.of(place);
        let [to_start, to_end] = [start, end].map(|time| time.wrapping_sub(last));
        below &= to_start < limit;
        *chances = [falling.at(to_start.min(limit)), falling.at(to_end.min(limit))];
        last = end;
    }
    below
}

/// How many of these times, which ascend, are not after a time.
#[inline(always)]
pub(crate) fn passed(ends: &[u32; AT_ONCE], time: u32) -> usize {
    ends.map(|end| u32::from(end <= time)).iter().sum::<u32>() as usize
}

/// The word of a group at a time, which is before the end of the group.
#[inline(always)]
pub(crate) fn find_in_group(ticks: GroupTicks, time: u32) -> InGroup {
    // All of the group is looked at, so that the processor has no end of the loop to guess.
    let (mut place, mut start, mut sum) = (0, 0, 0);
    for other in 0..GROUP {
        sum += ticks.of(other);
        place += usize::from(sum <= time);
        start = if sum <= time { sum } else { start };
    }
    let place = place % GROUP;
    InGroup { place, start, end: start + ticks.of(place) }
}
