//! The coded form of a plane of bytes: by the lane coder, or another form if that is smaller.
//!
//! ```text
//! mode            0 raw, 1 constant, 2 one stream, 3 lanes; + 4: with a fixed codebook
//! raw:            the bytes
//! constant:       the byte
//! codebook        modes 2 and 3: as in `docs/format.md`; modes 6 and 7: one byte, its number in the set
//! one stream:     length, then codes, from the highest bit of a byte down; an escape is followed by the byte
//! lanes:          length of the stream, number of escapes (both variable-length), escapes,
//!                 states of the lanes, stream
//! ```
//!
//! The lanes of a plane carry 128 other bytes (see [`crate::lanes`]): the first 128 bytes of the lane states of the
//! next plane in lanes, which are not stored with that plane. So a plane of 8-bit codes costs 64 bytes of states instead
//! of 192. The first plane in lanes that is decoded has all its states stored, and the last one carries zeros.
//! Therefore planes are encoded from the last to the first.

use super::super::malformed;
use super::fitted::{LANES_FROM, bytes_with, fitted, only_one};
use crate::codebook::{Alphabet, Codebook, Lengths};
use crate::error::Result;
use crate::kernels::bytes;
use crate::kernels::platform::Platform;
use crate::lanes::{self, CARRIED_BYTES, states_bytes, stream_capacity};
use crate::set::CodebookSet;
use crate::stats::Histogram;
use crate::wire::{Reader, put_varint};

const RAW: u8 = 0;
const CONSTANT: u8 = 1;
const SINGLE: u8 = 2;
const LANES: u8 = 3;
const FIXED: u8 = 4;
const FIXED_SINGLE: u8 = FIXED | SINGLE;
const FIXED_LANES: u8 = FIXED | LANES;

/// The number of bytes from which on the planes of a large block are coded in lanes; the bytes of the states are a
/// smaller share there.
const LANES_FROM_IN_LARGE: usize = 1 << 12;

/// A block of at least this number of values is large.
const LARGE: usize = 1 << 18;

/// The form in which a plane is going to be coded.
#[derive(Debug)]
pub(super) enum PlaneBook<'a> {
    /// As it is, since no code is smaller.
    Raw,
    /// As one byte, since all bytes are this byte.
    Constant(u8),
    /// By a codebook fitted to the plane, which is stored with it.
    Fitted(Box<Codebook>),
    /// By the book of this number of the set that both ends hold.
    Fixed(u8, &'a Codebook),
}

impl PlaneBook<'_> {
    /// The smallest form of a plane with these counts, without fixed codebooks.
    pub(super) fn fitted(counts: &Histogram) -> Self {
        let total = counts.total() as f64;
        if let Some(value) = only_one(counts) {
            return Self::Constant(value);
        }
        match fitted(counts) {
            Some((lengths, bits)) if bytes_with(&lengths, bits, total) < total => {
                Self::Fitted(Box::new(Codebook::new(lengths)))
            }
            _ => Self::Raw,
        }
    }
}

/// A coded plane: the bytes before the states of its lanes, the states, and the bytes after them.
#[derive(Debug, Default)]
struct Section {
    before: Vec<u8>,
    states: Vec<u8>,
    /// Whether the lanes of another plane carry the first [`CARRIED_BYTES`] of the states.
    carried: bool,
    after: Vec<u8>,
}

/// The writer of a stream: coded planes and the heads of blocks, from the last to the first.
#[derive(Debug)]
pub(super) struct Blocks {
    platform: Platform,
    lanes_from: usize,
    sections: Vec<Section>,
    codebook: usize,
    stream: Vec<u8>,
    escapes: Vec<u8>,
}

impl Blocks {
    pub(super) const fn new(platform: Platform) -> Self {
        Self {
            platform,
            lanes_from: LANES_FROM,
            sections: Vec::new(),
            codebook: 0,
            stream: Vec::new(),
            escapes: Vec::new(),
        }
    }

    /// Begins a block of this number of values.
    pub(super) const fn begin(&mut self, values: usize) {
        self.lanes_from = if values < LARGE { LANES_FROM } else { LANES_FROM_IN_LARGE };
    }

    /// The place of bytes that stand before all that was pushed so far.
    pub(super) fn head(&mut self) -> &mut Vec<u8> {
        self.sections.push(Section::default());
        let last = self.sections.len() - 1;
        &mut self.sections[last].before
    }

