//! Kernels of deltas: which words differ, how the hazards of a base add up, and when words change on that clock.

use super::Kernels;
use super::platform::{Platform, on};

/// Words whose hazards are added up together.
pub(crate) const GROUP: usize = 8;

/// Bytes that are compared at once.
pub(crate) const LINE: usize = 64;

/// Sums of groups that are compared with a time at once.
pub(crate) const AT_ONCE: usize = 32;

/// Words, and where the class of each lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<'a> {
    pub(crate) bytes: &'a [u8],
    /// Bytes of a word: 1, 2, 4 or 8.
    pub(crate) word_bytes: usize,
    /// The class of a word is what is left under the mask, once the word was shifted so far. Under the mask are only bits
    /// that the word had.
    pub(crate) shift: u32,
    pub(crate) mask: u8,
}

impl Words<'_> {
    /// How many there are.
    pub(crate) const fn count(&self) -> usize {
        self.bytes.len() / self.word_bytes
    }

    /// These words from a number on.
    pub(crate) fn from(&self, number: usize) -> Self {
        Self { bytes: &self.bytes[number * self.word_bytes..], ..*self }
    }
}

/// How far each class moves a clock.
#[derive(Debug, Clone)]
pub(crate) struct Ticks {
    /// By class.
    pub(crate) all: [u16; 256],
    /// The low bytes of the same, and the high ones.
    pub(crate) low: [u8; 256],
    pub(crate) high: [u8; 256],
    /// Where their window begins, if they have one.
    pub(crate) window: Option<u8>,
}

/// Classes in a window. Its first and its last one stand for those beyond it, but class 0 has ticks of its own. The ticks
/// of a step have a window: they fall from the most to the least within 17 classes.
pub(crate) const WINDOW: usize = 32;

impl Ticks {
    pub(crate) fn new(all: [u16; 256]) -> Self {
        let [low, high] = [0, 8].map(|shift| all.map(|ticks| (ticks >> shift) as u8));
        let same = all[1..].iter().take_while(|ticks| **ticks == all[1]).count();
        let start = same.min(all.len() - WINDOW);
        let beyond = &all[start + WINDOW - 1..];
        let window = beyond.iter().all(|ticks| *ticks == beyond[0]).then_some(start as u8);
        Self { all, low, high, window }
    }
}

/// A function of time, piecewise even: it falls from `starts[k]` by `drops[k]` over `2^12` ticks, `k` being the time
/// divided by `2^12`.
#[derive(Debug)]
pub(crate) struct Falling {
    pub(crate) starts: [u32; 32],
    /// Below `2^29`.
    pub(crate) drops: [u32; 32],
}

impl Falling {
    /// Ticks over which it falls evenly.
    pub(crate) const PIECE: u32 = 1 << 12;

    /// Its value at a time, which must be below 32 pieces.
    #[inline(always)]
    pub(crate) const fn at(&self, time: u32) -> u32 {
        let piece = (time / Self::PIECE) as usize;
        let (part, drop) = (time % Self::PIECE, self.drops[piece]);
        self.starts[piece] - (drop as u64 * part as u64 / Self::PIECE as u64) as u32
    }
}

/// Ticks of words: their low bytes, and their high ones.
#[derive(Debug)]
pub(crate) struct TicksOf<'a> {
    pub(crate) low: &'a mut [u8],
    pub(crate) high: &'a mut [u8],
}

impl TicksOf<'_> {
    /// Those of the first words, and those of the others.
    pub(crate) fn split_at(self, words: usize) -> [Self; 2] {
        let (low, low_of_others) = self.low.split_at_mut(words);
        let (high, high_of_others) = self.high.split_at_mut(words);
        [Self { low, high }, Self { low: low_of_others, high: high_of_others }]
    }
}

/// Ticks of the words of a group: their low bytes, and their high ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupTicks {
    pub(crate) low: [u8; GROUP],
    pub(crate) high: [u8; GROUP],
}

impl GroupTicks {
    /// The ticks of the word at a place, which may be one of the tile.
    #[inline(always)]
    pub(crate) fn of(&self, place: usize) -> u32 {
        u32::from(u16::from_le_bytes([self.low[place % GROUP], self.high[place % GROUP]]))
    }
}

/// Words of a tile that change, ready to be timed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spots<'a> {
    /// By change: the classes of the words of its group.
    pub(crate) classes: &'a [[u8; GROUP]],
    /// By change: the ticks of all groups before its own.
    pub(crate) before: &'a [u32],
    /// By change: its place, of which the lowest bits tell the place in the group.
    pub(crate) places: &'a [u16],
}

