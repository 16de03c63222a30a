//! Bitmaps: layers of masks and of values that are not 0, for the lane coder.
//!
//! # The layers
//!
//! Layer 0 has a byte for each value (`zigzag`; 255 for values that need more than a byte). A *split* of a layer takes
//! its zeros out. It leaves a plane of the bytes that are not 0, less 1, and a layer of *masks* above: a bit for each
//! byte, 1 where the byte is not 0. Masks are bytes, so where most masks are 0 their layer is split too, and so on:
//!
//! ```text
//! values ─┬─ not 0
//!         └─ masks ─┬─ not 0
//!                   └─ masks of masks …
//! ```
//!
//! The lane coder codes each plane with a codebook of its own. A mask is one symbol for eight neighbours, so a value may
//! cost less than a bit, which is impossible in a prefix code for single values: with 90 % zeros in any order, masks
//! cost their entropy to within a percent. Splitting and joining take one compress and one expand instruction for
//! 64 bytes. Layers are split as long as the estimated sizes of the planes become smaller.
//!
//! # The bytes
//!
//! ```text
//! number of values   variable-length
//! kind               0: all codebooks in the stream; 1: fixed codebooks, then 4 bytes of the id of their set
//! blocks of 2^20 values:
//!     depth          number of splits
//!     wide           number of values of byte 255, and for each its number less 255 (all variable-length)
//!     planes         the masks of the last split first, the values that are not 0 last
//! ```
//!
//! The length of a plane follows from the planes before it. See `plane.rs` for the bytes of a plane.

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
use crate::error::{Error, Result};
use crate::kernels::bytes;
use crate::kernels::platform::Platform;
use crate::set::CodebookSet;
use crate::stats::Histogram;
use crate::wire::{Reader, put_varint};

pub use books::BitmapBooks;
pub(in crate::gradient) use books::is_of_layers;

/// Number of values in a block. A block and its planes stay in the L2 cache.
const BLOCK: usize = 1 << 20;

/// The largest number of splits. A mask of the last one stands for 4096 values.
pub(super) const MAX_DEPTH: usize = 4;

/// The byte in layer 0 of a value that needs more than a byte.
const WIDE: u8 = 255;

/// The name of a bitmap encoder with fixed codebooks.
pub(super) const NAME_WITH_BOOKS: &str = "bitmap-fixed";

/// The number of splits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Depth {
    /// Splits as long as planes become smaller.
    #[default]
    Auto,
    /// This number of splits, at most 4. With 0, each value is one symbol of the lane coder.
    Splits(u8),
}

/// The bitmap encoder: masks of zeros, and the other values, by the lane coder. It is the fastest encoder.
#[derive(Debug)]
pub struct Bitmap {
    platform: Platform,
    depth: Depth,
    /// The books to encode with.
    books: Option<Arc<BitmapBooks>>,
    /// The set that streams may name books of.
    set: Option<Arc<CodebookSet>>,
    /// The memory of an earlier call, which the next one uses again.
    spare: Mutex<Option<Box<Block>>>,
}

impl Clone for Bitmap {
    fn clone(&self) -> Self {
        let (books, set) = (self.books.clone(), self.set.clone());
        Self { platform: self.platform, depth: self.depth, books, set, spare: Mutex::default() }
    }
}

impl Default for Bitmap {
    fn default() -> Self {
        let (platform, depth) = (Platform::detect(), Depth::Auto);
        Self { platform, depth, books: None, set: None, spare: Mutex::default() }
    }
}

impl Bitmap {
    /// An encoder with codebooks that both ends hold. It makes and sends no codebooks, except for a plane that a fixed
    /// codebook cannot code.
    #[must_use]
    pub fn with_books(books: Arc<BitmapBooks>) -> Self {
        let set = Some(Arc::clone(books.set()));
        Self { books: Some(books), set, ..Self::default() }
    }

    /// An encoder without fixed codebooks, which decodes streams made with the books of `set`. Unlike
    /// [`BitmapBooks::from_set`] it needs no bindings.
    #[must_use]
    pub fn with_set(set: Arc<CodebookSet>) -> Self {
        Self { set: Some(set), ..Self::default() }
    }

