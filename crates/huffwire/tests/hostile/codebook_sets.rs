//! Codebooks and sets of them, serialized and as JSON.

use super::*;

/// The small set without its checksum, changed by `change`, with a new checksum.
fn forged(change: impl FnOnce(&mut Vec<u8>)) -> Result<CodebookSet> {
    let mut bytes = small_set().to_bytes();
    bytes.truncate(bytes.len() - 4);
    change(&mut bytes);
    let check = crc32c(&bytes);
    bytes.extend_from_slice(&check.to_le_bytes());
    CodebookSet::from_bytes(&bytes)
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Vec<u8>)) -> Error {
    forged(change).expect_err("this set must be refused")
}

/// Magic, version, the name "small" with its length: then comes the number of books.
const BOOKS: usize = 8 + 1 + 1 + 5;

fn bindings_at() -> usize {
    let size = |book: &huffwire::Codebook| {
        let mut bytes = Vec::new();
        book.lengths().write(&mut bytes);
        bytes.len()
    };
    BOOKS + 1 + small_set().books().iter().map(size).sum::<usize>()
}

#[test]
fn cut_anywhere_is_an_error() {
    let bytes = small_set().to_bytes();
    assert_eq!(CodebookSet::from_bytes(&bytes).as_ref(), Ok(&*small_set()));
    for cut in 0..bytes.len() {
        let error = CodebookSet::from_bytes(&bytes[..cut]).unwrap_err();
        says(&error, &["a codebook set"]);
    }
    // With a checksum that fits it is still too short.
    let end = bytes.len() - 4;
    for cut in 9..end {
        refused(|bytes| bytes.truncate(cut));
    }
}

#[test]
fn every_flipped_bit_is_found() {
    for set in [small_set(), CodebookSet::builtin()] {
        let bytes = set.to_bytes();
        for bit in (0..8 * bytes.len()).step_by(1 + bytes.len() / 400) {
            let error = CodebookSet::from_bytes(&flipped(&bytes, bit));
            assert!(error.is_err(), "bit {bit}");
        }
    }
}

#[test]
fn flipped_bits_under_a_good_checksum_never_panic_and_never_keep_the_id() {
    let bits = 8 * (small_set().to_bytes().len() - 4);
    for bit in 0..bits {
        let changed = forged(|bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let in_books = (BOOKS..bindings_at()).contains(&(bit / 8));
        if let (Ok(changed), true) = (changed, in_books) {
            assert_ne!(changed.id(), small_set().id(), "bit {bit}");
        }
    }
}

#[test]
fn what_does_not_begin_as_a_set_is_refused() {
    malformed(
        &refused(|bytes| bytes[0] = b'h'),
        0,
        &["a codebook set", "it does not begin as a codebook set does"],
    );
}

#[test]
fn an_unknown_version_asks_for_a_newer_library() {
    let (what, found, supported) = ("a codebook set", 2, 1);
    let expected = Error::UnknownVersion { what, found, supported };
    assert_eq!(refused(|bytes| bytes[8] = 2), expected);
}

#[test]
fn lying_lengths_and_counts_are_refused() {
    refused(|bytes| bytes[9] = 0x7f); // Length of the name.
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    for at in [9, bindings_at(), bindings_at() + 1] {
        let error = refused(|bytes| {
            bytes.splice(at..=at, huge);
        });
        let known = matches!(error, Error::Malformed { .. } | Error::Truncated { .. });
        assert!(known, "{error}");
        says(&error, &["a codebook set"]);
    }
    for books in [0, 1, 3, 192, 193, 255] {
        refused(|bytes| bytes[BOOKS] = books);
    }
}

#[test]
fn more_books_than_a_set_may_hold_are_refused() {
    let mut builder = SetBuilder::new("full");
    // Distinct complete codes: which symbol has the only short code.
    let lengths = |short: usize| {
        let mut ordinary = [0; 256];
        ordinary[short] = 1;
        let alphabet = Alphabet::Plain { width: 8 };
        Lengths::new(alphabet, CodeLimit::Bits8, &ordinary, 1, 0).unwrap()
    };
    for number in 0..192 {
        assert_eq!(builder.add(lengths(number)), Ok(number as u8));
    }
    let error = builder.add(lengths(192)).unwrap_err();
    assert!(matches!(&error, Error::InvalidCodebook(detail) if detail.contains("192")), "{error}");
}

#[test]
fn the_same_book_twice_is_refused() {
    let mut book = Vec::new();
    small_set().books()[1].lengths().write(&mut book);
    let error = refused(|bytes| {
        bytes[BOOKS] = 3;
        let end = bindings_at();
        bytes.splice(end..end, book);
    });
    says(&error, &["malformed", "the same codebook twice"]);
}

#[test]
fn bindings_to_what_is_not_there_are_refused() {
    // The second binding: pattern "*", element, layout, plane, one book.
    let at = bindings_at() + 1 + 7 + 2;
    let dtype = Dtype::U8.number();
    forged(|bytes| assert_eq!(bytes[at..at + 5], [dtype, 4, 0, 1, 1])).unwrap();
    for (offset, value, words) in [
        (0, 30, "an unknown element type"),
        (1, 0, "an unknown layout"),
        (1, 7, "an unknown layout"),
        (1, Layout::Exponent.number(), "another alphabet"),
        (2, 1, "another alphabet"),
        (2, 8, "without a plane"),
        (4, 0, "another alphabet"),
        (4, 2, "codebook number 2"),
        (4, 255, "codebook number 255"),
    ] {
        let error = refused(|bytes| bytes[at + offset] = value);
        says(&error, &[words]);
    }
    let error = refused(|bytes| {
        bytes[at + 3] = 0;
        bytes.pop();
    });
    says(&error, &["a binding without a book"]);
}

#[test]
fn bytes_behind_the_last_binding_are_refused() {
    says(&refused(|bytes| bytes.push(0)), &["1 bytes too many"]);
}

/// Nothing but escape and zero: `Lengths::new` and `Lengths::read` agree on it.
#[test]
fn a_book_without_any_symbol_of_its_own_is_refused_or_can_be_read_back() {
    for limit in [CodeLimit::Bits8, CodeLimit::Bits12] {
        let made = Lengths::new(Alphabet::Centred, limit, &[0; WINDOW], 1, 1);
        let read = made.clone().and_then(|lengths| {
            let mut bytes = Vec::new();
            lengths.write(&mut bytes);
            Lengths::read(&bytes).map(|(lengths, _)| lengths)
        });
        assert!(read == made, "{limit:?}: {read:?}");
    }
}

/// The format has a byte for the number of a binding's books.
#[test]
fn a_binding_that_cannot_be_written_is_refused() {
    let mut builder = SetBuilder::new("many");
    let book = builder.add(*small_set().books()[1].lengths()).unwrap();
    let binding = Binding {
        pattern: "*".into(),
        dtype: Some(Dtype::U8),
        layout: Layout::Bytes,
        plane: 0,
        // One more than the format's byte can count.
        books: vec![book; 256],
    };
    assert!(matches!(builder.bind(binding), Err(Error::InvalidCodebook(_))));
}
