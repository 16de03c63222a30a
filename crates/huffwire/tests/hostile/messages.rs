//! Messages: cut, flipped, forged, sent to the wrong receiver.

use super::*;

/// The sample with a field of its header changed, and the header's checksum made good.
fn forged(at: usize, change: &[u8]) -> Vec<u8> {
    let mut message = with(&sample_message(false).0, at, change);
    mend_message(&mut message);
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
    for flags in [2, 4, 8, 15] {
        let error = decode_error(&forged(1, &[0x10 | flags]), size);
        malformed(&error, 1, &["flags that this version does not know"]);
    }
    for dtype in [0, 17, 255] {
        let error = decode_error(&forged(2, &[dtype]), size);
        malformed(&error, 2, &["an unknown element type"]);
    }
    for block_log2 in [0, 9, 21, 64, 255] {
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
            assert_eq!(*held, small_set().id());
            let id = CodebookSet::builtin().id().to_string();
            assert_eq!(*wanted, format!("{}…", &id[..8]));
            says(&error, &["load the sender's set", wanted, &held.to_string()]);
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
    // Two whole blocks, so that a third one would begin at the end.
    let tensor = tensor(1024);
    let message = encoder(false).encode_to_vec(Dtype::Bf16, &tensor).unwrap();
    for units in [1025, 1536, 5000, u32::MAX / 2, u32::MAX - 1, u32::MAX] {
        let mut forged = with(&message, 8, &units.to_le_bytes());
        mend_message(&mut forged);
        let error = Decoder::builtin().decode_to_vec(&forged).unwrap_err();
        if 2 * u64::from(units) > isize::MAX as u64 {
            // Where a usize has 32 bits, no memory could hold it.
            assert!(matches!(error, Error::TooLarge { .. }), "{error}");
            continue;
        }
        let (what, offset, needed, available) = ("a message", message.len(), 4, 0);
        assert_eq!(error, Error::Truncated { what, offset, needed, available });
        let needed = Header::read(&forged).unwrap().raw_bytes().unwrap();
        let available = tensor.len();
        let error = decode_error(&forged, available);
        assert_eq!(error, Error::OutputLength { needed, available });
    }
}

#[test]
fn fewer_units_than_the_message_holds_are_refused() {
    for units in [0, 1, 512, 1024, 1199] {
        let forged = forged(8, &u32::to_le_bytes(units));
        assert!(Decoder::builtin().decode_to_vec(&forged).is_err(), "{units}");
    }
}

#[test]
fn lying_block_lengths_are_refused() {
    let (message, tensor) = sample_message(false);
    let at = message::HEADER_BYTES;
    let length = u32::from_le_bytes(message[at..at + 4].try_into().unwrap());
    for lie in [0, 1, length - 1, length + 1, message.len() as u32, u32::MAX - 1, u32::MAX] {
        let forged = with(&message, at, &lie.to_le_bytes());
        let error = decode_error(&forged, tensor.len());
        assert_eq!(Decoder::builtin().decode_to_vec(&forged), Err(error.clone()));
        if lie < message.len() as u32 {
            assert_eq!(inside(error).0, 0, "{lie}");
            continue;
        }
        let Error::Malformed { what: "a message", offset, detail } = error else {
            panic!("{lie}: {error}")
        };
        assert_eq!((offset, &*detail), (at + 4, "a block larger than blocks can be"));
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
