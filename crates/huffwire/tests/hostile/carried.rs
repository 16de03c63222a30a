//! What lanes carry of the payload, and blocks that are decoded in one pass, alone and side by side: forged
//! with the library's own lane coder, so that nothing is wrong with them but the one thing.

use super::*;
use huffwire::{Platform, lanes};

/// A bf16 block: exponents coded with a resident book, and whatever is said of the remainder.
#[derive(Clone)]
struct Forged {
    book: u8,
    slots: Vec<u8>,
    escapes: Vec<u8>,
    zeros: u32,
    /// The header of plane 1.
    remainder: Vec<u8>,
    /// The payload in front of the lanes' states.
    stored: Vec<u8>,
    carried: Vec<u8>,
}

const BASE: u8 = 100;
const ESCAPE: u8 = 62;
const ZERO: u8 = 63;

impl Forged {
    /// `units` ordinary values, with raw remainder of which the lanes carry what they should.
    fn new(book: u8, units: usize) -> Self {
        let lengths = *CodebookSet::builtin().book(book).unwrap().lengths();
        let ordinary: Vec<u8> = (0..62).filter(|&slot| lengths.direct(slot) > 0).collect();
        let slots = (0..units).map(|i| ordinary[i * i / 7 % ordinary.len()]).collect();
        let remainder: Vec<u8> = (0..units).map(|i| (i * 31 % 251) as u8 | 1).collect();
        let (stored, carried) = remainder.split_at(units.saturating_sub(lanes::CARRIED_BYTES));
        let (stored, carried) = (stored.to_vec(), carried.to_vec());
        Self { book, slots, escapes: vec![], zeros: 0, remainder: vec![0xff], stored, carried }
    }

    fn units(&self) -> usize {
        self.slots.len()
    }

    fn coded(&self) -> (Vec<u8>, Vec<u8>) {
        let set = CodebookSet::builtin();
        let book = set.book(self.book).unwrap();
        let mut carried = [0; lanes::CARRIED_BYTES];
        carried[..self.carried.len()].copy_from_slice(&self.carried);
        let room = lanes::stream_capacity(book.limit(), 12 * self.units() as u64);
        let (mut states, mut stream) = (vec![0; lanes::states_bytes(book.limit())], vec![0; room]);
        let length = lanes::encode(book, &self.slots, &carried, &mut states, &mut stream).unwrap();
        stream.truncate(length);
        (states, stream)
    }

    fn block(&self) -> Vec<u8> {
        let (states, stream) = self.coded();
        let set = CodebookSet::builtin();
        let mut block = vec![Layout::Exponent.number(), self.book, BASE];
        if set.book(self.book).unwrap().lengths().zero() > 0 {
            block.extend_from_slice(&self.zeros.to_le_bytes());
        }
        block.extend_from_slice(&(stream.len() as u32).to_le_bytes());
        block.extend_from_slice(&(self.escapes.len() as u32).to_le_bytes());
        for part in [&self.remainder, &self.stored, &states, &stream, &self.escapes] {
            block.extend_from_slice(part);
        }
        block
    }

    /// Decodes on every platform; they must agree.
    fn decode(&self) -> Result<Vec<u8>> {
        decode_everywhere(&self.block(), 2 * self.units())
    }

    #[track_caller]
    fn refused(&self, words: &str) {
        malformed(&self.decode().expect_err("this block must be refused"), 0, &[words]);
    }
}

fn decode_everywhere(block: &[u8], size: usize) -> Result<Vec<u8>> {
    let mut results = Platform::available().map(|platform| {
        let mut out = vec![0x11; size];
        let mut decoder = Decoder::builtin().with_platform(platform);
        let decoded = decoder.decode_block(&builtin_block(Dtype::Bf16, block), &mut out);
        assert!(decoded.is_ok() || out.iter().all(|&byte| byte == POISON));
        decoded.map(|()| out)
    });
    let first = results.next().unwrap();
    for result in results {
        assert!(result == first, "platforms differ");
    }
    first
}

/// The first book for exponents with such a zero.
fn book(has_zero: bool) -> u8 {
    let set = CodebookSet::builtin();
    let mut books = set.candidates(None, Dtype::Bf16, Layout::Exponent, 0);
    books.find(|&n| (set.book(n).unwrap().lengths().zero() > 0) == has_zero).unwrap()
}

