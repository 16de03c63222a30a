//! Bitmaps and what they leave: a layout for the lane coder.
//!
//! # The layout
//!
//! A byte for each state (`zigzag`; 255 for what needs more). A *split* takes the zeros out: it leaves a
//! plane of *masks*, a bit for each byte that is 1 where it is not 0, and a plane of the bytes that are not, less 1.
//! Masks are bytes; where most of them are 0 too, they are split again, and so on:
//!
//! ```text
//! states ─┬─ not 0
//!         └─ masks ─┬─ not 0
//!                   └─ masks of masks …
//! ```
//!
//! Each plane is a plane of bytes for the lane coder, with a codebook of its own. A mask is a symbol for
//! eight neighbours at once, so no state costs a whole bit as it does in any code for single states: with
//! 90 % zeros in any order, a mask costs what its entropy is to within a percent. Runs need no symbols;
//! splitting and joining is one compress and one expand instruction for 64 bytes. What decides how
//! often to split is the price of the planes.
//!
//! # The bytes
//!
//! ```text
//! number of states   variable-length
//! kind               0: codebooks inside, 1: fixed codebooks, then 4 bytes of their id
//! blocks of 2^20 states:
//!     depth          how often the block is split
//!     wide           number of states of byte 255, and for each its number less 255 (all variable-length)
//!     planes         the masks of the last split first, what is not 0 in the states last
//! ```
//!
//! How long a plane is follows from the planes before it. See `plane.rs` for their bytes.

mod books;
mod made;
mod plane;
mod split;

use std::sync::{Arc, Mutex};

use self::plane::{Blocks, PlaneBook, Planes};
use self::split::SLACK;
use super::super::states::{State, States, StatesMut, with_states};
use super::fixed::check_id;
use super::{Sizes, StateEncoder, malformed, put_count, read_count, too_wide, unzigzag, zigzag};
use crate::bytes;
use crate::error::{Error, Result};
use crate::platform::Platform;
use crate::stats::Histogram;
use crate::wire::{Reader, put_varint};

pub use books::BitmapBooks;

/// States of a block: a byte each, they and their planes stay in the L2 cache.
const BLOCK: usize = 1 << 20;

/// The most splits: a mask of the last one stands for 4096 states.
pub(super) const MAX_DEPTH: usize = 4;

/// The byte of states that need more than a byte.
const WIDE: u8 = 255;

/// How often the zeros are split off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Depth {
    /// As often as it pays.
    #[default]
    Auto,
    /// So often, at most 4 times; 0 is plain Huffman in lanes.
    Splits(u8),
}

/// Bitmaps of zeros and the other states, in lanes: the fast one.
#[derive(Debug)]
pub struct Bitmap {
    platform: Platform,
    depth: Depth,
    books: Option<Arc<BitmapBooks>>,
    /// The planes of an earlier call, whose memory a later one uses.
    spare: Mutex<Option<Box<Block>>>,
}

impl Clone for Bitmap {
    fn clone(&self) -> Self {
        let books = self.books.clone();
        Self { platform: self.platform, depth: self.depth, books, spare: Mutex::default() }
    }
}

impl Default for Bitmap {
    fn default() -> Self {
        let platform = Platform::detect();
        Self { platform, depth: Depth::Auto, books: None, spare: Mutex::default() }
    }
}

impl Bitmap {
    /// With codebooks that both ends hold: none is made, and none is sent.
    #[must_use]
    pub fn with_books(books: Arc<BitmapBooks>) -> Self {
        Self { books: Some(books), ..Self::default() }
    }

    /// With so many splits; fixed codebooks bring their own number.
    #[must_use]
    pub const fn with_depth(mut self, depth: Depth) -> Self {
        self.depth = depth;
        self
    }

    /// On a platform of the caller's choice. The bytes do not depend on it.
    #[must_use]
    pub const fn with_platform(mut self, platform: Platform) -> Self {
        self.platform = platform;
        self
    }
}

