//! Deltas: what comes back, how small they are, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use huffwire::{Decoder, Dtype, EncodeOptions, Encoder, Error, Expected, Platform, Tensor, delta};
use huffwire_testing::{Random, noise};
use proptest::prelude::*;

/// Types with words of every size and form.
const TYPES: [Dtype; 14] = [
    Dtype::Bf16,
    Dtype::F16,
    Dtype::F32,
    Dtype::E4m3,
    Dtype::E5m2,
    Dtype::E2m1,
    Dtype::E3m2Packed,
    Dtype::E2m3,
    Dtype::I8,
    Dtype::U16,
    Dtype::I32,
    Dtype::F64,
    Dtype::Complex64,
    Dtype::Bool,
];

/// The tensor with one word in `every` changed; `how` tells by how much.
fn changed(dtype: Dtype, base: &[u8], every: usize, how: u8, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut new = base.to_vec();
    let bytes = if dtype.unit_bytes() == 3 { 1 } else { dtype.unit_bytes() };
    for word in new.chunks_mut(bytes) {
        if random.below(every) == 0 {
            match how {
                // A neighbour.
                0 => word[0] ^= 1,
                // A few steps away.
                1 => word[0] = word[0].wrapping_add(random.below(9) as u8),
                // The other sign, zeros and infinities.
                2 => *word.last_mut().unwrap() ^= 0x80,
                3 => word.fill(0),
                4 => word.copy_from_slice(&0x7f80u64.to_le_bytes()[..bytes]),
                // Anything.
                _ => word.copy_from_slice(&random.bits().to_le_bytes()[..bytes]),
            }
        }
    }
    new
}

/// Encodes a delta, and decodes it in every way. Returns the message.
fn round_trip(dtype: Dtype, base: &[u8], new: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::builtin();
    let message = encoder.encode_delta_to_vec(dtype, base, new).unwrap();
    let units = new.len() / dtype.unit_bytes();
    assert!(message.len() <= encoder.delta_bound(dtype, units));
    let mut decoder = Decoder::builtin();
    let mut out = vec![0x11; new.len()];
    let header = decoder.decode_delta(base, &message, &mut out).unwrap();
    assert_eq!((header.dtype, header.units as usize), (dtype, units));
    assert!(out == new, "{dtype}");
    assert_eq!(decoder.decode_delta_to_vec(base, &message).unwrap(), (header, new.to_vec()));
    let mut in_place = base.to_vec();
    decoder.apply_delta(&message, &mut in_place).unwrap();
    assert!(in_place == new, "{dtype}");

    let changes = decoder.delta_changes(&message, &Expected::anything(), base).unwrap();
    let info = delta::Info::read(&message, None).unwrap();
    assert_eq!(changes.indices.len() as u64, info.changes());
    assert!(changes.indices.is_sorted_by(|a, b| a < b));
    let bytes = if dtype.unit_bytes() == 3 { 1 } else { dtype.unit_bytes() };
    let mut put = base.to_vec();
    for (index, value) in changes.indices.iter().zip(changes.values.chunks(bytes)) {
        let at = *index as usize * bytes;
        assert_ne!(put[at..at + bytes], *value);
        put[at..at + bytes].copy_from_slice(value);
    }
    assert!(put == new, "{dtype}");
    message
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    #[test]
    fn every_change_of_every_type_comes_back(
        kind in 0..TYPES.len(),
        units in 0usize..3000,
        every in 1usize..300,
        how in 0u8..6,
        seed: u64,
    ) {
        let dtype = TYPES[kind];
        let units = units / 2 * 2;
        let base = noise(units * dtype.unit_bytes(), seed);
        let new = changed(dtype, &base, every, how, seed ^ 1);
        round_trip(dtype, &base, &new);
    }

    #[test]
    fn platforms_threads_and_block_sizes_change_no_element(
        every in 1usize..2000, how in 0u8..6, seed: u64, log2 in 10u8..20,
    ) {
        let base = noise(2 * 70_000, seed);
        let new = changed(Dtype::Bf16, &base, every, how, seed);
        let mut messages = Platform::available().map(|platform| {
            let options = EncodeOptions::default().block_log2(log2).checksums(log2 % 2 == 0);
            let encoder = Encoder::new(huffwire::CodebookSet::builtin(), options).unwrap();
            let mut encoder = encoder.with_platform(platform);
            let message = encoder.encode_delta_to_vec(Dtype::Bf16, &base, &new).unwrap();
            let mut decoder = Decoder::builtin().with_platform(platform);
            let mut weights = base.clone();
            decoder.apply_delta(&message, &mut weights).unwrap();
            assert!(weights == new);
            message
        });
        let portable = messages.next().unwrap();
        prop_assert!(messages.all(|message| message == portable));
    }
}

