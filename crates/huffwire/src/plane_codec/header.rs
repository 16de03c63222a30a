//! The header of a plane: how it is stored. A plan of a plane is its header before the sizes are known.

use crate::codebook::{Alphabet, CodeLimit, Codebook, Lengths, MAX_LENGTHS_BYTES};
use crate::error::{Error, Result};
use crate::kernels::pack::packed_bytes;
use crate::lanes;
use crate::set::CodebookSet;
use crate::wire::Reader;

/// Modes of a plane; lower numbers are numbers of resident books, in lanes.
const SINGLE_RESIDENT: u8 = 0xfb;
const SINGLE_EMBEDDED: u8 = 0xfc;
const LANES_EMBEDDED: u8 = 0xfd;
const CONSTANT: u8 = 0xfe;
const RAW: u8 = 0xff;

/// No header of a plane is longer: mode, book, base, three fields of five bytes.
pub(crate) const MAX_PLANE_HEADER_BYTES: usize = 1 + MAX_LENGTHS_BYTES + 1 + 15;

/// Symbols from which on a plane may embed a book of 12-bit codes. Its tables take longer to make than fewer
/// symbols take to decode.
pub(crate) const BITS12_FROM: usize = 4096;

/// Symbols from which on planes are in lanes. With fewer a single stream is smaller, always, and takes less than a
/// microsecond or two.
pub(crate) const SINGLE_BELOW: usize = 2048;

/// Shape of a plane: what a reader must know of the plane beside its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlaneShape {
    /// The alphabet of the books that can code the plane.
    pub(crate) alphabet: Alphabet,
    /// Bits of a symbol, 1 to 8.
    pub(crate) width: u8,
    /// Symbols, those that a book's zero stands for included.
    pub(crate) count: usize,
    /// Whether plain books of any width can code the plane, too: one of fewer bits, where all symbols have them.
    pub(crate) any_plain: bool,
}

impl PlaneShape {
    /// Whether a book of this alphabet can code the plane, or may be able to.
    pub(crate) fn takes(&self, alphabet: Alphabet) -> bool {
        alphabet == self.alphabet || self.any_plain && alphabet != Alphabet::Centred
    }
}

/// Reference to the codebook of a coded plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BookRef {
    /// The book of the set with this number.
    Resident(u8),
    /// A book that the header embeds.
    Embedded,
}

/// Arrangement of the codes of a coded plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coder {
    /// In 64 lanes, see [`crate::lanes`].
    Lanes,
    /// One code after the other.
    Single,
}

/// Header of a plane: how the plane is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlaneHeader {
    /// Its symbols, packed without gaps.
    Raw,
    /// One symbol, repeated.
    Constant(u8),
    /// With a codebook.
    Coded(CodedPlane),
}

/// How a coded plane is stored. Of a plan the last three are estimates (from above, if the counts were those of
/// the whole plane).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CodedPlane {
    pub(crate) book: BookRef,
    /// The longest code that the book may have, which says how long states and words are.
    pub(crate) limit: CodeLimit,
    pub(crate) coder: Coder,
    /// The exponent of slot 0 of a centred book, else 0.
    pub(crate) base: u8,
    /// Symbols coded by the book's zero.
    pub(crate) zeros: usize,
    /// Bytes of the stream.
    pub(crate) stream_bytes: usize,
    /// Symbols that take the escape, a byte each.
    pub(crate) escapes: usize,
}

impl PlaneHeader {
    /// What codes the plane, if something does.
    pub(crate) const fn coded(&self) -> Option<&CodedPlane> {
        match self {
            Self::Coded(coded) => Some(coded),
            _ => None,
        }
    }

    /// Whether the header brings its own book.
    pub(crate) fn embeds(&self) -> bool {
        self.coded().is_some_and(|coded| coded.book == BookRef::Embedded)
    }

