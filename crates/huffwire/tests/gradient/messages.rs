//! Quantized tensors as messages and as items of files: nothing is lost, and nothing is believed.

use std::sync::Arc;

use half::{bf16, f16};
use huffwire::gradient::encode::{BitmapBooks, EncoderKind};
use huffwire::gradient::item::{ItemReader, ItemWriter, KindHeader};
use huffwire::gradient::message::{self, BLOCK, FloatParts, Header, Options, Origin};
use huffwire::gradient::quantize::{
    Keep, Linear, MAX_LEVELS, Natural, Norm, Qsgd, Quantized, Quantizer, Sign, SignScale, Sparsify,
    TernGrad, WHOLE,
};
use huffwire::gradient::{Random, ValueBuf, Values};
use huffwire::{
    CodebookSet, Decoder, Dtype, Encoder, Error, Expected, Kind, POISON, SetBuilder, Tensor,
};
use proptest::prelude::*;

use crate::forge::{crc32c, mend_message};
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

fn options(encoder: EncoderKind) -> Options {
    Options::default().encoder(encoder)
}

fn encode_with(quantized: &Quantized, dtype: Dtype, options: &Options) -> Vec<u8> {
    let shape = [quantized.values.view().len() as u64];
    let mut bytes = vec![0xaa];
    let sizes = message::encode(quantized, Origin { dtype, shape: &shape }, options, &mut bytes);
    let sizes = sizes.unwrap();
    assert_eq!(bytes.remove(0), 0xaa, "it appends");
    assert_eq!(bytes.len(), sizes.total);
    assert!(sizes.scales + sizes.values.total < sizes.total);
    bytes
}

fn encode(quantized: &Quantized, encoder: EncoderKind) -> Vec<u8> {
    encode_with(quantized, Dtype::F32, &options(encoder))
}

fn decode(message: &[u8]) -> huffwire::Result<(Header, Quantized)> {
    message::decode(message, &Expected::anything(), &mut Decoder::builtin())
}

#[track_caller]
fn round_trip(quantized: &Quantized, encoder: EncoderKind) {
    let bytes = encode(quantized, encoder);
    let (header, decoded) = decode(&bytes).unwrap();
    assert!(decoded == *quantized, "{encoder} of {:?}", quantized.quantizer);
    assert_eq!(message::read_header(&bytes, None).unwrap(), header);
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
    for count in [BLOCK, BLOCK + 1, 2 * BLOCK + 77] {
        let values = ValueBuf::I8(qsgd_like(count, 95.0, 4, 2));
        let quantized = Quantized { quantizer, values, scales: vec![0.5] };
        for encoder in [EncoderKind::Bitmap, EncoderKind::Rlh, EncoderKind::Auto] {
            round_trip(&quantized, encoder);
        }
    }
}

/// All restored floats of a message, block by block.
fn by_parts(message: &[u8]) -> Result<Vec<f32>, Error> {
    let mut parts = FloatParts::open(message, &Expected::anything(), &mut Decoder::builtin())?;
    let elements = parts.header().elements();
    let mut all = Vec::new();
    while let Some(part) = parts.next_part()? {
        let floats = part.as_chunks().0;
        assert!(floats.len() == BLOCK || all.len() + floats.len() == elements);
        all.extend(floats.iter().map(|float| f32::from_le_bytes(*float)));
    }
    Ok(all)
}

#[test]
fn floats_block_by_block_are_those_of_the_whole() {
    let gradients = [0, 1, 700, BLOCK + 77].map(|count| gradient(count, 9));
    for quantizer in quantizers() {
        for gradient in &gradients {
            let quantized = quantizer.quantize(gradient, 5).unwrap();
            let message = encode(&quantized, EncoderKind::Bitmap);
            let floats = by_parts(&message).unwrap();
            assert!(floats == quantized.dequantize().unwrap(), "{quantizer}, {}", gradient.len());
        }
    }
    // Buckets that begin and end in blocks of their own.
    let count = 3 * BLOCK + 5;
    for bucket in [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 9, count] {
        let quantizer = Quantizer::Sign(Sign { scale: SignScale::Means, bucket });
        let values = ValueBuf::I8((0..count).map(|i| [1, -1][i / 3 % 2]).collect());
        let scales = (0..2 * count.div_ceil(bucket)).map(|i| i as f32).collect();
        let quantized = Quantized { quantizer, values, scales };
        let message = encode(&quantized, EncoderKind::RunLengths);
        assert!(by_parts(&message).unwrap() == quantized.dequantize().unwrap(), "{bucket}");
    }
}

