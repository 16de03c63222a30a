//! How long a message can become: a buffer of exactly so many bytes is enough.

use super::*;
use huffwire::message;

/// Encodes into a buffer of exactly the bound; returns the message's length.
#[track_caller]
fn check(encoder: &mut Encoder, dtype: Dtype, bytes: &[u8]) -> usize {
    let units = bytes.len() / dtype.unit_bytes();
    let bound = encoder.bound(dtype, units);
    assert_eq!(bound, message::bound(dtype, units, encoder.options().block_log2));
    let mut out = vec![0x33; bound];
    let length = encoder.encode(dtype, bytes, &mut out).unwrap();
    assert!(out[..length] == encoder.encode_to_vec(dtype, bytes).unwrap());
    let (_, decoded) = Decoder::builtin().decode_to_vec(&out[..length]).unwrap();
    assert!(decoded == bytes, "{dtype}");
    if bound > 0 {
        let result = encoder.encode(dtype, bytes, &mut out[..bound - 1]);
        let expected = Error::OutputTooSmall { needed: bound, available: bound - 1 };
        assert_eq!(result, Err(expected));
    }
    length
}

#[test]
fn noise_of_every_type_fits_exactly() {
    for dtype in Dtype::all() {
        for log2 in [10, 13] {
            let per_block = huffwire::block::block_bytes(dtype, log2) / dtype.unit_bytes();
            for units in [0, 2, per_block, 2 * per_block, 3 * per_block - 2, 3 * per_block + 2] {
                for checksums in [true, false] {
                    let mut encoder = encoder(blocks_of(log2).checksums(checksums));
                    let bytes = noise(whole(dtype, units) * dtype.unit_bytes(), units as u64);
                    let length = check(&mut encoder, dtype, &bytes);
                    if dtype == Dtype::U8 {
                        // Nothing of it can be coded: the bound is reached.
                        let checks = if checksums { 0 } else { 4 * units.div_ceil(per_block) };
                        assert_eq!(length + checks, encoder.bound(dtype, units));
                    }
                }
            }
        }
    }
}

#[test]
fn the_largest_blocks_of_noise_fit_exactly() {
    for (dtype, log2) in [(Dtype::Bf16, 17), (Dtype::U8, 20), (Dtype::E3m2Packed, 20)] {
        let bytes = noise((3 << 18) / 3 * dtype.unit_bytes() + 5 * dtype.unit_bytes(), 1);
        check(&mut encoder(blocks_of(log2)), dtype, &bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn any_tensor_fits_exactly(
        dtype in any_dtype(),
        log2 in 10..=20u8,
        checksums in any::<bool>(),
        units in 0..5000usize,
        noisy in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut encoder = encoder(blocks_of(log2).checksums(checksums));
        let units = whole(dtype, units);
        let bytes = match noisy {
            true => noise(units * dtype.unit_bytes(), seed),
            false => tensor(dtype, units, seed),
        };
        check(&mut encoder, dtype, &bytes);
    }
}

/// Threads write a block where it belongs, or to a buffer first; the last has the least room.
#[cfg(feature = "rayon")]
#[test]
fn noise_fits_exactly_on_several_threads() {
    use huffwire::Threads;
    use std::sync::Arc;

    for threads in [2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let pool = Arc::new(pool);
        for (dtype, log2) in [
            (Dtype::U8, 10),
            (Dtype::Bf16, 14),
            (Dtype::E2m3Packed, 17),
            (Dtype::Complex128, 17),
            (Dtype::U8, 20),
        ] {
            let unit = dtype.unit_bytes();
            for units in [(1 << 20) / unit + 2, (3 << 20) / unit, (3 << 20) / unit + 6] {
                let threads = Threads::Pool(Arc::clone(&pool));
                let mut encoder = encoder(blocks_of(log2)).with_threads(threads);
                let noise = noise(whole(dtype, units) * unit, units as u64);
                check(&mut encoder, dtype, &noise);
                // All but the last block can be coded.
                let mut bytes = noise;
                let coded = bytes.len() - bytes.len().min((1 << log2) / 2);
                bytes[..coded].fill(0);
                check(&mut encoder, dtype, &bytes);
            }
        }
    }
}