/// What happens between a change and the one before it: the values of a [`Falling`] at its start and its end.
pub(crate) type Chances = [u32; 2];

/// Word of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InGroup {
    pub(crate) place: usize,
    /// When it starts and ends, from the start of the group.
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// Work that calls kernels in its inner loop.
pub(crate) trait Job {
    type Output;

    /// Does the work. It is compiled for each platform, so it has to be inlined (`#[inline(always)]`).
    fn run(self, kernels: impl Kernels) -> Self::Output;
}

/// Does work as compiled for a platform.
pub(crate) fn run<J: Job>(platform: Platform, job: J) -> J::Output {
    on!(platform, kernels => kernels.run(
        #[inline(always)]
        || job.run(kernels)
    ))
}

/// Whether the kernels of a platform fetch what they are told to fetch.
pub(crate) fn fetches(platform: Platform) -> bool {
    on!(platform, kernels => kernels.fetches())
}

/// Compares words of `B` bytes: 1, 2, 4 or 8. For each line there is a number with a bit for each word that differs.
pub(crate) fn compare<const B: usize>(platform: Platform, pair: [&[u8]; 2], differing: &mut [u64]) {
    debug_assert_eq!(differing.len(), pair[0].len().div_ceil(LINE));
    run(platform, Compare::<B> { pair, differing });
}

struct Compare<'a, const B: usize> {
    pair: [&'a [u8]; 2],
    differing: &'a mut [u64],
}

impl<const B: usize> Job for Compare<'_, B> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernels: impl Kernels) {
        let [base, new] = self.pair.map(<[u8]>::as_chunks);
        let (whole, partial) = self.differing.split_at_mut(base.0.len());
        for ((base, new), bits) in base.0.iter().zip(new.0).zip(whole) {
            *bits = kernels.differing::<B>(base, new);
        }
        // Behind the last words both are alike.
        if let Some(bits) = partial.first_mut() {
            let [base, new] = [base.1, new.1].map(|rest| {
                let mut line = [0; LINE];
                line[..rest.len()].copy_from_slice(rest);
                line
            });
            *bits = kernels.differing::<B>(&base, &new);
        }
    }
}

/// Sets the class of each word.
pub(crate) fn classify(platform: Platform, words: Words<'_>, classes: &mut [u8]) {
    debug_assert_eq!(words.count(), classes.len());
    on!(platform, kernels => kernels.classify(words, classes));
}

/// Sets the class of each word, looks up the ticks of these classes, and adds them up. `sums` gets, for each group of
/// words, the ticks of all groups up to it. There is a sum for each group, the last one of which may be partial.
/// `of_words` gets the ticks of each word, where they are wanted.
pub(crate) fn set_clock(
    platform: Platform,
    words: Words<'_>,
    classes: &mut [u8],
    ticks: &Ticks,
    of_words: Option<TicksOf<'_>>,
    sums: &mut [u32],
) {
    debug_assert_eq!(words.count(), classes.len());
    debug_assert_eq!(sums.len(), classes.len().div_ceil(GROUP));
    debug_assert!(
        of_words
            .as_ref()
            .is_none_or(|ticks| { [ticks.low.len(), ticks.high.len()] == [classes.len(); 2] })
    );
    on!(platform, kernels => kernels.set_clock(words, classes, ticks, of_words, sums));
}

/// Fetches these bytes, where the platform can.
pub(crate) fn fetch(platform: Platform, bytes: &[u8]) {
    on!(platform, kernels => kernels.fetch(bytes));
}

