//! Messages of kind 2: a kind header of one byte, and blocks.

use super::decode::{self, DecodeWorker, Decoding};
use super::encode::{EncodeWorker, Encoding};
use super::form::Form;
use super::header::{BlockHeader, WHAT as BLOCK};
use super::{KIND_HEADER, block_bytes};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::message::{
    HEADER_BYTES, Header, Kind, Parsed, VALUES_LOG2, begin, delta_block_bound, raw_sizes,
    table_bytes,
};
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
        let delta = Delta::of(Parsed::read(message, context)?)?;
        delta.verify()?;
        let form = Form::of(delta.header().dtype);
        let headers = delta.blocks().map(|(index, raw, block)| {
            let header = BlockHeader::read(block, raw / form.bytes());
            header.map_err(|error| error.in_block(index as u64))
        });
        Ok(Self { header: *delta.header(), blocks: headers.collect::<Result<_>>()? })
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
    let overhead = delta_block_bound(dtype, block_bytes(dtype), block_log2) - block_bytes(dtype);
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
        units: Header::count_units(units as u64)?,
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
    // What a thread takes next, if all are equally fast.
    let ahead = |number: usize| {
        [base, new].map(|all| all.chunks(size).nth(number + share.threads).unwrap_or_default())
    };
    let blocks = base.chunks(size).zip(new.chunks(size)).enumerate();
    let batches = blocks.map(|(number, block)| (block, ahead(number), table.take(1)));
    let room = delta_block_bound(dtype, size.min(new.len()), block_log2);
    let length = in_order(
        workers,
        share.threads,
        batches,
        room,
        buffers,
        body,
        |worker, ((base, new), ahead, mut table), _, out| {
            let mut block = std::mem::take(&mut worker.block);
            block.clear();
            let encoded = worker.encode(encoding, (base, new), ahead, &mut block);
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

/// Message that is a delta, with a kind header that this version knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delta<'m> {
    message: Parsed<'m>,
    /// Bytes of the base, and of the new tensor.
    bytes: usize,
    /// All blocks, one behind the other.
    body: &'m [u8],
}

impl<'m> Delta<'m> {
    pub(crate) fn of(message: Parsed<'m>) -> Result<Self> {
        let header = &message.header;
        if header.kind != Kind::Delta {
            let (expected, found) = (Kind::Delta.name().into(), header.kind.name().into());
            return Err(Error::Unexpected { what: "the kind of a message", expected, found });
        }
        let (kind_header, body) = message.body.split_at(message.table.length(0));
        message.verify(0, kind_header, "the kind header of a delta")?;
        if kind_header != KIND_HEADER {
            return Err(Error::malformed(WHAT, 0, "a kind header that this version does not know"));
        }
        Ok(Self { bytes: header.raw_bytes()?, message, body })
    }

    pub(crate) const fn header(&self) -> &Header {
        &self.message.header
    }

    /// Bytes of the base, and of the new tensor.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of elements in each block but the last.
    pub(super) const fn block_bytes(&self) -> usize {
        block_bytes(self.header().dtype)
    }

    /// How many of these workers share the blocks.
    pub(super) fn threads(&self, workers: &Workers<DecodeWorker>) -> usize {
        Share::new(workers.size(), self.block_bytes(), self.bytes).threads
    }

    /// The blocks in their order: the number of each, the bytes of its elements, and its own bytes.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (usize, usize, &'m [u8])> + use<'m> {
        let (table, mut rest) = (self.message.table, self.body);
        let raw_sizes = raw_sizes(self.bytes as u64, self.block_bytes());
        raw_sizes.enumerate().map(move |(index, raw)| {
            // There is an entry for each block, and the table's total was compared with the body.
            let (block, behind) = rest.split_at(table.length(index + 1));
            rest = behind;
            (index, raw, block)
        })
    }

    /// Verifies the checksums of all blocks.
    pub(super) fn verify(&self) -> Result<()> {
        for (index, _, block) in self.blocks() {
            let verified = self.message.verify(index + 1, block, BLOCK);
            verified.map_err(|error| error.in_block(index as u64))?;
        }
        Ok(())
    }

    /// Checks the size of a base, and verifies the checksums of all blocks.
    pub(super) fn verify_for(&self, base: &[u8]) -> Result<()> {
        check_size(self.bytes, base.len())?;
        self.verify()
    }

    /// Compares all of the base with the hashes in the blocks.
    pub(super) fn compare_base(
        &self,
        workers: &mut Workers<DecodeWorker>,
        base: &[u8],
    ) -> Result<()> {
        let dtype = self.header().dtype;
        let blocks = self.blocks().zip(base.chunks(self.block_bytes()));
        each(workers, self.threads(workers), blocks, |_, ((index, _, block), base)| {
            decode::check_base(dtype, block, base).map_err(|error| error.in_block(index as u64))
        })
    }

    /// Checks the size of the base, verifies all checksums, and compares all of the base with the hashes in the blocks.
    pub(crate) fn check(&self, workers: &mut Workers<DecodeWorker>, base: &[u8]) -> Result<()> {
        self.verify_for(base)?;
        self.compare_base(workers, base)
    }

    /// Decodes the delta, whose base was found to be right, into `out`, which has exactly the size of the base.
    pub(crate) fn decode(
        &self,
        decoding: &Decoding<'_>,
        workers: &mut Workers<DecodeWorker>,
        base: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        let size = self.block_bytes();
        let blocks = self.blocks().zip(base.chunks(size)).zip(out.chunks_mut(size));
        each(workers, self.threads(workers), blocks, |worker, (((index, _, block), base), out)| {
            let decoded = worker.decode(decoding, block, base, out);
            decoded.map(|_| ()).map_err(|error| error.in_block(index as u64))
        })
    }
}

/// Checks that a base has as many bytes as the new tensor.
pub(crate) fn check_size(bytes: usize, base: usize) -> Result<()> {
    if base == bytes {
        return Ok(());
    }
    Err(Error::BaseLength { expected: bytes as u64, found: base as u64 })
}
