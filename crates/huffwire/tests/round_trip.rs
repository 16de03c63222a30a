//! What goes in comes out, bit by bit, for every element type, rule, level and choice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic says what does not hold.

mod forge;

use std::sync::Arc;

use forge::{builtin_block, crc32c, entries_of, small_set, whole};
use huffwire::calibrate::{Collector, Options, Profile};
use huffwire::{
    BlockInfo, Choice, CodebookSet, CodedBlock, Coder, Decoder, Dtype, EncodeOptions, Encoder,
    Level, PlaneMode, SymbolRule, Tensor, message,
};
use huffwire_testing::Random;
use proptest::prelude::*;

const RULES: [SymbolRule; 3] = [SymbolRule::Auto, SymbolRule::Bytes, SymbolRule::BytePlanes];
const LEVELS: [Level; 2] = [Level::Fast, Level::Max];
const CHOICES: [Choice; 3] = [Choice::Cheapest, Choice::Sample, Choice::Named];

/// Bits of an element's value: (all, exponent, mantissa). Types without an exponent are treated as
/// if their upper bits were one.
fn bits_of(dtype: Dtype) -> (u32, u32, u32) {
    match dtype.coding() {
        Dtype::Bf16 => (16, 8, 7),
        Dtype::F16 => (16, 5, 10),
        Dtype::F32 => (32, 8, 23),
        Dtype::E4m3 => (8, 4, 3),
        Dtype::E5m2 => (8, 5, 2),
        Dtype::E3m2 => (6, 3, 2),
        Dtype::E2m3 => (6, 2, 3),
        Dtype::E8m0 => (8, 8, 0),
        other => {
            let all = 8 * other.unit_bytes() as u32;
            (all, 5, all - 6)
        }
    }
}

/// Distributions that an encoder may stumble over.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Values {
    AllEqual,
    Two,
    AllZero,
    HalfZeros,
    FewZeros,
    /// -0, subnormals and +0 side by side.
    NearZeros,
    /// NaNs with payloads, infinities.
    Specials,
    /// Exponents from the smallest to the largest, so that bases wrap around.
    AllExponents,
    /// A peak at the smallest and at the largest exponent.
    BothEnds,
    Ordinary,
    /// A normal peak and a rare value far away, that takes the escape.
    Outliers,
    Noise,
    /// Sections of the other kinds, one after the other.
    Mixed,
}

const ALL_VALUES: [Values; 13] = [
    Values::AllEqual,
    Values::Two,
    Values::AllZero,
    Values::HalfZeros,
    Values::FewZeros,
    Values::NearZeros,
    Values::Specials,
    Values::AllExponents,
    Values::BothEnds,
    Values::Ordinary,
    Values::Outliers,
    Values::Noise,
    Values::Mixed,
];

impl Values {
    fn one(self, dtype: Dtype, index: u64, random: &mut Random) -> u64 {
        let (all, exponent_bits, mantissa_bits) = bits_of(dtype);
        let top = (1u64 << exponent_bits) - 1;
        let noise = random.bits();
        let make = |sign: u64, exponent: u64, mantissa: u64| {
            let mantissa = mantissa & ((1 << mantissa_bits) - 1);
            (sign & 1) << (all - 1) | (exponent & top) << mantissa_bits | mantissa
        };
        let below = u64::from(random.bits().trailing_zeros());
        let ordinary = make(noise, (top / 2).wrapping_sub(below) & top, noise >> 8);
        match self {
            Self::AllEqual => make(1, top / 3, 1),
            Self::Two => make(noise, top / 3 + (noise >> 5 & 1), 1),
            Self::AllZero => 0,
            Self::HalfZeros if noise >> 40 & 1 == 0 => 0,
            Self::FewZeros if (noise >> 40).is_multiple_of(50) => 0,
            Self::NearZeros => make(noise, 0, if noise & 2 == 0 { 0 } else { noise >> 8 }),
            Self::Specials => make(noise, top, if noise & 6 == 0 { 0 } else { noise >> 8 }),
            Self::AllExponents => make(noise, index, noise >> 8),
            Self::BothEnds => make(noise, below.wrapping_sub(noise >> 4 & 1), noise >> 8),
            Self::Outliers if (noise >> 40).is_multiple_of(97) => make(noise, noise >> 50, noise),
            Self::Noise => noise & (u64::MAX >> (64 - all)),
            Self::Mixed => {
                let kinds = ALL_VALUES.len() as u64 - 1;
                ALL_VALUES[(index / 700 % kinds) as usize].one(dtype, index, random)
            }
            _ => ordinary,
        }
    }