#[test]
fn what_cannot_be_dequantized_has_no_floats_either() {
    let count = BLOCK + 10;
    let sparse = Quantizer::Sparsify(Sparsify { keep: Keep::Top, share: 0.5 });
    let int8 = Quantizer::Linear(Linear { bucket: WHOLE });
    let values = |at: usize, value: i8| {
        let mut values = vec![0; count];
        values[at] = value;
        ValueBuf::I8(values)
    };
    let one = vec![1.0];
    for (quantizer, values, scales, says) in [
        (int8, values(BLOCK + 3, -128), one.clone(), "block 1: a quantized gradient"),
        (int8, values(3, -128), one.clone(), "offset 3"),
        (int8, values(3, 1), vec![f32::NAN], "scale 0 is NaN"),
        (sparse, values(BLOCK, 1), vec![], "block 1: a quantized gradient"),
        (sparse, values(BLOCK, 1), vec![1.0; 3], "2 scales more"),
        (sparse, values(5, 2), one.clone(), "value 2"),
        (sparse, values(BLOCK + 5, 2), one, "value 2"),
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
            message::encode(quantized, origin, &Options::default(), &mut bytes).unwrap();
            let (header, decoded) = decode(&bytes).unwrap();
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
        let error = message::encode(quantized, origin, &options(encoder), &mut bytes).unwrap_err();
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
    let one = Quantizer::Linear(Linear::default()).quantize(&[1.0], 0).unwrap();
    refused(&one, Dtype::F32, &[1], EncoderKind::BitmapFixed);
}

#[test]
fn scales_take_no_more_than_they_must() {
    let qsgd = Quantizer::Qsgd(Qsgd { levels: 4, bucket: 16, norm: Norm::L2 });
    let quantized = qsgd.quantize(&gradient(100_000, 1), 0).unwrap();
    let origin = Origin { dtype: Dtype::F32, shape: &[100_000] };
    let coded = message::encode(&quantized, origin, &Options::default(), &mut Vec::new()).unwrap();
    assert!(coded.scales < 4 * quantized.scales.len() * 95 / 100, "{}", coded.scales);
    // Noise is stored as it is.
    let noise = |i| f32::from_bits(Random::new(1).bits(i) as u32 & 0x7f7f_ffff);
    let scales: Vec<f32> = (0..6250).map(noise).collect();
    let quantized = Quantized { scales, ..quantized };
    let raw = message::encode(&quantized, origin, &Options::default(), &mut Vec::new()).unwrap();
    assert!(raw.scales <= 25_000, "{}", raw.scales);
}

/// Small messages whose fields are of all kinds.
fn small_messages(checksums: bool) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    for (quantizer, encoder) in quantizers().into_iter().zip(EncoderKind::all().cycle()) {
        for count in [0, 40, 150] {
            let quantized = quantizer.quantize(&gradient(count, 2), 1).unwrap();
            let options = options(encoder).checksums(checksums);
            messages.push(encode_with(&quantized, Dtype::F32, &options));
        }
    }
    messages
}

/// Decodes any bytes; what is accepted is used.
fn use_up(message: &[u8]) {
    let Ok(header) = message::read_header(message, None) else {
        assert!(decode(message).is_err());
        return;
    };
    if header.elements() > 1 << 22 {
        return;
    }
    if let Ok((again, quantized)) = decode(message) {
        assert_eq!(again, header);
        assert_eq!(quantized.values.view().len(), header.elements());
        let floats = quantized.dequantize();
        if header.dtype == Dtype::F32 {
            assert_eq!(by_parts(message).is_ok(), floats.is_ok());
        }
        if let Ok(floats) = floats {
            assert_eq!(floats.len(), header.elements());
            assert!(floats.iter().all(|float| float.is_finite()));
        }
    }
}

#[test]
fn messages_that_were_cut_are_refused() {
    for message in [true, false].into_iter().flat_map(small_messages) {
        for cut in 0..message.len() {
            assert!(decode(&message[..cut]).is_err(), "cut at {cut}");
        }
        let mut longer = message.clone();
        longer.push(0);
        assert!(decode(&longer).is_err());
    }
}