impl StateEncoder for Bitmap {
    fn name(&self) -> &'static str {
        if self.books.is_some() { "bitmap-fixed" } else { "bitmap" }
    }

    fn encode(&self, states: States<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
        if let Depth::Splits(splits) = self.depth
            && usize::from(splits) > MAX_DEPTH
        {
            return Err(Error::option(format!("{splits} splits; at most {MAX_DEPTH}")));
        }
        let start = out.len();
        put_count(out, states.len());
        if states.is_empty() {
            return Ok(Sizes { total: out.len() - start, codebook: 0 });
        }
        match &self.books {
            None => out.push(0),
            Some(books) => {
                out.push(1);
                out.extend_from_slice(&books.id().0[..4]);
            }
        }
        let mut block = self.block(states.len().min(BLOCK));
        let mut blocks = Blocks::new(self.platform);
        // The last one first, as lanes want it.
        for index in (0..states.len().div_ceil(BLOCK)).rev() {
            let part = states.slice(index * BLOCK, (index + 1) * BLOCK);
            self.encode_block(part, &mut block, &mut blocks)?;
        }
        let codebook = blocks.finish(out);
        self.keep(block);
        Ok(Sizes { total: out.len() - start, codebook })
    }

    fn decode(&self, stream: &[u8], states: StatesMut<'_>) -> Result<()> {
        let mut reader = read_count(stream, states.len())?;
        if states.is_empty() {
            return reader.finish();
        }
        let books = match (reader.u8()?, &self.books) {
            (0, _) => None,
            (1, Some(books)) => {
                check_id(reader.array()?, books.id())?;
                Some(&**books)
            }
            (1, None) => return Err(malformed("it needs fixed codebooks, and none are at hand")),
            _ => return Err(malformed("a kind of bitmap that this version does not know")),
        };
        with_states!(StatesMut, states, states => self.decode_blocks(reader, books, states))
    }
}

impl Bitmap {
    /// Planes for blocks of so many states.
    fn block(&self, count: usize) -> Box<Block> {
        let spare = self.spare.lock().ok().and_then(|mut spare| spare.take());
        let mut block = spare.unwrap_or_default();
        block.count = count;
        block
    }

    fn keep(&self, block: Box<Block>) {
        if let Ok(mut spare) = self.spare.lock() {
            *spare = Some(block);
        }
    }

    fn encode_block(
        &self,
        states: States<'_>,
        block: &mut Block,
        blocks: &mut Blocks,
    ) -> Result<()> {
        let platform = self.platform;
        blocks.begin(states.len());
        let depth = match (&self.books, self.depth) {
            (Some(books), _) => {
                block.take(platform, states, books.depth());
                for (plane, book) in books.books().iter().enumerate() {
                    blocks.push(block.plane(plane, books.depth()), &PlaneBook::Fixed(book))?;
                }
                books.depth()
            }
            (None, Depth::Splits(splits)) => {
                let depth = usize::from(splits);
                block.take(platform, states, depth);
                for plane in 0..=depth {
                    let bytes = block.plane(plane, depth);
                    let book = PlaneBook::made(&Histogram::of(bytes));
                    blocks.push(bytes, &book)?;
                }
                depth
            }
            (None, Depth::Auto) => {
                let counts = block.take_as_pays(platform, states, 1);
                let depth = counts.len() - 1;
                for (plane, counts) in counts.iter().enumerate() {
                    blocks.push(block.plane(plane, depth), &PlaneBook::made(counts))?;
                }
                depth
            }
        };
        block.find_wide(platform, states, depth);
        let head = blocks.head();
        head.push(depth as u8);
        put_varint(head, block.wide.len() as u64);
        for &more in &block.wide {
            put_varint(head, more.into());
        }
        Ok(())
    }

