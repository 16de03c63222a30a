//! Most blocks are written and read in one pass, the others plane by plane: both ways tell the same of the same
//! bytes, alone and two at a time, on every platform.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic says what does not hold.

mod forge;

use forge::{builtin_block, message_of};
use huffwire::codebook::CodeLimit;
use huffwire::{
    Choice, CodebookSet, Coder, Decoder, Dtype, EncodeOptions, Encoder, INSPECT_BYTES, Layout,
    PlaneMode, Platform, Result, SymbolRule, Tensor,
};
use huffwire_testing::Random;
use proptest::prelude::*;

/// Types whose blocks can be coded in one pass: with a remainder of every shape, and without any.
const TYPES: [Dtype; 10] = [
    Dtype::Bf16,
    Dtype::F16,
    Dtype::F32,
    Dtype::E8m0,
    Dtype::E4m3,
    Dtype::E5m2,
    Dtype::E2m3,
    Dtype::E3m2,
    Dtype::E3m2Packed,
    Dtype::I8,
];

/// Values with a peak of exponents; `outliers` of a thousand have any exponent.
fn tensor(dtype: Dtype, units: usize, outliers: u64, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let (exponent_bits, mantissa_bits) = match dtype {
        Dtype::Bf16 => (8, 7),
        Dtype::F16 => (5, 10),
        Dtype::F32 => (8, 23),
        Dtype::E8m0 => (8, 0),
        Dtype::E4m3 => (4, 3),
        Dtype::E5m2 => (5, 2),
        Dtype::E2m3 | Dtype::E3m2 | Dtype::E3m2Packed => (3, 2),
        _ => (5, 3),
    };
    let mut value = || {
        let noise = random.bits();
        let below = u64::from(random.bits().trailing_zeros());
        let middle = match dtype {
            // Tensors in it are scaled, so that their largest values are near its own.
            Dtype::E5m2 => 28,
            _ => 1u64 << (exponent_bits - 1),
        };
        let exponent = match random.bits() % 1000 < outliers {
            true => noise >> 50 & ((1 << exponent_bits) - 1),
            false => middle.saturating_sub(below).max(1),
        };
        let sign = if mantissa_bits == 0 { 0 } else { noise >> 63 };
        let mantissa = noise >> 9 & ((1 << mantissa_bits) - 1);
        (sign << exponent_bits | exponent) << mantissa_bits | mantissa
    };
    let mut tensor = Vec::new();
    for _ in 0..units {
        let unit = match dtype {
            Dtype::E3m2Packed => (0..4).fold(0, |all, _| all << 6 | value() & 0x3f),
            Dtype::I8 => (value() as i8 >> 3) as u64,
            _ => value(),
        };
        tensor.extend_from_slice(&unit.to_le_bytes()[..dtype.unit_bytes()]);
    }
    tensor
}

/// The same block with its first codebook embedded, which is decoded plane by plane. `None` if that is not how the
/// block is coded.
fn with_embedded_book(dtype: Dtype, block: &[u8], size: usize) -> Option<Vec<u8>> {
    let set = CodebookSet::builtin();
    let start = &block[..block.len().min(INSPECT_BYTES)];
    let info = Decoder::builtin().inspect_block(&builtin_block(dtype, start), size).unwrap();
    let mut modes = info.planes.iter().map(|plane| plane.mode);
    let Some(PlaneMode::Resident { book, coder: Coder::Lanes, .. }) = modes.next() else {
        return None;
    };
    let raw = modes.all(|mode| matches!(mode, PlaneMode::Raw | PlaneMode::Constant(_)));
    let lengths = set.book(book).unwrap().lengths();
    // Few symbols must not embed a book of 12-bit codes.
    let slow = lengths.limit() == CodeLimit::Bits12 && info.planes[0].symbols < 4096;
    (raw && !slow && lengths.zero() == 0).then(|| {
        let mut embedded = vec![block[0], 0xfd];
        set.book(book).unwrap().lengths().write(&mut embedded);
        embedded.extend_from_slice(&block[2..]);
        embedded
    })
}