    /// The same encoder with this number of splits. With fixed codebooks their number counts instead.
    #[must_use]
    pub const fn with_depth(mut self, depth: Depth) -> Self {
        self.depth = depth;
        self
    }

    /// The same encoder with the instructions of `platform`. The bytes do not depend on it.
    #[must_use]
    pub const fn with_platform(mut self, platform: Platform) -> Self {
        self.platform = platform;
        self
    }
}

impl ValueEncoder for Bitmap {
    fn name(&self) -> &'static str {
        if self.books.is_some() { NAME_WITH_BOOKS } else { "bitmap" }
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
        // The last block first, because the lanes of a plane carry bytes of the plane after it.
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
        let books = match (reader.u8()?, &self.set) {
            (0, _) => None,
            (1, Some(set)) => {
                check_id(reader.array()?, set.id())?;
                Some(&**set)
            }
            (1, None) => return Err(malformed("it needs fixed codebooks, and none are at hand")),
            _ => return Err(malformed("a kind of bitmap that this version does not know")),
        };
        with_values!(ValuesMut, values, values => self.decode_blocks(reader, books, values))
    }
}

impl Bitmap {
    /// Memory for blocks of `count` values.
    fn block(&self, count: usize) -> Box<Block> {
        let spare = self.spare.lock().ok().and_then(|mut spare| spare.take());
        let mut block = spare.unwrap_or_default();
        block.count = count;
        block
    }