#[test]
fn what_does_not_change_takes_next_to_nothing() {
    let base = noise(64 << 20, 1);
    let message = round_trip_once(Dtype::Bf16, &base, &base);
    assert!(message.len() * 4000 < base.len(), "{}", message.len());
    let info = delta::Info::read(&message, None).unwrap();
    assert!(info.blocks.iter().all(|block| block.kind == delta::BlockKind::Unchanged));
}

fn round_trip_once(dtype: Dtype, base: &[u8], new: &[u8]) -> Vec<u8> {
    let message = Encoder::builtin().encode_delta_to_vec(dtype, base, new).unwrap();
    let mut weights = base.to_vec();
    Decoder::builtin().apply_delta(&message, &mut weights).unwrap();
    assert!(weights == new);
    message
}

#[test]
fn a_random_new_tensor_is_hardly_larger_than_its_plain_message() {
    for (dtype, bytes) in [(Dtype::Bf16, 5 << 20), (Dtype::U8, 3 << 20), (Dtype::F32, 3_000_004)] {
        let (base, new) = (noise(bytes, 1), noise(bytes, 2));
        let delta = round_trip_once(dtype, &base, &new).len();
        let plain = Encoder::builtin().encode_to_vec(dtype, &new).unwrap().len();
        assert!(delta * 1000 <= plain * 1001, "{dtype}: {delta}, {plain}");
    }
}

/// Where nearly all words change a little, a list of the changes is smaller than all differences, and slower.
#[test]
fn level_max_lists_changes_where_nearly_all_words_change() {
    // Steps of up to 4 units in the last place of the largest of some exponents.
    let (mut random, mut base, mut new) = (Random::new(1), Vec::new(), Vec::new());
    for _ in 0..60_000 {
        let bits = (112 + random.below(5)) << 7 | random.below(128);
        let step = (random.below(2001) as f32 / 1000.0 - 1.0) * 4.0 * 2f32.powi(116 - 127 - 7);
        let moved = f32::from_bits((bits as u32) << 16) + step;
        base.extend_from_slice(&(bits as u16).to_le_bytes());
        new.extend_from_slice(&((moved.to_bits() >> 16) as u16).to_le_bytes());
    }
    let [fast, max] = [huffwire::Level::Fast, huffwire::Level::Max].map(|level| {
        let options = EncodeOptions::default().level(level);
        let mut encoder = Encoder::new(huffwire::CodebookSet::builtin(), options).unwrap();
        let message = encoder.encode_delta_to_vec(Dtype::Bf16, &base, &new).unwrap();
        let mut weights = base.clone();
        Decoder::builtin().apply_delta(&message, &mut weights).unwrap();
        assert!(weights == new);
        message
    });
    let kind = |message| delta::Info::read(message, None).unwrap().blocks[0].kind;
    assert!(delta::Info::read(&max, None).unwrap().changes() > 50_000);
    assert!(!kind(&fast).is_sparse() && kind(&max).is_sparse());
    assert!(max.len() < fast.len(), "{} {}", max.len(), fast.len());
}

