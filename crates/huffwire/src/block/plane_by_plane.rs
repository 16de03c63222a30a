//! Blocks whose planes lie in memory and are written or read one after the other. Every block can be coded so. For most
//! blocks [`super::one_pass`] is possible and faster; it writes the same bytes.

use super::header::{BlockHeader, ReadBlock};
use super::scratch::BlockScratch;
use crate::codebook::{Codebook, ZERO_SLOT};
use crate::error::{Error, Result};
use crate::kernels::bytes;
use crate::kernels::platform::Platform;
use crate::plane_codec::{PayloadReader, PlaneHeader, PlaneReader, PlaneToWrite, PlaneWriter};
use crate::planes::MAX_PLANES;
use crate::set::CodebookSet;

/// Planes in memory.
pub(super) struct SplitPlanes<'a> {
    pub(super) planes: &'a [Vec<u8>],
    /// 0 for each unit that plane 0 codes as an exact zero; empty if there are none. Such units have no symbols in the
    /// other planes.
    pub(super) nonzero: &'a [u8],
    /// By plane: a book that its header embeds.
    pub(super) embedded: &'a [Codebook],
}

/// Writes a block; returns its length.
pub(super) fn write(
    platform: Platform,
    set: &CodebookSet,
    header: &BlockHeader,
    split: &SplitPlanes<'_>,
    writer: &mut PlaneWriter,
    out: &mut [u8],
) -> Result<usize> {
    let nothing = PlaneToWrite {
        header: PlaneHeader::Raw,
        book: None,
        width: 8,
        symbols: &[],
        nonzero: &[],
        or_raw: false,
    };
    let mut planes = [nothing; MAX_PLANES];
    let headers = header.planes();
    for (index, (plane, &header_of_plane)) in planes.iter_mut().zip(headers).enumerate() {
        *plane = PlaneToWrite {
            header: header_of_plane,
            book: header.book(index, set, split.embedded),
            width: header.scheme.planes[index].width,
            symbols: &split.planes[index],
            nonzero: if index == 0 { split.nonzero } else { &[] },
            or_raw: false,
        };
    }
    let available = out.len();
    let no_room = || Error::OutputTooSmall { needed: 1, available };
    let (layout, rest) = out.split_first_mut().ok_or_else(no_room)?;
    *layout = header.scheme.layout.number();
    Ok(1 + writer.write(platform, &mut planes[..headers.len()], rest)?)
}

/// Decodes a block.
pub(super) fn read(
    platform: Platform,
    set: &CodebookSet,
    block: &ReadBlock<'_>,
    scratch: &mut BlockScratch,
    out: &mut [u8],
) -> Result<()> {
    let BlockScratch { planes, compacted, reader, embedded } = scratch;
    let mut payload = PayloadReader::new(block.payload);
    let scheme = block.header.scheme;
    let zeros = block.header.zeros() > 0;
    // Where the exact zeros are.
    let mut slots = Vec::new();
    for (index, symbols) in planes.iter_mut().enumerate().take(scheme.planes.len()) {
        reader.read(platform, &block.plane(index, set, embedded), &mut payload, symbols)?;
        if !zeros {
            continue;
        }
        if index == 0 {
            slots = reader.take_slots();
            continue;
        }
        // The remainder of units that are not zero spreads over all of them; zeros get 0.
        std::mem::swap(symbols, compacted);
        symbols.clear();
        symbols.resize(slots.len(), 0);
        bytes::expand(platform, ZERO_SLOT as u8, true, &slots, compacted, symbols);
    }
    reader.give_back(slots);
    scheme.merge_vecs(platform, &planes[..scheme.planes.len()], out);
    Ok(())
}

/// Two blocks of the same size. The error may be that of either.
pub(super) fn read_two(
    platform: Platform,
    set: &CodebookSet,
    [a, b]: [&mut BlockScratch; 2],
    [block_a, block_b]: [&ReadBlock<'_>; 2],
    [out_a, out_b]: [&mut [u8]; 2],
) -> Result<()> {
    let scheme = block_a.header.scheme;
    if scheme.layout != block_b.header.scheme.layout
        || block_a.header.zeros() > 0
        || block_b.header.zeros() > 0
    {
        read(platform, set, block_a, a, out_a)?;
        return read(platform, set, block_b, b, out_b);
    }
    let mut payload_a = PayloadReader::new(block_a.payload);
    let mut payload_b = PayloadReader::new(block_b.payload);
    for index in 0..scheme.planes.len() {
        PlaneReader::read_two(
            [&mut a.reader, &mut b.reader],
            platform,
            [&block_a.plane(index, set, &a.embedded), &block_b.plane(index, set, &b.embedded)],
            [&mut payload_a, &mut payload_b],
            [&mut a.planes[index], &mut b.planes[index]],
        )?;
    }
    scheme.merge_vecs(platform, &a.planes[..scheme.planes.len()], out_a);
    scheme.merge_vecs(platform, &b.planes[..scheme.planes.len()], out_b);
    Ok(())
}