#[test]
fn every_flipped_bit_is_found() {
    for message in small_messages(true) {
        for bit in 0..8 * message.len() {
            let mut flipped = message.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn flipped_bits_without_checksums_give_a_tensor_or_an_error() {
    for message in small_messages(false) {
        for bit in 0..8 * message.len() {
            let mut flipped = message.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            mend_message(&mut flipped, None);
            use_up(&flipped);
        }
    }
}

/// Where the table begins, and where the entries do in a message of one block without checksums.
const TABLE: usize = 16;
const ENTRIES: usize = TABLE + 8;

#[test]
fn errors_say_what_it_is() {
    let checked = &small_messages(true)[1];
    let message = &small_messages(false)[1];
    let error = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = message.clone();
        change(&mut changed);
        mend_message(&mut changed, None);
        decode(&changed).unwrap_err()
    };
    assert!(matches!(error(&|m| m[0] = b'X'), Error::Malformed { .. }));
    assert!(matches!(error(&|m| m[1] = 0x20), Error::UnknownVersion { found: 2, .. }));
    assert!(matches!(error(&|m| m.truncate(20)), Error::Truncated { .. }));
    // Kinds: one whose kind header would have another length, a delta, one that nobody knows.
    assert!(matches!(error(&|m| m[3] = 2 << 5 | 20), Error::Malformed { .. }));
    let delta = Encoder::builtin().encode_delta_to_vec(Dtype::F32, &[0; 400], &[1; 400]).unwrap();
    assert!(matches!(decode(&delta), Err(Error::UnknownKind { number: 2, .. })));
    assert!(matches!(error(&|m| m[3] = 7 << 5 | 20), Error::UnknownKind { number: 7, .. }));
    let size = error(&|m| m[3] = 1 << 5 | 17).to_string();
    assert!(size.contains("quantized values in blocks of 2^17"), "{size}");
    assert!(matches!(error(&|m| m[4] ^= 1), Error::SetMismatch { .. }));
    let unknown = error(&|m| m[ENTRIES] = 99).to_string();
    assert!(unknown.contains("quantizer 99"), "{unknown}");
    let integers = error(&|m| m[2] = Dtype::I8.number()).to_string();
    assert!(integers.contains("not quantized"), "{integers}");
    let mut damaged = checked.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let Err(Error::InBlock { index: 0, source }) = decode(&damaged) else { panic!("damage") };
    assert!(matches!(*source, Error::Checksum { .. }));
}

#[test]
fn a_decoder_of_tensors_names_the_kind_and_the_other_way_round() {
    let message = &small_messages(true)[1];
    let error = Decoder::builtin().decode_to_vec(message).unwrap_err();
    assert!(matches!(error, Error::UnknownKind { number: 1, name: "quantized values" }), "{error}");
    let tensor = Encoder::builtin().encode_to_vec(Dtype::F32, &[0; 400]).unwrap();
    let error = decode(&tensor).unwrap_err();
    assert!(matches!(error, Error::Unexpected { .. }), "{error}");
    let header = huffwire::message::Header::read(message, None).unwrap();
    assert_eq!((header.kind, header.dtype, header.units), (Kind::Values, Dtype::F32, 40));
}

#[test]
fn a_message_must_be_as_expected() {
    let quantized = Quantizer::Natural(Natural).quantize(&gradient(40, 1), 0).unwrap();
    let message = encode_with(&quantized, Dtype::Bf16, &Options::default().context(5));
    let decode = |expected: Expected| {
        message::decode(&message, &expected, &mut Decoder::builtin()).map(|(_, decoded)| decoded)
    };
    let right = Expected::anything().context(5).dtype(Dtype::Bf16).max_bytes(80);
    assert_eq!(decode(right), Ok(quantized.clone()));
    assert!(matches!(decode(Expected::anything()), Err(Error::MissingContext)));
    assert!(matches!(decode(right.context(6)), Err(Error::Checksum { .. })));
    assert!(matches!(decode(right.dtype(Dtype::F16)), Err(Error::Unexpected { .. })));
    assert!(matches!(decode(right.max_bytes(79)), Err(Error::TooLarge { .. })));
    let without = encode(&quantized, EncoderKind::Huffman);
    let error = message::read_header(&without, Some(5)).unwrap_err();
    assert!(matches!(error, Error::UnexpectedContext));
}

#[test]
fn an_entry_belongs_to_its_place() {
    let values = ValueBuf::I8(vec![1; 2 * BLOCK]);
    let quantizer = Quantizer::Qsgd(Qsgd { levels: 4, bucket: WHOLE, norm: Norm::Max });
    let quantized = Quantized { quantizer, values, scales: vec![0.5] };
    let message = encode(&quantized, EncoderKind::RunLengths);
    // The two blocks have equal bytes, so only their places tell them apart.
    let lengths = &message[TABLE + 4..TABLE + 12];
    assert_eq!(lengths[..4], lengths[4..]);
    let mut swapped = message.clone();
    swapped[TABLE + 16..TABLE + 24].rotate_left(4);
    let Err(Error::InBlock { index: 0, source }) = decode(&swapped) else { panic!("swapped") };
    assert!(matches!(*source, Error::Checksum { .. }));
}

#[test]
fn books_of_a_set_are_found_by_its_id() {
    let quantizer = Quantizer::Qsgd(Qsgd { levels: 4, bucket: 64, norm: Norm::L2 });
    let earlier = quantizer.quantize(&gradient(20_000, 1), 1).unwrap();
    let quantized = quantizer.quantize(&gradient(20_000, 2), 2).unwrap();
    let books = Arc::new(BitmapBooks::train([earlier.values.view()]).unwrap());
    let set = Arc::clone(books.set());
    let message = encode_with(&quantized, Dtype::F32, &Options::default().books(books));
    assert!(message.len() < encode(&quantized, EncoderKind::Bitmap).len());
    let header = message::read_header(&message, None).unwrap();
    assert_eq!((header.encoder, header.layers), (EncoderKind::BitmapFixed, Some(set.id())));
    let mut holder = Decoder::builtin().with_set(Arc::clone(&set)).unwrap();
    let (_, decoded) = message::decode(&message, &Expected::anything(), &mut holder).unwrap();
    assert!(decoded == quantized);
    let Err(Error::SetMismatch { wanted, .. }) = decode(&message) else { panic!("no such set") };
    assert!(wanted.starts_with(&set.id().to_string()), "{wanted}");
    // The same books, of which nothing says that they are for layers.
    let mut bare = SetBuilder::new("bare");
    set.books().iter().for_each(|book| _ = bare.add(*book.lengths()).unwrap());
    let mut holder = Decoder::builtin().with_set(Arc::new(bare.build())).unwrap();
    let error = message::decode(&message, &Expected::anything(), &mut holder).unwrap_err();
    assert!(matches!(error, Error::SetMismatch { .. }), "{error}");
    // A decoder of the set alone lacks the built-in one, which the message names too.
    let mut holder = Decoder::new(set);
    let error = message::decode(&message, &Expected::anything(), &mut holder).unwrap_err();
    assert!(matches!(error, Error::SetMismatch { .. }), "{error}");
}

/// A message of f32 without checksums, with a kind header and blocks of the caller's choice.
fn forged(units: u32, kind_header: &[u8], blocks: &[&[u8]]) -> Vec<u8> {
    let mut message = vec![b'H', 0x10, Dtype::F32.number(), 1 << 5 | 20];
    message.extend_from_slice(&CodebookSet::builtin().id().0[..4]);
    message.extend_from_slice(&units.to_le_bytes());
    let check = crc32c(&message);
    message.extend_from_slice(&check.to_le_bytes());
    let entries = || std::iter::once(&kind_header).chain(blocks);
    entries().for_each(|entry| message.extend_from_slice(&(entry.len() as u32).to_le_bytes()));
    entries().for_each(|entry| message.extend_from_slice(entry));
    message
}

/// The kind header of a quantizer, and what comes behind it.
fn kind_header(quantizer: &[u8], rest: &[u8]) -> Vec<u8> {
    [quantizer, rest].concat()
}

#[test]
fn absurd_parameters_are_refused() {
    // Encoder huffman, no flags, one dimension of 0, no scales.
    let rest = [1, 0, 1, 0, 0];
    let decode = |quantizer: &[u8], rest: &[u8]| {
        decode(&forged(0, &kind_header(quantizer, rest), &[])).map(|(header, _)| header)
    };
    assert!(decode(&[7, 0], &rest).is_ok());
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
        let error = decode(&quantizer, &rest).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{quantizer:?}: {error}");
    }
    for rest in [
        // Encoder, flags.
        &[0, 0, 1, 0, 0][..],
        &[14, 0, 1, 0, 0],
        &[1, 4, 1, 0, 0],
        // The set of encoder 13 is missing.
        &[13, 0, 1, 0, 0],
        // Dimensions of one element, or more than there are bytes for.
        &[1, 0, 1, 1, 0],
        &[1, 0, 0, 0],
        &[1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f],
        // A scale too many, a byte too many, nothing.
        &[1, 0, 1, 0, 1],
        &[1, 0, 1, 0, 0, 0],
        &[],
    ] {
        assert!(decode(&[7, 0], rest).is_err(), "{rest:?}");
    }
}

#[test]
fn scales_that_are_none_are_refused() {
    // int8 with buckets of 1: a scale for each element. Encoder huffman, one dimension of 8, 8 scales.
    let with = |flags: u8, scales: &[u8]| {
        let header = kind_header(&[7, 1], &[1, flags, 1, 8, 8]);
        let block = [8, 2, 1, 0, 0];
        decode(&forged(8, &[&header[..], scales].concat(), &[&block])).map(|_| ())
    };
    let bytes: Vec<u8> = (0..8u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
    let coded = |dtype: Dtype, bytes: &[u8], checksums: bool| {
        let options = huffwire::EncodeOptions::default().checksums(checksums);
        let mut encoder = Encoder::new(CodebookSet::builtin(), options).unwrap();
        encoder.encode_tensor_to_vec(&Tensor::new(dtype, bytes)).unwrap()
    };
    let says = |result: huffwire::Result<()>| result.unwrap_err().to_string();
    let right = [with(0, &bytes), with(2, &coded(Dtype::F32, &bytes, false))];
    // Both get as far as the block, which is none.
    right.map(says).iter().for_each(|says| assert!(says.contains("block 0"), "{says}"));
    for (dtype, bytes, checksums) in [
        (Dtype::F32, &bytes[..28], false),
        (Dtype::I32, &bytes[..], false),
        (Dtype::F32, &bytes[..], true),
    ] {
        let says = says(with(2, &coded(dtype, bytes, checksums)));
        assert!(says.contains("its scales are"), "{says}");
    }
    let nan = [&bytes[..28], &f32::NAN.to_le_bytes()].concat();
    assert!(says(with(0, &nan)).contains("scale 7 is NaN"));
    assert!(with(0, &bytes[..31]).is_err());
    let mut cut = coded(Dtype::F32, &bytes, false);
    cut.pop();
    assert!(with(2, &cut).is_err());
    cut.extend([0, 0]);
    assert!(with(2, &cut).is_err());
}

#[test]
fn claims_of_memory_are_not_believed() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f];
    let head = [1, 0];
    // 2^32 - 1 elements, without blocks; their kind header says so too.
    let all = [0xff, 0xff, 0xff, 0xff, 0x0f];
    let header = kind_header(&[7, 0], &[&head[..], &[1], &all, &[1, 0, 0, 0, 0]].concat());
    assert!(matches!(decode(&forged(u32::MAX, &header, &[])), Err(Error::Truncated { .. })));
    // Blocks of no bytes.
    let error = decode(&forged(u32::MAX, &header, &[&[][..]; 4096])).unwrap_err();
    assert!(matches!(error, Error::InBlock { index: 0, .. }), "{error}");
    // A scale for each of them.
    let header = kind_header(&[7, 1], &[&head[..], &[1], &all, &all].concat());
    assert!(matches!(
        decode(&forged(u32::MAX, &header, &[&[][..]; 4096])),
        Err(Error::Truncated { .. })
    ));
    // 2^62 elements, and as many in two dimensions that overflow.
    for shape in [[&[1][..], &huge].concat(), [&[2][..], &huge, &huge].concat()] {
        for scales in [&[1, 0, 0, 0, 0][..], &huge] {
            let header = kind_header(&[7, 1], &[&head[..], &shape, scales].concat());
            assert!(decode(&forged(8, &header, &[&[8]])).is_err());
            assert!(Header::read(Dtype::F32, 1 << 62, &header).is_err());
        }
    }
}

