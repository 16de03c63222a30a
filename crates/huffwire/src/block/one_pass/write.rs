//! Encoding a block in one pass.

use super::super::header::BlockHeader;
use super::{Constants, packed_constant, pieces};
use crate::codebook::Codebook;
use crate::error::{Error, Result};
use crate::kernels::pack::{pack, packed_bytes};
use crate::kernels::platform::Platform;
use crate::lanes::{self, CachePolicy, Escapes, SlotMap, ToSplit};
use crate::plane_codec::{Coder, PlaneHeader, Sizes, carried};
use crate::planes::MAX_PLANES;
use crate::set::CodebookSet;

/// Memory for pieces.
#[derive(Debug, Default)]
pub(in super::super) struct WriteScratch {
    planes: [Vec<u8>; MAX_PLANES],
    escapes: Escapes,
}

/// Whether a block of which this is the plan can be written in one pass. `apart`: whether zeros are set apart.
pub(in super::super) fn can_write(header: &BlockHeader, apart: bool) -> bool {
    let Some((first, others)) = header.planes().split_first() else { return false };
    let in_lanes = first.coded().is_some_and(|coded| coded.coder == Coder::Lanes);
    in_lanes && !apart && others.iter().all(|plane| plane.coded().is_none())
}

/// Writes a block that [`can_write`] allows; returns its length. `None` when the elements do not fit the layout, or a
/// constant plane of the plan is none, which nobody looked at yet. The sizes in `header` become those of the block.
pub(in super::super) fn write(
    platform: Platform,
    set: &CodebookSet,
    embedded: &[Codebook],
    header: &mut BlockHeader,
    (bytes, unit_bytes, cache): (&[u8], usize, CachePolicy<'_>),
    scratch: &mut WriteScratch,
    out: &mut [u8],
) -> Result<Option<usize>> {
    let (PlaneHeader::Coded(mut coded), Some(book)) =
        (header.planes()[0], header.book(0, set, embedded))
    else {
        return Ok(None);
    };
    let scheme = header.scheme;
    let planes = scheme.planes;
    let units = bytes.len() / unit_bytes;
    // What a sample was short of: sizes are those of the whole block.
    (coded.zeros, coded.stream_bytes, coded.escapes) = (0, 0, 0);
    header.set(0, PlaneHeader::Coded(coded));
    let start = header.header_bytes(set, embedded)?;
    let sizes = Sizes::of(header.planes(), |plane| header.shape(plane, units));
    let mut constants: Constants = [None; MAX_PLANES];
    for (constant, plane) in constants.iter_mut().zip(header.planes()) {
        if let PlaneHeader::Constant(symbol) = plane {
            *constant = Some(*symbol);
        }
    }
    // The raw planes lie one behind the other, the last one first. Where they end, the lanes' states begin.
    let raw_at: [usize; MAX_PLANES] = sizes.before.map(|before| start + before);
    let raw_end = raw_at[0];
    let states_at = raw_end - carried(raw_end - start);
    let stream_at = states_at + coded.states_bytes();
    let available = out.len();
    let Some((head, stream)) = out.split_at_mut_checked(stream_at) else {
        return Err(Error::OutputTooSmall { needed: stream_at, available });
    };

    let WriteScratch { planes: split, escapes } = scratch;
    escapes.clear(units * usize::from(planes[0].per_unit));
    let map = SlotMap::new(planes[0].alphabet(), coded.base);
    let mut encoder: Option<lanes::Encoder> = None;
    let fused = scheme.join.filter(|join| lanes::fuses(platform, book.limit(), *join));
    for (from, to) in pieces(units, fused).rev() {
        let count = to - from;
        if let (Some(encoder), Some(join)) = (&mut encoder, fused) {
            let elements = &bytes[from * unit_bytes..to * unit_bytes];
            let place = |unit: usize| raw_at[1] + packed_bytes(unit, planes[1].width);
            let other = match constants[1] {
                None => &mut head[place(from)..place(to)],
                Some(_) => {
                    split[1].resize(packed_bytes(count, planes[1].width), 0);
                    &mut split[1][..]
                }
            };
            let elements = ToSplit { join, elements, other, cache };
            if !encoder.push_split(elements, stream, escapes)? {
                return Ok(None);
            }
            if let Some(symbol) = constants[1] {
                let byte = packed_constant(symbol, planes[1].width);
                if !is_constant(platform, byte, &split[1]) {
                    return Ok(None);
                }
            }
            continue;
        }
        let mut slices: [&mut [u8]; MAX_PLANES] = Default::default();
        let mut to_pack: [&mut [u8]; MAX_PLANES] = Default::default();
        let mut rest = &mut *head;
        let mut behind = 0;
        for (index, plane) in planes.iter().enumerate().skip(1).rev() {
            if constants[index].is_some() {
                continue;
            }
            let per_unit = usize::from(plane.per_unit);
            let begin = raw_at[index] + packed_bytes(from * per_unit, plane.width);
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
        for (index, (plane, symbols)) in planes.iter().zip(split.iter_mut()).enumerate() {
            if index == 0 || plane.width < 8 || constants[index].is_some() {
                symbols.resize(count * usize::from(plane.per_unit), 0);
                slices[index] = symbols;
            }
        }
        let piece = &bytes[from * unit_bytes..to * unit_bytes];
        if !scheme.split(platform, piece, &mut slices[..planes.len()]) {
            return Ok(None);
        }
        for (index, plane) in planes.iter().enumerate().skip(1) {
            if let Some(symbol) = constants[index] {
                if !is_constant(platform, symbol, slices[index]) {
                    return Ok(None);
                }
            } else if plane.width < 8 {
                pack(platform, slices[index], plane.width, to_pack[index]);
            }
        }
        if encoder.is_none() {
            let mut bytes = [0; lanes::CARRIED_BYTES];
            bytes[..raw_end - states_at].copy_from_slice(&head[states_at..raw_end]);
            encoder = Some(lanes::Encoder::new(platform, book.tables(), map, &bytes, true));
        }
        if let Some(encoder) = &mut encoder {
            encoder.push(&split[0], stream, escapes)?;
        }
    }
    coded.stream_bytes =
        encoder.as_ref().map_or(0, |encoder| encoder.finish(&mut head[states_at..]));
    coded.escapes = escapes.as_slice().len();
    let (stream_end, available) = (coded.stream_bytes + coded.escapes, stream.len());
    stream
        .get_mut(coded.stream_bytes..stream_end)
        .ok_or(Error::OutputTooSmall { needed: stream_end, available })?
        .copy_from_slice(escapes.as_slice());
    header.set(0, PlaneHeader::Coded(coded));
    header.write(set, embedded, head)?;
    Ok(Some(stream_at + stream_end))
}

/// Whether all symbols are this one.
pub(in super::super) fn is_constant(platform: Platform, symbol: u8, symbols: &[u8]) -> bool {
    platform.run(|| symbols.iter().fold(0, |any, s| any | (s ^ symbol))) == 0
}
