//! Blocks of a delta apart from its message: in files they stand without one.

use super::header::WHAT;
use super::message::Delta;
use super::{KIND_HEADER, block_bytes};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::ids::SetId;
use crate::message::{Header, Kind, Parsed, VALUES_LOG2, check_block, raw_sizes, write_entries};

/// The header and the blocks of a message. Checksums are verified; the base is not needed.
///
/// ```
/// use huffwire::{CodebookSet, Dtype, Encoder, delta};
///
/// let message = Encoder::builtin().encode_delta_to_vec(Dtype::U8, &[1; 500], &[2; 500])?;
/// let (header, blocks) = delta::split_message(&message, None)?;
/// assert_eq!(blocks.len(), 1);
///
/// let set = CodebookSet::builtin().id();
/// let again = delta::join_message(header.dtype, header.units.into(), set, &blocks)?;
/// assert_eq!(again, message);
/// # Ok::<(), huffwire::Error>(())
/// ```
///
/// # Errors
/// A typed error when the bytes are no whole delta of a version that this library reads.
pub fn split_message(message: &[u8], context: Option<u64>) -> Result<(Header, Vec<&[u8]>)> {
    let delta = Delta::of(Parsed::read(message, context)?)?;
    delta.verify()?;
    Ok((*delta.header(), delta.blocks().map(|(_, _, block)| block).collect()))
}

/// The message with these blocks, which were coded with a set: with checksums, without a context.
///
/// # Errors
/// [`Error::TooLarge`] for a tensor that no message can hold, [`Error::PartialElement`] for units that are no whole
/// elements, [`Error::Unexpected`] for another number of blocks than so many units have, and [`Error::Malformed`], within
/// [`Error::InBlock`], for a block that is empty or longer than its elements allow.
pub fn join_message(
    dtype: Dtype,
    units: u64,
    set: SetId,
    blocks: &[impl AsRef<[u8]>],
) -> Result<Vec<u8>> {
    let header = Header {
        kind: Kind::Delta,
        dtype,
        units: Header::count_units(units)?,
        checksums: true,
        has_context: false,
        set: set.short(),
        block_log2: VALUES_LOG2,
    };
    let bytes = header.raw_bytes()?;
    if dtype.values_in(bytes as u64).is_none() {
        return Err(Error::PartialElement { dtype, bytes });
    }
    let entries: Vec<&[u8]> =
        [&KIND_HEADER[..]].into_iter().chain(blocks.iter().map(AsRef::as_ref)).collect();
    if entries.len() != header.entries() {
        let (expected, found) = (header.entries() - 1, blocks.len());
        let (expected, found) = (expected.to_string(), found.to_string());
        return Err(Error::Unexpected { what: "the number of blocks of a delta", expected, found });
    }
    let raw_sizes = raw_sizes(bytes as u64, block_bytes(dtype));
    for (index, (block, raw)) in entries[1..].iter().zip(raw_sizes).enumerate() {
        check_block(Kind::Delta, dtype, raw, block.len())
            .map_err(|detail| Error::malformed(WHAT, 0, detail).in_block(index as u64))?;
    }
    let mut out = Vec::new();
    write_entries(&header, None, &entries, &mut out)?;
    Ok(out)
}
