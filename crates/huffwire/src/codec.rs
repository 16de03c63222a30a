//! Encoder and decoder: what a user holds on to. Both own their scratch memory, so that coding a
//! message allocates nothing once the first one of its element type and size went through, unless a
//! codebook is made from the data (at [`Level::Max`], or where the set has none for a plane).

use std::sync::Arc;

use crate::block::{self, BlockDecoder, BlockEncoder, BlockInfo};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::lanes::Flow;
use crate::message;
use crate::message::batches::EncodeScratch;
use crate::parallel::{Threads, Workers};
use crate::plan::{Choice, Level, Policy};
use crate::planes::SymbolRule;
use crate::platform::Platform;
use crate::set::CodebookSet;
use crate::wire::crc32c;

/// What every byte of a buffer is set to when decoding into it failed: a NaN in every float type that has
/// NaNs. In integers and the 4- and 6-bit floats only the error tells.
pub const POISON: u8 = 0xff;

const CHECKSUM_BYTES: usize = 4;

/// Bytes at the start of a block that hold everything [`Decoder::inspect_block`] looks at, whatever the
/// block: checksum, layout, and the headers of up to 8 planes with a codebook in each.
pub const INSPECT_BYTES: usize = CHECKSUM_BYTES + block::MAX_HEADER_BYTES;

/// How to encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// What the symbols are.
    pub rule: SymbolRule,
    /// How much work goes into the size.
    pub level: Level,
    /// Which resident books are considered.
    pub choice: Choice,
    /// Whether each block carries a CRC-32C of its coded bytes. Default: yes.
    pub checksums: bool,
    /// Blocks hold at most `2^block_log2` bytes of elements, 10 to 20. Default: 17 (128 KiB).
    pub block_log2: u8,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            rule: SymbolRule::default(),
            level: Level::default(),
            choice: Choice::default(),
            checksums: true,
            block_log2: 17,
        }
    }
}

/// Turns tensors into messages and blocks with the books of a set.
///
/// ```
/// use huffwire::{Decoder, Dtype, Encoder};
///
/// let tensor: Vec<u8> = (0..4096u32).flat_map(|i| ((i as f32).sin()).to_le_bytes()).collect();
/// let mut encoder = Encoder::builtin();
/// let message = encoder.encode_to_vec(Dtype::F32, &tensor)?;
/// assert!(message.len() < tensor.len());
///
/// let mut restored = vec![0; tensor.len()];
/// Decoder::builtin().decode(&message, &mut restored)?;
/// assert_eq!(restored, tensor);
/// # Ok::<(), huffwire::Error>(())
/// ```
#[derive(Debug)]
pub struct Encoder {
    set: Arc<CodebookSet>,
    options: EncodeOptions,
    tensor: String,
    /// One for each element type that was encoded, for the current tensor.
    policies: Vec<Policy>,
    scratch: EncodeScratch,
}

impl Encoder {
    /// An encoder with the books of `set`.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a block size outside 1 KiB to 1 MiB, [`Error::UnknownCodebook`] for
    /// [`Choice::Fixed`] with a number that the set does not have.
    pub fn new(set: Arc<CodebookSet>, options: EncodeOptions) -> Result<Self> {
        if !block::BLOCK_LOG2.contains(&options.block_log2) {
            return Err(Error::InvalidOption("block_log2 must lie in 10..=20".into()));
        }
        if let Choice::Fixed(number) = options.choice {
            set.book(number)?;
        }
        let scratch = EncodeScratch::new(Platform::detect());
        Ok(Self { set, options, tensor: String::new(), policies: Vec::new(), scratch })
    }

    /// An encoder with the built-in books and default options.
    #[must_use]
    pub fn builtin() -> Self {
        Self {
            set: CodebookSet::builtin(),
            options: EncodeOptions::default(),
            tensor: String::new(),
            policies: Vec::new(),
            scratch: EncodeScratch::new(Platform::detect()),
        }
    }

    /// The same encoder on a platform other than [`Platform::detect`]'s. The messages are the same.
    #[must_use]
    pub fn with_platform(mut self, platform: Platform) -> Self {
        self.scratch.workers.set_platform(platform);
        self
    }

