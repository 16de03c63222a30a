//! Messages of kind 2: a kind header of one byte, and blocks.

use super::decode::{self, DecodeWorker, Decoding};
use super::encode::{EncodeWorker, Encoding};
use super::form::Form;
use super::header::BlockHeader;
use super::{KIND_HEADER, block_bound, block_bytes};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::message::{HEADER_BYTES, Header, Kind, Parsed, VALUES_LOG2, begin, table_bytes};
use crate::parallel::{Share, Workers, each, in_order};

const WHAT: &str = "a delta";

/// What is known of a delta without its base.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// The header of the message.
    pub header: Header,
    /// The headers of all blocks, in order.
    pub blocks: Vec<BlockHeader>,
}

impl Info {
    /// Reads the headers of a message and of its blocks. Checksums are verified; the base is not needed.
    ///
    /// # Errors
    /// A typed error when the bytes are no whole delta of a version that this library reads.
    pub fn read(message: &[u8], context: Option<u64>) -> Result<Self> {
        let message = Parsed::read(message, context)?;
        let form = Form::of(message.header.dtype);
        let mut blocks = Vec::new();
        for block in Blocks::of(&message)? {
            let (index, raw, bytes) = block;
            let verified = message.verify(index + 1, bytes, "a block of a delta");
            let header = verified.and_then(|()| BlockHeader::read(bytes, raw / form.bytes()));
            blocks.push(header.map_err(|error| error.in_block(index as u64))?);
        }
        Ok(Self { header: message.header, blocks })
    }

    /// How many words change.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.changes)).sum()
    }

    /// How many words the tensor has.
    #[must_use]
    pub fn words(&self) -> u64 {
        let Header { dtype, units, .. } = self.header;
        u64::from(units) * (dtype.unit_bytes() / Form::of(dtype).bytes()) as u64
    }
}

/// The longest message for so many units of a type.
pub(crate) const fn bound(dtype: Dtype, units: usize, block_log2: u8) -> usize {
    let bytes = units.saturating_mul(dtype.unit_bytes());
    let blocks = bytes.div_ceil(block_bytes(dtype));
    // What a full block takes on top of its elements.
    let overhead = block_bound(dtype, block_bytes(dtype), block_log2) - block_bytes(dtype);
    let table = table_bytes(blocks.saturating_add(1), true);
    let front = HEADER_BYTES + KIND_HEADER.len();
    bytes
        .saturating_add(blocks.saturating_mul(overhead))
        .saturating_add(table)
        .saturating_add(front)
}

/// Encodes the delta from `base` to `new` as one message into `out`, which needs [`bound`] bytes; returns the
/// message's length.
pub(crate) fn encode(
    encoding: &Encoding<'_>,
    (checksums, context): (bool, Option<u64>),
    workers: &mut Workers<EncodeWorker>,
    buffers: &mut Vec<Vec<u8>>,
    (base, new): (&[u8], &[u8]),
    out: &mut [u8],
) -> Result<usize> {
    let Encoding { set, dtype, block_log2, .. } = *encoding;
    if dtype.values_in(new.len() as u64).is_none() {
        return Err(Error::PartialElement { dtype, bytes: new.len() });
    }
    check_size(new.len(), base.len())?;
    let units = new.len() / dtype.unit_bytes();
    let header = Header {
        kind: Kind::Delta,
        dtype,
        units: Header::count_units(units)?,
        checksums,
        has_context: context.is_some(),
        set: set.id().short(),
        block_log2: VALUES_LOG2,
    };
    let room = out.len();
    let (mut table, body) = begin(&header, context, bound(dtype, units, block_log2), out)?;
    let front = room - body.len();
    table.take(1).fill(0, &KIND_HEADER);
    let (kind_header, body) = body.split_at_mut(KIND_HEADER.len());
    kind_header.copy_from_slice(&KIND_HEADER);

    let size = block_bytes(dtype);
    let share = Share::new(workers.size(), size, new.len());
    let batches =
        base.chunks(size).zip(new.chunks(size)).map(|(base, new)| (base, new, table.take(1)));
    let room = block_bound(dtype, size.min(new.len()), block_log2);
    let length = in_order(
        workers,
        share.threads,
        batches,
        room,
        buffers,
        body,
        |worker, (base, new, mut table), _, out| {
            let mut block = std::mem::take(&mut worker.block);
            block.clear();
            let encoded = worker.encode(encoding, base, new, &mut block);
            let length = block.len();
            if encoded.is_ok() {
                table.fill(0, &block);
                out[..length].copy_from_slice(&block);
            }
            worker.block = block;
            encoded.map(|_| length)
        },
    )?;
    Ok(front + kind_header.len() + length)
}

