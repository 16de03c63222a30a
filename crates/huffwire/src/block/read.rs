//! Reading a block in one pass: the counterpart of [`super::write`].
//!
//! Piece by piece symbols come out of the lanes, take their escapes, and are merged with the remainder where it
//! lies. Two blocks can be on their way at the same time: what the lanes of one wait for, those of
//! the other have time to do.

use super::decode::{
    CodedHeader, Parsed, PlaneHeader, any_beyond, book, not_lent, outside_alphabet, padding,
};
use super::write::pieces;
use crate::codebook::Codebook;
use crate::error::Result;
use crate::kernels::platform::Platform;
use crate::lanes::{self, CARRIED_BYTES, CachePolicy, Join, Reading, ToMerge};
use crate::planes::pack::{packed_bytes, unpack};
use crate::planes::{MAX_PLANES, Plane, Scheme};
use crate::set::CodebookSet;

/// A block that can be decoded in one pass.
pub(super) struct OnePass<'a> {
    scheme: &'static Scheme,
    unit_bytes: usize,
    units: usize,
    book: &'a Codebook,
    base: u8,
    states: &'a [u8],
    stream: &'a [u8],
    escapes: &'a [u8],
    /// By plane: its payload, but for what the lanes carry.
    raw: [&'a [u8]; MAX_PLANES],
    /// What the lanes carry: the end of plane 1.
    lent: usize,
}

impl<'a> Parsed<'a> {
    /// Whether a block can be decoded in one pass, and how: when only the first plane is coded, no zeros are
    /// coded apart, and the lanes carry nothing, or a part of plane 1 alone.
    pub(super) fn one_pass<'b>(
        &self,
        set: &'b CodebookSet,
        embedded: &'b [Codebook],
    ) -> Option<OnePass<'b>>
    where
        'a: 'b,
    {
        let PlaneHeader::Coded(CodedHeader { book_ref, base, zeros: 0, stream, escapes }) =
            self.headers[0]
        else {
            return None;
        };
        let book = book(set, embedded, book_ref, 0).ok()?;
        let states = lanes::states_bytes(book.limit());
        let size = states.checked_add(stream)?.checked_add(escapes)?;
        let (mut rest, coded) =
            self.payload.split_at_checked(self.payload.len().checked_sub(size)?)?;
        let (states, coded) = coded.split_at_checked(states)?;
        let (stream, escapes) = coded.split_at_checked(stream)?;
        let mut raw: [&[u8]; MAX_PLANES] = [&[]; MAX_PLANES];
        let lent = self.lent[0];
        for (index, plane) in self.scheme.planes.iter().enumerate().skip(1) {
            let PlaneHeader::Raw = self.headers[index] else { return None };
            let size = packed_bytes(self.units * usize::from(plane.per_unit), plane.width);
            let stored = if index == 1 { size.checked_sub(lent)? } else { size };
            (rest, raw[index]) = rest.split_at_checked(rest.len().checked_sub(stored)?)?;
        }
        let (scheme, unit_bytes, units) = (self.scheme, self.unit_bytes, self.units);
        Some(OnePass { scheme, unit_bytes, units, book, base, states, stream, escapes, raw, lent })
    }
}

/// A block on its way out.
struct Progress<'a> {
    pass: OnePass<'a>,
    lanes: lanes::Decoder<'a>,
    fused: Option<Join>,
    flow: CachePolicy<'a>,
    /// Whether a symbol outside the alphabet was seen.
    beyond: bool,
}

impl<'a> Progress<'a> {
    fn begin(platform: Platform, pass: OnePass<'a>, flow: CachePolicy<'a>) -> Result<Self> {
        let reading = Reading::Symbols { base: pass.base, escapes: pass.escapes };
        let lanes =
            lanes::Decoder::new(platform, pass.book.tables(), reading, pass.states, pass.stream)?;
        let fuses = |join: &Join| lanes::fuses(platform, pass.book.limit(), *join);
        let fused = pass.scheme.join.filter(fuses);
        Ok(Self { pass, lanes, fused, flow, beyond: false })
    }