    /// Codes a plane, which stands before all that was pushed so far.
    pub(super) fn push(&mut self, plane: &[u8], book: &PlaneBook<'_>) -> Result<()> {
        if plane.is_empty() {
            return Ok(());
        }
        let mut section = Section::default();
        let before = &mut section.before;
        match book {
            PlaneBook::Constant(value) => before.extend([CONSTANT, *value]),
            PlaneBook::Raw => put_raw(plane, before),
            PlaneBook::Fitted(book) => {
                before.push(0);
                book.lengths().write(before);
                let codebook = before.len() - 1;
                if self.put(plane, book, &mut section)? {
                    self.codebook += codebook;
                }
            }
            // No code is smaller, and a fixed one may be much larger.
            PlaneBook::Fixed(..) if plane.iter().all(|byte| *byte == plane[0]) => {
                before.extend([CONSTANT, plane[0]]);
            }
            PlaneBook::Fixed(_, book) if !covers(self.platform, book, plane) => {
                return self.push(plane, &PlaneBook::fitted(&Histogram::of(plane)));
            }
            PlaneBook::Fixed(number, book) => {
                before.extend([FIXED, *number]);
                _ = self.put(plane, book, &mut section)?;
            }
        }
        self.sections.push(section);
        Ok(())
    }

    /// Codes a plane with a codebook, or leaves it raw; returns whether it was coded. The section holds the mode
    /// so far, and the codebook.
    fn put(&mut self, plane: &[u8], book: &Codebook, section: &mut Section) -> Result<bool> {
        if plane.len() < self.lanes_from {
            self.stream.clear();
            put_single(plane, book, &mut self.stream);
            if self.stream.len() < plane.len() {
                section.before[0] |= SINGLE;
                put_varint(&mut section.before, self.stream.len() as u64);
                section.before.extend_from_slice(&self.stream);
                return Ok(true);
            }
            section.before.clear();
            put_raw(plane, &mut section.before);
            return Ok(false);
        }
        let lengths = book.lengths();
        self.escapes.clear();
        if lengths.escape() > 0 {
            let chosen = std::array::from_fn(|byte| lengths.direct(byte as u8) == 0);
            bytes::select(self.platform, &chosen, plane, plane, &mut self.escapes);
        }
        let bits = u64::from(book.limit().bits()) * plane.len() as u64;
        let capacity = stream_capacity(book.limit(), bits);
        if self.stream.len() < capacity {
            self.stream.resize(capacity, 0);
        }
        section.states.resize(states_bytes(book.limit()), 0);
        // The lanes of this plane carry the first states of the next plane in lanes.
        let mut initial = [0; CARRIED_BYTES];
        let next = self.sections.iter_mut().rev().find(|section| !section.states.is_empty());
        if let Some(first) = next.as_ref().and_then(|next| next.states.first_chunk()) {
            initial = *first;
        }
        let states = &mut section.states;
        let length =
            lanes::encode_on(self.platform, book, plane, &initial, states, &mut self.stream)?;
        if length + self.escapes.len() >= plane.len() {
            *section = Section::default();
            put_raw(plane, &mut section.before);
            return Ok(false);
        }
        if let Some(next) = next {
            next.carried = true;
        }
        section.before[0] |= LANES;
        put_varint(&mut section.before, length as u64);
        put_varint(&mut section.before, self.escapes.len() as u64);
        section.before.extend_from_slice(&self.escapes);
        section.after.extend_from_slice(&self.stream[..length]);
        Ok(true)
    }

    /// Appends the stream to `out`. Returns the number of bytes of codebooks in it.
    pub(super) fn finish(self, out: &mut Vec<u8>) -> usize {
        for section in self.sections.iter().rev() {
            out.extend_from_slice(&section.before);
            let carried = if section.carried { CARRIED_BYTES } else { 0 };
            out.extend_from_slice(&section.states[carried..]);
            out.extend_from_slice(&section.after);
        }
        self.codebook
    }
}

/// Whether a book has a code, or an escape, for every byte of a plane.
fn covers(platform: Platform, book: &Codebook, plane: &[u8]) -> bool {
    let last = book.lengths().alphabet().slots() - 1;
    let highest = || plane.iter().fold(0, |highest, &byte| byte.max(highest));
    last == 255 || usize::from(platform.run(highest)) <= last
}

