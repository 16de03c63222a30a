//! Deltas, made and read by `Encoder` and `Decoder`.

use std::sync::Arc;

use super::{CodedBlock, Decoder, Encoder, poisoned};
use crate::block::BlockDecoder;
use crate::delta::{
    self, BlockHeader, Changes, DecodeWorker, Decoding, Delta, EncodeWorker, Prepared, block_bytes,
};
use crate::dtype::Dtype;
use crate::error::{Error, Result, reserve};
use crate::message::Header;
use crate::parallel::Workers;
use crate::plan::{Choice, Policy};
use crate::set::CodebookSet;
use crate::tensor::{Expected, Tensor};
use crate::wire::crc32c;

/// What an encoder needs for deltas.
#[derive(Debug)]
pub(super) struct Encoding {
    workers: Workers<EncodeWorker>,
    /// For differences, by the type of their words.
    policies: Vec<Policy>,
    block: Vec<u8>,
}

impl Encoding {
    /// Where the policy for differences of such words lies.
    fn policy(&mut self, set: &CodebookSet, encoder: &super::EncodeOptions, dtype: Dtype) -> usize {
        let known = self.policies.iter().position(|policy| policy.dtype() == dtype);
        known.unwrap_or_else(|| {
            // Books that are bound to names are for tensors, not for their differences.
            let choice = match encoder.choice {
                Choice::Named => Choice::Sample,
                choice => choice,
            };
            self.policies.push(Policy::new(set, dtype, "", encoder.rule, encoder.level, choice));
            self.policies.len() - 1
        })
    }
}

/// Block of a delta that [`Encoder::encode_delta_block`] appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodedDeltaBlock {
    /// How many bytes it took.
    pub bytes: usize,
    /// CRC-32C of these bytes, if the options ask for checksums.
    pub checksum: Option<u32>,
    /// The header of the block.
    pub header: BlockHeader,
}

impl Encoder {
    /// The longest delta for `units` units (see [`Dtype`]) of a type, whatever changes: the size of the buffer that
    /// [`Encoder::encode_delta`] wants.
    #[must_use]
    pub const fn delta_bound(&self, dtype: Dtype, units: usize) -> usize {
        delta::bound(dtype, units, self.options().block_log2)
    }

    /// Encodes what changed from `base` to `new`, tensors of the same type and size, as one message into `out`; returns
    /// its length, at most [`Encoder::delta_bound`]. See [the module](delta).
    ///
    /// ```
    /// use huffwire::{Decoder, Dtype, Encoder};
    ///
    /// let base: Vec<u8> = (0..5000).flat_map(|i| (i as f32).sin().to_le_bytes()).collect();
    /// let mut new = base.clone();
    /// new[4000..4004].copy_from_slice(&7f32.to_le_bytes());
    ///
    /// let mut encoder = Encoder::builtin();
    /// let mut message = vec![0; encoder.delta_bound(Dtype::F32, 5000)];
    /// let length = encoder.encode_delta(Dtype::F32, &base, &new, &mut message)?;
    /// assert!(length < 100);
    ///
    /// let mut restored = vec![0; base.len()];
    /// Decoder::builtin().decode_delta(&base, &message[..length], &mut restored)?;
    /// assert_eq!(restored, new);
    /// # Ok::<(), huffwire::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::PartialElement`], [`Error::TooLarge`] (over 2³² - 1 units), [`Error::BaseLength`] for a base of another
    /// size, or [`Error::OutputTooSmall`] when `out` is shorter than [`Encoder::delta_bound`].
    pub fn encode_delta(
        &mut self,
        dtype: Dtype,
        base: &[u8],
        new: &[u8],
        out: &mut [u8],
    ) -> Result<usize> {
        self.encode_tensor_delta(base, &Tensor::new(dtype, new), out)
    }

    /// Encodes what changed from `base` to `new` as one message in a vector of its own.
    ///
    /// # Errors
    /// As [`Encoder::encode_delta`].
    pub fn encode_delta_to_vec(
        &mut self,
        dtype: Dtype,
        base: &[u8],
        new: &[u8],
    ) -> Result<Vec<u8>> {
        self.encode_tensor_delta_to_vec(base, &Tensor::new(dtype, new))
    }

