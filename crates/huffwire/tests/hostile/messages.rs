//! Messages: cut, flipped, forged, sent to the wrong receiver.

use super::*;
use huffwire::{MessageReader, StreamError};

/// The sample with a field of its header changed, and the header's checksum made good.
fn forged(at: usize, change: &[u8]) -> Vec<u8> {
    let mut message = with(&sample_message(false).0, at, change);
    mend_message(&mut message, None);
    message
}

#[test]
fn cut_anywhere_is_an_error() {
    for checksums in [true, false] {
        let (message, tensor) = sample_message(checksums);
        assert_eq!(decode(&message, tensor.len()).as_ref(), Ok(&tensor));
        for cut in 0..message.len() {
            let error = decode_error(&message[..cut], tensor.len());
            let Error::Truncated { offset, available, .. } = error else {
                panic!("cut at {cut}: {error}");
            };
            assert_eq!(offset + available, cut);
            says(&error, &["a message ends early", "are needed at offset"]);
            let in_vector = Decoder::builtin().decode_to_vec(&message[..cut]);
            assert!(matches!(in_vector, Err(Error::Truncated { .. })));
        }
    }
}

#[test]
fn every_flipped_bit_is_found_by_the_checksums() {
    let (message, tensor) = sample_message(true);
    for bit in 0..8 * message.len() {
        decode_error(&flipped(&message, bit), tensor.len());
    }
}

#[test]
fn flipped_bits_without_checksums_never_panic_and_an_error_leaves_only_poison() {
    let (message, tensor) = sample_message(false);
    let errors = (0..8 * message.len())
        .filter(|&bit| decode(&flipped(&message, bit), tensor.len()).is_err())
        .count();
    assert!(errors > 8 * message::HEADER_BYTES, "{errors} errors");
}

#[test]
fn a_flipped_bit_in_a_block_is_reported_with_the_number_of_the_block() {
    let (message, tensor) = sample_message(true);
    let error = decode_error(&flipped(&message, 8 * message.len() - 3), tensor.len());
    says(&error, &["block 2: a block is damaged", "fetch or copy it again"]);
    let (index, error) = inside(error);
    assert_eq!(index, 2);
    assert!(matches!(error, Error::Checksum { what: "a block", stored, computed }
        if stored != computed));
}

#[test]
fn a_damaged_header_is_told_from_a_damaged_block() {
    let (message, tensor) = sample_message(true);
    let error = decode_error(&flipped(&message, 8 * 9), tensor.len());
    assert!(matches!(error, Error::Checksum { .. }));
    says(&error, &["the header of a message is damaged"]);
}

#[test]
fn what_does_not_begin_as_a_message_is_refused() {
    let (message, tensor) = sample_message(true);
    let error = decode_error(&with(&message, 0, b"h"), tensor.len());
    malformed(&error, 0, &["a message", "does not begin as a message does"]);
}

#[test]
fn an_unknown_version_asks_for_a_newer_library() {
    let (message, tensor) = sample_message(true);
    for version in [0, 2, 15] {
        let error = decode_error(&with(&message, 1, &[version << 4 | 1]), tensor.len());
        let (found, supported) = (u32::from(version), 1);
        let what = "a message";
        assert_eq!(error, Error::UnknownVersion { what, found, supported });
        says(&error, &["a newer huffwire is needed"]);
    }
}

#[test]
fn unknown_flags_element_types_and_block_sizes_are_refused() {
    let size = sample_message(false).1.len();
    for flags in [4, 8, 12] {
        let error = decode_error(&forged(1, &[0x10 | flags]), size);
        malformed(&error, 1, &["flags that this version does not know"]);
    }
    for dtype in [0, 30, 255] {
        let error = decode_error(&forged(2, &[dtype]), size);
        malformed(&error, 2, &["an unknown element type"]);
    }
    for block_log2 in [0, 9, 21, 31] {
        let error = decode_error(&forged(3, &[block_log2]), size);
        malformed(&error, 3, &["a block size outside 1 KiB to 1 MiB"]);
    }
}

#[test]
fn another_codebook_set_is_refused_with_and_without_checksums() {
    for checksums in [true, false] {
        let (message, tensor) = sample_message(checksums);
        let mut out = vec![0x11; tensor.len()];
        let mut decoder = Decoder::new(small_set());
        for error in [
            decoder.decode(&message, &mut out).unwrap_err(),
            decoder.decode_to_vec(&message).unwrap_err(),
        ] {
            let Error::SetMismatch { wanted, held } = &error else {
                panic!("{error}");
            };
            assert_eq!(*held, [small_set().id()]);
            let id = CodebookSet::builtin().id().to_string();
            assert_eq!(*wanted, format!("{}…", &id[..8]));
            says(&error, &["load the sender's set", wanted, &held[0].to_string()]);
        }
        assert!(out.iter().all(|&byte| byte == POISON));
    }
}

