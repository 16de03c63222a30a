//! Quantized tensors as messages and in files: nothing is lost, and nothing is believed.

use huffwire::gradient::encode::EncoderKind;
use huffwire::gradient::file::{self, Coding, Directory, Writer};
use huffwire::gradient::message::{self, FloatParts, Header, Origin, PART};
use huffwire::gradient::quantize::{
    Keep, Linear, MAX_LEVELS, Natural, Norm, Qsgd, Quantized, Quantizer, Sign, SignScale, Sparsify,
    TernGrad, WHOLE,
};
use huffwire::gradient::{Random, ValueBuf};
use huffwire::{Dtype, Error};
use proptest::prelude::*;

use crate::forge::{crc32c, mend_quantized};
use crate::values::{gradient, qsgd_like};

/// Every quantizer, with parameters of all kinds.
fn quantizers() -> Vec<Quantizer> {
    let qsgd = |levels, bucket, norm| Quantizer::Qsgd(Qsgd { levels, bucket, norm });
    let sign = |scale, bucket| Quantizer::Sign(Sign { scale, bucket });
    let sparsify = |keep, share| Quantizer::Sparsify(Sparsify { keep, share });
    vec![
        qsgd(4, 512, Norm::L2),
        qsgd(1, WHOLE, Norm::Max),
        qsgd(1000, 7, Norm::L2),
        Quantizer::TernGrad(TernGrad { clip: Some(2.5), bucket: WHOLE }),
        Quantizer::TernGrad(TernGrad { clip: None, bucket: 100 }),
        Quantizer::Natural(Natural),
        sign(SignScale::One, WHOLE),
        sign(SignScale::Mean, 64),
        sign(SignScale::Means, 1),
        sparsify(Keep::Top, 0.05),
        sparsify(Keep::Random, 1.0),
        Quantizer::Linear(Linear { bucket: WHOLE }),
        Quantizer::Linear(Linear { bucket: 33 }),
    ]
}

fn encode(quantized: &Quantized, encoder: EncoderKind) -> Vec<u8> {
    let shape = [quantized.values.view().len() as u64];
    let origin = Origin { dtype: Dtype::F32, shape: &shape };
    let mut bytes = vec![0xaa];
    let sizes = message::encode(quantized, origin, encoder, &mut bytes).unwrap();
    assert_eq!(bytes.remove(0), 0xaa, "it appends");
    assert_eq!(bytes.len(), sizes.total);
    assert!(sizes.scales + sizes.values.total < sizes.total);
    bytes
}

#[track_caller]
fn round_trip(quantized: &Quantized, encoder: EncoderKind) {
    let bytes = encode(quantized, encoder);
    let (header, decoded) = message::decode(&bytes).unwrap();
    assert!(decoded == *quantized, "{encoder} of {:?}", quantized.quantizer);
    assert_eq!(Header::read(&bytes).unwrap(), header);
    assert_eq!((header.encoder, header.quantizer), (encoder, quantized.quantizer));
    assert_eq!(header.elements(), quantized.values.view().len());
}

#[test]
fn every_quantizer_goes_through_every_encoder() {
    for quantizer in quantizers() {
        for count in [0, 1, 2000] {
            let quantized = quantizer.quantize(&gradient(count, 3), 5).unwrap();
            for encoder in EncoderKind::all() {
                round_trip(&quantized, encoder);
            }
        }
    }
}

#[test]
fn a_tensor_of_several_parts_comes_back() {
    let quantizer = Quantizer::Qsgd(Qsgd { levels: 4, bucket: WHOLE, norm: Norm::Max });
    for count in [PART, PART + 1, 2 * PART + 77] {
        let values = ValueBuf::I8(qsgd_like(count, 95.0, 4, 2));
        let quantized = Quantized { quantizer, values, scales: vec![0.5] };
        for encoder in [EncoderKind::Bitmap, EncoderKind::Rlh, EncoderKind::Auto] {
            round_trip(&quantized, encoder);
        }
    }
}

/// All restored floats of a message, part by part.
fn by_parts(message: &[u8]) -> Result<Vec<f32>, Error> {
    let mut floats = FloatParts::open(message)?;
    let mut all = Vec::new();
    while let Some(part) = floats.next_part()? {
        assert!(part.len() == PART || all.len() + part.len() == elements_of(message));
        all.extend_from_slice(part);
    }
    Ok(all)
}

