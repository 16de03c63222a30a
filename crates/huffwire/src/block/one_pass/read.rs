//! Decoding a block in one pass. Two blocks can be decoded at the same time: while the lanes of one block wait for a
//! look-up, the processor works on the lanes of the other.

use super::super::header::ReadBlock;
use super::{Constants, packed_constant, pieces};
use crate::codebook::Codebook;
use crate::error::Result;
use crate::kernels::pack::{packed_bytes, unpack};
use crate::kernels::platform::Platform;
use crate::lanes::{self, CARRIED_BYTES, CachePolicy, Join, Reading, ToMerge};
use crate::plane_codec::{Coder, PlaneHeader, check_carried, check_padding, is_beyond, outside};
use crate::planes::{MAX_PLANES, Plane, Scheme};
use crate::set::CodebookSet;

/// A block that can be decoded in one pass.
pub(in super::super) struct OnePass<'a> {
    scheme: &'static Scheme,
    unit_bytes: usize,
    units: usize,
    book: &'a Codebook,
    base: u8,
    states: &'a [u8],
    stream: &'a [u8],
    escapes: &'a [u8],
    constants: Constants,
    /// By plane: its payload, but for what the lanes carry.
    raw: [&'a [u8]; MAX_PLANES],
    /// The plane whose end the lanes carry: the first one after plane 0 that is not constant.
    carrier: usize,
    /// How many bytes they carry.
    carried: usize,
}

/// Whether a block can be decoded in one pass, and how: when plane 0 is in lanes and no zeros are set apart, all other
/// planes are raw or constant, and the lanes carry nothing, or a part of one plane alone.
pub(in super::super) fn plan<'b, 'a: 'b>(
    block: &ReadBlock<'a>,
    set: &'b CodebookSet,
    embedded: &'b [Codebook],
) -> Option<OnePass<'b>> {
    let &ReadBlock { header, unit_bytes, units, payload, ref sizes } = block;
    let PlaneHeader::Coded(coded) = header.planes()[0] else { return None };
    if coded.coder != Coder::Lanes || coded.zeros > 0 {
        return None;
    }
    let book = header.book(0, set, embedded)?;
    let (mut rest, of_plane_0) =
        payload.split_at_checked(payload.len().checked_sub(coded.payload_bytes())?)?;
    let (states, of_plane_0) = of_plane_0.split_at_checked(coded.states_bytes())?;
    let (stream, escapes) = of_plane_0.split_at_checked(coded.stream_bytes)?;
    let mut raw: [&[u8]; MAX_PLANES] = [&[]; MAX_PLANES];
    let mut constants: Constants = [None; MAX_PLANES];
    let carried = sizes.carried[0];
    let mut carrier = 0;
    for (index, plane) in header.planes().iter().enumerate().skip(1) {
        match plane {
            PlaneHeader::Coded(_) => return None,
            PlaneHeader::Constant(symbol) => constants[index] = Some(*symbol),
            PlaneHeader::Raw => {
                let mut stored = plane.payload_bytes(&header.shape(index, units));
                if carrier == 0 {
                    carrier = index;
                    stored = stored.checked_sub(carried)?;
                }
                (rest, raw[index]) = rest.split_at_checked(rest.len().checked_sub(stored)?)?;
            }
        }
    }
    let (scheme, base) = (header.scheme, coded.base);
    Some(OnePass {
        scheme,
        unit_bytes,
        units,
        book,
        base,
        states,
        stream,
        escapes,
        constants,
        raw,
        carrier,
        carried,
    })
}

/// Whether two blocks fall into pieces alike.
pub(in super::super) fn alike(first: &OnePass<'_>, second: &OnePass<'_>) -> bool {
    first.scheme.layout == second.scheme.layout && first.units == second.units
}

/// A block that is decoded.
struct Progress<'a> {
    pass: &'a OnePass<'a>,
    lanes: lanes::Decoder<'a>,
    fused: Option<Join>,
    cache: CachePolicy<'a>,
    /// Whether a symbol outside the alphabet was seen.
    beyond: bool,
}

