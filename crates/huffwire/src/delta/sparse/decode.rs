//! Decoding of sparse blocks, whose bytes may be hostile.

use std::array;

use super::super::form::{Form, by_width, set_word, word};
use super::super::header::{BlockHeader, BlockKind, WHAT};
use super::clock::{self, AT_LIMIT, LIMIT, longer, time};
use super::magnitude::{self, Row as Magnitudes, take_low_bits};
use super::model::{Model, Tables};
use super::rans::{Decoder, Interval};
use super::tile::{self, Timetable};
use super::{MAX_CHAINS, TILE};
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::kernels::deltas::{self, Job};
use crate::kernels::platform::Platform;
use crate::wire::Reader;

/// Changes that a sparse block holds.
#[derive(Debug, Default)]
pub(in super::super) struct Found {
    /// The words that change, counted from the start of the block.
    pub(in super::super) indices: Vec<u32>,
    /// Their new values, one behind the other.
    pub(in super::super) values: Vec<u8>,
}

impl Found {
    pub(in super::super) fn clear(&mut self) {
        self.indices.clear();
        self.values.clear();
    }
}

/// Tile of a block, of which all changes were found.
#[derive(Debug)]
pub(in super::super) struct FoundTile<'a> {
    /// The number of its first word.
    pub(in super::super) first: u32,
    pub(in super::super) base: &'a [u8],
    /// What changes, counted from the start of the block, and the new words.
    pub(in super::super) indices: &'a [u32],
    pub(in super::super) values: &'a [u8],
}

/// Decodes the payload of a sparse block with this header; `found` is empty before. Each tile is handed to `take_tile`
/// while it is in the cache, before it is known whether the rest of the block is right.
pub(in super::super) fn decode(
    platform: Platform,
    form: Form,
    header: &BlockHeader,
    payload: &[u8],
    base: &[u8],
    found: &mut Found,
    take_tile: impl FnMut(FoundTile<'_>),
) -> Result<()> {
    let mut reader = Reader::new(WHAT, payload);
    let model = Model::read(&mut reader, form, header.kind == BlockKind::Densities)?;
    let chains_log2 = reader.u8()?;
    if 1usize.checked_shl(chains_log2.into()).is_none_or(|count| count > MAX_CHAINS) {
        return Err(reader.malformed("more than four chains"));
    }
    let count = 1 << chains_log2;
    let mut lengths = [0; MAX_CHAINS];
    for length in &mut lengths[..count] {
        *length = reader.size()?;
    }
    let mut chains = Vec::with_capacity(count);
    for length in &lengths[..count] {
        let state = reader.u64()?;
        let bytes = reader.take(length.saturating_mul(4))?;
        chains.push(Chain::new(Decoder::new(state, bytes.as_chunks().0)?));
    }
    reader.finish()?;
    let by_level = magnitude::rows(form.bytes());
    let search = Search { platform, form, tables: &model.tables(), by_level };
    search.find_changes(base, &mut chains, header.changes as usize, found, take_tile)
}

/// Chain on its way through its tiles.
#[derive(Debug)]
struct Chain<'a> {
    coder: Decoder<'a>,
    /// The time at the start of the tile.
    time: u64,
    /// The time at the end of the word that changed last.
    last: u64,
    /// When the next thing happens.
    next: u64,
    /// Whether that is a change; else time just passes.
    is_change: bool,
    /// Words that are known to start at or before `next` lie behind so many groups of the tile.
    group: usize,
    /// The changes in the batch: their places in their tiles, and differences.
    found: Vec<(u16, i64)>,
    /// For each tile of the batch that was begun, where its changes begin.
    starts: Vec<usize>,
    tile: Timetable,
}

impl<'a> Chain<'a> {
    fn new(coder: Decoder<'a>) -> Self {
        let mut chain = Self {
            coder,
            time: 0,
            last: 0,
            next: 0,
            is_change: false,
            group: 0,
            found: Vec::new(),
            starts: Vec::new(),
            tile: Timetable::new(),
        };
        chain.look();
        chain
    }

    /// Sees when the next thing happens.
    #[inline(always)]
    fn look(&mut self) {
        let number = self.coder.peek(clock::BITS);
        self.is_change = number >= AT_LIMIT;
        self.next = self.last + if self.is_change { time(number) } else { LIMIT };
    }

    /// The time at the end of the tile.
    #[inline(always)]
    fn end(&self) -> u64 {
        self.time + u64::from(self.tile.clock.total)
    }

    /// Whether the next thing is a change in the tile.
    #[inline(always)]
    fn has_change(&self) -> bool {
        self.is_change && self.next < self.end()
    }

