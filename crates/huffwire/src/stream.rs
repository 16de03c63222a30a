//! Tensors over byte streams: sockets, pipes.
//!
//! A message begins with a table of its blocks, so a sender must have coded all of a message before its first byte
//! leaves. [`MessageWriter`] therefore sends a large tensor as several messages of limited size: the first is on its
//! way while the next is coded. [`MessageReader`] decodes blocks as they come.

use std::io::{self, Read, Write};

use crate::block;
use crate::codec::{Decoder, Encoder, POISON};
use crate::dtype::Dtype;
use crate::error::{Error, Result, reserve};
use crate::message::{
    Decoding, HEADER_BYTES, Header, Kind, Seal, Table, decode_batch, table_bytes,
};
use crate::parallel::BATCH_BYTES;
use crate::tensor::{Expected, Tensor};

/// Default of [`MessageWriter::message_bytes`]: 4 MiB.
const MESSAGE_BYTES: usize = 4 << 20;

/// Bytes of a table that are read at a time, so that memory grows with what has arrived.
const TABLE_STEP: usize = 1 << 16;

/// What goes wrong on a stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// Reading or writing failed.
    #[error("the stream failed: {0}")]
    Io(#[from] io::Error),
    /// The stream ended where a tensor could begin: the sender has sent all that it had.
    #[error("the stream ended before a tensor")]
    Closed,
    /// The stream ended within a message.
    #[error(
        "the stream ended within a message: {0} more bytes were expected; the sender stopped early"
    )]
    Ended(u64),
    /// The bytes that came are no message as expected, or the tensor cannot be sent.
    #[error(transparent)]
    Message(#[from] Error),
}

/// Sends tensors over a byte stream.
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use std::thread;
///
/// use huffwire::{Decoder, Dtype, Encoder, MessageReader, MessageWriter, Tensor};
///
/// let tensor: Vec<f32> = (0..3_000_000).map(|i| (i as f32).sqrt().sin()).collect();
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
///
/// let sent = tensor.clone();
/// let sender = thread::spawn(move || -> Result<u64, huffwire::StreamError> {
///     let stream = TcpStream::connect(address)?;
///     let mut writer = MessageWriter::new(stream, Encoder::builtin());
///     writer.write_tensor(&Tensor::of(&sent))
/// });
///
/// let (stream, _) = listener.accept()?;
/// let mut reader = MessageReader::new(stream, Decoder::builtin());
/// let mut received = vec![0; 4 * tensor.len()];
/// reader.read_tensor(Dtype::F32, &mut received)?;
///
/// let sent_bytes = sender.join().unwrap()?;
/// assert!(sent_bytes < received.len() as u64);
/// assert!(received.chunks(4).zip(&tensor).all(|(bytes, value)| bytes == value.to_le_bytes()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MessageWriter<W> {
    inner: W,
    encoder: Encoder,
    message_bytes: usize,
    buffer: Vec<u8>,
}

impl<W: Write> MessageWriter<W> {
    /// A writer of messages made by `encoder`.
    #[must_use]
    pub const fn new(inner: W, encoder: Encoder) -> Self {
        Self { inner, encoder, message_bytes: MESSAGE_BYTES, buffer: Vec::new() }
    }

    /// The same with messages of at most so many bytes of elements (at least one block). One message is kept in memory.
    #[must_use]
    pub fn message_bytes(mut self, bytes: usize) -> Self {
        self.message_bytes = bytes.max(1);
        self
    }

