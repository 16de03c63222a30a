//! Blocks of a delta apart from its message: in files they stand without one.

use super::message::Blocks;
use super::{KIND_HEADER, header};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::ids::SetId;
use crate::message::{Header, Kind, Parsed, VALUES_LOG2, write_entries};

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
    let parsed = Parsed::read(message, context)?;
    let mut blocks = Vec::new();
    for (index, _, bytes) in Blocks::of(&parsed)? {
        let verified = parsed.verify(index + 1, bytes, header::WHAT);
        verified.map_err(|error| error.in_block(index as u64))?;
        blocks.push(bytes);
    }
    Ok((parsed.header, blocks))
}

/// The message with these blocks, which were coded with a set: with checksums, without a context.
///
/// # Errors
/// [`Error::TooLarge`] for a tensor or a block that no message can hold, [`Error::Unexpected`] for another number of
/// blocks than so many units have.
pub fn join_message(
    dtype: Dtype,
    units: u64,
    set: SetId,
    blocks: &[impl AsRef<[u8]>],
) -> Result<Vec<u8>> {
    let header = Header {
        kind: Kind::Delta,
        dtype,
        units: Header::count_units(usize::try_from(units).unwrap_or(usize::MAX))?,
        checksums: true,
        has_context: false,
        set: set.short(),
        block_log2: VALUES_LOG2,
    };
    let entries: Vec<&[u8]> =
        [&KIND_HEADER[..]].into_iter().chain(blocks.iter().map(AsRef::as_ref)).collect();
    if entries.len() != header.entries() {
        let (expected, found) = (header.entries() - 1, blocks.len());
        let (expected, found) = (expected.to_string(), found.to_string());
        return Err(Error::Unexpected { what: "the number of blocks of a delta", expected, found });
    }
    let mut out = Vec::new();
    write_entries(&header, None, &entries, &mut out)?;
    Ok(out)
}