    fn decode_blocks<S: State>(
        &self,
        mut reader: Reader<'_>,
        books: Option<&BitmapBooks>,
        states: &mut [S],
    ) -> Result<()> {
        let size = states.len().min(BLOCK);
        let mut block = self.block(size);
        let mut planes = Planes::new(self.platform);
        for states in states.chunks_mut(size.max(1)) {
            let depth = usize::from(reader.u8()?);
            if depth > MAX_DEPTH || books.is_some_and(|books| books.depth() != depth) {
                return Err(malformed(format!("a block that was split {depth} times")));
            }
            let wide = reader.size()?;
            let mut wide_reader = reader.clone();
            for _ in 0..wide {
                reader.varint()?;
            }
            block.count = states.len();
            block.reserve(depth);
            // From the masks of the last split down to the states.
            let mut due = (0..depth).fold(states.len(), |length, _| length.div_ceil(8));
            for plane in (1..=depth).rev() {
                match planes.constant(&mut reader, due) {
                    // Nothing but zeros, and nothing of the planes below.
                    Some(0) if plane == depth => {
                        due = 0;
                        break;
                    }
                    Some(byte) => block.room(plane, depth, due).fill(byte),
                    None => {
                        let book = books.map(|books| &books.books()[plane]);
                        planes.pull(&mut reader, book, block.room(plane, depth, due))?;
                    }
                }
                due = block.join(self.platform, plane, depth, due)?;
            }
            let highest = match planes.constant(&mut reader, due) {
                Some(byte) if depth == 0 => {
                    states.fill(S::from_zigzag(byte));
                    byte
                }
                Some(byte) => {
                    block.room(0, depth, due).fill(byte);
                    block.give(self.platform, depth, due, states)?
                }
                None => {
                    let book = books.map(|books| &books.books()[0]);
                    planes.pull(&mut reader, book, block.room(0, depth, due))?;
                    block.give(self.platform, depth, due, states)?
                }
            };
            if highest == WIDE {
                widen(states, wide, &mut wide_reader)?;
            } else if wide > 0 {
                return Err(too_few_wide());
            }
        }
        self.keep(block);
        planes.finish()?;
        reader.finish()
    }
}

/// Bytes of the stream of states of which these are a sample.
pub(super) fn estimate(sample: States<'_>, scale: f64) -> f64 {
    let mut block = Block::default();
    // A block has a million states at most, and each has codebooks of its own.
    let blocks = (sample.len() as f64 * scale / BLOCK as f64).max(1.0);
    let planes =
        block.take_as_pays(Platform::detect(), sample, (scale / blocks).round().max(1.0) as u64);
    blocks * (planes.iter().map(made::price).sum::<f64>() + 2.0 * planes.len() as f64)
}

/// The planes of a block on their way to or from bytes.
#[derive(Debug, Default)]
struct Block {
    /// States in the block.
    count: usize,
    /// By number of splits: the states, the masks of the first split, of the second …
    levels: [Vec<u8>; MAX_DEPTH + 1],
    /// By number of splits: the bytes of a level that are not 0, less 1.
    kept: [Vec<u8>; MAX_DEPTH],
    /// How many these are.
    kept_count: [usize; MAX_DEPTH],
    /// What states of byte 255 are beyond it.
    wide: Vec<u32>,
}

impl Block {
    /// Makes room for the levels of a block.
    fn reserve(&mut self, depth: usize) {
        let mut length = self.count;
        for level in 0..=depth {
            grow(&mut self.levels[level], length);
            if level < depth {
                grow(&mut self.kept[level], length + SLACK);
            }
            length = length.div_ceil(8);
        }
    }

    /// Bytes of a level.
    fn length(&self, level: usize) -> usize {
        (0..level).fold(self.count, |length, _| length.div_ceil(8))
    }

    fn level(&self, level: usize) -> &[u8] {
        &self.levels[level][..self.length(level)]
    }

    /// The plane that is coded: what a level keeps, or all of the last one.
    fn plane(&self, plane: usize, depth: usize) -> &[u8] {
        if plane == depth { self.level(plane) } else { &self.kept[plane][..self.kept_count[plane]] }
    }

    /// Takes states in as bytes, without a split.
    fn take_whole(&mut self, platform: Platform, states: States<'_>) {
        let bytes = &mut self.levels[0][..states.len()];
        with_states!(States, states, states => platform.run(|| {
            for (byte, &state) in bytes.iter_mut().zip(states) {
                *byte = state.to_zigzag();
            }
        }));
    }

