//! Messages on several threads: the same bytes, the same elements, the same errors as on one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic says what does not hold.
#![cfg(feature = "rayon")]

mod forge;

use std::sync::{Arc, LazyLock};

use forge::{entries_of, mend_message, message_of, whole};
use huffwire::{
    Choice, CodebookSet, Decoder, Dtype, EncodeOptions, Encoder, Error, Level, POISON, SymbolRule,
    Threads, message,
};
use huffwire_testing::Random;
use proptest::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Messages of fewer bytes of elements stay on the calling thread.
const SHARED_BYTES: usize = 1 << 20;

fn pool(threads: usize) -> Arc<ThreadPool> {
    Arc::new(ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
}

static POOLS: LazyLock<[Arc<ThreadPool>; 4]> = LazyLock::new(|| [1, 2, 3, 8].map(pool));

fn all_threads() -> impl Iterator<Item = Threads> {
    let pools = POOLS.iter().map(|pool| Threads::Pool(Arc::clone(pool)));
    [Threads::One, Threads::Current].into_iter().chain(pools)
}

/// Sections of noise, of zeros, of one value, and of values as tensors have them, so that blocks differ in size
/// and in the time they take.
fn tensor(dtype: Dtype, bytes: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let unit = dtype.unit_bytes();
    let mut tensor = Vec::with_capacity(bytes + unit);
    while tensor.len() < bytes {
        let kind = random.bits() % 5;
        for _ in 0..1 + random.bits() % 40_000 {
            let noise = random.bits();
            let ordinary = noise & 0x80ff >> 1 | (0x3c00 - u64::from(noise.trailing_zeros()) * 128);
            let value = [noise, 0, 0x3c3c_3c3c, ordinary, ordinary << 16 | noise >> 48];
            tensor.extend_from_slice(&value[kind as usize].to_le_bytes()[..unit]);
        }
    }
    tensor.truncate(whole(dtype, bytes / unit) * unit);
    tensor
}

fn encoder(options: EncodeOptions, threads: &Threads) -> Encoder {
    Encoder::new(CodebookSet::builtin(), options).unwrap().with_threads(threads.clone())
}

fn decoder(threads: &Threads) -> Decoder {
    Decoder::builtin().with_threads(threads.clone())
}

/// Encodes and decodes on every number of threads; returns the message.
#[track_caller]
fn check(options: EncodeOptions, dtype: Dtype, tensor: &[u8]) -> Vec<u8> {
    let expected = encoder(options, &Threads::One).encode_to_vec(dtype, tensor).unwrap();
    for threads in all_threads() {
        let message = encoder(options, &threads).encode_to_vec(dtype, tensor).unwrap();
        assert!(message == expected, "{dtype} {options:?} {threads:?}");
        let mut out = vec![0x55; tensor.len()];
        decoder(&threads).decode(&message, &mut out).unwrap();
        assert!(out == tensor, "{dtype} {options:?} {threads:?}");
        let (_, vector) = decoder(&threads).decode_to_vec(&message).unwrap();
        assert!(vector == tensor, "{dtype} {options:?} {threads:?}");
    }
    expected
}

/// Decodes on every number of threads; returns the error, which is the same for all.
#[track_caller]
fn check_error(message: &[u8], bytes: usize) -> Error {
    let expected = Decoder::builtin().decode(message, &mut vec![0; bytes]).unwrap_err();
    for threads in all_threads() {
        let mut decoder = decoder(&threads);
        let mut out = vec![0x55; bytes];
        assert_eq!(decoder.decode(message, &mut out).as_ref(), Err(&expected), "{threads:?}");
        assert!(out.iter().all(|&byte| byte == POISON), "{threads:?}");
        assert_eq!(decoder.decode_to_vec(message).as_ref(), Err(&expected), "{threads:?}");
    }
    expected
}

#[test]
fn sizes_around_every_threshold() {
    let options = EncodeOptions::default();
    let block = 1 << options.block_log2;
    for blocks in [1, 7, 8, 9, 16, 17, 33] {
        for bytes in [blocks * block - 2, blocks * block, blocks * block + 2] {
            check(options, Dtype::Bf16, &tensor(Dtype::Bf16, bytes, 1));
        }
    }
}

#[test]
fn every_element_type() {
    for dtype in Dtype::all() {
        check(EncodeOptions::default(), dtype, &tensor(dtype, 5 << 18, 2));
    }
}

#[test]
fn the_smallest_and_the_largest_blocks() {
    for block_log2 in [10, 20] {
        let options = EncodeOptions::default().block_log2(block_log2);
        check(options, Dtype::Bf16, &tensor(Dtype::Bf16, (7 << 20) + 100, 3));
    }
}

/// An encoder and a decoder go from small to large messages and back, from many threads to few.
#[test]
fn used_ones_are_as_good_as_new() {
    let mut used = (Encoder::builtin(), Decoder::builtin());
    for round in 0..3 {
        for threads in all_threads() {
            used.0.set_threads(threads.clone());
            used.1.set_threads(threads);
            for bytes in [100, 3 << 20, SHARED_BYTES, SHARED_BYTES - 2, 2 << 20] {
                let tensor = tensor(Dtype::Bf16, bytes, round);
                let fresh = Encoder::builtin().encode_to_vec(Dtype::Bf16, &tensor).unwrap();
                assert!(used.0.encode_to_vec(Dtype::Bf16, &tensor).unwrap() == fresh);
                // What went wrong before is forgotten.
                assert!(used.1.decode_to_vec(&fresh[..fresh.len() - 1]).is_err());
                assert!(used.1.decode_to_vec(&fresh).unwrap().1 == tensor);
            }
        }
    }
}

#[test]
fn damage_gives_the_same_error_whichever_block_it_is_in() {
    for checksums in [true, false] {
        let options = EncodeOptions::default().checksums(checksums).block_log2(15);
        let tensor = tensor(Dtype::Bf16, 36 << 15, 4);
        let message = check(options, Dtype::Bf16, &tensor);
        for (index, block) in entries_of(&message).into_iter().enumerate() {
            let mut damaged = message.clone();
            // The layout.
            damaged[block.start] = 0x77;
            let Error::InBlock { index: found, source } = check_error(&damaged, tensor.len())
            else {
                panic!("block {index}");
            };
            assert_eq!(found, index as u64);
            assert_eq!(matches!(*source, Error::Checksum { .. }), checksums, "{source}");
            // A length beyond what blocks can have.
            let mut damaged = message.clone();
            let at = message::HEADER_BYTES + 4 * index;
            damaged[at + 2] = 0x77;
            let error = check_error(&damaged, tensor.len());
            assert!(matches!(error, Error::Malformed { offset, .. } if offset == at), "{error}");
        }
    }
}

/// Exchanged blocks are sound, and only their checksums tell that they are in each other's places.
#[test]
fn exchanged_blocks_give_the_same_error() {
    let tensor = tensor(Dtype::F32, 3 << 20, 10);
    let message = check(EncodeOptions::default(), Dtype::F32, &tensor);
    let entries = entries_of(&message);
    let mut blocks: Vec<Vec<u8>> = entries.into_iter().map(|entry| message[entry].into()).collect();
    for (first, second) in [(0, 1), (5, 20), (22, 23)] {
        blocks.swap(first, second);
        let mut exchanged = message_of(&message, None, &blocks);
        blocks.swap(first, second);
        // With the checksums that the blocks had where they came from.
        let table = message::HEADER_BYTES + 4 * blocks.len();
        exchanged[table..][..4 * blocks.len()]
            .copy_from_slice(&message[table..][..4 * blocks.len()]);
        let of = |number: usize| table + 4 * number..table + 4 * number + 4;
        exchanged[of(first)].copy_from_slice(&message[of(second)]);
        exchanged[of(second)].copy_from_slice(&message[of(first)]);
        let error = check_error(&exchanged, tensor.len());
        let Error::InBlock { index, source } = error else { panic!("{error}") };
        assert!(matches!(*source, Error::Checksum { .. }), "{source}");
        assert_eq!(index, first as u64);
    }
}

/// A header that says something else about sound blocks: the checksums of blocks are good, what they hold is not.
#[test]
fn a_forged_header_gives_the_same_error() {
    let tensor = tensor(Dtype::Bf16, 3 << 20, 11);
    let message = check(EncodeOptions::default(), Dtype::Bf16, &tensor);
    for dtype in [Dtype::F16, Dtype::I16] {
        let mut forged = message.clone();
        forged[2] = dtype.number();
        mend_message(&mut forged, None);
        let error = check_error(&forged, tensor.len());
        assert!(matches!(error, Error::InBlock { .. }), "{error}");
    }
}

#[test]
fn of_several_damaged_blocks_the_first_is_reported() {
    let tensor = tensor(Dtype::Bf16, 3 << 20, 5);
    let message = check(EncodeOptions::default(), Dtype::Bf16, &tensor);
    let blocks = entries_of(&message);
    for first in 0..blocks.len() {
        let mut damaged = message.clone();
        for block in &blocks[first..] {
            damaged[block.start] ^= 0x40;
        }
        let error = check_error(&damaged, tensor.len());
        assert!(matches!(error, Error::InBlock { index, .. } if index == first as u64), "{error}");
    }
}

#[test]
fn cut_and_extended_messages() {
    let tensor = tensor(Dtype::Bf16, 5 << 18, 6);
    let message = check(EncodeOptions::default(), Dtype::Bf16, &tensor);
    for block in entries_of(&message) {
        for cut in [block.start, block.start + 1, block.end - 1] {
            let error = check_error(&message[..cut], tensor.len());
            assert!(matches!(error, Error::Truncated { .. }), "{error}");
        }
    }
    let extended = [&message[..], &[0]].concat();
    let error = check_error(&extended, tensor.len());
    assert!(matches!(error, Error::Malformed { offset, .. } if offset == message.len()), "{error}");
}

/// Every thread of a pool waits for messages that all of them code.
#[test]
fn within_a_pool_nobody_waits_for_ever() {
    use rayon::prelude::*;

    let tensor = tensor(Dtype::Bf16, 2 << 20, 8);
    let expected = Encoder::builtin().encode_to_vec(Dtype::Bf16, &tensor).unwrap();
    for pool in POOLS.iter() {
        for threads in [Threads::Current, Threads::Pool(Arc::clone(pool))] {
            pool.install(|| {
                (0..20).into_par_iter().for_each(|_| {
                    let mut encoder = encoder(EncodeOptions::default(), &threads);
                    let message = encoder.encode_to_vec(Dtype::Bf16, &tensor).unwrap();
                    assert!(message == expected);
                    let (_, decoded) = decoder(&threads).decode_to_vec(&message).unwrap();
                    assert!(decoded == tensor);
                });
            });
        }
    }
}

fn any_options() -> impl Strategy<Value = EncodeOptions> {
    let rules = [SymbolRule::Auto, SymbolRule::Bytes, SymbolRule::BytePlanes];
    let choices = [Choice::Cheapest, Choice::Sample, Choice::Named];
    (0..3usize, any::<bool>(), 0..3usize, any::<bool>(), 12..=19u8).prop_map(
        move |(rule, max, choice, checksums, block_log2)| {
            EncodeOptions::default()
                .rule(rules[rule])
                .level(if max { Level::Max } else { Level::Fast })
                .choice(choices[choice])
                .checksums(checksums)
                .block_log2(block_log2)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn any_tensor_under_any_options(
        dtype in prop::sample::select(Dtype::all().collect::<Vec<_>>()),
        options in any_options(),
        bytes in SHARED_BYTES - 100..2 * SHARED_BYTES,
        seed in any::<u64>(),
    ) {
        check(options, dtype, &tensor(dtype, bytes, seed));
    }

    #[test]
    fn any_damage(
        options in any_options(),
        bytes in SHARED_BYTES..2 * SHARED_BYTES,
        places in prop::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..4),
    ) {
        let tensor = tensor(Dtype::Bf16, bytes, 9);
        let mut encoder = encoder(options, &Threads::One);
        let message = encoder.encode_to_vec(Dtype::Bf16, &tensor).unwrap();
        let mut damaged = message.clone();
        for (place, change) in places {
            damaged[place.index(message.len())] ^= change;
        }
        // Without checksums, damage may as well decode to something else.
        if Decoder::builtin().decode_to_vec(&damaged).is_err() {
            check_error(&damaged, tensor.len());
        }
    }
}