fn elements_of(message: &[u8]) -> usize {
    Header::read(message).unwrap().elements()
}

#[test]
fn floats_part_by_part_are_those_of_the_whole() {
    let gradients = [0, 1, 700, PART + 77].map(|count| gradient(count, 9));
    for quantizer in quantizers() {
        for gradient in &gradients {
            let quantized = quantizer.quantize(gradient, 5).unwrap();
            let message = encode(&quantized, EncoderKind::Bitmap);
            let floats = by_parts(&message).unwrap();
            assert!(floats == quantized.dequantize().unwrap(), "{quantizer}, {}", gradient.len());
        }
    }
    // Buckets that begin and end in parts of their own.
    let count = 3 * PART + 5;
    for bucket in [PART - 1, PART, PART + 1, 2 * PART + 9, count] {
        let quantizer = Quantizer::Sign(Sign { scale: SignScale::Means, bucket });
        let values = ValueBuf::I8((0..count).map(|i| [1, -1][i / 3 % 2]).collect());
        let scales = (0..2 * count.div_ceil(bucket)).map(|i| i as f32).collect();
        let quantized = Quantized { quantizer, values, scales };
        let message = encode(&quantized, EncoderKind::RunLengths);
        assert!(by_parts(&message).unwrap() == quantized.dequantize().unwrap(), "{bucket}");
    }
}

#[test]
fn what_cannot_be_dequantized_has_no_parts_either() {
    let count = PART + 10;
    let sparse = Quantizer::Sparsify(Sparsify { keep: Keep::Top, share: 0.5 });
    let int8 = Quantizer::Linear(Linear { bucket: WHOLE });
    let values = |at: usize, value: i8| {
        let mut values = vec![0; count];
        values[at] = value;
        ValueBuf::I8(values)
    };
    let one = vec![1.0];
    for (quantizer, values, scales, says) in [
        (int8, values(PART + 3, -128), one.clone(), "block 1: a quantized gradient"),
        (int8, values(3, -128), one.clone(), "offset 3"),
        (int8, values(3, 1), vec![f32::NAN], "scale 0 is NaN"),
        (sparse, values(PART, 1), vec![], "fewer scales"),
        (sparse, values(PART, 1), vec![1.0; 3], "2 scales more"),
        (sparse, values(5, 2), one.clone(), "value 2"),
        (sparse, values(PART + 5, 2), one, "value 2"),
    ] {
        let quantized = Quantized { quantizer, values, scales };
        assert!(quantized.dequantize().is_err());
        let message = encode(&quantized, EncoderKind::RunLengths);
        let error = by_parts(&message).unwrap_err();
        assert!(error.to_string().contains(says), "{error}: {says}");
    }
}

#[test]
fn shape_and_type_come_back() {
    let quantizer = Quantizer::Linear(Linear::default());
    let quantized = quantizer.quantize(&gradient(24, 1), 0).unwrap();
    let empty = quantizer.quantize(&[], 0).unwrap();
    let one = quantizer.quantize(&[1.0], 0).unwrap();
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
        for (quantized, shape) in [
            (&quantized, &[24][..]),
            (&quantized, &[2, 3, 4]),
            (&quantized, &[1, 24, 1, 1]),
            (&empty, &[0]),
            (&empty, &[u64::MAX, 0, u64::MAX]),
            (&one, &[]),
        ] {
            let mut bytes = Vec::new();
            let origin = Origin { dtype, shape };
            message::encode(quantized, origin, EncoderKind::Auto, &mut bytes).unwrap();
            let (header, decoded) = message::decode(&bytes).unwrap();
            assert_eq!((header.dtype, &header.shape[..]), (dtype, shape));
            assert_eq!(decoded, *quantized);
        }
    }
}