    /// Encodes what changed from `base` to a tensor with its name and its context, as one message into `out`; returns
    /// its length.
    ///
    /// # Errors
    /// As [`Encoder::encode_delta`].
    pub fn encode_tensor_delta(
        &mut self,
        base: &[u8],
        new: &Tensor<'_>,
        out: &mut [u8],
    ) -> Result<usize> {
        let seal = (self.options.checksums, new.context());
        self.with_deltas(new, |encoding, workers, _, buffers| {
            delta::encode(&encoding, seal, workers, buffers, (base, new.bytes()), out)
        })
    }

    /// Encodes what changed from `base` to a tensor with its name and its context, as one message in a vector of its
    /// own.
    ///
    /// # Errors
    /// As [`Encoder::encode_delta`].
    pub fn encode_tensor_delta_to_vec(&mut self, base: &[u8], new: &Tensor<'_>) -> Result<Vec<u8>> {
        let (dtype, bytes) = (new.dtype(), new.bytes().len());
        if dtype.values_in(bytes as u64).is_none() {
            return Err(Error::PartialElement { dtype, bytes });
        }
        let bound = self.delta_bound(dtype, bytes / dtype.unit_bytes());
        let mut out = Vec::new();
        reserve(&mut out, bound, "a delta")?;
        out.resize(bound, 0);
        let length = self.encode_tensor_delta(base, new, &mut out)?;
        out.truncate(length);
        out.shrink_to_fit();
        Ok(out)
    }

    /// Encodes what changed from `base` to whole units of a tensor as one block of a delta and appends it to `out`.
    ///
    /// Blocks are what a delta in a file consists of, [`delta::BLOCK_UNITS`] units in each but the last, behind
    /// [`delta::KIND_HEADER`].
    ///
    /// # Errors
    /// [`Error::PartialElement`], [`Error::BaseLength`] for a base of another size, or [`Error::TooLarge`] for more than
    /// a block may hold.
    pub fn encode_delta_block(
        &mut self,
        base: &[u8],
        new: &Tensor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<EncodedDeltaBlock> {
        check_block(new.dtype(), base.len(), new.bytes().len())?;
        let start = out.len();
        let checksums = self.options.checksums;
        let header = self.with_deltas(new, |encoding, workers, block, _| {
            block.clear();
            let header = workers.own().encode(&encoding, (base, new.bytes()), [&[]; 2], block)?;
            out.extend_from_slice(block);
            Ok(header)
        })?;
        let bytes = out.len() - start;
        let checksum = checksums.then(|| crc32c(&out[start..]));
        Ok(EncodedDeltaBlock { bytes, checksum, header })
    }

    /// Runs `work` with what deltas of a tensor need.
    fn with_deltas<R>(
        &mut self,
        tensor: &Tensor<'_>,
        work: impl FnOnce(
            delta::Encoding<'_>,
            &mut Workers<EncodeWorker>,
            &mut Vec<u8>,
            &mut Vec<Vec<u8>>,
        ) -> Result<R>,
    ) -> Result<R> {
        let plain = self.policy(tensor);
        let deltas = self.deltas.get_or_insert_with(|| {
            let workers = Workers::new(EncodeWorker::new, self.workers.platform());
            Box::new(Encoding { workers, policies: Vec::new(), block: Vec::new() })
        });
        let words = delta::integers(tensor.dtype());
        let differences = deltas.policy(&self.set, &self.options, words);
        let Encoding { workers, policies, block } = &mut **deltas;
        workers.set_threads(self.workers.threads().clone());
        let encoding = delta::Encoding {
            set: &self.set,
            dtype: tensor.dtype(),
            plain: &self.policies[plain].1,
            differences: &policies[differences],
            block_log2: self.options.block_log2,
        };
        work(encoding, workers, block, &mut self.buffers)
    }
}

impl Decoder {
    /// Decodes a delta without a context into `out`, given its base; both have exactly the size that
    /// [`Header::raw_bytes`] tells.
    ///
    /// Checksums, and the hashes of all of the base, are verified before a byte of `out` is written: after a
    /// [`Error::WrongBase`] it is as it was. The hash of the result is verified before success is reported: after
    /// another error `out` is as it was, or all of it is [`POISON`](crate::POISON).
    ///
    /// # Errors
    /// [`Error::WrongBase`], within [`Error::InBlock`], for a base whose bytes are not those that the delta was made
    /// for; [`Error::BaseLength`] for one of another size, and [`Error::OutputLength`] for an `out` of another size, both
    /// before checksums and hashes are computed; [`Error::Unexpected`] for a message that is no delta;
    /// [`Error::WrongResult`] and other typed errors for everything that is not a whole delta coded with one of this
    /// decoder's sets.
    pub fn decode_delta(&mut self, base: &[u8], message: &[u8], out: &mut [u8]) -> Result<Header> {
        self.decode_expected_delta(base, message, &Expected::anything(), out)
    }

