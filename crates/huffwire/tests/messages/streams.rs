//! Tensors over byte streams, cut and damaged in any way.

use std::io::{self, ErrorKind, Read, Write};

use super::*;
use huffwire::MessageWriter;

/// Gives out as many bytes at a time as it is told, over and over; 0 stands for an interruption.
struct Cut<'a> {
    bytes: &'a [u8],
    steps: Vec<usize>,
    next: usize,
}

impl<'a> Cut<'a> {
    const fn new(bytes: &'a [u8], steps: Vec<usize>) -> Self {
        Self { bytes, steps, next: 0 }
    }
}

impl Read for Cut<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let step = self.steps[self.next % self.steps.len()];
        self.next += 1;
        if step == 0 {
            return Err(ErrorKind::Interrupted.into());
        }
        let count = step.min(buffer.len());
        self.bytes.read(&mut buffer[..count])
    }
}

fn sent(options: EncodeOptions, message_bytes: usize, tensors: &[Tensor<'_>]) -> Vec<u8> {
    let mut writer = MessageWriter::new(Vec::new(), encoder(options)).message_bytes(message_bytes);
    let lengths = tensors.iter().map(|tensor| writer.write_tensor(tensor).unwrap());
    let total: u64 = lengths.sum();
    let stream = writer.into_inner();
    assert_eq!(stream.len() as u64, total);
    stream
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(80) })]

    #[test]
    fn tensors_come_back_however_the_stream_is_cut(
        dtypes in prop::collection::vec(any_dtype(), 1..4),
        units in 0..6000usize,
        log2 in 10..=20u8,
        checksums in any::<bool>(),
        message_bytes in prop_oneof![0..5000usize, 5000..200_000usize],
        context in any::<Option<u64>>(),
        mut steps in prop::collection::vec(0..3000usize, 1..6),
        seed in any::<u64>(),
    ) {
        steps.push(1 + units % 100);
        let all: Vec<Vec<u8>> =
            (0..).zip(&dtypes).map(|(n, dtype)| tensor(*dtype, units, seed ^ n)).collect();
        let tensors = all.iter().zip(&dtypes).map(|(bytes, dtype)| {
            let tensor = Tensor::new(*dtype, bytes).named("layers.0");
            context.map_or(tensor.clone(), |context| tensor.in_context(context))
        });
        let tensors: Vec<Tensor<'_>> = tensors.collect();
        let stream = sent(blocks_of(log2).checksums(checksums), message_bytes, &tensors);
        let mut reader = MessageReader::new(Cut::new(&stream, steps), Decoder::builtin());
        for (bytes, dtype) in all.iter().zip(&dtypes) {
            let expected = Expected::anything().dtype(*dtype);
            let expected = context.map_or(expected, |context| expected.context(context));
            let mut out = vec![0x11; bytes.len()];
            reader.read_expected(&expected, &mut out).unwrap();
            prop_assert!(out == *bytes);
        }
        prop_assert!(reader.into_inner().bytes.is_empty(), "nothing was sent but the tensors");
    }

    #[test]
    fn damage_is_an_error_and_leaves_poison(
        dtype in any_dtype(),
        units in 1..3000usize,
        message_bytes in 1..5000usize,
        places in prop::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..4),
        seed in any::<u64>(),
    ) {
        let bytes = tensor(dtype, units, seed);
        prop_assume!(!bytes.is_empty());
        let stream = sent(blocks_of(10), message_bytes, &[Tensor::new(dtype, &bytes)]);
        let mut damaged = stream.clone();
        for (place, change) in places {
            damaged[place.index(stream.len())] ^= change;
        }
        prop_assume!(damaged != stream);
        let mut out = vec![0x11; bytes.len()];
        let mut reader = MessageReader::new(&damaged[..], Decoder::builtin());
        prop_assert!(reader.read_tensor(dtype, &mut out).is_err());
        prop_assert!(out.iter().all(|&byte| byte == POISON));
    }

    #[test]
    fn a_stream_that_ends_early_says_so(
        dtype in any_dtype(),
        units in 1..3000usize,
        message_bytes in 1..5000usize,
        cut in any::<prop::sample::Index>(),
        seed in any::<u64>(),
    ) {
        let bytes = tensor(dtype, units, seed);
        prop_assume!(!bytes.is_empty());
        let stream = sent(blocks_of(10), message_bytes, &[Tensor::new(dtype, &bytes)]);
        let cut = cut.index(stream.len());
        let mut out = vec![0x11; bytes.len()];
        let mut reader = MessageReader::new(&stream[..cut], Decoder::builtin());
        let error = reader.read_tensor(dtype, &mut out).unwrap_err();
        match error {
            StreamError::Ended(more) => {
                prop_assert!((1..=(stream.len() - cut) as u64).contains(&more), "{}", more);
            }
            // A sender that has sent nothing may have had nothing to send.
            StreamError::Closed => prop_assert_eq!(cut, 0),
            other => panic!("{other}"),
        }
        prop_assert!(out.iter().all(|&byte| byte == POISON));
    }
}

