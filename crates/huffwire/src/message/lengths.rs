//! How long the entries of messages and of files may be.

use super::{HEADER_BYTES, Header, Kind, Table, VALUES_LOG2, WHAT};
use crate::block;
use crate::dtype::Dtype;
use crate::error::{Error, Result};

/// Bytes of the kind header of a delta.
pub(crate) const DELTA_HEADER_BYTES: usize = 1;

/// The most bytes of a block of a delta on top of its parts: what it holds, two hashes, a number of changes, and the size
/// of the parts.
pub(crate) const DELTA_BLOCK_OVERHEAD: usize = 1 + 2 * 16 + 5 + 1;

/// The most bytes that a part of a block of a delta takes on top of its elements: its length, and the first byte of a
/// block.
const DELTA_PART_OVERHEAD: usize = 3 + 1;

/// The most bytes of a coded block of quantized values: far more than any encoder makes of 2^20 values.
const MAX_VALUES_BYTES: usize = 1 << 26;

/// The longest block of a delta for so many bytes of elements, when its parts hold `2^block_log2` bytes.
pub(crate) const fn delta_block_bound(dtype: Dtype, bytes: usize, block_log2: u8) -> usize {
    let parts = bytes.div_ceil(block::block_bytes(dtype, block_log2));
    DELTA_BLOCK_OVERHEAD + parts * DELTA_PART_OVERHEAD + bytes
}

/// Bytes of elements in each block but the last.
pub(crate) const fn block_bytes(kind: Kind, dtype: Dtype, block_log2: u8) -> usize {
    match kind {
        Kind::Tensor => block::block_bytes(dtype, block_log2),
        Kind::Values | Kind::Delta => dtype.unit_bytes() << VALUES_LOG2,
    }
}

/// The bytes of elements of each block, when there are so many in all, and `size` in each block but the last.
pub(crate) fn raw_sizes(bytes: u64, size: usize) -> impl Iterator<Item = usize> + Clone {
    (0..bytes).step_by(size).map(move |start| (bytes - start).min(size as u64) as usize)
}

/// Checks the length of a kind header. That of a delta has one length; others tell theirs themselves.
pub(crate) fn check_kind_header(kind: Kind, coded: usize) -> Result<(), &'static str> {
    if kind == Kind::Delta && coded != DELTA_HEADER_BYTES {
        return Err("a kind header of a delta of another length than 1 byte");
    }
    Ok(())
}

/// Checks the length of a coded block of so many bytes of elements.
pub(crate) const fn check_block(
    kind: Kind,
    dtype: Dtype,
    raw: usize,
    coded: usize,
) -> Result<(), &'static str> {
    let (bound, detail) = match kind {
        Kind::Tensor => (block::bound(raw), "a block larger than blocks can be"),
        Kind::Values => (MAX_VALUES_BYTES, "a block of quantized values of more than 64 MiB"),
        Kind::Delta => {
            // The parts of a block may be as small as blocks can be.
            let bound = delta_block_bound(dtype, raw, *block::BLOCK_LOG2.start());
            (bound, "a block of a delta larger than such blocks can be")
        }
    };
    match coded {
        0 => Err("an empty block"),
        _ if coded > bound => Err(detail),
        _ => Ok(()),
    }
}

/// Checks the lengths that the table of a message names, before anything is decoded or waited for. Those of quantized
/// values are the business of whoever decodes them.
pub(crate) fn check_lengths(header: &Header, table: &Table<'_>) -> Result<()> {
    let Header { kind, dtype, block_log2, .. } = *header;
    if kind == Kind::Values {
        return Ok(());
    }
    let place = |entry: usize| HEADER_BYTES + 4 * entry;
    let leading = kind.leading_entries();
    for entry in 0..leading {
        check_kind_header(kind, table.length(entry))
            .map_err(|detail| Error::malformed(WHAT, place(entry), detail))?;
    }
    let raw_sizes = raw_sizes(header.raw_bytes()? as u64, block_bytes(kind, dtype, block_log2));
    for (entry, raw) in (leading..table.len()).zip(raw_sizes) {
        let length = table.length(entry);
        check_block(kind, dtype, raw, length).map_err(|detail| {
            let block = entry - leading;
            let detail = format!("block {block} of {length} bytes: {detail}");
            Error::malformed(WHAT, place(entry), detail)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_blocks_but_the_last_are_full() {
        for (bytes, expected) in [
            (0, &[][..]),
            (1, &[1]),
            (1023, &[1023]),
            (1024, &[1024]),
            (1025, &[1024, 1]),
            (3 << 10, &[1024; 3]),
        ] {
            assert!(raw_sizes(bytes, 1024).eq(expected.iter().copied()), "{bytes}");
        }
        // What a file claims may be more than there can be: nothing is counted ahead.
        assert_eq!(raw_sizes(i64::MAX as u64, 1024).next(), Some(1024));
    }
}