    /// The same encoder with other threads for its messages than [`Threads::One`]. The messages are the same.
    #[must_use]
    pub fn with_threads(mut self, threads: Threads) -> Self {
        self.set_threads(threads);
        self
    }

    /// Changes which threads the next messages are encoded on.
    pub fn set_threads(&mut self, threads: Threads) {
        self.scratch.workers.set_threads(threads);
    }

    /// The set in use.
    #[must_use]
    pub fn set(&self) -> &CodebookSet {
        &self.set
    }

    /// The options in use.
    #[must_use]
    pub const fn options(&self) -> &EncodeOptions {
        &self.options
    }

    /// Names the tensor that the next calls are about, for [`Choice::Named`].
    pub fn set_tensor(&mut self, name: &str) {
        if self.tensor != name {
            name.clone_into(&mut self.tensor);
            if self.options.choice == Choice::Named {
                self.policies.clear();
            }
        }
    }

    /// The size of the buffer that [`Encoder::encode`] wants for `units` units, whatever their values.
    #[must_use]
    pub const fn capacity(&self, dtype: Dtype, units: usize) -> usize {
        message::capacity(dtype, units, self.options.block_log2)
    }

    /// Encodes `bytes`, whole units of `element`, as one message into `out`; returns its length, at
    /// most [`message::bound`].
    ///
    /// # Errors
    /// [`Error::PartialElement`], [`Error::TooLarge`] (over 2³² - 1 units), or
    /// [`Error::OutputTooSmall`] when `out` is shorter than [`Encoder::capacity`].
    pub fn encode(&mut self, dtype: Dtype, bytes: &[u8], out: &mut [u8]) -> Result<usize> {
        message::encode(self, dtype, bytes, out)
    }

    /// Encodes `bytes` as one message in a vector of its own.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode_to_vec(&mut self, dtype: Dtype, bytes: &[u8]) -> Result<Vec<u8>> {
        let units = bytes.len() / dtype.unit_bytes();
        let mut out = vec![0; self.capacity(dtype, units)];
        let length = self.encode(dtype, bytes, &mut out)?;
        out.truncate(length);
        Ok(out)
    }

    /// Encodes whole units as one block and appends it to `out`, checksum (if any) in front;
    /// returns how many bytes it took.
    ///
    /// Blocks are what a file consists of: they can be made in parallel, by one encoder per thread.
    ///
    /// # Errors
    /// [`Error::PartialElement`], or [`Error::TooLarge`] for more than a block may hold.
    pub fn encode_block(&mut self, dtype: Dtype, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize> {
        if !bytes.len().is_multiple_of(dtype.unit_bytes()) {
            return Err(Error::PartialElement { dtype, bytes: bytes.len() });
        }
        let limit = 1u64 << self.options.block_log2;
        if bytes.len() as u64 > limit {
            return Err(Error::TooLarge { what: "a block", found: bytes.len() as u64, limit });
        }
        let start = out.len();
        out.resize(start + CHECKSUM_BYTES + block::capacity(bytes.len()), 0);
        let (encoding, scratch) = self.encoding(dtype);
        let length =
            encoding.encode(scratch.workers.own(), bytes, Flow::Cached, &mut out[start..])?;
        out.truncate(start + length);
        Ok(length)
    }

    /// What all threads share while they encode, and what each of them works with.
    pub(crate) fn encoding(&mut self, dtype: Dtype) -> (Encoding<'_>, &mut EncodeScratch) {
        let EncodeOptions { rule, level, choice, checksums, .. } = self.options;
        let known = self.policies.iter().position(|policy| policy.dtype() == dtype);
        let index = known.unwrap_or_else(|| {
            let tensor = &self.tensor;
            self.policies.push(Policy::new(&self.set, dtype, tensor, rule, level, choice));
            self.policies.len() - 1
        });
        (
            Encoding { set: &self.set, policy: &self.policies[index], checksums, bytes: 0 },
            &mut self.scratch,
        )
    }
}