    /// The elements `from..to`, for a coder that merges on its way.
    fn elements<'b>(&self, join: Join, (from, to): (usize, usize), out: &'b mut [u8]) -> ToMerge<'b>
    where
        'a: 'b,
    {
        let pass = &self.pass;
        let place = |unit: usize| packed_bytes(unit, pass.scheme.planes[1].width);
        let other = &pass.raw[1][place(from)..place(to)];
        let elements = &mut out[from * pass.unit_bytes..to * pass.unit_bytes];
        ToMerge { join, other, elements, cache: self.flow }
    }

    const fn plane(&self) -> &'static Plane {
        &self.pass.scheme.planes[0]
    }

    /// Checks the end; returns what the lanes carried.
    fn finish(&self, platform: Platform) -> Result<[u8; CARRIED_BYTES]> {
        let initial = self.lanes.finish()?;
        if initial[self.pass.lent..].iter().any(|&byte| byte != 0) {
            return Err(not_lent());
        }
        // Of symbols that were merged on the way only those that took the escape can lie outside.
        let width = self.plane().width;
        if self.beyond || width < 8 && any_beyond(platform, self.pass.escapes, width) {
            return Err(outside_alphabet());
        }
        Ok(initial)
    }

    /// The elements `from..to` from their decoded symbols.
    fn put(
        &mut self,
        platform: Platform,
        (from, to): (usize, usize),
        symbols: &[u8],
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Result<()> {
        // No error yet: which one comes first must not depend on the pieces, hence on the platform.
        let width = self.plane().width;
        self.beyond |= width < 8 && any_beyond(platform, symbols, width);
        let initial = if to == self.pass.units { Some(self.finish(platform)?) } else { None };
        self.merge(platform, (from, to), symbols, initial.as_ref(), scratch, out)
    }

    /// Puts the elements `from..to` together. For the last piece `initial` is what the lanes carried.
    fn merge(
        &self,
        platform: Platform,
        (from, to): (usize, usize),
        symbols: &[u8],
        initial: Option<&[u8; CARRIED_BYTES]>,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Result<()> {
        let pass = &self.pass;
        let planes = pass.scheme.planes;
        let mut slices: [&[u8]; MAX_PLANES] = [&[]; MAX_PLANES];
        slices[0] = symbols;
        let Scratch { joined, unpacked, .. } = scratch;
        if let Some(initial) = initial {
            // The end of plane 1 is not stored in its place.
            let width = planes.get(1).map_or(0, |plane| plane.width);
            let per_unit = planes.get(1).map_or(0, |plane| usize::from(plane.per_unit));
            joined.clear();
            joined.extend_from_slice(&pass.raw[1][packed_bytes(from * per_unit, width)..]);
            joined.extend_from_slice(&initial[..pass.lent]);
        }
        for (index, (plane, unpacked)) in planes.iter().zip(unpacked).enumerate().skip(1) {
            let per_unit = usize::from(plane.per_unit);
            let place = |unit: usize| packed_bytes(unit * per_unit, plane.width);
            let packed = match initial {
                Some(_) if index == 1 => joined,
                _ => &pass.raw[index][place(from)..place(to)],
            };
            if plane.width == 8 {
                slices[index] = packed;
                continue;
            }
            unpacked.resize((to - from) * per_unit, 0);
            if !unpack(platform, packed, plane.width, unpacked) {
                return Err(padding());
            }
            slices[index] = unpacked;
        }
        let bytes = &mut out[from * pass.unit_bytes..to * pass.unit_bytes];
        pass.scheme.merge(platform, &slices[..planes.len()], bytes);
        Ok(())
    }
}

/// Memory for pieces.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    symbols: [Vec<u8>; 2],
    unpacked: [Vec<u8>; MAX_PLANES],
    joined: Vec<u8>,
}

/// Decodes a block.
pub(super) fn decode_in_one_pass(
    platform: Platform,
    pass: OnePass<'_>,
    flow: CachePolicy<'_>,
    scratch: &mut Scratch,
    out: &mut [u8],
) -> Result<()> {
    let mut block = Progress::begin(platform, pass, flow)?;
    let (units, per_unit) = (block.pass.units, usize::from(block.plane().per_unit));
    for (from, to) in pieces(units, block.fused) {
        if let Some(join) = block.fused.filter(|_| to < units) {
            let elements = block.elements(join, (from, to), out);
            block.lanes.pull_merged(elements)?;
            continue;
        }
        let [mut symbols, other] = std::mem::take(&mut scratch.symbols);
        symbols.resize((to - from) * per_unit, 0);
        block.lanes.pull(&mut symbols)?;
        block.put(platform, (from, to), &symbols, scratch, out)?;
        scratch.symbols = [symbols, other];
    }
    Ok(())
}

/// Two blocks with the same number of units. The error may be that of either.
pub(super) fn decode_two_in_one_pass(
    platform: Platform,
    [first, second]: [OnePass<'_>; 2],
    flows: [CachePolicy<'_>; 2],
    scratch: &mut Scratch,
    [first_out, second_out]: [&mut [u8]; 2],
) -> Result<()> {
    let mut first = Progress::begin(platform, first, flows[0])?;
    let mut second = Progress::begin(platform, second, flows[1])?;
    let (units, per_unit) = (first.pass.units, usize::from(first.plane().per_unit));
    let fused = first.fused.filter(|_| first.fused == second.fused);
    let both = |[first, second]: [Result<()>; 2]| first.and(second);
    for (from, to) in pieces(units, fused) {
        if let Some(join) = fused.filter(|_| to < units) {
            let elements = [
                first.elements(join, (from, to), first_out),
                second.elements(join, (from, to), second_out),
            ];
            let coders = [&mut first.lanes, &mut second.lanes];
            both(lanes::Decoder::pull_merged_of_two(coders, elements))?;
            continue;
        }
        let mut symbols = std::mem::take(&mut scratch.symbols);
        symbols.iter_mut().for_each(|symbols| symbols.resize((to - from) * per_unit, 0));
        let [a, b] = &mut symbols;
        both(lanes::Decoder::pull_two([&mut first.lanes, &mut second.lanes], [a, b]))?;
        let [a, b] = &symbols;
        let results = [
            first.put(platform, (from, to), a, scratch, first_out),
            second.put(platform, (from, to), b, scratch, second_out),
        ];
        both(results)?;
        scratch.symbols = symbols;
    }
    Ok(())
}