#[test]
fn several_blocks_on_several_threads() {
    let base = noise(2 * 2_500_000, 8);
    let mut new = changed(Dtype::Bf16, &base, 300, 0, 9);
    // One block as it was, one in which most words change.
    new[..2 << 20].copy_from_slice(&base[..2 << 20]);
    let random = changed(Dtype::Bf16, &base, 2, 1, 9);
    new[4 << 20..].copy_from_slice(&random[4 << 20..]);
    let message = round_trip(Dtype::Bf16, &base, &new);
    let info = delta::Info::read(&message, None).unwrap();
    assert_eq!(info.blocks.len(), 3);
    assert_eq!((info.blocks[0].changes, info.words()), (0, 2_500_000));
    #[cfg(feature = "rayon")]
    {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let threads = huffwire::Threads::Pool(std::sync::Arc::new(pool));
        let mut encoder = Encoder::builtin().with_threads(threads.clone());
        assert!(encoder.encode_delta_to_vec(Dtype::Bf16, &base, &new).unwrap() == message);
        let mut decoder = Decoder::builtin().with_threads(threads);
        let mut weights = base.clone();
        decoder.apply_delta(&message, &mut weights).unwrap();
        assert!(weights == new);
        let mut out = vec![0; base.len()];
        decoder.decode_delta(&base, &message, &mut out).unwrap();
        assert!(out == new);
        weights.copy_from_slice(&base);
        weights[3 << 20] ^= 1;
        for decoder in [&mut decoder, &mut Decoder::builtin()] {
            let error = decoder.decode_delta(&weights, &message, &mut out).unwrap_err();
            assert!(is_wrong_base(&error, 1), "{error}");
            assert_eq!(decoder.apply_delta(&message, &mut weights), Err(error));
        }
    }
}

fn is_wrong_base(error: &Error, block: u64) -> bool {
    let Error::InBlock { index, source } = error else { return false };
    *index == block && matches!(**source, Error::WrongBase { .. })
}

/// Damage in the last block is found before a byte of the first one changes, and a wrong base behind damage is what the
/// user hears of.
#[test]
fn damage_in_a_later_block_is_found_before_anything_is_written() {
    let base = noise(2 * 1_600_000, 8);
    let mut decoder = Decoder::builtin();
    // Kept changes or a block that is decoded again in front; the same and a sparse block of several chains behind.
    for (front, behind) in [(100, 2), (2, 100), (40, 30)] {
        let mut new = changed(Dtype::Bf16, &base, front, 0, 9);
        let last = changed(Dtype::Bf16, &base, behind, 1, 7);
        new[2 << 20..].copy_from_slice(&last[2 << 20..]);
        let options = EncodeOptions::default().checksums(false);
        let mut encoder = Encoder::new(huffwire::CodebookSet::builtin(), options).unwrap();
        let message = encoder.encode_delta_to_vec(Dtype::Bf16, &base, &new).unwrap();
        let info = delta::Info::read(&message, None).unwrap();
        assert_eq!(info.blocks.len(), 2);
        assert!(info.blocks[1].changes >= 4096);
        let mut random = Random::new(4);
        // The second block has at least 5000 bytes, whatever it holds.
        for _ in 0..12 {
            let distance = 1 + random.below(5000);
            let mut damaged = message.clone();
            let at = message.len() - distance;
            damaged[at] ^= 1 << random.below(8);
            let mut weights = base.clone();
            match decoder.apply_delta(&damaged, &mut weights) {
                Ok(_) => assert!(weights == new),
                Err(error) => {
                    assert!(matches!(error, Error::InBlock { index: 1, .. }), "{error}");
                    assert!(weights == base);
                }
            }
            let changes = decoder.delta_changes(&damaged, &Expected::anything(), &base);
            assert_eq!(changes.is_ok(), decoder.decode_delta_to_vec(&base, &damaged).is_ok());
        }
        // Damage in the first block, and a base that differs in the second.
        let mut damaged = message.clone();
        damaged[200..204].fill(0x55);
        assert!(damaged != message && decoder.decode_delta_to_vec(&base, &damaged).is_err());
        let mut wrong = base.clone();
        *wrong.last_mut().unwrap() ^= 1;
        let mut weights = wrong.clone();
        for error in [
            decoder.apply_delta(&damaged, &mut weights).unwrap_err(),
            decoder.decode_delta_to_vec(&wrong, &damaged).unwrap_err(),
            decoder.delta_changes(&damaged, &Expected::anything(), &wrong).unwrap_err(),
        ] {
            assert!(is_wrong_base(&error, 1), "{error}");
        }
        assert!(weights == wrong);
    }
}