/// Checks that a book is for bytes, not for exponents.
fn check_alphabet(lengths: &Lengths) -> Result<()> {
    match lengths.alphabet() {
        Alphabet::Plain { .. } => Ok(()),
        Alphabet::Centred => Err(malformed("a codebook of exponents for a plane of bytes")),
    }
}

fn put_raw(plane: &[u8], out: &mut Vec<u8>) {
    out.push(RAW);
    out.extend_from_slice(plane);
}

/// The reader of planes, from the first to the last.
#[derive(Debug)]
pub(super) struct Planes {
    platform: Platform,
    /// The bytes that the lanes of the plane decoded last carried.
    carried: Option<[u8; CARRIED_BYTES]>,
}

impl Planes {
    pub(super) const fn new(platform: Platform) -> Self {
        Self { platform, carried: None }
    }

    /// Takes the next plane if it is a constant one: the byte that all its bytes are.
    pub(super) fn constant(&self, reader: &mut Reader<'_>, length: usize) -> Option<u8> {
        match reader.clone().rest() {
            [CONSTANT, byte, ..] if length > 0 => {
                reader.take(2).ok()?;
                Some(*byte)
            }
            _ => None,
        }
    }

    /// Decodes the next plane. `fixed` is the set that both ends hold.
    pub(super) fn pull(
        &mut self,
        reader: &mut Reader<'_>,
        fixed: Option<&CodebookSet>,
        plane: &mut [u8],
    ) -> Result<()> {
        if plane.is_empty() {
            return Ok(());
        }
        let mode = reader.u8()?;
        let embedded;
        let book = match (mode, fixed) {
            (RAW, _) => {
                plane.copy_from_slice(reader.take(plane.len())?);
                return Ok(());
            }
            (CONSTANT, _) => {
                plane.fill(reader.u8()?);
                return Ok(());
            }
            (SINGLE | LANES, _) => {
                let rest = reader.clone().rest();
                let (lengths, taken) = Lengths::read(rest)?;
                reader.take(taken)?;
                check_alphabet(&lengths)?;
                embedded = Codebook::new(lengths);
                &embedded
            }
            (FIXED_SINGLE | FIXED_LANES, Some(set)) => {
                let book = set.book(reader.u8()?)?;
                check_alphabet(book.lengths())?;
                book
            }
            (FIXED_SINGLE | FIXED_LANES, None) => {
                return Err(malformed("a plane by fixed codebooks in a stream without any"));
            }
            _ => return Err(malformed(format!("a plane of mode {mode}"))),
        };
        if mode & !FIXED == SINGLE {
            let length = reader.size()?;
            return take_single(reader.take(length)?, book, plane);
        }
        let length = reader.size()?;
        let count = reader.size()?;
        let escapes = reader.take(count)?;
        let mut states = [0; 256];
        let states = &mut states[..states_bytes(book.limit())];
        let carried = self.carried.take();
        let own = match &carried {
            Some(carried) => {
                states[..CARRIED_BYTES].copy_from_slice(carried);
                CARRIED_BYTES
            }
            None => 0,
        };
        let others = &mut states[own..];
        others.copy_from_slice(reader.take(others.len())?);
        let stream = reader.take(length)?;
        self.carried = Some(lanes::decode_on(self.platform, book, states, stream, plane)?);
        if let Some(escape) = book.lengths().escape_slot() {
            let due = bytes::replace(self.platform, escape, escapes, plane);
            if due != count {
                return Err(malformed(format!("{count} escapes where {due} are due")));
            }
        } else if count > 0 {
            return Err(malformed("escapes for a codebook without one"));
        }
        Ok(())
    }

    /// Checks that the lanes of the last plane carried zeros.
    pub(super) fn finish(&self) -> Result<()> {
        match self.carried {
            Some(carried) if carried != [0; CARRIED_BYTES] => {
                Err(malformed("lanes that carry something no plane needs"))
            }
            _ => Ok(()),
        }
    }
}