    /// Sends a tensor as messages, at least one; returns how many bytes they have. If the tensor has a context, the
    /// first message has it, and each that follows the next number.
    ///
    /// # Errors
    /// [`StreamError::Io`], and as [`Encoder::encode`].
    pub fn write_tensor(&mut self, tensor: &Tensor<'_>) -> Result<u64, StreamError> {
        let dtype = tensor.dtype();
        let block_bytes = block::block_bytes(dtype, self.encoder.options().block_log2);
        // Whole blocks, and so whole units; a complex number has two of them, and blocks have an even number.
        let size = (self.message_bytes / block_bytes).max(1) * block_bytes;
        let bytes = tensor.bytes();
        if dtype.values_in(bytes.len() as u64).is_none() {
            return Err(Error::PartialElement { dtype, bytes: bytes.len() }.into());
        }
        let mut sent = 0;
        for (number, part) in parts(bytes, size).enumerate() {
            let mut message = Tensor::new(dtype, part).named(tensor.name());
            if let Some(context) = tensor.context() {
                message = message.in_context(context.wrapping_add(number as u64));
            }
            let bound = self.encoder.bound(dtype, part.len() / dtype.unit_bytes());
            if self.buffer.len() < bound {
                let more = bound - self.buffer.len();
                reserve(&mut self.buffer, more, "a message")?;
                self.buffer.resize(bound, 0);
            }
            let length = self.encoder.encode_tensor(&message, &mut self.buffer)?;
            self.inner.write_all(&self.buffer[..length])?;
            sent += length as u64;
        }
        self.inner.flush()?;
        Ok(sent)
    }

    /// Gives the stream back.
    pub fn into_inner(self) -> W {
        self.inner
    }
}

/// Parts of so many bytes; one empty part of nothing.
fn parts(bytes: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    let none = bytes.is_empty().then_some(bytes);
    none.into_iter().chain(bytes.chunks(size))
}

/// Receives tensors from a byte stream. Blocks are decoded as they come, on the calling thread; memory grows with the
/// bytes that have arrived, never with a claim.
///
/// See [`MessageWriter`] for an example.
#[derive(Debug)]
pub struct MessageReader<R> {
    inner: R,
    decoder: Decoder,
    table: Vec<u8>,
    coded: Vec<u8>,
}

impl<R: Read> MessageReader<R> {
    /// A reader of messages for `decoder`.
    #[must_use]
    pub const fn new(inner: R, decoder: Decoder) -> Self {
        Self { inner, decoder, table: Vec::new(), coded: Vec::new() }
    }

    /// Receives a tensor of a type that fills `out`, from as many messages as it was sent in. After an error every
    /// byte of `out` is [`POISON`], and the stream is not at the start of a message.
    ///
    /// # Errors
    /// [`StreamError::Closed`] at the end of the stream, [`StreamError::Ended`] and [`StreamError::Io`]; as
    /// [`Decoder::decode_expected`], also for messages that hold more than what is left of `out`.
    pub fn read_tensor(&mut self, dtype: Dtype, out: &mut [u8]) -> Result<(), StreamError> {
        self.read_expected(&Expected::anything().dtype(dtype), out)
    }

    /// Receives a tensor that is as expected and fills `out`. An expected context is that of the first message; each
    /// that follows has the next number. A limit on bytes is that of each message; the tensor's size is that of `out`.
    ///
    /// # Errors
    /// As [`MessageReader::read_tensor`].
    pub fn read_expected(
        &mut self,
        expected: &Expected,
        out: &mut [u8],
    ) -> Result<(), StreamError> {
        let result = self.read_messages(expected, out);
        if result.is_err() {
            out.fill(POISON);
        }
        result
    }

    /// Gives the stream back.
    pub fn into_inner(self) -> R {
        self.inner
    }

    fn read_messages(&mut self, expected: &Expected, out: &mut [u8]) -> Result<(), StreamError> {
        let mut expected = *expected;
        let mut done = 0;
        loop {
            let rest = &mut out[done..];
            let left = rest.len();
            let expected_here =
                expected.max_bytes(expected.max_bytes.map_or(left, |m| m.min(left)));
            let mut head = [0; HEADER_BYTES];
            fill(&mut self.inner, &mut head).map_err(|error| match error {
                StreamError::Ended(more) if done == 0 && more == HEADER_BYTES as u64 => {
                    StreamError::Closed
                }
                error => error,
            })?;
            let read = self.read_message(&head, &expected_here, rest)?;
            done += read;
            if done == out.len() {
                return Ok(());
            }
            if read == 0 {
                // A sender makes an empty message of an empty tensor only.
                let (expected, found) = (format!("{left} bytes more"), "empty".to_owned());
                return Err(Error::Unexpected { what: "a message", expected, found }.into());
            }
            expected.context = expected.context.map(|context| context.wrapping_add(1));
        }
    }

