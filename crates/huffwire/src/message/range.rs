//! Random access: some bytes of a tensor, of which only the blocks that hold them are decoded.

use std::ops::Range;

use super::parsed::verify;
use super::{Decoding, Parsed};
use crate::block::BlockDecoder;
use crate::error::{Error, Result};
use crate::lanes::CachePolicy;
use crate::set::CodebookSet;

/// Decodes the bytes `range` of the elements of a message into `out`, which has exactly as many.
pub(crate) fn decode_range(
    message: &Parsed<'_>,
    set: &CodebookSet,
    decoder: &mut BlockDecoder,
    range: Range<usize>,
    out: &mut [u8],
) -> Result<()> {
    let decoding = Decoding::new(&message.header, message.seal, set)?;
    let all = message.header.raw_bytes()?;
    if range.start > range.end || range.end > all {
        let detail = format!("bytes {}..{} of a tensor of {all}", range.start, range.end);
        return Err(Error::InvalidOption(detail.into()));
    }
    if out.len() != range.len() {
        return Err(Error::OutputLength { needed: range.len(), available: out.len() });
    }
    if range.is_empty() {
        return Ok(());
    }
    let size = decoding.block_bytes;
    let blocks = range.start / size..range.end.div_ceil(size);
    let [before, table] = message.table.split_at(blocks.start);
    let mut rest = &message.body[before.total() as usize..];
    let (mut out, mut whole) = (out, Vec::new());
    for (entry, number) in blocks.enumerate() {
        let (block, behind) = rest.split_at(table.length(entry));
        rest = behind;
        let in_block = |error: Error| error.in_block(number as u64);
        verify(decoding.seal, &table, entry, block, "a block").map_err(in_block)?;
        let start = number * size;
        let end = (start + size).min(all);
        let wanted = range.start.max(start)..range.end.min(end);
        let (place, behind) = std::mem::take(&mut out).split_at_mut(wanted.len());
        out = behind;
        if wanted.len() == end - start {
            let decoded = decoder.decode(set, decoding.dtype, block, CachePolicy::Cached, place);
            decoded.map_err(in_block)?;
        } else {
            whole.resize(end - start, 0);
            let decoded =
                decoder.decode(set, decoding.dtype, block, CachePolicy::Cached, &mut whole);
            decoded.map_err(in_block)?;
            place.copy_from_slice(&whole[wanted.start - start..wanted.end - start]);
        }
    }
    Ok(())
}