    /// Decodes a delta that is as expected into `out`, given its base.
    ///
    /// # Errors
    /// As [`Decoder::decode_delta`], and as [`Decoder::decode_expected`] for a message that is not as expected.
    pub fn decode_expected_delta(
        &mut self,
        base: &[u8],
        message: &[u8],
        expected: &Expected,
        out: &mut [u8],
    ) -> Result<Header> {
        let (delta, set) = self.parse_delta(message, expected)?;
        let (header, needed) = (*delta.header(), delta.bytes());
        // Sizes first: they cost nothing, where checksums and hashes read all of the message and the base.
        delta::check_size(needed, base.len())?;
        if out.len() != needed {
            return Err(Error::OutputLength { needed, available: out.len() });
        }
        let decoding = Decoding { set: &set, dtype: header.dtype };
        let workers = self.delta_workers();
        delta.check(workers, base)?;
        let result = delta.decode(&decoding, workers, base, out);
        poisoned(out, result.map(|()| header))
    }

    /// Decodes a delta without a context into a vector of its own, given its base.
    ///
    /// # Errors
    /// As [`Decoder::decode_delta`].
    pub fn decode_delta_to_vec(
        &mut self,
        base: &[u8],
        message: &[u8],
    ) -> Result<(Header, Vec<u8>)> {
        let (delta, set) = self.parse_delta(message, &Expected::anything())?;
        let header = *delta.header();
        let decoding = Decoding { set: &set, dtype: header.dtype };
        let workers = self.delta_workers();
        // What the header claims is compared with the base before memory is taken for it.
        delta.check(workers, base)?;
        let mut out = Vec::new();
        reserve(&mut out, base.len(), "a tensor")?;
        out.resize(base.len(), 0);
        delta.decode(&decoding, workers, base, &mut out)?;
        Ok((header, out))
    }

    /// Turns the base into the new tensor, where it lies.
    ///
    /// The delta is decoded, and its base and result are compared with its hashes, before a byte of `base` changes:
    /// after an error `base` is as it was. No error is possible once the first byte was written. This takes memory for
    /// the changes, not for a second tensor: see [`Decoder::prepare_delta`].
    ///
    /// # Errors
    /// As [`Decoder::decode_delta`].
    pub fn apply_delta(&mut self, message: &[u8], base: &mut [u8]) -> Result<Header> {
        self.apply_expected_delta(message, &Expected::anything(), base)
    }

    /// Turns the base into the new tensor, where it lies, by a delta that is as expected.
    ///
    /// # Errors
    /// As [`Decoder::decode_expected_delta`].
    pub fn apply_expected_delta(
        &mut self,
        message: &[u8],
        expected: &Expected,
        base: &mut [u8],
    ) -> Result<Header> {
        let prepared = self.prepare_delta(message, expected, base)?;
        self.commit_delta(&prepared, base)?;
        Ok(*prepared.header())
    }

