use super::*;
use crate::codebook::fit::{Effort, plain};
use crate::codebook::{Alphabet, CodeLimit, Lengths};
use crate::kernels::interleave;
use crate::kernels::lanes::errors::{no_room, no_sentinel, wrong_end};
use crate::set::CodebookSet;
use crate::stats::Pmf;
use proptest::prelude::*;
use std::sync::LazyLock;

fn book(limit: CodeLimit, skew: f64) -> Codebook {
    let weights: Vec<f64> = (0..256).map(|i| skew.powi(i) + 1e-9).collect();
    let pmf = Pmf::from_weights(&weights).unwrap();
    Codebook::new(plain(&pmf, 8, limit, Effort::Quick).unwrap().lengths)
}

/// Books that take every path: narrow, narrow by chance, wide, of few slots, long.
static BOOKS: LazyLock<Vec<Codebook>> = LazyLock::new(|| {
    let mut books = CodebookSet::builtin().books().to_vec();
    for limit in [CodeLimit::Bits8, CodeLimit::Bits12] {
        books.extend([0.3, 0.5, 0.8, 0.97, 1.0].map(|skew| book(limit, skew)));
    }
    books.extend([MANY_BOUNDS, TWO_BOUNDS].map(sorted));
    for width in [1, 3, 6, 7] {
        let weights: Vec<f64> = (1..=1 << width).map(f64::from).collect();
        let pmf = Pmf::from_weights(&weights).unwrap();
        let built = plain(&pmf, width, CodeLimit::Bits8, Effort::Quick).unwrap();
        books.push(Codebook::new(built.lengths));
    }
    books
});

/// How many codes of each length from 6 bits on: of those over 6 bits, some of five lengths, or of two, within
/// 64 windows, and not the last ones.
const MANY_BOUNDS: [usize; 7] = [61, 1, 1, 1, 1, 1, 130];
const TWO_BOUNDS: [usize; 7] = [61, 1, 1, 18, 0, 0, 0];

/// A book of these codes, the last one for the escape.
fn sorted(counts: [usize; 7]) -> Codebook {
    let lengths = (6..).zip(counts).flat_map(|(length, count)| vec![length; count]);
    let mut direct: Vec<u8> = lengths.collect();
    let escape = direct.pop().unwrap();
    direct.resize(256, 0);
    let alphabet = Alphabet::Plain { width: 8 };
    Codebook::new(Lengths::new(alphabet, CodeLimit::Bits12, &direct, escape, 0).unwrap())
}

/// Something that no lane has by chance.
const CARRIED: [u8; CARRIED_BYTES] = {
    let mut bytes = [0; CARRIED_BYTES];
    let mut i = 0;
    while i < bytes.len() {
        bytes[i] = (i * i + 3 * i + 7) as u8;
        i += 1;
    }
    bytes
};

/// What a platform makes of slots: states and stream, or the error.
fn encoded(
    platform: Platform,
    book: &Codebook,
    slots: &[u8],
    room: usize,
) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut states = vec![0; states_bytes(book.limit())];
    let mut stream = vec![0; room];
    let length = encode_on(platform, book, slots, &CARRIED, &mut states, &mut stream)?;
    stream.truncate(length);
    Ok((states, stream))
}

/// Decodes on every platform; all must agree, on errors too.
fn decoded(
    book: &Codebook,
    states: &[u8],
    stream: &[u8],
    count: usize,
) -> Result<(Vec<u8>, [u8; CARRIED_BYTES])> {
    let mut results = Platform::available().map(|platform| {
        let mut slots = vec![0xee; count];
        decode_on(platform, book, states, stream, &mut slots).map(|carried| (slots, carried))
    });
    let first = results.next().unwrap();
    assert!(results.all(|result| result == first), "platforms decode differently");
    first
}