const MORE: &str = "the lanes carry more than there was to carry";
const COUNTS: &str = "the decoded symbols do not match the counts in the header";
const END: &str = "the lanes do not end where an encoder begins";

/// Around the sizes of groups and pieces.
const UNITS: [usize; 12] = [1, 63, 64, 65, 127, 128, 129, 300, 8192, 8300, 16384, 20_001];

#[test]
fn what_is_forged_here_is_good_until_it_is_changed() {
    for units in UNITS.into_iter().chain([0]) {
        for has_zero in [false, true] {
            let forged = Forged::new(book(has_zero), units);
            let decoded = forged.decode().unwrap();
            let planes = Dtype::Bf16.split(Layout::Exponent, &decoded).unwrap();
            let exponents: Vec<u8> = forged.slots.iter().map(|slot| slot + BASE).collect();
            assert_eq!(planes[0], exponents);
            assert_eq!(planes[1], [&forged.stored[..], &forged.carried].concat());
        }
    }
}

#[test]
fn lanes_that_carry_more_than_there_is_to_carry_are_refused() {
    for units in [0, 1, 63, 64, 65, 127] {
        let good = Forged::new(book(false), units);
        for at in units..lanes::CARRIED_BYTES {
            for byte in [1, 0x80] {
                let mut forged = good.clone();
                forged.carried.resize(at, 0);
                forged.carried.push(byte);
                forged.refused(MORE);
            }
        }
    }
}

#[test]
fn lanes_carry_nothing_of_a_constant() {
    for units in UNITS {
        let mut forged = Forged::new(book(true), units);
        (forged.remainder, forged.stored, forged.carried) = (vec![0xfe, 0x55], vec![], vec![]);
        let planes = Dtype::Bf16.split(Layout::Exponent, &forged.decode().unwrap()).unwrap();
        assert!(planes[1].iter().all(|&byte| byte == 0x55));
        for at in [0, 1, 63, 64, 127] {
            forged.carried = vec![0; at];
            forged.carried.push(9);
            forged.refused(MORE);
        }
    }
}

#[test]
fn lanes_carry_no_remainder_of_zeros() {
    // With all values but 40 coded as zeros, there are 40 bytes to carry.
    let mut forged = Forged::new(book(true), 300);
    for slot in &mut forged.slots[20..280] {
        *slot = ZERO;
    }
    forged.zeros = 260;
    forged.stored.clear();
    forged.carried = (1..=40).collect();
    let decoded = forged.decode().unwrap();
    let planes = Dtype::Bf16.split(Layout::Exponent, &decoded).unwrap();
    assert!(planes[1][..20].iter().copied().eq(1..=20));
    assert!(planes[1][20..280].iter().all(|&byte| byte == 0));
    assert!(planes[1][280..].iter().copied().eq(21..=40));
    forged.carried.push(1);
    forged.refused(MORE);
}

/// A block whose planes are both coded, the second with an embedded book, and the symbols of the second; its own
/// lanes carry a byte for which there is none to carry, which should be 0.
fn both_coded(units: usize, carried_by_remainder: u8) -> (Forged, Vec<u8>) {
    let alphabet = Alphabet::Plain { width: 8 };
    // Symbols 0 to 3, and an escape.
    let mut ordinary = [0; 256];
    ordinary[..4].copy_from_slice(&[1, 3, 3, 3]);
    let lengths = Lengths::new(alphabet, CodeLimit::Bits8, &ordinary, 3, 0).unwrap();
    let own_book = huffwire::Codebook::new(lengths);
    let symbols: Vec<u8> = (0..units).map(|i| (i * i % 5) as u8).collect();
    let escapes: Vec<u8> = symbols.iter().copied().filter(|&symbol| symbol > 3).collect();
    let mut carried = [0; lanes::CARRIED_BYTES];
    carried[77] = carried_by_remainder;
    let room = lanes::stream_capacity(CodeLimit::Bits8, 3 * units as u64);
    let (mut states, mut stream) = (vec![0; 192], vec![0; room]);
    let length = lanes::encode(&own_book, &symbols, &carried, &mut states, &mut stream).unwrap();
    let mut remainder = vec![0xfd];
    lengths.write(&mut remainder);
    remainder.extend_from_slice(&(length as u32).to_le_bytes());
    remainder.extend_from_slice(&(escapes.len() as u32).to_le_bytes());
    let payload = [&states[..], &stream[..length], &escapes].concat();
    let (stored, carried) = payload.split_at(payload.len() - lanes::CARRIED_BYTES);
    let (stored, carried) = (stored.to_vec(), carried.to_vec());
    (Forged { remainder, stored, carried, ..Forged::new(book(false), units) }, symbols)
}