/// A stream is a row of messages that any decoder can read one by one.
#[test]
fn a_stream_consists_of_messages_in_consecutive_contexts() {
    let bytes = tensor(Dtype::F32, 3000, 1);
    let tensor = Tensor::new(Dtype::F32, &bytes).in_context(u64::MAX - 1);
    let stream = sent(blocks_of(10), 2048, &[tensor]);
    let (mut rest, mut decoded, mut context) = (&stream[..], Vec::new(), u64::MAX - 1);
    while !rest.is_empty() {
        let length = forge::entries_of(rest).last().unwrap().end;
        let (message, behind) = rest.split_at(length);
        rest = behind;
        let expected = Expected::anything().context(context);
        let (_, part) = Decoder::builtin().decode_expected_to_vec(message, &expected).unwrap();
        assert_eq!(part.len(), 2048.min(bytes.len() - decoded.len()));
        decoded.extend_from_slice(&part);
        // The number behind the largest is 0.
        context = context.wrapping_add(1);
    }
    assert!(decoded == bytes);
    assert_eq!(context, 4);
}

/// A message that was left out or sent twice is noticed by its context.
#[test]
fn messages_out_of_order_are_refused_in_a_context() {
    let bytes = [5; 4096];
    let stream = sent(blocks_of(10), 1024, &[Tensor::new(Dtype::U8, &bytes).in_context(9)]);
    let size = stream.len() / 4;
    let messages: Vec<&[u8]> = stream.chunks(size).collect();
    let read = |order: &[usize]| {
        let stream: Vec<u8> = order.iter().flat_map(|&n| messages[n].to_vec()).collect();
        let mut out = vec![0x11; bytes.len()];
        let mut reader = MessageReader::new(&stream[..], Decoder::builtin());
        let result = reader.read_expected(&Expected::anything().context(9), &mut out);
        assert!(out == bytes || out.iter().all(|&byte| byte == POISON));
        result
    };
    read(&[0, 1, 2, 3]).unwrap();
    for order in [[0, 2, 1, 3], [0, 0, 1, 2], [1, 2, 3, 3], [0, 1, 3, 3]] {
        let error = read(&order).unwrap_err();
        let is_checksum = matches!(error, StreamError::Message(Error::Checksum { .. }));
        assert!(is_checksum, "{error}");
    }
}

#[test]
fn a_buffer_of_another_size_than_the_tensor() {
    let bytes = tensor(Dtype::Bf16, 2048, 1);
    let stream = sent(blocks_of(10), 1024, &[Tensor::new(Dtype::Bf16, &bytes)]);
    let read = |size: usize| {
        let mut out = vec![0x11; size];
        let mut reader = MessageReader::new(&stream[..], Decoder::builtin());
        let result = reader.read_tensor(Dtype::Bf16, &mut out);
        let left = reader.into_inner().len();
        result.map(|()| (out, left))
    };
    // Where a message ends, so may the buffer: the rest stays in the stream.
    let (out, left) = read(2048).unwrap();
    assert!(out == bytes[..2048] && left > 0);
    let (out, left) = read(4096).unwrap();
    assert!(out == bytes && left == 0);
    for size in [1, 1023, 1025, 3000] {
        let error = read(size).unwrap_err();
        let too_large = matches!(error, StreamError::Message(Error::TooLarge { .. }));
        assert!(too_large, "{size}: {error}");
    }
    assert!(matches!(read(4098), Err(StreamError::Ended(16))));
}

/// Fails after so many bytes.
struct Breaks(usize);

impl Write for Breaks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.0);
        self.0 -= count;
        if count == 0 { Err(ErrorKind::BrokenPipe.into()) } else { Ok(count) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Breaks {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::ConnectionReset.into())
    }
}

#[test]
fn errors_of_the_stream_are_handed_on() {
    let bytes = tensor(Dtype::Bf16, 5000, 1);
    for room in [0, 10, 3000] {
        let mut writer = MessageWriter::new(Breaks(room), Encoder::builtin());
        let error = writer.write_tensor(&Tensor::new(Dtype::Bf16, &bytes)).unwrap_err();
        let StreamError::Io(error) = error else { panic!("{error}") };
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
    let mut out = [0x11; 10];
    let mut reader = MessageReader::new(Breaks(0), Decoder::builtin());
    let error = reader.read_tensor(Dtype::Bf16, &mut out).unwrap_err();
    let StreamError::Io(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(out, [POISON; 10]);
}

#[test]
fn what_is_no_tensor_is_not_sent() {
    let mut writer = MessageWriter::new(Vec::new(), Encoder::builtin());
    for (dtype, bytes) in [(Dtype::Bf16, 3), (Dtype::Complex64, 12), (Dtype::E3m2Packed, 4)] {
        let zeros = vec![0; bytes];
        let error = writer.write_tensor(&Tensor::new(dtype, &zeros)).unwrap_err();
        let StreamError::Message(error) = error else { panic!("{error}") };
        assert_eq!(error, Error::PartialElement { dtype, bytes });
    }
    assert!(writer.into_inner().is_empty());
}