    fn tensor(self, dtype: Dtype, units: usize, seed: u64) -> Vec<u8> {
        let mut random = Random::new(seed);
        let mut bytes = Vec::with_capacity(units * dtype.unit_bytes());
        for index in 0..whole(dtype, units) as u64 {
            let value = self.one(dtype, index, &mut random);
            bytes.extend_from_slice(&value.to_le_bytes()[..dtype.unit_bytes()]);
        }
        bytes
    }
}

fn encoder(set: &Arc<CodebookSet>, options: EncodeOptions) -> Encoder {
    Encoder::new(Arc::clone(set), options).unwrap()
}

/// What a block says of its parts accounts for every byte of it once, for as many symbols as there are.
#[track_caller]
fn parts_fill_the_block(info: &BlockInfo, length: usize, raw: usize) {
    let Some(layout) = info.layout else {
        assert_eq!(length, info.header_bytes + raw);
        return;
    };
    let mut end = length;
    for plane in &info.planes {
        // Plane 0 comes last.
        assert_eq!(plane.payload.end, end, "{layout}: {info:?}");
        end = plane.payload.start;
        if let Some(parts) = &plane.parts {
            assert_eq!(plane.payload.start, parts.states.min(plane.payload.end));
            assert!(parts.states <= parts.stream && parts.stream <= parts.escapes);
            assert!(parts.escapes <= parts.end && plane.payload.end <= parts.end);
        }
        let in_lanes = matches!(
            plane.mode,
            PlaneMode::Resident { coder: Coder::Lanes, .. }
                | PlaneMode::Embedded { coder: Coder::Lanes, .. }
        );
        assert!(in_lanes || plane.carried_bytes == 0);
    }
    assert_eq!(end, info.header_bytes);
}

/// Encodes, checks that the tensor comes back and that the size is within the bound.
#[track_caller]
fn check(encoder: &mut Encoder, dtype: Dtype, tensor: &[u8]) -> Vec<u8> {
    check_named(encoder, dtype, tensor, "")
}

#[track_caller]
fn check_named(encoder: &mut Encoder, dtype: Dtype, tensor: &[u8], name: &str) -> Vec<u8> {
    let message = encoder.encode_tensor_to_vec(&Tensor::new(dtype, tensor).named(name)).unwrap();
    let units = tensor.len() / dtype.unit_bytes();
    let options = *encoder.options();
    assert!(message.len() <= message::bound(dtype, units, options.block_log2));
    let set = Arc::new(encoder.set().clone());
    let (header, decoded) = Decoder::new(set).decode_to_vec(&message).unwrap();
    assert_eq!((header.dtype, header.units as usize), (dtype, units));
    assert!(decoded == tensor, "{dtype} {options:?} does not come back");
    message
}

fn calibrated(dtype: Dtype, rule: SymbolRule, tensor: &[u8]) -> Arc<CodebookSet> {
    let mut profile = Profile::new(dtype, rule);
    profile.add(tensor).unwrap();
    let mut collector = Collector::new(rule);
    collector.push("layers.*", profile).unwrap();
    Arc::new(collector.build(&Options::default()).unwrap().set)
}

#[test]
fn every_type_rule_level_and_choice_brings_every_distribution_back() {
    let set = CodebookSet::builtin();
    for dtype in Dtype::all() {
        for (round, rule) in RULES.into_iter().enumerate() {
            for level in LEVELS {
                for choice in CHOICES {
                    let options = EncodeOptions::default()
                        .rule(rule)
                        .level(level)
                        .choice(choice)
                        .checksums(choice != Choice::Sample)
                        .block_log2(12);
                    // One encoder for all: whatever a block leaves behind meets the next one.
                    let mut encoder = encoder(&set, options);
                    for (index, values) in ALL_VALUES.into_iter().enumerate() {
                        let units = 4500 / dtype.unit_bytes() + 61 * round;
                        check(&mut encoder, dtype, &values.tensor(dtype, units, index as u64));
                    }
                }
            }
        }
    }
}

