//! Writing a block: header and payload.
//!
//! In general ([`BlockEncoder::write_whole`]) the planes lie in memory, each is written after the other. Nearly
//! all blocks can do with one pass over the elements ([`BlockEncoder::write_in_one_pass`]): piece by
//! piece, small enough for the L1 cache, the last piece first as the lanes want it, elements are split,
//! remainder goes to its place in the block, and symbols into the lanes. Both write the same bytes.

use super::encode::{BlockEncoder, Plans};
use super::{CONSTANT, EMBEDDED, PIECE, RAW, SLOT_CHUNK};
use crate::codebook::{Alphabet, Codebook, ESCAPE_SLOT, MAX_LENGTHS_BYTES, ZERO_SLOT};
use crate::error::{Error, Result};
use crate::kernels::bytes;
use crate::lanes::{self, CARRIED_BYTES, CachePolicy, Join, SlotMap, ToSplit};
use crate::plan::{self, BookRef, Coded, Coding};
use crate::planes::pack::{pack, packed_bytes};
use crate::planes::{MAX_PLANES, Plane, Scheme};
use crate::set::CodebookSet;

impl BlockEncoder {
    /// Writes header and payload; the plans were made for what is in `planes`.
    pub(super) fn write_whole(
        &mut self,
        set: &CodebookSet,
        scheme: &Scheme,
        plans: &Plans,
        out: &mut [u8],
    ) -> Result<usize> {
        let count = scheme.planes.len();
        // Where each plane's header goes: sizes do not depend on the payload.
        let mut header_at = [1; MAX_PLANES + 1];
        for (index, plan) in plans[..count].iter().enumerate() {
            let size = match plan.map(|plan| plan.coding) {
                None | Some(Coding::Raw) => 1,
                Some(Coding::Constant(_)) => 2,
                Some(Coding::Coded(Coded { book_ref, .. })) => {
                    header_bytes(self.book(set, book_ref, index)?, book_ref)
                }
            };
            header_at[index + 1] = header_at[index] + size;
        }
        out[0] = scheme.layout.number();
        let start = header_at[count];
        let mut at = start;
        for index in (0..count).rev() {
            let header = header_at[index];
            let plane = &scheme.planes[index];
            match plans[index].map(|plan| plan.coding) {
                None | Some(Coding::Raw) => {
                    out[header] = RAW;
                    let symbols = &self.planes[index];
                    let size = packed_bytes(symbols.len(), plane.width);
                    pack(self.platform, symbols, plane.width, place(out, at, size)?);
                    at += size;
                }
                Some(Coding::Constant(symbol)) => {
                    out[header..header + 2].copy_from_slice(&[CONSTANT, symbol]);
                }
                Some(Coding::Coded(coded)) => {
                    let (initial, lent) = lend(&out[start..at]);
                    at -= lent;
                    let available = out.len();
                    let (head, payload) = out
                        .split_at_mut_checked(at)
                        .ok_or(Error::OutputTooSmall { needed: at, available })?;
                    let head = &mut head[header..header_at[index + 1]];
                    at += self.write_coded(set, plane, index, &coded, &initial, head, payload)?;
                }
            }
        }
        Ok(at)
    }

    /// Writes the header and the payload of a coded plane; returns the length of the payload.
    #[expect(clippy::too_many_arguments, reason = "all of them belong to the one plane")]
    fn write_coded(
        &mut self,
        set: &CodebookSet,
        plane: &Plane,
        index: usize,
        coded: &Coded,
        initial: &[u8; CARRIED_BYTES],
        head: &mut [u8],
        payload: &mut [u8],
    ) -> Result<usize> {
        let book = match coded.book_ref {
            BookRef::Resident(number) => set.book(number)?,
            BookRef::Embedded => &self.embedded[index],
        };
        let symbols = &self.planes[index];
        let states_bytes = lanes::states_bytes(book.limit());
        let available = payload.len();
        let (states, stream) = payload
            .split_at_mut_checked(states_bytes)
            .ok_or(Error::OutputTooSmall { needed: states_bytes, available })?;
        let (zeros, stream_bytes, escapes) = if plane.centred && !self.nonzero.is_empty() {
            self.slots.resize(symbols.len(), 0);
            let (slots, nonzero) = (&mut self.slots, &self.nonzero);
            let zeros = self.platform.run(
                #[inline(always)]
                || to_slots(symbols, nonzero, coded.base, slots),
            );
            self.picked.clear();
            // By slot, whether the symbol takes the escape.
            let mut escapes = [false; 256];
            for (slot, escapes) in (0..=u8::MAX).zip(&mut escapes) {
                *escapes = book.lengths().direct(slot) == 0;
            }
            escapes[ZERO_SLOT] = false;
            bytes::select(self.platform, &escapes, slots, symbols, &mut self.picked);
            let length = lanes::encode_on(self.platform, book, slots, initial, states, stream)?;
            (zeros, length, self.picked.as_slice())
        } else {
            self.escapes.clear(symbols.len());
            let map = SlotMap::new(plane.alphabet(), coded.base);
            let mut encoder = lanes::Encoder::new(self.platform, book.tables(), map, initial, true);
            encoder.push(symbols, stream, &mut self.escapes)?;
            (0, encoder.finish(states), self.escapes.as_slice())
        };
        place(stream, stream_bytes, escapes.len())?.copy_from_slice(escapes);
        let counts = Counted { zeros, stream_bytes, escapes: escapes.len() };
        write_header(head, book, coded, counts);
        Ok(states_bytes + stream_bytes + escapes.len())
    }

