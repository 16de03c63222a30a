//! Blocks without checksums: every field of their headers, and what lies behind it.

use super::*;

const UNITS: u16 = 2500;
/// Where the fields of the sample block lie: layout, book, base, zeros, length of the stream,
/// escapes, and the mode of the remainder.
const BOOK: usize = 1;
const ZEROS: usize = 3;
const STREAM: usize = 7;
const ESCAPES: usize = 11;
const REMAINDER: usize = 15;

/// Of blocks that hold them all.
fn encoder(checksums: bool) -> Encoder {
    Encoder::new(CodebookSet::builtin(), large_blocks(checksums)).unwrap()
}

fn large_blocks(checksums: bool) -> EncodeOptions {
    options(checksums).block_log2(13)
}

/// Elements with both signs, enough of them for lanes.
fn with_signs(units: u16) -> Vec<u8> {
    let mut tensor = tensor(units);
    // Of ordinary values: neither of zeros nor of those that take the escape.
    for element in tensor.chunks_mut(10).filter(|element| element[1] >= 0x3c) {
        element[1] |= 0x80;
    }
    tensor
}

/// A block with zeros apart and escapes, coded with a resident book.
fn sample() -> Vec<u8> {
    let mut block = Vec::new();
    encoder(false).encode_block(&Tensor::new(Dtype::Bf16, &with_signs(UNITS)), &mut block).unwrap();
    assert_eq!(block[0], Layout::Exponent.number());
    let set = CodebookSet::builtin();
    let book = set.book(block[BOOK]).expect("a resident book");
    assert!(book.lengths().zero() > 0 && book.lengths().escape() > 0);
    assert!(field(&block, ZEROS) > 100 && field(&block, ESCAPES) > 10);
    assert_eq!(block[REMAINDER], 0xff, "the remainder is raw");
    block
}

fn field(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(block[at..at + 4].try_into().unwrap())
}

fn decode_to(dtype: Dtype, block: &[u8], size: usize) -> Result<Vec<u8>> {
    let mut out = vec![0x11; size];
    let decoded = Decoder::builtin().decode_block(&builtin_block(dtype, block), &mut out);
    if decoded.is_err() {
        assert!(out.iter().all(|&byte| byte == POISON));
    }
    decoded.map(|()| out)
}

#[track_caller]
fn error(dtype: Dtype, block: &[u8], size: usize) -> Error {
    decode_to(dtype, block, size).expect_err("this block must be refused")
}

#[track_caller]
fn sample_error(block: &[u8]) -> Error {
    error(Dtype::Bf16, block, 2 * usize::from(UNITS))
}

#[test]
fn cut_anywhere_is_an_error() {
    let block = sample();
    assert_eq!(decode_to(Dtype::Bf16, &block, 2 * usize::from(UNITS)), Ok(with_signs(UNITS)));
    for cut in 0..block.len() {
        let error = sample_error(&block[..cut]);
        assert!(matches!(error, Error::Truncated { what: "a block", .. }), "{cut}: {error}");
    }
}

#[test]
fn cut_and_flipped_blocks_fail_their_checksum() {
    let mut block = Vec::new();
    let tensor = with_signs(UNITS);
    let encoded = encoder(true).encode_block(&Tensor::new(Dtype::Bf16, &tensor), &mut block);
    let checksum = encoded.unwrap().checksum;
    assert_eq!(checksum, Some(crc32c(&block)));
    let mut out = vec![0; tensor.len()];
    let mut decode = |bytes: &[u8], checksum| {
        out.fill(0x11);
        let block = CodedBlock { checksum, ..builtin_block(Dtype::Bf16, bytes) };
        let result = Decoder::builtin().decode_block(&block, &mut out);
        assert!(result.is_ok() || out.iter().all(|&byte| byte == POISON));
        result
    };
    assert_eq!(decode(&block, checksum), Ok(()));
    for cut in 0..block.len() {
        assert!(matches!(decode(&block[..cut], checksum), Err(Error::Checksum { .. })));
    }
    for bit in 0..8 * block.len() {
        let result = decode(&flipped(&block, bit), checksum);
        assert!(matches!(result, Err(Error::Checksum { what: "a block", .. })));
    }
    for bit in 0..32 {
        let result = decode(&block, checksum.map(|checksum| checksum ^ 1 << bit));
        assert!(matches!(result, Err(Error::Checksum { what: "a block", .. })));
    }
}