fn decode(platform: Platform, dtype: Dtype, block: &[u8], size: usize) -> Result<Vec<u8>> {
    let mut out = vec![0; size];
    let mut decoder = Decoder::builtin().with_platform(platform);
    decoder.decode_block(&builtin_block(dtype, block), &mut out).map(|()| out)
}

fn options(log2: u8, choice: Choice) -> EncodeOptions {
    EncodeOptions::default().checksums(false).block_log2(log2).choice(choice).rule(SymbolRule::Auto)
}

/// Decodes a tensor's blocks in every way there is. Returns how many were coded in one pass.
#[track_caller]
fn check(dtype: Dtype, tensor: &[u8], options: EncodeOptions) -> usize {
    let new = || Encoder::new(CodebookSet::builtin(), options).unwrap();
    let message = new().encode_to_vec(dtype, tensor).unwrap();
    let block_bytes = (1 << options.block_log2) / dtype.unit_bytes() * dtype.unit_bytes();
    let mut blocks = Vec::new();
    let mut in_one_pass = 0;
    for elements in tensor.chunks(block_bytes) {
        let mut block = Vec::new();
        new().encode_block(&Tensor::new(dtype, elements), &mut block).unwrap();
        for platform in Platform::available() {
            let mut same = Vec::new();
            let mut encoder = new().with_platform(platform);
            encoder.encode_block(&Tensor::new(dtype, elements), &mut same).unwrap();
            assert!(same == block, "{dtype} {platform}");
            let decoded = decode(platform, dtype, &block, elements.len());
            assert!(decoded.as_deref() == Ok(elements), "{dtype} {platform}: {:?}", decoded.err());
            if let Some(embedded) = with_embedded_book(dtype, &block, elements.len()) {
                let decoded = decode(platform, dtype, &embedded, elements.len());
                assert!(decoded.as_deref() == Ok(elements), "{dtype} {platform}, plane by plane");
            }
        }
        in_one_pass += usize::from(with_embedded_book(dtype, &block, elements.len()).is_some());
        blocks.push(block);
    }
    assert!(message == message_of(&message, None, &blocks));
    for platform in Platform::available() {
        let mut decoder = Decoder::builtin().with_platform(platform);
        let mut out = vec![0; tensor.len()];
        decoder.decode(&message, &mut out).unwrap();
        assert!(out == tensor, "{dtype} {platform}");
        assert!(decoder.decode_to_vec(&message).unwrap().1 == tensor, "{dtype} {platform}");
    }
    in_one_pass
}

#[test]
fn sizes_around_groups_pieces_and_blocks() {
    let mut seed = 0;
    for dtype in TYPES {
        let mut in_one_pass = 0;
        for around in [64, 128, 192, 1024, 1088, 1152, 8192, 16384, 3 * 8192] {
            for units in [around - 64, around - 1, around, around + 1, around + 63] {
                seed += 1;
                let tensor = tensor(dtype, units, seed % 3 * 10, seed);
                in_one_pass += check(dtype, &tensor, options(17, Choice::Sample));
            }
        }
        assert!(in_one_pass > 12, "{dtype}: {in_one_pass} blocks in one pass");
    }
}

#[test]
fn two_blocks_side_by_side_and_what_is_left() {
    for dtype in TYPES {
        let mut in_one_pass = 0;
        for (blocks, rest) in [(1, 1), (2, 0), (2, 300), (3, 0), (3, 5000), (4, 64)] {
            let units = blocks * (1 << 14) / dtype.unit_bytes() + rest;
            let tensor = tensor(dtype, units, 5, units as u64);
            in_one_pass += check(dtype, &tensor, options(14, Choice::Sample));
        }
        assert!(in_one_pass > 10, "{dtype}: {in_one_pass} blocks in one pass");
    }
}