    /// Writes a block whose first plane is coded as in `coded`, with no zeros apart, and whose
    /// other planes are raw. `None` when the elements do not fit the layout, of which nobody looked at all yet.
    pub(super) fn write_in_one_pass(
        &mut self,
        set: &CodebookSet,
        (scheme, unit_bytes): (&Scheme, usize),
        coded: &Coded,
        bytes: &[u8],
        cache: CachePolicy<'_>,
        out: &mut [u8],
    ) -> Result<Option<usize>> {
        let book = match coded.book_ref {
            BookRef::Resident(number) => set.book(number)?,
            BookRef::Embedded => &self.embedded[0],
        };
        let platform = self.platform;
        let (plane, raw_planes) = (&scheme.planes[0], &scheme.planes[1..]);
        let units = bytes.len() / unit_bytes;

        let header = 1 + header_bytes(book, coded.book_ref);
        let mut at = header + raw_planes.len();
        out[0] = scheme.layout.number();
        out[header..at].fill(RAW);
        // Where each raw plane begins, the last one first; all of them end where the coded one
        // begins.
        let start = at;
        let mut raw_at = [0; MAX_PLANES];
        for (plane, begin) in raw_planes.iter().zip(&mut raw_at).rev() {
            *begin = at;
            at += packed_bytes(units * usize::from(plane.per_unit), plane.width);
        }
        let raw_end = at;
        let lent = (raw_end - start).min(CARRIED_BYTES);
        let states_at = raw_end - lent;
        let states_bytes = lanes::states_bytes(book.limit());
        let stream_at = states_at + states_bytes;
        let available = out.len();
        let Some((head, stream)) = out.split_at_mut_checked(stream_at) else {
            return Err(Error::OutputTooSmall { needed: stream_at, available });
        };

        let per_unit = usize::from(plane.per_unit);
        self.escapes.clear(units * per_unit);
        let map = SlotMap::new(plane.alphabet(), coded.base);
        let mut encoder: Option<lanes::Encoder> = None;
        let fused = scheme.join.filter(|join| lanes::fuses(platform, book.limit(), *join));
        for (from, to) in pieces(units, fused).rev() {
            let count = to - from;
            if let (Some(encoder), Some(join)) = (&mut encoder, fused) {
                let elements = &bytes[from * unit_bytes..to * unit_bytes];
                let place = |unit: usize| raw_at[0] + packed_bytes(unit, raw_planes[0].width);
                let other = &mut head[place(from)..place(to)];
                let elements = ToSplit { join, elements, other, cache };
                if !encoder.push_split(elements, stream, &mut self.escapes)? {
                    return Ok(None);
                }
                continue;
            }
            let mut slices: [&mut [u8]; MAX_PLANES] = Default::default();
            let mut to_pack: [&mut [u8]; MAX_PLANES] = Default::default();
            let mut rest = &mut *head;
            let mut behind = 0;
            for (index, plane) in scheme.planes.iter().enumerate().skip(1).rev() {
                let per_unit = usize::from(plane.per_unit);
                let begin = raw_at[index - 1] + packed_bytes(from * per_unit, plane.width);
                let size = packed_bytes(count * per_unit, plane.width);
                let (_, from_begin) = std::mem::take(&mut rest).split_at_mut(begin - behind);
                let place;
                (place, rest) = from_begin.split_at_mut(size);
                behind = begin + size;
                if plane.width == 8 {
                    slices[index] = place;
                } else {
                    to_pack[index] = place;
                }
            }
            for (index, (plane, symbols)) in scheme.planes.iter().zip(&mut self.pieces).enumerate()
            {
                if index == 0 || plane.width < 8 {
                    symbols.resize(count * usize::from(plane.per_unit), 0);
                    slices[index] = symbols;
                }
            }
            let piece = &bytes[from * unit_bytes..to * unit_bytes];
            if !scheme.split(platform, piece, &mut slices[..scheme.planes.len()]) {
                return Ok(None);
            }
            for (index, plane) in scheme.planes.iter().enumerate().skip(1) {
                if plane.width < 8 {
                    pack(platform, slices[index], plane.width, to_pack[index]);
                }
            }
            let encoder = encoder.get_or_insert_with(|| {
                let (initial, _) = lend(&head[start..raw_end]);
                lanes::Encoder::new(platform, book.tables(), map, &initial, true)
            });
            encoder.push(&self.pieces[0], stream, &mut self.escapes)?;
        }
        let stream_bytes = encoder.map_or(0, |encoder| encoder.finish(&mut head[states_at..]));
        let escapes = self.escapes.as_slice();
        place(stream, stream_bytes, escapes.len())?.copy_from_slice(escapes);
        let counts = Counted { zeros: 0, stream_bytes, escapes: escapes.len() };
        write_header(&mut head[1..header], book, coded, counts);
        Ok(Some(stream_at + stream_bytes + escapes.len()))
    }
}