    /// Goes on until the next thing is a change in the tile. Returns `false` if none is left in the batch.
    ///
    /// This is done about once a tile. It is no part of the loop over changes, which is compiled for each platform.
    #[inline(never)]
    fn seek(
        &mut self,
        number: usize,
        search: Search<'_>,
        batch: Batch<'_>,
        ahead: &mut Ahead<'_>,
    ) -> bool {
        while !self.has_change() {
            if !self.is_change && self.next <= self.end() {
                self.coder.take(Interval { start: 0, size: AT_LIMIT, bits: clock::BITS });
                self.last = self.next;
                self.look();
                continue;
            }
            let row = self.starts.len();
            let Some(words) = batch.tile(row, number) else { return false };
            ahead.begin_row(batch.end_of_row(row), batch.row_bytes());
            self.time = self.end();
            self.tile.set(search.platform, search.form, search.tables, words);
            self.group = 0;
            self.starts.push(self.found.len());
        }
        true
    }

    /// The changes in its tile of a row.
    fn changes_of(&self, row: usize) -> &[(u16, i64)] {
        let start = self.starts.get(row).copied().unwrap_or(self.found.len());
        let end = self.starts.get(row + 1).copied().unwrap_or(self.found.len());
        &self.found[start..end]
    }

    /// The interval of a change of this word.
    #[inline(always)]
    fn interval(&self, word: tile::Found) -> Interval {
        let [start, end] = [word.start, word.end].map(|time| self.time + u64::from(time));
        let low = longer((end - self.last).min(LIMIT));
        let size = longer(start.saturating_sub(self.last)) - low;
        Interval { start: low, size, bits: clock::BITS }
    }

    /// Takes the end of the chain.
    fn finish(&mut self) -> Result<()> {
        let size = longer(self.end() - self.last);
        self.coder.take(Interval { start: 0, size, bits: clock::BITS });
        self.coder.finish()
    }
}

/// Takes a change in the tile of each chain. What is done for a chain has to wait for what was done before; so each step
/// is done for all chains before the next one.
#[inline(always)]
fn take_changes<const N: usize>(
    kernels: impl Kernels,
    chains: &mut [Chain<'_>; N],
    search: Search<'_>,
) {
    // Nothing happens before the tile: it would have happened in the one before.
    let times = chains.each_ref().map(|chain| (chain.next - chain.time) as u32);
    let groups: [usize; N] = array::from_fn(|number| {
        let Chain { tile, group, .. } = &chains[number];
        tile.find_group(kernels, *group, times[number])
    });
    let words: [_; N] = array::from_fn(|number| {
        chains[number].tile.find_in_group(kernels, groups[number], times[number])
    });
    let intervals: [_; N] = array::from_fn(|number| chains[number].interval(words[number]));
    for (chain, interval) in chains.iter_mut().zip(intervals) {
        chain.coder.take(interval);
    }
    let magnitudes: [_; N] = array::from_fn(|number| {
        search.magnitudes_of(chains[number].tile.clock.classes[words[number].place])
    });
    let symbols: [_; N] = array::from_fn(|number| magnitudes[number].symbol(&chains[number].coder));
    let negative: [_; N] = array::from_fn(|number| {
        magnitudes[number].take(symbols[number], &mut chains[number].coder)
    });
    let differences: [_; N] = array::from_fn(|number| {
        take_low_bits(symbols[number], negative[number], &mut chains[number].coder)
    });
    for (number, chain) in chains.iter_mut().enumerate() {
        (chain.last, chain.group) = (chain.time + u64::from(words[number].end), groups[number]);
        chain.look();
    }
    for (number, chain) in chains.iter_mut().enumerate() {
        chain.found.push((words[number].place as u16, differences[number]));
    }
}

/// How changes are searched for.
#[derive(Debug, Clone, Copy)]
struct Search<'a> {
    platform: Platform,
    form: Form,
    tables: &'a Tables,
    /// The distributions of magnitudes of all levels.
    by_level: &'static [Magnitudes],
}

/// The chains go through so many bytes of the base before they wait for each other: a part of an L2 cache. They are whole
/// rows of tiles, whatever the words and the chains.
const BATCH_BYTES: usize = 1 << 18;
const _: () = assert!(BATCH_BYTES.is_multiple_of(MAX_CHAINS * TILE * size_of::<u64>()));

