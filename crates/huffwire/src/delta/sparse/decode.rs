//! Decoding of sparse blocks, whose bytes may be hostile.

use std::array;

use super::super::form::{Form, by_width, set_word, word};
use super::super::header::{BlockHeader, BlockKind, WHAT};
use super::clock::{self, AT_LIMIT, LIMIT, longer, time};
use super::magnitude::{Row as Magnitudes, rows};
use super::model::{Model, Tables};
use super::rans::{Decoder, Interval};
use super::tile::{self, Tile};
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

/// Consecutive tiles of a block, of which all changes were found.
#[derive(Debug)]
pub(in super::super) struct Row<'a> {
    /// The number of its first word.
    pub(in super::super) first: u32,
    pub(in super::super) base: &'a [u8],
    /// What changes, counted from the start of the block, and the new words.
    pub(in super::super) indices: &'a [u32],
    pub(in super::super) values: &'a [u8],
}

/// Decodes the payload of a sparse block with this header; `found` is empty before. Each row is handed to `take_row` while
/// it is in the cache, before it is known whether the rest of the block is right.
pub(in super::super) fn decode(
    platform: Platform,
    form: Form,
    header: &BlockHeader,
    payload: &[u8],
    base: &[u8],
    found: &mut Found,
    take_row: impl FnMut(Row<'_>),
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
    let search = Search { platform, form, tables: &model.tables() };
    search.find_changes(base, &mut chains, header.changes as usize, found, take_row)
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
    /// The changes in the tile: places and differences.
    found: Vec<(u16, i64)>,
    tile: Tile,
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
            tile: Tile::new(),
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

    /// Goes on to the next tile.
    fn start_tile(&mut self, search: Search<'_>, words: &[u8]) {
        self.time = self.end();
        self.tile.set(search.platform, search.form, search.tables, words);
        self.group = 0;
        self.found.clear();
    }

    /// The time at the end of the tile.
    #[inline(always)]
    fn end(&self) -> u64 {
        self.time + u64::from(self.tile.total)
    }

    /// Whether the next thing happens in the tile.
    #[inline(always)]
    fn is_in_tile(&self) -> bool {
        self.next + u64::from(self.is_change) <= self.end()
    }

    /// Whether the next thing is a change in the tile.
    #[inline(always)]
    fn has_change(&self) -> bool {
        self.is_change && self.next < self.end()
    }

    /// Takes the next thing, which happens in the tile.
    #[inline(always)]
    fn step(&mut self, kernels: impl Kernels, tables: &Tables, rows: &[Magnitudes]) {
        if self.is_change {
            take_changes(kernels, array::from_mut(self), tables, rows);
        } else {
            self.coder.take(Interval { start: 0, size: AT_LIMIT, bits: clock::BITS });
            self.last = self.next;
            self.look();
        }
    }

    /// The interval of a change of this word.
    #[inline(always)]
    fn interval(&self, word: tile::Found) -> Interval {
        let [start, end] = [word.start, word.end].map(|time| self.time + u64::from(time));
        let low = longer((end - self.last).min(LIMIT));
        let size = longer(start.saturating_sub(self.last)) - low;
        Interval { start: low, size, bits: clock::BITS }
    }

    /// Moves what was found in the tile, whose first word has the number `first`.
    fn end_tile(&self, form: Form, words: &[u8], first: usize, found: &mut Found) {
        found.indices.extend(self.found.iter().map(|(place, _)| first as u32 + u32::from(*place)));
        by_width!(form, B => {
            let words = words.as_chunks::<B>().0;
            let start = found.values.len();
            found.values.resize(start + B * self.found.len(), 0);
            let values = found.values[start..].as_chunks_mut::<B>().0;
            for (value, (place, difference)) in values.iter_mut().zip(&self.found) {
                let base = word(&words[usize::from(*place)]);
                set_word(value, form.moved(base, *difference));
            }
        });
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
    tables: &Tables,
    rows: &[Magnitudes],
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
    let rows: [_; N] = array::from_fn(|number| {
        let class = chains[number].tile.classes[words[number].place];
        &rows[usize::from(tables.magnitudes[usize::from(class)])]
    });
    for (number, chain) in chains.iter_mut().enumerate() {
        let (word, difference) = (words[number], rows[number].pull(&mut chain.coder));
        chain.found.push((word.place as u16, difference));
        (chain.last, chain.group) = (chain.time + u64::from(word.end), groups[number]);
        chain.look();
    }
}

/// How changes are searched for.
#[derive(Debug, Clone, Copy)]
struct Search<'a> {
    platform: Platform,
    form: Form,
    tables: &'a Tables,
}

impl Search<'_> {
    /// Goes through a row of tiles at a time, one for each chain. Within a row the chains take turns: what one waits for,
    /// the others have time to do.
    fn find_changes(
        self,
        base: &[u8],
        chains: &mut [Chain<'_>],
        changes: usize,
        found: &mut Found,
        mut take_row: impl FnMut(Row<'_>),
    ) -> Result<()> {
        let rows = rows(self.form.bytes());
        let tile_bytes = TILE * self.form.bytes();
        let row_bytes = tile_bytes * chains.len();
        for (number, row) in base.chunks(row_bytes).enumerate() {
            let first = number * chains.len() * TILE;
            let tiles = row.chunks(tile_bytes);
            let busy = &mut chains[..tiles.len()];
            for (chain, words) in busy.iter_mut().zip(tiles.clone()) {
                chain.start_tile(self, words);
            }
            let behind = &base[number * row_bytes + row.len()..];
            let ahead = &behind[..behind.len().min(row_bytes)];
            let turns = Turns { chains: &mut *busy, tables: self.tables, rows, ahead };
            deltas::run(self.platform, turns);
            let start = found.indices.len();
            for (tile, (chain, words)) in busy.iter().zip(tiles).enumerate() {
                chain.coder.check()?;
                chain.end_tile(self.form, words, first + tile * TILE, found);
            }
            if found.indices.len() > changes {
                return Err(Error::malformed(WHAT, 0, "more changes than are announced"));
            }
            take_row(Row {
                first: first as u32,
                base: row,
                indices: &found.indices[start..],
                values: &found.values[start * self.form.bytes()..],
            });
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
}

/// Turns of the chains in a row of tiles.
struct Turns<'c, 'a> {
    chains: &'c mut [Chain<'a>],
    tables: &'c Tables,
    rows: &'c [Magnitudes],
    /// The next row of the base, fetched meanwhile.
    ahead: &'c [u8],
}

/// Bytes of the next row that are fetched in a turn of all chains.
const FETCHED: usize = 1 << 10;

impl Job for Turns<'_, '_> {
    type Output = ();

    /// Takes everything that happens in the row.
    #[inline(always)]
    fn run(self, kernels: impl Kernels) {
        let Self { chains, tables, rows, mut ahead } = self;
        loop {
            if let Some((now, later)) = ahead.split_first_chunk::<FETCHED>() {
                kernels.fetch(now);
                ahead = later;
            }
            if let Ok(four) = <&mut [_; MAX_CHAINS]>::try_from(&mut *chains)
                && four.iter().all(Chain::has_change)
            {
                take_changes(kernels, four, tables, rows);
                continue;
            }
            let mut idle = true;
            for chain in &mut *chains {
                if chain.is_in_tile() {
                    chain.step(kernels, tables, rows);
                    idle = false;
                }
            }
            if idle {
                return;
            }
        }
    }
}