/// The pieces of a block of so many units, as (from, to): [`PIECE`] units each, but for the last one, which has what
/// is left besides. So whatever the lanes carry is made of the last piece alone. Where the lane coder splits and
/// merges on its way, that piece is as small as can be, and all before it are one.
pub(super) fn pieces(
    units: usize,
    fused: Option<Join>,
) -> impl DoubleEndedIterator<Item = (usize, usize)> {
    let all_but_last = fused.map_or(0, |join| units.saturating_sub(join.carried()));
    let (size, count) = match all_but_last / lanes::LANES * lanes::LANES {
        0 => (PIECE, (units / PIECE).max(1)),
        all_but_last => (all_but_last, 2),
    };
    (0..count).map(move |index| {
        (index * size, if index + 1 == count { units } else { (index + 1) * size })
    })
}

/// What the lanes of a plane carry: the end of the payload written so far, and how much of that there is.
fn lend(payload: &[u8]) -> ([u8; CARRIED_BYTES], usize) {
    let lent = payload.len().min(CARRIED_BYTES);
    let mut initial = [0; CARRIED_BYTES];
    initial[..lent].copy_from_slice(&payload[payload.len() - lent..]);
    (initial, lent)
}

/// Room in the output, which is no certainty where a sample decided.
fn place(out: &mut [u8], at: usize, size: usize) -> Result<&mut [u8]> {
    let available = out.len();
    out.get_mut(at..at + size).ok_or(Error::OutputTooSmall { needed: at + size, available })
}

/// Bytes of the header of a coded plane.
fn header_bytes(book: &Codebook, book_ref: BookRef) -> usize {
    let book_bytes = match book_ref {
        BookRef::Embedded => book.lengths().write_to(&mut [0; MAX_LENGTHS_BYTES]),
        BookRef::Resident(_) => 0,
    };
    plan::coded_header_bytes(book.lengths(), book_bytes)
}

/// What is known of a coded plane after it was coded.
struct Counted {
    zeros: u32,
    stream_bytes: usize,
    escapes: usize,
}

/// Writes the header of a coded plane.
fn write_header(head: &mut [u8], book: &Codebook, coded: &Coded, counted: Counted) {
    let lengths = book.lengths();
    let mut fields = Fields { head, at: 0 };
    match coded.book_ref {
        BookRef::Resident(number) => fields.put(&[number]),
        BookRef::Embedded => {
            let mut bytes = [0; MAX_LENGTHS_BYTES];
            let size = lengths.write_to(&mut bytes);
            fields.put(&[EMBEDDED]);
            fields.put(&bytes[..size]);
        }
    }
    if lengths.alphabet() == Alphabet::Centred {
        fields.put(&[coded.base]);
    }
    if lengths.zero() > 0 {
        fields.put(&counted.zeros.to_le_bytes());
    }
    fields.put(&(counted.stream_bytes as u32).to_le_bytes());
    if lengths.escape() > 0 {
        fields.put(&(counted.escapes as u32).to_le_bytes());
    }
}

struct Fields<'a> {
    head: &'a mut [u8],
    at: usize,
}

impl Fields<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.head[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

/// Exponents to the slots of a centred book; returns the number of exact zeros. `nonzero` is 0 for them,
/// and empty when there are none.
#[inline(always)]
fn to_slots(exponents: &[u8], nonzero: &[u8], base: u8, slots: &mut [u8]) -> u32 {
    for (slot, exponent) in slots.iter_mut().zip(exponents) {
        *slot = exponent.wrapping_sub(base).min(ESCAPE_SLOT as u8);
    }
    let mut zeros = 0;
    for (slots, nonzero) in slots.chunks_mut(SLOT_CHUNK).zip(nonzero.chunks(SLOT_CHUNK)) {
        let mut here = 0u8;
        for (slot, &nonzero) in slots.iter_mut().zip(nonzero) {
            *slot = if nonzero == 0 { ZERO_SLOT as u8 } else { *slot };
            here += u8::from(nonzero == 0);
        }
        zeros += u32::from(here);
    }
    zeros
}