/// The entries of a tensor, and a reader of them.
fn entries(quantized: &Quantized, dtype: Dtype) -> (Vec<Vec<u8>>, ItemReader) {
    let count = quantized.values.view().len() as u64;
    let origin = Origin { dtype, shape: &[count] };
    let writer = ItemWriter::new(quantized, origin, &options(EncoderKind::Bitmap)).unwrap();
    let blocks = (0..writer.header().blocks()).map(|index| {
        let mut block = Vec::new();
        let sizes = writer.encode_block(index, &mut block).unwrap();
        assert_eq!(block.len(), sizes.total);
        block
    });
    let blocks: Vec<Vec<u8>> = blocks.collect();
    assert!(writer.encode_block(blocks.len(), &mut Vec::new()).is_err());
    let (set, bytes) = (CodebookSet::builtin().id(), writer.kind_header());
    let kind_header = KindHeader { dtype, units: count, set, bytes };
    let reader = ItemReader::new(&kind_header, &mut Decoder::builtin()).unwrap();
    assert_eq!(reader.header(), writer.header());
    (blocks, reader)
}

#[test]
fn blocks_of_an_item_are_restored_in_any_order() {
    let count = 2 * BLOCK + 77;
    let floats = gradient(count, 9);
    for quantizer in quantizers() {
        let quantized = quantizer.quantize(&floats, 5).unwrap();
        let expected = quantized.dequantize().unwrap();
        for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
            let bytes: Vec<u8> = match dtype {
                Dtype::F32 => expected.iter().flat_map(|float| float.to_le_bytes()).collect(),
                Dtype::Bf16 => {
                    expected.iter().flat_map(|f| bf16::from_f32(*f).to_le_bytes()).collect()
                }
                _ => expected.iter().flat_map(|f| f16::from_f32(*f).to_le_bytes()).collect(),
            };
            let (blocks, mut reader) = entries(&quantized, dtype);
            let size = BLOCK * dtype.unit_bytes();
            let mut restore = |index: usize| {
                let wanted = &bytes[index * size..bytes.len().min((index + 1) * size)];
                let mut out = vec![0; wanted.len()];
                let result = reader.restore_block(index, &blocks[index], &mut out);
                match &result {
                    Ok(()) => assert!(out == wanted, "block {index} of {quantizer} in {dtype}"),
                    Err(_) => assert!(out.iter().all(|byte| *byte == POISON)),
                }
                result
            };
            if matches!(quantizer, Quantizer::Sparsify(_)) {
                let error = restore(1).unwrap_err();
                assert!(matches!(error, Error::InvalidOption(_)), "{error}");
                [0, 1, 2, 1, 0, 2].into_iter().for_each(|index| restore(index).unwrap());
            } else {
                [2, 0, 1, 0].into_iter().for_each(|index| restore(index).unwrap());
            }
        }
    }
}