/// Block of a set that the decoder does not hold, also where it uses no book of it.
#[test]
fn blocks_of_another_set_are_refused() {
    let tensor = tensor(UNITS);
    for dtype in [Dtype::Bf16, Dtype::U8] {
        let mut block = Vec::new();
        encoder(false).encode_block(&Tensor::new(dtype, &tensor), &mut block).unwrap();
        let block = CodedBlock { set: small_set().id(), ..builtin_block(dtype, &block) };
        let mut out = vec![0x11; tensor.len()];
        let expected = Error::SetMismatch {
            wanted: small_set().id().to_string(),
            held: vec![CodebookSet::builtin().id()],
        };
        assert_eq!(Decoder::builtin().decode_block(&block, &mut out), Err(expected.clone()));
        assert!(out.iter().all(|&byte| byte == POISON));
        assert_eq!(Decoder::builtin().inspect_block(&block, tensor.len()), Err(expected));
    }
}

#[test]
fn flipped_bits_of_every_element_type_never_panic() {
    for dtype in Dtype::all() {
        let tensor = &tensor(252)[..504 / dtype.unit_bytes() * dtype.unit_bytes()];
        let mut block = Vec::new();
        encoder(false).encode_block(&Tensor::new(dtype, tensor), &mut block).unwrap();
        assert_eq!(decode_to(dtype, &block, tensor.len()), Ok(tensor.to_vec()));
        for bit in 0..8 * block.len() {
            let _ = decode_to(dtype, &flipped(&block, bit), tensor.len());
        }
    }
}

#[test]
fn layouts_that_the_type_does_not_have_are_refused() {
    let block = sample();
    for layout in [2, 3, 7, 8, 255] {
        let error = sample_error(&with(&block, 0, &[layout]));
        malformed(&error, 0, &["a block", &format!("layout {layout}"), "bf16"]);
    }
}

#[test]
fn books_that_the_set_does_not_have_are_refused() {
    let held = CodebookSet::builtin().books().len();
    for number in [held as u8, 191, 192, 0xfa] {
        let error = sample_error(&with(&sample(), BOOK, &[number]));
        assert_eq!(error, Error::UnknownCodebook { number, held });
        says(&error, &[&number.to_string(), "the data is damaged"]);
    }
}

#[test]
fn a_book_of_another_alphabet_is_refused() {
    let set = CodebookSet::builtin();
    let plain = set.candidates(None, Dtype::I8, Layout::Bytes, 0).next();
    let error = sample_error(&with(&sample(), BOOK, &[plain.unwrap()]));
    malformed(&error, 2, &["a codebook of another alphabet than the plane's"]);
}

#[test]
fn lying_counts_are_refused() {
    let block = sample();
    for at in [ZEROS, STREAM, ESCAPES] {
        let truth = field(&block, at);
        for lie in [0, truth - 1, truth + 1, 1000, 1 << 20, u32::MAX / 2, u32::MAX - 1, u32::MAX] {
            let error = sample_error(&with(&block, at, &lie.to_le_bytes()));
            let known = matches!(error, Error::Malformed { .. } | Error::Truncated { .. });
            assert!(known, "{lie} at {at}: {error}");
            says(&error, &["a block"]);
        }
    }
}

#[test]
fn more_zeros_than_elements_are_refused() {
    let lie = u32::from(UNITS) + 1;
    let error = sample_error(&with(&sample(), ZEROS, &lie.to_le_bytes()));
    malformed(&error, REMAINDER, &["more zeros than elements"]);
}

#[test]
fn a_stream_longer_than_the_block_is_refused() {
    for lie in [u32::MAX, u32::MAX - 1] {
        let error = sample_error(&with(&sample(), STREAM, &lie.to_le_bytes()));
        let Error::Truncated { needed, .. } = error else {
            panic!("{error}");
        };
        // Where a usize has 32 bits, this is as much as it can say.
        assert!(needed > lie as usize || needed == usize::MAX);
    }
}

#[test]
fn counts_that_move_bytes_between_stream_and_escapes_are_refused() {
    // The sum is right, so only the decoder itself can tell.
    let block = sample();
    for step in [-1i32, 1, 5] {
        let stream = field(&block, STREAM).wrapping_add_signed(step);
        let escapes = field(&block, ESCAPES).wrapping_add_signed(-step);
        let forged = with(&block, STREAM, &stream.to_le_bytes());
        let error = sample_error(&with(&forged, ESCAPES, &escapes.to_le_bytes()));
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
    }
}