#[test]
fn every_distribution_comes_back_at_every_awkward_size() {
    let set = CodebookSet::builtin();
    for dtype in Dtype::all() {
        let block = huffwire::block::block_bytes(dtype, 10) / dtype.unit_bytes();
        for level in LEVELS {
            let options = EncodeOptions::default().level(level).block_log2(10);
            let mut encoder = encoder(&set, options);
            for values in [Values::HalfZeros, Values::Outliers, Values::AllExponents] {
                for units in [
                    0,
                    1,
                    2,
                    3,
                    7,
                    63,
                    64,
                    65,
                    127,
                    128,
                    129,
                    block - 1,
                    block,
                    block + 1,
                    2 * block,
                    2 * block + 1,
                ] {
                    check(&mut encoder, dtype, &values.tensor(dtype, units, units as u64));
                }
            }
        }
    }
}

#[test]
fn single_elements_come_back_whatever_their_bits() {
    let set = CodebookSet::builtin();
    for level in LEVELS {
        let options = EncodeOptions::default().level(level);
        let mut encoder = encoder(&set, options);
        for pattern in (0..=u16::MAX).step_by(17) {
            check(&mut encoder, Dtype::Bf16, &pattern.to_le_bytes());
            check(&mut encoder, Dtype::F16, &pattern.to_le_bytes());
            check(&mut encoder, Dtype::E5m2, &pattern.to_le_bytes()[..1]);
        }
    }
}

#[test]
fn every_bit_pattern_of_the_16_bit_types_comes_back() {
    let tensor: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let set = CodebookSet::builtin();
    for dtype in [Dtype::Bf16, Dtype::F16, Dtype::Word16] {
        for level in LEVELS {
            for rule in RULES {
                let options = EncodeOptions::default().rule(rule).level(level);
                check(&mut encoder(&set, options), dtype, &tensor);
            }
        }
    }
}

#[test]
fn unpacked_six_bit_types_keep_their_spare_bits() {
    let set = CodebookSet::builtin();
    for dtype in [Dtype::E3m2, Dtype::E2m3] {
        let mut encoder = encoder(&set, EncodeOptions::default());
        let clean = Values::Ordinary.tensor(dtype, 3000, 1);
        check(&mut encoder, dtype, &clean);
        for (at, bit) in [(0, 0x40), (1499, 0x80), (2999, 0xc0)] {
            let mut odd = clean.clone();
            odd[at] |= bit;
            check(&mut encoder, dtype, &odd);
        }
        check(&mut encoder, dtype, &clean);
    }
}

#[test]
fn the_largest_blocks_come_back() {
    let set = CodebookSet::builtin();
    for dtype in [Dtype::Bf16, Dtype::E4m3, Dtype::Word64] {
        let options = EncodeOptions::default().block_log2(20);
        let units = (1 << 20) / dtype.unit_bytes() + 1;
        let tensor = Values::HalfZeros.tensor(dtype, units, 5);
        check(&mut encoder(&set, options), dtype, &tensor);
    }
}

#[test]
fn calibrated_sets_bring_back_what_they_were_not_made_for() {
    for dtype in Dtype::all() {
        for rule in RULES {
            let units = 3000 / dtype.unit_bytes();
            let set = calibrated(dtype, rule, &Values::Ordinary.tensor(dtype, units, 1));
            for choice in CHOICES {
                let options = EncodeOptions::default().rule(rule).choice(choice).block_log2(11);
                let mut encoder = encoder(&set, options);
                for values in ALL_VALUES {
                    let tensor = values.tensor(dtype, units, 2);
                    check_named(&mut encoder, dtype, &tensor, "layers.3");
                }
            }
        }
    }
}

#[test]
fn a_set_without_books_for_the_type_serves_too() {
    let set = small_set();
    for dtype in Dtype::all() {
        let mut encoder = encoder(&set, EncodeOptions::default());
        for values in ALL_VALUES {
            check(&mut encoder, dtype, &values.tensor(dtype, 700, 3));
        }
    }
}

/// A book made for such a block would have no symbol of its own, and no decoder accepts that.
#[test]
fn zeros_among_values_that_all_escape_come_back() {
    let options = EncodeOptions::default().level(Level::Max);
    let mut encoder = encoder(&CodebookSet::builtin(), options);
    for units in [256, 1024, 4096, 16384] {
        for zeros in 1..8 {
            let mut tensor = Values::Noise.tensor(Dtype::Bf16, units, 1);
            let zeros = units * zeros / 8;
            tensor[..2 * zeros].fill(0);
            check(&mut encoder, Dtype::Bf16, &tensor);
        }
    }
}