#[test]
fn another_base_is_refused_before_anything_changes() {
    let base = noise(2 * 1_500_000, 8);
    let new = changed(Dtype::Bf16, &base, 100, 0, 9);
    let message = Encoder::builtin().encode_delta_to_vec(Dtype::Bf16, &base, &new).unwrap();
    let mut decoder = Decoder::builtin();
    let mut wrong = base.clone();
    *wrong.last_mut().unwrap() ^= 1;
    for (bases, applied) in [(&wrong, false), (&new, true)] {
        let mut weights = bases.clone();
        let mut out = vec![0x11; base.len()];
        for error in [
            decoder.apply_delta(&message, &mut weights).unwrap_err(),
            decoder.decode_delta(bases, &message, &mut out).unwrap_err(),
            decoder.decode_delta_to_vec(bases, &message).unwrap_err(),
            decoder.delta_changes(&message, &Expected::anything(), bases).unwrap_err(),
        ] {
            let Error::InBlock { index, source } = error else { panic!("{error}") };
            assert_eq!(index, u64::from(!applied));
            assert!(matches!(*source, Error::WrongBase { applied: found, .. } if found == applied));
            assert_eq!(source.to_string().contains("already"), applied);
        }
        assert!(weights == *bases && out.iter().all(|byte| *byte == 0x11));
    }
    // Of another size.
    for bytes in [0, 2, base.len() - 2] {
        let mut weights = base[..bytes].to_vec();
        let error = decoder.apply_delta(&message, &mut weights).unwrap_err();
        let expected = base.len() as u64;
        assert_eq!(error, Error::BaseLength { expected, found: bytes as u64 });
    }
    // Of another type, and in another context.
    let dtype = Expected::anything().dtype(Dtype::F16);
    let mut weights = base.clone();
    assert!(decoder.apply_expected_delta(&message, &dtype, &mut weights).is_err());
    let context = Expected::anything().context(4);
    assert!(decoder.apply_expected_delta(&message, &context, &mut weights).is_err());
    assert!(weights == base);
}

/// What costs nothing to see is found before checksums and hashes are computed.
#[test]
fn outputs_of_another_size_are_refused_before_the_base_is_compared() {
    let base = noise(3000, 8);
    let new = changed(Dtype::Bf16, &base, 100, 0, 9);
    let message = Encoder::builtin().encode_delta_to_vec(Dtype::Bf16, &base, &new).unwrap();
    let mut damaged = message.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let mut wrong = base.clone();
    wrong[7] ^= 1;
    let mut decoder = Decoder::builtin();
    for available in [0, 2998, 3002] {
        let expected = Error::OutputLength { needed: 3000, available };
        for (base, message) in [(&wrong, &message), (&base, &damaged), (&wrong, &damaged)] {
            let mut out = vec![0x11; available];
            assert_eq!(decoder.decode_delta(base, message, &mut out), Err(expected.clone()));
            assert!(out.iter().all(|byte| *byte == 0x11));
        }
    }
    // The base comes before the output.
    let error = decoder.decode_delta(&base[2..], &message, &mut [0; 4]);
    assert_eq!(error, Err(Error::BaseLength { expected: 3000, found: 2998 }));
}

#[test]
fn messages_of_other_kinds_are_refused_by_name() {
    let base = noise(3000, 1);
    let tensor = Encoder::builtin().encode_to_vec(Dtype::Bf16, &base).unwrap();
    let error = Decoder::builtin().apply_delta(&tensor, &mut base.clone()).unwrap_err();
    assert!(error.to_string().contains("tensor where delta"), "{error}");
    assert!(delta::Info::read(&tensor, None).is_err());
    let delta = Encoder::builtin().encode_delta_to_vec(Dtype::Bf16, &base, &base).unwrap();
    let error = Decoder::builtin().decode_to_vec(&delta).unwrap_err();
    assert_eq!(error, Error::UnknownKind { number: 2, name: "delta" });
}