    /// Receives the rest of a message whose elements have room in `out`; returns how many bytes they are.
    fn read_message(
        &mut self,
        head: &[u8; HEADER_BYTES],
        expected: &Expected,
        out: &mut [u8],
    ) -> Result<usize, StreamError> {
        let (header, check) = Header::read_with_check(head, expected.context)?;
        expected.check(&header)?;
        if header.kind != Kind::Tensor {
            return Err(header.kind.unexpected().into());
        }
        let size = header.raw_bytes()?;
        let entries = header.entries();
        let table_bytes = table_bytes(entries, header.checksums);
        read_to(&mut self.inner, &mut self.table, table_bytes, "a message's table")?;
        let mut table = Table::new(&self.table, entries);
        crate::message::check_lengths(&header, &table)?;

        let (sets, workers) = self.decoder.parts();
        let set = sets.find_short(header.set)?;
        let decoding = Decoding::new(&header, Seal { header: check }, set)?;
        // Two are decoded at a time, unless one is larger than a batch should be.
        let batch = (BATCH_BYTES / decoding.block_bytes).max(1);
        let mut outs = out[..size].chunks_mut(batch * decoding.block_bytes);
        while table.len() > 0 {
            let [front, behind] = table.split_at(batch.min(table.len()));
            table = behind;
            let Some(place) = outs.next() else { break };
            // A batch's length is bounded by the blocks' lengths, which were checked.
            read_to(&mut self.inner, &mut self.coded, front.total() as usize, "a block")?;
            decode_batch(&decoding, workers.own(), front, &self.coded, place)?;
        }
        Ok(size)
    }
}

/// Reads exactly so many bytes into a vector, which grows as they come.
fn read_to(
    inner: &mut impl Read,
    bytes: &mut Vec<u8>,
    length: usize,
    what: &'static str,
) -> Result<(), StreamError> {
    bytes.clear();
    while bytes.len() < length {
        let start = bytes.len();
        let step = (length - start).min(TABLE_STEP.max(start));
        reserve(bytes, step, what)?;
        bytes.resize(start + step, 0);
        fill(inner, &mut bytes[start..]).map_err(|error| match error {
            StreamError::Ended(more) => StreamError::Ended(more + (length - start - step) as u64),
            error => error,
        })?;
    }
    Ok(())
}