    /// Keeps memory for the next call.
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
            // From the masks of the last split down to layer 0. `due` is the length of the next plane.
            let mut due = (0..depth).fold(values.len(), |length, _| length.div_ceil(8));
            for plane in (1..=depth).rev() {
                match planes.constant(&mut reader, due) {
                    // The highest layer is all 0, so the planes below are empty.
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

/// The estimated size of a stream of `scale` times as many values as this sample has.
pub(super) fn estimate(sample: Values<'_>, scale: f64) -> f64 {
    let mut block = Block::default();
    // A block has at most a million values, and each block has codebooks of its own.
    let blocks = (sample.len() as f64 * scale / BLOCK as f64).max(1.0);
    let planes =
        block.take_as_pays(Platform::detect(), sample, (scale / blocks).round().max(1.0) as u64);
    blocks * (planes.iter().map(fitted::price).sum::<f64>() + 2.0 * planes.len() as f64)
}

/// Memory for the layers and planes of a block.
#[derive(Debug, Default)]
struct Block {
    /// Number of values in the block.
    count: usize,
    /// The layers: bytes of values, masks of the first split, masks of the second split, and so on.
    layers: [Vec<u8>; MAX_DEPTH + 1],
    /// For each layer that is split, the bytes that are not 0, less 1.
    kept: [Vec<u8>; MAX_DEPTH],
    /// For each layer that is split, the number of such bytes.
    kept_count: [usize; MAX_DEPTH],
    /// For each value whose byte is 255, in order: its number less 255.
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

    /// Number of bytes of a layer.
    fn length(&self, layer: usize) -> usize {
        (0..layer).fold(self.count, |length, _| length.div_ceil(8))
    }

    fn layer(&self, layer: usize) -> &[u8] {
        &self.layers[layer][..self.length(layer)]
    }

    /// The plane of a layer: the bytes that are not 0, or all bytes of the highest layer.
    fn plane(&self, plane: usize, depth: usize) -> &[u8] {
        if plane == depth { self.layer(plane) } else { &self.kept[plane][..self.kept_count[plane]] }
    }

    /// Fills layer 0.
    fn take_whole(&mut self, platform: Platform, values: Values<'_>) {
        let bytes = &mut self.layers[0][..values.len()];
        with_values!(Values, values, values => platform.run(|| {
            for (byte, &value) in bytes.iter_mut().zip(values) {
                *byte = value.to_zigzag();
            }
        }));
    }

    /// Fills layer 1 and the plane of layer 0, without filling layer 0.
    fn take_split(&mut self, platform: Platform, values: Values<'_>) {
        let masks = &mut self.layers[1][..values.len().div_ceil(8)];
        self.kept_count[0] = split::split_values(platform, values, masks, &mut self.kept[0]);
    }

    /// Fills all planes for `depth` splits.
    fn take(&mut self, platform: Platform, values: Values<'_>, depth: usize) {
        self.count = values.len();
        self.reserve(depth);
        if depth == 0 {
            return self.take_whole(platform, values);
        }
        self.take_split(platform, values);
        (1..depth).for_each(|layer| self.split_layer(platform, layer));
    }

    /// Fills `wide`.
    fn find_wide(&mut self, platform: Platform, values: Values<'_>, depth: usize) {
        self.wide.clear();
        let highest = highest(platform, self.plane(0, depth));
        if highest == if depth == 0 { WIDE } else { WIDE - 1 } {
            with_values!(Values, values, values => self.wide.extend(beyond_a_byte(values)));
        }
    }

    /// Splits a layer of masks.
    fn split_layer(&mut self, platform: Platform, layer: usize) {
        let length = self.length(layer);
        let (low, high) = self.layers.split_at_mut(layer + 1);
        let masks = &mut high[0][..length.div_ceil(8)];
        let bytes = &low[layer][..length];
        self.kept_count[layer] = split::split(platform, bytes, masks, &mut self.kept[layer]);
    }

    /// Counts of the plane of a layer that was split, and counts of the layer. Every byte counts `scale` times.
    fn counts(&self, platform: Platform, layer: usize, scale: u64) -> [Histogram; 2] {
        let kept = &self.kept[layer][..self.kept_count[layer]];
        // The vector kernel is fast where few different bytes occur, which is not so with masks.
        let quick = if layer == 0 { platform } else { Platform::Portable };
        let kept = scaled(bytes::histogram(quick, kept), scale);
        let zeros = (self.length(layer) - self.kept_count[layer]) as u64 * scale;
        let all = joined(&kept, zeros);
        [kept, all]
    }

    /// Fills the planes, with splits as long as planes become smaller. Returns the counts of the planes. Every value
    /// counts `scale` times, for values that are a sample.
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
        // The first split is made in any case: counts of layer 0 follow from counts of the bytes that are not 0.
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
            // Where all values are 0, a split costs nothing, and layer 0 need not be filled.
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

    /// The memory for a decoded plane of `due` bytes.
    fn room(&mut self, plane: usize, depth: usize, due: usize) -> &mut [u8] {
        if plane == depth {
            &mut self.layers[plane][..due]
        } else {
            self.kept_count[plane] = due;
            &mut self.kept[plane][..due]
        }
    }

    /// Joins a layer of masks from its plane and the layer above. Returns the number of bytes of the plane below.
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
            // The plane has far fewer bytes than the layer, so its bits are counted.
            others =
                Some(platform.run(|| {
                    kept.iter().map(|less| less.wrapping_add(1).count_ones() as usize).sum()
                }));
        }
        let masks = self.layer(plane);
        let below = self.length(plane - 1);
        // Bits of the last mask beyond the last byte of the layer below must be 0.
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

    /// Writes the values of the block, -128 for those that need more than a byte. Returns the highest byte of layer 0.
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
        split::join_values(platform, self.layer(1), kept, S::view_mut(values));
        Ok(highest)
    }
}

/// The numbers less 255 of all values whose byte is 255.
fn beyond_a_byte<S: Value>(values: &[S]) -> impl Iterator<Item = u32> {
    values.iter().filter_map(|&value| zigzag(value.into()).checked_sub(WIDE.into()))
}

/// Replaces -128 by the values that need more than a byte.
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

/// The highest byte; 0 if there are no bytes.
fn highest(platform: Platform, bytes: &[u8]) -> u8 {
    platform.run(|| bytes.iter().fold(0, |highest, &byte| byte.max(highest)))
}

fn scaled(counts: [u32; 256], scale: u64) -> Histogram {
    Histogram::from_counts(counts.map(|count| u64::from(count) * scale))
}

/// The counts of a layer, from the counts of its plane and the number of zeros.
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