/// How the blocks of a tensor are encoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoding<'a> {
    set: &'a CodebookSet,
    policy: &'a Policy,
    checksums: bool,
    /// Bytes of elements in the tensor.
    bytes: usize,
}

/// Tensors of so many bytes are larger than caches: they come from memory and go there.
const LARGE: usize = 48 << 20;

/// Tensors of so many bytes are likely to come from memory: few programs have just written so much.
const UNCACHED: usize = 1 << 20;

impl<'a> Encoding<'a> {
    /// The same for a tensor of so many bytes.
    pub(crate) const fn of_size(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// How to go about a block that `ahead` follows; `in_place` says that it stays where it is written.
    pub(crate) const fn flow<'b>(&self, ahead: &'b [u8], in_place: bool) -> Flow<'b> {
        match self.bytes {
            // With checksums what was written is read once more.
            LARGE.. if in_place && !self.checksums => Flow::Streaming { ahead },
            UNCACHED.. => Flow::Fetching { ahead },
            _ => Flow::Cached,
        }
    }

    /// Encodes one block, checksum (if any) in front; returns its length.
    pub(crate) fn encode(
        &self,
        encoder: &mut BlockEncoder,
        bytes: &[u8],
        flow: Flow<'_>,
        out: &mut [u8],
    ) -> Result<usize> {
        if !self.checksums {
            return encoder.encode(self.set, self.policy, bytes, flow, out);
        }
        let available = out.len();
        let Some((check, body)) = out.split_at_mut_checked(CHECKSUM_BYTES) else {
            return Err(Error::OutputTooSmall { needed: CHECKSUM_BYTES, available });
        };
        let length = encoder.encode(self.set, self.policy, bytes, flow, body)?;
        check.copy_from_slice(&crc32c(&body[..length]).to_le_bytes());
        Ok(CHECKSUM_BYTES + length)
    }
}

/// Turns messages and blocks back into tensors.
#[derive(Debug)]
pub struct Decoder {
    set: Arc<CodebookSet>,
    workers: Workers<BlockDecoder>,
}

impl Decoder {
    /// A decoder that holds the books of `set`.
    #[must_use]
    pub fn new(set: Arc<CodebookSet>) -> Self {
        Self { set, workers: Workers::new(BlockDecoder::new, Platform::detect()) }
    }

    /// A decoder that holds the built-in books.
    #[must_use]
    pub fn builtin() -> Self {
        Self::new(CodebookSet::builtin())
    }

    /// The same decoder on a platform other than [`Platform::detect`]'s.
    #[must_use]
    pub fn with_platform(mut self, platform: Platform) -> Self {
        self.workers.set_platform(platform);
        self
    }

    /// The same decoder with other threads for its messages than [`Threads::One`].
    #[must_use]
    pub fn with_threads(mut self, threads: Threads) -> Self {
        self.set_threads(threads);
        self
    }

    /// Changes which threads the next messages are decoded on.
    pub fn set_threads(&mut self, threads: Threads) {
        self.workers.set_threads(threads);
    }

    /// The set in use.
    #[must_use]
    pub fn set(&self) -> &CodebookSet {
        &self.set
    }

    /// Decodes a message into `out`, which must have exactly the size that
    /// [`message::Header::raw_bytes`] tells.
    ///
    /// Checksums are verified before anything is decoded. After an error every byte of `out` is
    /// [`POISON`], a NaN in every float type that has NaNs: never part of what the message held.
    ///
    /// # Errors
    /// A typed error for everything that is not a whole message coded with this decoder's set.
    pub fn decode(&mut self, message: &[u8], out: &mut [u8]) -> Result<message::Header> {
        let result = message::decode(self, message, out);
        if result.is_err() {
            out.fill(POISON);
        }
        result
    }