impl<'a> Progress<'a> {
    /// In place: lanes are large, and moving them takes as long as decoding some of what they hold.
    #[inline(always)]
    fn begin(
        platform: Platform,
        pass: &'a OnePass<'a>,
        cache: CachePolicy<'a>,
        scratch: &mut OfBlock,
    ) -> Result<Self> {
        let reading = Reading::Symbols { base: pass.base, escapes: pass.escapes };
        let lanes =
            lanes::Decoder::new(platform, pass.book.tables(), reading, pass.states, pass.stream)?;
        let fuses = |join: &Join| lanes::fuses(platform, pass.book.limit(), *join);
        let fused = pass.scheme.join.filter(fuses);
        // They hold symbols of another block.
        scratch.unpacked.iter_mut().for_each(Vec::clear);
        if let (Some(_), Some(symbol)) = (fused, pass.constants[1]) {
            let width = pass.scheme.planes[1].width;
            scratch.other.clear();
            scratch.other.resize(packed_bytes(pass.units, width), packed_constant(symbol, width));
        }
        Ok(Self { pass, lanes, fused, cache, beyond: false })
    }

    /// The elements `from..to`, for a coder that merges on its way.
    fn elements<'b>(
        &self,
        join: Join,
        (from, to): (usize, usize),
        scratch: &'b OfBlock,
        out: &'b mut [u8],
    ) -> ToMerge<'b>
    where
        'a: 'b,
    {
        let pass = self.pass;
        let place = |unit: usize| packed_bytes(unit, pass.scheme.planes[1].width);
        let other = match pass.constants[1] {
            None => &pass.raw[1][place(from)..place(to)],
            Some(_) => &scratch.other[place(from)..place(to)],
        };
        let elements = &mut out[from * pass.unit_bytes..to * pass.unit_bytes];
        ToMerge { join, other, elements, cache: self.cache }
    }

    const fn plane(&self) -> &'static Plane {
        &self.pass.scheme.planes[0]
    }

    /// Checks the end; returns what the lanes carried.
    fn finish(&self, platform: Platform) -> Result<[u8; CARRIED_BYTES]> {
        let bytes = self.lanes.finish()?;
        check_carried(&bytes, self.pass.carried)?;
        // Of symbols that were merged on the way only those that took the escape can lie outside.
        let width = self.plane().width;
        if self.beyond || is_beyond(platform, self.pass.escapes, width) {
            return Err(outside());
        }
        Ok(bytes)
    }

    /// The elements `from..to` from their decoded symbols.
    fn put(
        &mut self,
        platform: Platform,
        (from, to): (usize, usize),
        symbols: &[u8],
        scratch: &mut OfBlock,
        out: &mut [u8],
    ) -> Result<()> {
        // No error yet: which one comes first must not depend on the pieces, hence on the platform.
        self.beyond |= is_beyond(platform, symbols, self.plane().width);
        let carried = if to == self.pass.units { Some(self.finish(platform)?) } else { None };
        self.merge(platform, (from, to), symbols, carried.as_ref(), scratch, out)
    }

    /// Puts the elements `from..to` together. For the last piece `carried` is what the lanes carried.
    fn merge(
        &self,
        platform: Platform,
        (from, to): (usize, usize),
        symbols: &[u8],
        carried: Option<&[u8; CARRIED_BYTES]>,
        scratch: &mut OfBlock,
        out: &mut [u8],
    ) -> Result<()> {
        let pass = self.pass;
        let planes = pass.scheme.planes;
        let mut slices: [&[u8]; MAX_PLANES] = [&[]; MAX_PLANES];
        slices[0] = symbols;
        let OfBlock { joined, unpacked, .. } = scratch;
        if let Some(carried) = carried {
            // The end of the plane is not stored in its place.
            let plane = &planes[pass.carrier];
            let before = packed_bytes(from * usize::from(plane.per_unit), plane.width);
            joined.clear();
            joined.extend_from_slice(pass.raw[pass.carrier].get(before..).unwrap_or_default());
            joined.extend_from_slice(&carried[..pass.carried]);
        }
        for (index, (plane, unpacked)) in planes.iter().zip(unpacked).enumerate().skip(1) {
            let per_unit = usize::from(plane.per_unit);
            let count = (to - from) * per_unit;
            if let Some(symbol) = pass.constants[index] {
                // What is there is the same.
                if unpacked.len() < count {
                    unpacked.resize(count, symbol);
                }
                slices[index] = &unpacked[..count];
                continue;
            }
            let place = |unit: usize| packed_bytes(unit * per_unit, plane.width);
            let packed = match carried {
                Some(_) if index == pass.carrier => joined,
                _ => &pass.raw[index][place(from)..place(to)],
            };
            if plane.width == 8 {
                slices[index] = packed;
                continue;
            }
            unpacked.resize(count, 0);
            check_padding(unpack(platform, packed, plane.width, unpacked))?;
            slices[index] = unpacked;
        }
        let bytes = &mut out[from * pass.unit_bytes..to * pass.unit_bytes];
        pass.scheme.merge(platform, &slices[..planes.len()], bytes);
        Ok(())
    }
}