#[test]
fn bytes_behind_the_last_plane_are_refused() {
    let mut block = sample();
    let end = block.len();
    block.push(0);
    malformed(&sample_error(&block), end, &["a block", "1 bytes too many"]);
    let verbatim = [0; 10];
    let error = error(Dtype::U8, &verbatim, 8);
    malformed(&error, 9, &["1 bytes too many"]);
}

#[test]
fn a_constant_outside_the_alphabet_is_refused() {
    // Exponents of f16 have 5 bits; the planes of its remainder 8 and 3.
    let f16 = |exponent, low, high| [1, 0xfe, exponent, 0xfe, low, 0xfe, high];
    assert!(decode_to(Dtype::F16, &f16(31, 255, 7), 20).is_ok());
    for (block, at) in [(f16(32, 0, 0), 3), (f16(255, 0, 0), 3), (f16(0, 0, 8), 7)] {
        let error = error(Dtype::F16, &block, 20);
        malformed(&error, at, &["a constant outside the alphabet"]);
    }
}

#[test]
fn exponents_outside_the_alphabet_are_refused_beside_zeros_too() {
    // f16: exponents of 5 bits, every third element an exact zero, some exponents far away.
    let value = |i: u16| match i.wrapping_mul(40_503) >> 6 {
        mixed if mixed % 3 == 0 => 0,
        mixed if mixed % 17 == 1 => mixed % 1024,
        mixed => 0x3000 + (mixed << 15) + (mixed << 10) % 0x0c00 + mixed % 1021,
    };
    let tensor: Vec<u8> = (0..UNITS).flat_map(|i| value(i).to_le_bytes()).collect();
    let mut block = Vec::new();
    encoder(false).encode_block(&Tensor::new(Dtype::F16, &tensor), &mut block).unwrap();
    assert_eq!(block[0], Layout::Exponent.number());
    let (base, escapes) = (block[BOOK + 1], field(&block, ESCAPES) as usize);
    assert!(field(&block, ZEROS) > 100 && escapes > 10);
    assert_eq!(decode_to(Dtype::F16, &block, tensor.len()).as_ref(), Ok(&tensor));
    let beyond = ["a symbol outside the alphabet"];
    for wrong in [base.wrapping_add(32), 100, 200] {
        let error = error(Dtype::F16, &with(&block, BOOK + 1, &[wrong]), tensor.len());
        malformed(&error, 0, &beyond);
    }
    // The escapes of the first plane are the end of the payload.
    for back in [1, escapes / 2, escapes] {
        for wrong in [32, 255] {
            let forged = with(&block, block.len() - back, &[wrong]);
            malformed(&error(Dtype::F16, &forged, tensor.len()), 0, &beyond);
        }
    }
}

/// A constant sign, as small floats and layout sign-apart have it, and mantissas without a gap.
#[test]
fn signs_apart_are_read_as_they_are_written_down() {
    // Exponent 127; mantissas 1, 2, 3 in seven bits each; sign 1.
    let block = |last: u8, sign: u8| [6, 0xfe, 127, 0xff, 0xfe, sign, 0x01, 0xc1, last];
    let elements = [0xbf81u16, 0xbf82, 0xbf83].map(u16::to_le_bytes).concat();
    assert_eq!(decode_to(Dtype::Bf16, &block(0, 1), 6), Ok(elements));
    malformed(&error(Dtype::Bf16, &block(0x20, 1), 6), 0, &["padding bits that are not zero"]);
    malformed(&error(Dtype::Bf16, &block(0, 2), 6), 6, &["a constant outside the alphabet"]);
    // Integers have no sign apart.
    malformed(&error(Dtype::I8, &block(0, 1), 6), 0, &["layout 6"]);
}

#[test]
fn raw_planes_with_padding_bits_are_refused() {
    // One e4m3 value: its magnitude is constant, its sign is one bit of a byte.
    assert_eq!(decode_to(Dtype::E4m3, &[2, 0xfe, 5, 0xff, 1], 1), Ok(vec![0x85]));
    let error = error(Dtype::E4m3, &[2, 0xfe, 5, 0xff, 2], 1);
    malformed(&error, 0, &["padding bits that are not zero"]);
}