/// Writes codes in one stream. The first bit of a code takes the highest free bit of a byte.
fn put_single(plane: &[u8], book: &Codebook, out: &mut Vec<u8>) {
    let lengths = book.lengths();
    // The codes; that of an escape includes the byte behind it.
    let mut codes = [(0u64, 0u32); 256];
    for ((byte, code), &entry) in (0u8..=255).zip(&mut codes).zip(book.encode_table()) {
        *code = (u64::from(entry & 0xfff), u32::from(entry >> 12));
        if lengths.direct(byte) == 0 {
            *code = (code.0 << 8 | u64::from(byte), code.1 + 8);
        }
    }
    let (mut window, mut count) = (0u64, 0);
    for &byte in plane {
        let (bits, length) = codes[usize::from(byte)];
        window = window << length | bits;
        count += length;
        if count >= 32 {
            count -= 32;
            out.extend_from_slice(&((window >> count) as u32).to_be_bytes());
        }
    }
    let last = (window << (32 - count)) as u32;
    out.extend_from_slice(&last.to_be_bytes()[..count.div_ceil(8) as usize]);
}

fn take_single(bytes: &[u8], book: &Codebook, plane: &mut [u8]) -> Result<()> {
    let limit = u32::from(book.limit().bits());
    let table = book.decode_table();
    let escape = book.lengths().escape_slot();
    let mut bytes = bytes;
    let (mut window, mut count) = (0u64, 0u32);
    let mut beyond = 0;
    for place in plane {
        if count < 24 {
            if let Some((four, rest)) = bytes.split_first_chunk() {
                window = window << 32 | u64::from(u32::from_be_bytes(*four));
                count += 32;
                bytes = rest;
            }
            while count < 24 {
                let byte = bytes.split_off_first();
                beyond += u32::from(byte.is_none());
                window = window << 8 | u64::from(byte.copied().unwrap_or(0));
                count += 8;
            }
        }
        let entry = table[(window >> (count - limit)) as usize & (table.len() - 1)];
        count -= (entry >> 8).ilog2();
        *place = entry as u8;
        if Some(entry as u8) == escape {
            count -= 8;
            *place = (window >> count) as u8;
            if book.lengths().direct(*place) != 0 {
                return Err(malformed("an escape for a byte that has a code"));
            }
        }
        if 8 * beyond > count {
            return Err(malformed("it ends before the last byte of a plane"));
        }
    }
    let padding = count - 8 * beyond;
    if !bytes.is_empty() || padding >= 8 || window & ((1 << count) - 1) != 0 {
        return Err(malformed("bytes or bits too many in a plane"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient::Random;
    use crate::set::SetBuilder;

    fn plane(count: usize, share: f64) -> Vec<u8> {
        let random = Random::new(count as u64);
        let byte = |i: usize| (-random.uniform(i as u64).ln() * share) as u8;
        (0..count).map(byte).collect()
    }

    #[test]
    fn planes_round_trip_in_every_mode() {
        for share in [0.0, 0.3, 3.0, 50.0, 1e9] {
            let planes = [0, 1, 9, 700, 9000, 20_000, 30_000].map(|count| plane(count, share));
            for platform in Platform::available() {
                let mut blocks = Blocks::new(platform);
                for plane in planes.iter().rev() {
                    blocks.push(plane, &PlaneBook::fitted(&Histogram::of(plane))).unwrap();
                }
                let mut bytes = Vec::new();
                blocks.finish(&mut bytes);
                let mut reader = Reader::new("a test", &bytes);
                let mut decoder = Planes::new(platform);
                for plane in &planes {
                    let mut decoded = vec![0xee; plane.len()];
                    decoder.pull(&mut reader, None, &mut decoded).unwrap();
                    assert!(decoded == *plane, "{share}, {}", plane.len());
                }
                decoder.finish().unwrap();
                reader.finish().unwrap();
            }
        }
    }

    #[test]
    fn fixed_books_code_what_they_never_saw() {
        let (lengths, _) = fitted(&Histogram::of(&plane(5000, 2.0))).unwrap();
        let mut builder = SetBuilder::new("a test");
        let number = builder.add(lengths).unwrap();
        let set = builder.build();
        let book = PlaneBook::Fixed(number, set.book(number).unwrap());
        for count in [300, 30_000] {
            for share in [1.0, 4.0, 1e9] {
                let plane = plane(count, share);
                let mut blocks = Blocks::new(Platform::detect());
                blocks.push(&plane, &book).unwrap();
                let mut bytes = Vec::new();
                assert_eq!(blocks.finish(&mut bytes), 0);
                assert!(bytes.len() <= count + 1);
                let mut decoded = vec![0; count];
                let mut reader = Reader::new("a test", &bytes);
                Planes::new(Platform::Portable)
                    .pull(&mut reader, Some(&set), &mut decoded)
                    .unwrap();
                assert!(decoded == plane);
            }
        }
    }
}
