//! Bitmaps and what they leave: a layout for the lane coder.
//!
//! # The layout
//!
//! A byte for each value (`zigzag`; 255 for what needs more). A *split* takes the zeros out: it leaves a
//! plane of *masks*, a bit for each byte that is 1 where it is not 0, and a plane of the bytes that are not, less 1.
//! Masks are bytes; where most of them are 0 too, they are split again, and so on:
//!
//! ```text
//! values ─┬─ not 0
//!         └─ masks ─┬─ not 0
//!                   └─ masks of masks …
//! ```
//!
//! Each plane is a plane of bytes for the lane coder, with a codebook of its own. A mask is a symbol for
//! eight neighbours at once, so no value costs a whole bit as it does in any code for single values: with
//! 90 % zeros in any order, a mask costs what its entropy is to within a percent. Runs need no symbols;
//! splitting and joining is one compress and one expand instruction for 64 bytes. What decides how
//! often to split is the price of the planes.
//!
//! # The bytes
//!
//! ```text
//! number of values   variable-length
//! kind               0: codebooks inside, 1: fixed codebooks, then 4 bytes of their id
//! blocks of 2^20 values:
//!     depth          how often the block is split
//!     wide           number of values of byte 255, and for each its number less 255 (all variable-length)
//!     planes         the masks of the last split first, what is not 0 in the values last
//! ```
//!
//! How long a plane is follows from the planes before it. See `plane.rs` for their bytes.

mod books;
mod fitted;
mod plane;
mod split;

use std::sync::{Arc, Mutex};

use self::plane::{Blocks, PlaneBook, Planes};
use self::split::SLACK;
use super::super::values::{Value, Values, ValuesMut, with_values};
use super::fixed::check_id;
use super::{Sizes, ValueEncoder, malformed, put_count, read_count, too_wide, unzigzag, zigzag};
use crate::bytes;
use crate::codebook::CodebookSet;
use crate::error::{Error, Result};
use crate::format::reader::{Reader, put_varint};
use crate::platform::Platform;
use crate::pmf::Histogram;

pub use books::BitmapBooks;

/// Values of a block: a byte each, they and their planes stay in the L2 cache.
const BLOCK: usize = 1 << 20;

/// The most splits: a mask of the last one stands for 4096 values.
pub(super) const MAX_DEPTH: usize = 4;

/// The byte of values that need more than a byte.
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

/// Bitmaps of zeros and the other values, in lanes: the fast one.
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

impl ValueEncoder for Bitmap {
    fn name(&self) -> &'static str {
        if self.books.is_some() { "bitmap-fixed" } else { "bitmap" }
    }

    fn encode(&self, values: Values<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
        if let Depth::Splits(splits) = self.depth
            && usize::from(splits) > MAX_DEPTH
        {
            return Err(Error::option(format!("{splits} splits; at most {MAX_DEPTH}")));
        }
        let start = out.len();
        put_count(out, values.len());
        if values.is_empty() {
            return Ok(Sizes { total: out.len() - start, codebook: 0 });
        }
        match &self.books {
            None => out.push(0),
            Some(books) => {
                out.push(1);
                out.extend_from_slice(&books.set().id().short());
            }
        }
        let mut block = self.block(values.len().min(BLOCK));
        let mut blocks = Blocks::new(self.platform);
        // The last one first, as lanes want it.
        for index in (0..values.len().div_ceil(BLOCK)).rev() {
            let part = values.slice(index * BLOCK, (index + 1) * BLOCK);
            self.encode_block(part, &mut block, &mut blocks)?;
        }
        let codebook = blocks.finish(out);
        self.keep(block);
        Ok(Sizes { total: out.len() - start, codebook })
    }

    fn decode(&self, stream: &[u8], values: ValuesMut<'_>) -> Result<()> {
        let mut reader = read_count(stream, values.len())?;
        if values.is_empty() {
            return reader.finish();
        }
        let books = match (reader.u8()?, &self.books) {
            (0, _) => None,
            (1, Some(books)) => {
                check_id(reader.array()?, books.set().id())?;
                Some(books.set())
            }
            (1, None) => return Err(malformed("it needs fixed codebooks, and none are at hand")),
            _ => return Err(malformed("a kind of bitmap that this version does not know")),
        };
        with_values!(ValuesMut, values, values => self.decode_blocks(reader, books, values))
    }
}

