//! Parts: ordinary blocks in a row, which hold all elements of a block of a delta, or all differences.

use super::header::WHAT;
use crate::block::{self, BlockDecoder, BlockEncoder};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::lanes::CachePolicy;
use crate::plan::Policy;
use crate::set::CodebookSet;
use crate::wire::{Reader, put_varint};

/// Appends `bytes` as ordinary blocks of at most `2^block_log2` bytes of elements.
pub(super) fn encode(
    encoder: &mut BlockEncoder,
    (set, policy): (&CodebookSet, &Policy),
    (dtype, block_log2): (Dtype, u8),
    bytes: &[u8],
    coded: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<()> {
    out.push(block_log2);
    coded.clear();
    for part in bytes.chunks(block::block_bytes(dtype, block_log2)) {
        let start = coded.len();
        coded.resize(start + block::capacity(part.len()), 0);
        let place = &mut coded[start..];
        let length = encoder.encode(set, policy, part, CachePolicy::Cached, place)?;
        coded.truncate(start + length);
        put_varint(out, length as u64);
    }
    out.extend_from_slice(coded);
    Ok(())
}

/// Decodes parts into `out`, which is as long as their elements.
pub(super) fn decode(
    decoder: &mut BlockDecoder,
    set: &CodebookSet,
    dtype: Dtype,
    payload: &[u8],
    out: &mut [u8],
) -> Result<()> {
    let mut reader = Reader::new(WHAT, payload);
    let block_log2 = reader.u8()?;
    if !block::BLOCK_LOG2.contains(&block_log2) {
        return Err(Error::malformed(WHAT, 0, "parts of a size outside 1 KiB to 1 MiB"));
    }
    let part_bytes = block::block_bytes(dtype, block_log2);
    let mut lengths = Vec::new();
    for part in out.chunks(part_bytes) {
        let raw = part.len();
        let length = reader.size()?;
        if length == 0 || length > block::bound(raw) {
            let detail = format!("a part of {length} bytes, which no block of that size has");
            return Err(reader.malformed(detail));
        }
        lengths.push(length);
    }
    for (part, length) in out.chunks_mut(part_bytes).zip(lengths) {
        decoder.decode(set, dtype, reader.take(length)?, CachePolicy::Cached, part)?;
    }
    reader.finish()
}