fn round_trip(book: &Codebook, slots: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let length = |s: &u8| u64::from(book.encode_table()[usize::from(*s)] >> 12);
    let bits: u64 = slots.iter().map(length).sum();
    let room = stream_capacity(book.limit(), bits);
    let mut results =
        Platform::available().map(|platform| encoded(platform, book, slots, room).unwrap());
    let (states, stream) = results.next().unwrap();
    for result in results {
        assert!(result.0 == states, "platforms end in different states");
        assert!(result.1 == stream, "platforms write different streams");
    }
    assert!(stream.len() as u64 <= bits / 8, "never longer than the code words");
    let (decoded, carried) = decoded(book, &states, &stream, slots.len()).unwrap();
    assert_eq!(carried, CARRIED);
    let escape = book.lengths().escape_slot();
    let zero = (book.lengths().zero() > 0).then_some(crate::codebook::ZERO_SLOT as u8);
    for (&out, &slot) in decoded.iter().zip(slots) {
        let coded = book.lengths().direct(slot) > 0 || zero == Some(slot);
        assert_eq!(out, if coded { slot } else { escape.unwrap() });
    }
    (states, stream)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_slots_round_trip(
        slots in proptest::collection::vec(any::<u8>(), 0..2000),
        book in any::<prop::sample::Index>(),
    ) {
        let book = book.get(&BOOKS);
        let last = (book.lengths().alphabet().slots() - 1) as u8;
        let slots: Vec<u8> = slots.iter().map(|slot| slot & last).collect();
        round_trip(book, &slots);
    }

    #[test]
    fn likely_slots_round_trip(
        windows in proptest::collection::vec(any::<prop::sample::Index>(), 0..2000),
        book in any::<prop::sample::Index>(),
    ) {
        let book = book.get(&BOOKS);
        // A random window finds each slot as often as its code's length says.
        let table = book.decode_table();
        let slot = |window: &prop::sample::Index| table[window.index(table.len())] as u8;
        let slots: Vec<u8> = windows.iter().map(slot).collect();
        round_trip(book, &slots);
    }

    #[test]
    fn damage_never_panics_and_all_platforms_agree_on_it(
        slots in proptest::collection::vec(0u8..20, 0..600),
        flips in proptest::collection::vec(any::<prop::sample::Index>(), 1..4),
        cut in any::<prop::sample::Index>(),
        longer in 0usize..200,
        book in any::<prop::sample::Index>(),
    ) {
        let book = book.get(&BOOKS);
        let last = (book.lengths().alphabet().slots() - 1) as u8;
        let slots: Vec<u8> = slots.iter().map(|slot| slot & last).collect();
        let (mut states, mut stream) = round_trip(book, &slots);
        let count = slots.len();
        if !stream.is_empty() {
            let shorter = &stream[..cut.index(stream.len())];
            // Nearly always an error; the coder is no checksum.
            let _ = decoded(book, &states, shorter, count);
            for flip in &flips {
                let bit = flip.index(8 * stream.len());
                stream[bit / 8] ^= 1 << (bit % 8);
            }
            let _ = decoded(book, &states, &stream, count);
        }
        let _ = decoded(book, &states, &stream, count + longer);
        let _ = decoded(book, &states, &stream, count.saturating_sub(longer));
        for flip in &flips {
            let bit = flip.index(8 * states.len());
            states[bit / 8] ^= 1 << (bit % 8);
        }
        let _ = decoded(book, &states, &stream, count);
    }

    #[test]
    fn noise_is_decoded_alike(
        states in proptest::collection::vec(any::<u8>(), 256),
        stream in proptest::collection::vec(any::<u8>(), 0..400),
        sane in any::<bool>(),
        count in 0usize..700,
        book in any::<prop::sample::Index>(),
    ) {
        let book = book.get(&BOOKS);
        let mut states = states[..states_bytes(book.limit())].to_vec();
        if sane {
            // Every lane with a sentinel, so that more than the first step is reached.
            let short = book.limit() == CodeLimit::Bits8;
            let (from, step) = if short { (2 * LANES, 1) } else { (3, 4) };
            states.iter_mut().skip(from).step_by(step).for_each(|byte| *byte |= 1);
        }
        let _ = decoded(book, &states, &stream, count);
    }
}