impl Bitmap {
    /// Planes for blocks of so many values.
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
        values: Values<'_>,
        block: &mut Block,
        blocks: &mut Blocks,
    ) -> Result<()> {
        let platform = self.platform;
        blocks.begin(values.len());
        let depth = match (&self.books, self.depth) {
            (Some(books), _) => {
                block.take(platform, values, books.depth());
                for (plane, &number) in books.layers().iter().enumerate() {
                    let book = PlaneBook::Fixed(number, books.set().book(number)?);
                    blocks.push(block.plane(plane, books.depth()), &book)?;
                }
                books.depth()
            }
            (None, Depth::Splits(splits)) => {
                let depth = usize::from(splits);
                block.take(platform, values, depth);
                for plane in 0..=depth {
                    let bytes = block.plane(plane, depth);
                    let book = PlaneBook::fitted(&Histogram::of(bytes));
                    blocks.push(bytes, &book)?;
                }
                depth
            }
            (None, Depth::Auto) => {
                let counts = block.take_as_pays(platform, values, 1);
                let depth = counts.len() - 1;
                for (plane, counts) in counts.iter().enumerate() {
                    blocks.push(block.plane(plane, depth), &PlaneBook::fitted(counts))?;
                }
                depth
            }
        };
        block.find_wide(platform, values, depth);
        let head = blocks.head();
        head.push(depth as u8);
        put_varint(head, block.wide.len() as u64);
        for &more in &block.wide {
            put_varint(head, more.into());
        }
        Ok(())
    }

    fn decode_blocks<S: Value>(
        &self,
        mut reader: Reader<'_>,
        books: Option<&CodebookSet>,
        values: &mut [S],
    ) -> Result<()> {
        let size = values.len().min(BLOCK);
        let mut block = self.block(size);
        let mut planes = Planes::new(self.platform);
        for values in values.chunks_mut(size.max(1)) {
            let depth = usize::from(reader.u8()?);
            if depth > MAX_DEPTH {
                return Err(malformed(format!("a block that was split {depth} times")));
            }
            let wide = reader.size()?;
            let mut wide_reader = reader.clone();
            for _ in 0..wide {
                reader.varint()?;
            }
            block.count = values.len();
            block.reserve(depth);
            // From the masks of the last split down to the values.
            let mut due = (0..depth).fold(values.len(), |length, _| length.div_ceil(8));
            for plane in (1..=depth).rev() {
                match planes.constant(&mut reader, due) {
                    // Nothing but zeros, and nothing of the planes below.
                    Some(0) if plane == depth => {
                        due = 0;
                        break;
                    }
                    Some(byte) => block.room(plane, depth, due).fill(byte),
                    None => {
                        planes.pull(&mut reader, books, block.room(plane, depth, due))?;
                    }
                }
                due = block.join(self.platform, plane, depth, due)?;
            }
            let highest = match planes.constant(&mut reader, due) {
                Some(byte) if depth == 0 => {
                    values.fill(S::from_zigzag(byte));
                    byte
                }
                Some(byte) => {
                    block.room(0, depth, due).fill(byte);
                    block.give(self.platform, depth, due, values)?
                }
                None => {
                    planes.pull(&mut reader, books, block.room(0, depth, due))?;
                    block.give(self.platform, depth, due, values)?
                }
            };
            if highest == WIDE {
                widen(values, wide, &mut wide_reader)?;
            } else if wide > 0 {
                return Err(too_few_wide());
            }
        }
        self.keep(block);
        planes.finish()?;
        reader.finish()
    }
}

/// Bytes of the stream of values of which these are a sample.
pub(super) fn estimate(sample: Values<'_>, scale: f64) -> f64 {
    let mut block = Block::default();
    // A block has a million values at most, and each has codebooks of its own.
    let blocks = (sample.len() as f64 * scale / BLOCK as f64).max(1.0);
    let planes =
        block.take_as_pays(Platform::detect(), sample, (scale / blocks).round().max(1.0) as u64);
    blocks * (planes.iter().map(fitted::price).sum::<f64>() + 2.0 * planes.len() as f64)
}