/// Verifies the checksums of a delta, and compares all of its base with the hashes in it.
pub(crate) fn check_bases(
    message: &Parsed<'_>,
    workers: &mut Workers<DecodeWorker>,
    base: &[u8],
) -> Result<()> {
    verify(message, base)?;
    let dtype = message.header.dtype;
    let size = block_bytes(dtype);
    let threads = Share::new(workers.size(), size, base.len()).threads;
    let blocks = Blocks::of(message)?.zip(base.chunks(size));
    each(workers, threads, blocks, |_, ((index, _, block), base)| {
        decode::check_base(dtype, block, base).map_err(|error| error.in_block(index as u64))
    })
}

/// Decodes a delta, whose base was found to be right, into `out`, which has exactly the size of the base.
pub(crate) fn decode(
    message: &Parsed<'_>,
    decoding: &Decoding<'_>,
    workers: &mut Workers<DecodeWorker>,
    base: &[u8],
    out: &mut [u8],
) -> Result<()> {
    let size = block_bytes(decoding.dtype);
    let threads = Share::new(workers.size(), size, base.len()).threads;
    let blocks = Blocks::of(message)?.zip(base.chunks(size)).zip(out.chunks_mut(size));
    each(workers, threads, blocks, |worker, (((index, _, block), base), out)| {
        let decoded = worker.decode(decoding, block, base, out);
        decoded.map(|_| ()).map_err(|error| error.in_block(index as u64))
    })
}

/// Verifies the size of the base, and the checksums of all entries.
pub(super) fn verify(message: &Parsed<'_>, base: &[u8]) -> Result<()> {
    check_size(message.header.raw_bytes()?, base.len())?;
    for (index, _, bytes) in Blocks::of(message)? {
        let verified = message.verify(index + 1, bytes, "a block of a delta");
        verified.map_err(|error| error.in_block(index as u64))?;
    }
    Ok(())
}

/// Checks that a base has as many bytes as the new tensor.
pub(crate) fn check_size(bytes: usize, base: usize) -> Result<()> {
    if base == bytes {
        return Ok(());
    }
    Err(Error::BaseLength { expected: bytes as u64, found: base as u64 })
}

/// The blocks of a delta: the number of each, the bytes of its elements, and its own bytes.
#[derive(Debug, Clone)]
pub(super) struct Blocks<'m> {
    lengths: std::vec::IntoIter<usize>,
    body: &'m [u8],
    index: usize,
    left: usize,
    size: usize,
}

impl<'m> Blocks<'m> {
    /// The blocks of a message, which must be a delta. Its kind header is verified.
    pub(super) fn of(message: &Parsed<'m>) -> Result<Self> {
        let header = &message.header;
        if header.kind != Kind::Delta {
            let (expected, found) = (Kind::Delta.name().into(), header.kind.name().into());
            return Err(Error::Unexpected { what: "the kind of a message", expected, found });
        }
        let first = message.table.length(0);
        let (kind_header, body) = message.body.split_at(first);
        message.verify(0, kind_header, "the kind header of a delta")?;
        if kind_header != KIND_HEADER {
            return Err(Error::malformed(WHAT, 0, "a kind header that this version does not know"));
        }
        let lengths: Vec<_> =
            (1..message.table.len()).map(|entry| message.table.length(entry)).collect();
        let (left, size) = (header.raw_bytes()?, block_bytes(header.dtype));
        Ok(Self { lengths: lengths.into_iter(), body, index: 0, left, size })
    }
}

impl<'m> Iterator for Blocks<'m> {
    type Item = (usize, usize, &'m [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // The table's total was compared with the body.
        let (block, behind) = self.body.split_at(self.lengths.next()?);
        let (index, raw) = (self.index, self.left.min(self.size));
        (self.body, self.index, self.left) = (behind, index + 1, self.left - raw);
        Some((index, raw, block))
    }
}
