//! Tiles: the clock of some thousand words of a base.

use super::super::form::{Form, by_width, word};
use super::TILE;
use super::model::Tables;
use crate::kernels::deltas::{GROUP, sum_ticks};
use crate::kernels::platform::Platform;

/// Groups that are compared with a time at once.
const AT_ONCE: usize = 16;

/// Clock of a tile.
#[derive(Debug, Clone)]
pub(super) struct Tile {
    /// By word: its class.
    pub(super) classes: [u8; TILE],
    /// The time at the end of each group. Behind the last one there are as many that never end as are looked at at once.
    ends: [u32; TILE / GROUP + AT_ONCE],
    /// The time at the end of the tile.
    pub(super) total: u32,
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

impl Tile {
    pub(super) const fn new() -> Self {
        Self { classes: [0; TILE], ends: [u32::MAX; TILE / GROUP + AT_ONCE], total: 0 }
    }

    /// Sets the clock of the words in `base`, at most [`TILE`].
    pub(super) fn set(&mut self, platform: Platform, form: Form, tables: &Tables, base: &[u8]) {
        let words = base.len() / form.bytes();
        let classes = &mut self.classes[..words];
        classify(platform, form, base, classes);
        let groups = words.div_ceil(GROUP);
        let (ends, behind) = self.ends.split_at_mut(groups);
        sum_ticks(platform, classes, &tables.ticks, ends);
        self.total = ends.last().copied().unwrap_or(0);
        behind[..AT_ONCE].fill(u32::MAX);
    }

    /// When a word starts.
    #[inline(always)]
    pub(super) fn start(&self, tables: &Tables, place: usize) -> u32 {
        let group = place / GROUP;
        let before = self.classes[group * GROUP..place].iter();
        let before: u32 =
            before.map(|class| u32::from(tables.ticks.all[usize::from(*class)])).sum();
        self.start_of(group) + before
    }

    #[inline(always)]
    fn start_of(&self, group: usize) -> u32 {
        if group == 0 { 0 } else { self.ends[group - 1] }
    }

    /// The word at a time, which must be before the end of the tile and not before the start of the group from which on
    /// it is looked for.
    #[inline(always)]
    pub(super) fn find(&self, tables: &Tables, mut group: usize, time: u32) -> Found {
        loop {
            let ends = self.ends[group..].first_chunk::<AT_ONCE>();
            let passed = ends.map_or(0, |ends| ends.map(|end| u32::from(end <= time)).iter().sum());
            group += passed as usize;
            if passed < AT_ONCE as u32 {
                break;
            }
        }
        let mut place = group * GROUP;
        let mut start = self.start_of(group);
        loop {
            let ticks = tables.ticks.all[usize::from(self.classes[place])];
            let end = start + u32::from(ticks);
            // The last word of the group ends with the group, hence after the time.
            if end > time {
                return Found { place, start, end };
            }
            (place, start) = (place + 1, end);
        }
    }
}

/// Sets the class of each word.
pub(super) fn classify(platform: Platform, form: Form, base: &[u8], classes: &mut [u8]) {
    let (shift, mask) = form.class_bits();
    if mask == 0 {
        classes.fill(0);
        return;
    }
    platform.run(
        #[inline(always)]
        || {
            by_width!(form, B => {
                for (class, bytes) in classes.iter_mut().zip(base.as_chunks::<B>().0) {
                    *class = (word(bytes) >> shift) as u8 & mask;
                }
            });
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::sparse::model::Model;
    use crate::dtype::Dtype;
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
            let mut tile = Tile::new();
            for platform in Platform::available() {
                tile.set(platform, form, &tables, &base);
                let mut time = 0;
                for (place, class) in classes.iter().enumerate() {
                    let end = time + u32::from(tables.ticks.all[usize::from(*class)]);
                    assert_eq!(tile.start(&tables, place), time);
                    for at in [time, end - 1] {
                        for group in [0, place / GROUP] {
                            let found = tile.find(&tables, group, at);
                            assert_eq!((found.place, found.start, found.end), (place, time, end));
                        }
                    }
                    time = end;
                }
                assert_eq!(tile.total, time);
            }
        }
    }
}