#[test]
fn every_count_near_whole_steps_round_trips() {
    for book in BOOKS.iter() {
        let last = (book.lengths().alphabet().slots() - 1) as u8;
        for count in (0..195).chain(8190..8194) {
            let slots: Vec<u8> = (0..count).map(|i| (i * i % 37) as u8 & last).collect();
            round_trip(book, &slots);
        }
    }
}

/// The state of a lane of 8-bit codes.
fn state(states: &[u8], lane: usize) -> u32 {
    [0, 1, 2].iter().map(|place| u32::from(states[place * LANES + lane]) << (8 * place)).sum()
}

#[test]
fn the_stream_is_what_the_essay_says() {
    // One lane, codes 0, 10, 11, n = 16. The encoder puts `11` on top, then `10`, then `0`.
    let lengths = crate::codebook::Lengths::new(
        crate::codebook::Alphabet::Plain { width: 2 },
        CodeLimit::Bits8,
        &[1, 2, 0, 0],
        2,
        0,
    );
    let book = Codebook::new(lengths.unwrap());
    let mut slots = vec![3; 129];
    (slots[0], slots[64]) = (0, 1);
    let (states, stream) = round_trip(&book, &slots);
    assert!(stream.is_empty(), "five bits fit the window of lane 0");
    let carried = |lane: usize| u32::from(CARRIED[lane]) | u32::from(CARRIED[LANES + lane]) << 8;
    let first = 1 << 21 | 0b0_10_11 << 16 | carried(0);
    assert_eq!(state(&states, 0), first, "sentinel, then the codes in decoding order");
    assert_eq!(state(&states, 1), 1 << 20 | 0b11_11 << 16 | carried(1));
}

#[test]
fn the_stream_is_a_stack_over_steps_and_lanes() {
    // Codes of 8 bits: every lane emits in every step what it takes two steps later.
    let alphabet = crate::codebook::Alphabet::Plain { width: 8 };
    let lengths = crate::codebook::Lengths::new(alphabet, CodeLimit::Bits8, &[8; 256], 0, 0);
    let slots: Vec<u8> = (1..=192).collect();
    let (states, stream) = round_trip(&Codebook::new(lengths.unwrap()), &slots);
    let (low, high) = CARRIED.split_at(LANES);
    let pushed = low.iter().chain(high).chain(&slots[128..]);
    assert!(stream.iter().eq(pushed));
    let places = slots[64..128].iter().chain(&slots[..64]).chain(&[1; LANES]);
    assert!(states.iter().eq(places));
}

#[test]
fn a_state_without_sentinel_and_a_wrong_end_are_errors() {
    let book = book(CodeLimit::Bits8, 0.5);
    let mut states = [[7; 2 * LANES].as_slice(), &[1; LANES]].concat();
    assert_eq!(decoded(&book, &states, &[], 0), Ok((vec![], [7; CARRIED_BYTES])));
    assert_eq!(decoded(&book, &states, &[7], 0), Err(wrong_end()), "a word nobody takes");
    states[2 * LANES + 5] = 2;
    assert_eq!(decoded(&book, &states, &[], 0), Err(wrong_end()), "a bit nobody takes");
    states[2 * LANES + 6] = 0;
    assert_eq!(decoded(&book, &states, &[], 0), Err(no_sentinel(6)));
}