#[test]
fn bytes_behind_the_last_block_are_refused() {
    for checksums in [true, false] {
        let (mut message, tensor) = sample_message(checksums);
        let end = message.len();
        message.extend_from_slice(&[0; 3]);
        let error = decode_error(&message, tensor.len());
        malformed(&error, end, &["a message", "3 bytes too many"]);
    }
}

#[test]
fn a_buffer_of_another_size_is_refused() {
    let (message, tensor) = sample_message(true);
    let needed = tensor.len();
    for available in [0, 1, needed - 2, needed - 1, needed + 1, 2 * needed] {
        let error = decode_error(&message, available);
        assert_eq!(error, Error::OutputLength { needed, available });
        says(&error, &[&format!("pass exactly {needed}")]);
    }
}

#[test]
fn more_units_than_the_message_holds_are_refused() {
    let tensor = tensor(1024);
    for checksums in [true, false] {
        let message = encoder(checksums).encode_to_vec(Dtype::Bf16, &tensor).unwrap();
        for units in [1025, 1536, 5000, u32::MAX / 2, u32::MAX - 1, u32::MAX] {
            let mut forged = with(&message, 8, &units.to_le_bytes());
            mend_message(&mut forged, None);
            let error = Decoder::builtin().decode_to_vec(&forged).unwrap_err();
            if 2 * u64::from(units) > isize::MAX as u64 {
                // Where a usize has 32 bits, no memory could hold it.
                let known = matches!(error, Error::TooLarge { .. } | Error::Truncated { .. });
                assert!(known, "{error}");
                continue;
            }
            let known = matches!(error, Error::Malformed { .. } | Error::Truncated { .. });
            assert!(known, "{units}: {error}");
            says(&error, &["a message"]);
            assert_eq!(decode_error(&forged, tensor.len()), error);
            let needed = Header::read(&forged, None).unwrap().raw_bytes().unwrap();
            assert_eq!(needed, 2 * units as usize);
        }
    }
}

#[test]
fn fewer_units_than_the_message_holds_are_refused() {
    for units in [0, 1, 512, 1024, 1199] {
        let forged = forged(8, &u32::to_le_bytes(units));
        assert!(Decoder::builtin().decode_to_vec(&forged).is_err(), "{units}");
    }
}

/// What all ways to read a message say of one that they must refuse.
#[track_caller]
fn error_of_every_way(message: &[u8], size: usize) -> Error {
    let error = decode_error(message, size);
    let anything = Expected::anything();
    assert_eq!(Decoder::builtin().decode_to_vec(message), Err(error.clone()));
    let mut out = vec![0x11; size];
    let range = Decoder::builtin().decode_range(message, &anything, 0..size, &mut out);
    assert_eq!(range, Err(error.clone()));
    assert!(out.iter().all(|&byte| byte == POISON));
    error
}

#[test]
fn lengths_that_no_block_has_are_refused() {
    // Blocks of 1024, 1024 and 352 bytes of elements.
    for checksums in [true, false] {
        let (message, tensor) = sample_message(checksums);
        for (block, longest) in [(0, 1025), (1, 1025), (2, 353)] {
            let at = message::HEADER_BYTES + 4 * block;
            for lie in [0, longest + 1, 1 << 31, u32::MAX] {
                let forged = with(&message, at, &lie.to_le_bytes());
                let error = error_of_every_way(&forged, tensor.len());
                let what = format!("block {block} of {lie} bytes");
                let why = if lie == 0 { "an empty block" } else { "larger than blocks can be" };
                malformed(&error, at, &["a message", &what, why]);
            }
        }
    }
}

#[test]
fn lengths_that_are_not_those_of_the_blocks_are_refused() {
    for checksums in [true, false] {
        let (message, tensor) = sample_message(checksums);
        let entries = entries_of(&message);
        let table = message::HEADER_BYTES;
        let set = |message: &mut [u8], block: usize, length: usize| {
            let length = (length as u32).to_le_bytes();
            message[table + 4 * block..][..4].copy_from_slice(&length);
        };
        // The last block is verbatim, and could not be longer.
        for (block, entry) in entries[..2].iter().enumerate() {
            // More or fewer bytes than there are.
            let mut longer = message.clone();
            set(&mut longer, block, entry.len() + 1);
            let error = error_of_every_way(&longer, tensor.len());
            assert!(matches!(error, Error::Truncated { what: "a message", .. }), "{error}");
            let mut shorter = message.clone();
            set(&mut shorter, block, entry.len() - 1);
            let error = error_of_every_way(&shorter, tensor.len());
            malformed(&error, message.len() - 1, &["a message", "1 bytes too many"]);
        }
        // The sum is right, and the cut between two blocks is not where it should be.
        for (change, block) in [(-30, 0), (-1, 0), (1, 0), (30, 0)] {
            let mut moved = message.clone();
            set(&mut moved, block, entries[block].len().wrapping_add_signed(change));
            set(&mut moved, block + 1, entries[block + 1].len().wrapping_add_signed(-change));
            let error = error_of_every_way(&moved, tensor.len());
            let (index, error) = inside(error);
            assert_eq!(index, block as u64);
            assert_eq!(matches!(error, Error::Checksum { .. }), checksums, "{error}");
            // Also with checksums made for these lengths.
            mend_message(&mut moved, None);
            assert_eq!(inside(error_of_every_way(&moved, tensor.len())).0, block as u64);
        }
    }
}

