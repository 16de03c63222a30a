//! Codebooks from outside: whichever is accepted codes any values, and gives them back.

use std::sync::Arc;

use huffwire::FIRST_LAYER;
use huffwire::codebook::Lengths;
use huffwire::gradient::encode::{Bitmap, BitmapBooks, Fixed, RunAlphabet, ValueEncoder};
use huffwire::gradient::{Random, Values};
use huffwire::{Binding, SetBuilder};
use huffwire::{CodebookSet, Layout};

use crate::forge::crc32c;
use huffwire::refresh::Refreshable;

use crate::values::qsgd_like;

/// Values of all kinds, such as no book was made for among them.
fn values() -> Vec<Vec<i32>> {
    let widened = |values: Vec<i8>| values.into_iter().map(i32::from).collect::<Vec<i32>>();
    vec![
        Vec::new(),
        vec![0],
        vec![-1],
        vec![0; 300],
        vec![7; 70],
        (-128..128).collect(),
        (0..200).map(|i| i % 2).collect(),
        vec![i32::MIN, i32::MAX, 0, 0, 0, -129, 128, 254, 255, 256, 1 << 20],
        widened(qsgd_like(700, 80.0, 4, 1)),
        widened(qsgd_like(100, 0.0, 30, 2)),
    ]
}

/// Enough of them that lanes and tables of several symbols are used.
fn many_values() -> Vec<Vec<i32>> {
    let random = Random::new(5);
    let mut many: Vec<Vec<i32>> = [(40_000, 60.0, 4), (70_000, 97.0, 30)]
        .map(|(count, zeros, levels)| {
            qsgd_like(count, zeros, levels, 3).into_iter().map(i32::from).collect()
        })
        .to_vec();
    many.push((0..20_000).map(|i| i32::from(random.bits(i) as i8)).collect());
    many
}

fn round_trips(encoder: &dyn ValueEncoder, values: &[i32], book: &[u8]) {
    let mut stream = Vec::new();
    encoder.encode(Values::I32(values), &mut stream).unwrap();
    let mut decoded = vec![9i32; values.len()];
    let result = encoder.decode(&stream, decoded[..].as_mut().into());
    assert!(result.is_ok() && decoded == values, "{result:?} by {book:x?}");
    let narrow: Option<Vec<i8>> = values.iter().map(|&value| value.try_into().ok()).collect();
    let Some(narrow) = narrow else { return };
    let mut again = Vec::new();
    encoder.encode(Values::I8(&narrow), &mut again).unwrap();
    assert!(again == stream, "{book:x?}");
    let mut decoded = vec![9i8; values.len()];
    let result = encoder.decode(&stream, decoded[..].as_mut().into());
    assert!(result.is_ok() && decoded == narrow, "{result:?} by {book:x?}");
}

/// Tries bytes as a book, and as a set of books whose checksum is mended; tells whether they are one.
fn is_sound(bytes: &[u8], data: &[Vec<i32>]) -> bool {
    let mut accepted = false;
    if let Ok(book) = Fixed::from_bytes(bytes) {
        assert_eq!(book.to_bytes(), bytes);
        for values in data {
            round_trips(&book, values, bytes);
            let _ = book.regret(&[values.clone().into()]).unwrap().share();
        }
        accepted = true;
    }
    let mut set = bytes.to_vec();
    if let Some(body) = set.len().checked_sub(4) {
        let check = crc32c(&set[..body]);
        set[body..].copy_from_slice(&check.to_le_bytes());
    }
    if let Ok(books) = CodebookSet::from_bytes(&set).and_then(BitmapBooks::from_set) {
        // A type that is coded as another one is written as that one.
        assert_eq!(CodebookSet::from_bytes(&books.set().to_bytes()).as_ref(), Ok(&**books.set()));
        data.iter().for_each(|values| _ = books.regret(&[values.clone().into()]).unwrap());
        let bitmap = Bitmap::with_books(Arc::new(books));
        data.iter().for_each(|values| round_trips(&bitmap, values, bytes));
        accepted = true;
    }
    accepted
}

