//! The one codec of planes: symbols of 1 to 8 bits to a header and a payload, and back.
//!
//! Nothing here knows element types or layouts. The caller (a block of a tensor, or a bitmap of quantized
//! values) tells the alphabet of each plane and its number of symbols ([`PlaneShape`]), and how the plane is to be
//! stored ([`PlaneHeader`], which [`crate::plan`] makes from counts). See `docs/format.md`, sections 7.2 to 7.5.
//!
//! ```text
//! headers: plane 0, plane 1, ..., the last plane
//! payload: the last plane, ..., plane 1, plane 0      a stack; lanes carry the end of what lies before them
//! ```
//!
//! | to write | to read |
//! |---|---|
//! | [`PlaneWriter::write`]: all planes, headers and payload | [`PlaneHeader::read`]: one header after the other |
//! | | [`Sizes::of`]: where the payload ends, what each plane's lanes carry |
//! | | [`PlaneReader::read`]: one plane after the other, plane 0 first |

mod header;
mod payload;
mod read;
mod single;
mod slots;
mod write;

pub use header::Coder;
pub(crate) use header::{
    BITS12_FROM, BookRef, CodedPlane, MAX_PLANE_HEADER_BYTES, PlaneHeader, PlaneShape, SINGLE_BELOW,
};
pub(crate) use payload::{PayloadReader, Sizes, carried, check_carried};
pub(crate) use read::{PlaneReader, PlaneToRead, check_padding, is_beyond, outside};
pub(crate) use write::{PlaneToWrite, PlaneWriter, room};