/// A sum of lengths is computed in 64 bits, and compared with what is there.
#[test]
#[cfg(target_pointer_width = "64")]
fn lengths_whose_sum_is_vast_are_refused() {
    let options = EncodeOptions::default().checksums(false).block_log2(20);
    let mut encoder = Encoder::new(CodebookSet::builtin(), options).unwrap();
    let head = encoder.encode_to_vec(Dtype::U8, &[]).unwrap();
    let longest = (1u32 << 20) + 1;
    let blocks = 4095u32;
    let mut message = with(&head, 8, &(blocks << 20).to_le_bytes());
    mend_message(&mut message, None);
    message.extend(std::iter::repeat_n(longest.to_le_bytes(), blocks as usize).flatten());
    let at = message.len();
    message.extend_from_slice(&[0; 100]);
    let error = Decoder::builtin().decode_to_vec(&message).unwrap_err();
    let needed = longest as usize * blocks as usize;
    let expected = Error::Truncated { what: "a message", offset: at, needed, available: 100 };
    assert_eq!(error, expected);
}

#[test]
fn unknown_kinds_are_refused_by_number() {
    let size = sample_message(false).1.len();
    for kind in 3..8u8 {
        let error = decode_error(&forged(3, &[kind << 5 | 10]), size);
        assert_eq!(error, Error::UnknownKind { number: kind, name: "unknown" });
        says(&error, &[&format!("kind {kind} (unknown)"), "a newer huffwire"]);
        assert_eq!(Kind::from_number(kind), Err(error));
    }
}

/// A message of this kind: a kind header of a byte in front of the blocks.
fn of_kind(kind: Kind) -> Vec<u8> {
    let (message, _) = sample_message(true);
    let mut entries: Vec<Vec<u8>> =
        entries_of(&message).into_iter().map(|entry| message[entry].to_vec()).collect();
    entries.insert(0, vec![1]);
    let head = with(&message, 3, &[kind.number() << 5 | 20]);
    // Blocks of other kinds count values: all 1200 are in one.
    message_of(&head, None, &entries[..2])
}

#[test]
fn kinds_that_a_decoder_of_tensors_does_not_read_are_refused_by_name() {
    let anything = Expected::anything();
    for (kind, name) in [(Kind::Values, "quantized values"), (Kind::Delta, "delta")] {
        let message = of_kind(kind);
        let (number, size) = (kind.number(), sample_message(true).1.len());
        let expected = Error::UnknownKind { number, name };
        assert_eq!(Header::read(&message, None).map(|header| header.kind), Ok(kind));
        assert_eq!(error_of_every_way(&message, size), expected);
        says(&expected, &[&format!("kind {number} ({name})")]);
        let mut reader = MessageReader::new(&message[..], Decoder::builtin());
        let mut out = vec![0x11; size];
        match reader.read_expected(&anything, &mut out) {
            Err(StreamError::Message(error)) => assert_eq!(error, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_odd_number_of_parts_of_complex_numbers_is_refused() {
    for dtype in [Dtype::Complex32, Dtype::Complex64, Dtype::Complex128] {
        let bytes = tensor(1200);
        let mut message = encoder(true).encode_to_vec(dtype, &bytes).unwrap();
        let units = (bytes.len() / dtype.unit_bytes()) as u32;
        message[8..12].copy_from_slice(&(units - 1).to_le_bytes());
        mend_message(&mut message, None);
        let error = decode_error(&message, bytes.len());
        malformed(&error, 8, &["an odd number of units", dtype.name()]);
        assert_eq!(Header::read(&message, None), Err(error));
    }
}

#[test]
fn a_decoder_is_as_good_as_new_after_an_error() {
    let (message, tensor) = sample_message(false);
    let mut decoder = Decoder::builtin();
    for bit in (0..8 * message.len()).step_by(41) {
        let mut out = vec![0; tensor.len()];
        let _ = decoder.decode(&flipped(&message, bit), &mut out);
        let (_, decoded) = decoder.decode_to_vec(&message).unwrap();
        assert!(decoded == tensor, "after flipping bit {bit}");
    }
}