#[test]
fn embedded_books_that_are_no_codes_are_refused() {
    let lengths = |bytes: &[u8]| {
        let mut block = vec![Layout::Bytes.number(), 0xfd];
        block.extend_from_slice(bytes);
        block.extend_from_slice(&[0; 300]);
        error(Dtype::U8, &block, 8)
    };
    says(&lengths(&[0x90, 0, 1]), &["a codebook", "symbols of more than 8 bits"]);
    says(&lengths(&[0x82, 0, 1]), &["an unknown code limit"]);
    says(&lengths(&[0x80, 2, 1]), &["symbols outside the alphabet"]);
    says(&lengths(&[0x80, 0, 1, 0x02]), &["begins or ends without a code"]);
    says(&lengths(&[0x80, 0, 1, 0x12, 0x01]), &["Kraft sum"]);
    says(&lengths(&[0x80, 0, 1, 0x9f, 0x01]), &["longer than the limit"]);
    says(&lengths(&[0x80, 0, 0, 0x11, 0x10]), &["padding"]);
    says(&lengths(&[0x10, 0, 1, 0x11, 0x00]), &["another alphabet"]);
}

#[test]
fn a_lane_state_without_its_sentinel_is_refused() {
    let block = sample();
    let payload = field(&block, STREAM) as usize + field(&block, ESCAPES) as usize;
    // The highest bytes of the 64 states.
    let highest = block.len() - payload - 64;
    for lane in [0, 31, 63] {
        assert_ne!(block[highest + lane], 0);
        let error = sample_error(&with(&block, highest + lane, &[0]));
        malformed(&error, 0, &[&format!("the state of lane {lane} lacks its sentinel bit")]);
    }
}

#[test]
fn a_stream_of_half_words_is_refused() {
    // A book of 12-bit codes: its stream consists of 16-bit words.
    let set = small_set();
    let mut block = Vec::new();
    let mut encoder = Encoder::new(Arc::clone(&set), large_blocks(false)).unwrap();
    let tensor: Vec<u8> = (0..3000).map(|i| (i % 23 % 4) as u8).collect();
    encoder.encode_block(&Tensor::new(Dtype::U8, &tensor), &mut block).unwrap();
    assert_eq!(block[..2], [Layout::Bytes.number(), 1]);
    let stream = field(&block, 2);
    let of_set = |bytes: &[u8], out: &mut [u8]| {
        let block = CodedBlock { dtype: Dtype::U8, set: set.id(), checksum: None, bytes };
        Decoder::new(Arc::clone(&set)).decode_block(&block, out)
    };
    let mut out = vec![0; 3000];
    assert_eq!(of_set(&block, &mut out), Ok(()));
    for lie in [stream - 1, stream + 1, u32::MAX] {
        let block = with(&block, 2, &lie.to_le_bytes());
        let decoded = of_set(&block, &mut out);
        malformed(&decoded.unwrap_err(), 10, &["no whole number of words"]);
    }
}

#[test]
fn buffers_of_a_wrong_size_are_refused() {
    let block = sample();
    let size = 2 * usize::from(UNITS);
    for wrong in [0, 2, size - 2, size + 2, 2 * size, 1 << 20] {
        error(Dtype::Bf16, &block, wrong);
    }
    let (dtype, bytes) = (Dtype::Bf16, size - 1);
    let partial = Error::PartialElement { dtype, bytes };
    assert_eq!(error(dtype, &block, bytes), partial);
    let (what, found, limit) = ("a block", (1 << 20) + 2, 1 << 20);
    let large = Error::TooLarge { what, found, limit, remedy: "make several blocks of it" };
    assert_eq!(error(dtype, &block, found as usize), large);
}

#[test]
fn an_empty_block_is_refused() {
    let error = error(Dtype::U8, &[], 0);
    says(&error, &["a block ends early: 1 bytes are needed at offset 0"]);
}

#[test]
fn looking_into_a_block_refuses_what_decoding_its_header_refuses() {
    let decoder = Decoder::builtin();
    let look = |block: &[u8]| {
        decoder.inspect_block(&builtin_block(Dtype::Bf16, block), 2 * usize::from(UNITS))
    };
    let block = sample();
    assert!(look(&block).is_ok());
    for cut in 0..=REMAINDER {
        assert!(look(&block[..cut]).is_err(), "{cut}");
    }
    assert!(look(&with(&block, 0, &[9])).is_err());
    assert!(look(&with(&block, BOOK, &[0xfc])).is_err());
    assert!(look(&with(&block, ZEROS, &[255; 4])).is_err());
}