#[test]
fn what_cannot_be_a_message_is_refused() {
    let quantized = Quantizer::Linear(Linear::default()).quantize(&[1.0, 2.0], 0).unwrap();
    let refused = |quantized: &Quantized, dtype, shape: &[u64], encoder| {
        let origin = Origin { dtype, shape };
        let mut bytes = vec![7];
        let error = message::encode(quantized, origin, encoder, &mut bytes).unwrap_err();
        assert!(matches!(error, Error::InvalidOption(_)), "{error}");
        assert_eq!(bytes, [7], "nothing is appended");
    };
    refused(&quantized, Dtype::U8, &[2], EncoderKind::Auto);
    refused(&quantized, Dtype::F32, &[3], EncoderKind::Auto);
    refused(&quantized, Dtype::F32, &[u64::MAX, u64::MAX], EncoderKind::Auto);
    let quantizer = Quantizer::Qsgd(Qsgd { levels: 0, ..Qsgd::default() });
    refused(&Quantized { quantizer, ..quantized.clone() }, Dtype::F32, &[2], EncoderKind::Auto);
    let scales = vec![1.0; 2];
    refused(&Quantized { scales, ..quantized }, Dtype::F32, &[2], EncoderKind::Auto);
    let topk = Quantizer::Sparsify(Sparsify { keep: Keep::Top, share: 0.5 });
    let topk = Quantized { scales: vec![1.0; 3], ..topk.quantize(&[1.0, 2.0], 0).unwrap() };
    refused(&topk, Dtype::F32, &[2], EncoderKind::Auto);
    let many = Quantizer::Qsgd(Qsgd { levels: MAX_LEVELS, ..Qsgd::default() });
    let many = many.quantize(&[1.0], 0).unwrap();
    refused(&many, Dtype::F32, &[1], EncoderKind::Sh);
}

#[test]
fn scales_take_no_more_than_they_must() {
    let qsgd = Quantizer::Qsgd(Qsgd { levels: 4, bucket: 16, norm: Norm::L2 });
    let quantized = qsgd.quantize(&gradient(100_000, 1), 0).unwrap();
    let origin = Origin { dtype: Dtype::F32, shape: &[100_000] };
    let coded = message::encode(&quantized, origin, EncoderKind::Auto, &mut Vec::new()).unwrap();
    assert!(coded.scales < 4 * quantized.scales.len() * 95 / 100, "{}", coded.scales);
    // Noise is stored as it is.
    let noise = |i| f32::from_bits(Random::new(1).bits(i) as u32 & 0x7f7f_ffff);
    let scales: Vec<f32> = (0..6250).map(noise).collect();
    let quantized = Quantized { scales, ..quantized };
    let raw = message::encode(&quantized, origin, EncoderKind::Auto, &mut Vec::new()).unwrap();
    assert!(raw.scales <= 25_000, "{}", raw.scales);
}

/// Small messages whose fields are of all kinds.
fn small_messages() -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    for (quantizer, encoder) in quantizers().into_iter().zip(EncoderKind::all().cycle()) {
        for count in [0, 40, 150] {
            messages.push(encode(&quantizer.quantize(&gradient(count, 2), 1).unwrap(), encoder));
        }
    }
    messages
}

/// Decodes any bytes; what is accepted is used.
fn use_up(message: &[u8]) {
    let Ok(header) = Header::read(message) else {
        assert!(message::decode(message).is_err());
        return;
    };
    if header.elements() > 1 << 22 {
        return;
    }
    if let Ok((again, quantized)) = message::decode(message) {
        assert_eq!(again, header);
        assert_eq!(quantized.values.view().len(), header.elements());
        if let Ok(floats) = quantized.dequantize() {
            assert_eq!(floats.len(), header.elements());
            assert!(floats.iter().all(|float| float.is_finite()));
        }
    }
}

#[test]
fn messages_that_were_cut_are_refused() {
    for message in small_messages() {
        for cut in 0..message.len() {
            assert!(message::decode(&message[..cut]).is_err(), "cut at {cut}");
            let mut mended = message[..cut].to_vec();
            mend_quantized(&mut mended);
            assert!(message::decode(&mended).is_err(), "cut at {cut}, and mended");
        }
        let mut longer = message.clone();
        longer.push(0);
        mend_quantized(&mut longer);
        assert!(message::decode(&longer).is_err());
    }
}

#[test]
fn every_flipped_bit_is_found() {
    for message in small_messages() {
        for bit in 0..8 * message.len() {
            let mut flipped = message.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(message::decode(&flipped).is_err(), "bit {bit}");
            mend_quantized(&mut flipped);
            use_up(&flipped);
        }
    }
}