    /// Takes states in, split for the first time: level 1 and what level 0 keeps.
    fn take_split(&mut self, platform: Platform, states: States<'_>) {
        let masks = &mut self.levels[1][..states.len().div_ceil(8)];
        self.kept_count[0] = split::split_states(platform, states, masks, &mut self.kept[0]);
    }

    /// Takes states in and splits so often.
    fn take(&mut self, platform: Platform, states: States<'_>, depth: usize) {
        self.count = states.len();
        self.reserve(depth);
        if depth == 0 {
            return self.take_whole(platform, states);
        }
        self.take_split(platform, states);
        (1..depth).for_each(|level| self.split_level(platform, level));
    }

    /// Remembers what states of byte 255 are beyond it.
    fn find_wide(&mut self, platform: Platform, states: States<'_>, depth: usize) {
        self.wide.clear();
        let highest = highest(platform, self.plane(0, depth));
        if highest == if depth == 0 { WIDE } else { WIDE - 1 } {
            with_states!(States, states, states => self.wide.extend(beyond_a_byte(states)));
        }
    }

    /// Splits a level above the states.
    fn split_level(&mut self, platform: Platform, level: usize) {
        let length = self.length(level);
        let (low, high) = self.levels.split_at_mut(level + 1);
        let masks = &mut high[0][..length.div_ceil(8)];
        let bytes = &low[level][..length];
        self.kept_count[level] = split::split(platform, bytes, masks, &mut self.kept[level]);
    }

    /// Counts of what a level keeps, and of the level, from those; every byte counts `scale` times.
    fn counts(&self, platform: Platform, level: usize, scale: u64) -> [Histogram; 2] {
        let kept = &self.kept[level][..self.kept_count[level]];
        // The kernel for vectors is quick where few values occur, which is not so with masks.
        let quick = if level == 0 { platform } else { Platform::Portable };
        let kept = scaled(bytes::histogram(quick, kept), scale);
        let zeros = (self.length(level) - self.kept_count[level]) as u64 * scale;
        let all = joined(&kept, zeros);
        [kept, all]
    }

    /// Takes states in and splits as often as it pays; returns the counts of the planes. Every state counts
    /// `scale` times, as it does when they are a sample.
    fn take_as_pays(
        &mut self,
        platform: Platform,
        states: States<'_>,
        scale: u64,
    ) -> Vec<Histogram> {
        self.count = states.len();
        self.reserve(MAX_DEPTH);
        self.take_split(platform, states);
        let mut planes = Vec::new();
        // What is not 0 is moved together anyway, and the others need not be looked at again.
        let [mut kept, mut all] = self.counts(platform, 0, scale);
        let mut price = made::price(&all);
        loop {
            let level = planes.len();
            let above = level + 1;
            let [next_kept, masks] = if above < MAX_DEPTH {
                self.split_level(platform, above);
                self.counts(platform, above, scale)
            } else {
                let masks = scaled(bytes::histogram(Platform::Portable, self.level(above)), scale);
                [Histogram::default(), masks]
            };
            let price_of_masks = made::price(&masks);
            // Where all is 0, that is told by masks at the same price, and no bytes need be written.
            let is_empty = level == 0 && kept.total() == 0;
            if !is_empty && made::price(&kept) + price_of_masks >= price {
                if level == 0 {
                    self.take_whole(platform, states);
                }
                break;
            }
            planes.push(kept);
            (kept, all, price) = (next_kept, masks, price_of_masks);
            if above == MAX_DEPTH {
                break;
            }
        }
        planes.push(all);
        planes
    }

    /// Where a decoded plane goes.
    fn room(&mut self, plane: usize, depth: usize, due: usize) -> &mut [u8] {
        if plane == depth {
            &mut self.levels[plane][..due]
        } else {
            self.kept_count[plane] = due;
            &mut self.kept[plane][..due]
        }
    }