/// Memory for pieces.
#[derive(Debug, Default)]
pub(in super::super) struct PieceScratch {
    symbols: [Vec<u8>; 2],
    of_blocks: [OfBlock; 2],
}

/// Memory for the pieces of one block.
#[derive(Debug, Default)]
struct OfBlock {
    unpacked: [Vec<u8>; MAX_PLANES],
    joined: Vec<u8>,
    /// Plane 1 of a coder that merges on its way, where that is constant.
    other: Vec<u8>,
}

/// Decodes a block.
pub(in super::super) fn read(
    platform: Platform,
    pass: &OnePass<'_>,
    cache: CachePolicy<'_>,
    scratch: &mut PieceScratch,
    out: &mut [u8],
) -> Result<()> {
    let PieceScratch { symbols: [symbols, _], of_blocks: [scratch, _] } = scratch;
    let mut block = Progress::begin(platform, pass, cache, scratch)?;
    let (units, per_unit) = (block.pass.units, usize::from(block.plane().per_unit));
    for (from, to) in pieces(units, block.fused) {
        if let Some(join) = block.fused.filter(|_| to < units) {
            let elements = block.elements(join, (from, to), scratch, out);
            block.lanes.pull_merged(elements)?;
            continue;
        }
        symbols.resize((to - from) * per_unit, 0);
        block.lanes.pull(symbols)?;
        block.put(platform, (from, to), symbols, scratch, out)?;
    }
    Ok(())
}

/// Two blocks that are [`alike`]. The error may be that of either.
pub(in super::super) fn read_two(
    platform: Platform,
    [first, second]: [&OnePass<'_>; 2],
    caches: [CachePolicy<'_>; 2],
    scratch: &mut PieceScratch,
    [first_out, second_out]: [&mut [u8]; 2],
) -> Result<()> {
    let PieceScratch { symbols: [a, b], of_blocks: [scratch_a, scratch_b] } = scratch;
    let mut first = Progress::begin(platform, first, caches[0], scratch_a)?;
    let mut second = Progress::begin(platform, second, caches[1], scratch_b)?;
    let (units, per_unit) = (first.pass.units, usize::from(first.plane().per_unit));
    let fused = first.fused.filter(|_| first.fused == second.fused);
    let both = |[first, second]: [Result<()>; 2]| first.and(second);
    for (from, to) in pieces(units, fused) {
        if let Some(join) = fused.filter(|_| to < units) {
            let elements = [
                first.elements(join, (from, to), scratch_a, first_out),
                second.elements(join, (from, to), scratch_b, second_out),
            ];
            let coders = [&mut first.lanes, &mut second.lanes];
            both(lanes::Decoder::pull_merged_of_two(coders, elements))?;
            continue;
        }
        a.resize((to - from) * per_unit, 0);
        b.resize((to - from) * per_unit, 0);
        both(lanes::Decoder::pull_two([&mut first.lanes, &mut second.lanes], [a, b]))?;
        let results = [
            first.put(platform, (from, to), a, scratch_a, first_out),
            second.put(platform, (from, to), b, scratch_b, second_out),
        ];
        both(results)?;
    }
    Ok(())
}