/// Times changes: the time from the end of each to the start and to the end of the next, and what falls with the time,
/// there. `last` is when the change before the first one ended; it and all that is computed with it wraps around. No
/// time counts for more than `limit`.
///
/// Returns whether each time to a start was below the limit. If not, the results say nothing.
pub(crate) fn time_changes(
    platform: Platform,
    spots: Spots<'_>,
    ticks: &Ticks,
    falling: (&Falling, u32),
    last: u32,
    out: &mut [Chances],
) -> bool {
    debug_assert!(spots.classes.len() == out.len() && spots.places.len() == out.len());
    on!(platform, kernels => kernels.time_changes(spots, ticks, falling, last, out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_platforms_find_the_same_words(
            base in prop::collection::vec(any::<u8>(), 0..9000),
            flips in prop::collection::vec((any::<usize>(), 0u8..=255), 0..400),
        ) {
            let mut new = base.clone();
            for (place, flip) in flips.into_iter().filter(|_| !base.is_empty()) {
                new[place % base.len()] ^= flip;
            }
            differing_words_are_found::<1>(&base, &new)?;
            differing_words_are_found::<2>(&base, &new)?;
            differing_words_are_found::<4>(&base, &new)?;
            differing_words_are_found::<8>(&base, &new)?;
        }

        #[test]
        fn all_platforms_classify_alike(
            bytes in prop::collection::vec(any::<u8>(), 0..2000),
            (width, shift) in (0u32..4).prop_flat_map(|log2| (Just(log2), 0..8u32 << log2)),
            mask: u8,
        ) {
            let word_bytes = 1 << width;
            let bytes = &bytes[..bytes.len() / word_bytes * word_bytes];
            let mask = mask & (u64::MAX >> (64 - 8 * word_bytes) >> shift) as u8;
            let words = Words { bytes, word_bytes, shift, mask };
            let expected: Vec<u8> = bytes
                .chunks(word_bytes)
                .map(|word| {
                    let number = word.iter().rev().fold(0u64, |all, byte| all << 8 | u64::from(*byte));
                    (number >> shift) as u8 & mask
                })
                .collect();
            let ticks = Ticks::new([1; 256]);
            for platform in Platform::available() {
                let mut found = vec![7; expected.len()];
                classify(platform, words, &mut found);
                prop_assert_eq!(&found, &expected, "{}", platform);
                let mut sums = vec![0; expected.len().div_ceil(GROUP)];
                set_clock(platform, words, &mut found, &ticks, None, &mut sums);
                prop_assert_eq!(&found, &expected, "{}", platform);
            }
        }

        #[test]
        fn all_platforms_add_up_the_same_ticks(
            classes in prop::collection::vec(any::<u8>(), 0..700),
            seed: u16,
            // Ticks that fall over so many classes from a class on, if there are such.
            falling in prop::option::of((1u8..=255, 0u8..40)),
        ) {
            let ticks = Ticks::new(std::array::from_fn(|class| match falling {
                Some((first, over)) if class > 0 => {
                    let part = (class as u16).saturating_sub(first.into()).min(over.into());
                    32_767 - part * (32_766 / u16::from(over).max(1))
                }
                _ => (class as u16 + 1).wrapping_mul(seed | 1) >> 1,
            }));
            let groups = classes.chunks(GROUP).scan(0, |sum, group| {
                *sum += group.iter().map(|class| u32::from(ticks.all[usize::from(*class)])).sum::<u32>();
                Some(*sum)
            });
            let expected: Vec<u32> = groups.collect();
            let ticks_of = |class: &u8| ticks.all[usize::from(*class)];
            for platform in Platform::available() {
                let words = Words { bytes: &classes, word_bytes: 1, shift: 0, mask: 0xff };
                let mut found_classes = vec![7; classes.len()];
                let mut sums = vec![7; expected.len()];
                let (mut low, mut high) = (vec![7; classes.len()], vec![7; classes.len()]);
                let of_words = Some(TicksOf { low: &mut low, high: &mut high });
                set_clock(platform, words, &mut found_classes, &ticks, of_words, &mut sums);
                prop_assert_eq!(&sums, &expected, "{}", platform);
                let mut alone = vec![7; expected.len()];
                set_clock(platform, words, &mut found_classes, &ticks, None, &mut alone);
                prop_assert_eq!(&alone, &expected, "{}", platform);
                let found = low.iter().zip(&high).map(|(low, high)| u16::from_le_bytes([*low, *high]));
                prop_assert!(found.eq(classes.iter().map(ticks_of)), "{}", platform);
            }
        }

        /// Compared with what the definition says, word by word.
        #[test]
        fn all_platforms_time_the_same_changes(
            classes in prop::collection::vec(any::<u8>(), 8..600),
            every in 1usize..90,
            far in 0u32..100_000,
            shift in 1u32..15,
        ) {
            const LIMIT: u32 = 24 << 12;
            let ticks = Ticks::new(std::array::from_fn(|class| {
                1 + ((class as u16).wrapping_mul(40_503) >> shift)
            }));
            let falling = Falling {
                starts: std::array::from_fn(|piece| (1 << 30) >> (piece / 2)),
                drops: std::array::from_fn(|piece| ((1 << 28) >> (piece / 2)) + piece as u32 * 321),
            };
            let classes = &classes[..classes.len() / GROUP * GROUP];
            let mut sums = vec![0; classes.len() / GROUP];
            let words = Words { bytes: classes, word_bytes: 1, shift: 0, mask: 0xff };
            set_clock(Platform::Portable, words, &mut vec![0; classes.len()], &ticks, None, &mut sums);
            let places: Vec<u16> = (0..classes.len() as u16)
                .filter(|place| usize::from(*place).wrapping_mul(0x9e37_79b1) >> 7 & 63 < 64usize.div_ceil(every))
                .collect();
            let group_of = |place: &u16| classes.as_chunks().0[usize::from(*place) / GROUP];
            let groups: Vec<[u8; GROUP]> = places.iter().map(group_of).collect();
            let before: Vec<u32> = places
                .iter()
                .map(|place| (usize::from(*place) / GROUP).checked_sub(1).map_or(0, |group| sums[group]))
                .collect();
            let ticks_of = |place: usize| u32::from(ticks.all[usize::from(classes[place])]);
            let mut last = 0u32.wrapping_sub(far);
            let (mut expected, mut below) = (Vec::new(), true);
            for place in places.iter().map(|place| usize::from(*place)) {
                let start = (0..place).map(ticks_of).sum::<u32>();
                let end = start + ticks_of(place);
                let [to_start, to_end] = [start, end].map(|time| time.wrapping_sub(last));
                below &= to_start < LIMIT;
                expected.push([to_start, to_end].map(|time| falling.at(time.min(LIMIT))));
                last = end;
            }
            let spots = Spots { classes: &groups, before: &before, places: &places };
            for platform in Platform::available() {
                let mut found = vec![[7; 2]; places.len()];
                let last = 0u32.wrapping_sub(far);
                let limited = (&falling, LIMIT);
                let fits = time_changes(platform, spots, &ticks, limited, last, &mut found);
                prop_assert_eq!(fits, below, "{}", platform);
                if below {
                    prop_assert_eq!(&found, &expected, "{}", platform);
                }
            }
        }

        #[test]
        fn all_platforms_look_into_a_group_alike(
            low: [u8; GROUP],
            high: [u8; GROUP],
            share in 0.0..1.0f64,
            ends in prop::collection::vec(0u32..=u32::MAX, AT_ONCE),
            time: u32,
        ) {
            let group = GroupTicks { low: low.map(|byte| byte | 1), high: high.map(|byte| byte >> 1) };
            let ticks_of = |place: usize| group.of(place);
            let total: u32 = (0..GROUP).map(ticks_of).sum();
            let at = (f64::from(total) * share) as u32;
            let (mut place, mut start) = (0, 0);
            while start + ticks_of(place) <= at {
                (place, start) = (place + 1, start + ticks_of(place));
            }
            let expected = InGroup { place, start, end: start + ticks_of(place) };
            let mut ends: [u32; AT_ONCE] = ends.try_into().unwrap();
            ends.sort_unstable();
            let passed = ends.iter().filter(|end| **end <= time).count();
            for platform in Platform::available() {
                let found = on!(platform, kernels => kernels.run(
                    #[inline(always)]
                    || (kernels.find_in_group(group, at), kernels.passed(&ends, time)),
                ));
                prop_assert_eq!(found, (expected, passed), "{}", platform);
            }
        }
    }

    fn differing_words_are_found<const B: usize>(
        base: &[u8],
        new: &[u8],
    ) -> Result<(), TestCaseError> {
        let [base, new] = [base, new].map(|all| &all[..all.len() / B * B]);
        let lines = base.chunks(LINE).zip(new.chunks(LINE));
        let expected: Vec<u64> = lines
            .map(|(base, new)| {
                let words = base.as_chunks::<B>().0.iter().zip(new.as_chunks::<B>().0);
                words.enumerate().map(|(at, (a, b))| u64::from(a != b) << at).sum()
            })
            .collect();
        for platform in Platform::available() {
            let mut found = vec![!0; expected.len()];
            compare::<B>(platform, [base, new], &mut found);
            prop_assert_eq!(&found, &expected, "{}, {} bytes", platform, B);
        }
        Ok(())
    }

    #[test]
    fn what_falls_reaches_the_start_of_the_next_piece() {
        let falling = Falling { starts: [1 << 30; 32], drops: [(1 << 29) - 1; 32] };
        for time in [0, 1, 77, 4095] {
            let exact = (1 << 30) - ((((1 << 29) - 1) * u64::from(time)) >> 12) as u32;
            assert_eq!(falling.at(time), exact);
        }
    }
}