#[test]
fn contexts_bind_deltas_to_steps() {
    let (base, new) = (noise(3000, 1), noise(3000, 2));
    let tensor = Tensor::new(Dtype::Bf16, &new).in_context(7);
    let message = Encoder::builtin().encode_tensor_delta_to_vec(&base, &tensor).unwrap();
    let mut decoder = Decoder::builtin();
    let mut weights = base.clone();
    for expected in [Expected::anything(), Expected::anything().context(8)] {
        assert!(decoder.apply_expected_delta(&message, &expected, &mut weights).is_err());
    }
    let expected = Expected::anything().context(7);
    decoder.apply_expected_delta(&message, &expected, &mut weights).unwrap();
    assert!(weights == new);
    assert_eq!(delta::Info::read(&message, Some(7)).unwrap().header.units, 1500);
}

#[test]
fn a_prepared_delta_is_written_later_and_only_over_its_base() {
    let base = noise(2 * 40_000, 1);
    for every in [2, 1000] {
        let new = changed(Dtype::Bf16, &base, every, 0, 2);
        let message = Encoder::builtin().encode_delta_to_vec(Dtype::Bf16, &base, &new).unwrap();
        let mut decoder = Decoder::builtin();
        let prepared = decoder.prepare_delta(&message, &Expected::anything(), &base).unwrap();
        assert!(prepared.kept_bytes() < base.len() / 2);
        let mut weights = base.clone();
        decoder.commit_delta(&prepared, &mut weights).unwrap();
        assert!(weights == new);
        assert!(decoder.commit_delta(&prepared, &mut weights[2..]).is_err());
        // What has to be decoded again needs the base as it was.
        if every == 2 {
            assert!(decoder.commit_delta(&prepared, &mut weights).is_err());
            assert!(weights == new);
        }
    }
}

/// Deltas from one base to two tensors have the same header. Only the message that was prepared is written.
#[test]
fn another_message_is_not_taken_for_the_prepared_one() {
    let base = noise(2 * 40_000, 1);
    let mut decoder = Decoder::builtin();
    // Kept changes, and a block that is decoded again.
    for every in [1000, 2] {
        let [new, other] = [2, 3].map(|seed| changed(Dtype::Bf16, &base, every, 0, seed));
        let encode = |new| Encoder::builtin().encode_delta_to_vec(Dtype::Bf16, &base, new).unwrap();
        let [message, sibling] = [&new, &other].map(|new| encode(new));
        assert!(message[..16] == sibling[..16] && message != sibling);
        let prepared = decoder.prepare_delta(&message, &Expected::anything(), &base).unwrap();
        let detached = prepared.detach();
        let mut flipped = message.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for wrong in [&sibling, &flipped, &message[..message.len() - 1].to_vec(), &Vec::new()] {
            let error = detached.clone().attach(wrong, None).unwrap_err();
            let what = "the hash of the message of a prepared delta";
            assert!(matches!(error, Error::Unexpected { what: found, .. } if found == what));
        }
        assert_eq!(
            detached.clone().attach(&message, Some(1)).unwrap_err(),
            Error::UnexpectedContext
        );
        let mut weights = base.clone();
        decoder.commit_delta(&detached.attach(&message, None).unwrap(), &mut weights).unwrap();
        assert!(weights == new);
    }
}

/// The most bytes of a block: a header of 38, the size of parts, and for each part of 1 KiB its length in 3 bytes and the
/// first byte of a block.
const fn longest_block(bytes: usize) -> usize {
    39 + 4 * bytes.div_ceil(1024) + bytes
}

