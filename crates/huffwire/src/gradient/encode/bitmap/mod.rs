//! Bitmaps: layers of masks and of values that are not 0, coded by the codec of planes that blocks of tensors use.
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
//! A stream is one block of layers, of at most 2²⁰ values. See `docs/format.md`, section 15.6.

mod books;
mod layers;
mod planner;
mod price;
mod split;

use std::sync::{Arc, Mutex};

use self::layers::{Joined, MAX_DEPTH, PLANES, WIDE, highest, layer_bytes};
use self::planner::{NO_BOOKS, Plan, Planner, shape};
use super::super::values::{Value, Values, ValuesMut, with_values};
use super::{Sizes, ValueEncoder, malformed, put_count, read_count, too_wide, unzigzag, zigzag};
use crate::codebook::{Codebook, Lengths, MAX_LENGTHS_BYTES};
use crate::error::{Error, Result};
use crate::kernels::platform::Platform;
use crate::message::VALUES_LOG2;
use crate::plane_codec::{
    BookRef, MAX_PLANE_HEADER_BYTES, PayloadReader, PlaneHeader, PlaneReader, PlaneToRead,
    PlaneToWrite, PlaneWriter, Sizes as PayloadSizes, room,
};
use crate::set::CodebookSet;
use crate::wire::{Reader, put_varint};

pub use books::BitmapBooks;
pub(in crate::gradient) use books::is_of_layers;

/// The most values of a stream. They and their planes stay in the L2 cache.
pub(super) const MOST_VALUES: usize = 1 << VALUES_LOG2;

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
///
/// A stream holds at most 2²⁰ values, as many as a block of a message or a file: that is the unit of random access, and
/// its planes stay in the cache. Who has more makes a stream of each 2²⁰ of them, as
/// [`ItemWriter`](crate::gradient::item::ItemWriter) does.
#[derive(Debug)]
pub struct Bitmap {
    platform: Platform,
    depth: Depth,
    /// The books to encode with.
    books: Option<Arc<BitmapBooks>>,
    /// The set that streams may name books of.
    set: Option<Arc<CodebookSet>>,
    /// The memory of an earlier call, which the next one uses again.
    spare: Mutex<Option<Box<Scratch>>>,
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
    /// codebook cannot code. A stream does not tell which set its books are of: the receiver must know.
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

    /// [`Error::TooLarge`] for more than 2²⁰ values.
    fn encode(&self, values: Values<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
        if let Depth::Splits(splits) = self.depth
            && usize::from(splits) > MAX_DEPTH
        {
            return Err(Error::option(format!("{splits} splits; at most {MAX_DEPTH}")));
        }
        check_count(values.len())?;
        let start = out.len();
        put_count(out, values.len());
        let mut codebook = 0;
        if !values.is_empty() {
            let mut scratch = self.scratch();
            let written = scratch.write(self, values, out);
            self.keep(scratch);
            codebook = written.inspect_err(|_| out.truncate(start))?;
        }
        Ok(Sizes { total: out.len() - start, codebook })
    }

    fn decode(&self, stream: &[u8], values: ValuesMut<'_>) -> Result<()> {
        let mut reader = read_count(stream, values.len())?;
        check_count(values.len())?;
        if values.is_empty() {
            return reader.finish();
        }
        let set = self.set.as_deref().unwrap_or(&NO_BOOKS);
        let mut scratch = self.scratch();
        let read = with_values!(ValuesMut, values, values => {
            scratch.read(self.platform, &mut reader, set, values)
        });
        self.keep(scratch);
        read
    }
}

fn check_count(count: usize) -> Result<()> {
    if count <= MOST_VALUES {
        return Ok(());
    }
    let (found, limit) = (count as u64, MOST_VALUES as u64);
    let remedy = "encode the values in several parts, or by an encoder without bitmaps";
    Err(Error::TooLarge { what: "a bitmap (in values)", found, limit, remedy })
}

impl Bitmap {
    fn scratch(&self) -> Box<Scratch> {
        self.spare.lock().ok().and_then(|mut spare| spare.take()).unwrap_or_default()
    }

    /// The estimated size of a stream of `scale` times as many values as this sample has.
    pub(super) fn estimate(&self, sample: Values<'_>, scale: f64) -> f64 {
        let mut scratch = self.scratch();
        let bytes = scratch.planner.estimate(self.platform, sample, scale);
        self.keep(scratch);
        bytes
    }

    /// Keeps memory for the next call.
    fn keep(&self, scratch: Box<Scratch>) {
        if let Ok(mut spare) = self.spare.lock() {
            *spare = Some(scratch);
        }
    }
}

/// Memory for streams.
#[derive(Debug, Default)]
struct Scratch {
    planner: Planner,
    writer: PlaneWriter,
    /// Headers and payload of planes that are encoded.
    coded: Vec<u8>,
    reader: PlaneReader,
    /// Planes that are decoded, that of the highest layer first, and books that their headers embed.
    planes: [Vec<u8>; PLANES],
    embedded: Vec<Codebook>,
    joined: Joined,
}

impl Scratch {
    /// Appends a block of layers; returns the bytes of codebooks in it.
    fn write(&mut self, bitmap: &Bitmap, values: Values<'_>, out: &mut Vec<u8>) -> Result<usize> {
        let (platform, books) = (bitmap.platform, bitmap.books.as_deref());
        let plan = match (books, bitmap.depth) {
            (Some(books), _) => self.planner.plan_by_books(platform, values, books)?,
            (None, Depth::Splits(splits)) => {
                self.planner.plan_splits(platform, values, splits.into())
            }
            (None, Depth::Auto) => self.planner.plan(platform, values),
        };
        self.write_head(platform, values, plan.len() - 1, out);
        self.write_planes(platform, &plan, books, out)
    }