#[test]
fn errors_say_what_it_is() {
    let message = &small_messages()[1];
    let error = |change: &dyn Fn(&mut Vec<u8>), mend: bool| {
        let mut changed = message.clone();
        change(&mut changed);
        if mend {
            mend_quantized(&mut changed);
        }
        message::decode(&changed).unwrap_err()
    };
    assert!(matches!(error(&|m| m[0] = b'X', false), Error::Malformed { .. }));
    assert!(matches!(error(&|m| m[4] = 2, true), Error::UnknownVersion { found: 2, .. }));
    assert!(matches!(error(&|m| m[20] ^= 1, false), Error::Checksum { .. }));
    assert!(matches!(error(&|m| m.truncate(6), false), Error::Truncated { .. }));
    let unknown = error(&|m| m[9] = 99, true).to_string();
    assert!(unknown.contains("quantizer 99"), "{unknown}");
}

/// A message of int8 with fields of the caller's choice.
fn forged(quantizer: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut message = b"HWQT\x01\0\0\0\0".to_vec();
    message.extend_from_slice(quantizer);
    message.extend_from_slice(rest);
    mend_quantized(&mut message);
    message
}

#[test]
fn absurd_parameters_are_refused() {
    // Encoder huffman, f32, no flags, one dimension of 0, no scales.
    let rest = [1, 3, 0, 1, 0, 0];
    assert!(message::decode(&forged(&[7, 0], &rest)).is_ok());
    let nan = f64::NAN.to_le_bytes();
    let share = |number: u8, share: f64| [&[number][..], &share.to_le_bytes()].concat();
    let clip = |clip: f32| [&[2][..], &clip.to_le_bytes(), &[0]].concat();
    for quantizer in [
        vec![0],
        vec![8],
        vec![1, 0, 0, 0],
        vec![1, 4, 2, 0],
        // 2^30 + 1 levels, and 2^64 - 1.
        vec![1, 0x81, 0x80, 0x80, 0x80, 4, 0, 0],
        vec![1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0],
        clip(-1.0),
        clip(-0.0),
        clip(f32::INFINITY),
        clip(f32::NAN),
        vec![4, 3, 0],
        share(5, 0.0),
        share(6, 1.5),
        [&[5][..], &nan].concat(),
        // A bucket of 2^64 - 1.
        vec![7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
    ] {
        let error = message::decode(&forged(&quantizer, &rest)).unwrap_err();
        assert!(!matches!(error, Error::Checksum { .. }), "{quantizer:?}: {error}");
    }
    for rest in [
        // Encoder, element type, flags.
        [0, 3, 0, 1, 0, 0],
        [13, 3, 0, 1, 0, 0],
        [1, 13, 0, 1, 0, 0],
        [1, 3, 4, 1, 0, 0],
        // A scale too many.
        [1, 3, 0, 1, 0, 1],
    ] {
        assert!(message::decode(&forged(&[7, 0], &rest)).is_err(), "{rest:?}");
    }
}

#[test]
fn claims_of_memory_are_not_believed() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f];
    let head = [1, 3, 0];
    // 2^62 elements, and as many in two dimensions that overflow.
    for shape in [[&[1][..], &huge].concat(), [&[2][..], &huge, &huge].concat()] {
        for scales in [&[1, 0, 0, 0, 0][..], &huge] {
            let rest = [&head[..], &shape, scales].concat();
            assert!(message::decode(&forged(&[7, 0], &rest)).is_err());
            // A bucket for each element: as many scales as claimed.
            assert!(message::decode(&forged(&[7, 1], &rest)).is_err());
        }
    }
    // A number of dimensions that nobody has.
    assert!(message::decode(&forged(&[7, 0], &[&head[..], &huge].concat())).is_err());
    // 2^40 elements in one part that says it is all of them: parts are missing.
    let rest = [&head[..], &[1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 1, 0, 0, 0, 0, 1, 0]].concat();
    assert!(matches!(message::decode(&forged(&[7, 0], &rest)), Err(Error::Truncated { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_gradient_comes_back_from_its_message(
        floats in proptest::collection::vec(-1e3f32..1e3, 0..400),
        zeros in 0u64..100,
        which in 0usize..13,
        encoder in 1u8..=12,
        seed in any::<u64>(),
    ) {
        let random = Random::new(seed);
        let thinned = floats.iter().enumerate();
        let floats: Vec<f32> = thinned
            .map(|(i, &float)| if random.below(i as u64, 100) < zeros { 0.0 } else { float })
            .collect();
        let quantized = quantizers()[which].quantize(&floats, seed).unwrap();
        round_trip(&quantized, EncoderKind::from_number(encoder).unwrap());
    }

    #[test]
    fn any_values_come_back_from_their_message(
        values in proptest::collection::vec(any::<i32>(), 0..100),
        encoder in prop::sample::select(vec![1u8, 2, 5, 6, 7, 8, 9, 10, 11, 12]),
    ) {
        // Whether a quantizer makes such values is no matter for a message.
        let quantizer = Quantizer::Natural(Natural);
        let quantized = Quantized { quantizer, values: ValueBuf::new(values), scales: vec![1.0] };
        round_trip(&quantized, EncoderKind::from_number(encoder).unwrap());
    }
}

/// A file of two messages, which need not be any.
fn small_file() -> Vec<u8> {
    let metadata = vec![("format".to_owned(), "pt".to_owned())];
    let mut writer = Writer::new(metadata).unwrap();
    let mut bytes = writer.header().to_vec();
    writer.push("a", "F32", &[2, 3], Coding::Quantized, 5).unwrap();
    writer.push("b", "I64", &[], Coding::Kept, 0).unwrap();
    bytes.extend_from_slice(b"hello");
    bytes.extend_from_slice(&writer.finish());
    bytes
}

fn open(bytes: &[u8]) -> huffwire::Result<Directory> {
    file::read_header(bytes)?;
    let trailer = &bytes[bytes.len().saturating_sub(file::TRAILER_BYTES)..];
    let (range, check) = file::read_trailer(trailer, bytes.len() as u64)?;
    Directory::read(&bytes[range.start as usize..range.end as usize], range.start, check)
}

#[test]
fn files_are_read_as_they_were_written() {
    let bytes = small_file();
    assert!(file::is_one(&bytes) && !file::is_one(b"HUFFWIRE"));
    let directory = open(&bytes).unwrap();
    assert_eq!(directory.metadata, [("format".to_owned(), "pt".to_owned())]);
    let [a, b] = &directory.entries[..] else { panic!("two tensors") };
    assert_eq!((&a.name[..], &a.dtype[..], &a.shape[..]), ("a", "F32", &[2, 3][..]));
    assert_eq!((a.coding, b.coding), (Coding::Quantized, Coding::Kept));
    assert_eq!((a.range.clone(), b.range.clone()), (16..21, 21..21));
    assert!(open(&Writer::default().header()).is_err(), "a header alone");
}

#[test]
fn files_with_the_same_name_twice_are_not_written() {
    let mut writer = Writer::default();
    writer.push("a", "F32", &[], Coding::Quantized, 1).unwrap();
    assert!(writer.push("a", "F32", &[], Coding::Kept, 1).is_err());
    let pair = ("k".to_owned(), "v".to_owned());
    assert!(Writer::new(vec![pair.clone(), pair]).is_err());
}

#[test]
fn damaged_files_are_refused() {
    let bytes = small_file();
    for cut in 0..bytes.len() {
        assert!(open(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    // Messages have checksums of their own.
    for bit in (0..8 * 16).chain(8 * 21..8 * bytes.len()) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&flipped).is_err(), "bit {bit}");
    }
    // With a directory that is consistent in itself.
    let end = bytes.len() - file::TRAILER_BYTES;
    for at in 21..end {
        for byte in [0, 1, 2, 0x7f, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = byte;
            let check = crc32c(&changed[21..end]);
            changed[end + 16..end + 20].copy_from_slice(&check.to_le_bytes());
            if let Ok(directory) = open(&changed) {
                let ranges = directory.entries.iter().map(|entry| entry.range.clone());
                let last = ranges.fold(16, |at, range| {
                    assert_eq!(range.start, at);
                    range.end
                });
                assert_eq!(last, 21);
            }
        }
    }
}
