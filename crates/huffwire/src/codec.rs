//! `Encoder` and `Decoder`, the main types of the library. Both own their scratch memory. After the first message of
//! an element type and size, coding another one allocates nothing, unless a codebook is fitted to
//! the data (at [`Level::Max`], or where the set has none for a plane).

mod deltas;

use std::ops::Range;
use std::sync::Arc;

use crate::block::{self, BlockDecoder, BlockInfo};
use crate::delta;
use crate::dtype::Dtype;
use crate::element::{Element, fill_bytes};
use crate::error::{Error, Result, reserve};
use crate::ids::SetId;
use crate::kernels::platform::Platform;
use crate::lanes::CachePolicy;
use crate::message::{self, EncodeWorker, Encoding, Header, Parsed};
use crate::parallel::{Threads, Workers};
use crate::plan::{Choice, Level, Policy};
use crate::planes::SymbolRule;
use crate::set::{CodebookSet, Sets};
use crate::tensor::{Expected, Tensor};
use crate::wire::crc32c;

pub use deltas::EncodedDeltaBlock;

/// What every byte of a buffer is set to when decoding into it failed: a NaN in every float type that has
/// NaNs, but e4m3fnuz and e5m2fnuz. In these, in integers and in the 4- and 6-bit floats only the error tells.
pub const POISON: u8 = 0xff;

/// Bytes at the start of a block that hold everything [`Decoder::inspect_block`] looks at, whatever the
/// block: layout, and the headers of up to 8 planes with a codebook in each.
pub const INSPECT_BYTES: usize = block::MAX_HEADER_BYTES;

/// How to encode. Begin with the default and change what matters:
///
/// ```
/// use huffwire::{EncodeOptions, Level};
/// let options = EncodeOptions::default().level(Level::Max).checksums(false);
/// assert_eq!(options.block_log2, 17);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodeOptions {
    /// What the symbols are.
    pub rule: SymbolRule,
    /// How much work goes into the size.
    pub level: Level,
    /// Which resident books are considered.
    pub choice: Choice,
    /// Whether each block has a CRC-32C of its coded bytes and its place. Default: yes.
    pub checksums: bool,
    /// Blocks hold at most `2^block_log2` bytes of elements, 10 to 20. Default: 17 (128 KiB), for processors.
    /// A GPU wants 14 or 15: more blocks at a time, for about 0.4 % or 0.15 % of size.
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

impl EncodeOptions {
    /// The same with other symbols.
    #[must_use]
    pub const fn rule(mut self, rule: SymbolRule) -> Self {
        self.rule = rule;
        self
    }

    /// The same with another level.
    #[must_use]
    pub const fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// The same with another choice of books.
    #[must_use]
    pub const fn choice(mut self, choice: Choice) -> Self {
        self.choice = choice;
        self
    }

    /// The same with or without checksums of blocks.
    #[must_use]
    pub const fn checksums(mut self, checksums: bool) -> Self {
        self.checksums = checksums;
        self
    }

    /// The same with blocks of `2^block_log2` bytes.
    #[must_use]
    pub const fn block_log2(mut self, block_log2: u8) -> Self {
        self.block_log2 = block_log2;
        self
    }
}

/// Policies for other tensor names that an encoder remembers.
const REMEMBERED: usize = 256;

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
    /// One for each element type and, under [`Choice::Named`], each tensor name.
    policies: Vec<(String, Policy)>,
    workers: Workers<EncodeWorker>,
    buffers: Vec<Vec<u8>>,
    /// Made when the first delta is encoded.
    deltas: Option<Box<deltas::Encoding>>,
}

