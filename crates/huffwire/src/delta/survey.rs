//! Survey of a block: one pass over base and new elements, which finds all that an encoder has to know before it decides.

use std::ops::Range;

use super::changes;
use super::form::{Form, by_width, word};
use super::hashing::{Hashes, PairHasher};
use super::sparse::TILE;
use crate::kernels::deltas::{self, LINE};
use crate::kernels::platform::Platform;

/// In blocks of at least so many words only the first ones of each tile are in the sample, one in [`ONE_IN`].
const SAMPLED_WORDS: usize = 1 << 16;
const ONE_IN: usize = 16;

/// What a survey of a block found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Words of the block.
    pub(super) words: usize,
    /// The words that change, in ascending order.
    pub(super) indices: Vec<u32>,
    /// By line of the tile that was compared last: a bit for each word that differs.
    differing: Vec<u64>,
    /// For each tile where its changes end.
    tile_ends: Vec<u32>,
    /// By change: the difference of the words. Where more words change than a sparse block may have, some are missing.
    pub(super) differences: Vec<i64>,
    /// By change: the class of the word of the base.
    pub(super) classes: Vec<u8>,
    /// Classes of words of the base; none are looked up where nothing changes, and not all where too much does.
    pub(super) sample: Vec<u8>,
    /// Tiles that are in the sample.
    sampled_tiles: usize,
    /// Of so many words one is in the sample.
    pub(super) sampled_one_in: usize,
}

impl Survey {
    /// Surveys a block. Differences are wanted as long as there are no more than `most` changes.
    pub(super) fn make(
        &mut self,
        platform: Platform,
        form: Form,
        (base, new): (&[u8], &[u8]),
        most: usize,
    ) -> Hashes {
        let words = base.len() / form.bytes();
        self.clear(words);
        let mut hasher = PairHasher::new(platform, base.len());
        let tile_bytes = TILE * form.bytes();
        let all_of_base = base;
        let mut next = [base, new];
        let tiles = base.chunks(tile_bytes).zip(new.chunks(tile_bytes));
        for (number, (base, new)) in tiles.enumerate() {
            next = next.map(|rest| &rest[base.len()..]);
            let before = self.indices.len();
            self.compare(platform, form, &mut hasher, [base, new], next);
            if self.indices.len() <= most {
                self.note_changes(form, base, new, before);
            }
            for index in &mut self.indices[before..] {
                *index += (number * TILE) as u32;
            }
            self.tile_ends.push(self.indices.len() as u32);
            if (1..=most).contains(&self.indices.len()) {
                self.sample_up_to(number, platform, form, all_of_base);
            }
        }
        hasher.finish()
    }

    /// Compares the next tile of both, and lists what changes in it; indices count from the start of the tile.
    fn compare(
        &mut self,
        platform: Platform,
        form: Form,
        hasher: &mut PairHasher,
        tiles: [&[u8]; 2],
        next: [&[u8]; 2],
    ) {
        by_width!(form, B => {
            self.differing.resize(tiles[0].len().div_ceil(LINE), 0);
            hasher.compare::<B>(platform, tiles, next, &mut self.differing);
            platform.run(#[inline(always)] || changes::list_bits::<B>(&self.differing, 0, &mut self.indices));
        });
    }

    fn clear(&mut self, words: usize) {
        let Self { indices, tile_ends, differences, classes, sample, .. } = self;
        indices.clear();
        tile_ends.clear();
        differences.clear();
        classes.clear();
        sample.clear();
        self.sampled_tiles = 0;
        self.words = words;
        self.sampled_one_in = if words < SAMPLED_WORDS { 1 } else { ONE_IN };
    }

    /// Notes the changes of a tile from a number on; their indices count from the start of the tile.
    fn note_changes(&mut self, form: Form, base: &[u8], new: &[u8], before: usize) {
        let Self { indices, differences, classes, .. } = self;
        by_width!(form, B => {
            let (base, new) = (base.as_chunks::<B>().0, new.as_chunks::<B>().0);
            let indices = || indices[before..].iter().map(|index| *index as usize);
            differences.extend(
                indices().map(|index| form.difference(word(&base[index]), word(&new[index]))),
            );
            classes.extend(indices().map(|index| form.class(word(&base[index])) as u8));
        });
    }

    /// Adds the tiles that are not in the sample yet, up to a number. But for tiles before the first change that is one,
    /// which is in the cache.
    fn sample_up_to(&mut self, number: usize, platform: Platform, form: Form, base: &[u8]) {
        if form.classes() == 1 {
            return;
        }
        let tiles = base.chunks(TILE * form.bytes()).take(number + 1).skip(self.sampled_tiles);
        for tile in tiles {
            let words = (tile.len() / form.bytes()).min(TILE / self.sampled_one_in);
            let start = self.sample.len();
            self.sample.resize(start + words, 0);
            let words = form.words(&tile[..words * form.bytes()]);
            deltas::classify(platform, words, &mut self.sample[start..]);
        }
        self.sampled_tiles = number + 1;
    }

    /// For each tile which of the changes are its own.
    pub(super) fn tiles(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut start = 0;
        self.tile_ends.iter().map(move |end| {
            let range = start..*end as usize;
            start = range.end;
            range
        })
    }
}