    /// Bytes of the payload, what lanes carry included; `usize::MAX` where a hostile header says more.
    pub(crate) const fn payload_bytes(&self, shape: &PlaneShape) -> usize {
        match self {
            Self::Raw => packed_bytes(shape.count, shape.width),
            Self::Constant(_) => 0,
            Self::Coded(coded) => coded.payload_bytes(),
        }
    }

    /// Reads the header of a plane; a book that is in it lands in `embedded`.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::UnknownCodebook`], and [`Error::Malformed`] or [`Error::InvalidCodebook`] for
    /// what `docs/format.md`, section 7.2, forbids.
    pub(crate) fn read(
        reader: &mut Reader<'_>,
        shape: &PlaneShape,
        set: &CodebookSet,
        embedded: &mut Codebook,
    ) -> Result<Self> {
        let (book, coder) = match reader.u8()? {
            RAW => return Ok(Self::Raw),
            CONSTANT => {
                let symbol = reader.u8()?;
                return if u32::from(symbol) >> shape.width == 0 {
                    Ok(Self::Constant(symbol))
                } else {
                    Err(reader.malformed("a constant outside the alphabet"))
                };
            }
            SINGLE_RESIDENT => (BookRef::Resident(reader.u8()?), Coder::Single),
            SINGLE_EMBEDDED => (BookRef::Embedded, Coder::Single),
            LANES_EMBEDDED => (BookRef::Embedded, Coder::Lanes),
            number => (BookRef::Resident(number), Coder::Lanes),
        };
        let lengths = match book {
            BookRef::Resident(number) => *set.book(number)?.lengths(),
            BookRef::Embedded => {
                let (lengths, size) = Lengths::read(reader.clone().rest())?;
                reader.take(size)?;
                lengths
            }
        };
        if !shape.takes(lengths.alphabet()) {
            return Err(reader.malformed("a codebook of another alphabet than the plane's"));
        }
        let limit = lengths.limit();
        if book == BookRef::Embedded {
            // Before its tables are made.
            if limit == CodeLimit::Bits12 && shape.count < BITS12_FROM {
                return Err(reader.malformed(format!(
                    "an embedded codebook of 12-bit codes for {} symbols, fewer than {BITS12_FROM}",
                    shape.count
                )));
            }
            embedded.rebuild(lengths);
        }
        let centred = lengths.alphabet() == Alphabet::Centred;
        let base = if centred { reader.u8()? } else { 0 };
        let mut field = |there: bool| match coder {
            _ if !there => Ok(0),
            Coder::Lanes => reader.u32().map(|field| field as usize),
            Coder::Single => reader.size(),
        };
        let zeros = field(lengths.zero() > 0)?;
        let stream_bytes = field(true)?;
        let escapes = field(lengths.escape() > 0)?;
        if zeros > shape.count {
            return Err(reader.malformed("more zeros than elements"));
        }
        if coder == Coder::Lanes && !stream_bytes.is_multiple_of(lanes::word_bytes(limit)) {
            return Err(reader.malformed("a stream that is no whole number of words"));
        }
        Ok(Self::Coded(CodedPlane { book, limit, coder, base, zeros, stream_bytes, escapes }))
    }
    /// Bytes of the header. `book` is the one that it names; only the headers of coded planes need it.
    ///
    /// # Errors
    /// [`Error::InvalidCodebook`] where it is missing.
    pub(crate) fn header_bytes(&self, book: Option<&Codebook>) -> Result<usize> {
        let coded = match self {
            Self::Raw => return Ok(1),
            Self::Constant(_) => return Ok(2),
            Self::Coded(coded) => coded,
        };
        let lengths = book.ok_or_else(no_book)?.lengths();
        let mode = match (coded.book, coded.coder) {
            (BookRef::Resident(_), Coder::Lanes) => 1,
            (BookRef::Resident(_), Coder::Single) => 2,
            (BookRef::Embedded, _) => 1 + lengths.write_to(&mut [0; MAX_LENGTHS_BYTES]),
        };
        let field = |there: bool, value: usize| match coded.coder {
            _ if !there => 0,
            Coder::Lanes => 4,
            Coder::Single => (value.max(1).ilog2() / 7 + 1) as usize,
        };
        Ok(mode
            + usize::from(lengths.alphabet() == Alphabet::Centred)
            + field(lengths.zero() > 0, coded.zeros)
            + field(true, coded.stream_bytes)
            + field(lengths.escape() > 0, coded.escapes))
    }