/// Block that [`Encoder::encode_block`] or [`Encoder::encode_block_over`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodedBlock {
    /// How many bytes it took.
    pub bytes: usize,
    /// CRC-32C of these bytes, if the options ask for checksums.
    pub checksum: Option<u32>,
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
        Ok(Self::unchecked(set, options))
    }

    /// An encoder with the built-in books and default options.
    #[must_use]
    pub fn builtin() -> Self {
        Self::unchecked(CodebookSet::builtin(), EncodeOptions::default())
    }

    fn unchecked(set: Arc<CodebookSet>, options: EncodeOptions) -> Self {
        let workers = Workers::new(EncodeWorker::new, Platform::detect());
        Self { set, options, policies: Vec::new(), workers, buffers: Vec::new(), deltas: None }
    }

    /// The same encoder on a platform other than [`Platform::detect`]'s. The messages are the same.
    #[must_use]
    pub fn with_platform(mut self, platform: Platform) -> Self {
        self.workers.set_platform(platform);
        self.deltas = None;
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
        self.workers.set_threads(threads);
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

    /// The longest message for `units` units (see [`Dtype`]) of a type, whatever their values: the size of the buffer
    /// that [`Encoder::encode`] wants.
    #[must_use]
    pub const fn bound(&self, dtype: Dtype, units: usize) -> usize {
        message::bound(dtype, units, self.options.block_log2)
    }

    /// Encodes `bytes`, whole elements of a type, as one message into `out`; returns its length, at
    /// most [`Encoder::bound`].
    ///
    /// # Errors
    /// [`Error::PartialElement`], [`Error::TooLarge`] (over 2³² - 1 units), or
    /// [`Error::OutputTooSmall`] when `out` is shorter than [`Encoder::bound`].
    pub fn encode(&mut self, dtype: Dtype, bytes: &[u8], out: &mut [u8]) -> Result<usize> {
        self.encode_tensor(&Tensor::new(dtype, bytes), out)
    }

    /// Encodes `bytes` as one message in a vector of its own.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode_to_vec(&mut self, dtype: Dtype, bytes: &[u8]) -> Result<Vec<u8>> {
        self.encode_tensor_to_vec(&Tensor::new(dtype, bytes))
    }

    /// Encodes a tensor, with its name and its context, as one message into `out`; returns its length.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode_tensor(&mut self, tensor: &Tensor<'_>, out: &mut [u8]) -> Result<usize> {
        let policy = self.policy(tensor);
        let encoding = Encoding {
            set: &self.set,
            policy: &self.policies[policy].1,
            dtype: tensor.dtype(),
            checksums: self.options.checksums,
            block_log2: self.options.block_log2,
            context: tensor.context(),
        };
        message::encode(&encoding, &mut self.workers, &mut self.buffers, tensor.bytes(), out)
    }

    /// Encodes a tensor, with its name and its context, as one message in a vector of its own.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode_tensor_to_vec(&mut self, tensor: &Tensor<'_>) -> Result<Vec<u8>> {
        let (dtype, bytes) = (tensor.dtype(), tensor.bytes().len());
        if dtype.values_in(bytes as u64).is_none() {
            return Err(Error::PartialElement { dtype, bytes });
        }
        let bound = self.bound(dtype, bytes / dtype.unit_bytes());
        let mut out = Vec::new();
        reserve(&mut out, bound, "a message")?;
        out.resize(bound, 0);
        let length = self.encode_tensor(tensor, &mut out)?;
        out.truncate(length);
        Ok(out)
    }

    /// Encodes whole units of a tensor as one block and appends it to `out`.
    ///
    /// Blocks are what a file consists of: they can be made in parallel, by one encoder per thread. A block has no
    /// context.
    ///
    /// # Errors
    /// [`Error::PartialElement`], or [`Error::TooLarge`] for more than a block may hold.
    pub fn encode_block(&mut self, tensor: &Tensor<'_>, out: &mut Vec<u8>) -> Result<EncodedBlock> {
        let start = out.len();
        let encoded = self.encode_block_at(start, tensor, out);
        out.truncate(start + encoded.as_ref().map_or(0, |encoded| encoded.bytes));
        encoded
    }

    /// Encodes whole units of a tensor as one block at the beginning of `buffer`, and overwrites what is there. The
    /// buffer is made longer if it has to be, and never shorter: the block is its first [`EncodedBlock::bytes`] bytes.
    ///
    /// A buffer that is used again for every block is set to zero only once; [`Encoder::encode_block`] does so each
    /// time.
    ///
    /// # Errors
    /// As [`Encoder::encode_block`].
    pub fn encode_block_over(
        &mut self,
        tensor: &Tensor<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<EncodedBlock> {
        self.encode_block_at(0, tensor, buffer)
    }

    /// Encodes a block to this place of a buffer, which is made long enough.
    fn encode_block_at(
        &mut self,
        start: usize,
        tensor: &Tensor<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<EncodedBlock> {
        let (dtype, bytes) = (tensor.dtype(), tensor.bytes());
        if !bytes.len().is_multiple_of(dtype.unit_bytes()) {
            return Err(Error::PartialElement { dtype, bytes: bytes.len() });
        }
        let limit = 1u64 << self.options.block_log2;
        if bytes.len() as u64 > limit {
            let (found, remedy) = (bytes.len() as u64, SEVERAL_BLOCKS);
            return Err(Error::TooLarge { what: "a block", found, limit, remedy });
        }
        let policy = self.policy(tensor);
        let end = start + block::capacity(bytes.len());
        if buffer.len() < end {
            buffer.resize(end, 0);
        }
        let (encoder, place) = (&mut self.workers.own().blocks, &mut buffer[start..end]);
        let policy = &self.policies[policy].1;
        let bytes = encoder.encode(&self.set, policy, bytes, CachePolicy::Cached, place)?;
        let checksum = self.options.checksums.then(|| crc32c(&place[..bytes]));
        Ok(EncodedBlock { bytes, checksum })
    }

    /// Where the policy for a tensor lies.
    fn policy(&mut self, tensor: &Tensor<'_>) -> usize {
        let EncodeOptions { rule, level, choice, .. } = self.options;
        let named = choice == Choice::Named;
        let name = if named { tensor.name() } else { "" };
        let dtype = tensor.dtype().coding();
        let known =
            |(of, policy): &(String, Policy)| policy.dtype() == dtype && (!named || of == name);
        self.policies.iter().position(known).unwrap_or_else(|| {
            if self.policies.len() >= REMEMBERED {
                self.policies.clear();
            }
            let policy = Policy::new(&self.set, dtype, name, rule, level, choice);
            self.policies.push((name.to_owned(), policy));
            self.policies.len() - 1
        })
    }
}

/// Block to be decoded, with what its surroundings tell of it.
#[derive(Debug, Clone, Copy)]
pub struct CodedBlock<'a> {
    /// The element type.
    pub dtype: Dtype,
    /// The set that it was coded with.
    pub set: SetId,
    /// The CRC-32C of its bytes, if there is one to compare with.
    pub checksum: Option<u32>,
    /// The block.
    pub bytes: &'a [u8],
}

