//! Memory while reading hostile input: what a header claims is never allocated on its word.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic says what does not hold.
// The one unsafe thing in the tests: an allocator that counts.
#![allow(unsafe_code)]

mod forge;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use forge::{builtin_block, crc32c, mend_message, small_set};
use huffwire::file::{self, Directory, Writer};
use huffwire::{
    CodebookSet, Decoder, Dtype, EncodeOptions, Encoder, Error, Expected, MessageReader,
};

/// What reading may cost at most, whatever the input says.
const LIMIT: usize = 3 << 20;

struct Counting;

thread_local! {
    /// The largest piece of memory that there is.
    static LARGEST: Cell<usize> = const { Cell::new(usize::MAX) };
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

fn count(freed: usize, allocated: usize) {
    // A thread that is ending has no counters left, and nothing to measure either.
    let _ = LIVE.try_with(|live| {
        live.set(live.get().saturating_sub(freed) + allocated);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

fn is_there(size: usize) -> bool {
    LARGEST.try_with(|largest| size <= largest.get()).unwrap_or(true)
}

// SAFETY: every call is handed on to the system's allocator as it came, or refused; counting touches no memory
// that is handed out.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_there(layout.size()) {
            return std::ptr::null_mut();
        }
        count(0, layout.size());
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_there(layout.size()) {
            return std::ptr::null_mut();
        }
        count(0, layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !is_there(size) {
            return std::ptr::null_mut();
        }
        count(layout.size(), size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most memory that `work` held at once on this thread, beyond what was there before.
fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    // The built-in set is made once and then kept.
    let _ = CodebookSet::builtin();
    let before = LIVE.get();
    PEAK.set(before);
    let value = work();
    (value, PEAK.get() - before)
}

#[track_caller]
fn refused_cheaply<T, E: std::fmt::Debug>(work: impl FnOnce() -> Result<T, E>) {
    let (result, peak) = peak_of(work);
    assert!(result.is_err(), "hostile input was accepted");
    assert!(peak <= LIMIT, "{peak} bytes for {:?}", result.err());
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn forged_message(dtype: Dtype, units: u32, block_log2: u8, body: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(
        CodebookSet::builtin(),
        EncodeOptions::default().checksums(false).block_log2(block_log2),
    )
    .unwrap();
    let mut message = encoder.encode_to_vec(dtype, &[]).unwrap();
    message[8..12].copy_from_slice(&units.to_le_bytes());
    message.extend_from_slice(body);
    mend_message(&mut message, None);
    message
}

/// What happens where no piece of memory is larger than this. A piece that must be there ends the process.
fn with_pieces_of<T>(largest: usize, work: impl FnOnce() -> T) -> T {
    // The built-in set is made once and then kept.
    let _ = CodebookSet::builtin();
    LARGEST.set(largest);
    let value = work();
    LARGEST.set(usize::MAX);
    value
}

#[test]
fn a_message_larger_than_memory_is_an_error() {
    let tensor = vec![0; 24 << 20];
    let message = Encoder::builtin().encode_to_vec(Dtype::F32, &tensor).unwrap();
    assert!(message.len() < 10_000);
    for largest in [LIMIT, 10 << 20, 23 << 20, 64 << 20] {
        let decoded =
            with_pieces_of(largest, || Decoder::builtin().decode_to_vec(&message).map(|_| ()));
        match largest < tensor.len() {
            true => assert!(matches!(decoded, Err(Error::OutOfMemory { .. })), "{decoded:?}"),
            false => decoded.unwrap(),
        }
    }
}

/// A few kilobytes can stand for any number of values and scales.
#[cfg(feature = "gradient")]
#[test]
fn a_quantized_tensor_larger_than_memory_is_an_error_and_its_parts_are_there_all_the_same() {
    use huffwire::gradient::ValueBuf;
    use huffwire::gradient::encode::EncoderKind;
    use huffwire::gradient::message::{self, FloatParts, Options, Origin};
    use huffwire::gradient::quantize::{
        Keep, Linear, Natural, Quantized, Quantizer, Sign, SignScale, Sparsify, TernGrad, WHOLE,
    };
    const ELEMENTS: usize = 5 << 20;
    let sign = Quantizer::Sign(Sign { scale: SignScale::Means, bucket: 2 });
    let sparse = Quantizer::Sparsify(Sparsify { keep: Keep::Top, share: 1.0 });
    let cases = [
        (Quantizer::Linear(Linear { bucket: 1 }), 3, ELEMENTS),
        (Quantizer::Linear(Linear { bucket: WHOLE }), 3, 1),
        (Quantizer::TernGrad(TernGrad { clip: None, bucket: WHOLE }), 1, 1),
        (Quantizer::Natural(Natural), 3, 1),
        (sign, 1, ELEMENTS),
        (sparse, 1, ELEMENTS),
    ];
    for (quantizer, value, scales) in cases {
        let values = ValueBuf::I8(vec![value; ELEMENTS]);
        let quantized = Quantized { quantizer, values, scales: vec![0.5; scales] };
        let (mut bytes, origin) =
            (Vec::new(), Origin { dtype: Dtype::F32, shape: &[ELEMENTS as u64] });
        let options = Options::default().encoder(EncoderKind::Auto);
        message::encode(&quantized, origin, &options, &mut bytes).unwrap();
        assert!(bytes.len() < 4000, "{quantizer}: {}", bytes.len());
        let (anything, mut decoder) = (Expected::anything(), Decoder::builtin());
        // 5 MiB of values; scales and floats take four times as much.
        for largest in [LIMIT, 12 << 20, 64 << 20] {
            let decoded =
                with_pieces_of(largest, || message::decode(&bytes, &anything, &mut decoder));
            let is_there = largest > if scales > 1 { 4 * ELEMENTS } else { ELEMENTS };
            match decoded {
                Ok((_, decoded)) => assert!(is_there && decoded == quantized),
                Err(error) => {
                    assert!(!is_there && matches!(error, Error::OutOfMemory { .. }), "{error}");
                }
            }
            let floats = with_pieces_of(largest, || quantized.dequantize());
            match floats {
                Ok(floats) => assert!(largest > 4 * floats.len()),
                Err(error) => assert!(matches!(error, Error::OutOfMemory { .. }), "{error}"),
            }
            let taken = with_pieces_of(largest.max(5 << 20), || {
                let mut floats = FloatParts::open(&bytes, &anything, &mut decoder)?;
                let mut taken = 0;
                while let Some(part) = floats.next_part()? {
                    taken += part.len();
                }
                Ok(taken)
            });
            match taken {
                Ok(taken) => assert_eq!(taken, 4 * ELEMENTS, "bytes of f32"),
                Err(error) => {
                    let refused = matches!(error, Error::OutOfMemory { .. });
                    assert!(refused && scales > 1 && largest <= 4 * ELEMENTS, "{error}");
                }
            }
        }
    }
}

#[test]
fn the_counter_counts() {
    let (_, peak) = peak_of(|| vec![1u8; 5 << 20]);
    assert!((5 << 20..6 << 20).contains(&peak), "{peak}");
    refused_cheaply(|| Err::<(), _>(vec![1u8; 1 << 20]));
}

#[test]
fn a_message_that_claims_gigabytes_costs_nothing() {
    for dtype in Dtype::all() {
        for units in [1 << 20, u32::MAX / 3, u32::MAX - 1, u32::MAX] {
            for block_log2 in [10, 20] {
                for body in [&[][..], &[0; 40], &[255; 40]] {
                    let message = forged_message(dtype, units, block_log2, body);
                    refused_cheaply(|| Decoder::builtin().decode_to_vec(&message));
                }
            }
        }
    }
}

/// The table is there, and nothing behind it: entries are counted from what the header claims.
#[test]
fn a_table_without_its_blocks_costs_nothing() {
    let blocks = 1 << 16;
    for (length, units) in [(1u32, blocks << 10), (1025, blocks << 10), (1, (blocks << 10) - 1)] {
        let table: Vec<u8> = std::iter::repeat_n(length.to_le_bytes(), blocks).flatten().collect();
        for body in [0, 1000] {
            let body = [&table[..], &vec![0; body]].concat();
            let message = forged_message(Dtype::U8, units as u32, 10, &body);
            refused_cheaply(|| Decoder::builtin().decode_to_vec(&message));
            let mut out = [0; 100];
            let anything = Expected::anything();
            refused_cheaply(|| {
                Decoder::builtin().decode_range(&message, &anything, 5..105, &mut out)
            });
        }
    }
}

/// Other kinds have a kind header, and blocks of up to 2^20 values.
#[test]
fn messages_of_other_kinds_cost_nothing() {
    for kind in 1..8 {
        for units in [0, 1, u32::MAX] {
            for body in [&[][..], &[0xff; 4], &[0xff; 100], &[1, 0, 0, 0, 7]] {
                let mut message = forged_message(Dtype::F32, units, 20, body);
                message[3] |= kind << 5;
                mend_message(&mut message, None);
                refused_cheaply(|| Decoder::builtin().decode_to_vec(&message));
            }
        }
    }
}

/// What a stream claims is waited for, piece by piece, and memory grows with what comes.
#[test]
fn a_stream_that_claims_gigabytes_costs_nothing() {
    let mut out = vec![0; 1 << 20];
    for checksums in [0, 1] {
        for units in [1 << 20, u32::MAX] {
            for body in [0, 4, 100, 1 << 18] {
                let mut message = forged_message(Dtype::U8, units, 10, &vec![1; body]);
                message[1] |= checksums;
                let check = crc32c(&message[..12]);
                message[12..16].copy_from_slice(&check.to_le_bytes());
                let mut reader = MessageReader::new(&message[..], Decoder::builtin());
                refused_cheaply(|| reader.read_tensor(Dtype::U8, &mut out));
            }
        }
    }
}

#[test]
fn a_message_of_empty_blocks_costs_nothing() {
    let blocks = 64;
    let body = vec![0; 4 * blocks];
    let message = forged_message(Dtype::U8, (blocks << 20) as u32, 20, &body);
    refused_cheaply(|| Decoder::builtin().decode_to_vec(&message));
}

#[test]
fn a_block_that_claims_gigabytes_costs_nothing_beyond_its_own_size() {
    // Every field behind the layout and the book is a lie.
    for book in [0, 1, 5, 20, 0xfd] {
        for layout in 1..=5 {
            let mut block = vec![layout, book, 0];
            block.extend_from_slice(&[0xff; 60]);
            for dtype in Dtype::all() {
                let mut out = [0; 1000 * 24];
                let mut decoder = Decoder::builtin();
                refused_cheaply(|| decoder.decode_block(&builtin_block(dtype, &block), &mut out));
            }
        }
    }
}

#[test]
fn a_directory_that_claims_gigabytes_costs_nothing() {
    let header = Writer::new(true, 20).unwrap().header();
    let set = [&[20, 1], &CodebookSet::builtin().id().0[..]].concat();
    for lie in [1 << 32, i64::MAX as u64, u64::MAX] {
        let lie = varint(lie);
        let [item, values] = [(0, Dtype::U8), (1, Dtype::F32)].map(|(kind, dtype)| {
            [&set[..], &[0, 1, 1, b'x', 1, kind, dtype.number(), 0], &lie].concat()
        });
        for bytes in [
            [&[20], &lie[..]].concat(),                                 // Sets.
            [&set[..], &lie].concat(),                                  // The embedded set.
            [&set[..], &[0], &lie].concat(),                            // Originals.
            [&set[..], &[0, 1], &lie].concat(),                         // A name.
            [&set[..], &[0, 1, 1, b'x'], &lie].concat(),                // Items.
            [&set[..], &[0, 1, 1, b'x', 1, 0x80], &lie].concat(),       // A tensor's name.
            [&set[..], &[0, 1, 1, b'x', 1, 0x80, 0, 0], &lie].concat(), // Dimensions.
            [&set[..], &[0, 1, 1, b'x', 1, 0, 13], &lie].concat(),      // The set's place.
            [item.clone(), vec![1; 1000]].concat(), // Bytes in a few tiny blocks.
            [values.clone(), vec![1; 1000]].concat(),
            item, // Bytes.
            values,
        ] {
            let check = crc32c(&bytes);
            refused_cheaply(|| Directory::read(&header, &bytes, 16, check));
        }
    }
    refused_cheaply(|| file::read_trailer(&[0xff; file::TRAILER_BYTES], u64::MAX));
}

#[test]
fn a_codebook_set_that_claims_gigabytes_costs_nothing() {
    let good = small_set().to_bytes();
    let good = &good[..good.len() - 4];
    for at in 9..good.len() {
        let mut bytes = good.to_vec();
        bytes.splice(at..=at, varint(u64::MAX));
        let check = crc32c(&bytes);
        bytes.extend_from_slice(&check.to_le_bytes());
        let (_, peak) = peak_of(|| CodebookSet::from_bytes(&bytes));
        assert!(peak <= LIMIT, "{peak} bytes for a lie at {at}");
    }
}

#[test]
fn decoding_again_and_again_holds_no_more_than_once() {
    let tensor: Vec<u8> = (0..1 << 20).map(|i: u32| (i.wrapping_mul(i) >> 7) as u8).collect();
    let mut encoder = Encoder::builtin();
    let message = encoder.encode_to_vec(Dtype::Bf16, &tensor).unwrap();
    let mut out = vec![0; tensor.len()];
    let mut decoder = Decoder::builtin();
    decoder.decode(&message, &mut out).unwrap();
    let (_, peak) = peak_of(|| decoder.decode(&message, &mut out).unwrap());
    assert_eq!(peak, 0, "a second message of the same kind allocates");
    let mut coded = vec![0; huffwire::message::bound(Dtype::Bf16, out.len() / 2, 17)];
    encoder.encode(Dtype::Bf16, &tensor, &mut coded).unwrap();
    let (_, peak) = peak_of(|| encoder.encode(Dtype::Bf16, &tensor, &mut coded).unwrap());
    assert_eq!(peak, 0, "a second message of the same kind allocates");
}

#[test]
fn element_types_may_alternate_without_allocating() {
    let floats = [Dtype::Bf16, Dtype::F16, Dtype::F32, Dtype::E4m3, Dtype::E2m3Packed, Dtype::E8m0];
    let tensor: Vec<u8> =
        (0..3 << 16).map(|i: u32| (i.wrapping_mul(i) >> 7) as u8 & 0x3f).collect();
    let (mut encoder, mut decoder) = (Encoder::builtin(), Decoder::builtin());
    let mut coded = vec![0; 2 * tensor.len()];
    let mut out = vec![0; tensor.len()];
    let mut round = || {
        for dtype in floats {
            let length = encoder.encode(dtype, &tensor, &mut coded).unwrap();
            decoder.decode(&coded[..length], &mut out).unwrap();
            assert!(out == tensor, "{dtype}");
        }
    };
    round();
    let ((), peak) = peak_of(round);
    assert_eq!(peak, 0, "a second round allocates");
}
