//! Some bytes of a tensor, decoded from the blocks that hold them.

use std::ops::Range;

use super::*;
use forge::entries_of;

fn range(message: &[u8], range: Range<usize>, room: usize) -> Result<Vec<u8>> {
    let mut out = vec![0x11; room];
    let anything = Expected::anything();
    let decoded = Decoder::builtin().decode_range(message, &anything, range, &mut out);
    assert!(decoded.is_ok() || out.iter().all(|&byte| byte == POISON));
    decoded.map(|_| out)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn any_range_is_that_of_the_tensor(
        dtype in any_dtype(),
        units in 0..5000usize,
        log2 in 10..=20u8,
        checksums in any::<bool>(),
        ends in any::<[prop::sample::Index; 2]>(),
        seed in any::<u64>(),
    ) {
        let bytes = tensor(dtype, units, seed);
        let options = blocks_of(log2).checksums(checksums);
        let message = encoder(options).encode_to_vec(dtype, &bytes).unwrap();
        let [a, b] = ends.map(|end| end.index(bytes.len() + 1));
        let wanted = a.min(b)..a.max(b);
        let found = range(&message, wanted.clone(), wanted.len());
        prop_assert_eq!(found.as_deref(), Ok(&bytes[wanted]));
    }

    #[test]
    fn damage_elsewhere_does_not_disturb_a_range(
        dtype in any_dtype(),
        units in 1500..4000usize,
        ends in any::<[prop::sample::Index; 2]>(),
        place in any::<prop::sample::Index>(),
        change in 1..=255u8,
        seed in any::<u64>(),
    ) {
        let bytes = tensor(dtype, units, seed);
        let mut message = encoder(blocks_of(10)).encode_to_vec(dtype, &bytes).unwrap();
        let entries = entries_of(&message);
        let at = entries[0].start + place.index(message.len() - entries[0].start);
        let damaged = entries.iter().position(|entry| entry.contains(&at)).unwrap();
        message[at] ^= change;
        let [a, b] = ends.map(|end| end.index(bytes.len() + 1));
        let wanted = a.min(b)..a.max(b);
        let size = huffwire::block::block_bytes(dtype, 10);
        let is_hit = !wanted.is_empty()
            && (wanted.start / size..wanted.end.div_ceil(size)).contains(&damaged);
        match range(&message, wanted.clone(), wanted.len()) {
            Ok(found) => prop_assert!(!is_hit && found == bytes[wanted]),
            Err(error) => {
                let (index, error) = inside(error);
                prop_assert!(is_hit && index == damaged as u64);
                let is_checksum = matches!(error, Error::Checksum { .. });
                prop_assert!(is_checksum, "{}", error);
            }
        }
    }
}

#[test]
fn ranges_around_every_edge_of_a_block() {
    let bytes = tensor(Dtype::E3m2Packed, 1000, 1);
    let message = encoder(blocks_of(10)).encode_to_vec(Dtype::E3m2Packed, &bytes).unwrap();
    // Blocks of 1023 bytes.
    let edges = [0, 1, 1022, 1023, 1024, 2045, 2046, 2047, 2999, 3000];
    for start in edges {
        for end in edges.into_iter().filter(|end| *end >= start) {
            let found = range(&message, start..end, end - start).unwrap();
            assert!(found == bytes[start..end], "{start}..{end}");
        }
    }
}

#[test]
fn bytes_that_the_tensor_does_not_have_are_refused() {
    let bytes = tensor(Dtype::Bf16, 1500, 1);
    let message = encoder(blocks_of(10)).encode_to_vec(Dtype::Bf16, &bytes).unwrap();
    for (start, end) in
        [(0, 3001), (3001, 3001), (3000, 3001), (5, 4), (3000, 0), (0, usize::MAX), (usize::MAX, 0)]
    {
        let error = range(&message, start..end, 10).unwrap_err();
        assert!(matches!(error, Error::InvalidOption(_)), "{error}");
        let expected = format!("bytes {start}..{end} of a tensor of 3000");
        assert!(error.to_string().contains(&expected), "{error}");
    }
    for (needed, available) in [(10, 9), (10, 11), (0, 1), (3000, 0)] {
        let error = range(&message, 0..needed, available).unwrap_err();
        assert_eq!(error, Error::OutputLength { needed, available });
    }
    assert_eq!(range(&message, 3000..3000, 0), Ok(vec![]));
}

/// Without checksums, too: a block that is not needed is not looked at.
#[test]
fn blocks_that_are_not_needed_may_be_anything() {
    let bytes = tensor(Dtype::Bf16, 2000, 1);
    let options = blocks_of(10).checksums(false);
    let message = encoder(options).encode_to_vec(Dtype::Bf16, &bytes).unwrap();
    let entries = entries_of(&message);
    for (number, entry) in entries.iter().enumerate() {
        let mut destroyed = message.clone();
        destroyed[entry.clone()].fill(0x77);
        for (other, _) in entries.iter().enumerate() {
            let wanted = other * 1024..((other + 1) * 1024).min(bytes.len());
            match range(&destroyed, wanted.clone(), wanted.len()) {
                Ok(found) => assert!(other != number && found == bytes[wanted]),
                Err(error) => {
                    assert_eq!(other, number);
                    assert_eq!(inside(error).0, number as u64);
                }
            }
        }
    }
}