    /// Decodes a delta that is as expected and compares base and result with its hashes; [`Decoder::commit_delta`]
    /// then only has to write.
    ///
    /// Blocks in which at least an eighth of the words changes are decoded again by `commit_delta`, so that
    /// memory stays small. Of other blocks the changes are kept: an index of 4 bytes and a value for each.
    ///
    /// ```
    /// use huffwire::{Decoder, Dtype, Encoder, Expected};
    ///
    /// let mut weights = vec![1u8; 100_000];
    /// let mut new = weights.clone();
    /// new[77] = 2;
    /// let message = Encoder::builtin().encode_delta_to_vec(Dtype::U8, &weights, &new)?;
    ///
    /// let mut decoder = Decoder::builtin();
    /// let prepared = decoder.prepare_delta(&message, &Expected::anything(), &weights)?;
    /// // Whoever uses the weights pauses here.
    /// decoder.commit_delta(&prepared, &mut weights)?;
    /// assert_eq!(weights, new);
    /// # Ok::<(), huffwire::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Decoder::decode_expected_delta`].
    pub fn prepare_delta<'m>(
        &mut self,
        message: &'m [u8],
        expected: &Expected,
        base: &[u8],
    ) -> Result<Prepared<'m>> {
        let (delta, set) = self.parse_delta(message, expected)?;
        delta::prepare((message, delta), set, self.delta_workers(), base)
    }

    /// Writes a prepared delta over its base, which must not have changed since.
    ///
    /// # Errors
    /// [`Error::OutputLength`] for a base of another size. [`Error::WrongBase`] where a block that has to be decoded
    /// again does not find its base; `base` is as it was then. (Other blocks are not compared again.)
    pub fn commit_delta(&mut self, prepared: &Prepared<'_>, base: &mut [u8]) -> Result<()> {
        delta::commit(prepared, self.delta_workers(), base)
    }

    /// The changes that a delta makes, as indices and values, for programs that put them in place themselves. Base and
    /// result are compared with the hashes in the delta first.
    ///
    /// ```
    /// use huffwire::{Decoder, Dtype, Encoder, Expected};
    ///
    /// let base = [[0u8, 1], [2, 3], [4, 5]].concat();
    /// let new = [[0u8, 1], [9, 9], [4, 5]].concat();
    /// let message = Encoder::builtin().encode_delta_to_vec(Dtype::Bf16, &base, &new)?;
    /// let changes = Decoder::builtin().delta_changes(&message, &Expected::anything(), &base)?;
    /// assert_eq!((changes.indices, changes.values), (vec![1], vec![9, 9]));
    /// # Ok::<(), huffwire::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Decoder::decode_expected_delta`].
    pub fn delta_changes(
        &mut self,
        message: &[u8],
        expected: &Expected,
        base: &[u8],
    ) -> Result<Changes> {
        let (delta, set) = self.parse_delta(message, expected)?;
        let decoding = Decoding { set: &set, dtype: delta.header().dtype };
        delta::list(&delta, &decoding, self.delta_workers(), base)
    }

    /// Decodes a block made by [`Encoder::encode_delta_block`] into `out`, which has exactly the size of the base. Base
    /// and result are compared with the hashes in the block.
    ///
    /// The base is compared before a byte of `out` is written: after [`Error::WrongBase`] it is as it was. After another
    /// error `out` is as it was, or all of it is [`POISON`](crate::POISON).
    ///
    /// # Errors
    /// A typed error for everything that is not such a block, or has another base.
    pub fn decode_delta_block(
        &mut self,
        block: &CodedBlock<'_>,
        base: &[u8],
        out: &mut [u8],
    ) -> Result<BlockHeader> {
        let CodedBlock { dtype, set, checksum, bytes } = *block;
        check_block(dtype, base.len(), out.len())?;
        if let Some(stored) = checksum {
            let computed = crc32c(bytes);
            if stored != computed {
                return Err(Error::Checksum { what: "a block of a delta", stored, computed });
            }
        }
        let decoding = Decoding { set: self.sets.find(set)?, dtype };
        delta::check_block(dtype, bytes, base)?;
        let workers = workers_of(&mut self.deltas, &self.workers);
        let result = workers.own().decode(&decoding, bytes, base, out);
        poisoned(out, result)
    }

    fn parse_delta<'m>(
        &self,
        message: &'m [u8],
        expected: &Expected,
    ) -> Result<(Delta<'m>, Arc<CodebookSet>)> {
        let (parsed, set) = self.parse(message, expected)?;
        Ok((Delta::of(parsed)?, set))
    }

    fn delta_workers(&mut self) -> &mut Workers<DecodeWorker> {
        workers_of(&mut self.deltas, &self.workers)
    }
}

/// The workers for deltas, which are like those for other messages.
fn workers_of<'d>(
    deltas: &'d mut Option<Box<Workers<DecodeWorker>>>,
    like: &Workers<BlockDecoder>,
) -> &'d mut Workers<DecodeWorker> {
    let make = || Box::new(Workers::new(DecodeWorker::new, like.platform()));
    let deltas = deltas.get_or_insert_with(make);
    deltas.set_threads(like.threads().clone());
    deltas
}

/// Checks that a block of a delta can hold so many bytes of elements, and that the base has as many.
fn check_block(dtype: Dtype, base: usize, new: usize) -> Result<()> {
    if !new.is_multiple_of(dtype.unit_bytes()) {
        return Err(Error::PartialElement { dtype, bytes: new });
    }
    let limit = block_bytes(dtype) as u64;
    if new as u64 > limit {
        let (found, remedy) = (new as u64, super::SEVERAL_BLOCKS);
        return Err(Error::TooLarge { what: "a block of a delta", found, limit, remedy });
    }
    delta::check_size(new, base)
}