#[test]
fn slots_outside_the_alphabet_and_small_buffers_are_refused() {
    let lengths = crate::codebook::Lengths::new(
        crate::codebook::Alphabet::Plain { width: 1 },
        CodeLimit::Bits8,
        &[1, 1],
        0,
        0,
    );
    let book = Codebook::new(lengths.unwrap());
    for platform in Platform::available() {
        let encode = |slots: &[u8], states: usize, room: usize| {
            let (mut states, mut stream) = (vec![0; states], vec![0; room]);
            encode_on(platform, &book, slots, &CARRIED, &mut states, &mut stream)
        };
        assert!(matches!(encode(&[2], 192, 64), Err(Error::InvalidCodebook { .. })));
        assert_eq!(encode(&[1], 191, 64), Err(no_room(192, 191)));
        assert_eq!(encode(&[1; 2000], 192, 64), Err(no_room(64 + 16, 64)));
        assert_eq!(encode(&[1; 64], 192, 64), Ok(0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Piece by piece, symbols instead of slots, escapes kept, two planes at a time: as in one go.
    #[test]
    fn pieces_are_as_good_as_the_whole(
        symbols in proptest::collection::vec(any::<u8>(), 0..3000),
        others in proptest::collection::vec(any::<u8>(), 0..3000),
        narrow in 0u8..9,
        base in any::<u8>(),
        book in any::<prop::sample::Index>(),
        piece in 1usize..9,
    ) {
        let book = book.get(&BOOKS);
        let alphabet = book.lengths().alphabet();
        let map = SlotMap::new(alphabet, base);
        let base = map.base();
        let likely = |symbol: &u8| match alphabet {
            Alphabet::Centred => (symbol >> narrow.min(7)).wrapping_add(base).wrapping_add(27),
            Alphabet::Plain { width } => symbol >> narrow.min(7) & (0xff >> (8 - width)),
        };
        let planes = [&symbols, &others].map(|p| p.iter().map(likely).collect::<Vec<u8>>());
        let size = 64 * piece;
        for platform in Platform::available() {
            let mut coded = Vec::new();
            for plane in &planes {
                let slots: Vec<u8> = plane.iter().map(|&symbol| map.slot(symbol)).collect();
                let room = stream_capacity(book.limit(), 12 * slots.len() as u64);
                let (states, stream) = encoded(platform, book, &slots, room).unwrap();
                let (mut other_states, mut other) = (states.clone(), vec![0; room]);
                let mut escapes = Escapes::default();
                escapes.clear(plane.len());
                let mut encoder = Encoder::new(platform, book.tables(), map, &CARRIED, true);
                for piece in plane.chunks(size).rev() {
                    encoder.push(piece, &mut other, &mut escapes).unwrap();
                }
                let length = encoder.finish(&mut other_states);
                prop_assert!(states == other_states && stream == other[..length]);
                let table = map.escapes(book.tables());
                let escaped = plane.iter().copied().filter(|s| table[usize::from(*s)]);
                prop_assert!(escaped.eq(escapes.as_slice().iter().copied()));
                coded.push((states, stream, escapes));
            }
            let new = |(states, stream), escapes| {
                let reading = Reading::Symbols { base, escapes };
                Decoder::new(platform, book.tables(), reading, states, stream)
            };
            let mut alone = vec![0; planes[0].len()];
            let (states, stream, escapes) = &coded[0];
            let mut decoder = new((states, stream), escapes.as_slice()).unwrap();
            for piece in alone.chunks_mut(size) {
                decoder.pull(piece).unwrap();
            }
            prop_assert_eq!(decoder.finish(), Ok(CARRIED));

            let mut both = planes.clone().map(|plane| vec![0; plane.len()]);
            let [mut a, mut b] = [0, 1].map(|i| {
                let (states, stream, escapes) = &coded[i];
                new((states, stream), escapes.as_slice()).unwrap()
            });
            let [first, second] = &mut both;
            let whole = first.len().min(second.len()) / size * size;
            let (first, first_rest) = first.split_at_mut(whole);
            let (second, second_rest) = second.split_at_mut(whole);
            for (first, second) in first.chunks_mut(size).zip(second.chunks_mut(size)) {
                let results = Decoder::pull_two([&mut a, &mut b], [first, second]);
                prop_assert!(results.iter().all(Result::is_ok));
            }
            let results = Decoder::pull_two([&mut a, &mut b], [first_rest, second_rest]);
            prop_assert!(results.iter().all(Result::is_ok));
            prop_assert_eq!([a.finish(), b.finish()], [Ok(CARRIED), Ok(CARRIED)]);
            prop_assert!(both[0] == alone);

            prop_assert!(both == planes);

            // One escape too few, one too many.
            let (states, stream, escapes) = &coded[0];
            let more = [escapes.as_slice(), &[1]].concat();
            let fewer = escapes.as_slice().split_last().map(|(_, fewer)| fewer);
            for escapes in [Some(&more[..]), fewer].into_iter().flatten() {
                let mut decoder = new((states, stream), escapes).unwrap();
                prop_assert_eq!(decoder.pull(&mut alone), Ok(()));
                prop_assert_eq!(decoder.finish(), Err(wrong_count()));
            }
        }
    }

    /// Elements that are split and merged on the way: as if that were done before and after.
    #[test]
    fn elements_are_split_and_merged_on_the_way(
        bytes in proptest::collection::vec(any::<u8>(), 0..6000),
        others in proptest::collection::vec(any::<u8>(), 0..6000),
        likely in 1u8..40,
        rarely in prop::sample::select(&[1u8, 6, 100][..]),
        base in any::<u8>(),
        cut in 0usize..200,
        book in any::<prop::sample::Index>(),
    ) {
        let book = book.get(&BOOKS);
        let map = SlotMap::new(book.lengths().alphabet(), base);
        for platform in Platform::available() {
            for join in joins(book).filter(|join| fuses(platform, book.limit(), *join)) {
                let cache = if likely & 1 == 0 {
                    CachePolicy::Streaming { ahead: &bytes[..bytes.len() / usize::from(likely)] }
                } else {
                    CachePolicy::Cached
                };
                let case = Case { platform, book, map, join, cache };
                let last = (book.lengths().alphabet().symbols() - 1) as u8;
                let planes = [&bytes, &others].map(|bytes| {
                    let steps = bytes.len() / 128;
                    let (symbols, other) = bytes.split_at(64 * steps);
                    // Mostly in the window, now and then anything.
                    let symbol = |&b: &u8| match b.checked_add(rarely) {
                        Some(_) => map.base().wrapping_add((b % likely) & last),
                        None => b.reverse_bits() & last,
                    };
                    let symbols = symbols.iter().map(symbol).collect();
                    let other = other[..other_bytes(join, 64 * steps)].to_vec();
                    case.split((symbols, other))
                });
                case.merge(&planes, cut);
            }
        }
    }
}

/// The ways in which a book's symbols can be a part of elements.
fn joins(book: &Codebook) -> impl Iterator<Item = Join> {
    let signs = match book.lengths().alphabet() {
        Alphabet::Plain { width } if width < 8 => Some(Join::Signs { width }),
        _ => None,
    };
    signs.into_iter().chain([Join::High])
}

/// Bytes of the other plane.
fn other_bytes(join: Join, symbols: usize) -> usize {
    if join == Join::High { symbols } else { symbols / 8 }
}

/// How elements are split and merged.
#[derive(Clone, Copy)]
struct Case<'a> {
    platform: Platform,
    book: &'a Codebook,
    map: SlotMap,
    join: Join,
    cache: CachePolicy<'a>,
}

/// Elements, and what they are coded as.
struct Split {
    elements: Vec<u8>,
    symbols: Vec<u8>,
    other: Vec<u8>,
    states: Vec<u8>,
    stream: Vec<u8>,
    escapes: Vec<u8>,
}

impl<'s> Case<'s> {
    /// Encodes elements in both ways.
    fn split(self, (symbols, other): (Vec<u8>, Vec<u8>)) -> Split {
        let Self { platform, book, map, join, .. } = self;
        let elements = match join {
            Join::High => {
                let mut words = vec![0; 2 * symbols.len()];
                interleave::merge16(platform, &other, &symbols, &mut words);
                words
            }
            Join::Signs { width } => {
                let sign = |i: usize| other[i / 8] >> (i % 8) & 1;
                symbols.iter().enumerate().map(|(i, s)| sign(i) << width | s).collect()
            }
        };
        let room = stream_capacity(book.limit(), 12 * symbols.len() as u64);
        let policies = [
            None,
            Some(CachePolicy::Cached),
            Some(CachePolicy::Fetching { ahead: &elements }),
            Some(CachePolicy::Streaming { ahead: &[] }),
        ];
        let coded = policies.map(|cache| {
            let mut encoder = Encoder::new(platform, book.tables(), map, &CARRIED, true);
            let (mut stream, mut escapes) = (vec![0; room], Escapes::default());
            escapes.clear(symbols.len());
            let mut split = other.clone();
            if let Some(cache) = cache {
                split.fill(0);
                let input = ToSplit { join, elements: &elements, other: &mut split, cache };
                let pushed = encoder.push_split(input, &mut stream, &mut escapes);
                assert_eq!(pushed, Ok(true));
            } else {
                encoder.push(&symbols, &mut stream, &mut escapes).unwrap();
            }
            let mut states = vec![0; states_bytes(book.limit())];
            let length = encoder.finish(&mut states);
            stream.truncate(length);
            (states, stream, escapes.as_slice().to_vec(), split)
        });
        assert!(coded.iter().all(|way| *way == coded[0]), "{join:?}");
        let [(states, stream, escapes, other), ..] = coded;
        Split { elements, symbols, other, states, stream, escapes }
    }

    fn open<'a>(&'a self, split: &'a Split, stream: &'a [u8], escapes: &'a [u8]) -> Decoder<'a> {
        let reading = Reading::Symbols { base: self.map.base(), escapes };
        Decoder::new(self.platform, self.book.tables(), reading, &split.states, stream).unwrap()
    }

    fn output<'a>(self, split: &'a Split, elements: &'a mut [u8]) -> ToMerge<'a>
    where
        's: 'a,
    {
        ToMerge { join: self.join, other: &split.other, elements, cache: self.cache }
    }

    /// Decodes elements alone and two at a time; also where `cut` words are missing, or an escape, or one is too
    /// many.
    fn merge(self, planes: &[Split; 2], cut: usize) {
        let [whole, _] = planes;
        let fewer = &whole.stream[..whole.stream.len().saturating_sub(cut)];
        let more = [&whole.escapes[..], &[1]].concat();
        let short = whole.escapes.split_last().map_or(&more[..], |(_, fewer)| fewer);
        let all = (&whole.stream[..], &whole.escapes[..]);
        let ways = [all, (fewer, &whole.escapes), (&whole.stream, &more), (&whole.stream, short)];
        for (stream, escapes) in ways {
            let mut symbols = vec![0; whole.symbols.len()];
            let mut apart = self.open(whole, stream, escapes);
            let expected = apart.pull(&mut symbols).and_then(|()| apart.finish());
            let intact = (stream, escapes) == all;
            assert_eq!(
                expected == Ok(CARRIED),
                intact || whole.stream.is_empty() && escapes == all.1
            );

            let mut elements = vec![0; whole.elements.len()];
            let mut alone = self.open(whole, stream, escapes);
            let pulled = alone.pull_merged(self.output(whole, &mut elements));
            assert_eq!(pulled.and_then(|()| alone.finish()), expected);
            assert!(!intact || elements == whole.elements);

            let mut merged = planes.each_ref().map(|split| vec![0; split.elements.len()]);
            for order in [[0, 1], [1, 0]] {
                let mut coders = order.map(|index| match index {
                    0 => self.open(whole, stream, escapes),
                    _ => self.open(&planes[1], &planes[1].stream, &planes[1].escapes),
                });
                merged.iter_mut().for_each(|elements| elements.fill(0));
                let [first, second] = &mut merged;
                let (first, second) =
                    if order == [0, 1] { (first, second) } else { (second, first) };
                let outs =
                    [self.output(&planes[order[0]], first), self.output(&planes[order[1]], second)];
                let [a, b] = &mut coders;
                let pulled = Decoder::pull_merged_of_two([a, b], outs);
                let mut results = pulled.into_iter().zip(&coders).zip(order);
                assert!(results.all(|((pulled, coder), index)| {
                    let result = pulled.and_then(|()| coder.finish());
                    if index == 0 { result == expected } else { result == Ok(CARRIED) }
                }));
                assert!(merged[1] == planes[1].elements);
                assert!(!intact || merged[0] == whole.elements);
            }
        }
    }
}

/// Who looks at memory after an error must see what was written to it past the caches, and later than that
/// what he writes himself.
#[test]
#[cfg(target_arch = "x86_64")]
fn every_way_out_orders_what_went_past_the_caches() {
    use crate::kernels::FENCES;
    const SYMBOLS: usize = 8 * LANES;
    for book in BOOKS.iter() {
        let map = SlotMap::new(book.lengths().alphabet(), 0);
        let last = book.lengths().alphabet().symbols() - 1;
        for platform in Platform::available() {
            for join in joins(book).filter(|join| fuses(platform, book.limit(), *join)) {
                let cache = CachePolicy::Streaming { ahead: &[] };
                let case = Case { platform, book, map, join, cache };
                let symbols = (0..SYMBOLS).map(|i| ((i * i % 7) & last) as u8).collect();
                let split = case.split((symbols, vec![0x5a; other_bytes(join, SYMBOLS)]));
                for cut in [false, true] {
                    let stream = if cut { &[][..] } else { &split.stream };
                    let mut decoders = [(); 3].map(|()| case.open(&split, stream, &split.escapes));
                    let [alone, first, second] = &mut decoders;
                    // Lines begin where whole ones are.
                    let mut room = [(); 3].map(|()| vec![0; split.elements.len() + 64]);
                    let [a, b, c] = room.each_mut().map(|room| {
                        let start = room.as_ptr().align_offset(64);
                        case.output(&split, &mut room[start..][..split.elements.len()])
                    });
                    let before = FENCES.get();
                    let pulled = alone.pull_merged(a);
                    assert!(FENCES.get() > before, "{platform:?}, {join:?}, {cut}");
                    assert_eq!(pulled.is_err(), cut && !split.stream.is_empty());
                    let before = FENCES.get();
                    let [_, _] = Decoder::pull_merged_of_two([first, second], [b, c]);
                    assert!(FENCES.get() >= before + 2, "{platform:?}, {join:?}, {cut}");
                }
            }
        }
    }
}

#[test]
fn bits_above_the_sign_are_noticed() {
    for book in BOOKS.iter().filter(|book| book.limit() == CodeLimit::Bits8) {
        let Some(join @ Join::Signs { width }) = joins(book).next() else { continue };
        for platform in Platform::available().filter(|p| fuses(*p, CodeLimit::Bits8, join)) {
            for (place, bit) in (0..256).zip((0..8).cycle()) {
                let mut elements = vec![0; 256];
                elements[place] = 1 << bit;
                let mut encoder =
                    Encoder::new(platform, book.tables(), SlotMap::IDENTITY, &CARRIED, true);
                let (mut stream, mut signs) = ([0; 512], [0; 32]);
                let mut escapes = Escapes::default();
                escapes.clear(elements.len());
                let cache = CachePolicy::Cached;
                let input = ToSplit { join, elements: &elements, other: &mut signs, cache };
                let fits = encoder.push_split(input, &mut stream, &mut escapes).unwrap();
                assert_eq!(fits, bit <= width);
                assert_eq!(signs[place / 8], u8::from(bit == width) << (place % 8));
            }
        }
    }
}

#[test]
fn all_platforms_want_the_same_room() {
    for book in BOOKS.iter() {
        let slots: Vec<u8> = book.decode_table().iter().map(|entry| *entry as u8).collect();
        for room in (0..400).step_by(7) {
            let mut results =
                Platform::available().map(|platform| encoded(platform, book, &slots, room));
            let first = results.next().unwrap();
            assert!(results.all(|result| result == first));
        }
    }
}