/// Turns messages and blocks back into tensors. It holds one or more codebook sets and picks the one that a message
/// names.
#[derive(Debug)]
pub struct Decoder {
    sets: Sets,
    workers: Workers<BlockDecoder>,
    /// Made when the first delta is decoded.
    deltas: Option<Box<Workers<delta::DecodeWorker>>>,
}

impl Decoder {
    /// A decoder that holds the books of `set`.
    #[must_use]
    pub fn new(set: Arc<CodebookSet>) -> Self {
        let workers = Workers::new(BlockDecoder::new, Platform::detect());
        Self { sets: Sets::one(set), workers, deltas: None }
    }

    /// A decoder that holds the built-in books.
    #[must_use]
    pub fn builtin() -> Self {
        Self::new(CodebookSet::builtin())
    }

    /// The same decoder with another set beside those that it has. A set that it has already changes nothing.
    ///
    /// # Errors
    /// [`Error::AmbiguousSet`] when the ids of two different sets begin with the same 32 bits, which is all that a
    /// message tells of its set.
    pub fn with_set(mut self, set: Arc<CodebookSet>) -> Result<Self> {
        self.sets.add(set)?;
        Ok(self)
    }

    /// The same decoder on a platform other than [`Platform::detect`]'s.
    #[must_use]
    pub fn with_platform(mut self, platform: Platform) -> Self {
        self.workers.set_platform(platform);
        self.deltas = None;
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

    /// The sets that it holds.
    pub fn sets(&self) -> impl Iterator<Item = &Arc<CodebookSet>> {
        self.sets.iter()
    }

    /// Decodes a message without a context into `out`, which must have exactly the size that
    /// [`Header::raw_bytes`] tells.
    ///
    /// Checksums are verified before anything is decoded. After an error every byte of `out` is
    /// [`POISON`], a NaN in every float type that has NaNs: never part of what the message held.
    ///
    /// # Errors
    /// A typed error for everything that is not a whole message coded with one of this decoder's sets.
    pub fn decode(&mut self, message: &[u8], out: &mut [u8]) -> Result<Header> {
        self.decode_expected(message, &Expected::anything(), out)
    }

    /// Decodes a message without a context into a vector of its own.
    ///
    /// Memory grows with what was decoded, not with what the header claims. A message of constant
    /// blocks still is a lot of data in few bytes: for messages from strangers set
    /// [`Expected::max_bytes`].
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn decode_to_vec(&mut self, message: &[u8]) -> Result<(Header, Vec<u8>)> {
        self.decode_expected_to_vec(message, &Expected::anything())
    }

    /// Decodes a message that is as expected into `out`, which must have exactly the size of its elements. After
    /// an error every byte of `out` is [`POISON`].
    ///
    /// # Errors
    /// As [`Decoder::decode`]; and [`Error::Unexpected`], [`Error::TooLarge`], [`Error::MissingContext`] or
    /// [`Error::UnexpectedContext`] for a message that is not as expected.
    pub fn decode_expected(
        &mut self,
        message: &[u8],
        expected: &Expected,
        out: &mut [u8],
    ) -> Result<Header> {
        let result = self.parse(message, expected).and_then(|(parsed, set)| {
            message::decode(&parsed, &set, &mut self.workers, out)?;
            Ok(parsed.header)
        });
        poisoned(out, result)
    }

    /// Decodes a message that is as expected into a vector of its own.
    ///
    /// # Errors
    /// As [`Decoder::decode_expected`].
    pub fn decode_expected_to_vec(
        &mut self,
        message: &[u8],
        expected: &Expected,
    ) -> Result<(Header, Vec<u8>)> {
        let (parsed, set) = self.parse(message, expected)?;
        let out = message::decode_to_vec(&parsed, &set, &mut self.workers)?;
        Ok((parsed.header, out))
    }

    /// Decodes a message without a context into typed elements, exactly as many as it holds. After an error every
    /// byte of them is [`POISON`].
    ///
    /// # Errors
    /// As [`Decoder::decode_expected`]; a message of another element type is [`Error::Unexpected`].
    pub fn decode_into<T: Element>(&mut self, message: &[u8], out: &mut [T]) -> Result<Header> {
        let expected = Expected::anything().dtype(T::DTYPE);
        fill_bytes(out, |bytes| self.decode_expected(message, &expected, bytes))
    }

    /// Decodes a message without a context into a vector of typed elements.
    ///
    /// # Errors
    /// As [`Decoder::decode_into`].
    pub fn decode_elements<T: Element>(&mut self, message: &[u8]) -> Result<Vec<T>> {
        let (parsed, set) = self.parse(message, &Expected::anything().dtype(T::DTYPE))?;
        let bytes = message::decode_to_vec(&parsed, &set, &mut self.workers)?;
        let mut out = Vec::new();
        reserve(&mut out, bytes.len() / size_of::<T>(), "a tensor")?;
        out.resize(bytes.len() / size_of::<T>(), T::new_zeroed());
        fill_bytes(&mut out, |place| place.copy_from_slice(&bytes));
        Ok(out)
    }

    /// Decodes some bytes of a tensor, of which only the blocks that hold them are decoded, into `out`, which must
    /// have exactly as many. `range` counts bytes of elements. After an error every byte of `out` is [`POISON`].
    ///
    /// ```
    /// use huffwire::{Decoder, Encoder, Expected, Tensor};
    ///
    /// let tensor: Vec<u32> = (0..1_000_000).collect();
    /// let message = Encoder::builtin().encode_tensor_to_vec(&Tensor::of(&tensor))?;
    /// let mut row = [0; 4 * 1000];
    /// Decoder::builtin().decode_range(&message, &Expected::anything(), 80_000..84_000, &mut row)?;
    /// assert_eq!(row[..4], 20_000u32.to_le_bytes());
    /// # Ok::<(), huffwire::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Decoder::decode_expected`]; [`Error::InvalidOption`] for bytes that the tensor does not have.
    pub fn decode_range(
        &mut self,
        message: &[u8],
        expected: &Expected,
        range: Range<usize>,
        out: &mut [u8],
    ) -> Result<Header> {
        let result = self.parse(message, expected).and_then(|(parsed, set)| {
            message::decode_range(&parsed, &set, self.workers.own(), range, out)?;
            Ok(parsed.header)
        });
        poisoned(out, result)
    }

    /// Decodes a block made by [`Encoder::encode_block`] into `out`, which must have exactly the
    /// size of its elements. After an error every byte of `out` is [`POISON`].
    ///
    /// # Errors
    /// A typed error for everything that is not such a block.
    pub fn decode_block(&mut self, block: &CodedBlock<'_>, out: &mut [u8]) -> Result<()> {
        let result = self.decode_checked_block(block, out);
        poisoned(out, result)
    }

    fn decode_checked_block(&mut self, block: &CodedBlock<'_>, out: &mut [u8]) -> Result<()> {
        let CodedBlock { dtype, set, checksum, bytes } = *block;
        check_block_size(dtype, out.len())?;
        if let Some(stored) = checksum {
            let computed = crc32c(bytes);
            if stored != computed {
                return Err(Error::Checksum { what: "a block", stored, computed });
            }
        }
        let set = self.sets.find(set)?;
        self.workers.own().decode(set, dtype, bytes, CachePolicy::Cached, out)
    }

    /// Describes a block made by [`Encoder::encode_block`] without decoding it; `bytes` is the size of its
    /// elements. Only the first [`INSPECT_BYTES`] of the block are needed, so its checksum is not
    /// verified.
    ///
    /// # Errors
    /// A typed error when the block's header cannot be read.
    pub fn inspect_block(&self, block: &CodedBlock<'_>, bytes: usize) -> Result<BlockInfo> {
        check_block_size(block.dtype, bytes)?;
        BlockInfo::read(self.sets.find(block.set)?, block.dtype, block.bytes, bytes)
    }

    /// Finds the parts of a message that is as expected, and its set.
    pub(crate) fn parse<'m>(
        &self,
        message: &'m [u8],
        expected: &Expected,
    ) -> Result<(Parsed<'m>, Arc<CodebookSet>)> {
        let parsed = Parsed::read(message, expected.context)?;
        expected.check(&parsed.header)?;
        let set = self.sets.find_short(parsed.header.set)?;
        Ok((parsed, Arc::clone(set)))
    }

