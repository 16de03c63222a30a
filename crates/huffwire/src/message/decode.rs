//! Decoding a message: entries are found by the table, verified, and decoded two at a time.

use super::encode::LARGE;
use super::parsed::verify;
use super::{Header, Kind, Parsed, Seal, Table};
use crate::block::{self, BlockDecoder};
use crate::dtype::Dtype;
use crate::error::{Error, Result, reserve};
use crate::lanes::CachePolicy;
use crate::parallel::{Share, Workers, each};
use crate::set::CodebookSet;

/// How the blocks of a tensor were encoded, as far as it must be known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decoding<'a> {
    pub(crate) set: &'a CodebookSet,
    pub(crate) dtype: Dtype,
    pub(crate) seal: Seal,
    pub(crate) checksums: bool,
    pub(crate) block_bytes: usize,
    /// Whether the tensor is larger than caches are.
    pub(crate) large: bool,
}

impl<'a> Decoding<'a> {
    /// For the blocks of a message of kind tensor.
    pub(crate) fn new(header: &Header, seal: Seal, set: &'a CodebookSet) -> Result<Self> {
        if header.kind != Kind::Tensor {
            return Err(header.kind.unexpected());
        }
        let block_bytes = block::block_bytes(header.dtype, header.block_log2);
        let large = header.raw_bytes()? >= LARGE;
        Ok(Self { set, dtype: header.dtype, seal, checksums: header.checksums, block_bytes, large })
    }

    /// How to go about a block whose decoder may fetch `ahead`. Without checksums the processor sees by itself what
    /// comes next; but a checksum is computed before its block is decoded, while nothing is written: then
    /// nothing should have to be waited for.
    const fn flow<'b>(&self, ahead: &'b [u8]) -> CachePolicy<'b> {
        match (self.large, self.checksums) {
            (false, _) => CachePolicy::Cached,
            (true, false) => CachePolicy::Streaming { ahead: &[] },
            (true, true) => CachePolicy::Streaming { ahead },
        }
    }
}

/// Consecutive blocks: their rows of the table, and their bytes one behind the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocks<'a> {
    table: Table<'a>,
    body: &'a [u8],
}

impl<'a> Blocks<'a> {
    /// Takes out the first blocks.
    fn take(&mut self, count: usize) -> Self {
        let [front, rest] = self.table.split_at(count.min(self.table.len()));
        // The table's total was compared with the body.
        let (body, behind) = self.body.split_at(front.total() as usize);
        *self = Self { table: rest, body: behind };
        Self { table: front, body }
    }
}

/// Decodes a message into `out`, which has exactly the size of its elements.
pub(crate) fn decode(
    message: &Parsed<'_>,
    set: &CodebookSet,
    workers: &mut Workers<BlockDecoder>,
    out: &mut [u8],
) -> Result<()> {
    let decoding = Decoding::new(&message.header, message.seal, set)?;
    let needed = message.header.raw_bytes()?;
    if out.len() != needed {
        return Err(Error::OutputLength { needed, available: out.len() });
    }
    decode_blocks(&decoding, workers, Blocks { table: message.table, body: message.body }, out)
}

/// Decodes a message into a vector, which grows with what was decoded, never with what is claimed.
pub(crate) fn decode_to_vec(
    message: &Parsed<'_>,
    set: &CodebookSet,
    workers: &mut Workers<BlockDecoder>,
) -> Result<Vec<u8>> {
    let decoding = Decoding::new(&message.header, message.seal, set)?;
    let mut left = message.header.raw_bytes()?;
    let mut blocks = Blocks { table: message.table, body: message.body };
    let at_a_time = Share::at_a_time(workers.size(), decoding.block_bytes);
    let mut out = Vec::new();
    while left > 0 {
        let start = out.len();
        let more = left.min(at_a_time * decoding.block_bytes);
        reserve(&mut out, more, "a tensor")?;
        out.resize(start + more, 0);
        decode_blocks(&decoding, workers, blocks.take(at_a_time), &mut out[start..])?;
        left -= more;
    }
    Ok(out)
}

/// Decodes consecutive blocks on the threads of the workers.
fn decode_blocks(
    decoding: &Decoding<'_>,
    workers: &mut Workers<BlockDecoder>,
    mut blocks: Blocks<'_>,
    out: &mut [u8],
) -> Result<()> {
    let share = Share::new(workers.size(), decoding.block_bytes, out.len());
    if share.threads == 1 {
        return decode_batch(decoding, workers.own(), blocks.table, blocks.body, out);
    }
    let batches = out
        .chunks_mut(share.blocks * decoding.block_bytes)
        .map(|out| (blocks.take(share.blocks), out));
    each(workers, share.threads, batches, |decoder, (blocks, out)| {
        decode_batch(decoding, decoder, blocks.table, blocks.body, out)
    })
}

/// Decodes consecutive blocks, whose bytes are `body`, into `out`, which is as long as their elements.
pub(crate) fn decode_batch(
    decoding: &Decoding<'_>,
    decoder: &mut BlockDecoder,
    table: Table<'_>,
    body: &[u8],
    out: &mut [u8],
) -> Result<()> {
    let Decoding { set, dtype, seal, block_bytes, .. } = *decoding;
    let number = |index: usize| (table.first() + index) as u64;
    let check = |index: usize, block: &[u8]| {
        let verified = verify(seal, &table, index, block, "a block");
        verified.map_err(|error| error.in_block(number(index)))
    };
    let mut rest = body;
    let mut outs = out.chunks_mut(block_bytes).enumerate();
    // Two at a time: what the decoder of one block waits for, that of the other has time to do.
    while let Some((index, first_out)) = outs.next() {
        let (first, behind) = rest.split_at(table.length(index));
        rest = behind;
        check(index, first)?;
        let alone = |decoder: &mut BlockDecoder, out: &mut [u8]| {
            let decoded = decoder.decode(set, dtype, first, decoding.flow(&[]), out);
            decoded.map_err(|error| error.in_block(number(index)))
        };
        let Some((next, second_out)) = outs.next() else {
            return alone(decoder, first_out);
        };
        let (second, behind) = rest.split_at(table.length(next));
        rest = behind;
        if let Err(error) = check(next, second) {
            alone(decoder, first_out)?;
            return Err(error);
        }
        // The next two are about as long as these.
        let (ahead_first, ahead_second) = rest.split_at(first.len().min(rest.len()));
        let ahead_second = &ahead_second[..second.len().min(ahead_second.len())];
        let flows = [decoding.flow(ahead_first), decoding.flow(ahead_second)];
        let outs = [first_out, second_out];
        let decoded = decoder.decode_two(set, dtype, [first, second], flows, outs);
        decoded.map_err(|(which, error)| error.in_block(number(index + which)))?;
    }
    Ok(())
}