    /// Decodes a message into a vector of its own.
    ///
    /// Memory grows with what was decoded, not with what the header claims. A message of constant
    /// blocks still is a lot of data in few bytes: look at [`message::Header::raw_bytes`] first when
    /// the sender is not trusted.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn decode_to_vec(&mut self, message: &[u8]) -> Result<(message::Header, Vec<u8>)> {
        message::decode_to_vec(self, message)
    }

    /// Decodes a block made by [`Encoder::encode_block`] into `out`, which must have exactly the
    /// size of its elements. After an error every byte of `out` is [`POISON`].
    ///
    /// # Errors
    /// A typed error for everything that is not such a block.
    pub fn decode_block(
        &mut self,
        dtype: Dtype,
        checksums: bool,
        block: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        let (decoding, workers) = self.decoding(dtype, checksums);
        let result = decoding.decode(workers.own(), block, out);
        if result.is_err() {
            out.fill(POISON);
        }
        result
    }

    /// What a block made by [`Encoder::encode_block`] says of itself; `bytes` is the size of its
    /// elements. Only the first [`INSPECT_BYTES`] of the block are needed, so its checksum is not
    /// verified.
    ///
    /// # Errors
    /// A typed error when the block's header cannot be read.
    pub fn inspect_block(
        &self,
        dtype: Dtype,
        checksums: bool,
        block: &[u8],
        bytes: usize,
    ) -> Result<BlockInfo> {
        let body = if checksums { split_checksum(block)?.1 } else { block };
        BlockInfo::read(&self.set, dtype, body, bytes)
    }

    /// What all threads share while they decode, and what each of them works with.
    pub(crate) fn decoding(
        &mut self,
        dtype: Dtype,
        checksums: bool,
    ) -> (Decoding<'_>, &mut Workers<BlockDecoder>) {
        (Decoding { set: &self.set, dtype, checksums, large: false }, &mut self.workers)
    }

    pub(crate) fn expect_set(&self, short: [u8; 4]) -> Result<()> {
        let held = self.set.id();
        if held.short() == short {
            return Ok(());
        }
        let wanted: String = short.iter().map(|byte| format!("{byte:02x}")).collect();
        Err(Error::SetMismatch { wanted: wanted + "…", held })
    }
}

/// How the blocks of a tensor were encoded, as far as it must be known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decoding<'a> {
    set: &'a CodebookSet,
    dtype: Dtype,
    checksums: bool,
    /// Whether the tensor is larger than caches are.
    large: bool,
}

impl Decoding<'_> {
    /// The same for a tensor of so many bytes.
    pub(crate) const fn of_size(mut self, bytes: usize) -> Self {
        self.large = bytes >= LARGE;
        self
    }

    /// Decodes one block, checksum (if any) in front.
    pub(crate) fn decode(
        &self,
        decoder: &mut BlockDecoder,
        block: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        let dtype = self.dtype;
        if !out.len().is_multiple_of(dtype.unit_bytes()) {
            return Err(Error::PartialElement { dtype, bytes: out.len() });
        }
        let limit = 1u64 << block::BLOCK_LOG2.end();
        if out.len() as u64 > limit {
            return Err(Error::TooLarge { what: "a block", found: out.len() as u64, limit });
        }
        let block = verified(self.checksums, block)?;
        decoder.decode(self.set, dtype, block, self.flow(&[]), out)
    }

    /// How to go about a block whose decoder may fetch `ahead`. Without checksums the processor sees by itself what
    /// comes next; but a checksum is computed before its block is decoded, while nothing is written: then
    /// nothing should have to be waited for.
    const fn flow<'b>(&self, ahead: &'b [u8]) -> Flow<'b> {
        match (self.large, self.checksums) {
            (false, _) => Flow::Cached,
            (true, false) => Flow::Streaming { ahead: &[] },
            (true, true) => Flow::Streaming { ahead },
        }
    }

    /// Decodes two blocks of a message at a time, of which the first is number `index`, and which `ahead` follows.
    pub(crate) fn decode_two(
        &self,
        decoder: &mut BlockDecoder,
        [first, second]: [&[u8]; 2],
        outs: [&mut [u8]; 2],
        index: u64,
        ahead: &[u8],
    ) -> Result<()> {
        let first = verified(self.checksums, first).map_err(|error| error.in_block(index))?;
        let second = verified(self.checksums, second);
        let Ok(second) = second else {
            let [out, _] = outs;
            let decoded = decoder.decode(self.set, self.dtype, first, self.flow(&[]), out);
            decoded.map_err(|error| error.in_block(index))?;
            return second.map(|_| ()).map_err(|error| error.in_block(index + 1));
        };
        // The next two are about as long as these.
        let (ahead_first, ahead_second) = ahead.split_at(first.len().min(ahead.len()));
        let ahead_second = &ahead_second[..second.len().min(ahead_second.len())];
        let flows = [self.flow(ahead_first), self.flow(ahead_second)];
        let blocks = [first, second];
        let decoded = decoder.decode_two(self.set, self.dtype, blocks, flows, outs);
        decoded.map_err(|(which, error)| error.in_block(index + which as u64))
    }
}