    /// Makes a level above the states of its plane and the masks above; returns how many bytes the plane
    /// below has.
    fn join(
        &mut self,
        platform: Platform,
        plane: usize,
        depth: usize,
        due: usize,
    ) -> Result<usize> {
        let length = self.length(plane);
        let mut others = None;
        if plane < depth {
            let (low, high) = self.levels.split_at_mut(plane + 1);
            let masks = &high[0][..length.div_ceil(8)];
            let kept = &self.kept[plane][..due];
            if highest(platform, kept) == u8::MAX {
                return Err(zero_among_others());
            }
            split::join(platform, masks, kept, &mut low[plane][..length]);
            // Masks that are not 0 are far fewer than all.
            others =
                Some(platform.run(|| {
                    kept.iter().map(|less| less.wrapping_add(1).count_ones() as usize).sum()
                }));
        }
        let masks = self.level(plane);
        let below = self.length(plane - 1);
        // The last mask may have fewer than eight bits.
        let last = masks.last().copied().unwrap_or(0);
        if !below.is_multiple_of(8) && last >> (below % 8) != 0 {
            return Err(malformed("a mask that goes beyond the last state"));
        }
        if let Some(others) = others {
            return Ok(others);
        }
        let (words, rest) = masks.as_chunks::<8>();
        Ok(platform.run(|| {
            let words = words.iter().map(|word| u64::from_le_bytes(*word).count_ones() as usize);
            let rest = rest.iter().map(|mask| mask.count_ones() as usize);
            words.sum::<usize>() + rest.sum::<usize>()
        }))
    }

    /// Gives states out, -128 for what needs more than a byte; returns the highest byte of any.
    fn give<S: State>(
        &self,
        platform: Platform,
        depth: usize,
        due: usize,
        states: &mut [S],
    ) -> Result<u8> {
        if depth == 0 {
            let bytes = self.level(0);
            platform.run(|| {
                for (state, &byte) in states.iter_mut().zip(bytes) {
                    *state = S::from_zigzag(byte);
                }
            });
            return Ok(highest(platform, bytes));
        }
        if due == 0 {
            states.fill(S::default());
            return Ok(0);
        }
        let kept = &self.kept[0][..due];
        let highest = highest(platform, kept).checked_add(1).ok_or_else(zero_among_others)?;
        split::join_states(platform, self.level(1), kept, S::view_mut(states));
        Ok(highest)
    }
}

/// By how much states that need more than a byte are beyond it.
fn beyond_a_byte<S: State>(states: &[S]) -> impl Iterator<Item = u32> {
    states.iter().filter_map(|&state| zigzag(state.into()).checked_sub(WIDE.into()))
}

/// Puts states that need more than a byte in their places.
fn widen<S: State>(states: &mut [S], wide: usize, reader: &mut Reader<'_>) -> Result<()> {
    let mut due = 0;
    for state in states.iter_mut().filter(|state| **state == S::from_zigzag(WIDE)) {
        due += 1;
        if due > wide {
            return Err(malformed("more states beyond a byte than it says"));
        }
        let more = u32::try_from(reader.varint()?).ok();
        let number = more.and_then(|more| more.checked_add(WIDE.into()));
        let number = number.ok_or_else(|| malformed("a state beyond 32 bits"))?;
        let wide = unzigzag(number);
        *state = S::narrow(wide).ok_or_else(|| too_wide(wide))?;
    }
    if due < wide { Err(too_few_wide()) } else { Ok(()) }
}

#[cold]
fn too_few_wide() -> Error {
    malformed("fewer states beyond a byte than it says")
}

#[cold]
fn zero_among_others() -> Error {
    malformed("a 0 where the masks have none")
}

/// The highest byte; 0 if there is none.
fn highest(platform: Platform, bytes: &[u8]) -> u8 {
    platform.run(|| bytes.iter().fold(0, |highest, &byte| byte.max(highest)))
}

fn scaled(counts: [u32; 256], scale: u64) -> Histogram {
    Histogram::from_counts(counts.map(|count| u64::from(count) * scale))
}

/// Counts of what is left of a level, as those of the level itself.
fn joined(kept: &Histogram, zeros: u64) -> Histogram {
    let mut counts = [zeros; 256];
    counts[1..].copy_from_slice(&kept.counts()[..255]);
    Histogram::from_counts(counts)
}

fn grow(bytes: &mut Vec<u8>, length: usize) {
    if bytes.len() < length {
        bytes.resize(length, 0);
    }
}