/// The planes of a block on their way to or from bytes.
#[derive(Debug, Default)]
struct Block {
    /// Values in the block.
    count: usize,
    /// By number of splits: the values, the masks of the first split, of the second …
    layers: [Vec<u8>; MAX_DEPTH + 1],
    /// By number of splits: the bytes of a layer that are not 0, less 1.
    kept: [Vec<u8>; MAX_DEPTH],
    /// How many these are.
    kept_count: [usize; MAX_DEPTH],
    /// What values of byte 255 are beyond it.
    wide: Vec<u32>,
}

impl Block {
    /// Makes room for the layers of a block.
    fn reserve(&mut self, depth: usize) {
        let mut length = self.count;
        for layer in 0..=depth {
            grow(&mut self.layers[layer], length);
            if layer < depth {
                grow(&mut self.kept[layer], length + SLACK);
            }
            length = length.div_ceil(8);
        }
    }

    /// Bytes of a layer.
    fn length(&self, layer: usize) -> usize {
        (0..layer).fold(self.count, |length, _| length.div_ceil(8))
    }

    fn layer(&self, layer: usize) -> &[u8] {
        &self.layers[layer][..self.length(layer)]
    }

    /// The plane that is coded: what a layer keeps, or all of the last one.
    fn plane(&self, plane: usize, depth: usize) -> &[u8] {
        if plane == depth { self.layer(plane) } else { &self.kept[plane][..self.kept_count[plane]] }
    }

    /// Takes values in as bytes, without a split.
    fn take_whole(&mut self, platform: Platform, values: Values<'_>) {
        let bytes = &mut self.layers[0][..values.len()];
        with_values!(Values, values, values => platform.run(|| {
            for (byte, &value) in bytes.iter_mut().zip(values) {
                *byte = value.to_zigzag();
            }
        }));
    }

    /// Takes values in, split for the first time: layer 1 and what layer 0 keeps.
    fn take_split(&mut self, platform: Platform, values: Values<'_>) {
        let masks = &mut self.layers[1][..values.len().div_ceil(8)];
        self.kept_count[0] = split::split_states(platform, values, masks, &mut self.kept[0]);
    }

    /// Takes values in and splits so often.
    fn take(&mut self, platform: Platform, values: Values<'_>, depth: usize) {
        self.count = values.len();
        self.reserve(depth);
        if depth == 0 {
            return self.take_whole(platform, values);
        }
        self.take_split(platform, values);
        (1..depth).for_each(|layer| self.split_layer(platform, layer));
    }

    /// Remembers what values of byte 255 are beyond it.
    fn find_wide(&mut self, platform: Platform, values: Values<'_>, depth: usize) {
        self.wide.clear();
        let highest = highest(platform, self.plane(0, depth));
        if highest == if depth == 0 { WIDE } else { WIDE - 1 } {
            with_values!(Values, values, values => self.wide.extend(beyond_a_byte(values)));
        }
    }

    /// Splits a layer above the values.
    fn split_layer(&mut self, platform: Platform, layer: usize) {
        let length = self.length(layer);
        let (low, high) = self.layers.split_at_mut(layer + 1);
        let masks = &mut high[0][..length.div_ceil(8)];
        let bytes = &low[layer][..length];
        self.kept_count[layer] = split::split(platform, bytes, masks, &mut self.kept[layer]);
    }

    /// Counts of what a layer keeps, and of the layer, from those; every byte counts `scale` times.
    fn counts(&self, platform: Platform, layer: usize, scale: u64) -> [Histogram; 2] {
        let kept = &self.kept[layer][..self.kept_count[layer]];
        // The kernel for vectors is quick where few values occur, which is not so with masks.
        let quick = if layer == 0 { platform } else { Platform::Portable };
        let kept = scaled(bytes::histogram(quick, kept), scale);
        let zeros = (self.length(layer) - self.kept_count[layer]) as u64 * scale;
        let all = joined(&kept, zeros);
        [kept, all]
    }