/// Books of different sizes.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let few = [vec![0, 0, 1, 0], vec![0; 9], vec![0, 1, -1, 2, 0, 0, 0, 3], vec![]];
    let many = [qsgd_like(3000, 90.0, 4, 1), qsgd_like(500, 20.0, 30, 2)];
    for values in few.iter().chain(&many) {
        for alphabet in [
            RunAlphabet::Values,
            RunAlphabet::Pairs,
            RunAlphabet::ZeroRuns(1),
            RunAlphabet::ZeroRuns(5),
            RunAlphabet::ZeroRuns(1 << 16),
        ] {
            seeds.push(Fixed::train(alphabet, [Values::I8(values)]).unwrap().to_bytes());
        }
        if let Ok(books) = BitmapBooks::train([Values::I8(values)]) {
            seeds.push(books.set().to_bytes());
        }
    }
    // Codes of one symbol and more: (width, limit), first, last, lengths.
    for layers in 1..=3 {
        for book in [&[0x10u8, 0, 1, 0x11, 0][..], &[0x80, 7, 7, 0x11, 0], &[0x81, 3, 4, 0x21, 2]] {
            seeds.push(bitmap_set(layers, Lengths::read(book).unwrap().0).to_bytes());
        }
    }
    seeds
}

/// A set with the same book for some layers of a bitmap.
fn bitmap_set(layers: u8, book: Lengths) -> CodebookSet {
    let mut builder = SetBuilder::new("b");
    let books = vec![builder.add(book).unwrap()];
    for layer in 0..layers {
        let (pattern, plane, books) = ("*".to_owned(), FIRST_LAYER + layer, books.clone());
        let binding = Binding { pattern, dtype: None, layout: Layout::Bytes, plane, books };
        builder.bind(binding).unwrap();
    }
    builder.build()
}

/// Changes a few bits or bytes, or the length.
fn mutate(bytes: &mut Vec<u8>, random: Random, call: u64) {
    let draw = |index: u64, below: usize| random.below(16 * call + index, below.max(1) as u64);
    for edit in 0..=draw(0, 3) {
        let at = draw(3 * edit + 1, bytes.len()) as usize;
        let value = random.bits(16 * call + 3 * edit + 2);
        match draw(3 * edit + 3, 12) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, value as u8),
            2 => bytes.push(value as u8),
            3 if at < bytes.len() => _ = bytes.remove(at),
            4 if at < bytes.len() => bytes[at] = value as u8,
            _ if at < bytes.len() => bytes[at] ^= 1 << (value % 8),
            _ => {}
        }
    }
}

#[test]
fn small_books_of_any_bytes_code_all_values_or_are_refused() {
    assert!(Fixed::from_bytes(&[0x25]).is_err(), "a book without an escape");
    let data = values();
    let mut accepted = 0;
    for first in 0..=255u8 {
        accepted += usize::from(is_sound(&[first], &data));
        for second in 0..=255 {
            accepted += usize::from(is_sound(&[first, second], &data));
        }
    }
    assert!(accepted > 20, "{accepted}");
}

#[test]
fn changed_books_code_all_values_or_are_refused() {
    let (data, many) = (values(), many_values());
    let random = Random::new(11);
    let (mut accepted, mut call) = (0, 0);
    for seed in seeds() {
        assert!(is_sound(&seed, &data) && is_sound(&seed, &many), "{seed:x?}");
        for _ in 0..CHANGES {
            let mut changed = seed.clone();
            mutate(&mut changed, random, call);
            call += 1;
            if changed != seed && is_sound(&changed, &data) {
                accepted += 1;
                if accepted % 16 == 0 {
                    is_sound(&changed, &many);
                }
            }
        }
    }
    assert!(accepted > 500, "{accepted}");
}

/// Of each book.
const CHANGES: usize = 2000;
