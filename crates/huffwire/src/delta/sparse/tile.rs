//! Tiles: the clock of some thousand words of a base.

use super::super::form::Form;
use super::TILE;
use super::model::Tables;
use crate::kernels::Kernels;
use crate::kernels::deltas::{AT_ONCE, GROUP, GroupTicks, InGroup, Ticks, TicksOf, set_clock};
use crate::kernels::platform::Platform;

/// Clock of a tile.
#[derive(Debug, Clone)]
pub(super) struct Tile {
    /// By word: its class.
    pub(super) classes: [u8; TILE],
    /// The time at the start of each group, and at the end of the last one. Behind it there are as many that never come
    /// as are looked at at once.
    starts: [u32; TILE / GROUP + 1 + AT_ONCE],
    /// The time at the end of the tile.
    pub(super) total: u32,
}

impl Tile {
    pub(super) const fn new() -> Self {
        let mut starts = [u32::MAX; TILE / GROUP + 1 + AT_ONCE];
        starts[0] = 0;
        Self { classes: [0; TILE], starts, total: 0 }
    }

    /// Sets the clock of the words in `base`, at most [`TILE`].
    pub(super) fn set(&mut self, platform: Platform, form: Form, tables: &Tables, base: &[u8]) {
        self.set_with(platform, form, tables, base, None);
    }

    fn set_with(
        &mut self,
        platform: Platform,
        form: Form,
        tables: &Tables,
        base: &[u8],
        of_words: Option<TicksOf<'_>>,
    ) {
        let words = base.len() / form.bytes();
        let classes = &mut self.classes[..words];
        let groups = words.div_ceil(GROUP);
        let (ends, behind) = self.starts[1..].split_at_mut(groups);
        set_clock(platform, form.words(base), classes, &tables.ticks, of_words, ends);
        self.total = ends.last().copied().unwrap_or(0);
        behind[..AT_ONCE].fill(u32::MAX);
    }

    /// The classes of the words in a group.
    #[inline(always)]
    pub(super) fn classes_of(&self, group: usize) -> [u8; GROUP] {
        self.classes.as_chunks().0[group]
    }

    /// The time at the start of a group.
    #[inline(always)]
    pub(super) fn group_start(&self, group: usize) -> u32 {
        self.starts[group]
    }

    /// When a word starts and ends, on a clock that was set with these ticks.
    pub(super) fn start_and_end(&self, ticks: &Ticks, place: usize) -> (u32, u32) {
        let ticks_of = |place: usize| u32::from(ticks.all[usize::from(self.classes[place])]);
        let group = place / GROUP;
        let before: u32 = (group * GROUP..place).map(ticks_of).sum();
        let start = self.group_start(group) + before;
        (start, start + ticks_of(place))
    }
}

/// Tile in which words are found by their time.
#[derive(Debug, Clone)]
pub(super) struct Timetable {
    pub(super) clock: Tile,
    /// By word: how far it moves the clock, low bytes and high ones.
    low: [u8; TILE],
    high: [u8; TILE],
}

/// Word at some time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// Its place in the tile.
    pub(super) place: usize,
    /// When it starts and ends, from the start of the tile.
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Timetable {
    pub(super) const fn new() -> Self {
        Self { clock: Tile::new(), low: [0; TILE], high: [0; TILE] }
    }

    /// Sets the clock of the words in `base`, at most [`TILE`].
    pub(super) fn set(&mut self, platform: Platform, form: Form, tables: &Tables, base: &[u8]) {
        let words = base.len() / form.bytes();
        let of_words = TicksOf { low: &mut self.low[..words], high: &mut self.high[..words] };
        self.clock.set_with(platform, form, tables, base, Some(of_words));
    }

    /// The ticks of the words in a group.
    #[inline(always)]
    fn ticks_of(&self, group: usize) -> GroupTicks {
        let [low, high] = [&self.low, &self.high].map(|bytes| bytes.as_chunks().0[group]);
        GroupTicks { low, high }
    }

    /// The group at a time, which must be before the end of the tile and not before the start of the group from which on
    /// it is looked for.
    #[inline(always)]
    pub(super) fn find_group(&self, kernels: impl Kernels, group: usize, time: u32) -> usize {
        let passed = self.passed(kernels, group, time);
        if passed == AT_ONCE {
            return self.find_far(kernels, group + passed, time);
        }
        group + passed
    }

    /// The word of a group at a time, which must be before the end of the group.
    #[inline(always)]
    pub(super) fn find_in_group(&self, kernels: impl Kernels, group: usize, time: u32) -> Found {
        let before = self.clock.starts[group];
        let InGroup { place, start, end } =
            kernels.find_in_group(self.ticks_of(group), time - before);
        Found { place: group * GROUP + place, start: before + start, end: before + end }
    }

    /// How many of the next groups end at a time or before it.
    #[inline(always)]
    fn passed(&self, kernels: impl Kernels, group: usize, time: u32) -> usize {
        let ends = self.clock.starts[1 + group..].first_chunk();
        ends.map_or(0, |ends| kernels.passed(ends, time))
    }

    /// The first group from this one on that ends after a time.
    #[cold]
    fn find_far(&self, kernels: impl Kernels, mut group: usize, time: u32) -> usize {
        loop {
            let passed = self.passed(kernels, group, time);
            group += passed;
            if passed < AT_ONCE {
                return group;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::sparse::model::Model;
    use crate::dtype::Dtype;
    use crate::kernels::deltas::{self, Job};
    use huffwire_testing::Random;

    #[test]
    fn words_are_found_by_their_time() {
        let mut random = Random::new(2);
        let form = Form::of(Dtype::Bf16);
        let tables = Model::Step { size: 4 * 124 + 40, zero: 3 }.tables();
        for words in [1, 7, 8, 9, 1000, TILE] {
            let classes: Vec<u8> = (0..words).map(|_| 118 + random.below(16) as u8).collect();
            let base: Vec<u8> =
                classes.iter().flat_map(|class| (u16::from(*class) << 7).to_le_bytes()).collect();
            let mut tile = Timetable::new();
            for platform in Platform::available() {
                tile.set(platform, form, &tables, &base);
                let mut time = 0;
                for (place, class) in classes.iter().enumerate() {
                    let end = time + u32::from(tables.ticks.all[usize::from(*class)]);
                    assert_eq!(tile.clock.start_and_end(&tables.ticks, place), (time, end));
                    for at in [time, end - 1] {
                        for group in [0, place / GROUP] {
                            let find = Find { tile: &tile, group, at };
                            let found = deltas::run(platform, find);
                            assert_eq!((found.place, found.start, found.end), (place, time, end));
                        }
                    }
                    time = end;
                }
                assert_eq!(tile.clock.total, time);
            }
        }
    }

    struct Find<'a> {
        tile: &'a Timetable,
        group: usize,
        at: u32,
    }

    impl Job for Find<'_> {
        type Output = Found;

        #[inline(always)]
        fn run(self, kernels: impl Kernels) -> Found {
            let group = self.tile.find_group(kernels, self.group, self.at);
            self.tile.find_in_group(kernels, group, self.at)
        }
    }
}