    /// What decodes the blocks of a message, for readers that get them one after the other.
    pub(crate) fn parts(&mut self) -> (&Sets, &mut Workers<BlockDecoder>) {
        (&self.sets, &mut self.workers)
    }
}

const SEVERAL_BLOCKS: &str = "make several blocks of it";

/// Checks that a block can hold so many bytes of elements.
fn check_block_size(dtype: Dtype, bytes: usize) -> Result<()> {
    if !bytes.is_multiple_of(dtype.unit_bytes()) {
        return Err(Error::PartialElement { dtype, bytes });
    }
    let limit = 1u64 << block::BLOCK_LOG2.end();
    if bytes as u64 > limit {
        let (found, remedy) = (bytes as u64, SEVERAL_BLOCKS);
        return Err(Error::TooLarge { what: "a block", found, limit, remedy });
    }
    Ok(())
}

/// Fills the output with [`POISON`] after an error.
fn poisoned<T>(out: &mut [u8], result: Result<T>) -> Result<T> {
    if result.is_err() {
        out.fill(POISON);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::PlaneMode;

    fn books_of(choice: Choice, tensor: &[u8]) -> Vec<PlaneMode> {
        let options = EncodeOptions::default().choice(choice);
        let mut encoder = Encoder::new(CodebookSet::builtin(), options).unwrap();
        let mut block = Vec::new();
        let encoded = encoder.encode_block(&Tensor::new(Dtype::Bf16, tensor), &mut block).unwrap();
        assert_eq!(encoded.bytes, block.len());
        let mut restored = vec![0; tensor.len()];
        let mut decoder = Decoder::builtin();
        let set = CodebookSet::builtin().id();
        let coded =
            CodedBlock { dtype: Dtype::Bf16, set, checksum: encoded.checksum, bytes: &block };
        decoder.decode_block(&coded, &mut restored).unwrap();
        assert!(restored == tensor);
        let start = &block[..block.len().min(INSPECT_BYTES)];
        let coded = CodedBlock { bytes: start, ..coded };
        let info = decoder.inspect_block(&coded, tensor.len()).unwrap();
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
        // Of both signs, so that there is no gain without a book either.
        let values = (1..20_000u16).map(|i| i.wrapping_mul(40_503));
        let tensor: Vec<u8> = values.flat_map(u16::to_le_bytes).collect();
        let bytes_book = CodebookSet::builtin().books().len() as u8 - 1;
        assert!(
            books_of(Choice::Fixed(bytes_book), &tensor).is_empty(),
            "verbatim: it fits no plane"
        );
    }

    #[test]
    fn a_buffer_is_used_again_for_blocks_of_any_size() {
        let values = (1..20_000u16).map(|i| 0x3c00 + (i.leading_zeros() as u16) * 128 + i % 128);
        let tensor: Vec<u8> = values.flat_map(u16::to_le_bytes).collect();
        let (mut encoder, mut buffer) = (Encoder::builtin(), Vec::new());
        for size in [2, 4000, 39_998, 0, 10_000] {
            let part = Tensor::new(Dtype::Bf16, &tensor[..size]);
            let mut alone = vec![7; 3];
            let appended = encoder.encode_block(&part, &mut alone).unwrap();
            buffer.fill(0xaa);
            let before = buffer.len();
            let encoded = encoder.encode_block_over(&part, &mut buffer).unwrap();
            assert_eq!(encoded, appended);
            assert_eq!((&alone[..3], &alone[3..]), (&[7; 3][..], &buffer[..encoded.bytes]));
            assert!(buffer.len() >= before, "it is not made shorter");
        }
        let odd = Tensor::new(Dtype::Bf16, &tensor[..3]);
        assert!(encoder.encode_block_over(&odd, &mut buffer).is_err());
        let mut alone = vec![7; 3];
        assert!(encoder.encode_block(&odd, &mut alone).is_err());
        assert_eq!(alone, [7; 3], "nothing is appended after an error");
    }

    #[test]
    fn options_are_checked() {
        let builtin = CodebookSet::builtin;
        let with = |choice, log2| EncodeOptions::default().choice(choice).block_log2(log2);
        assert!(Encoder::new(builtin(), with(Choice::Fixed(191), 17)).is_err());
        assert!(Encoder::new(builtin(), with(Choice::Cheapest, 9)).is_err());
        assert!(Encoder::new(builtin(), with(Choice::Cheapest, 21)).is_err());
        assert!(Encoder::new(builtin(), with(Choice::Cheapest, 20)).is_ok());
    }
}
