//! Decoding of sparse blocks, whose bytes may be hostile.

use super::super::form::{Form, by_width, set_word, word};
use super::super::header::WHAT;
use super::clock::{self, AT_LIMIT, LIMIT, longer, time};
use super::magnitude::{Row, rows};
use super::model::{Model, Tables};
use super::rans::{Decoder, Interval};
use super::tile::Tile;
use super::{MAX_CHAINS, TILE};
use crate::error::{Error, Result};
use crate::kernels::deltas::GROUP;
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

/// Decodes the payload of a sparse block, which must hold so many changes. `sent` tells whether its levels are sent.
pub(in super::super) fn decode(
    platform: Platform,
    form: Form,
    sent: bool,
    payload: &[u8],
    base: &[u8],
    changes: u32,
    found: &mut Found,
) -> Result<()> {
    let mut reader = Reader::new(WHAT, payload);
    let model = Model::read(&mut reader, form, sent)?;
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
    found.clear();
    find_changes(platform, form, &model.tables(), base, &mut chains, changes as usize, found)
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
        let (found, tile) = (Vec::new(), Tile::new());
        let mut chain =
            Self { coder, time: 0, last: 0, next: 0, is_change: false, group: 0, found, tile };
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

    /// Whether the next thing happens in the tile.
    #[inline(always)]
    fn is_in_tile(&self) -> bool {
        let end = self.time + u64::from(self.tile.total);
        if self.is_change { self.next < end } else { self.next <= end }
    }

    /// Takes the next thing, which happens in the tile.
    #[inline(always)]
    fn step(&mut self, tables: &Tables, rows: &[Row]) -> Result<()> {
        if !self.is_change {
            self.coder.take(Interval { start: 0, size: AT_LIMIT, bits: clock::BITS })?;
            self.last = self.next;
            self.look();
            return Ok(());
        }
        // Nothing happens before the tile: it would have happened in the one before.
        let next = (self.next - self.time) as u32;
        let word = self.tile.find(tables, self.group, next);
        let (start, end) = (self.time + u64::from(word.start), self.time + u64::from(word.end));
        let low = longer((end - self.last).min(LIMIT));
        let size = longer(start.saturating_sub(self.last)) - low;
        self.coder.take(Interval { start: low, size, bits: clock::BITS })?;
        let class = usize::from(self.tile.classes[word.place]);
        let row = &rows[usize::from(tables.magnitudes[class])];
        let difference = row.pull(&mut self.coder)?;
        self.found.push((word.place as u16, difference));
        (self.last, self.group) = (end, word.place / GROUP);
        self.look();
        Ok(())
    }

    /// Moves what was found in the tile, whose first word has the number `first`, and goes on to the next.
    fn end_tile(&mut self, form: Form, words: &[u8], first: usize, found: &mut Found) {
        by_width!(form, B => {
            let words = words.as_chunks::<B>().0;
            for &(place, difference) in &self.found {
                let place = usize::from(place);
                let mut value = [0; B];
                set_word(&mut value, form.moved(word(&words[place]), difference));
                found.indices.push((first + place) as u32);
                found.values.extend_from_slice(&value);
            }
        });
        self.found.clear();
        self.time += u64::from(self.tile.total);
        self.group = 0;
    }

    /// Takes the end of the chain.
    fn finish(&mut self) -> Result<()> {
        let size = longer(self.time - self.last);
        self.coder.take(Interval { start: 0, size, bits: clock::BITS })?;
        self.coder.finish()
    }
}

/// Goes through a row of tiles at a time, one for each chain. Within a row the chains take turns: what one waits for,
/// the others have time to do.
fn find_changes(
    platform: Platform,
    form: Form,
    tables: &Tables,
    base: &[u8],
    chains: &mut [Chain<'_>],
    changes: usize,
    found: &mut Found,
) -> Result<()> {
    let rows = rows(form.bytes());
    let tile_bytes = TILE * form.bytes();
    let mut first = 0;
    for row in base.chunks(tile_bytes * chains.len()) {
        let tiles = row.chunks(tile_bytes);
        let busy = tiles.len();
        for (chain, words) in chains.iter_mut().zip(tiles.clone()) {
            chain.tile.set(platform, form, tables, words);
        }
        platform.run(
            #[inline(always)]
            || take_turns(&mut chains[..busy], tables, rows),
        )?;
        for (chain, words) in chains.iter_mut().zip(tiles) {
            chain.end_tile(form, words, first, found);
            first += TILE;
        }
        if found.indices.len() > changes {
            return Err(Error::malformed(WHAT, 0, "more changes than are announced"));
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

/// Takes everything that happens in a row of tiles.
#[inline(always)]
fn take_turns(chains: &mut [Chain<'_>], tables: &Tables, rows: &[Row]) -> Result<()> {
    loop {
        let mut idle = true;
        for chain in &mut *chains {
            if chain.is_in_tile() {
                chain.step(tables, rows)?;
                idle = false;
            }
        }
        if idle {
            return Ok(());
        }
    }
}