#[test]
fn a_block_alone_is_never_longer_than_verbatim_and_a_byte() {
    // Around the point where coding begins to pay: some zeros among noise.
    let set = CodebookSet::builtin();
    for level in LEVELS {
        for dtype in [Dtype::Bf16, Dtype::F16, Dtype::F32, Dtype::E8m0] {
            let options = EncodeOptions::default().level(level).checksums(false);
            let (mut encoder, mut decoder) = (encoder(&set, options), Decoder::builtin());
            for units in [100, 200, 400, 1000, 4000] {
                for zeros in (0..units).step_by(units / 50) {
                    let mut tensor = Values::Noise.tensor(dtype, units, zeros as u64);
                    tensor[..zeros * dtype.unit_bytes()].fill(0);
                    let mut block = Vec::new();
                    encoder.encode_block(&Tensor::new(dtype, &tensor), &mut block).unwrap();
                    assert!(
                        block.len() <= 1 + tensor.len(),
                        "{dtype} {level:?}: {zeros} zeros of {units}: {} bytes",
                        block.len()
                    );
                    let mut out = vec![0; tensor.len()];
                    decoder.decode_block(&builtin_block(dtype, &block), &mut out).unwrap();
                    assert!(out == tensor);
                }
            }
        }
    }
}

#[test]
fn max_is_never_longer_than_fast() {
    let set = CodebookSet::builtin();
    for dtype in Dtype::all() {
        for values in ALL_VALUES {
            let tensor = values.tensor(dtype, 6000, 9);
            let [fast, max] = LEVELS.map(|level| {
                let options = EncodeOptions::default().level(level);
                check(&mut encoder(&set, options), dtype, &tensor).len()
            });
            // Plans are priced before the coder knows how many bits the lanes keep to themselves.
            assert!(max <= fast + 128, "{dtype} {values:?}: {max} over {fast}");
        }
    }
}

/// The exponents gain little here: it is the remainder that a third of the values does without.
#[test]
fn zeros_pay_by_the_remainder_that_they_save() {
    let set = CodebookSet::builtin();
    for (dtype, exponents, mantissa_bits) in
        [(Dtype::Bf16, 30, 7), (Dtype::F16, 30, 10), (Dtype::F32, 30, 23)]
    {
        // Less than a sample, and enough for one.
        for units in [500, 20_000] {
            let mut random = Random::new(17);
            let value = |_| match random.bits() {
                noise if noise.is_multiple_of(3) => 0,
                noise => {
                    let exponent = (noise >> 40) % exponents + 1;
                    exponent << mantissa_bits | noise >> 8 & ((1 << mantissa_bits) - 1)
                }
            };
            let values = (0..units).map(value).map(|value| value.to_le_bytes());
            let unit = dtype.unit_bytes();
            let tensor: Vec<u8> = values.flat_map(|bytes| bytes.into_iter().take(unit)).collect();
            for level in LEVELS {
                let options = EncodeOptions::default().level(level);
                let length = check(&mut encoder(&set, options), dtype, &tensor).len();
                assert!(length < tensor.len() / 50 * 49, "{dtype} {level:?}: {length} for {units}");
            }
        }
    }
}

#[test]
fn a_used_encoder_makes_the_same_bytes_as_a_fresh_one() {
    let set = CodebookSet::builtin();
    for rule in RULES {
        for level in LEVELS {
            let options = EncodeOptions::default().rule(rule).level(level).block_log2(11);
            let mut used = encoder(&set, options);
            for round in 0..40u64 {
                // Types and kinds in an order that brings each after many others.
                let dtype = Dtype::from_number((round * 7 % 29 + 1) as u8).unwrap();
                let values = ALL_VALUES[(round * 5 % 13) as usize];
                let units = 1 + (round * 397 % 2500) as usize;
                let tensor = values.tensor(dtype, units, round);
                let fresh = check(&mut encoder(&set, options), dtype, &tensor);
                assert!(fresh == check(&mut used, dtype, &tensor), "{dtype} {values:?}");
            }
        }
    }
}

#[test]
fn an_encoder_that_refused_something_goes_on_as_before() {
    let set = CodebookSet::builtin();
    let mut used = encoder(&set, EncodeOptions::default());
    let tensor = Values::HalfZeros.tensor(Dtype::F32, 5000, 1);
    let before = check(&mut used, Dtype::F32, &tensor);
    assert!(used.encode_to_vec(Dtype::F32, &tensor[1..]).is_err());
    assert!(used.encode(Dtype::Bf16, &tensor, &mut [0; 64]).is_err());
    assert!(before == check(&mut used, Dtype::F32, &tensor));
}