#[test]
fn messages_hold_no_empty_blocks_and_none_beyond_their_bound() {
    let set = huffwire::CodebookSet::builtin().id();
    let units = (1 << 20) + 100;
    let [front, last] = [2 << 20, 200];
    let join = |lengths: [usize; 2]| {
        delta::join_message(Dtype::Bf16, units, set, &lengths.map(|length| vec![7u8; length]))
    };
    let message = join([longest_block(front), longest_block(last)]).unwrap();
    let (header, blocks) = delta::split_message(&message, None).unwrap();
    assert_eq!((u64::from(header.units), blocks.len()), (units, 2));
    for (index, lengths) in [
        (0, [0, 60]),
        (1, [60, 0]),
        (0, [longest_block(front) + 1, 60]),
        (1, [60, longest_block(last) + 1]),
    ] {
        let error = join(lengths).unwrap_err();
        let Error::InBlock { index: found, source } = error else { panic!("{error}") };
        assert_eq!(found, index);
        assert!(matches!(*source, Error::Malformed { .. }), "{source}");
        // The same in the table of a message: behind the header there are 3 lengths and 3 checksums.
        let mut lying = join([60, 60]).unwrap();
        let at = 16 + 4 * (1 + index as usize);
        lying[at..at + 4].copy_from_slice(&(lengths[index as usize] as u32).to_le_bytes());
        for error in [
            delta::Info::read(&lying, None).unwrap_err(),
            delta::split_message(&lying, None).unwrap_err(),
            Decoder::builtin().decode_delta_to_vec(&[], &lying).unwrap_err(),
        ] {
            assert!(matches!(error, Error::Malformed { what: "a message", .. }), "{error}");
        }
    }
    let error = delta::join_message(Dtype::Bf16, units, set, &[vec![7u8; 60]]).unwrap_err();
    assert!(matches!(error, Error::Unexpected { .. }), "{error}");
    for units in [1 << 32, u64::MAX] {
        let error = delta::join_message(Dtype::Bf16, units, set, &[[7u8; 60]]).unwrap_err();
        assert!(matches!(error, Error::TooLarge { found, .. } if found == units), "{error}");
    }
    // A complex number has two units.
    let error = delta::join_message(Dtype::Complex64, 1, set, &[[7u8; 40]]).unwrap_err();
    assert_eq!(error, Error::PartialElement { dtype: Dtype::Complex64, bytes: 4 });
}

#[test]
fn blocks_are_made_and_read_alone() {
    let base = noise(4000, 1);
    let new = changed(Dtype::F32, &base, 50, 0, 2);
    for checksums in [true, false] {
        let options = EncodeOptions::default().checksums(checksums);
        let set = huffwire::CodebookSet::builtin();
        let mut encoder = Encoder::new(set.clone(), options).unwrap();
        let mut bytes = vec![1, 2, 3];
        let tensor = Tensor::new(Dtype::F32, &new);
        let encoded = encoder.encode_delta_block(&base, &tensor, &mut bytes).unwrap();
        assert_eq!((encoded.bytes, encoded.checksum.is_some()), (bytes.len() - 3, checksums));
        let block = huffwire::CodedBlock {
            dtype: Dtype::F32,
            set: set.id(),
            checksum: encoded.checksum,
            bytes: &bytes[3..],
        };
        let mut out = vec![0; 4000];
        let mut decoder = Decoder::builtin();
        let header = decoder.decode_delta_block(&block, &base, &mut out).unwrap();
        assert!(out == new && header == encoded.header);
        out.fill(0x11);
        assert!(decoder.decode_delta_block(&block, &new, &mut out).is_err());
        assert!(out.iter().all(|byte| *byte == 0x11));
        assert!(encoder.encode_delta_block(&base[4..], &tensor, &mut bytes).is_err());
        assert_eq!(bytes.len(), 3 + encoded.bytes);
    }
}

#[test]
fn damaged_deltas_leave_the_base_as_it_was() {
    let base = noise(2 * 3000, 1);
    let mut decoder = Decoder::builtin();
    for every in [1, 3, 100] {
        let new = changed(Dtype::Bf16, &base, every, 1, 2);
        for checksums in [true, false] {
            let options = EncodeOptions::default().checksums(checksums);
            let mut encoder = Encoder::new(huffwire::CodebookSet::builtin(), options).unwrap();
            let message = encoder.encode_delta_to_vec(Dtype::Bf16, &base, &new).unwrap();
            let mut random = Random::new(4);
            for _ in 0..300 {
                let mut damaged = message.clone();
                damaged[random.below(message.len())] ^= 1 << random.below(8);
                if random.below(4) == 0 {
                    damaged.truncate(random.below(message.len()));
                }
                let mut weights = base.clone();
                // A flipped bit may be one that no decoder looks at.
                match decoder.apply_delta(&damaged, &mut weights) {
                    Ok(_) => assert!(weights == new && !checksums),
                    Err(_) => assert!(weights == base),
                }
            }
        }
    }
}