    /// Appends all that stands in front of the headers of planes.
    fn write_head(&self, platform: Platform, values: Values<'_>, depth: usize, out: &mut Vec<u8>) {
        let layers = &self.planner.layers;
        out.push(depth as u8);
        for layer in (0..depth).rev() {
            put_varint(out, layers.kept(layer).len() as u64);
        }
        let highest = highest(platform, layers.plane(0, depth));
        if highest < if depth == 0 { WIDE } else { WIDE - 1 } {
            return out.push(0);
        }
        let wide: Vec<u32> =
            with_values!(Values, values, values => beyond_a_byte(values).collect());
        put_varint(out, wide.len() as u64);
        for more in wide {
            put_varint(out, more.into());
        }
    }

    /// Appends headers and payload of the planes; returns the bytes of codebooks in them.
    fn write_planes(
        &mut self,
        platform: Platform,
        plan: &Plan,
        books: Option<&BitmapBooks>,
        out: &mut Vec<u8>,
    ) -> Result<usize> {
        let depth = plan.len() - 1;
        let Self { planner, writer, coded, .. } = self;
        let plane = |layer: usize| planner.layers.plane(layer, depth);
        let bytes: usize = (0..=depth).map(|layer| plane(layer).len()).sum();
        // Fixed books may take a code of 12 bits, and a byte behind it, for each symbol.
        let most = room(plan.len() * MAX_PLANE_HEADER_BYTES + 3 * bytes);
        if coded.len() < most {
            coded.resize(most, 0);
        }
        let to_write = |(layer, header): (usize, &PlaneHeader)| PlaneToWrite {
            header: *header,
            book: planner.book(layer, header, books),
            width: 8,
            symbols: plane(layer),
            nonzero: &[],
            // What a fixed book costs is known only afterwards.
            or_raw: true,
        };
        let mut planes: Vec<_> = plan.iter().enumerate().rev().map(to_write).collect();
        let length = writer.write(platform, &mut planes, coded)?;
        out.extend_from_slice(&coded[..length]);
        let books = planes.iter().filter(|plane| plane.header.embeds());
        let books = books.filter_map(|plane| plane.book);
        let bytes = |book: &Codebook| book.lengths().write_to(&mut [0; MAX_LENGTHS_BYTES]);
        Ok(books.map(bytes).sum())
    }

    /// Reads a block of layers.
    fn read<S: Value>(
        &mut self,
        platform: Platform,
        reader: &mut Reader<'_>,
        set: &CodebookSet,
        values: &mut [S],
    ) -> Result<()> {
        let count = values.len();
        let depth = usize::from(reader.u8()?);
        if depth > MAX_DEPTH {
            return Err(malformed(format!("a bitmap of depth {depth}")));
        }
        let mut sizes = [layer_bytes(count, depth); PLANES];
        for (layer, size) in (0..depth).rev().zip(&mut sizes[1..]) {
            *size = reader.size()?;
            if *size > layer_bytes(count, layer) {
                return Err(malformed(format!("a plane of {size} bytes, more than its layer has")));
            }
        }
        let wide = reader.size()?;
        if wide > count {
            return Err(malformed("more values beyond a byte than values"));
        }
        let mut wide_reader = reader.clone();
        for _ in 0..wide {
            reader.varint()?;
        }
        self.read_planes(platform, reader, set, &sizes[..=depth])?;
        let highest = self.joined.values(platform, &self.planes[..=depth], values)?;
        if highest == WIDE {
            return widen(values, wide, &mut wide_reader);
        }
        if wide > 0 { Err(too_few_wide()) } else { Ok(()) }
    }

    /// Reads headers and payload of planes of so many bytes.
    fn read_planes(
        &mut self,
        platform: Platform,
        reader: &mut Reader<'_>,
        set: &CodebookSet,
        sizes: &[usize],
    ) -> Result<()> {
        let Self { planes, embedded, .. } = self;
        embedded.resize_with(PLANES, || Codebook::new(Lengths::placeholder()));
        let mut headers = [PlaneHeader::Raw; PLANES];
        let headers = &mut headers[..sizes.len()];
        for ((header, embedded), &size) in headers.iter_mut().zip(&mut *embedded).zip(sizes) {
            *header = PlaneHeader::read(reader, &shape(size), set, embedded)?;
        }
        let payload = PayloadSizes::of(headers, |plane| shape(sizes[plane]));
        let mut stack = PayloadReader::new(reader.take(payload.total)?);
        reader.finish()?;
        for (index, (header, symbols)) in headers.iter().zip(planes).enumerate() {
            let book = match header.coded().map(|coded| coded.book) {
                None => None,
                Some(BookRef::Resident(number)) => Some(set.book(number)?),
                Some(BookRef::Embedded) => Some(&embedded[index]),
            };
            if index == 0 && sizes.len() > 1 && *header == PlaneHeader::Constant(0) {
                // All values are 0, and other planes are empty: `Joined` checks that.
                symbols.clear();
                continue;
            }
            let (shape, carried) = (shape(sizes[index]), payload.carried[index]);
            let plane = PlaneToRead { header: *header, shape, book, carried };
            self.reader.read(platform, &plane, &mut stack, symbols)?;
        }
        Ok(())
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