/// Floats whose sign is a bit of their last byte.
const SIGNED: [(Dtype, u8); 7] = [
    (Dtype::Bf16, 0x80),
    (Dtype::F16, 0x80),
    (Dtype::F32, 0x80),
    (Dtype::E4m3, 0x80),
    (Dtype::E5m2, 0x80),
    (Dtype::E2m3, 0x20),
    (Dtype::E3m2, 0x20),
];

/// Makes all signs the same, but for those of some units.
fn one_sign(tensor: &mut [u8], (dtype, bit): (Dtype, u8), negative: bool, others: &[usize]) {
    let unit_bytes = dtype.unit_bytes();
    for (index, unit) in tensor.chunks_mut(unit_bytes).enumerate() {
        let sign = &mut unit[unit_bytes - 1];
        *sign = if negative != others.contains(&index) { *sign | bit } else { *sign & !bit };
    }
}

/// How the planes of a block are stored.
fn modes(dtype: Dtype, tensor: &[u8]) -> (Option<Layout>, Vec<PlaneMode>) {
    let mut block = Vec::new();
    let mut encoder = Encoder::new(CodebookSet::builtin(), options(17, Choice::Sample)).unwrap();
    encoder.encode_block(&Tensor::new(dtype, tensor), &mut block).unwrap();
    let info =
        Decoder::builtin().inspect_block(&builtin_block(dtype, &block), tensor.len()).unwrap();
    (info.layout, info.planes.iter().map(|plane| plane.mode).collect())
}

#[test]
fn signs_that_never_vary_are_apart_and_cost_nothing() {
    for (dtype, bit) in SIGNED {
        for (units, negative) in [
            (300, false),
            (300, true),
            (3000, true),
            (8192, false),
            (20_000, false),
            (20_001, true),
        ] {
            let mut tensor = tensor(dtype, units, 5, units as u64);
            one_sign(&mut tensor, (dtype, bit), negative, &[]);
            check(dtype, &tensor, options(17, Choice::Sample));
            check(dtype, &tensor, options(13, Choice::Cheapest));
            let (layout, modes) = modes(dtype, &tensor);
            let apart = dtype.unit_bytes() > 1;
            assert_eq!(layout == Some(Layout::SignApart), apart, "{dtype} {units}: {modes:?}");
            if layout != Some(Layout::Values) {
                let last = modes.last().copied();
                assert_eq!(last, Some(PlaneMode::Constant(u8::from(negative))), "{dtype} {units}");
            }
        }
    }
}