#[test]
fn encode_leaves_the_same_message_as_encode_to_vec_in_any_buffer() {
    let set = CodebookSet::builtin();
    let tensor = Values::Mixed.tensor(Dtype::Bf16, 9000, 4);
    let options = EncodeOptions::default().block_log2(12);
    let mut encoder = encoder(&set, options);
    let expected = encoder.encode_to_vec(Dtype::Bf16, &tensor).unwrap();
    for filler in [0, 0x55, 0xff] {
        let mut out = vec![filler; message::bound(Dtype::Bf16, 9000, 12) + 33];
        let length = encoder.encode(Dtype::Bf16, &tensor, &mut out).unwrap();
        assert!(out[..length] == expected);
    }
}

#[test]
fn tensor_names_choose_books_and_only_by_their_bindings() {
    let rule = SymbolRule::Auto;
    let tensor = Values::Ordinary.tensor(Dtype::Bf16, 4000, 1);
    let set = calibrated(Dtype::Bf16, rule, &tensor);
    let options = EncodeOptions::default().choice(Choice::Named);
    let mut encoder = encoder(&set, options);
    let coded =
        |encoder: &mut Encoder, name: &str| check_named(encoder, Dtype::Bf16, &tensor, name);
    let bound = coded(&mut encoder, "layers.7");
    let unbound = coded(&mut encoder, "elsewhere");
    assert!(bound != unbound, "without a bound book one is embedded");
    assert!(coded(&mut encoder, "layers.8") == bound);
    assert!(coded(&mut encoder, "elsewhere") == unbound);
}

#[test]
fn blocks_are_those_of_the_message_and_each_decodes_alone() {
    for checksums in [true, false] {
        for dtype in Dtype::all() {
            let options = EncodeOptions::default().checksums(checksums).block_log2(10);
            let set = CodebookSet::builtin();
            let mut encoder = encoder(&set, options);
            let tensor = Values::Mixed.tensor(dtype, 2000, 8);
            let message = encoder.encode_to_vec(dtype, &tensor).unwrap();
            let size = huffwire::block::block_bytes(dtype, 10);
            let found: Vec<&[u8]> =
                entries_of(&message).into_iter().map(|entry| &message[entry]).collect();
            assert_eq!(found.len(), tensor.len().div_ceil(size));
            let mut decoder = Decoder::builtin();
            // Last block first: none needs another.
            for (block, raw) in found.iter().zip(tensor.chunks(size)).rev() {
                let mut alone = vec![7];
                let encoded = encoder.encode_block(&Tensor::new(dtype, raw), &mut alone).unwrap();
                assert_eq!((encoded.bytes, alone[0]), (block.len(), 7), "what was there stays");
                assert_eq!(encoded.checksum, checksums.then(|| crc32c(block)));
                assert!(alone[1..] == **block);
                let mut out = vec![0; raw.len()];
                let checksum = encoded.checksum;
                let block = CodedBlock { checksum, ..builtin_block(dtype, block) };
                decoder.decode_block(&block, &mut out).unwrap();
                assert!(out == raw);
                let info = decoder.inspect_block(&block, raw.len()).unwrap();
                assert_eq!(info.layout.is_none(), info.planes.is_empty());
                parts_fill_the_block(&info, block.bytes.len(), raw.len());
            }
        }
    }
}

#[test]
fn threads_make_the_same_bytes() {
    let tensor = Arc::new(Values::Mixed.tensor(Dtype::Bf16, 50_000, 6));
    let expected = Encoder::builtin().encode_to_vec(Dtype::Bf16, &tensor).unwrap();
    let threads = [0; 4].map(|_| {
        let tensor = Arc::clone(&tensor);
        std::thread::spawn(move || Encoder::builtin().encode_to_vec(Dtype::Bf16, &tensor))
    });
    for thread in threads {
        assert!(thread.join().unwrap().unwrap() == expected);
    }
}

fn any_options() -> impl Strategy<Value = EncodeOptions> {
    let choices = (0..3usize, any::<bool>(), 0..3usize, any::<bool>(), 10..=14u8);
    choices.prop_map(|(rule, max, choice, checksums, block_log2)| {
        EncodeOptions::default()
            .rule(RULES[rule])
            .level(if max { Level::Max } else { Level::Fast })
            .choice(CHOICES[choice])
            .checksums(checksums)
            .block_log2(block_log2)
    })
}