/// How errors name what is coded here.
const WHAT: &str = "a block";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codebook::{Alphabet, CodeLimit, Codebook, Lengths};
    use crate::error::{Error, Result};
    use crate::kernels::platform::Platform;
    use crate::planes::MAX_PLANES;
    use crate::set::{CodebookSet, SetBuilder};
    use crate::wire::Reader;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    /// Plain books of width 3 with and without an escape, of width 8 with codes of both limits; centred ones with and
    /// without a zero.
    static SET: LazyLock<CodebookSet> = LazyLock::new(|| {
        let plain = |width, limit, codes: &[u8], escape| {
            let mut lengths = vec![0; 1usize << width];
            lengths[..codes.len()].copy_from_slice(codes);
            Lengths::new(Alphabet::Plain { width }, limit, &lengths, escape, 0).unwrap()
        };
        let centred = |codes: &[u8], escape, zero| {
            let mut lengths = [0; 62];
            lengths[20..20 + codes.len()].copy_from_slice(codes);
            Lengths::new(Alphabet::Centred, CodeLimit::Bits8, &lengths, escape, zero).unwrap()
        };
        let long = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let all = [
            plain(3, CodeLimit::Bits8, &[2, 3, 3, 3, 3, 3, 4, 4], 0),
            plain(3, CodeLimit::Bits8, &[1, 2, 3], 3),
            plain(8, CodeLimit::Bits8, &[1, 2, 3, 4, 5, 6], 6),
            plain(8, CodeLimit::Bits12, &long, 12),
            centred(&[1, 2, 3], 3, 0),
            centred(&[2, 2, 3, 4, 5], 5, 2),
        ];
        let mut builder = SetBuilder::new("planes");
        for lengths in all {
            builder.add(lengths).unwrap();
        }
        builder.build()
    });

    /// A plane that is going to be written, and how.
    #[derive(Debug, Clone)]
    struct Case {
        header: PlaneHeader,
        shape: PlaneShape,
        symbols: Vec<u8>,
        nonzero: Vec<u8>,
    }

    impl Case {
        fn book(&self) -> Option<&'static Codebook> {
            match self.header.coded()?.book {
                BookRef::Resident(number) => SET.book(number).ok(),
                BookRef::Embedded => {
                    SET.books().iter().find(|book| book.lengths().alphabet() == self.shape.alphabet)
                }
            }
        }
    }

    /// One of eight ways to store so many symbols; `rare` of 256 are outside the book.
    fn case(way: u8, count: usize, rare: u8, seed: u64) -> Case {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state >> 16
        };
        let (number, width, coder) = match way {
            0 => (None, 3, Coder::Single),
            1 => (None, 8, Coder::Lanes),
            2..8 => (Some(way - 2), 8, Coder::Single),
            _ => (Some(way - 8), 8, Coder::Lanes),
        };
        let book = number.and_then(|number| SET.book(number).ok());
        let alphabet = book.map_or(Alphabet::Plain { width }, |book| book.lengths().alphabet());
        let width = if let Alphabet::Plain { width } = alphabet { width } else { 8 };
        let base = if alphabet == Alphabet::Centred { 100 } else { 0 };
        let mask = 0xff >> (8 - width);
        let symbols: Vec<u8> = (0..count)
            .map(|_| {
                let bits = next();
                let near = bits.trailing_zeros().min(11) as u8;
                let near = if base > 0 { base + 20 + near % 5 } else { near };
                if (bits >> 32) as u8 <= rare { (bits >> 40) as u8 & mask } else { near & mask }
            })
            .collect();
        let (mut symbols, mut nonzero) = (symbols, Vec::new());
        if book.is_some_and(|book| book.lengths().zero() > 0) && seed & 2 == 0 {
            nonzero = symbols.iter().map(|symbol| u8::from(symbol % 3 > 0)).collect();
            for (symbol, nonzero) in symbols.iter_mut().zip(&nonzero) {
                *symbol *= nonzero;
            }
        }
        let header = match book {
            None if seed & 4 == 0 => {
                symbols.fill(seed as u8 & mask);
                PlaneHeader::Constant(seed as u8 & mask)
            }
            None => PlaneHeader::Raw,
            Some(book) => {
                let few = book.limit() == CodeLimit::Bits12 && count < BITS12_FROM;
                let first =
                    SET.books().iter().find(|b| b.lengths().alphabet() == alphabet) == Some(book);
                let embedded = seed & 8 == 0 && first && !few;
                PlaneHeader::Coded(CodedPlane {
                    book: match number {
                        Some(number) if !embedded => BookRef::Resident(number),
                        _ => BookRef::Embedded,
                    },
                    limit: book.limit(),
                    coder,
                    base,
                    zeros: 0,
                    stream_bytes: 0,
                    escapes: 0,
                })
            }
        };
        Case {
            header,
            shape: PlaneShape { alphabet, width, count, any_plain: false },
            symbols,
            nonzero,
        }
    }

    fn written(platform: Platform, cases: &[Case]) -> Vec<u8> {
        let mut planes: Vec<_> = cases
            .iter()
            .map(|case| PlaneToWrite {
                header: case.header,
                book: case.book(),
                width: case.shape.width,
                symbols: &case.symbols,
                nonzero: &case.nonzero,
                or_raw: false,
            })
            .collect();
        let symbols: usize = cases.iter().map(|case| case.symbols.len()).sum();
        let mut out = vec![0; room(1000 + 3 * symbols)];
        let length = PlaneWriter::default().write(platform, &mut planes, &mut out).unwrap();
        out.truncate(length);
        out
    }

    fn read(platform: Platform, bytes: &[u8], shapes: &[PlaneShape]) -> Result<Vec<Vec<u8>>> {
        let mut reader = Reader::new("a test", bytes);
        let mut embedded = vec![Codebook::new(Lengths::placeholder()); MAX_PLANES];
        let mut headers = Vec::new();
        for (shape, embedded) in shapes.iter().zip(&mut embedded) {
            headers.push(PlaneHeader::read(&mut reader, shape, &SET, embedded)?);
        }
        let sizes = Sizes::of(&headers, |plane| shapes[plane]);
        let mut payload = PayloadReader::new(reader.take(sizes.total)?);
        reader.finish()?;
        let mut planes = PlaneReader::default();
        let read = |(index, &header): (usize, &PlaneHeader)| {
            let book = match header.coded().map(|coded| coded.book) {
                None => None,
                Some(BookRef::Resident(number)) => SET.book(number).ok(),
                Some(BookRef::Embedded) => Some(&embedded[index]),
            };
            let (shape, carried) = (shapes[index], sizes.carried[index]);
            let mut symbols = Vec::new();
            let plane = PlaneToRead { header, shape, book, carried };
            planes.read(platform, &plane, &mut payload, &mut symbols).map(|()| symbols)
        };
        headers.iter().enumerate().map(read).collect()
    }

    fn cases() -> impl Strategy<Value = Vec<Case>> {
        let counts = prop_oneof![0..130usize, 1000..1300usize, 4090..4500usize];
        let one = (0..14u8, counts, prop::sample::select(&[0, 3, 200][..]), any::<u64>());
        prop::collection::vec(
            one.prop_map(|(way, count, rare, seed)| case(way, count, rare, seed)),
            1..8,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Planes in any modes, one behind the other: all platforms write the same, and read it.
        #[test]
        fn planes_of_all_modes_come_back(cases in cases()) {
            let shapes: Vec<_> = cases.iter().map(|case| case.shape).collect();
            let expected = written(Platform::Portable, &cases);
            for platform in Platform::available() {
                prop_assert!(written(platform, &cases) == expected);
                let planes = read(platform, &expected, &shapes);
                prop_assert!(planes.is_ok(), "{planes:?}");
                for (case, plane) in cases.iter().zip(planes.unwrap()) {
                    prop_assert!(case.symbols == plane, "{:?}", case.header);
                }
            }
        }

        /// Damage is an error or other symbols, and the same on all platforms. Whatever is read has the right size.
        #[test]
        fn damage_is_an_error_or_other_symbols(
            cases in cases(),
            places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let shapes: Vec<_> = cases.iter().map(|case| case.shape).collect();
            let mut bytes = written(Platform::Portable, &cases);
            for (place, change) in places {
                let at = place.index(bytes.len());
                bytes[at] ^= change;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let expected = read(Platform::Portable, &bytes, &shapes);
            for platform in Platform::available() {
                prop_assert!(read(platform, &bytes, &shapes) == expected);
            }
            if let Ok(planes) = expected {
                for (plane, shape) in planes.iter().zip(&shapes) {
                    prop_assert_eq!(plane.len(), shape.count);
                    prop_assert!(!is_beyond(Platform::Portable, plane, shape.width));
                }
            }
        }
    }

    #[test]
    fn planes_are_raw_where_codes_turn_out_to_be_longer() {
        let alphabet = Alphabet::Plain { width: 8 };
        let noise = |seed: u64| (0..5000).map(|i| (i * (seed + i * i) / 7) as u8).collect();
        let few: Vec<u8> = (0..5000).map(|i| (i % 11 / 9) as u8).collect();
        let planes: [Vec<u8>; 4] = [few.clone(), noise(3), few, noise(5)];
        let shapes = [PlaneShape { alphabet, width: 8, count: 5000, any_plain: false }; 4];
        // Book 2 has codes for few symbols.
        let limit = SET.book(2).unwrap().limit();
        for coders in [[Coder::Lanes; 4], [Coder::Single; 4]] {
            let planned = |coder| {
                PlaneHeader::Coded(CodedPlane {
                    book: BookRef::Resident(2),
                    limit,
                    coder,
                    base: 0,
                    zeros: 0,
                    stream_bytes: 0,
                    escapes: 0,
                })
            };
            for platform in Platform::available() {
                let mut to_write: Vec<_> = planes
                    .iter()
                    .zip(coders)
                    .map(|(symbols, coder)| PlaneToWrite {
                        header: planned(coder),
                        book: SET.book(2).ok(),
                        width: 8,
                        symbols,
                        nonzero: &[],
                        or_raw: true,
                    })
                    .collect();
                let mut out = vec![0; room(60_000)];
                let written = PlaneWriter::default().write(platform, &mut to_write, &mut out);
                out.truncate(written.unwrap());
                let is_raw: Vec<bool> =
                    to_write.iter().map(|plane| plane.header == PlaneHeader::Raw).collect();
                assert_eq!(is_raw, [false, true, false, true]);
                assert!(out.len() < 10_000 + 2 * 5000 / 2);
                assert_eq!(read(platform, &out, &shapes), Ok(planes.to_vec()));
            }
        }
    }

    #[test]
    fn plain_books_of_any_width_code_a_plane_that_takes_them() {
        let alphabet = Alphabet::Plain { width: 8 };
        let shape = PlaneShape { alphabet, width: 8, count: 3, any_plain: true };
        // A single stream of book 0 (width 3): codes 00, 010 and 011.
        let stream = [0xfb, 0, 1, 0b0001_0011];
        assert_eq!(read(Platform::Portable, &stream, &[shape]), Ok(vec![vec![0, 1, 2]]));
        let strict = PlaneShape { any_plain: false, ..shape };
        assert!(read(Platform::Portable, &stream, &[strict]).is_err());
        // Centred books code centred planes alone.
        let centred = [0xfb, 4, 100, 1, 0, 0];
        let error = read(Platform::Portable, &centred, &[shape]).unwrap_err();
        assert!(error.to_string().contains("another alphabet"), "{error}");
        // Book 1 (width 3, with an escape, code 111): a byte of more bits by the escape.
        let lone = PlaneShape { count: 1, ..shape };
        let escaped = [0xfb, 1, 1, 1, 0b1110_0000, 200];
        let decoded = read(Platform::Portable, &escaped, &[lone]);
        assert_eq!(decoded, Ok(vec![vec![200]]));
    }

    fn single(stream: &[u8], count: usize) -> Result<Vec<Vec<u8>>> {
        // Book 0 has codes 00, 010 to 110, 1110 and 1111.
        let mut bytes = vec![0xfb, 0, stream.len() as u8];
        bytes.extend_from_slice(stream);
        let shape = PlaneShape {
            alphabet: Alphabet::Plain { width: 3 },
            width: 3,
            count,
            any_plain: false,
        };
        read(Platform::Portable, &bytes, &[shape])
    }

    #[test]
    fn a_single_stream_is_as_long_as_its_codes() {
        assert_eq!(single(&[0b0001_0011], 3), Ok(vec![vec![0, 1, 2]]));
        assert_eq!(single(&[0b1111_0000], 3), Ok(vec![vec![7, 0, 0]]));
        assert_eq!(single(&[], 0), Ok(vec![vec![]]));
        let says = |result: Result<Vec<Vec<u8>>>, words: &str| {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Malformed { .. }));
            assert!(error.to_string().contains(words), "{error}");
        };
        for count in [4, 5, 300, 100_000] {
            says(single(&[0b1111_1110], count), "behind the end");
        }
        says(single(&[], 1), "behind the end");
        says(single(&[0b0001_0011, 0], 3), "more than the codes");
        says(single(&[0], 0), "more than the codes");
        // A bit of the filling.
        says(single(&[0b1111_0001], 1), "more than the codes");
        says(single(&[0b1111_1000], 1), "more than the codes");
    }

    #[test]
    fn few_symbols_do_not_embed_a_book_of_12_bit_codes() {
        let book = SET.book(3).unwrap();
        let alphabet = Alphabet::Plain { width: 8 };
        for mode in [0xfc, 0xfd] {
            let mut bytes = vec![mode];
            book.lengths().write(&mut bytes);
            bytes.extend_from_slice(&[0; 300]);
            let shape = |count| PlaneShape { alphabet, width: 8, count, any_plain: false };
            let mut embedded = Codebook::new(Lengths::placeholder());
            let mut read = |count| {
                let mut reader = Reader::new("a test", &bytes);
                PlaneHeader::read(&mut reader, &shape(count), &SET, &mut embedded)
            };
            let error = read(BITS12_FROM - 1).unwrap_err();
            assert!(error.to_string().contains("12-bit codes"), "{error}");
            assert!(read(BITS12_FROM).is_ok());
        }
    }
}