/// A sample may have one sign, and the block has both: nothing is decided by a sample that is not checked.
#[test]
fn one_sign_among_thousands_is_noticed() {
    for (dtype, bit) in SIGNED {
        for units in [2500, 9000, 20_000] {
            for other in [0, 63, 1000, units / 2, units - 1] {
                for negative in [false, true] {
                    let mut tensor = tensor(dtype, units, 0, other as u64);
                    one_sign(&mut tensor, (dtype, bit), negative, &[other]);
                    check(dtype, &tensor, options(17, Choice::Sample));
                    let (layout, modes) = modes(dtype, &tensor);
                    assert_ne!(layout, Some(Layout::SignApart));
                    assert!(!matches!(modes.last(), Some(PlaneMode::Constant(_))));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_number_of_units(
        dtype in prop::sample::select(&TYPES[..]),
        units in prop_oneof![0..700usize, 8000..8400usize, 16200..16700usize],
        outliers in 0..30u64,
        log2 in 10..=17u8,
        choice in prop::sample::select(&[Choice::Sample, Choice::Cheapest][..]),
        seed in any::<u64>(),
    ) {
        check(dtype, &tensor(dtype, units, outliers, seed), options(log2, choice));
    }

    /// Damage is noticed in both ways or in none, and then both make the same of it. (Not of the header, which
    /// differs.)
    #[test]
    fn damage_means_the_same_in_one_pass_and_plane_by_plane(
        dtype in prop::sample::select(&TYPES[..]),
        units in prop_oneof![1..700usize, 8000..8400usize, 16200..16500usize],
        outliers in 0..30u64,
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), 0..8u8), 1..3),
        seed in any::<u64>(),
    ) {
        let tensor = tensor(dtype, units, outliers, seed);
        let mut block = Vec::new();
        let mut encoder =
            Encoder::new(CodebookSet::builtin(), options(17, Choice::Sample)).unwrap();
        encoder.encode_block(&Tensor::new(dtype, &tensor), &mut block).unwrap();
        let Some(embedded) = with_embedded_book(dtype, &block, tensor.len()) else {
            return Ok(());
        };
        let header = 16;
        prop_assume!(block.len() > header + 1);
        let mut damaged = block.clone();
        for (place, near_the_lanes, bit) in places {
            // Among the states and words, or anywhere.
            let last = if near_the_lanes { 600 } else { block.len() };
            let last = last.min(block.len() - header);
            let at = block.len() - 1 - place.index(last);
            damaged[at] ^= 1 << bit;
        }
        let mut changed = embedded.clone();
        let tail = block.len() - header;
        let end = changed.len();
        changed[end - tail..].copy_from_slice(&damaged[header..]);
        let expected = decode(Platform::Portable, dtype, &damaged, tensor.len());
        for platform in Platform::available() {
            let in_one_pass = decode(platform, dtype, &damaged, tensor.len());
            prop_assert_eq!(&in_one_pass, &expected);
            let plane_by_plane = decode(platform, dtype, &changed, tensor.len());
            prop_assert_eq!(plane_by_plane.is_ok(), expected.is_ok());
            if plane_by_plane.is_ok() {
                prop_assert_eq!(plane_by_plane, in_one_pass);
            }
        }
    }
}

/// Signs and magnitudes are merged on the way on some platforms, and piece by piece on others: which of several
/// errors is told must not depend on it.
#[test]
fn errors_about_small_floats_are_the_same_everywhere() {
    let types = [Dtype::E4m3, Dtype::E5m2, Dtype::E2m3, Dtype::E3m2];
    let mut refused = 0;
    for (dtype, seed) in types
        .into_iter()
        .zip(1..)
        .flat_map(|pair| [pair; 6])
        .zip(1..)
        .map(|((dtype, first), second): ((Dtype, u64), u64)| (dtype, 100 * first + second))
    {
        // An odd number, so that there is padding.
        let units = 1024 + 64 * (seed as usize % 3) + 8195 * (seed as usize % 2) + 3;
        let tensor = tensor(dtype, units, 300, seed);
        let mut block = Vec::new();
        let mut encoder =
            Encoder::new(CodebookSet::builtin(), options(17, Choice::Sample)).unwrap();
        encoder.encode_block(&Tensor::new(dtype, &tensor), &mut block).unwrap();
        let Some(embedded) = with_embedded_book(dtype, &block, tensor.len()) else { continue };
        // In turn: the last escape, an early one, the words, the signs.
        for (from_end, bits) in [(1, 0x80), (1, 0x20), (20, 0x80), (400, 0xff), (3000, 0xff)] {
            for other in [0, 1, 500, 1100] {
                let mut damaged = [block.clone(), embedded.clone()];
                for block in &mut damaged {
                    let last = block.len();
                    if last > from_end + 100 && last > other + 100 {
                        block[last - from_end] ^= bits;
                        block[last - 1 - other] ^= 0x40;
                    }
                }
                let expected = decode(Platform::Portable, dtype, &damaged[0], tensor.len());
                refused += usize::from(expected.is_err());
                for platform in Platform::available() {
                    for block in &damaged {
                        let decoded = decode(platform, dtype, block, tensor.len());
                        assert_eq!(decoded, expected, "{dtype} {platform}");
                    }
                }
            }
        }
    }
    assert!(refused > 100, "{refused}");
}