fn any_dtype() -> impl Strategy<Value = Dtype> {
    prop::sample::select(Dtype::all().collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn any_tensor_under_any_options_comes_back(
        dtype in any_dtype(),
        options in any_options(),
        kinds in prop::collection::vec(0..13usize, 1..4),
        units in 0..4000usize,
        seed in any::<u64>(),
    ) {
        let set = CodebookSet::builtin();
        let mut encoder = encoder(&set, options);
        let tensors = kinds.iter().map(|&kind| ALL_VALUES[kind].tensor(dtype, units, seed));
        let tensor: Vec<u8> = tensors.flatten().collect();
        let message = check(&mut encoder, dtype, &tensor);
        prop_assert!(message == check(&mut encoder, dtype, &tensor));
    }

    #[test]
    fn any_bytes_come_back_as_any_type(
        dtype in any_dtype(),
        options in any_options(),
        mut bytes in prop::collection::vec(any::<u8>(), 0..3000),
        mask in any::<u8>(),
    ) {
        let unit = dtype.unit_bytes();
        bytes.truncate(whole(dtype, bytes.len() / unit) * unit);
        bytes.iter_mut().for_each(|byte| *byte &= mask);
        let set = CodebookSet::builtin();
        check(&mut encoder(&set, options), dtype, &bytes);
    }

    #[test]
    fn any_damage_is_found_by_the_checksums(
        dtype in any_dtype(),
        kind in 0..13usize,
        units in 1..600usize,
        places in prop::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..5),
    ) {
        let tensor = ALL_VALUES[kind].tensor(dtype, units, 1);
        let message = Encoder::builtin().encode_to_vec(dtype, &tensor).unwrap();
        let mut damaged = message.clone();
        for (place, change) in places {
            damaged[place.index(message.len())] ^= change;
        }
        let mut decoder = Decoder::builtin();
        prop_assert_eq!(decoder.decode_to_vec(&damaged).is_ok(), damaged == message);
        let (_, decoded) = decoder.decode_to_vec(&message).unwrap();
        prop_assert!(decoded == tensor, "a decoder that saw damage");
    }
}

/// A block is planned by samples of it, and what is rare need not be in any of them.
#[test]
fn what_no_sample_saw_comes_back() {
    let options = EncodeOptions::default().level(Level::Max);
    let mut encoder = Encoder::new(CodebookSet::builtin(), options).unwrap();
    for dtype in [Dtype::Bf16, Dtype::F16, Dtype::F32] {
        let (all, exponent, mantissa) = bits_of(dtype);
        let unit = dtype.unit_bytes();
        let mut random = Random::new(7);
        // Exponents of many kinds, and no mantissa.
        let elements = (0..(1 << 20) / unit).flat_map(|_| {
            let exponent = (1u64 << (exponent - 2)) + u64::from(random.bits().trailing_zeros() % 8);
            (exponent << mantissa).to_le_bytes().into_iter().take(unit)
        });
        let mut bytes: Vec<u8> = elements.collect();
        for place in (0..256).step_by(61) {
            for bit in 0..all {
                let at = 777 * 256 + place;
                let byte = at * unit % (1 << 20) + bit as usize / 8;
                bytes[byte] ^= 1 << (bit % 8);
                let message = encoder.encode_to_vec(dtype, &bytes).unwrap();
                let decoded = Decoder::builtin().decode_to_vec(&message).unwrap().1;
                assert!(decoded == bytes, "{dtype}, bit {bit} of unit {at}");
                bytes[byte] ^= 1 << (bit % 8);
            }
        }
    }
}

/// Of bytes a sample shows too little to make a book from.
#[test]
fn books_of_bytes_are_made_from_all_of_them() {
    let mut random = Random::new(11);
    let bytes: Vec<u8> =
        (0..1 << 17).map(|_| (random.bits() & random.bits() & 0xff) as u8).collect();
    for level in [Level::Fast, Level::Max] {
        let sizes = [Choice::Sample, Choice::Cheapest].map(|choice| {
            let options = EncodeOptions::default().level(level).choice(choice);
            let mut encoder = Encoder::new(CodebookSet::builtin(), options).unwrap();
            encoder.encode_to_vec(Dtype::U8, &bytes).unwrap().len()
        });
        assert!(sizes[1] < bytes.len() * 9 / 10, "{sizes:?}: nothing to lose");
        assert_eq!(sizes[0], sizes[1], "{level:?}");
    }
}