#[test]
fn what_is_not_a_block_of_the_item_is_refused() {
    let quantized = Quantizer::Natural(Natural).quantize(&gradient(BLOCK + 9, 1), 0).unwrap();
    let (blocks, mut reader) = entries(&quantized, Dtype::Bf16);
    let mut whole = vec![0; 2 * BLOCK];
    assert!(reader.restore_block(0, &blocks[0], &mut whole).is_ok());
    assert!(reader.restore_block(0, &blocks[1], &mut whole).is_err(), "another block");
    assert!(whole.iter().all(|byte| *byte == POISON));
    let error = reader.restore_block(0, &blocks[0], &mut whole[1..]).unwrap_err();
    assert!(matches!(error, Error::OutputLength { .. }));
    assert!(reader.restore_block(2, &blocks[1], &mut []).is_err(), "no such block");
    let mut values = vec![0i8; 9];
    let buffer = values[..].as_mut().into();
    reader.decode_block(1, &blocks[1], buffer).unwrap();
    assert_eq!(Values::I8(&values), quantized.values.view().slice(BLOCK, BLOCK + 9));
    let error = reader.decode_block(1, &blocks[1], values[1..].as_mut().into()).unwrap_err();
    assert!(matches!(error, Error::InvalidOption(_)), "{error}");
    assert!(reader.decode_block(1, &blocks[1][1..], values[..].as_mut().into()).is_err());
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
