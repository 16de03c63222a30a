//! Kernels of deltas in safe Rust.

use crate::kernels::deltas::{
    AT_ONCE, Chances, Falling, GROUP, GroupTicks, InGroup, LINE, Spots, Ticks, TicksOf, Words,
};

#[inline(always)]
pub(crate) fn differing<const B: usize>(base: &[u8; LINE], new: &[u8; LINE]) -> u64 {
    // The compiler makes vectors of this.
    let words = base.as_chunks::<8>().0.iter().zip(new.as_chunks::<8>().0);
    let bits = words.map(|(a, b)| u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b));
    if bits.fold(0, |all, bits| all | bits) == 0 {
        return 0;
    }
    let words = base.as_chunks::<B>().0.iter().zip(new.as_chunks::<B>().0);
    words.rev().fold(0, |bits, (a, b)| bits << 1 | u64::from(a != b))
}

#[inline(always)]
pub(crate) fn classify(words: Words<'_>, classes: &mut [u8]) {
    let Words { bytes, word_bytes, shift, mask } = words;
    if mask == 0 {
        classes.fill(0);
        return;
    }
    // In numbers of the width of a word, so that a vector holds as many as can be.
    macro_rules! classify {
        ($number:ty) => {
            for (class, word) in classes.iter_mut().zip(bytes.as_chunks().0) {
                *class = (<$number>::from_le_bytes(*word) >> shift) as u8 & mask;
            }
        };
    }
    match word_bytes {
        1 => classify!(u8),
        2 => classify!(u16),
        4 => classify!(u32),
        _ => classify!(u64),
    }
}

#[inline(always)]
pub(crate) fn sum_ticks(
    classes: &[u8],
    ticks: &Ticks,
    of_words: Option<TicksOf<'_>>,
    sums: &mut [u32],
) {
    add_ticks(0, classes, ticks, of_words, sums);
}

/// Adds up ticks, `sum` being that of all groups before.
#[inline(always)]
pub(crate) fn add_ticks(
    mut sum: u32,
    classes: &[u8],
    ticks: &Ticks,
    of_words: Option<TicksOf<'_>>,
    sums: &mut [u32],
) {
    let Some(TicksOf { low, high }) = of_words else {
        for (classes, place) in classes.chunks(GROUP).zip(sums) {
            sum +=
                classes.iter().map(|class| u32::from(ticks.all[usize::from(*class)])).sum::<u32>();
            *place = sum;
        }
        return;
    };
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
    Spots { classes, before, places }: Spots<'_>,
    ticks: &Ticks,
    (falling, limit): (&Falling, u32),
    mut last: u32,
    out: &mut [Chances],
) -> bool {
    let mut below = true;
    for (((classes, before), place), chances) in classes.iter().zip(before).zip(places).zip(out) {
        let place = usize::from(*place) % GROUP;
        let group = classes.map(|class| u32::from(ticks.all[usize::from(class)]));
        let mut start = *before;
        for (other, ticks) in group.iter().enumerate() {
            start += if other < place { *ticks } else { 0 };
        }
        let end = start + group[place];
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