    /// Takes values in and splits as often as it pays; returns the counts of the planes. Every value counts
    /// `scale` times, as it does when they are a sample.
    fn take_as_pays(
        &mut self,
        platform: Platform,
        values: Values<'_>,
        scale: u64,
    ) -> Vec<Histogram> {
        self.count = values.len();
        self.reserve(MAX_DEPTH);
        self.take_split(platform, values);
        let mut planes = Vec::new();
        // What is not 0 is moved together anyway, and the others need not be looked at again.
        let [mut kept, mut all] = self.counts(platform, 0, scale);
        let mut price = fitted::price(&all);
        loop {
            let layer = planes.len();
            let above = layer + 1;
            let [next_kept, masks] = if above < MAX_DEPTH {
                self.split_layer(platform, above);
                self.counts(platform, above, scale)
            } else {
                let masks = scaled(bytes::histogram(Platform::Portable, self.layer(above)), scale);
                [Histogram::default(), masks]
            };
            let price_of_masks = fitted::price(&masks);
            // Where all is 0, that is told by masks at the same price, and no bytes need be written.
            let is_empty = layer == 0 && kept.total() == 0;
            if !is_empty && fitted::price(&kept) + price_of_masks >= price {
                if layer == 0 {
                    self.take_whole(platform, values);
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
            &mut self.layers[plane][..due]
        } else {
            self.kept_count[plane] = due;
            &mut self.kept[plane][..due]
        }
    }

    /// Makes a layer above the values of its plane and the masks above; returns how many bytes the plane
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
            let (low, high) = self.layers.split_at_mut(plane + 1);
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
        let masks = self.layer(plane);
        let below = self.length(plane - 1);
        // The last mask may have fewer than eight bits.
        let last = masks.last().copied().unwrap_or(0);
        if !below.is_multiple_of(8) && last >> (below % 8) != 0 {
            return Err(malformed("a mask that goes beyond the last value"));
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

    /// Gives values out, -128 for what needs more than a byte; returns the highest byte of any.
    fn give<S: Value>(
        &self,
        platform: Platform,
        depth: usize,
        due: usize,
        values: &mut [S],
    ) -> Result<u8> {
        if depth == 0 {
            let bytes = self.layer(0);
            platform.run(|| {
                for (value, &byte) in values.iter_mut().zip(bytes) {
                    *value = S::from_zigzag(byte);
                }
            });
            return Ok(highest(platform, bytes));
        }
        if due == 0 {
            values.fill(S::default());
            return Ok(0);
        }
        let kept = &self.kept[0][..due];
        let highest = highest(platform, kept).checked_add(1).ok_or_else(zero_among_others)?;
        split::join_states(platform, self.layer(1), kept, S::view_mut(values));
        Ok(highest)
    }
}

/// By how much values that need more than a byte are beyond it.
fn beyond_a_byte<S: Value>(values: &[S]) -> impl Iterator<Item = u32> {
    values.iter().filter_map(|&value| zigzag(value.into()).checked_sub(WIDE.into()))
}

/// Puts values that need more than a byte in their places.
fn widen<S: Value>(values: &mut [S], wide: usize, reader: &mut Reader<'_>) -> Result<()> {
    let mut due = 0;
    for value in values.iter_mut().filter(|value| **value == S::from_zigzag(WIDE)) {
        due += 1;
        if due > wide {
            return Err(malformed("more values beyond a byte than it says"));
        }
        let more = u32::try_from(reader.varint()?).ok();
        let number = more.and_then(|more| more.checked_add(WIDE.into()));
        let number = number.ok_or_else(|| malformed("a value beyond 32 bits"))?;
        let wide = unzigzag(number);
        *value = S::narrow(wide).ok_or_else(|| too_wide(wide))?;
    }
    if due < wide { Err(too_few_wide()) } else { Ok(()) }
}

#[cold]
fn too_few_wide() -> Error {
    malformed("fewer values beyond a byte than it says")
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

/// Counts of what is left of a layer, as those of the layer itself.
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