    /// Writes the header to the start of `out`; returns its [`PlaneHeader::header_bytes`].
    ///
    /// # Errors
    /// The same, and [`Error::OutputTooSmall`].
    pub(crate) fn write(&self, book: Option<&Codebook>, out: &mut [u8]) -> Result<usize> {
        let (needed, available) = (self.header_bytes(book)?, out.len());
        let place = out.get_mut(..needed).ok_or(Error::OutputTooSmall { needed, available })?;
        let mut fields = Fields { out: place };
        let coded = match self {
            Self::Raw => {
                fields.put(&[RAW]);
                return Ok(needed);
            }
            Self::Constant(symbol) => {
                fields.put(&[CONSTANT, *symbol]);
                return Ok(needed);
            }
            Self::Coded(coded) => coded,
        };
        let lengths = book.ok_or_else(no_book)?.lengths();
        match (coded.book, coded.coder) {
            (BookRef::Resident(number), Coder::Lanes) => fields.put(&[number]),
            (BookRef::Resident(number), Coder::Single) => fields.put(&[SINGLE_RESIDENT, number]),
            (BookRef::Embedded, Coder::Lanes) => fields.put(&[LANES_EMBEDDED]),
            (BookRef::Embedded, Coder::Single) => fields.put(&[SINGLE_EMBEDDED]),
        }
        if coded.book == BookRef::Embedded {
            let mut bytes = [0; MAX_LENGTHS_BYTES];
            let size = lengths.write_to(&mut bytes);
            fields.put(&bytes[..size]);
        }
        if lengths.alphabet() == Alphabet::Centred {
            fields.put(&[coded.base]);
        }
        if lengths.zero() > 0 {
            fields.number(coded.coder, coded.zeros);
        }
        fields.number(coded.coder, coded.stream_bytes);
        if lengths.escape() > 0 {
            fields.number(coded.coder, coded.escapes);
        }
        Ok(needed)
    }
}

impl CodedPlane {
    /// Bytes of the payload: states, stream, escapes.
    pub(crate) const fn payload_bytes(&self) -> usize {
        self.states_bytes().saturating_add(self.stream_bytes).saturating_add(self.escapes)
    }

    /// Bytes of the lanes' states; 0 without lanes.
    pub(crate) const fn states_bytes(&self) -> usize {
        match self.coder {
            Coder::Lanes => lanes::states_bytes(self.limit),
            Coder::Single => 0,
        }
    }
}

/// What is left of a header that is being written.
struct Fields<'a> {
    out: &'a mut [u8],
}

impl Fields<'_> {
    /// There always is room: [`PlaneHeader::header_bytes`].
    fn put(&mut self, bytes: &[u8]) {
        if let Some((place, rest)) = std::mem::take(&mut self.out).split_at_mut_checked(bytes.len())
        {
            place.copy_from_slice(bytes);
            self.out = rest;
        }
    }

    /// No number is above 2^32, as a block is not.
    fn number(&mut self, coder: Coder, value: usize) {
        let mut value = value as u32;
        if coder == Coder::Lanes {
            return self.put(&value.to_le_bytes());
        }
        while value >= 0x80 {
            self.put(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.put(&[value as u8]);
    }
}

/// Nobody writes a header that names a book which is not there.
#[cold]
pub(super) fn no_book() -> Error {
    Error::codebook("a coded plane without its codebook")
}