/// Fills a buffer.
fn fill(inner: &mut impl Read, mut buffer: &mut [u8]) -> Result<(), StreamError> {
    while !buffer.is_empty() {
        match inner.read(buffer) {
            Ok(0) => return Err(StreamError::Ended(buffer.len() as u64)),
            Ok(count) => buffer = &mut buffer[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives out a few bytes at a time, as a socket may.
    struct Dribble<'a>(&'a [u8], usize);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len()).min(self.0.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn tensor() -> Vec<u8> {
        (0..300_000u32).flat_map(|i| (i as f32 * 0.37).sin().to_le_bytes()).collect()
    }

    fn sent(tensor: &Tensor<'_>, message_bytes: usize) -> Vec<u8> {
        let mut writer =
            MessageWriter::new(Vec::new(), Encoder::builtin()).message_bytes(message_bytes);
        let bytes = writer.write_tensor(tensor).unwrap();
        let stream = writer.into_inner();
        assert_eq!(stream.len() as u64, bytes);
        stream
    }

    #[test]
    fn a_tensor_comes_back_however_it_is_cut() {
        let tensor = tensor();
        for (message_bytes, step) in [(1, 1 << 20), (1 << 18, 1000), (1 << 24, 77)] {
            let stream = sent(&Tensor::new(Dtype::F32, &tensor).in_context(5), message_bytes);
            let mut reader = MessageReader::new(Dribble(&stream, step), Decoder::builtin());
            let mut out = vec![0; tensor.len()];
            let expected = Expected::anything().dtype(Dtype::F32).context(5);
            reader.read_expected(&expected, &mut out).unwrap();
            assert!(out == tensor);
            assert!(reader.into_inner().0.is_empty());
        }
    }

    #[test]
    fn blocks_of_every_size_come_back() {
        let tensor = tensor();
        // Larger than a batch, too.
        let tensor = [&tensor[..], &tensor].concat();
        for block_log2 in 10..=20 {
            let options = crate::EncodeOptions::default().block_log2(block_log2);
            let encoder = Encoder::new(crate::CodebookSet::builtin(), options).unwrap();
            let mut writer = MessageWriter::new(Vec::new(), encoder);
            writer.write_tensor(&Tensor::new(Dtype::F32, &tensor)).unwrap();
            let stream = writer.into_inner();
            let mut out = vec![0; tensor.len()];
            MessageReader::new(&stream[..], Decoder::builtin())
                .read_tensor(Dtype::F32, &mut out)
                .unwrap();
            assert!(out == tensor, "2^{block_log2}");
        }
    }

    #[test]
    fn an_empty_tensor_is_one_message() {
        let stream = sent(&Tensor::new(Dtype::Bf16, &[]), 1);
        let mut reader = MessageReader::new(&stream[..], Decoder::builtin());
        reader.read_tensor(Dtype::Bf16, &mut []).unwrap();
        // The next tensor is not empty.
        let mut reader = MessageReader::new(&stream[..], Decoder::builtin());
        let error = reader.read_tensor(Dtype::Bf16, &mut [0; 2]).unwrap_err();
        assert!(matches!(error, StreamError::Message(Error::Unexpected { .. })), "{error}");
    }

    #[test]
    fn cut_and_changed_streams_are_errors_and_hand_out_nothing() {
        let tensor = &tensor()[..100_000];
        let stream = sent(&Tensor::new(Dtype::F32, tensor), 1 << 16);
        let mut out = vec![0; tensor.len()];
        for cut in
            (0..stream.len()).step_by(997).chain(1..100).chain(stream.len() - 100..stream.len())
        {
            let mut reader = MessageReader::new(&stream[..cut], Decoder::builtin());
            let error = reader.read_tensor(Dtype::F32, &mut out).unwrap_err();
            let closed = cut == 0 && matches!(error, StreamError::Closed);
            assert!(closed || cut > 0 && matches!(error, StreamError::Ended(1..)), "{error}");
            assert!(out.iter().all(|byte| *byte == POISON));
        }
        for at in (0..stream.len()).step_by(701) {
            let mut damaged = stream.clone();
            damaged[at] ^= 4;
            let mut reader = MessageReader::new(&damaged[..], Decoder::builtin());
            assert!(reader.read_tensor(Dtype::F32, &mut out).is_err(), "{at}");
            assert!(out.iter().all(|byte| *byte == POISON));
        }
    }

    #[test]
    fn what_was_not_expected_is_refused() {
        let tensor = tensor();
        let stream = sent(&Tensor::new(Dtype::F32, &tensor), 1 << 20);
        let mut out = vec![0; tensor.len()];
        let mut read = |expected: Expected, bytes: usize| {
            let mut reader = MessageReader::new(&stream[..], Decoder::builtin());
            reader.read_expected(&expected, &mut out[..bytes]).unwrap_err().to_string()
        };
        let anything = Expected::anything();
        assert!(read(anything.dtype(Dtype::I32), 400).contains("is f32 where i32 was expected"));
        assert!(read(anything, 400).contains("exceeds the limit of 400"));
        assert!(read(anything.context(1), 400).contains("no context"));
    }

    #[test]
    fn a_claim_costs_no_memory() {
        // A header of 2 Gi units and nothing behind it: the most that a usize of 32 bits allows for.
        let header = Header {
            kind: Kind::Tensor,
            dtype: Dtype::U8,
            units: i32::MAX.unsigned_abs(),
            checksums: true,
            has_context: false,
            set: crate::CodebookSet::builtin().id().short(),
            block_log2: 10,
        };
        let (head, _) = header.write(None);
        let mut reader = MessageReader::new(&[][..], Decoder::builtin());
        let error = reader.read_message(&head, &Expected::anything(), &mut []).unwrap_err();
        assert!(matches!(error, StreamError::Ended(16_777_216)), "{error}");
        assert!(reader.table.capacity() <= 4 * TABLE_STEP);
    }
}