#[test]
fn a_second_coded_plane_is_put_together_from_block_and_lanes() {
    // Few units: its states lie on both sides of the cut; many: its escapes and a part of its stream.
    for units in [0, 1, 30, 64, 300, 8192, 9000] {
        let (forged, symbols) = both_coded(units, 0);
        let decoded = forged.decode().unwrap();
        let planes = Dtype::Bf16.split(Layout::Exponent, &decoded).unwrap();
        assert_eq!(planes[1], symbols);
        // There is nothing left that its own lanes could carry.
        both_coded(units, 1).0.refused(MORE);
    }
}

#[test]
fn a_payload_of_another_size_than_the_headers_say_is_refused() {
    for forged in [
        Forged::new(book(false), 40),
        Forged::new(book(true), 129),
        Forged::new(book(false), 9000),
        both_coded(30, 0).0,
        both_coded(300, 0).0,
    ] {
        let (block, size) = (forged.block(), 2 * forged.units());
        let cuts = (0..block.len().min(500)).chain(block.len().saturating_sub(500)..block.len());
        for cut in cuts {
            let error = decode_everywhere(&block[..cut], size).unwrap_err();
            assert!(matches!(error, Error::Truncated { .. }), "{cut}: {error}");
        }
        let longer = [&block[..], &[0]].concat();
        malformed(&decode_everywhere(&longer, size).unwrap_err(), block.len(), &["too many"]);
        // More or fewer units, with the same payload: more or less to carry.
        for other in [size - 2, size + 2, size / 2, 2 * size, size + 256] {
            assert!(decode_everywhere(&block, other / 2 * 2).is_err());
        }
    }
}

#[test]
fn zeros_that_the_header_does_not_speak_of_are_refused() {
    for units in UNITS {
        for at in [0, units / 3, units / 64 * 64, units - 1] {
            let mut forged = Forged::new(book(true), units);
            forged.slots[at.min(units - 1)] = ZERO;
            forged.refused(COUNTS);
        }
        // Those that it does speak of are not there.
        let mut forged = Forged::new(book(true), units);
        forged.zeros = 1;
        let carried = forged.carried.len().min(units - 1);
        forged.carried.truncate(carried);
        forged.stored.truncate(units - 1 - carried);
        forged.refused(COUNTS);
    }
}

#[test]
fn escapes_that_are_too_few_or_too_many_are_refused() {
    for (units, has_zero) in UNITS.into_iter().flat_map(|n| [(n, false), (n, true)]) {
        for at in [0, units / 3, units / 64 * 64, units - 1] {
            let at = at.min(units - 1);
            let mut forged = Forged::new(book(has_zero), units);
            forged.slots[at] = ESCAPE;
            forged.refused(COUNTS);
            forged.escapes = vec![3, 4];
            forged.refused(COUNTS);
            forged.escapes = vec![3];
            let decoded = forged.decode().unwrap();
            let planes = Dtype::Bf16.split(Layout::Exponent, &decoded).unwrap();
            assert_eq!(planes[0][at], 3);
        }
        let mut forged = Forged::new(book(has_zero), units);
        forged.escapes = vec![3];
        forged.refused(COUNTS);
    }
}