impl Search<'_> {
    /// The distribution of the magnitudes of words of a class.
    #[inline(always)]
    fn magnitudes_of(&self, class: u8) -> &'static Magnitudes {
        &self.by_level[usize::from(self.tables.magnitudes[usize::from(class)])]
    }

    /// Goes through rows of tiles, in each of which each chain has one. The chains take turns: what one waits for, the
    /// others have time to do. Some chains are further than others, since they have fewer changes in their tiles; within a
    /// batch of rows none waits for another.
    fn find_changes(
        self,
        base: &[u8],
        chains: &mut [Chain<'_>],
        changes: usize,
        found: &mut Found,
        mut take_tile: impl FnMut(FoundTile<'_>),
    ) -> Result<()> {
        let (word_bytes, count) = (self.form.bytes(), chains.len());
        let tile_bytes = TILE * word_bytes;
        let mut ahead = Ahead { base, fetched: 0, up_to: 0 };
        for (number, words) in base.chunks(BATCH_BYTES).enumerate() {
            let start = number * BATCH_BYTES;
            let batch = Batch { start, words, tile_bytes, chains: count };
            for chain in &mut *chains {
                chain.found.clear();
                chain.starts.clear();
            }
            let turns = Turns { chains: &mut *chains, search: self, batch, ahead: &mut ahead };
            deltas::run(self.platform, turns);
            for chain in &*chains {
                chain.coder.check()?;
            }
            for (tile, base) in words.chunks(tile_bytes).enumerate() {
                let of_tile = chains[tile % count].changes_of(tile / count);
                let before = found.indices.len();
                if of_tile.len() > changes - before {
                    return Err(Error::malformed(WHAT, 0, "more changes than are announced"));
                }
                // No block has more words than 2^22.
                let first = (start / word_bytes + tile * TILE) as u32;
                self.note(of_tile, base, first, found);
                let (indices, values) =
                    (&found.indices[before..], &found.values[before * word_bytes..]);
                take_tile(FoundTile { first, base, indices, values });
            }
        }
        for chain in chains {
            chain.finish()?;
        }
        if found.indices.len() == changes {
            return Ok(());
        }
        let detail = format!("{} changes where {changes} are announced", found.indices.len());
        Err(Error::malformed(WHAT, 0, detail))
    }

    /// Notes the changes in a tile, whose first word has the number `first`.
    fn note(self, changes: &[(u16, i64)], base: &[u8], first: u32, found: &mut Found) {
        found.indices.extend(changes.iter().map(|(place, _)| first + u32::from(*place)));
        by_width!(self.form, B => {
            let words = base.as_chunks::<B>().0;
            let start = found.values.len();
            found.values.resize(start + B * changes.len(), 0);
            let values = found.values[start..].as_chunks_mut::<B>().0;
            for (value, (place, difference)) in values.iter_mut().zip(changes) {
                let base = word(&words[usize::from(*place)]);
                set_word(value, self.form.moved(base, *difference));
            }
        });
    }
}

/// Consecutive rows of tiles.
#[derive(Debug, Clone, Copy)]
struct Batch<'a> {
    /// Bytes of the base before it.
    start: usize,
    words: &'a [u8],
    tile_bytes: usize,
    chains: usize,
}

impl<'a> Batch<'a> {
    /// Bytes of a row.
    const fn row_bytes(&self) -> usize {
        self.tile_bytes * self.chains
    }

    /// Where a row ends in the base, if it is a full one; rows count from the first one of the batch.
    const fn end_of_row(&self, row: usize) -> usize {
        self.start + (row + 1) * self.row_bytes()
    }

    /// The tile of a chain in a row, counted from the first one of the batch, if there is one.
    fn tile(&self, row: usize, chain: usize) -> Option<&'a [u8]> {
        self.words.chunks(self.tile_bytes).nth(row * self.chains + chain)
    }
}

/// What of the base is fetched while the chains work: the row behind the one that a chain is at.
#[derive(Debug)]
struct Ahead<'a> {
    base: &'a [u8],
    fetched: usize,
    up_to: usize,
}

/// Bytes that are fetched in a turn of all chains.
const FETCHED: usize = 1 << 10;

impl Ahead<'_> {
    /// Notes that a chain begins the row that ends at a place: what was not fetched of it is there soon enough.
    fn begin_row(&mut self, end: usize, row_bytes: usize) {
        self.fetched = self.fetched.max(end);
        self.up_to = self.up_to.max(end + row_bytes);
    }

    #[inline(always)]
    fn fetch(&mut self, kernels: impl Kernels) {
        if self.fetched < self.up_to
            && let Some(bytes) = self.base.get(self.fetched..self.fetched + FETCHED)
        {
            kernels.fetch(bytes);
            self.fetched += FETCHED;
        }
    }
}

/// Turns of the chains in a batch.
struct Turns<'t, 'c, 'a> {
    chains: &'t mut [Chain<'c>],
    search: Search<'a>,
    batch: Batch<'a>,
    ahead: &'t mut Ahead<'a>,
}

impl Job for Turns<'_, '_, '_> {
    type Output = ();

    /// Takes everything that happens in the batch.
    #[inline(always)]
    fn run(self, kernels: impl Kernels) {
        let Self { chains, search, batch, ahead } = self;
        loop {
            ahead.fetch(kernels);
            let mut all = true;
            for (number, chain) in chains.iter_mut().enumerate() {
                all &= chain.has_change() || chain.seek(number, search, batch, ahead);
            }
            if all && let Ok(four) = <&mut [_; MAX_CHAINS]>::try_from(&mut *chains) {
                take_changes(kernels, four, search);
                continue;
            }
            let mut idle = true;
            for chain in chains.iter_mut().filter(|chain| chain.has_change()) {
                take_changes(kernels, array::from_mut(chain), search);
                idle = false;
            }
            if idle {
                return;
            }
        }
    }
}