/// The block without its checksum, which is verified first.
fn verified(checksums: bool, block: &[u8]) -> Result<&[u8]> {
    if !checksums {
        return Ok(block);
    }
    let (stored, body) = split_checksum(block)?;
    let computed = crc32c(body);
    if stored == computed {
        Ok(body)
    } else {
        Err(Error::Checksum { what: "a block", stored, computed })
    }
}

fn split_checksum(block: &[u8]) -> Result<(u32, &[u8])> {
    let (what, needed, available) = ("a block", CHECKSUM_BYTES, block.len());
    let truncated = Error::Truncated { what, offset: 0, needed, available };
    let (stored, body) = block.split_first_chunk().ok_or(truncated)?;
    Ok((u32::from_le_bytes(*stored), body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::PlaneMode;

    fn books_of(choice: Choice, tensor: &[u8]) -> Vec<PlaneMode> {
        let options = EncodeOptions { choice, ..EncodeOptions::default() };
        let mut encoder = Encoder::new(CodebookSet::builtin(), options).unwrap();
        let mut block = Vec::new();
        encoder.encode_block(Dtype::Bf16, tensor, &mut block).unwrap();
        let mut restored = vec![0; tensor.len()];
        let mut decoder = Decoder::builtin();
        decoder.decode_block(Dtype::Bf16, true, &block, &mut restored).unwrap();
        assert!(restored == tensor);
        let start = &block[..block.len().min(INSPECT_BYTES)];
        let info = decoder.inspect_block(Dtype::Bf16, true, start, tensor.len()).unwrap();
        info.planes.into_iter().map(|plane| plane.mode).collect()
    }

    #[test]
    fn a_fixed_book_codes_every_plane_of_its_alphabet() {
        let values = (1..20_000u16).map(|i| 0x3c00 + (i.leading_zeros() as u16) * 128 + i % 128);
        let tensor: Vec<u8> = values.flat_map(u16::to_le_bytes).collect();
        for number in [0, 5, 14] {
            let planes = books_of(Choice::Fixed(number), &tensor);
            assert!(matches!(planes[0], PlaneMode::Resident { book, .. } if book == number));
            assert_eq!(planes[1], PlaneMode::Raw);
        }
        let cheapest = books_of(Choice::Cheapest, &tensor);
        assert!(matches!(cheapest[0], PlaneMode::Resident { .. }));
        // Both signs, so that there is no gain without a book either.
        let values = (1..20_000u16).map(|i| i.wrapping_mul(40_503));
        let tensor: Vec<u8> = values.flat_map(u16::to_le_bytes).collect();
        let bytes_book = CodebookSet::builtin().books().len() as u8 - 1;
        assert!(
            books_of(Choice::Fixed(bytes_book), &tensor).is_empty(),
            "verbatim: it fits no plane"
        );
    }

    #[test]
    fn options_are_checked() {
        let builtin = CodebookSet::builtin;
        let with = |choice, block_log2| EncodeOptions { choice, block_log2, ..Default::default() };
        assert!(Encoder::new(builtin(), with(Choice::Fixed(191), 17)).is_err());
        assert!(Encoder::new(builtin(), with(Choice::Cheapest, 9)).is_err());
        assert!(Encoder::new(builtin(), with(Choice::Cheapest, 21)).is_err());
        assert!(Encoder::new(builtin(), with(Choice::Cheapest, 20)).is_ok());
    }
}