#[test]
fn words_that_are_missing_or_left_over_are_refused() {
    for units in [300, 8192, 20_001] {
        let forged = Forged::new(book(false), units);
        let (_, stream) = forged.coded();
        // A byte more than the stream has, so that the escape becomes a word.
        let mut longer = forged.clone();
        longer.escapes = vec![7];
        let mut block = longer.block();
        block[3..7].copy_from_slice(&(stream.len() as u32 + 1).to_le_bytes());
        block[7..11].copy_from_slice(&0u32.to_le_bytes());
        assert!(matches!(decode_everywhere(&block, 2 * units), Err(Error::Malformed { .. })));
        // At the bottom of the stream: nobody takes it.
        let mut block = forged.block();
        let bottom = block.len() - stream.len();
        block.insert(bottom, 7);
        block[3..7].copy_from_slice(&(stream.len() as u32 + 1).to_le_bytes());
        malformed(&decode_everywhere(&block, 2 * units).unwrap_err(), 0, &[END]);
        block.drain(bottom..bottom + 2);
        block[3..7].copy_from_slice(&(stream.len() as u32 - 1).to_le_bytes());
        let error = decode_everywhere(&block, 2 * units).unwrap_err();
        malformed(&error, 0, &["the lanes want more words than the stream has"]);
    }
}

/// A message of bf16 blocks of `2^14` bytes, without checksums.
fn message_of_blocks(blocks: &[Vec<u8>], units: usize) -> Vec<u8> {
    let options = EncodeOptions::default().checksums(false).block_log2(14);
    let mut encoder = Encoder::new(CodebookSet::builtin(), options).unwrap();
    let mut head = encoder.encode_to_vec(Dtype::Bf16, &[]).unwrap();
    head[8..12].copy_from_slice(&(units as u32).to_le_bytes());
    message_of(&head, None, blocks)
}

#[test]
fn an_error_names_its_block_whichever_of_two_it_is_in() {
    // Pairs of equal blocks, and a last one that is shorter: alone, or beside a whole one.
    type Change = (&'static str, fn(&mut Forged));
    let changes: [Change; 4] = [
        (COUNTS, |forged| forged.slots[1000] = ZERO),
        (COUNTS, |forged| *forged.slots.last_mut().unwrap() = ESCAPE),
        (COUNTS, |forged| forged.escapes.push(1)),
        (MORE, |forged| {
            (forged.remainder, forged.stored) = (vec![0xfe, 0x55], vec![]);
        }),
    ];
    for whole in 0..5 {
        let sizes = std::iter::repeat_n(8192, whole).chain([8192 - 77]);
        let good: Vec<Forged> = sizes.map(|units| Forged::new(book(true), units)).collect();
        let units = good.iter().map(Forged::units).sum::<usize>();
        let decode = |blocks: &[Vec<u8>]| {
            let message = message_of_blocks(blocks, units);
            let mut results = Platform::available().flat_map(|platform| {
                let mut decoder = Decoder::builtin().with_platform(platform);
                let mut out = vec![0x11; 2 * units];
                let decoded = decoder.decode(&message, &mut out).map(|_| out.clone());
                assert!(decoded.is_ok() || out.iter().all(|&byte| byte == POISON));
                [decoded, decoder.decode_to_vec(&message).map(|(_, vector)| vector)]
            });
            let first = results.next().unwrap();
            assert!(results.all(|result| result == first), "platforms or ways to decode differ");
            first
        };
        let blocks: Vec<Vec<u8>> = good.iter().map(Forged::block).collect();
        let decoded = decode(&blocks).unwrap();
        let alone = good.iter().map(|block| block.decode().unwrap()).collect::<Vec<_>>();
        assert!(decoded == alone.concat());
        for (words, change) in changes {
            let changed = |index: usize| {
                let mut forged = good[index].clone();
                change(&mut forged);
                forged.refused(words);
                forged.block()
            };
            for damaged in 0..=whole {
                let mut blocks = blocks.clone();
                blocks[damaged] = changed(damaged);
                let (index, error) = inside(decode(&blocks).unwrap_err());
                assert_eq!(index, damaged as u64);
                malformed(&error, 0, &[words]);
                // With another error behind it, it is still the first that counts.
                for later in damaged + 1..=whole {
                    let mut blocks = blocks.clone();
                    blocks[later][1] = 0xfc;
                    assert_eq!(inside(decode(&blocks).unwrap_err()), (index, error.clone()));
                    blocks[later] = changed(later);
                    assert_eq!(inside(decode(&blocks).unwrap_err()), (index, error.clone()));
                }
            }
        }
    }
}
