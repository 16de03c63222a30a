//! Encoding a tensor as a message: header, room for the table, blocks; the table is filled as blocks are finished.

use super::table::{Seal, TableMut, table_bytes};
use super::{HEADER_BYTES, Header, Kind, bound};
use crate::block::{self, BlockEncoder};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernels::platform::Platform;
use crate::lanes::CachePolicy;
use crate::parallel::{Share, Workers, in_order};
use crate::plan::Policy;
use crate::set::CodebookSet;

/// Tensors of so many bytes are larger than caches: they come from memory and go there.
pub(super) const LARGE: usize = 48 << 20;

/// Tensors of so many bytes are likely to come from memory: few programs have just written so much.
const UNCACHED: usize = 1 << 20;

/// How the blocks of a tensor are encoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoding<'a> {
    pub(crate) set: &'a CodebookSet,
    pub(crate) policy: &'a Policy,
    pub(crate) dtype: Dtype,
    pub(crate) checksums: bool,
    pub(crate) block_log2: u8,
    pub(crate) context: Option<u64>,
}

/// Memory that a thread encodes with.
#[derive(Debug)]
pub(crate) struct EncodeWorker {
    pub(crate) blocks: BlockEncoder,
    /// Takes a block where the output has too little room for an encoder, which may write a little behind it.
    spill: Vec<u8>,
}

impl EncodeWorker {
    pub(crate) fn new(platform: Platform) -> Self {
        Self { blocks: BlockEncoder::new(platform), spill: Vec::new() }
    }
}

/// Encodes `bytes` as one message into `out`, which needs [`bound`] bytes; returns the message's length.
pub(crate) fn encode(
    encoding: &Encoding<'_>,
    workers: &mut Workers<EncodeWorker>,
    buffers: &mut Vec<Vec<u8>>,
    bytes: &[u8],
    out: &mut [u8],
) -> Result<usize> {
    let Encoding { set, dtype, checksums, block_log2, context, .. } = *encoding;
    if dtype.values_in(bytes.len() as u64).is_none() {
        return Err(Error::PartialElement { dtype, bytes: bytes.len() });
    }
    let units = bytes.len() / dtype.unit_bytes();
    let header = Header {
        kind: Kind::Tensor,
        dtype,
        units: Header::count_units(units as u64)?,
        checksums,
        has_context: context.is_some(),
        set: set.id().short(),
        block_log2,
    };
    let room = out.len();
    let (mut table, body) = begin(&header, context, bound(dtype, units, block_log2), out)?;
    let front = room - body.len();

    let block_bytes = block::block_bytes(dtype, block_log2);
    let share = Share::new(workers.size(), block_bytes, bytes.len());
    let length = if share.threads == 1 {
        encode_batch(
            encoding,
            workers.own(),
            block_bytes,
            (bytes, table),
            (bytes.len(), true),
            body,
        )?
    } else {
        let batches = bytes.chunks(share.blocks * block_bytes).map(|bytes| {
            let table = table.take(bytes.len().div_ceil(block_bytes));
            (bytes, table)
        });
        let room = share.blocks * block::capacity(block_bytes);
        in_order(
            workers,
            share.threads,
            batches,
            room,
            buffers,
            body,
            |worker, batch, in_place, out| {
                encode_batch(encoding, worker, block_bytes, batch, (bytes.len(), in_place), out)
            },
        )?
    };
    Ok(front + length)
}

/// Writes a message's header to the beginning of `out`, which must have room for the `needed` bytes that the message may
/// take. Returns the table, which is to be filled, and what lies behind it.
pub(crate) fn begin<'o>(
    header: &Header,
    context: Option<u64>,
    needed: usize,
    out: &'o mut [u8],
) -> Result<(TableMut<'o>, &'o mut [u8])> {
    if out.len() < needed {
        return Err(Error::OutputTooSmall { needed, available: out.len() });
    }
    let (bytes, check) = header.write(context);
    let entries = header.entries();
    let (front, body) = out.split_at_mut(HEADER_BYTES + table_bytes(entries, header.checksums));
    front[..HEADER_BYTES].copy_from_slice(&bytes);
    let table = TableMut::new(&mut front[HEADER_BYTES..], entries, Seal { header: check });
    Ok((table, body))
}

/// Encodes consecutive blocks and fills their rows of the table; returns their length. `place` tells how many bytes the
/// tensor has, and whether the blocks stay where they are written.
fn encode_batch(
    encoding: &Encoding<'_>,
    worker: &mut EncodeWorker,
    block_bytes: usize,
    (bytes, mut table): (&[u8], TableMut<'_>),
    place: (usize, bool),
    out: &mut [u8],
) -> Result<usize> {
    let EncodeWorker { blocks: encoder, spill } = worker;
    let mut at = 0;
    let mut blocks = bytes.chunks(block_bytes).enumerate().peekable();
    while let Some((index, bytes)) = blocks.next() {
        let ahead = blocks.peek().map_or(&[][..], |(_, bytes)| bytes);
        let flow = encoding.flow(ahead, place);
        let rest = &mut out[at..];
        let length = match encoder.encode(encoding.set, encoding.policy, bytes, flow, rest) {
            Err(Error::OutputTooSmall { needed, available }) => {
                spill.resize(spill.len().max(needed), 0);
                let length = encoder.encode(encoding.set, encoding.policy, bytes, flow, spill)?;
                let too_small = Error::OutputTooSmall { needed: length, available };
                rest.get_mut(..length).ok_or(too_small)?.copy_from_slice(&spill[..length]);
                length
            }
            encoded => encoded?,
        };
        table.fill(index, &out[at..at + length]);
        at += length;
    }
    Ok(at)
}

impl Encoding<'_> {
    /// How to go about a block that `ahead` follows, in a tensor of so many bytes; `in_place` says that it stays
    /// where it is written.
    const fn flow<'b>(
        &self,
        ahead: &'b [u8],
        (tensor_bytes, in_place): (usize, bool),
    ) -> CachePolicy<'b> {
        match tensor_bytes {
            // With checksums what was written is read once more.
            LARGE.. if in_place && !self.checksums => CachePolicy::Streaming { ahead },
            UNCACHED.. => CachePolicy::Fetching { ahead },
            _ => CachePolicy::Cached,
        }
    }
}
